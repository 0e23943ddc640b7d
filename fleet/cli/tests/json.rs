//! `--json` on every command, against a real server; every exit code that the help tells of; bars on a terminal alone.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod desk;
#[path = "desk/gadget.rs"]
mod gadget;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use desk::{Desk, project};
use gadget::Gadget;
use lightship_wireguard::SecretKey;
use serde_json::Value;

/// A device that never comes.
const ABSENT: &str = "3f2504e0-4f89-41d3-9a0c-0305e82c3302";
/// Commands that take minutes or a machine of their own: the tests that read their JSON, and the words by which they do.
const ELSEWHERE: [(&str, &str, &str); 2] = [
    (
        "demo",
        include_str!("demo.rs"),
        r#"["demo", "--once", "--json"]"#,
    ),
    ("rig run", include_str!("rig.rs"), r#"["--json", "rig"]"#),
];

/// Commands that were typed, and those that there are.
struct Story<'a> {
    desk: &'a Desk,
    commands: BTreeSet<String>,
    tried: BTreeSet<String>,
}

impl<'a> Story<'a> {
    fn begin(desk: &'a Desk) -> Self {
        Self {
            desk,
            commands: leaves(desk, &[]).into_iter().collect(),
            tried: BTreeSet::new(),
        }
    }

    /// Counts a command as tried; `deploy` is another name of `push`.
    fn note(&mut self, words: &[&str]) {
        let words: Vec<&str> = words
            .iter()
            .map(|word| if *word == "deploy" { "push" } else { word })
            .collect();
        let mut ends = (1..=words.len()).map(|end| words[..end].join(" "));
        let name = ends.find(|name| self.commands.contains(name));
        let name = name.unwrap_or_else(|| panic!("{words:?} is no command"));
        self.tried.insert(name);
    }

    /// Types a command; says what it prints, all of which is JSON.
    fn says(&mut self, line: &str) -> Vec<Value> {
        let words: Vec<&str> = line.split(' ').collect();
        self.note(&words);
        let output = self.desk.run(&[&words[..], &["--json"]].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {said}");
        assert_eq!(said, "", "{line}: what is for people is not for programs");
        let values = values(&output.stdout).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(!values.is_empty(), "{line} says nothing");
        values
    }

    /// The one value that a command prints.
    fn tells(&mut self, line: &str) -> Value {
        let mut values = self.says(line);
        assert_eq!(values.len(), 1, "{line}");
        values.remove(0)
    }

    /// The first value of a command that goes on until it is ended.
    fn begins(&mut self, line: &str) -> Value {
        let words: Vec<&str> = line.split(' ').collect();
        self.note(&words);
        let mut child = self.desk.start(&[&words[..], &["--json"]].concat());
        let mut first = String::new();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        said.read_line(&mut first).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        serde_json::from_str(&first).unwrap_or_else(|error| panic!("{line}: {error}: {first}"))
    }
}

/// Every command that can be typed, as the help of the program lists them.
fn leaves(desk: &Desk, path: &[String]) -> Vec<String> {
    let mut words: Vec<&str> = path.iter().map(String::as_str).collect();
    words.push("-h");
    let help = desk.ok(&words);
    let Some((_, listed)) = help.split_once("\nCommands:\n") else {
        return vec![path.join(" ")];
    };
    let listed = listed.lines().take_while(|line| !line.is_empty());
    // What is indented further goes on with the line before.
    let names = listed.filter(|line| !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let names = names.filter(|name| *name != "help");
    let deeper = |name: &str| leaves(desk, &[path, &[name.to_owned()]].concat());
    names.flat_map(deeper).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_command_speaks_json() {
    // Builds wait for a registry that says nothing.
    let silence = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silence = silence.local_addr().unwrap();
    let desk = Desk::with_server_that(&format!("[builder]\nregistries = [\"{silence}\"]\n"));
    let mut story = Story::begin(&desk);
    // The desk has read what it says.
    story.note(&["serve"]);
    people(&mut story);
    keys(&mut story);
    device(&mut story).await;
    fleets(&mut story);
    releases(&mut story);
    builds(&mut story, &silence.to_string());
    ends(&mut story);
    for (command, test, words) in ELSEWHERE {
        assert!(test.contains(words), "{command} is not tried where it was");
        story.tried.insert(command.to_owned());
    }
    let untried: Vec<_> = story.commands.difference(&story.tried).collect();
    assert!(untried.is_empty(), "not tried with --json: {untried:?}");
}

fn people(story: &mut Story<'_>) {
    let (url, fingerprint) = (story.desk.url.clone(), story.desk.fingerprint.clone());
    let login = story.tells(&format!("login {url} --fingerprint {fingerprint}"));
    assert_eq!(login["user"], "admin");
    assert_eq!(story.tells("whoami")["name"], "admin");
    assert_eq!(story.tells("user create anna")["admin"], false);
    assert_eq!(story.tells("user admin anna true")["admin"], true);
    assert_eq!(story.tells("user password anna")["name"], "anna");
    assert_eq!(story.tells("user list").as_array().unwrap().len(), 2);
    let token = story.tells("token create ci --scope viewer --scope developer:harbour");
    assert!(token["secret"].is_string());
    let id = token["token"]["id"].as_str().unwrap().to_owned();
    assert_eq!(story.tells("token list").as_array().unwrap().len(), 2);
    story.tells(&format!("token rm {id}"));
    assert_eq!(story.tells("fleet create harbour")["name"], "harbour");
}

fn keys(story: &mut Story<'_>) {
    let made = story.tells("keys init --no-passphrase");
    assert!(made["root_key"].is_string());
    let at = |name: &str| story.desk.path(name);
    std::fs::copy(at("config/keys/harbour.root"), at("first.root")).unwrap();
    assert_eq!(story.tells("keys new ben --no-passphrase")["name"], "ben");
    assert_eq!(story.tells("keys list").as_array().unwrap().len(), 3);
    let root = "keys root --root harbour-root --root ben --release harbour-release";
    story.tells(&format!("{root} --out other.root --sign harbour-root"));
    let at = |name: &str| story.desk.path(name);
    std::fs::copy(at("other.root"), at("copy.root")).unwrap();
    story.tells("keys sign copy.root --key ben");
    let attached = story.tells("keys attach other.root copy.root");
    let signed = attached["signatures"][0]["signed"].as_array().unwrap();
    assert_eq!(signed.len(), 2);
    let shown = story.tells("keys show first.root");
    assert_eq!(
        (&shown["kind"], &shown["root"]["version"]),
        (&"root".into(), &1.into())
    );
    story.tells("keys rotate --from first.root --out second.root --sign harbour-root");
    story.tells("keys publish second.root");
}

/// A device that is there, and one that is not.
async fn device(story: &mut Story<'_>) {
    let (gadget, _) = Gadget::register(story.desk, &SecretKey::generate()).await;
    let said = gadget.http.post(format!("{}/device/v1/logs", gadget.url));
    let said = said.header("content-type", "application/x-ndjson");
    let said =
        said.body("{\"service\":\"web\",\"line\":\"one\"}\n{\"service\":\"web\",\"line\":\"two\"}");
    let said = said.bearer_auth(&gadget.bearer).send().await.unwrap();
    assert_eq!(said.status(), 204);
    assert_eq!(story.says("logs crane").len(), 2, "a line each");
    assert_eq!(story.begins("logs crane -f -n 1")["line"], "two");
    assert_eq!(story.begins("device tunnel crane 80")["port"], 80);
    let added = story.tells(&format!(
        "device add {ABSENT} --type pi --name buoy --tag ring=canary"
    ));
    assert_eq!(added["tags"]["ring"], "canary");
    assert_eq!(story.tells("device list").as_array().unwrap().len(), 2);
    assert_eq!(story.tells("device show crane")["device_type"], "pi");
    assert_eq!(story.tells("device rename buoy winch")["name"], "winch");
    assert_eq!(
        story.tells("device tag winch ring-")["tags"],
        serde_json::json!({})
    );
    story.tells("device pin winch");
    story.tells("device locks winch override");
    story.tells("device windows winch always");
    for command in [
        "reboot winch",
        "restart winch web",
        "identify winch",
        "rotate winch",
    ] {
        assert!(story.tells(&format!("device {command}"))["done"].is_string());
    }
    story.tells("env set COLOUR=red");
    assert_eq!(story.tells("env list")[0]["value"], "red");
    story.tells("env rm COLOUR");
    story.tells("config --type pi --out device.toml");
}

fn fleets(story: &mut Story<'_>) {
    assert_eq!(story.tells("fleet show")["product"], "harbour");
    assert_eq!(story.tells("fleet pin")["policy"]["follow"], "latest");
    story.tells("fleet windows always");
    assert_eq!(story.tells("fleet rotate-keys")["devices"], 1);
    assert_eq!(
        story.tells("fleet member set anna developer")["role"],
        "developer"
    );
    assert_eq!(
        story.tells("fleet member list").as_array().unwrap().len(),
        2
    );
    story.tells("fleet member rm anna");
    let id = story.tells("fleet key create")["key"]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    story.tells("fleet key list");
    story.tells(&format!("fleet key revoke {id}"));
    let what = story.tells("changes -n 1");
    assert_eq!(
        (what.as_array().unwrap().len(), &what[0]["fleet"]),
        (1, &"harbour".into())
    );
    assert!(story.tells("changes --all").as_array().unwrap().len() > 10);
    assert!(story.tells("hub show")["key"].is_string());
    assert!(story.tells("hub rotate")["former"].is_string());
    assert!(story.tells("hub retire")["former"].is_null());
}

fn releases(story: &mut Story<'_>) {
    project(story.desk, Path::new("app"), "hello");
    let push = "push app --type pi=linux/arm64 --yes";
    let unsigned = story.tells(&format!("{push} --release 1.0.0 --dry-run"));
    assert_eq!(unsigned[0]["release"]["version"], "1.0.0");
    assert_eq!(story.tells(&format!("{push} --release 1.0.0"))["number"], 1);
    assert_eq!(story.tells("device retry winch")["name"], "winch");
    assert_eq!(
        story.tells(&format!("{push} --release 1.1.0 --draft"))["state"],
        "draft"
    );
    assert_eq!(story.tells("release list").as_array().unwrap().len(), 2);
    assert_eq!(story.tells("release show 1")["version"], "1.0.0");
    story.tells("release rollout plan 2 --wave ring=canary/1d 10%/1d");
    assert_eq!(story.tells("release finalize 2")["state"], "final");
    // No device is of either wave, so that nothing keeps the last one from being the end.
    for (order, phase) in [
        ("show", "running"),
        ("pause", "paused"),
        ("resume", "running"),
        ("advance", "completed"),
    ] {
        assert_eq!(
            story.tells(&format!("release rollout {order} 2"))["phase"],
            phase,
            "{order}"
        );
    }
    assert_eq!(
        story.tells("release invalidate 2 --reason slow")["reason"],
        "slow"
    );
    story.tells(&format!("{push} --release 1.2.0 --wave 10%/1d"));
    assert_eq!(story.tells("release rollout abort 3")["phase"], "aborted");
    followed(story);
}

/// Nobody is of this type, so that a person ends the roll-out that is followed.
fn followed(story: &mut Story<'_>) {
    let words = [
        "deploy",
        "app",
        "--type",
        "none=linux/amd64",
        "--yes",
        "--follow",
        "--json",
    ];
    let mut child = story.desk.start(&words);
    while story.tells("release list").as_array().unwrap().len() < 4 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before there was a release"
        );
    }
    // Between the release and its plan it cannot be done.
    while !story
        .desk
        .run(&["release", "rollout", "advance", "4"])
        .status
        .success()
    {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
    }
    let ended = child.wait_with_output().unwrap();
    assert!(
        ended.status.success(),
        "{}",
        String::from_utf8_lossy(&ended.stderr)
    );
    let values: Vec<Value> = values(&ended.stdout).unwrap();
    assert_eq!(values[0]["number"], 4);
    assert_eq!(values.last().unwrap()["phase"], "completed");
}

fn values(said: &[u8]) -> Result<Vec<Value>, serde_json::Error> {
    serde_json::Deserializer::from_slice(said)
        .into_iter()
        .collect()
}

fn builds(story: &mut Story<'_>, silence: &str) {
    story
        .desk
        .write("slow/compose.yaml", "services:\n  web:\n    build: .\n");
    story
        .desk
        .write("slow/Dockerfile", &format!("FROM {silence}/base:1\n"));
    let push = [
        "push",
        "slow",
        "--type",
        "pi=linux/arm64",
        "--yes",
        "--json",
        "--build",
        "server",
    ];
    let mut push = story.desk.start(&push);
    while story.tells("build list").as_array().unwrap().is_empty() {
        assert!(
            push.try_wait().unwrap().is_none(),
            "it ended before there was a build"
        );
    }
    assert_eq!(story.tells("build show 1")["number"], 1);
    story.tells("build cancel 1");
    let ended = push.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&ended.stderr).unwrap();
    assert!(said["error"]["message"].is_string());
    let log = story.says("build log 1");
    assert_eq!(log.last().unwrap()["state"], "cancelled");
}

fn ends(story: &mut Story<'_>) {
    story.tells("fleet create ferry --product harbour");
    assert_eq!(story.tells("fleet list").as_array().unwrap().len(), 2);
    story.tells("keys publish first.root --fleet ferry");
    story.tells("keys publish second.root --fleet ferry");
    assert_eq!(
        story.tells("device move winch ferry --fleet harbour")["fleet"],
        "ferry"
    );
    story.tells("device rm winch --fleet ferry");
    story.tells("fleet rm ferry");
    story.tells("user rm anna");
    let script = story.tells("completions bash");
    assert!(script["script"].as_str().unwrap().contains("lightship"));
    assert!(story.says("rig list").len() > 3);
    story.tells("logout");
}

/// Exit codes and what they mean, as the help has them.
fn codes(desk: &Desk) -> BTreeMap<i32, String> {
    let help = desk.ok(&["--help"]);
    let (_, listed) = help.split_once("Exit codes:\n").unwrap();
    let code = |line: &str| {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        (code.parse().unwrap(), meaning.to_owned())
    };
    listed.lines().map(code).collect()
}

#[test]
fn every_exit_code_is_reached_and_named_in_the_json() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    desk.ok(&[
        "push",
        "app",
        "--type",
        "pi=linux/arm64",
        "--yes",
        "--wave",
        "10%/1d",
    ]);
    desk.ok(&["release", "rollout", "abort", "1"]);
    desk.ok(&["keys", "new", "other", "--no-passphrase"]);
    let url = &desk.url.clone();
    let mut reached = BTreeSet::from([0]);
    for (code, name, words) in [
        (1, "failed", vec!["keys", "show", "absent.root"]),
        (2, "usage", vec!["fleet", "dance"]),
        (2, "usage", vec!["env", "set", "nonsense"]),
        (
            3,
            "denied",
            vec![
                "fleet",
                "list",
                "--server",
                url,
                "--token",
                "wrong",
                "--ca",
                "data/ca.pem",
            ],
        ),
        (4, "missing", vec!["device", "show", "nobody"]),
        (5, "refused", vec!["fleet", "pin", "7"]),
        (
            6,
            "unreachable",
            vec![
                "fleet",
                "list",
                "--server",
                "https://127.0.0.1:1",
                "--token",
                "x",
            ],
        ),
        (
            7,
            "rollout-failed",
            vec!["release", "rollout", "show", "1", "--follow"],
        ),
        (
            8,
            "signature",
            vec![
                "push",
                "app",
                "--type",
                "pi=linux/arm64",
                "--yes",
                "--key",
                "other",
            ],
        ),
    ] {
        let output = desk.run(&[&words[..], &["--json"]].concat());
        assert_eq!(output.status.code(), Some(code), "{words:?}");
        let said: Value = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(said["error"]["code"], name, "{words:?}");
        assert_ne!(said["error"]["message"], "", "{words:?}");
        reached.insert(code);
    }
    let told: BTreeSet<i32> = codes(&desk).into_keys().collect();
    assert_eq!(reached, told, "what the help tells of");
}

#[test]
fn an_upload_has_a_bar_on_a_terminal_and_nowhere_else() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("SKIPPED: `script` is not installed (Debian: bsdutils)");
        return;
    }
    let push = |words: &str| {
        format!(
            "{} push app --type pi=linux/arm64 --yes {words}",
            env!("CARGO_BIN_EXE_lightship")
        )
    };
    // The command's environment is the desk's; what runs is `script`, which gives it a terminal.
    let on_a_terminal = |line: String| {
        let like = desk.command(&[]);
        let mut script = Command::new("script");
        script
            .env_clear()
            .env("TERM", "xterm")
            .current_dir(desk.folder.path());
        script.envs(
            like.get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        );
        script
            .args(["-q", "-e", "-c", &line, "/dev/null"])
            .stdin(Stdio::null());
        let output = script.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}");
        said
    };
    let is_bar = |said: &str| said.contains("upload") && said.contains("\u{1b}[");
    let said = on_a_terminal(push("--release 1.0.0"));
    assert!(is_bar(&said), "{said:?}");
    let said = on_a_terminal(push("--release 1.1.0 --json"));
    assert!(!is_bar(&said), "{said:?}");
    let elsewhere = desk.run(&["push", "app", "--type", "pi=linux/arm64", "--yes"]);
    let said = [elsewhere.stdout, elsewhere.stderr].concat();
    assert!(!is_bar(&String::from_utf8_lossy(&said)));
}
