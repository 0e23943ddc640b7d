//! Whole commands, against a server that `lightship serve` runs.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod desk;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use desk::{Desk, project};
use expect_test::expect;

#[test]
fn a_person_logs_in_makes_a_fleet_and_its_keys() {
    let mut desk = Desk::with_server();
    let mut told = desk.snapshot(&["login", &desk.url]);
    let wrong = "0".repeat(64);
    told += &desk.snapshot(&["login", &desk.url, "--fingerprint", &wrong]);
    told += &desk.snapshot(&["login", &desk.url, "--fingerprint", &desk.fingerprint]);
    told += &desk.snapshot(&["fleet", "create", "harbour"]);
    told += &desk.snapshot(&["keys", "init", "--no-passphrase"]);
    told += &desk.snapshot(&["keys", "list"]);
    told += &desk.snapshot(&["fleet", "show"]);
    told += &desk.snapshot(&["logout"]);
    told += &desk.snapshot(&["fleet", "list"]);
    expect![[r#"
        $ lightship login SERVER
        error: no authority of this system vouches for SERVER
         help: if its fingerprint is right, pass --fingerprint FINGERPRINT; or pass --ca FILE
        [exit code 3]
        $ lightship login SERVER --fingerprint DIGEST
        error: the server's authority has the fingerprint FINGERPRINT, not the one that was expected
         help: somebody may be between you and the server; if the server was set up anew, ask for its new fingerprint
        [exit code 3]
        $ lightship login SERVER --fingerprint FINGERPRINT
        logged in to SERVER as admin until TIME
        [exit code 0]
        $ lightship fleet create harbour
        made fleet harbour
        next: make its keys with `lightship keys init --fleet harbour`
        [exit code 0]
        $ lightship keys init --no-passphrase
        made keys harbour-root and harbour-release and trust root DESK/config/keys/harbour.root
        keep the root key offline, with a copy: without it, the keys of this fleet cannot be replaced
        [exit code 0]
        $ lightship keys list
        KEY              ID                PUBLIC KEY
        harbour-release  KEYID  DIGEST
        harbour-root     KEYID  DIGEST
        [exit code 0]
        $ lightship fleet show
        fleet        harbour
        product      harbour
        follows      the newest release
        windows      at any time
        made         TIME
        [exit code 0]
        $ lightship logout
        logged out
        [exit code 0]
        $ lightship fleet list
        error: not logged in
         help: run `lightship login https://your.server:7443`, or pass --server and --token
        [exit code 3]
    "#]].assert_eq(&told);
    let login = desk.path("config/keys/harbour-root.key");
    assert_eq!(
        std::fs::metadata(login).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(
        desk.stop().success(),
        "the server stops when it is asked to"
    );
}

#[test]
fn a_project_folder_becomes_a_release_that_is_rolled_out() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    let push = [
        "push",
        "app",
        "--type",
        "pc=linux/amd64",
        "--type",
        "pi=linux/arm64",
        "--release",
        "1.0.0",
    ];
    let mut told = desk.snapshot(&push);
    told += &desk.snapshot(&[&push[..], &["--yes"]].concat());
    let staged = [
        "push",
        "app",
        "--type",
        "pc=linux/amd64",
        "--release",
        "1.1.0",
        "--yes",
        "--wave",
        "ring=canary/2h 10%/1d",
    ];
    told += &desk.snapshot(&staged);
    told += &desk.snapshot(&["release", "rollout", "show", "2"]);
    told += &desk.snapshot(&["release", "rollout", "pause", "2"]);
    told += &desk.snapshot(&["release", "rollout", "pause", "2"]);
    told += &desk.snapshot(&["release", "rollout", "resume", "2"]);
    told += &desk.snapshot(&["release", "rollout", "abort", "2", "--revert"]);
    told += &desk.snapshot(&["release", "invalidate", "2", "--reason", "it was slow"]);
    told += &desk.snapshot(&["release", "list"]);
    expect![[r#"
        $ lightship push app --type pc=linux/amd64 --type pi=linux/arm64 --release 1.0.0
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/amd64
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/arm64
        to be signed: DIGEST
        product               harbour
        device type           pc
        version               1.0.0
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        to be signed: DIGEST
        product               harbour
        device type           pi
        version               1.0.0
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        error: nobody can be asked whether to sign this
         help: pass --yes
        [exit code 2]
        $ lightship push app --type pc=linux/amd64 --type pi=linux/arm64 --release 1.0.0 --yes
        release   1
        version   1.0.0
        state     final
        uploaded  TIME by admin

        device type       pc
        document          DIGEST
        security version  0, floor 0
        components        web

        device type       pi
        document          DIGEST
        security version  0, floor 0
        components        web
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/amd64
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/arm64
        to be signed: DIGEST
        product               harbour
        device type           pc
        version               1.0.0
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        to be signed: DIGEST
        product               harbour
        device type           pi
        version               1.0.0
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        [exit code 0]
        $ lightship push app --type pc=linux/amd64 --release 1.1.0 --yes --wave ring=canary/2h 10%/1d
        release   2
        version   1.1.0
        state     final
        uploaded  TIME by admin

        device type       pc
        document          DIGEST
        security version  0, floor 0
        components        web
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/amd64
        to be signed: DIGEST
        product               harbour
        device type           pc
        version               1.1.0
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        [exit code 0]
        $ lightship release rollout show 2
        release 2 is running
        WAVE         SOAK     WAITING  TOLD  SUCCEEDED  FAILED
        ring=canary  7200 s   0        0     0          0
        10%          86400 s  0        0     0          0
        100%         0 s      0        0     0          0
        [exit code 0]
        $ lightship release rollout pause 2
        release 2 is paused
        WAVE         SOAK     WAITING  TOLD  SUCCEEDED  FAILED
        ring=canary  7200 s   0        0     0          0
        10%          86400 s  0        0     0          0
        100%         0 s      0        0     0          0
        [exit code 0]
        $ lightship release rollout pause 2
        error: the roll-out is not in a state in which that can be done
        [exit code 5]
        $ lightship release rollout resume 2
        release 2 is running
        WAVE         SOAK     WAITING  TOLD  SUCCEEDED  FAILED
        ring=canary  7200 s   0        0     0          0
        10%          86400 s  0        0     0          0
        100%         0 s      0        0     0          0
        [exit code 0]
        $ lightship release rollout abort 2 --revert
        release 2 is aborted
        WAVE         SOAK     WAITING  TOLD  SUCCEEDED  FAILED
        ring=canary  7200 s   0        0     0          0
        10%          86400 s  0        0     0          0
        100%         0 s      0        0     0          0
        [exit code 0]
        $ lightship release invalidate 2 --reason it was slow
        release   2
        version   1.1.0
        state     invalid
        reason    it was slow
        uploaded  TIME by admin

        device type       pc
        document          DIGEST
        security version  0, floor 0
        components        web
        [exit code 0]
        $ lightship release list
        RELEASE  VERSION  STATE    DEVICE TYPES  UPLOADED                  REASON
        1        1.0.0    final    pc pi         TIME  -
        2        1.1.0    invalid  pc            TIME  it was slow
        [exit code 0]
    "#]].assert_eq(&told);
    let shown = desk.json(&["release", "show", "1"]);
    assert_eq!(shown["documents"][0]["components"][0], "web");
}

#[test]
fn what_was_uploaded_is_not_uploaded_again_and_ci_needs_no_person() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    let push = [
        "push",
        "app",
        "--type",
        "pc=linux/amd64",
        "--draft",
        "--yes",
    ];
    let first = desk.json(&push);
    assert_eq!(first["state"], "draft");
    let again = desk.json(&push);
    assert_eq!(again["state"], "draft");
    let left = std::fs::read_dir(desk.path("config/uploads"))
        .unwrap()
        .count();
    assert_eq!(left, 0, "no upload is left open");
    let finalized = desk.json(&["release", "finalize", "1"]);
    assert_eq!(finalized["state"], "final");
}

#[test]
fn a_wrong_compose_file_is_refused_with_line_and_column_before_anything_is_uploaded() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    desk.write(
        "app/compose.yaml",
        "services:\n  web:\n    build: web\n    privilegd: true\n",
    );
    let told = desk.snapshot(&["push", "app", "--type", "pc=linux/amd64", "--yes"]);
    expect![[r#"
        $ lightship push app --type pc=linux/amd64 --yes
        error: compose.yaml:4:5: services.web.privilegd: unknown field; did you mean `privileged`?
         help: nothing was uploaded
        [exit code 1]
    "#]]
    .assert_eq(&told);
    assert_eq!(desk.json(&["release", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_release_is_signed_by_the_publisher_or_not_at_all() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    let push = ["push", "app", "--type", "pc=linux/amd64", "--yes", "--key"];
    desk.ok(&["keys", "new", "other", "--no-passphrase"]);
    let mut told = desk.snapshot(&[&push[..], &["other"]].concat());
    told += &desk.snapshot(&[&push[..], &["absent"]].concat());
    let key = desk.path("config/keys/harbour-release.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    told += &desk.snapshot(&[&push[..], &["harbour-release"]].concat());
    expect![[r#"
        $ lightship push app --type pc=linux/amd64 --yes --key other
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/amd64
        to be signed: DIGEST
        product               harbour
        device type           pc
        version               TIME
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        error: the fleet asks for 1 release keys, and 0 of those used here hold that role
         help: pass more --key; `lightship keys list` shows the keys of this machine
        [exit code 8]
        $ lightship push app --type pc=linux/amd64 --yes --key absent
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/amd64
        to be signed: DIGEST
        product               harbour
        device type           pc
        version               TIME
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        error: DESK/config/keys/absent.key: No such file or directory (os error 2)
         help: `lightship keys list` lists the keys of this machine; a key elsewhere is named by its file
        [exit code 8]
        $ lightship push app --type pc=linux/amd64 --yes --key harbour-release
        web: [stage 0, step 1 of 2] COPY page.html /page.html
        web: [stage 0, step 2 of 2] CMD ["/serve"]
        web: built sha256:DIGEST for linux/amd64
        to be signed: DIGEST
        product               harbour
        device type           pc
        version               TIME
        security version      0, floor 0
        issued                TIME
          web (container, 400 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        error: DESK/config/keys/harbour-release.key can be read by others
         help: run `chmod 600 DESK/config/keys/harbour-release.key`, and think about who may have read it
        [exit code 8]
    "#]].assert_eq(&told);
    assert_eq!(desk.json(&["release", "list"]).as_array().unwrap().len(), 0);
}

#[test]
fn a_root_with_thresholds_is_signed_elsewhere_and_rotated() {
    let desk = Desk::bare();
    for name in ["anna", "ben", "cleo", "release"] {
        desk.ok(&["keys", "new", name]);
    }
    let director = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let make = [
        "keys",
        "root",
        "--root",
        "anna",
        "--root",
        "ben",
        "--root-threshold",
        "2",
        "--release",
        "release",
        "--director",
        director,
        "--out",
        "1.root",
        "--sign",
        "anna",
    ];
    let mut told = desk.snapshot(&make);
    std::fs::copy(desk.path("1.root"), desk.path("copy.root")).unwrap();
    desk.ok(&["keys", "sign", "copy.root", "--key", "ben"]);
    told += &desk.snapshot(&["keys", "attach", "1.root", "copy.root"]);
    told += &desk.snapshot(&[
        "keys", "rotate", "--from", "1.root", "--root", "ben", "--root", "cleo", "--out", "2.root",
        "--sign", "ben", "--sign", "cleo",
    ]);
    desk.ok(&["keys", "sign", "2.root", "--key", "anna"]);
    let shown = desk.json(&["keys", "show", "2.root", "--root", "1.root"]);
    assert!(
        shown["signatures"]
            .as_array()
            .unwrap()
            .iter()
            .all(|signed| signed["enough"] == true)
    );
    told += &desk.snapshot(&["keys", "attach", "1.root", "2.root"]);
    let bad = [&make[..7], &["3"], &make[8..]].concat();
    told += &desk.snapshot(&bad);
    expect![[r#"
        $ lightship keys root --root anna --root ben --root-threshold 2 --release release --director DIGEST --out 1.root --sign anna
        document  root
        digest    DIGEST
        version   1
        issued    TIME
        expires   TIME
        floor     0
        root      2 of KEYID KEYID
        release   1 of KEYID
        director  1 of KEYID
        1 of 2 for this root, not enough yet: KEYID; may still sign: KEYID
        [exit code 0]
        $ lightship keys attach 1.root copy.root
        document  root
        digest    DIGEST
        version   1
        issued    TIME
        expires   TIME
        floor     0
        root      2 of KEYID KEYID
        release   1 of KEYID
        director  1 of KEYID
        2 of 2 for this root, enough: KEYID KEYID
        [exit code 0]
        $ lightship keys rotate --from 1.root --root ben --root cleo --out 2.root --sign ben --sign cleo
        document  root
        digest    DIGEST
        version   2
        issued    TIME
        expires   TIME
        floor     0
        root      2 of KEYID KEYID
        release   1 of KEYID
        director  1 of KEYID
        2 of 2 for this root, enough: KEYID KEYID
        1 of 2 for the root before, not enough yet: KEYID; may still sign: KEYID
        [exit code 0]
        $ lightship keys attach 1.root 2.root
        error: these are not copies of the same document
        [exit code 8]
        $ lightship keys root --root anna --root ben --root-threshold 3 --release release --director DIGEST --out 1.root --sign anna
        error: the threshold of root must be between 1 and the number of its keys
        [exit code 2]
    "#]].assert_eq(&told);
    desk.write("config/keys/wrong", "");
    let pem = std::fs::read_to_string(desk.path("config/keys/anna.key")).unwrap();
    assert!(pem.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    desk.write("passphrase", "not it\n");
    let wrong = desk.run(&[
        "keys",
        "sign",
        "1.root",
        "--key",
        "anna",
        "--passphrase-file",
        "passphrase",
    ]);
    assert_eq!(wrong.status.code(), Some(8));
}

#[test]
fn variables_members_and_provisioning_keys_are_set_listed_and_removed() {
    let desk = Desk::with_fleet();
    let mut told = desk.snapshot(&["env", "set", "COLOUR=red"]);
    desk.ok(&["env", "set", "COLOUR=blue", "--service", "web"]);
    told += &desk.snapshot(&["env", "list"]);
    told += &desk.snapshot(&["env", "rm", "COLOUR", "--service", "web"]);
    told += &desk.snapshot(&["env", "set", "nonsense"]);
    told += &desk.snapshot(&["fleet", "member", "list"]);
    told += &desk.snapshot(&["fleet", "pin", "7"]);
    told += &desk.snapshot(&["device", "list"]);
    told += &desk.snapshot(&["device", "show", "nobody"]);
    told += &desk.snapshot(&["config", "--type", "pi", "--out", "device.toml"]);
    expect![[r#"
        $ lightship env set COLOUR=red
        set COLOUR
        [exit code 0]
        $ lightship env list
        NAME    VALUE  SERVICE  KIND
        COLOUR  red    -        environment
        COLOUR  blue   web      environment
        [exit code 0]
        $ lightship env rm COLOUR --service web
        removed COLOUR
        [exit code 0]
        $ lightship env set nonsense
        error: nonsense: expected NAME=VALUE
        [exit code 2]
        $ lightship fleet member list
        USER   ROLE
        admin  owner
        [exit code 0]
        $ lightship fleet pin 7
        error: policy.release: the fleet has no such release
        [exit code 5]
        $ lightship device list
        UUID  NAME  TYPE    RELEASE  RUNS  STATE
        [exit code 0]
        $ lightship device show nobody
        error: fleet harbour has no device nobody
         help: `lightship device list` lists them
        [exit code 4]
        $ lightship config --type pi --out device.toml
        wrote device.toml: it lets in one device
        [exit code 0]
    "#]]
    .assert_eq(&told);
    let file: toml::Value =
        toml::from_str(&std::fs::read_to_string(desk.path("device.toml")).unwrap()).unwrap();
    assert_eq!(file["server"].as_str(), Some(desk.url.as_str()));
    assert!(
        file["authority"]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    let mode = std::fs::metadata(desk.path("device.toml"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600, "it holds a provisioning key");
    let keys = desk.json(&["fleet", "key", "list"]);
    let id = keys[0]["id"].as_str().unwrap();
    desk.ok(&["fleet", "key", "revoke", id]);
    assert!(desk.json(&["fleet", "key", "list"])[0]["revoked_at"].is_string());
}

#[test]
fn each_kind_of_failure_has_its_exit_code_and_says_what_to_do() {
    let desk = Desk::bare();
    let mut told = desk.snapshot(&["device", "list"]);
    told += &desk.snapshot(&[
        "fleet",
        "list",
        "--server",
        "https://127.0.0.1:1",
        "--token",
        "x",
    ]);
    told += &desk.snapshot(&[
        "fleet",
        "list",
        "--server",
        "http://example.org",
        "--token",
        "x",
    ]);
    told += &desk.snapshot(&["fleet", "list", "--json"]);
    expect![[r#"
        $ lightship device list
        error: not logged in
         help: run `lightship login https://your.server:7443`, or pass --server and --token
        [exit code 3]
        $ lightship fleet list --server https://127.0.0.1:1 --token x
        error: https://127.0.0.1:1: Connection refused (os error 111)
         help: is the server running, and the address right?
        [exit code 6]
        $ lightship fleet list --server http://example.org --token x
        error: http://example.org is not an https:// URL
         help: plain HTTP is for 127.0.0.1 alone: it would show your token to the network
        [exit code 2]
        $ lightship fleet list --json
        {"error":{"code":"denied","help":"run `lightship login https://your.server:7443`, or pass --server and --token","message":"not logged in"}}
        [exit code 3]
    "#]].assert_eq(&told);
    assert_eq!(desk.run(&["fleet", "dance"]).status.code(), Some(2));
}

#[test]
fn completions_and_help_name_every_command_and_the_readme_the_exit_codes() {
    let desk = Desk::bare();
    let bash = desk.ok(&["completions", "bash"]);
    let help = desk.ok(&["--help"]);
    for command in [
        "login",
        "fleet",
        "device",
        "push",
        "build",
        "deploy",
        "release",
        "env",
        "logs",
        "keys",
        "config",
        "completions",
        "hub",
        "rig",
        "serve",
    ] {
        assert!(help.contains(command), "{command}");
        assert!(bash.contains(command), "{command}");
    }
    let readme = include_str!("../README.md");
    let codes = help.split_once("Exit codes:\n").unwrap().1;
    for line in codes.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        assert!(
            readme.contains(&format!("| {code} | {meaning} |")),
            "{line}"
        );
    }
}

#[test]
fn the_server_builds_what_this_machine_would_and_signs_nothing() {
    let desk = Desk::with_fleet();
    project(&desk, Path::new("app"), "hello");
    let push = |words: &[&'static str]| {
        [&["push", "app", "--type", "pi=linux/arm64", "--yes"], words].concat()
    };
    let server = desk.json(&push(&["--build", "server", "--release", "1.0.0"]));
    assert_eq!(server["number"], 1);
    let here = desk.run(&push(&["--release", "1.0.0", "--dry-run"]));
    let there = desk.run(&push(&[
        "--build",
        "server",
        "--release",
        "1.0.0",
        "--dry-run",
    ]));
    let artifact = |output: &std::process::Output| {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines = said
            .lines()
            .filter(|line| line.contains("artifact") || line.contains("spec "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(artifact(&here).len(), 2);
    assert_eq!(
        artifact(&here),
        artifact(&there),
        "the same image, and the same spec"
    );
    let builds = desk.json(&["build", "list"]);
    assert_eq!(
        (&builds[0]["number"], &builds[1]["state"]),
        (&2.into(), &"done".into())
    );
    let shown = desk.json(&["build", "log", "1"]);
    assert_eq!(shown["images"][0]["service"], "web");
    assert_eq!(
        desk.run(&["build", "cancel", "1"]).status.code(),
        Some(5),
        "it has ended"
    );
    desk.write("app/web/Dockerfile", "FROM scratch\nCPOY page.html /\n");
    let wrong = desk.run(&push(&["--build", "server"]));
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(
        said.contains("Dockerfile:2:1") && said.contains("nothing was uploaded"),
        "{said}"
    );
    assert_eq!(
        desk.json(&["build", "list"]).as_array().unwrap().len(),
        2,
        "nothing was sent"
    );
    desk.write("app/web/Dockerfile", "FROM scratch\nRUN id\n");
    let engine = desk.run(&push(&["--build", "server"]));
    let said = String::from_utf8_lossy(&engine.stderr).into_owned();
    assert!(
        said.contains("needs a Docker or podman engine") && said.contains("nothing was signed"),
        "{said}"
    );
    assert_eq!(engine.status.code(), Some(1));
    assert_eq!(desk.json(&["release", "list"]).as_array().unwrap().len(), 1);
}

#[test]
fn firmware_is_pushed_with_the_health_that_is_asked_of_it() {
    use lightship_image::{Entry, Header, Name, Version};
    let desk = Desk::with_fleet();
    let body = [7; 64];
    let header = Header {
        board: Name::new("blinky").unwrap(),
        device_type: Name::new("meter").unwrap(),
        version: Version {
            major: 1,
            minor: 2,
            patch: 3,
        },
        security_version: 0,
        size: 64,
        load: 0x1000,
        entry: 0x1000,
        kind: Entry::Jump,
        digest: lightship_core::id::Digest::of(&body).0,
    };
    let image = [&header.encode()[..], &[0; 64], &body].concat();
    std::fs::write(desk.path("meter.bin"), image).unwrap();
    let push = ["push", "--firmware", "meter.bin", "--release", "1.2.3"];
    let push = |words: &[&'static str]| [&push[..], words].concat();
    let mut told = desk.snapshot(&push(&["--dry-run"]));
    told += &desk.snapshot(&push(&[
        "--dry-run",
        "--health-grace",
        "2m",
        "--health-window",
        "10m",
        "--health-failures",
        "0",
    ]));
    told += &desk.snapshot(&push(&["--dry-run", "--health-grace", "2d"]));
    told += &desk.snapshot(&push(&["--dry-run", "--health-window", "soon"]));
    expect![[r#"
        $ lightship push --firmware meter.bin --release 1.2.3 --dry-run
        to be signed: DIGEST
        product               harbour
        device type           meter
        version               1.2.3
        security version      0, floor 0
        issued                TIME
          firmware (firmware, 320 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 30 s, then for 30 s; 3 failures allowed

        [exit code 0]
        $ lightship push --firmware meter.bin --release 1.2.3 --dry-run --health-grace 2m --health-window 10m --health-failures 0
        to be signed: DIGEST
        product               harbour
        device type           meter
        version               1.2.3
        security version      0, floor 0
        issued                TIME
          firmware (firmware, 320 bytes)
            artifact DIGEST
            spec     DIGEST
            health   within 120 s, then for 600 s; 0 failures allowed

        [exit code 0]
        $ lightship push --firmware meter.bin --release 1.2.3 --dry-run --health-grace 2d
        error: at most 65535 seconds of grace and window
        [exit code 2]
        $ lightship push --firmware meter.bin --release 1.2.3 --dry-run --health-window soon
        error: invalid value 'soon' for '--health-window <TIME>': "soon" is no time: expected 90s, 30m, 2h or 1d

        For more information, try '--help'.
        [exit code 2]
    "#]].assert_eq(&told);
    let asked = push(&["--yes", "--health-grace", "2m", "--health-failures", "1"]);
    assert_eq!(desk.json(&asked)["number"], 1);
}

#[test]
fn a_user_and_a_token_may_do_what_they_were_made_for_and_no_more() {
    let desk = Desk::with_fleet();
    let token = desk.json(&["token", "create", "ci", "--scope", "viewer:harbour"]);
    let secret = token["secret"].as_str().unwrap();
    let id = token["token"]["id"].as_str().unwrap();
    let code = |words: &[&str]| {
        let with = [
            "--token",
            secret,
            "--server",
            &desk.url,
            "--ca",
            "data/ca.pem",
        ];
        desk.run(&[words, &with].concat()).status.code()
    };
    assert_eq!(code(&["fleet", "show"]), Some(0));
    assert_eq!(
        code(&["env", "set", "COLOUR=red"]),
        Some(3),
        "it only looks"
    );
    assert_eq!(code(&["user", "list"]), Some(3));
    desk.ok(&["token", "rm", id]);
    assert_eq!(code(&["fleet", "show"]), Some(3), "it was ended");
    let mut told = desk.snapshot(&["token", "create", "ci", "--scope", "king"]);
    told += &desk.snapshot(&["user", "create", "anna"]);
    told += &desk.snapshot(&["user", "create", "anna"]);
    told += &desk.snapshot(&["user", "admin", "anna", "true"]);
    told += &desk.snapshot(&["user", "rm", "anna"]);
    expect![[r#"
        $ lightship token create ci --scope king
        error: invalid value 'king' for '--scope <SCOPE>': expected admin, or viewer, operator, developer or owner, optionally followed by a colon and a fleet

        For more information, try '--help'.
        [exit code 2]
        $ lightship user create anna
        anna may log in
        [exit code 0]
        $ lightship user create anna
        error: it exists already
        [exit code 5]
        $ lightship user admin anna true
        USER  OF THE SERVER  SINCE
        anna  administrator  TIME
        [exit code 0]
        $ lightship user rm anna
        anna may not log in any more
        [exit code 0]
    "#]]
    .assert_eq(&told);
    let changes = desk.json(&["changes", "--all", "-n", "3"]);
    let what: Vec<&str> = changes
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["what"].as_str().unwrap())
        .collect();
    assert_eq!(what, ["user.deleted", "user.admin-changed", "user.created"]);
}
