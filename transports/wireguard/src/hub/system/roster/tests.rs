use std::time::Duration;

use super::*;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 1);
const A: Ipv4Addr = Ipv4Addr::new(10, 77, 1, 1);
const SECOND: Duration = Duration::from_secs(1);

fn key(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

fn fine(_: &PublicKey) -> Result<(), UnusableKey> {
    Ok(())
}

fn device(n: u8) -> Peer {
    Peer {
        address: Ipv4Addr::new(10, 77, 1, n),
        key: key(n),
        preshared: PresharedKey([n; 32]),
    }
}

/// A hub with key 200 and a device with key 1.
fn roster(now: Instant) -> Roster {
    let mut roster = Roster::default();
    roster.add_hub(key(200));
    roster.add(device(1), GATEWAY, fine, now).unwrap();
    roster
}

/// The peer of a device key, with a handshake so many seconds after the beginning of time.
fn seen(hub: u8, n: u8, handshake_s: u64) -> Seen {
    Seen {
        hub: key(hub),
        key: key(n),
        endpoint: Some(([192, 0, 2, n], 51820).into()),
        handshake: (handshake_s > 0)
            .then(|| SystemTime::UNIX_EPOCH + Duration::from_secs(handshake_s)),
        received: 10,
        sent: 20,
    }
}

fn look(roster: &mut Roster, seen: &[Seen], at: Instant) -> (Vec<Change>, Vec<Note>) {
    let mut notes = Vec::new();
    let changes = roster.look(seen, at, &mut notes);
    (changes, notes)
}

#[test]
fn a_device_owns_its_address_and_an_offered_key_owns_nothing_until_it_is_used() {
    let now = Instant::now();
    let mut roster = roster(now);
    let changes = roster.offer_key(A, key(2), fine).unwrap();
    let owned = |n: u8, address| Change::Peer {
        key: key(n),
        preshared: PresharedKey([1; 32]),
        address,
    };
    assert_eq!(changes, [owned(1, Some(A)), owned(2, None)]);
    let (changes, notes) = look(&mut roster, &[seen(200, 1, 5), seen(200, 2, 0)], now);
    let there = Change::Route {
        address: A,
        hub: Some(key(200)),
    };
    assert_eq!(changes, [there]);
    assert_eq!(
        notes,
        [Note::Connected {
            address: A,
            hub: key(200)
        }]
    );

    let (changes, notes) = look(&mut roster, &[seen(200, 1, 5), seen(200, 2, 6)], now);
    assert_eq!(changes, [Change::Remove { key: key(1) }, owned(2, Some(A))]);
    let (retired, current) = (key(1), key(2));
    assert_eq!(
        notes,
        [Note::DeviceKeyRetired {
            address: A,
            retired,
            current
        }]
    );
    let stats = roster.stats(A).unwrap();
    assert_eq!((stats.received, stats.sent), (20, 40), "bytes are kept");
    assert!(!roster.is_restless());
}

#[test]
fn a_handshake_with_the_old_key_retires_nothing() {
    let now = Instant::now();
    let mut roster = roster(now);
    look(&mut roster, &[seen(200, 1, 5)], now);
    roster.offer_key(A, key(2), fine).unwrap();
    let (changes, notes) = look(&mut roster, &[seen(200, 1, 9), seen(200, 2, 0)], now);
    assert_eq!((changes, notes), (vec![], vec![]));
    assert_eq!(roster.stats(A).unwrap().offered_key, Some(key(2)));
}

#[test]
fn peers_that_are_missing_are_told_again_and_strangers_are_removed() {
    let now = Instant::now();
    let mut roster = roster(now);
    let (changes, _) = look(&mut roster, &[seen(200, 9, 0)], now);
    assert_eq!(changes[0], Change::Remove { key: key(9) });
    assert!(matches!(&changes[1..], [Change::Peer { key: missing, .. }] if *missing == key(1)));
}

#[test]
fn a_device_is_reached_through_the_hub_key_it_used_last() {
    let now = Instant::now();
    let mut roster = roster(now);
    look(&mut roster, &[seen(200, 1, 5)], now);
    roster.add_hub(key(201));
    let both = [seen(200, 1, 5), seen(201, 1, 7)];
    let (changes, notes) = look(&mut roster, &both, now);
    let to = |n: u8| Change::Route {
        address: A,
        hub: Some(key(n)),
    };
    assert_eq!(changes, [to(201)]);
    assert_eq!(notes.len(), 1);
    assert_eq!(roster.remove_hub(&key(201)), [to(200)]);
    assert_eq!(roster.stats(A).unwrap().hub_key, None);
}

#[test]
fn what_is_taken_or_unusable_is_refused_and_changes_nothing() {
    let now = Instant::now();
    let mut roster = roster(now);
    let with = |address: [u8; 4], n: u8| Peer {
        address: address.into(),
        ..device(n)
    };
    let mut add = |peer| roster.add(peer, GATEWAY, fine, now).unwrap_err();
    assert_eq!(add(with([10, 77, 1, 1], 2)), PeerError::AddressTaken);
    assert_eq!(add(with([10, 77, 0, 1], 2)), PeerError::AddressTaken);
    assert_eq!(add(with([10, 77, 1, 2], 1)), PeerError::KeyTaken);
    assert_eq!(add(with([0, 0, 0, 0], 2)), PeerError::UnusableAddress);
    let unusable = |_: &PublicKey| Err(UnusableKey);
    assert_eq!(
        roster.add(device(2), GATEWAY, unusable, now),
        Err(PeerError::UnusableKey)
    );
    roster.add(device(2), GATEWAY, fine, now).unwrap();
    let taken = roster.offer_key(A, key(2), fine);
    assert_eq!(taken, Err(PeerError::KeyTaken));
    let nobody = Ipv4Addr::new(10, 77, 1, 3);
    assert_eq!(roster.remove(nobody), Err(PeerError::NoSuchDevice));
    roster.remove(A).unwrap();
    roster
        .add(with([10, 77, 1, 9], 1), GATEWAY, fine, now)
        .unwrap();
}

/// Looks once a second at a device that does handshakes with one pre-shared key, at these seconds, if the interface has that key or had it up to `late_s` seconds ago. Returns the second in which the old one was retired.
fn shared_retired(has_new: bool, late_s: u64, handshakes_s: impl Fn(u64) -> bool) -> Option<u64> {
    let start = Instant::now();
    let mut roster = roster(start);
    let new = PresharedKey([7; 32]);
    roster.offer_preshared(A, new.clone(), start).unwrap();
    let (mut in_force, mut matched, mut last) = (false, 0, 0);
    for second in 1..2000 {
        if in_force == has_new {
            matched = second;
        }
        if handshakes_s(second) && second - matched <= late_s {
            last = second;
        }
        let at = start + u32::try_from(second).unwrap() * SECOND;
        let (changes, notes) = look(&mut roster, &[seen(200, 1, last)], at);
        for change in changes {
            if let Change::Preshared { preshared, .. } = change {
                in_force = preshared == new;
            }
        }
        if notes.contains(&Note::PresharedKeyRetired { address: A }) {
            return Some(second);
        }
    }
    None
}

#[test]
fn the_new_pre_shared_key_is_found_out_within_minutes_however_the_device_keeps_time() {
    for offset in 0..20 {
        let every_five = shared_retired(true, 0, |second| (second + offset) % 5 == 0);
        assert!(
            every_five.is_some_and(|second| second < 40),
            "{every_five:?}"
        );
        // One initiation, three repetitions, and two minutes of silence.
        let seldom = shared_retired(true, 0, |second| {
            (second + offset) % 120 < 16 && second % 5 == 0
        });
        assert!(seldom.is_some_and(|second| second < 900), "{seldom:?}");
    }
}

#[test]
fn a_device_that_has_only_the_old_pre_shared_key_never_loses_it() {
    for late_s in 0..=6 {
        for every in [1, 5, 7, 11, 120] {
            let retired = shared_retired(false, late_s, |second| second % every == 0);
            assert_eq!(retired, None, "an answer {late_s} s late, every {every} s");
        }
    }
}
