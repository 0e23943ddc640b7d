//! 100,000 devices through a staged roll-out, in simulated time.
//!
//! One in a hundred rejects the release, one in ten is off for days, everybody else takes it within an hour of being told.
//! `cargo xtask bench fleet` prints what it cost.

#[path = "../tests/world/mod.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::Instant;

use lightship_core::id::Uuid;
use lightship_director::{Device, Phase};
use world::{World, device_id, name, release, staged};

const DEVICES: u64 = 100_000;
const HOUR_S: u64 = 3600;
const DAY_S: u64 = 24 * HOUR_S;

/// What a device does when it is told: a number that differs from device to device.
fn character(device: &Uuid) -> u64 {
    let word = device.0.last_chunk::<8>().copied().unwrap_or_default();
    u64::from_be_bytes(word).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

fn main() {
    // Tests of the workspace start every bench target, too.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let mut world = World::silent();
    let started = Instant::now();
    for i in 0..DEVICES {
        world
            .device(device_id(i), "", Device::new(name("pi")))
            .expect("within bounds");
    }
    report("a device joins", started);

    let started = Instant::now();
    world.release(1, release(1)).expect("a good release");
    report("a release for all at once", started);
    for uuid in all(&world) {
        world.commits(uuid);
    }

    let plan = staged(2, &[1, 5, 20, 50, 100], 3600, true);
    let before = world.spent;
    let days = roll_out(&mut world, plan);
    let spent = (world.spent - before).as_secs_f64();
    println!("five waves took {days:.1} simulated days");
    figure("director, staged roll-out to 100,000 devices", "s", spent);

    let started = Instant::now();
    for uuid in all(&world) {
        world.rejects(uuid);
    }
    report("a report that changes nothing", started);
    let started = Instant::now();
    world.restart();
    report("a device looked at after a restart", started);
}

fn all(world: &World) -> Vec<Uuid> {
    world.devices.keys().copied().collect()
}

/// Steps an hour at a time until the roll-out is completed and everybody reported; returns the days it took.
fn roll_out(world: &mut World, plan: lightship_director::Release) -> f64 {
    world.release(2, plan).expect("a good release");
    let mut told = BTreeSet::new();
    let start = world.now;
    while (told.len() as u64) < DEVICES || !is_completed(world) {
        for uuid in all(world) {
            let off = character(&uuid).is_multiple_of(10) && world.now < start + 3 * DAY_S;
            if off || world.given(uuid) != Some(2) || !told.insert(uuid) {
                continue;
            }
            if character(&uuid) % 100 == 1 {
                world.rejects(uuid);
            } else {
                world.commits(uuid);
            }
        }
        world.pass(HOUR_S);
        assert!(world.now < start + 30 * DAY_S, "the roll-out does not end");
    }
    (world.now - start) as f64 / DAY_S as f64
}

fn is_completed(world: &World) -> bool {
    let rollout = world.director.rollout(2);
    rollout.is_some_and(|rollout| rollout.progress.phase == Phase::Completed)
}

fn report(what: &str, started: Instant) {
    let each = started.elapsed().as_secs_f64() / DEVICES as f64 * 1e6;
    figure(&format!("director, {what}, each"), "us", each);
}

fn figure(name: &str, unit: &str, ours: f64) {
    println!(r#"{{"name": "{name}", "unit": "{unit}", "ours": {ours:.3}}}"#);
}
