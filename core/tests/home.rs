//! A fleet's orders about its tunnel are not signed: a device finds its way back from wherever a server in other hands has led it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use lightship_core::id::PublicKey;
use lightship_core::record::{self, Record};
use lightship_core::time::{Duration, UnixTime};
use lightship_core::wire::{Blob, Down, SignedTarget, Tunnel};
use lightship_core::{Event, Failure};
use support::script::Device;
use support::{DAY, Publisher, TODAY, assignment_head, component, registered, release_head};

const HOME: u8 = 7;
const HOUR: Duration = Duration::from_secs(3600);
const ALMOST_AN_HOUR: Duration = Duration::from_secs(3599);
/// Longest pause between two attempts, and what the attempts before it take.
const A_WHILE: Duration = Duration::from_secs(1800);

fn hub(number: u8) -> PublicKey {
    PublicKey([number; 32])
}

fn registered_device() -> (Publisher, Device) {
    let publisher = Publisher::default();
    let mut device = Device::new(publisher.config());
    device.register().unwrap();
    device.pass(Duration::from_secs(2)).unwrap();
    assert_eq!(device.last_hub, Some(hub(HOME)));
    (publisher, device)
}

/// The server leads the device elsewhere.
fn lead(device: &mut Device, to: u8) {
    let tunnel = registered(device.uuid()).tunnel.unwrap();
    let down = Down::Tunnel(Tunnel {
        hub: hub(to),
        ..tunnel
    });
    device.event(Event::Received(down)).unwrap();
    assert_eq!(device.last_hub, Some(hub(to)));
}

fn saved(device: &Device) -> record::Identity {
    record::decode(&device.disk.records[&(Record::Identity as usize)]).unwrap()
}

fn assign(publisher: &Publisher, device: &mut Device, counter: u64, expires: u64) {
    let (release, digest) = publisher.release(&release_head("1.0"), &[component("web", 1)]);
    let mut head = assignment_head(device.uuid(), counter, digest);
    head.expires = UnixTime(expires);
    let assignment = publisher.assignment(&head, &[]);
    let target = Down::Target(SignedTarget {
        assignment: Blob::Raw(&assignment),
        release: Blob::Raw(&release),
    });
    device.event(Event::Received(target)).unwrap();
    device.pass(Duration::from_secs(60)).unwrap();
}

#[test]
fn a_device_whose_hub_has_been_silent_for_an_hour_goes_home() {
    let (_, mut device) = registered_device();
    lead(&mut device, 8);
    device.silent_hubs.insert(hub(8));
    device.event(Event::Disconnected(Failure::Network)).unwrap();
    device.pass(ALMOST_AN_HOUR).unwrap();
    assert!(!device.out.contains("TunnelRegained"), "{}", device.out);
    device.pass(A_WHILE).unwrap();
    assert!(device.out.contains("* TunnelRegained"), "{}", device.out);
    assert_eq!(device.last_hub, Some(hub(HOME)));
    let identity = saved(&device);
    assert_eq!(identity.tunnel.unwrap().hub, hub(HOME));
    assert_eq!(identity.tunnel_home, None);
}

#[test]
fn a_fleet_that_is_away_for_a_while_loses_nobody() {
    let (_, mut device) = registered_device();
    lead(&mut device, 8);
    for _ in 0..5 {
        device.silent_hubs.insert(hub(8));
        device.event(Event::Disconnected(Failure::Network)).unwrap();
        device.pass(ALMOST_AN_HOUR).unwrap();
        device.silent_hubs.clear();
        device.pass(A_WHILE).unwrap();
        assert_eq!(device.last_hub, Some(hub(8)), "{}", device.out);
    }
}

#[test]
fn no_second_order_makes_a_device_forget_its_home() {
    let (_, mut device) = registered_device();
    for to in [8, 9, 10, 11] {
        lead(&mut device, to);
    }
    let mut device = device.restarted();
    device.silent_hubs.insert(hub(11));
    device.pass(HOUR + A_WHILE).unwrap();
    assert_eq!(device.last_hub, Some(hub(HOME)), "{}", device.out);
}

#[test]
fn what_the_other_fleet_told_last_is_forgotten_at_home() {
    let (_, mut device) = registered_device();
    lead(&mut device, 8);
    device.silent_hubs.insert(hub(9));
    let tunnel = registered(device.uuid()).tunnel.unwrap();
    let down = Down::Tunnel(Tunnel {
        hub: hub(9),
        ..tunnel
    });
    device.event(Event::Received(down)).unwrap();
    device.silent_hubs.insert(hub(8));
    device.event(Event::Disconnected(Failure::Network)).unwrap();
    device.pass(HOUR + A_WHILE).unwrap();
    assert_eq!(device.last_hub, Some(hub(HOME)), "{}", device.out);
    assert_eq!(saved(&device).tunnel_pending, None);
}

#[test]
fn a_device_asks_at_home_every_hour_while_its_fleet_has_nothing_valid_to_show() {
    let (publisher, mut device) = registered_device();
    assign(&publisher, &mut device, 1, TODAY + 30 * DAY);
    lead(&mut device, 8);
    device.silent_hubs.insert(hub(HOME));
    device.pass(HOUR).unwrap();
    device.take_out();
    device
        .event(Event::ClockSet(UnixTime(TODAY + 31 * DAY)))
        .unwrap();
    device.pass(HOUR + HOUR + A_WHILE).unwrap();
    let asked = device.out.matches("TimedOut").count();
    assert!((2..=3).contains(&asked), "{}", device.out);
    assert_eq!(device.last_hub, Some(hub(8)), "it is there in between");
    device.silent_hubs.clear();
    device.pass(HOUR).unwrap();
    assert_eq!(device.last_hub, Some(hub(HOME)), "{}", device.out);
    // Now that it is at home it stays there, frozen or not.
    device.take_out();
    device.pass(HOUR + HOUR).unwrap();
    assert!(!device.out.contains("> connect"), "{}", device.out);
}

/// Whoever has the director's key can make an assignment that ends as late as he likes, and not later than the root that vouches for the key.
#[test]
fn not_even_the_directors_key_holds_a_device_longer_than_its_root_is_valid() {
    let (publisher, mut device) = registered_device();
    lead(&mut device, 8);
    assign(&publisher, &mut device, 1, TODAY + 100_000 * DAY);
    device
        .event(Event::ClockSet(publisher.root.expires))
        .unwrap();
    device.pass(Duration::from_secs(0)).unwrap();
    assert_eq!(device.last_hub, Some(hub(8)), "{}", device.out);
    device.pass(Duration::from_secs(2)).unwrap();
    assert!(device.out.contains("* Frozen"), "{}", device.out);
    assert_eq!(device.last_hub, Some(hub(HOME)), "{}", device.out);
}

#[test]
fn what_an_agent_of_the_second_layout_saved_reads_back() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/records/layout-2");
    let bytes = std::fs::read(corpus).unwrap();
    let (len, rest) = bytes.split_first_chunk::<2>().unwrap();
    let bytes = &rest[..usize::from(u16::from_le_bytes(*len))];
    assert_eq!(bytes[0], 2, "the layout");
    let identity: record::Identity = record::decode(bytes).unwrap();
    assert!(identity.registered && identity.tunnel_pending.is_some());
    assert_eq!(identity.tunnel_home, None);
}
