//! The daemon of boards, run by an emulator of their processors: it registers once, whatever moment the power goes.
//!
//! `cargo xtask test` builds the program for armv7, `cargo xtask dist` those that are shipped; here they are looked for where these put them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::device::{self, Device};
use crate::shore::Shore;
use crate::{tell, until};

/// Lives that end by a cut; the last one is left alone.
const CUTS: u32 = 12;
/// The first cut comes after this part of the time that the program takes to begin, each next one so much later.
const STEPS: u32 = 3;

#[test]
fn the_armv7_daemon_registers_once_whatever_moment_the_power_goes() {
    under("qemu-arm-static", "armv7-unknown-linux-gnueabihf", "armhf");
}

#[test]
fn the_aarch64_daemon_registers_once_whatever_moment_the_power_goes() {
    under("qemu-aarch64-static", "aarch64-unknown-linux-musl", "arm64");
}

/// The program for another processor, built with these tests or shipped.
fn program(target: &str, architecture: &str) -> Option<PathBuf> {
    let here = device::program()?;
    let all = here.parent()?.parent()?;
    let version = env!("CARGO_PKG_VERSION");
    let places = [
        all.join(target).join("debug/lightshipd"),
        all.join(format!("dist/lightshipd-{version}-{architecture}")),
    ];
    places.into_iter().find(|place| place.exists())
}

fn under(emulator: &str, target: &str, architecture: &str) {
    let Some(built) = program(target, architecture) else {
        eprintln!(
            "SKIPPED: there is no lightshipd for {architecture}; `cargo xtask dist {architecture} lightshipd` builds it"
        );
        return;
    };
    let emulator = Path::new("/usr/bin").join(emulator);
    if !emulator.exists() {
        eprintln!("SKIPPED: qemu-user-static is not installed");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let executable = || fs::Permissions::from_mode(0o755);
    // What is shipped lies there as data.
    let program = folder.path().join(architecture);
    fs::copy(&built, &program).unwrap();
    fs::set_permissions(&program, executable()).unwrap();
    let script = folder.path().join("lightshipd");
    let line = format!(
        "#!/bin/sh\nexec {} {} \"$@\"\n",
        emulator.display(),
        program.display()
    );
    fs::write(&script, line).unwrap();
    fs::set_permissions(&script, executable()).unwrap();
    let began = Instant::now();
    let help = Command::new(&script).arg("help").output().unwrap();
    assert!(help.status.success(), "{help:?}");
    let step = began.elapsed() / STEPS;
    tell(async |_| registers_once(script, step).await);
}

async fn registers_once(program: PathBuf, step: Duration) {
    let shore = Shore::start().await;
    let lines = "engine = \"none\"\ntunnel = \"off\"\nlocal_api = \"none\"";
    let mut device = Device::new(program, &shore, lines).await;
    let mut uuid = None;
    for cut in 1..=CUTS {
        device.start();
        tokio::time::sleep(step * cut).await;
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
    let known = known.expect("a registered device has an identity");
    assert_eq!(shore.device().await.unwrap()["uuid"], known.as_str());
}

/// The identity that was saved, as `status` tells it; also while no daemon runs.
async fn saved_uuid(device: &Device) -> Option<String> {
    let (text, _) = device.ask(&["status", "--json"]).await;
    let status: Value = serde_json::from_str(&text).unwrap();
    status["device"]["uuid"].as_str().map(str::to_owned)
}
