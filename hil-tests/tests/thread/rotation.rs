//! Keys are replaced: on command, by the calendar, and while the daemon is killed.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use lightship_core::limits::RECORD_BYTES;
use lightship_core::record::{Identity, RecordRef, decode};
use lightship_core::time::UnixTime;
use serde_json::json;

use crate::device::Device;
use crate::shore::Shore;
use crate::stage::{registered, tell, until};

/// Both keys are replaced, the daemon is killed after each of these pauses meanwhile, and only the tunnel leads to the fleet.
async fn rotate(program: PathBuf, lines: &str, pauses_ms: &[u64]) {
    let (shore, mut device) = registered(program, lines).await;
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

/// The identity that the daemon has saved.
fn identity(device: &Device) -> Identity {
    decode(&fs::read(device.path("data/agent/identity")).unwrap()).unwrap()
}

#[test]
fn keys_are_replaced_when_they_are_old_and_not_again() {
    tell(async |program| {
        let shore = Shore::start().await;
        let lines = "tunnel = \"in-process\"\nrotation_days = 30";
        let mut device = Device::new(program, &shore, lines).await;
        device.start();
        let first = shore
            .push("1.0.0", &["/bin/busybox", "sleep", "1000"])
            .await;
        until("the first release", &device, async || {
            shore.shows(&first).await
        })
        .await;
        // As if the device had been in a drawer since its keys were made.
        device.kill();
        let mut old = identity(&device);
        let long_ago = UnixTime(1_600_000_000);
        old.api_key_rotated = long_ago;
        old.wireguard_rotated = long_ago;
        let mut bytes = vec![0; RECORD_BYTES];
        let length = RecordRef::Identity(&old).encode(&mut bytes).unwrap();
        fs::write(device.path("data/agent/identity"), &bytes[..length]).unwrap();
        let mark = device.said().len();
        device.start();
        shore.https.cut();
        for key in ["KeyRotated(Api)", "KeyRotated(WireGuard)"] {
            until(key, &device, async || device.said()[mark..].contains(key)).await;
        }
        device.kill();
        let new = identity(&device);
        assert!(new.api_key != old.api_key && new.wireguard.public() != old.wireguard.public());
        assert!(new.api_key_rotated > long_ago && new.wireguard_rotated > long_ago);
        assert_eq!(new.uuid, old.uuid);

        // Only the new keys open the fleet now, and they are not old.
        let mark = device.said().len();
        device.start();
        let second = shore
            .push("2.0.0", &["/bin/busybox", "sleep", "1001"])
            .await;
        until("a release with the new keys", &device, async || {
            shore.shows(&second).await
        })
        .await;
        assert!(!device.said()[mark..].contains("KeyProposed"));
    });
}
