//! Commands about devices, with devices that a server knows and one that is really there.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod desk;
#[path = "desk/gadget.rs"]
mod gadget;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use desk::{Desk, project};
use expect_test::expect;
use gadget::{Gadget, UUID};
use lightship_core::id::Digest;
use lightship_wireguard::tunnel::{KeepAlive, KeySet, Tunnel, TunnelConfig};
use lightship_wireguard::{Buffers, PresharedKey, PublicKey, SecretKey};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

#[test]
fn a_device_is_entered_changed_commanded_and_removed() {
    let desk = Desk::with_fleet();
    project(&desk, std::path::Path::new("app"), "hello");
    desk.ok(&["push", "app", "--type", "pi=linux/arm64", "--yes"]);
    desk.ok(&["fleet", "create", "ferry"]);
    let mut told = String::new();
    for words in [
        &["device", "add", UUID, "--type", "pi", "--name", "crane"][..],
        &["device", "tag", "crane", "ring=canary", "old-"],
        &["device", "rename", "3f25", "winch"],
        &["device", "pin", "winch", "1"],
        &["device", "pin", "winch", "7"],
        &[
            "device",
            "windows",
            "winch",
            "daily 02:00-05:00",
            "--zone",
            "Europe/Berlin",
        ],
        &["device", "windows", "winch", "whenever"],
        &["device", "locks", "winch", "override"],
        &["device", "retry", "winch"],
        &["device", "reboot", "winch"],
        &["device", "identify", "winch"],
        &["device", "rotate", "winch"],
        &["device", "restart", "winch", "web"],
        &["device", "list", "--tag", "ring=canary"],
        &["device", "move", "winch", "ferry", "--fleet", "harbour"],
        &[
            "fleet",
            "windows",
            "mon-fri 22:00-04:00",
            "sat,sun 00:00-24:00",
            "--zone",
            "UTC",
            "--fleet",
            "harbour",
        ],
        &["fleet", "rotate-keys", "--over", "6h", "--fleet", "harbour"],
        &[
            "fleet",
            "rotate-keys",
            "--over",
            "soon",
            "--fleet",
            "harbour",
        ],
        &["device", "rm", "winch", "--fleet", "harbour"],
        &["device", "show", "winch", "--fleet", "harbour"],
    ] {
        let fleet = ["--fleet", "harbour"];
        let words = if words.contains(&"--fleet") {
            words.to_vec()
        } else {
            [words, &fleet].concat()
        };
        told += &desk.snapshot(&words);
    }
    expect![[r#"
        $ lightship device add UUID --type pi --name crane --fleet harbour
        uuid              UUID
        name              crane
        fleet             harbour
        type              pi
        connected         no
        [exit code 0]
        $ lightship device tag crane ring=canary old- --fleet harbour
        uuid              UUID
        name              crane
        fleet             harbour
        type              pi
        tags              ring=canary
        connected         no
        [exit code 0]
        $ lightship device rename 3f25 winch --fleet harbour
        uuid              UUID
        name              winch
        fleet             harbour
        type              pi
        tags              ring=canary
        connected         no
        [exit code 0]
        $ lightship device pin winch 1 --fleet harbour
        uuid              UUID
        name              winch
        fleet             harbour
        type              pi
        tags              ring=canary
        connected         no
        pinned to         release 1
        [exit code 0]
        $ lightship device pin winch 7 --fleet harbour
        error: release: the fleet has no such release
        [exit code 5]
        $ lightship device windows winch daily 02:00-05:00 --zone Europe/Berlin --fleet harbour
        uuid              UUID
        name              winch
        fleet             harbour
        type              pi
        tags              ring=canary
        connected         no
        pinned to         release 1
        windows           daily 02:00-05:00 Europe/Berlin
        [exit code 0]
        $ lightship device windows winch whenever --fleet harbour
        error: windows[0]: expected days and hours, such as `mon-fri 22:00-04:00`, `sat,sun 00:00-24:00` or `daily 02:00-05:00`
        [exit code 5]
        $ lightship device locks winch override --fleet harbour
        uuid              UUID
        name              winch
        fleet             harbour
        type              pi
        tags              ring=canary
        connected         no
        pinned to         release 1
        windows           daily 02:00-05:00 Europe/Berlin
        update locks      overridden
        [exit code 0]
        $ lightship device retry winch --fleet harbour
        uuid              UUID
        name              winch
        fleet             harbour
        type              pi
        tags              ring=canary
        connected         no
        pinned to         release 1
        windows           daily 02:00-05:00 Europe/Berlin
        update locks      overridden
        [exit code 0]
        $ lightship device reboot winch --fleet harbour
        asked winch; it does so when it hears of it
        [exit code 0]
        $ lightship device identify winch --fleet harbour
        asked winch; it does so when it hears of it
        [exit code 0]
        $ lightship device rotate winch --fleet harbour
        asked winch; it does so when it hears of it
        [exit code 0]
        $ lightship device restart winch web --fleet harbour
        asked winch; it does so when it hears of it
        [exit code 0]
        $ lightship device list --tag ring=canary --fleet harbour
        UUID                                  NAME   TYPE           RELEASE  RUNS  STATE
        UUID  winch  pi    offline  -        -     -
        [exit code 0]
        $ lightship device move winch ferry --fleet harbour
        error: the fleets have different trust roots: the device would refuse every release of the other
        [exit code 5]
        $ lightship fleet windows mon-fri 22:00-04:00 sat,sun 00:00-24:00 --zone UTC --fleet harbour
        fleet        harbour
        product      harbour
        follows      the newest release
        windows      mon-fri 22:00-04:00, sat,sun 00:00-24:00 UTC
        made         TIME
        [exit code 0]
        $ lightship fleet rotate-keys --over 6h --fleet harbour
        0 devices will be asked for new keys within 21600 s; those that are away, when they are back
        [exit code 0]
        $ lightship fleet rotate-keys --over soon --fleet harbour
        error: invalid value 'soon' for '--over <TIME>': "soon" is no time: expected 90s, 30m, 2h or 1d

        For more information, try '--help'.
        [exit code 2]
        $ lightship device rm winch --fleet harbour
        removed winch
        [exit code 0]
        $ lightship device show winch --fleet harbour
        error: fleet harbour has no device winch
         help: `lightship device list` lists them
        [exit code 4]
    "#]].assert_eq(&told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_says_of_itself_is_shown() {
    let desk = Desk::with_fleet();
    let (gadget, _) = Gadget::register(&desk, &SecretKey::generate()).await;
    let metrics = json!({
        "cpu_percent": 12.5, "memory_used_bytes": 50 << 20, "memory_total_bytes": 100 << 20,
        "disk_used_bytes": 1u64 << 30, "disk_total_bytes": 4u64 << 30, "temperature_c": 48.2,
        "uptime_s": 90_000, "architecture": "arm64", "os": "Debian 12", "kernel": "6.1.0", "agent": "0.1.0"
    });
    assert_eq!(gadget.post("metrics", &metrics).await.status(), 204);
    let told = desk.snapshot(&["device", "show", "crane"]);
    expect![[r#"
        $ lightship device show crane
        uuid              UUID
        name              crane
        fleet             harbour
        type              pi
        connected         over HTTPS
        last seen         TIME
        architecture      arm64
        system            Debian 12
        kernel            6.1.0
        agent             0.1.0
        load              12.5 %
        memory            50 of 100 MiB
        disk              1024 of 4096 MiB
        temperature       48.2 C
        up for            1 d 1 h
        measured          TIME
        registered        TIME
        [exit code 0]
    "#]]
    .assert_eq(&told);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_a_device_is_a_port_of_this_machine() {
    let desk = Desk::with_fleet();
    let secret = SecretKey::generate();
    let (_, answer) = Gadget::register(&desk, &secret).await;
    let told = &answer["registered"]["tunnel"];
    let text = |name: &str| told[name].as_str().unwrap().to_owned();
    let hub = hex(&text("hub"));
    let tunnel = Tunnel::open(TunnelConfig {
        keys: KeySet {
            secret,
            hub: PublicKey(hub),
            preshared: PresharedKey::default(),
        },
        pending: None,
        hub: text("endpoint").parse().unwrap(),
        hub_address: text("gateway").parse().unwrap(),
        address: text("address").parse().unwrap(),
        keep_alive: KeepAlive::Learned,
    });
    let tunnel = tunnel.await.unwrap();
    // The hub learns where the device is from its first packet.
    drop(tunnel.dial(80, Buffers::default()).await.unwrap());
    let mut web = tunnel.listen(8080, Buffers::default()).await.unwrap();
    tokio::spawn(async move {
        while let Some(mut stream) = web.accept().await {
            let mut heard = [0; 4];
            stream.read_exact(&mut heard).await.unwrap();
            stream.write_all(b"pong").await.unwrap();
            stream.flush().await.unwrap();
        }
    });
    let mut child = desk.start(&["device", "tunnel", "crane", "8080", "9", "--json"]);
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut local = || {
        let line: Value = serde_json::from_str(&said.next().unwrap().unwrap()).unwrap();
        line["local"].as_str().unwrap().to_owned()
    };
    let (web, nothing) = (local(), local());
    let talk = move |to: String| {
        let mut stream = TcpStream::connect(to).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        stream.write_all(b"ping").unwrap();
        let mut heard = Vec::new();
        let mut piece = [0; 4];
        while heard.len() < 4 {
            match stream.read(&mut piece) {
                Ok(len) if len > 0 => heard.extend_from_slice(&piece[..len]),
                Ok(_) | Err(_) => break,
            }
        }
        heard
    };
    for _ in 0..2 {
        let web = web.clone();
        let heard = tokio::task::spawn_blocking(move || talk(web))
            .await
            .unwrap();
        assert_eq!(heard, b"pong");
    }
    let heard = tokio::task::spawn_blocking(move || talk(nothing))
        .await
        .unwrap();
    assert_eq!(heard, b"", "nobody listens there, and the connection ends");
    let mut errors = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut errors).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        errors.contains("nothing on the device listens on port 9"),
        "{errors}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ports = format!("80:{}", taken.local_addr().unwrap().port());
    let refused = desk.run(&["device", "tunnel", "crane", &ports]);
    assert_eq!(refused.status.code(), Some(1));
}

fn hex(text: &str) -> [u8; 32] {
    let digest: Digest = text.parse().unwrap();
    digest.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hubs_key_is_replaced_and_the_former_one_retired() {
    let desk = Desk::with_fleet();
    let first = desk.json(&["hub", "show"]);
    assert_eq!(first["former"], Value::Null);
    let _gadget = Gadget::register(&desk, &SecretKey::generate()).await;
    let second = desk.json(&["hub", "rotate", "--over", "1h"]);
    assert_eq!(second["former"], first["key"]);
    assert_ne!(second["key"], first["key"]);
    assert_eq!(second["behind"], 1);
    let said = desk.ok(&["hub", "show"]);
    assert!(said.contains("behind  1 devices"), "{said}");
    let third = desk.json(&["hub", "retire"]);
    assert_eq!(
        (&third["key"], &third["former"]),
        (&second["key"], &Value::Null)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_followed_until_the_server_is_gone() {
    let mut desk = Desk::with_fleet();
    let (gadget, _) = Gadget::register(&desk, &SecretKey([9; 32])).await;
    let say = async |lines: &str| {
        let request = gadget.http.post(format!("{}/device/v1/logs", gadget.url));
        let request = request.header("content-type", "application/x-ndjson");
        let request = request.bearer_auth(&gadget.bearer).body(lines.to_owned());
        assert_eq!(request.send().await.unwrap().status(), 204);
    };
    say("{\"service\":\"web\",\"line\":\"ready\"}\n{\"service\":\"db\",\"stream\":\"err\",\"line\":\"slow\"}").await;
    let mut told = desk.snapshot(&["logs", "crane", "--service", "db"]);
    let mut follow = desk.start(&["logs", "crane", "-f", "-n", "1"]);
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut hear = || {
        let line = lines.next().unwrap().unwrap();
        // The time of each line differs from run to run.
        let (_, rest) = line.split_once(' ').unwrap();
        format!("TIME {rest}\n")
    };
    told += "$ lightship logs crane -f -n 1\n";
    told += &hear();
    say("{\"service\":\"web\",\"line\":\"\\u001b[2Jhidden?\"}").await;
    told += &hear();
    let mut as_json = desk.start(&["logs", "crane", "-f", "-n", "1", "--json"]);
    let mut line = String::new();
    BufReader::new(as_json.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&line["service"], &line["line"]),
        (&json!("web"), &json!("\u{1b}[2Jhidden?"))
    );
    as_json.kill().unwrap();
    as_json.wait().unwrap();
    let began = std::time::Instant::now();
    assert!(desk.stop().success());
    // Nothing is under way but what waits for news.
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "it took its grace"
    );
    told += &format!("[exit code {}]\n", follow.wait().unwrap().code().unwrap());
    let mut said = String::new();
    let mut errors = follow.stderr.take().unwrap();
    errors.read_to_string(&mut said).unwrap();
    told += &said;
    expect![[r#"
        $ lightship logs crane --service db
        TIME db! slow
        [exit code 0]
        $ lightship logs crane -f -n 1
        TIME db! slow
        TIME web  �[2Jhidden?
        [exit code 6]
        error: the server ended the stream
         help: run the command again to go on
    "#]]
    .assert_eq(&told);
}
