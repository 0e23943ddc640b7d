//! Bad links, and devices that move.

use super::*;

#[test]
fn a_lossy_link_that_repeats_and_reorders_still_carries_everything() {
    for seed in 10..14 {
        let mut world = World::new(seed);
        world.weather = Weather {
            lost_percent: 30,
            twice_percent: 10,
            late_ns: 50_000_000,
        };
        let device = world.device(1);
        assert!(
            world.run_until(120, |world| world.is_up(device)),
            "seed {seed}"
        );
        assert!(world.upload(device, 30_000, 900).is_some(), "seed {seed}");
    }
}

#[test]
fn a_connection_survives_a_change_of_the_devices_address() {
    let mut world = World::new(20);
    let device = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(device)));
    assert!(world.upload(device, 1000, 10).is_some());
    world.devices[device].host = Ipv4Addr::new(198, 51, 100, 9);
    assert!(
        world.upload(device, 1000, 10).is_some(),
        "the device's next packet moves it"
    );
    world.devices[device].host = Ipv4Addr::new(198, 51, 100, 10);
    let now = world.clock();
    world.devices[device].link.moved(now);
    world.run(2);
    assert!(
        world.reach(device, 10).is_some(),
        "a device that says it moved is reachable at once"
    );
}

#[test]
fn a_device_that_was_away_for_hours_comes_back_by_itself() {
    let mut world = World::new(21);
    let device = world.device(1);
    assert!(world.run_until(10, |world| world.is_up(device)));
    world.weather.lost_percent = 100;
    world.run(5 * 3600);
    world.weather.lost_percent = 0;
    assert!(world.run_until(1300, |world| world.reach(device, 30).is_some()));
    assert_eq!(
        world.devices[device].notes.first(),
        Some(&LinkNote::Reachable)
    );
}

#[test]
fn adding_removing_and_rekeying_a_device_does_not_disturb_another() {
    let mut world = World::new(22);
    let (a, b) = (world.device(1), world.device(2));
    assert!(world.run_until(10, |world| world.is_up(a) && world.is_up(b)));
    world.run(60);
    let handshakes = world.devices[a].link.stats().last_handshake;
    world
        .hub
        .offer_key(world.devices[b].address, secret(77).public())
        .unwrap();
    world
        .hub
        .offer_preshared(world.devices[b].address, PresharedKey([78; 32]))
        .unwrap();
    world.hub.remove(world.devices[b].address).unwrap();
    world.device(3);
    assert!(world.upload(a, 10_000, 5).is_some());
    assert_eq!(
        world.devices[a].link.stats().last_handshake,
        handshakes,
        "the tunnel is the same"
    );
    assert!(world.upload(b, 10, 30).is_none(), "who was removed is out");
}

#[test]
fn a_thousand_devices_each_have_their_own_tunnel() {
    let mut world = World::new(23);
    let mut all = Vec::new();
    for n in 0..1000u16 {
        let mut bytes = [0xaa; 32];
        bytes[1..3].copy_from_slice(&n.to_le_bytes());
        let keys = KeySet {
            secret: SecretKey(bytes),
            hub: hub_key(),
            preshared: PresharedKey([9; 32]),
        };
        let address = Ipv4Addr::new(10, 77, 2 + (n >> 8) as u8, n as u8);
        world
            .hub
            .add(address, keys.secret.public(), keys.preshared.clone())
            .unwrap();
        let device = world.bring(1, address, Door::Fleet, keys);
        world.devices[device].host = Ipv4Addr::new(192, 0, (n >> 8) as u8, n as u8);
        all.push(device);
    }
    assert!(world.run_until(60, |world| all.iter().all(|device| world.is_up(*device))));
    assert!(world.upload(all[999], 1000, 10).is_some());
    assert!(world.reach(all[0], 10).is_some());
}
