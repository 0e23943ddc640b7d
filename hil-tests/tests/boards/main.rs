//! The virtual boards' whole firmware against a real server: enrolment, updates, power really cut.
//!
//! The boards are QEMU machines; their network is QEMU's, through which they see this host's
//! loopback at 10.0.2.2. A power cut halts the processor and kills QEMU: what the flash has
//! acknowledged stays, and nothing else happens.
//! `LIGHTSHIP_LONG=1` makes it 200 cuts instead of 20.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "../../../platforms/mcu/tests/virtual_boards/board.rs"]
#[allow(dead_code, reason = "the other test uses the rest")]
mod board;
mod device;
mod gangway;
#[path = "../../../platforms/mcu/tests/virtual_boards/images.rs"]
mod images;
#[path = "../mcu/shore.rs"]
#[allow(dead_code, reason = "the other test uses the rest")]
mod shore;

use board::{CORTEX_M3_SF2, Kind, RISCV_VIRT, RISCV_VIRT_HTTP};
use device::{Device, until};
use gangway::Gangway;
use shore::Shore;
use std::time::Instant;

/// The folder of the boards.
const BOARDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../platforms/mcu/boards");
/// The host's loopback in QEMU's network.
const HOST: &str = "10.0.2.2";
/// What a resumed download may fetch again: since the last record of its position.
const PAGE: u64 = 4096;
/// The deepest that a firmware's stack may go: with its variables it takes the 64 KB of a small chip, and a frame that grows is noticed before it takes much more.
const STACK_MOST: u64 = 18 * 1024;

fn is_long() -> bool {
    std::env::var_os("LIGHTSHIP_LONG").is_some()
}

/// A fleet and a board of it that was just switched on.
async fn begin(kind: &'static Kind) -> Option<(Shore, Device)> {
    let device = Device::new(kind)?;
    let shore = Shore::start_for("virtual", HOST).await;
    Some(switch_on(device, shore).await)
}

async fn switch_on(mut device: Device, shore: Shore) -> (Shore, Device) {
    device.configure(&shore.block().await);
    device.start();
    until("the registration", &mut device, async |device| {
        device.has("ProvisioningKeyErased") && shore.device().await.is_some()
    })
    .await;
    (shore, device)
}

async fn lives(kind: &'static Kind) {
    let Some((shore, mut device)) = begin(kind).await else {
        return;
    };
    assert_eq!(device.runs(), "1.0.0");
    let good = shore.push("2.0.0", &device.image(2, 0)).await;
    until("the update", &mut device, async |_| {
        shore.shows(&good).await
    })
    .await;
    assert_eq!(device.runs(), "2.0.0");

    shore.push("3.0.1", &device.image(3, 1)).await;
    until("the rejection", &mut device, async |device| {
        device.has("Rejected") && shore.state().await.contains("rejected")
    })
    .await;
    until("the way back", &mut device, async |device| {
        device.runs() == "2.0.0" && shore.shows(&good).await
    })
    .await;
    let stack = device.stack().unwrap();
    println!("{}: stack {stack}", kind.name);
    // `cargo xtask size` shows it.
    let path = format!("{}/stack-{}", env!("CARGO_TARGET_TMPDIR"), kind.name);
    std::fs::write(path, stack.to_string()).unwrap();
    assert!(stack <= STACK_MOST, "{stack} bytes of stack");
    shore.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_riscv_board_enrols_updates_itself_and_goes_back_from_a_broken_image() {
    lives(&RISCV_VIRT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cortex_m3_board_enrols_updates_itself_and_goes_back_from_a_broken_image() {
    lives(&CORTEX_M3_SF2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_at_the_last_page_after_a_cut_and_over_another_transport() {
    let Some(device) = Device::new(&RISCV_VIRT_HTTP) else {
        return;
    };
    let gangway = Gangway::build().await;
    let address = Some(gangway.address);
    let shore = Shore::start_with("virtual", HOST, |config| config.tunnel.mqtt = address).await;
    gangway.lead_to(shore.broker());
    let (shore, mut device) = switch_on(device, shore).await;
    let new = device.image(2, 0);
    assert!(new.len() >= 256 * 1024);
    let release = shore.push("2.0.0", &new).await;
    for (goal, transport) in [(60_000, "mqtt"), (130_000, "http"), (200_000, "mqtt")] {
        let before = device.fetched();
        device.only_http(transport == "http");
        let told = device.restart();
        until("the next part", &mut device, async |device| {
            device.fetched() >= goal
        })
        .await;
        let first = device.first_fetched(told);
        println!("{transport}: went on at {first}, had {before}");
        let (least, most) = (before.saturating_sub(PAGE), before + device::CHUNK);
        assert!(first > least && first <= most, "{first}, {before}");
    }
    goes_on_in_one_life(&mut device, gangway, new.len() as u64).await;
    until("the update", &mut device, async |_| {
        shore.shows(&release).await
    })
    .await;
    shore.stop().await;
}

/// The broker is gone in the middle of the download, and the rest comes over HTTP without a restart.
async fn goes_on_in_one_life(device: &mut Device, gangway: Gangway, goal: u64) {
    let (before, told) = (device.fetched(), device.told());
    assert!(
        before + 8 * PAGE < goal,
        "{before}: too late to break anything"
    );
    gangway.take_away().await;
    until("the rest", device, async |device| device.fetched() >= goal).await;
    let first = device.first_fetched(told);
    println!("http in the same life: went on at {first}, had {before}");
    let (least, most) = (before.saturating_sub(PAGE), before + device::CHUNK);
    assert!(first > least && first <= most, "{first}, {before}");
    assert!(device.fetched_in_one_life(told, goal), "it restarted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_board_whose_power_is_cut_at_any_point_of_an_update_runs_a_whole_image_and_says_which() {
    let Some((shore, mut device)) = begin(&RISCV_VIRT).await else {
        return;
    };
    let cuts = if is_long() { 200 } else { 20 };
    let start = Instant::now();
    let first = shore.push("2.0.0", &device.image(2, 0)).await;
    until("the update", &mut device, async |_| {
        shore.shows(&first).await
    })
    .await;
    // A whole update, and a little of the time after it.
    let longest = start.elapsed() * 9 / 8;
    let (mut done, mut major) = (0, 2);
    let mut random = 0x5EED_u64;
    while done < cuts {
        major += 1;
        let release = shore
            .push(&format!("{major}.0.0"), &device.image(major, 0))
            .await;
        // Several cuts hit one update, so that each is resumed and cut again.
        for _ in 0..5.min(cuts - done) {
            random = random
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            let life = longest.mul_f64((random >> 40) as f64 / f64::from(1 << 24));
            tokio::time::sleep(life).await;
            device.restart();
            done += 1;
        }
        until("the update", &mut device, async |_| {
            shore.shows(&release).await
        })
        .await;
        device.tells_the_truth(major);
    }
    println!(
        "{done} power cuts, {} updates, longest {longest:?}",
        major - 1
    );
    shore.stop().await;
}
