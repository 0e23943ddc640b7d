//! A microcontroller's firmware against a real server: enrolment, updates, power cuts, rotation.
//!
//! The firmware is the host board: the same code as on a board, with its flash in a file.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod device;
mod shore;

use std::time::{Duration, Instant};

use device::Device;
use lightship_board_host::Behaviour;
use lightship_core::id::Digest;
use shore::{Shore, image};

/// Longest time for one step of the story, in seconds.
const PATIENCE_S: u64 = 60;

/// Looks until it is so.
async fn until(what: &str, device: &Device, look: impl AsyncFnMut() -> bool) {
    look_every(Duration::from_millis(100), what, device, look).await;
}

/// The same for what is over soon.
async fn look_every(
    pause: Duration,
    what: &str,
    device: &Device,
    mut look: impl AsyncFnMut() -> bool,
) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(PATIENCE_S) {
        if look().await {
            return;
        }
        tokio::time::sleep(pause).await;
    }
    panic!(
        "{what} does not come about; the device said:\n{}",
        device.said()
    );
}

/// A fleet and a device of it that was just switched on.
async fn begin() -> Option<(Shore, Device)> {
    let Some(program) = device::program() else {
        eprintln!("SKIPPED: lightship-board-host is not built; `cargo test --workspace` builds it");
        return None;
    };
    let shore = Shore::start().await;
    let first = image("1.0.0", 20_000, Behaviour::Healthy);
    let mut device = Device::new(program, &first, &shore.block().await);
    device.start();
    Some((shore, device))
}

/// Pushes an image and waits until it is committed.
async fn update(shore: &Shore, device: &Device, version: &str, size: usize) -> Digest {
    let image = image(version, size, Behaviour::Healthy);
    let release = shore.push(version, &image).await;
    until("the update", device, async || shore.shows(&release).await).await;
    release
}

/// The version that runs, as the bootloader said last.
fn runs(device: &Device) -> String {
    let boot = device.all("boot").pop().unwrap();
    boot["version"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_enrols_updates_itself_and_goes_back_from_an_image_that_fails_its_self_test() {
    let Some((shore, device)) = begin().await else {
        return;
    };
    until("the registration", &device, async || {
        shore.device().await.is_some() && device.noted("ProvisioningKeyErased", "")
    })
    .await;
    assert!(!device.has_provisioning_key(), "it is erased from flash");
    let good = update(&shore, &device, "2.0.0", 100_000).await;
    assert_eq!(runs(&device), "2.0.0");

    shore
        .push("3.0.0", &image("3.0.0", 50_000, Behaviour::Ill))
        .await;
    until("the rejection", &device, async || {
        shore.state().await.contains("rejected")
    })
    .await;
    until("the way back", &device, async || {
        shore.shows(&good).await && runs(&device) == "2.0.0"
    })
    .await;
    assert!(device.noted("Rejected", "Unhealthy"));
    shore.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_crashes_and_one_that_hangs_are_given_up_by_the_bootloader_and_reported() {
    let Some((shore, device)) = begin().await else {
        return;
    };
    let good = update(&shore, &device, "2.0.0", 30_000).await;
    for (version, behaviour, reset, said) in [
        (
            "3.0.0",
            Behaviour::Crashes,
            "fault",
            "ended with a fault: panicked",
        ),
        ("4.0.0", Behaviour::Hangs, "watchdog", "reset=watchdog"),
    ] {
        shore
            .push(version, &image(version, 30_000, behaviour))
            .await;
        until("the trial", &device, async || {
            let boots = device.all("boot");
            let tries = boots.iter().filter(|boot| boot["version"] == version);
            tries.count() == 3 && runs(&device) == "2.0.0"
        })
        .await;
        let boots = device.all("boot");
        let back = boots.last().unwrap();
        assert_eq!(back["outcome"], "Reverted(TriesSpent)");
        assert_eq!(back["reset"], reset);
        until("the report", &device, async || {
            shore.state().await.contains("rejected") && shore.shows(&good).await
        })
        .await;
        // Before the next one: the lines of an image that never lives long would give way to others'.
        until("the logs", &device, async || {
            let logs = shore.logs().await;
            let has = |line: &serde_json::Value| {
                let line = line["line"].as_str();
                line.is_some_and(|line| line.contains(said))
            };
            logs.iter().any(has)
        })
        .await;
    }
    assert!(device.noted("Rejected", "BootedOld"));
    shore.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_at_the_last_page_after_a_cut_and_over_another_transport() {
    let Some((shore, mut device)) = begin().await else {
        return;
    };
    until("the registration", &device, async || {
        device.noted("ProvisioningKeyErased", "")
    })
    .await;
    let new = image("2.0.0", 256 * 1024, Behaviour::Healthy);
    let release = shore.push("2.0.0", &new).await;
    // All of it takes a tenth of a second where nothing else runs.
    let pause = Duration::from_millis(2);
    look_every(pause, "the first part", &device, async || {
        device.fetched() > 50_000
    })
    .await;
    device.cut();
    let before = device.fetched();
    let told = device.all("fetched").len();

    device.start_with(&["--http"]);
    until("the second half", &device, async || {
        shore.shows(&release).await
    })
    .await;
    let fetched = device.all("fetched");
    let first: u64 = fetched[told]["bytes"].as_str().unwrap().parse().unwrap();
    assert!(
        first > before - 4096 - 1024 && first <= before + 2048,
        "it went on at {first}, and had {before}"
    );
    shore.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_keys_are_rotated_while_it_runs_and_hold_after_a_cut() {
    let Some((shore, mut device)) = begin().await else {
        return;
    };
    until("the registration", &device, async || {
        device.noted("ProvisioningKeyErased", "")
    })
    .await;
    shore
        .command(serde_json::json!({"command": "rotate"}))
        .await;
    until("the new keys", &device, async || {
        device.noted("KeyRotated", "Api") && device.noted("KeyRotated", "WireGuard")
    })
    .await;
    device.cut();
    device.start();
    update(&shore, &device, "2.0.0", 30_000).await;
    shore.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hubs_key_and_the_pre_shared_key_are_replaced_and_hold_after_a_cut() {
    let Some((shore, mut device)) = begin().await else {
        return;
    };
    until("the registration", &device, async || {
        device.noted("ProvisioningKeyErased", "") && shore.hub_key().await["behind"] == 0
    })
    .await;
    let replaced = |device: &Device| {
        let notes = device.all("note");
        notes
            .iter()
            .filter(|note| note["note"] == "TunnelReplaced")
            .count()
    };
    let before = shore.hub_key().await;
    // Once while it is there, and once while it is away: the hub answers to both keys until it has come back.
    for (times, is_away) in [(1, false), (2, true)] {
        if is_away {
            device.cut();
        }
        shore.rotate_hub_key().await;
        if is_away {
            device.start();
        }
        until("the new hub key", &device, async || {
            replaced(&device) == times && shore.hub_key().await["former"].is_null()
        })
        .await;
    }
    assert_ne!(shore.hub_key().await["key"], before["key"]);
    shore
        .command(serde_json::json!({"command": "rotate"}))
        .await;
    until("the device's own new keys", &device, async || {
        device.noted("KeyRotated", "WireGuard") && replaced(&device) == 3
    })
    .await;
    device.cut();
    device.start();
    update(&shore, &device, "2.0.0", 30_000).await;
    shore.stop().await;
}

/// Kills at any time, as many as the environment asks for; each life is a little longer or shorter than the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_whose_power_is_cut_again_and_again_runs_a_whole_image_and_says_which() {
    let Some((shore, mut device)) = begin().await else {
        return;
    };
    let wanted = std::env::var("LIGHTSHIP_KILLS").ok();
    let wanted: u64 = wanted.map_or(12, |kills| kills.parse().unwrap());
    let mut kills = 0;
    let mut chance: u64 = 0x5DEE_CE66;
    for number in 2.. {
        let version = format!("{number}.0.0");
        let new = image(&version, 60_000, Behaviour::Healthy);
        let release = shore.push(&version, &new).await;
        for _ in 0..6 {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let life = Duration::from_millis(20 + (chance >> 33) % 2500);
            tokio::time::sleep(life).await;
            device.cut();
            kills += 1;
            device.start();
        }
        until("the update", &device, async || shore.shows(&release).await).await;
        assert_eq!(runs(&device), version, "it says what runs");
        let allowed = [version, format!("{}.0.0", number - 1)];
        for boot in device.all("boot").iter().rev().take(7) {
            assert!(
                allowed
                    .iter()
                    .any(|version| boot["version"] == version.as_str()),
                "{boot}"
            );
        }
        if kills >= wanted {
            break;
        }
    }
    println!("{kills} power cuts");
    shore.stop().await;
}

/// How long it is watched.
const QUIET: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_has_nothing_to_do_sleeps() {
    let Some((shore, device)) = begin().await else {
        return;
    };
    update(&shore, &device, "2.0.0", 30_000).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let before = device.ticks();
    tokio::time::sleep(QUIET).await;
    let ticks = device.ticks() - before;
    println!("{ticks} hundredths of a second of the processor in {QUIET:?}");
    assert!(
        ticks < 25,
        "{ticks} hundredths of a second of the processor in {QUIET:?}"
    );
    shore.stop().await;
}
