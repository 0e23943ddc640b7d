//! One thread through everything: a real server, a real daemon, a real container, in a network of their own.
//!
//! A device registers, gets a release, runs it, reports it, goes back from a broken one, and starts what it committed again with no server at all.
//! All but the registration goes through the tunnel: the only other way to the server is cut.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod device;
mod docker;
mod dockerd;
mod foreign;
mod hub_key;
mod kills;
mod local;

mod mounts;
mod packaged;
mod registry;
mod relay;
mod rotation;
mod shore;
mod sight;
mod stage;
mod strategies;
mod supervised;
mod trouble;

use std::path::PathBuf;

use device::Device;
use serde_json::json;
use shore::Shore;
use stage::{registered, tell, until};
use tokio::io::AsyncWriteExt as _;

/// The whole story; after the registration the device reaches the server through its tunnel or not at all.
async fn from_the_shore_and_back(program: PathBuf, lines: &str, is_inside: bool) {
    let (shore, mut device) = registered(program, lines).await;
    if is_inside {
        shore.https.cut();
    }

    let good = shore
        .push("1.0.0", &["/bin/busybox", "sleep", "1000"])
        .await;
    until("the first release", &device, async || {
        shore.shows(&good).await
    })
    .await;

    let bad = shore.push("2.0.0", &["/bin/busybox", "false"]).await;
    until("the rejection", &device, async || {
        shore.state().await.contains("rejected")
    })
    .await;
    until("the way back", &device, async || shore.shows(&good).await).await;
    assert_ne!(good, bad);

    // No server at all: what is committed is started again after the daemon and its containers are gone.
    device.kill_with_containers();
    shore.stop().await;
    device.start();
    until("the release without a server", &device, async || {
        device.runs("sleep 1000")
    })
    .await;
}

#[test]
fn a_release_goes_over_mqtt_in_a_tunnel_inside_the_process_and_a_broken_one_goes_back() {
    tell(async |program| {
        from_the_shore_and_back(program, "tunnel = \"in-process\"", true).await;
    });
}

#[test]
fn a_release_goes_over_http_in_the_best_tunnel_that_the_machine_has() {
    tell(async |program| {
        from_the_shore_and_back(program, "transports = [\"https\"]", true).await;
    });
}

#[test]
fn a_release_goes_over_https_alone() {
    tell(async |program| from_the_shore_and_back(program, "tunnel = \"off\"", false).await);
}

#[test]
fn a_device_whose_tunnel_is_cut_goes_on_over_https_and_comes_back() {
    tell(async |program| {
        let shore = Shore::start().await;
        let lines = "tunnel = \"in-process\"\nprefer_again_s = 2";
        let mut device = Device::new(program, &shore, lines).await;
        shore.tunnel.cut();
        device.start();
        until("the connection beside the tunnel", &device, async || {
            shore.is_online().await
        })
        .await;
        shore.tunnel.mend();
        until("the way back into the tunnel", &device, async || {
            device.said().contains("Switched { to: 0")
        })
        .await;
        shore.https.cut();
        let release = shore
            .push("1.0.0", &["/bin/busybox", "sleep", "1000"])
            .await;
        until("a release in the tunnel", &device, async || {
            shore.shows(&release).await
        })
        .await;
    });
}

/// Answers everybody at this port with a word.
async fn answer_at(port: u16, word: &'static str) {
    let listener = tokio::net::TcpListener::bind(("0.0.0.0", port)).await;
    let listener = listener.unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(word.as_bytes()).await;
        }
    });
}

#[test]
fn what_services_publish_is_reached_through_a_tunnel_that_is_an_interface_and_nothing_else_is() {
    if !std::path::Path::new("/dev/net/tun").exists() {
        eprintln!("SKIPPED: there is no /dev/net/tun");
        return;
    }
    tell(async |program| {
        let shore = Shore::start().await;
        let lines = "tunnel = \"tun\"\ntunnel_ports = [9001]";
        let mut device = Device::new(program, &shore, lines).await;
        device.start();
        let script = "echo the page > /index.html; exec busybox httpd -f -p 8080 -h /";
        let network = json!({
            "mode": {"bridge": {}},
            "ports": [{"host": 8081, "container": 8080, "protocol": "tcp"}],
        });
        let command = ["/bin/busybox", "sh", "-c", script];
        let (release, _) = shore
            .push_with("1.0.0", &command, json!({"network": network}))
            .await;
        until("the release", &device, async || shore.shows(&release).await).await;
        answer_at(9000, "not for the fleet").await;
        answer_at(9001, "for the fleet").await;
        let says = async |port, word: &str| {
            let said = shore.reach(port).await;
            said.is_ok_and(|said| said.contains(word))
        };
        until("the page", &device, async || says(8081, "the page").await).await;
        until("the named port", &device, async || {
            says(9001, "for the fleet").await
        })
        .await;
        for port in [9000, 8080] {
            let said = shore.reach(port).await;
            assert!(said.is_err(), "{port} is reached: {said:?}");
        }
    });
}

#[test]
fn a_device_tells_how_it_does_and_what_its_services_print_and_is_reached_in_its_tunnel() {
    tell(async |program| {
        let shore = Shore::start().await;
        let mut device = Device::new(program, &shore, "tunnel = \"in-process\"").await;
        device.start();
        let old = shore.push_with("1.0.0", &["/bin/busybox", "sleep", "1000"], json!({}));
        let (first, old_spec) = old.await;
        until("the first release", &device, async || {
            shore.shows(&first).await
        })
        .await;
        let script = "echo hello from the web; echo and an error >&2; echo the page > /index.html; exec busybox httpd -f -p 8080 -h /";
        let network = json!({
            "mode": {"bridge": {}},
            "ports": [{"host": 8081, "container": 8080, "protocol": "tcp"}],
        });
        let command = ["/bin/busybox", "sh", "-c", script];
        let (second, new_spec) = shore
            .push_with("2.0.0", &command, json!({"network": network}))
            .await;
        until("the second release", &device, async || {
            shore.shows(&second).await
        })
        .await;

        let printed =
            |lines: &[String], text: &str| lines.iter().filter(|line| *line == text).count();
        until("what the service printed", &device, async || {
            let lines = shore.lines("web").await;
            printed(&lines, "hello from the web") > 0 && printed(&lines, "and an error") > 0
        })
        .await;
        until("what the daemon noted", &device, async || {
            let lines = shore.lines("lightshipd").await;
            lines.iter().any(|line| line.starts_with("Committed"))
        })
        .await;
        until("how the device does", &device, async || {
            let metrics = shore.device().await.unwrap()["metrics"].clone();
            metrics["memory_total_bytes"].as_u64() > Some(0) && metrics["kernel"].is_string()
        })
        .await;
        // Somebody asks: it is said again at once, not in an hour.
        let uptime_s = async || shore.device().await.unwrap()["metrics"]["uptime_s"].as_u64();
        let before = uptime_s().await;
        shore.command(json!({"command": "report"})).await;
        until("how the device does now", &device, async || {
            uptime_s().await > before
        })
        .await;
        until("the page", &device, async || {
            shore
                .reach(8081)
                .await
                .is_ok_and(|page| page.contains("the page"))
        })
        .await;
        assert_eq!(shore.reach(8080).await, Err(409), "nobody published it");

        // What the fleet has it is not sent again.
        device.kill();
        device.start();
        until("the connection after a kill", &device, async || {
            let lines = shore.lines("lightshipd").await;
            lines.iter().filter(|line| *line == "Registered").count() == 1
                && lines.iter().filter(|line| *line == "Connected").count() >= 3
        })
        .await;
        let lines = shore.lines("web").await;
        assert_eq!(printed(&lines, "hello from the web"), 1, "{lines:?}");

        // A last release, so that something is left behind.
        let last = shore
            .push("3.0.0", &["/bin/busybox", "sleep", "1001"])
            .await;
        until("the last release", &device, async || {
            shore.shows(&last).await
        })
        .await;
        until("the garbage collection", &device, async || {
            !device.holds(&old_spec) && !device.holds(&new_spec)
        })
        .await;
    });
}
