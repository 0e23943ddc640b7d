//! The hub's key and the pre-shared key are replaced under a daemon.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::device::Device;
use crate::shore::Shore;
use crate::stage::{registered, tell, until};

/// A device that is registered and has no other way to the server than its tunnel.
async fn inside(program: PathBuf, lines: &str) -> (Shore, Device) {
    let (shore, device) = registered(program, lines).await;
    shore.https.cut();
    until("the connection in the tunnel", &device, async || {
        let hub = shore.hub_key().await;
        shore.is_online().await && hub["behind"] == 0
    })
    .await;
    (shore, device)
}

fn replaced(device: &Device) -> usize {
    device.said().matches("TunnelReplaced").count()
}

async fn a_release_arrives(shore: &Shore, device: &Device, version: &str) {
    let command = ["/bin/busybox", "sleep", "1000"];
    let release = shore.push(version, &command).await;
    until("a release through the new tunnel", device, async || {
        shore.shows(&release).await
    })
    .await;
}

/// Once while the daemon is there, and once while it is away.
async fn hub_key(program: PathBuf, lines: &str) {
    let (shore, mut device) = inside(program, lines).await;
    let first = shore.hub_key().await;
    for (times, is_away) in [(1, false), (2, true)] {
        if is_away {
            device.kill();
        }
        let during = shore.rotate_hub_key().await;
        assert_eq!(during["behind"], 1);
        if is_away {
            device.start();
        }
        until("the new hub key", &device, async || {
            replaced(&device) == times && shore.hub_key().await["former"].is_null()
        })
        .await;
        assert_eq!(shore.hub_key().await["key"], during["key"]);
    }
    assert_ne!(shore.hub_key().await["key"], first["key"]);
    // Its own keys, and with them the pre-shared one.
    shore.command(json!({"command": "rotate"})).await;
    for note in ["KeyRotated(Api)", "KeyRotated(WireGuard)"] {
        until(note, &device, async || device.said().contains(note)).await;
    }
    until("the pre-shared key", &device, async || {
        replaced(&device) == 3
    })
    .await;
    device.kill();
    device.start();
    a_release_arrives(&shore, &device, "1.0.0").await;
    assert_eq!(
        replaced(&device),
        3,
        "what it uses is what it was told last"
    );
}

#[test]
fn the_hubs_key_and_the_pre_shared_key_are_replaced_in_a_tunnel_inside_the_process() {
    tell(async |program| hub_key(program, "tunnel = \"in-process\"").await);
}

#[test]
fn the_hubs_key_and_the_pre_shared_key_are_replaced_in_the_best_tunnel_that_the_machine_has() {
    tell(async |program| hub_key(program, "").await);
}

#[test]
fn a_device_that_slept_through_a_rotation_until_the_former_key_was_retired_is_told_over_https() {
    tell(async |program| {
        let (shore, mut device) =
            inside(program, "tunnel = \"in-process\"\nprefer_again_s = 2").await;
        device.kill();
        shore.rotate_hub_key().await;
        let left = shore.retire_hub_key().await;
        assert_eq!(
            (&left["former"], &left["behind"]),
            (&Value::Null, &json!(0))
        );
        shore.https.mend();
        device.start();
        until("the new hub key", &device, async || replaced(&device) == 1).await;
        shore.https.cut();
        a_release_arrives(&shore, &device, "1.0.0").await;
    });
}
