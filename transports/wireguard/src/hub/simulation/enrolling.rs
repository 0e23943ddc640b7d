//! Devices that nobody knows.

use super::*;
use crate::enrolment::preshared_key;

const PROVISIONING_KEY: &[u8] = b"fleet 7, June";

fn guest(preshared: PresharedKey) -> KeySet {
    KeySet {
        secret: secret(150),
        hub: secret(3).public(),
        preshared,
    }
}

fn world_with_enrolment() -> World {
    let mut world = World::new(40);
    world.hub.locals.add(
        secret(3),
        Purpose::Enrolment(preshared_key(PROVISIONING_KEY)),
    );
    world.hub.guest_ports.insert(8080, Buffers::SMALL);
    world
}

/// The guest opens a connection; returns whether it stood within ten seconds.
fn connects(world: &mut World, device: usize, port: u16) -> bool {
    let socket = world.devices[device]
        .stack
        .connect(HUB, port, Buffers::SMALL)
        .unwrap();
    let stood = world.run_until(10, |world| {
        world.devices[device].stack.socket(socket).may_send()
    });
    world.run(1);
    world.devices[device].stack.release(socket);
    stood
}

#[test]
fn who_holds_the_provisioning_key_reaches_the_registration_port_alone() {
    let mut world = world_with_enrolment();
    let device = world.bring(
        9,
        GUEST,
        Door::Enrolment,
        guest(preshared_key(PROVISIONING_KEY)),
    );
    assert!(connects(&mut world, device, 8080));
    let arrival = world.arrivals.pop().unwrap();
    assert_eq!(
        world.hub.guests.keys(arrival.peer),
        Some((secret(3).public(), secret(150).public()))
    );
    assert!(
        !connects(&mut world, device, 80),
        "the fleet's services are not for guests"
    );
}

#[test]
fn who_does_not_hold_it_reaches_nothing() {
    for wrong in [preshared_key(b"another key"), PresharedKey::default()] {
        let mut world = world_with_enrolment();
        let device = world.bring(9, GUEST, Door::Enrolment, guest(wrong));
        assert!(!connects(&mut world, device, 8080));
        assert!(world.arrivals.is_empty());
    }
}

#[test]
fn a_revoked_provisioning_key_sends_its_guests_away_and_lets_nobody_in() {
    let mut world = world_with_enrolment();
    let device = world.bring(
        9,
        GUEST,
        Door::Enrolment,
        guest(preshared_key(PROVISIONING_KEY)),
    );
    assert!(connects(&mut world, device, 8080));
    assert!(world.hub.retire_hub_key(&secret(3).public()));
    assert_eq!(world.hub.sizes(), (0, 0, 0));
    assert!(!connects(&mut world, device, 8080));
}

#[test]
fn each_door_takes_its_own_keys_only() {
    let mut world = world_with_enrolment();
    let fleet_keys = KeySet {
        hub: hub_key(),
        ..guest(preshared_key(PROVISIONING_KEY))
    };
    let stranger = world.bring(9, GUEST, Door::Fleet, fleet_keys);
    assert!(!connects(&mut world, stranger, 8080));
    assert!(world.hub.counters.unknown_devices > 0);
    let misled = world.bring(
        10,
        GUEST,
        Door::Fleet,
        guest(preshared_key(PROVISIONING_KEY)),
    );
    assert!(!connects(&mut world, misled, 8080));
    assert!(world.hub.counters.strangers > 0);
}

#[test]
fn a_guest_leaves_when_its_time_is_up() {
    let mut world = world_with_enrolment();
    let device = world.bring(
        9,
        GUEST,
        Door::Enrolment,
        guest(preshared_key(PROVISIONING_KEY)),
    );
    assert!(connects(&mut world, device, 8080));
    world.devices[device].off = true;
    world.run(700);
    assert_eq!(world.hub.sizes(), (0, 0, 0));
}

#[test]
fn two_guests_with_the_same_address_do_not_meet() {
    let mut world = world_with_enrolment();
    let keys = guest(preshared_key(PROVISIONING_KEY));
    let a = world.bring(9, GUEST, Door::Enrolment, keys.clone());
    let b = world.bring(
        10,
        GUEST,
        Door::Enrolment,
        KeySet {
            secret: secret(151),
            ..keys
        },
    );
    assert!(connects(&mut world, a, 8080));
    assert!(connects(&mut world, b, 8080));
    let guests: Vec<u64> = world.arrivals.iter().map(|arrival| arrival.peer).collect();
    assert!(guests.len() == 2 && guests[0] != guests[1]);
}
