//! Bad input.

use super::*;
use wireguard_sans_io::Encapsulated;

#[test]
fn noise_is_dropped_and_counted() {
    let mut world = World::new(50);
    let device = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(device)));
    let from: SocketAddr = (Ipv4Addr::new(203, 0, 113, 5), 4000).into();
    let before = world.hub.counters;
    for n in 0..20_000u64 {
        let length = world.random(200) as usize;
        let mut noise = vec![0; length];
        world.chance.fill(&mut noise).unwrap();
        // Most of it looks like WireGuard at first sight.
        if let Some(first) = noise.first_mut() {
            *first %= 6;
        }
        if n % 3 == 0 && length > 3 {
            noise[1..4].fill(0);
        }
        world.at_hub(Door::Fleet, from, &noise);
    }
    let after = world.hub.counters;
    let counted =
        after.malformed + after.strangers + after.unknown_sessions + after.pings + after.forged
            - before.malformed
            - before.strangers
            - before.unknown_sessions
            - before.pings
            - before.forged;
    assert_eq!(counted, 20_000);
    assert!(world.upload(device, 1000, 5).is_some());
}

#[test]
fn what_was_overheard_opens_nothing_when_it_is_sent_again() {
    let mut world = World::new(51);
    world.overheard = Some(Vec::new());
    let device = world.device(1);
    assert!(world.upload(device, 5_000, 30).is_some());
    world.run(5);
    let overheard = world.overheard.take().unwrap();
    let thief: SocketAddr = (Ipv4Addr::new(203, 0, 113, 5), 4000).into();
    let before = (
        world.hub.counters,
        world
            .hub
            .peer(world.hub.id(world.devices[device].address).unwrap())
            .unwrap()
            .endpoint,
    );
    world.arrivals.clear();
    for (door, _, bytes) in &overheard {
        world.at_hub(*door, thief, bytes);
    }
    world.run(5);
    let after = (
        world.hub.counters,
        world
            .hub
            .peer(world.hub.id(world.devices[device].address).unwrap())
            .unwrap()
            .endpoint,
    );
    assert_eq!(before.1, after.1, "the device is where it was");
    assert!(world.arrivals.is_empty());
    assert!(after.0.replayed > before.0.replayed);
    assert_eq!(after.0.handshakes, before.0.handshakes);
    assert!(world.upload(device, 1000, 5).is_some());
}

/// An inner UDP packet with these addresses, sent by the device through its own tunnel.
fn inject(world: &mut World, device: usize, from: Ipv4Addr, to: Ipv4Addr) {
    let mut packet = vec![0; 28];
    packet[0] = 0x45;
    packet[3] = 28;
    packet[8] = 64;
    packet[9] = 17;
    packet[12..16].copy_from_slice(&from.octets());
    packet[16..20].copy_from_slice(&to.octets());
    let now = world.clock();
    let mut buffer = [0; 2048];
    let Output::Datagram(wire) =
        world.devices[device]
            .link
            .send(now, &packet, &mut buffer, &mut world.chance)
    else {
        panic!("the tunnel is up");
    };
    let wire = wire.to_vec();
    world.send_to_hub(device, wire);
    world.run(1);
}

#[test]
fn a_device_cannot_send_from_anothers_address_nor_to_another_device() {
    let mut world = World::new(52);
    let (a, b) = (world.device(1), world.device(2));
    assert!(world.run_until(10, |world| world.is_up(a) && world.is_up(b)));
    let (own, other) = (world.devices[a].address, world.devices[b].address);
    let received = world.devices[b].link.stats().received;
    inject(&mut world, a, other, HUB);
    assert_eq!(world.hub.counters.spoofed, 1);
    inject(&mut world, a, HUB, HUB);
    assert_eq!(world.hub.counters.spoofed, 2);
    inject(&mut world, a, own, other);
    inject(&mut world, a, own, Ipv4Addr::new(8, 8, 8, 8));
    assert_eq!(world.hub.counters.not_for_hub, 2);
    assert_eq!(
        world.devices[b].link.stats().received,
        received,
        "nothing reached the other device"
    );
}

/// Initiations from keys that nobody knows, each from an address of its own.
fn flood(world: &mut World, door: Door, hub: PublicKey, count: u32) {
    let mut buffer = [0; 2048];
    for n in 0..count {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&n.to_le_bytes());
        let now = world.clock();
        let mut tunnel =
            crate::engine::engine(&SecretKey(secret), &hub, &PresharedKey::default()).unwrap();
        let Ok(Encapsulated::HandshakeInitiation(wire)) =
            tunnel.encapsulate(now, b"x", &mut buffer, &mut world.chance)
        else {
            panic!("the first packet starts a handshake");
        };
        let wire = wire.to_vec();
        world.at_hub(
            door,
            (Ipv4Addr::from_bits(0x0b00_0000 + n), 4000).into(),
            &wire,
        );
    }
}

#[test]
fn a_flood_of_unknown_keys_stops_neither_a_tunnel_that_stands_nor_a_known_device_that_comes() {
    let mut world = World::new(53);
    let a = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(a)));
    flood(&mut world, Door::Fleet, hub_key(), 3000);
    assert!(
        world.hub.counters.cookies > 2000,
        "most were asked for a cookie"
    );
    let (sessions, places, _) = world.hub.sizes();
    assert!(sessions <= 4 && places <= 1, "strangers cost no memory");
    assert!(world.upload(a, 10_000, 5).is_some());
    let b = world.device(2);
    for _ in 0..12 {
        flood(&mut world, Door::Fleet, hub_key(), 500);
        world.run(1);
    }
    assert!(
        world.is_up(b),
        "a known device answers the cookie and comes in"
    );
}

#[test]
fn a_flood_on_the_enrolment_port_stays_within_its_bounds() {
    let mut world = World::new(54);
    world
        .hub
        .locals
        .add(secret(3), Purpose::Enrolment(PresharedKey([5; 32])));
    let a = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(a)));
    for _ in 0..6 {
        flood(&mut world, Door::Enrolment, secret(3).public(), 390);
        world.run(1);
    }
    let (sessions, _, timers) = world.hub.sizes();
    assert!(
        sessions <= crate::hub::enrolment::GUESTS + 4
            && timers <= crate::hub::enrolment::GUESTS + 1
    );
    assert!(world.upload(a, 10_000, 5).is_some());
    world.run(60);
    assert!(
        world.hub.sizes().0 <= 4,
        "claims that nobody proves go away"
    );
}
