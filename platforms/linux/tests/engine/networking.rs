//! Containers that talk: to each other by name, through published ports, and not where they must not.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use lightshipd::engine::{Engine as _, Presence, Reason};

use crate::device::{Device, on_device};

/// A web server that answers with a word.
fn server(word: &str) -> String {
    format!("mkdir -p /tmp/www; echo {word} > /tmp/www/w; echo up; exec httpd -f -p 80 -h /tmp/www")
}

fn fetch(address: &str) -> Option<String> {
    let address: SocketAddr = address.parse().unwrap();
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2)).ok()?;
    stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    stream.write_all(b"GET /w HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    text.lines().last().map(str::to_owned)
}

/// Starts a server and waits until it listens.
async fn serve(
    device: &Device,
    name: &str,
    word: &str,
    rest: &str,
) -> lightshipd::engine::Instance {
    let health = r#","health":{"test":{"tcp":{"port":80}},"interval_ms":20}"#;
    let instance = device
        .run(name, &server(word), &format!("{health}{rest}"))
        .await;
    device
        .until(&instance, |presence| presence == Presence::Healthy)
        .await;
    instance
}

#[test]
fn services_of_an_application_find_each_other_by_name_also_when_one_comes_later() {
    on_device(async |device| {
        let line = "until wget -q -O - http://web/w 2>/dev/null; do sleep 0.02; done; wget -q -O - http://alias/w; hostname";
        let early = device.run("early", line, r#","restart":"no""#).await;
        let mode = r#","network":{"mode":{"bridge":{"default":["alias"]}}}"#;
        let web = serve(&device, "web", "hello", mode).await;
        device
            .until(&early, |presence| presence == Presence::Exited)
            .await;
        assert_eq!(device.output(&early).await, "hello\nhello\nearly\n");
        device.engine.remove(&web).await.unwrap();
        device.engine.remove(&early).await.unwrap();
    });
}

#[test]
fn a_container_has_the_hardware_address_that_its_spec_names() {
    on_device(async |device| {
        let network = r#","network":{"mac_address":"02:42:ac:11:00:07"}"#;
        let said = device.say("cat /sys/class/net/eth0/address; ping -c 1 -W 5 10.118.0.1 | grep -c '1 packets received'", network).await;
        assert_eq!(said, "02:42:ac:11:00:07\n1\n");
    });
}

#[test]
fn a_published_port_leads_to_the_container_until_it_stops() {
    on_device(async |device| {
        let ports = r#","network":{"ports":[{"host":8080,"container":80},{"host":8081,"container":80,"host_ip":"127.0.0.1"}]}"#;
        let web = serve(&device, "web", "published", ports).await;
        assert_eq!(fetch("127.0.0.1:8080").as_deref(), Some("published"));
        assert_eq!(fetch("127.0.0.1:8081").as_deref(), Some("published"));
        // The bridge's own address is the host's too, but 8081 is published on the loopback alone.
        assert_eq!(fetch("10.118.0.1:8080").as_deref(), Some("published"));
        assert_eq!(fetch("10.118.0.1:8081"), None);
        let taken = device
            .stage(
                "other",
                r#","network":{"ports":[{"host":8080,"container":1}]}"#,
            )
            .await
            .unwrap();
        let error = device.engine.start(&taken).await.unwrap_err();
        assert_eq!(error.reason(), Reason::Refused);
        assert!(
            error.to_string().contains("8080") && error.to_string().contains("web"),
            "{error}"
        );
        device.engine.stop(&web).await.unwrap();
        assert_eq!(fetch("127.0.0.1:8080"), None);
        device.engine.remove(&web).await.unwrap();
        let links = std::process::Command::new("ip")
            .args(["-o", "link"])
            .output()
            .unwrap();
        assert!(
            !String::from_utf8_lossy(&links.stdout).contains("ls-"),
            "the bridge is left"
        );
    });
}

#[test]
fn one_application_cannot_reach_another() {
    on_device(async |device| {
        let web = serve(&device, "web", "mine", "").await;
        assert_eq!(fetch("10.118.0.2:80").as_deref(), Some("mine"));
        let line = r#","command":["/bin/sh","-c","echo | nc -w 1 10.118.0.2 80 2>/dev/null; echo $?"],"run":"job","restart":"no""#;
        let stranger = device.stage_of("other", "stranger", line).await.unwrap();
        device.engine.start(&stranger).await.unwrap();
        device
            .until(&stranger, |presence| presence == Presence::Completed)
            .await;
        let said = device.output(&stranger).await;
        assert!(said == "1\n", "{said}");
        device.engine.remove(&web).await.unwrap();
    });
}

#[test]
fn a_container_reaches_the_world_under_the_hosts_address() {
    on_device(async |device| {
        // The world is a second network behind a cable; it knows no way back to the containers' addresses.
        let ip = |arguments: &str| {
            let status = std::process::Command::new("ip")
                .args(arguments.split(' '))
                .status()
                .unwrap();
            assert!(status.success(), "ip {arguments}");
        };
        let world = device
            .run(
                "world",
                "echo up; exec sleep 100",
                r#","network":{"mode":"none"}"#,
            )
            .await;
        let process = device
            .engine
            .state(&world)
            .unwrap()
            .unwrap()
            .process
            .unwrap();
        ip(&format!(
            "link add host0 type veth peer name world0 netns {process}"
        ));
        ip("addr add 198.51.100.1/24 dev host0");
        ip("link set host0 up");
        let inside = |line: &str| {
            let status = std::process::Command::new("nsenter")
                .args(["-t", &process.to_string(), "-n", "sh", "-c", line])
                .status()
                .unwrap();
            assert!(status.success(), "{line}");
        };
        inside("ip addr add 198.51.100.2/24 dev world0 && ip link set world0 up");
        let said = device
            .say("ping -c 1 -W 3 198.51.100.2 >/dev/null && echo reached", "")
            .await;
        assert_eq!(said, "reached\n");
        device.engine.remove(&world).await.unwrap();
    });
}

#[test]
fn host_none_and_shared_networks_are_what_they_say() {
    on_device(async |device| {
        let said = device
            .say("ls /sys/class/net", r#","network":{"mode":"none"}"#)
            .await;
        assert_eq!(said, "lo\n");
        let web = serve(&device, "web", "shared", "").await;
        let line = "wget -q -O - http://127.0.0.1/w";
        assert_eq!(
            device
                .say(line, r#","network":{"mode":{"service":"web"}}"#)
                .await,
            "shared\n"
        );
        let on_host = device.run("host", "exec httpd -f -p 8099", r#","network":{"mode":"host"},"health":{"test":{"tcp":{"port":8099}},"interval_ms":20}"#).await;
        device
            .until(&on_host, |presence| presence == Presence::Healthy)
            .await;
        assert!(TcpStream::connect("127.0.0.1:8099").is_ok());
        device.engine.remove(&on_host).await.unwrap();
        device.engine.remove(&web).await.unwrap();
    });
}

#[test]
fn a_daemon_that_starts_makes_whole_what_was_left_of_the_network() {
    on_device(async |mut device| {
        let ports = r#","network":{"ports":[{"host":8080,"container":80}]}"#;
        let web = serve(&device, "web", "again", ports).await;
        let flushed = std::process::Command::new("nft")
            .args(["delete", "table", "ip", "lightship"])
            .status();
        if !flushed.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: taking rules away behind the engine's back needs nft");
            return;
        }
        assert_eq!(fetch("127.0.0.1:8080"), None);
        device.restart_daemon();
        assert_eq!(fetch("127.0.0.1:8080").as_deref(), Some("again"));
        device.engine.remove(&web).await.unwrap();
    });
}
