//! Keys change while packets and devices get lost.

use super::*;
use crate::hub::note::Note;

/// The three things that can change; `n` is the device.
fn changed(what: &str, n: u8) -> KeySet {
    let keys = keys(n);
    match what {
        "device key" => KeySet {
            secret: secret(200),
            ..keys
        },
        "pre-shared key" => KeySet {
            preshared: PresharedKey([201; 32]),
            ..keys
        },
        "hub key" => KeySet {
            hub: secret(2).public(),
            ..keys
        },
        _ => KeySet {
            secret: secret(200),
            preshared: PresharedKey([201; 32]),
            hub: secret(2).public(),
        },
    }
}

/// The hub accepts the new keys too.
fn offer(world: &mut World, device: usize, new: &KeySet) {
    let address = world.devices[device].address;
    world.hub.offer_key(address, new.secret.public()).unwrap();
    world
        .hub
        .offer_preshared(address, new.preshared.clone())
        .unwrap();
    world.hub.locals.add(secret(2), Purpose::Fleet);
}

const KINDS: [&str; 4] = ["device key", "pre-shared key", "hub key", "all"];

#[test]
fn the_new_key_is_used_and_only_that_retires_the_old_one() {
    for what in KINDS {
        let mut world = World::new(30);
        let device = world.device(1);
        assert!(world.run_until(10, |world| world.is_up(device)));
        let new = changed(what, 1);
        offer(&mut world, device, &new);
        assert!(
            world.upload(device, 100, 5).is_some(),
            "{what}: the old key is still good"
        );
        let now = world.clock();
        world.devices[device].link.offer(now, new.clone()).unwrap();
        assert!(
            world.run_until(5, |world| world.devices[device]
                .notes
                .contains(&LinkNote::KeysConfirmed)),
            "{what}"
        );
        assert!(world.upload(device, 100, 5).is_some(), "{what}");
        assert_eq!(world.devices[device].link.keys(), &new);
        let retired = world
            .hub
            .notes
            .iter()
            .any(|note| matches!(note, Note::DeviceKeyRetired { .. }));
        assert_eq!(retired, matches!(what, "device key" | "all"), "{what}");
    }
}

#[test]
fn any_one_lost_packet_leaves_a_device_that_connects() {
    for what in KINDS {
        for lost in 0..12 {
            let mut world = World::new(31);
            let device = world.device(1);
            assert!(world.run_until(10, |world| world.is_up(device)));
            let new = changed(what, 1);
            offer(&mut world, device, &new);
            let now = world.clock();
            world.devices[device].link.offer(now, new).unwrap();
            world.lose = Some(lost);
            let confirmed = world.run_until(60, |world| {
                world.devices[device]
                    .notes
                    .contains(&LinkNote::KeysConfirmed)
            });
            assert!(confirmed, "{what}, datagram {lost} lost");
            assert!(
                world.upload(device, 100, 30).is_some(),
                "{what}, datagram {lost} lost"
            );
            assert!(
                world.reach(device, 30).is_some(),
                "{what}, datagram {lost} lost"
            );
        }
    }
}

/// The device starts again with what it had stored: the new keys as pending, if `confirmed` was not stored.
fn restart(world: &mut World, device: usize, new: &KeySet, confirmed: bool) {
    let now = world.clock();
    let (current, pending) = if confirmed {
        (new.clone(), None)
    } else {
        (keys(1), Some(new.clone()))
    };
    world.devices[device].link = Link::new(now, current, pending, KeepAlive::Learned).unwrap();
    world.devices[device].stack =
        Stack::new(world.devices[device].address, now.ticks.nanos(), now.ticks);
    world.devices[device].waiting.clear();
    world.devices[device].notes.clear();
}

#[test]
fn a_cut_at_any_moment_leaves_a_device_that_connects() {
    for what in KINDS {
        for cut_ms in (0..140).step_by(10) {
            let mut world = World::new(32);
            let device = world.device(1);
            assert!(world.run_until(10, |world| world.is_up(device)));
            let new = changed(what, 1);
            offer(&mut world, device, &new);
            let now = world.clock();
            world.devices[device].link.offer(now, new.clone()).unwrap();
            let cut = world.now.add_nanos(cut_ms * 1_000_000);
            world.run_until(1, |world| world.now >= cut);
            let confirmed = world.devices[device]
                .notes
                .contains(&LinkNote::KeysConfirmed);
            // The note may or may not have been stored before the cut.
            for stored in [false, confirmed] {
                restart(&mut world, device, &new, stored);
                assert!(
                    world.upload(device, 100, 60).is_some(),
                    "{what}, cut after {cut_ms} ms, stored {stored}"
                );
                assert_eq!(world.devices[device].link.keys(), &new);
            }
        }
    }
}

#[test]
fn keys_that_the_hub_does_not_accept_do_not_cut_the_device_off() {
    let mut world = World::new(33);
    let device = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(device)));
    let now = world.clock();
    world.devices[device]
        .link
        .offer(now, changed("device key", 1))
        .unwrap();
    world.run(30);
    assert!(
        world.upload(device, 100, 10).is_some(),
        "the old keys are back"
    );
    offer(&mut world, device, &changed("device key", 1));
    assert!(
        world.run_until(700, |world| world.devices[device]
            .notes
            .contains(&LinkNote::KeysConfirmed)),
        "and tries again"
    );
}

#[test]
fn a_retired_hub_key_lets_nobody_in() {
    let mut world = World::new(34);
    let device = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(device)));
    world.hub.locals.add(secret(2), Purpose::Fleet);
    assert!(world.hub.retire_hub_key(&hub_key()));
    assert!(world.upload(device, 100, 60).is_none());
    let now = world.clock();
    world.devices[device]
        .link
        .offer(now, changed("hub key", 1))
        .unwrap();
    assert!(world.upload(device, 100, 60).is_some());
}
