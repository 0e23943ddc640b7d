//! One thread through everything: a real server, a real daemon, a real container, in a network of their own.
//!
//! A device registers, gets a release, runs it, reports it, goes back from a broken one, and starts what it committed again with no server at all.
//! All but the registration goes through the tunnel: the only other way to the server is cut.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod device;
mod docker;
mod kills;
mod local;
mod mounts;
mod packaged;
mod registry;
mod relay;
mod shore;
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

use device::Device;
use serde_json::json;
use shore::Shore;

/// Longest time for one step of a story, in seconds.
const PATIENCE_S: u64 = 120;

/// Looks until it is so.
async fn until(what: &str, device: &Device, mut look: impl AsyncFnMut() -> bool) {
    for _ in 0..PATIENCE_S * 4 {
        if look().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    panic!(
        "{what} does not come about; the daemon said:\n{}",
        device.said()
    );
}

fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("containers need root");
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        return Some("busybox-static is not installed");
    }
    let ip = std::process::Command::new("ip").arg("-V").output();
    if ip.is_err() {
        return Some("iproute2 is not installed");
    }
    None
}

/// Tells a story in a network namespace of its own, so that nothing of it shows on this machine; or says why not.
fn tell<F: Future<Output = ()>>(story: impl FnOnce(PathBuf) -> F + Send) {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: {why}");
        return;
    }
    let Some(program) = device::program() else {
        eprintln!("SKIPPED: lightshipd is not built; `cargo test --workspace` builds it");
        return;
    };
    std::thread::scope(|scope| {
        let told = scope.spawn(|| {
            #[expect(
                deprecated,
                reason = "its file-table flag, which is what makes it unsafe, is not given"
            )]
            rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNET).unwrap();
            let up = std::process::Command::new("ip")
                .args(["link", "set", "lo", "up"])
                .status();
            assert!(up.unwrap().success());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(story(program));
        });
        if let Err(panic) = told.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

/// The whole story; after the registration the device reaches the server through its tunnel or not at all.
async fn from_the_shore_and_back(program: PathBuf, lines: &str, is_inside: bool) {
    let shore = Shore::start().await;
    let mut device = Device::new(program, &shore, lines).await;
    device.start();
    until("the registration", &device, async || {
        !device.configuration().contains("provisioning_key") && shore.is_online().await
    })
    .await;
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

/// Both keys are replaced, the daemon is killed after each of these pauses meanwhile, and only the tunnel leads to the fleet.
async fn rotate(program: PathBuf, lines: &str, pauses_ms: &[u64]) {
    let shore = Shore::start().await;
    let mut device = Device::new(program, &shore, lines).await;
    device.start();
    until("the registration", &device, async || {
        !device.configuration().contains("provisioning_key") && shore.is_online().await
    })
    .await;
    shore.https.cut();
    shore.command(json!({"command": "rotate"})).await;
    for pause_ms in pauses_ms {
        tokio::time::sleep(Duration::from_millis(*pause_ms)).await;
        device.kill();
        device.start();
    }
    // A command that was heard and not begun when the daemon was killed is not repeated by itself.
    if !pauses_ms.is_empty() {
        shore.command(json!({"command": "rotate"})).await;
    }
    for key in ["KeyRotated(Api)", "KeyRotated(WireGuard)"] {
        until(key, &device, async || device.said().contains(key)).await;
    }
    device.kill();
    device.start();
    let release = shore
        .push("1.0.0", &["/bin/busybox", "sleep", "1000"])
        .await;
    until("a release with the new keys", &device, async || {
        shore.shows(&release).await
    })
    .await;
}

#[test]
fn keys_are_replaced_on_command_and_kills_in_between_cost_nothing() {
    tell(async |program| {
        // Over HTTP: the server's broker may forget the subscriptions of a device that comes back while its last connection still stands there.
        let lines = "tunnel = \"in-process\"\ntransports = [\"https\"]";
        rotate(program, lines, &[5, 60, 20, 150, 90]).await;
    });
}

#[test]
fn keys_are_replaced_in_the_best_tunnel_that_the_machine_has() {
    tell(async |program| rotate(program, "", &[]).await);
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
