//! One thread through everything: a real server, a real daemon, a real container.
//!
//! A device registers, gets a release, runs it, reports it, goes back from a broken one, and starts what it committed again with no server at all.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod device;
mod shore;

use std::time::Duration;

use device::Device;
use shore::Shore;

/// Longest time for one step of the story, in seconds.
const PATIENCE_S: u64 = 90;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_goes_from_the_shore_to_the_device_and_a_broken_one_goes_back() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: containers need root");
        return;
    }
    if !std::path::Path::new("/bin/busybox").exists() {
        eprintln!("SKIPPED: busybox-static is not installed");
        return;
    }
    let Some(program) = device::program() else {
        eprintln!("SKIPPED: lightshipd is not built; `cargo test --workspace` builds it");
        return;
    };
    let shore = Shore::start().await;
    let mut device = Device::new(program, &shore).await;
    device.start();

    let good = shore
        .push("1.0.0", &["/bin/busybox", "sleep", "1000"])
        .await;
    until("the first release", &device, async || {
        shore.shows(&good).await
    })
    .await;
    assert!(
        !device.configuration().contains("provisioning_key"),
        "it is erased"
    );

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
