//! An hour, and a day, in which nothing much happens.

use super::*;

fn behind(forgets_s: u64) -> Nat {
    Nat {
        forgets_ns: forgets_s * SECOND,
        port: 0,
        used: None,
    }
}

#[test]
fn a_device_behind_a_nat_is_reachable_for_an_hour_and_memory_stays_bounded() {
    let mut world = World::new(1);
    let device = world.device(1);
    world.devices[device].nat = Some(behind(60));
    assert!(world.run_until(10, |world| world.is_up(device)));
    // While it learns there are two silences that are longer than the NAT's memory.
    world.run(30 * 60);
    for minutes in [1, 2, 4, 8, 15] {
        world.run(minutes * 60);
        let took = world
            .reach(device, 30)
            .unwrap_or_else(|| panic!("not reachable after {minutes} quiet minutes"));
        assert!(
            took < 15,
            "{took} s to be reached after {minutes} quiet minutes"
        );
    }
    let (sessions, places, timers) = world.hub.sizes();
    assert!(
        sessions <= 4 && places == 1 && timers <= 1,
        "{sessions} sessions, {places} places, {timers} timers"
    );
    assert!(world.wires.len() < 4);
}

#[test]
fn the_keep_alive_is_as_seldom_as_the_nat_allows_and_costs_a_fraction_of_the_customary_one() {
    for (forgets_s, least_s, most_bytes) in
        [(60, 30, 90_000), (180, 110, 30_000), (600, 250, 20_000)]
    {
        let mut world = World::new(2);
        let device = world.device(1);
        world.devices[device].nat = Some(behind(forgets_s));
        world.run(3 * 3600);
        let interval_s = u64::from(world.devices[device].link.stats().keep_alive_s);
        assert!(
            interval_s >= least_s && interval_s < forgets_s,
            "{interval_s} s for {forgets_s} s"
        );
        let before = world.devices[device].bytes;
        world.run(24 * 3600);
        let day = world.devices[device].bytes - before;
        assert!(
            day < most_bytes,
            "{day} bytes a day behind a NAT of {forgets_s} s"
        );
        assert!(world.reach(device, 30).is_some());
    }
}

#[test]
fn a_nat_that_starts_anew_is_noticed_after_one_interval() {
    let mut world = World::new(3);
    let device = world.device(1);
    world.devices[device].nat = Some(behind(600));
    world.run(3 * 3600);
    world.devices[device].nat.as_mut().unwrap().used = None;
    let handshakes = world.hub.counters.handshakes;
    assert!(world.run_until(300, |world| world.hub.counters.handshakes > handshakes));
    assert!(world.reach(device, 30).is_some());
}

#[test]
fn a_hub_that_starts_anew_is_noticed_after_one_interval() {
    let mut world = World::new(4);
    let device = world.device(1);
    world.devices[device].nat = Some(behind(600));
    world.run(3 * 3600);
    start_the_hub_anew(&mut world, device);
    assert!(world.run_until(300, |world| world.is_up(device)));
    assert!(world.reach(device, 30).is_some());
}

#[test]
fn a_mute_hub_that_starts_anew_is_noticed_after_ten_minutes() {
    let mut world = World::new(6);
    world.mute = true;
    let device = world.device(1);
    world.devices[device].nat = Some(behind(60));
    world.run(3 * 3600);
    assert_eq!(world.devices[device].link.stats().keep_alive_s, 25);
    let before = world.devices[device].bytes;
    world.run(24 * 3600);
    let day = world.devices[device].bytes - before;
    assert!(day < 200_000, "{day} bytes a day");
    start_the_hub_anew(&mut world, device);
    assert!(world.run_until(601, |world| world.is_up(device)));
    assert!(world.reach(device, 30).is_some());
}

fn start_the_hub_anew(world: &mut World, device: usize) {
    let known = keys(1);
    world.hub = World::new(5).hub;
    world
        .hub
        .add(
            world.devices[device].address,
            known.secret.public(),
            known.preshared.clone(),
        )
        .unwrap();
}
