//! The daemon of boards, run by an emulator of their processors: registered under SIGKILL at many moments.
//!
//! `cargo xtask test` builds the programs; here they are looked for where cargo puts them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::device::{self, Device};
use crate::shore::Shore;
use crate::{tell, until};

/// The first cut, and how much later each next one comes.
const STEP_MS: u64 = 120;
/// Lives that end by a cut; the last one is left alone.
const CUTS: u64 = 10;

#[test]
fn the_armv7_daemon_registers_once_whatever_moment_the_power_goes() {
    under("qemu-arm-static", "armv7-unknown-linux-gnueabihf");
}

#[test]
fn the_aarch64_daemon_registers_once_whatever_moment_the_power_goes() {
    under("qemu-aarch64-static", "aarch64-unknown-linux-musl");
}

fn under(emulator: &str, target: &str) {
    let Some(here) = device::program() else {
        eprintln!("SKIPPED: lightshipd is not built; `cargo test --workspace` builds it");
        return;
    };
    let profile = here.parent().unwrap();
    let built = profile
        .parent()
        .unwrap()
        .join(target)
        .join("debug/lightshipd");
    if !built.exists() {
        eprintln!("SKIPPED: there is no lightshipd for {target}; `cargo xtask test` builds it");
        return;
    }
    let emulator = Path::new("/usr/bin").join(emulator);
    if !emulator.exists() {
        eprintln!("SKIPPED: qemu-user-static is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("lightshipd");
    let line = format!(
        "#!/bin/sh\nexec {} {} \"$@\"\n",
        emulator.display(),
        built.display()
    );
    fs::write(&script, line).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    tell(|_| registers_once(script));
}

async fn registers_once(program: PathBuf) {
    let shore = Shore::start().await;
    let lines = "engine = \"none\"\ntunnel = \"off\"\nlocal_api = \"none\"";
    let mut device = Device::new(program, &shore, lines).await;
    let mut uuid = None;
    for cut in 1..=CUTS {
        device.start();
        tokio::time::sleep(Duration::from_millis(cut * STEP_MS)).await;
        device.kill();
        let now = saved_uuid(&device).await;
        // Once it has an identity, it has this one for life.
        assert!(uuid.is_none() || now == uuid, "{uuid:?} became {now:?}");
        uuid = now;
    }
    device.start();
    until("the registration", &device, async || {
        !device.configuration().contains("provisioning_key") && shore.is_online().await
    })
    .await;
    let known = saved_uuid(&device).await;
    assert!(uuid.is_none() || known == uuid);
    assert_eq!(shore.devices().await, [known.unwrap()]);
}

/// The identity that a dead daemon has saved, as `status` tells it.
async fn saved_uuid(device: &Device) -> Option<String> {
    let (text, _) = device.ask(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    status["device"]["uuid"].as_str().map(str::to_owned)
}
