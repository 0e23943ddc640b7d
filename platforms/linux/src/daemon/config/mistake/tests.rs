use std::fs;

use super::KEYS;
use crate::daemon::Config;

/// Line 1 is `device_type`; nothing in it is wrong but what `root` holds, which is looked at last.
const GOOD: &str = "\
device_type = \"pi4\"
product = \"kiosk\"
server = \"https://fleet.example.com:8443\"
root = \"AAAA\"
";

fn error_of(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.toml");
    fs::write(&path, text).unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    error.replace(&folder.path().display().to_string(), "")
}

/// The good file with one line in place of, or beside, the one for its key.
fn with(line: &str) -> String {
    let key = line.split('=').next().unwrap().trim();
    let others = GOOD.lines().filter(|other| !other.starts_with(key));
    let mut lines: Vec<&str> = others.collect();
    lines.insert(0, line);
    lines.join("\n") + "\n"
}

#[test]
fn every_key_has_values_that_are_wrong_and_each_is_named_with_its_line_and_what_would_be_right() {
    let cases: &[(&str, &[&str])] = &[
        (
            "device_type",
            &[
                "7",
                "\"\"",
                "\"a b\"",
                "\"0123456789012345678901234567890123456789\"",
            ],
        ),
        ("product", &["true", "\"Kiosk!\""]),
        ("name", &["[]", "\"über\""]),
        (
            "server",
            &[
                "1",
                "\"fleet.example.com\"",
                "\"ftp://x\"",
                "\"https://\"",
                "\"https://x:99999\"",
                "\"https://x/path\"",
            ],
        ),
        ("fleet", &["1", "\"a/b\""]),
        (
            "authority",
            &[
                "1",
                "\"no certificate\"",
                "\"-----BEGIN CERTIFICATE-----\\n!\\n-----END CERTIFICATE-----\"",
            ],
        ),
        ("root", &["1", "\"not base64!\"", "\"AAAA\""]),
        ("provisioning_key", &["0", "\"00\"", "\"not hexadecimal\""]),
        ("data", &["0", "\"lib/lightship\""]),
        ("run", &["0", "\"run\""]),
        ("engine", &["0", "\"dokcer\""]),
        ("engine_socket", &["0", "\"docker.sock\""]),
        ("cgroup_parent", &["1", "\"a/b\""]),
        ("tunnel", &["0", "\"wireguard\""]),
        (
            "transports",
            &["\"mqtt\"", "[\"amqp\"]", "[\"mqtt\", \"mqtt\"]"],
        ),
        ("prefer_again_s", &["0", "-1", "90000", "\"600\""]),
        ("tunnel_ports", &["22", "[0]", "[70000]", "[\"ssh\"]"]),
        ("rotation_days", &["0", "-1", "4000", "\"90\""]),
        (
            "plain_registries",
            &["\"x:5000\"", "[1]", "[\"http://x\"]", "[\"x:y\"]"],
        ),
        ("allowed_binds", &["\"/srv\"", "[\"srv\"]"]),
        (
            "local_api",
            &["48484", "\"48484\"", "\"0.0.0.0:48484\"", "\"127.0.0.1:0\""],
        ),
        ("allow_privileged", &["\"yes\"", "1"]),
    ];
    let mut tried: Vec<_> = cases.iter().map(|(key, _)| *key).collect();
    let mut known: Vec<_> = KEYS.iter().map(|(key, _)| *key).collect();
    tried.sort_unstable();
    known.sort_unstable();
    assert_eq!(tried, known, "a key without a wrong value here");
    for (key, values) in cases {
        let (_, expected) = KEYS.iter().find(|(name, _)| name == key).unwrap();
        for value in *values {
            let error = error_of(&with(&format!("{key} = {value}")));
            assert!(
                error.starts_with(&format!("/device.toml:1: {key} ")),
                "{error}"
            );
            assert!(
                error.ends_with(&format!("; expected {expected}")),
                "{error}"
            );
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn the_keys_that_are_read_are_the_keys_that_are_explained() {
    // What reads the file lists its fields when it meets an unknown one.
    let error = toml::from_str::<super::File>("no_such_key = 1").unwrap_err();
    let listed: Vec<&str> = error.message().split('`').skip(3).step_by(2).collect();
    let known: Vec<&str> = KEYS.iter().map(|(key, _)| *key).collect();
    for key in &listed {
        assert!(known.contains(key), "{key} is not explained");
    }
    assert_eq!(listed.len(), known.len(), "{listed:?}");
}

#[test]
fn keys_that_are_missing_misspelt_or_twice_are_named() {
    for key in ["device_type", "product", "server", "root"] {
        let text: Vec<&str> = GOOD.lines().filter(|line| !line.starts_with(key)).collect();
        let error = error_of(&text.join("\n"));
        assert!(
            error.starts_with(&format!("/device.toml: {key} is missing; expected ")),
            "{error}"
        );
    }
    let error = error_of(&with("produkt = \"kiosk\""));
    assert_eq!(
        error,
        "/device.toml:1: produkt is no key of this file; did you mean product?"
    );
    let error = error_of(&with("colour = \"red\""));
    assert!(
        error.starts_with(
            "/device.toml:1: colour is no key of this file; its keys are device_type, "
        ),
        "{error}"
    );
    let error = error_of("product = \"a\"\nproduct = \"b\"\n");
    assert!(
        error.starts_with("/device.toml:2: ") && error.contains("product"),
        "{error}"
    );
}

#[test]
fn what_is_no_toml_is_shown_with_its_line() {
    let error = error_of("device_type = \"pi4\"\nproduct = kiosk\n");
    assert!(
        error.starts_with("/device.toml:2: \"product = kiosk\" is not TOML: "),
        "{error}"
    );
    let error = error_of("device_type = \"pi4\nproduct = \"kiosk\"\n");
    assert!(error.starts_with("/device.toml:1: "), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.toml");
    fs::write(&path, b"# a\nname = \"\xff\"\n").unwrap();
    let error = Config::load(&path).unwrap_err().to_string();
    assert!(
        error.ends_with("device.toml:2: is not text in UTF-8; save the file as UTF-8"),
        "{error}"
    );
    let error = Config::load(&folder.path().join("none"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("none: ") && error.contains("No such file"),
        "{error}"
    );
}
