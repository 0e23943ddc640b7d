//! Scripts of events in, decisions and notes out, held as text.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod world;

use expect_test::expect;
use lightship_core::id::Uuid;
use lightship_director::{
    Device, Fleet, Order, Policy, Refusal, Release, ReleaseState, Report, VariableKind, Who,
};
use world::{World, device_id, document, name, release, staged};

fn fleet_of(devices: u64) -> (World, Vec<Uuid>) {
    let mut world = World::new();
    let ids: Vec<Uuid> = (0..devices).map(device_id).collect();
    for (i, id) in ids.iter().enumerate() {
        let device = Device::new(name("pi"));
        world.device(*id, &format!("pi-{i}"), device).unwrap();
    }
    world.transcript();
    (world, ids)
}

#[test]
fn a_device_follows_the_newest_final_release_and_its_pin_comes_first() {
    let (mut world, ids) = fleet_of(1);
    world.release(1, release(1)).unwrap();
    let draft = Release {
        state: ReleaseState::Draft,
        ..release(2)
    };
    world.release(2, draft.clone()).unwrap();
    world.change(ids[0], |device| device.pinned = Some(2));
    world.release(3, release(3)).unwrap();
    world.change(ids[0], |device| device.pinned = None);
    world.change(ids[0], |device| device.pinned = Some(9));
    expect![[r#"
        > release 1 Final
        pi-0: nothing is kept from it
        pi-0: release 1, counter 1
        > release 2 Draft
        > device pi-0
        pi-0: release 2, counter 2
        > release 3 Final
        > device pi-0
        pi-0: release 3, counter 3
        > device pi-0
        pi-0: release 9 is not given out
    "#]]
    .assert_eq(&world.transcript());
}

#[test]
fn an_invalid_release_is_left_for_the_one_before_and_stays_invalid() {
    let (mut world, ids) = fleet_of(1);
    world.release(1, release(1)).unwrap();
    world.release(2, release(2)).unwrap();
    let invalid = |number| Release {
        state: ReleaseState::Invalid,
        ..release(number)
    };
    world.release(2, invalid(2)).unwrap();
    assert_eq!(world.release(2, release(2)), Err(Refusal::ReleaseFixed));
    world.release(1, invalid(1)).unwrap();
    assert_eq!(world.given(ids[0]), Some(1), "there is nothing else for it");
    expect![[r#"
        > release 1 Final
        pi-0: nothing is kept from it
        pi-0: release 1, counter 1
        > release 2 Final
        pi-0: release 2, counter 2
        > release 2 Invalid
        pi-0: release 1, counter 3
        > release 2 Final
        > release 1 Invalid
        pi-0: there is no final release for it
    "#]]
    .assert_eq(&world.transcript());
}

#[test]
fn one_release_serves_mixed_hardware_and_a_type_it_leaves_out_keeps_the_one_before() {
    let (mut world, ids) = fleet_of(1);
    let sensor = device_id(7);
    let device = Device::new(name("sensor"));
    world.device(sensor, "sensor", device).unwrap();
    let mut both = release(1);
    let document = document(1, "sensor", 0, 0);
    both.documents.insert(name("sensor"), document);
    world.release(1, both).unwrap();
    world.release(2, release(2)).unwrap();
    assert_eq!(world.given(ids[0]), Some(2));
    assert_eq!(world.given(sensor), Some(1));
}

#[test]
fn a_device_is_never_given_a_release_below_the_floor_it_has_reached() {
    let (mut world, ids) = fleet_of(1);
    world.release(1, release(1)).unwrap();
    let mut mended = release(2);
    mended.documents.insert(name("pi"), document(2, "pi", 5, 5));
    world.release(2, mended).unwrap();
    world.commits(ids[0]);
    world.change(ids[0], |device| device.pinned = Some(1));
    world.restart();
    expect![[r#"
        > release 1 Final
        pi-0: nothing is kept from it
        pi-0: release 1, counter 1
        > release 2 Final
        pi-0: release 2, counter 2
        > pi-0 reports counter 2
        > device pi-0
        pi-0: release 1 is below the floor that the device has reached
        the server restarts
        pi-0: release 1 is below the floor that the device has reached
    "#]]
    .assert_eq(&world.transcript());
    assert_eq!(world.given(ids[0]), Some(2));
}

#[test]
fn variables_reach_a_device_as_settings_and_only_what_changes_is_told() {
    let (mut world, ids) = fleet_of(2);
    world.release(1, release(1)).unwrap();
    let mut fleet = Fleet::default();
    let set = |fleet: &mut Fleet, key: &str, value: &str| {
        let kind = VariableKind::Environment;
        fleet.variables.set(kind, None, key.into(), value.into());
    };
    set(&mut fleet, "UNLISTED", "1");
    world.set_fleet(fleet.clone()).unwrap();
    set(&mut fleet, "COLOUR", "red");
    world.set_fleet(fleet).unwrap();
    world.change(ids[1], |device| {
        let kind = VariableKind::Environment;
        device
            .variables
            .set(kind, Some(name("web")), "COLOUR".into(), "blue".into());
    });
    expect![[r#"
        > release 1 Final
        pi-0: nothing is kept from it
        pi-0: release 1, counter 1
        pi-1: nothing is kept from it
        pi-1: release 1, counter 1
        > fleet
        > fleet
        pi-0: release 1, counter 2, settings
        pi-1: release 1, counter 2, settings
        > device pi-1
        pi-1: release 1, counter 3, settings
    "#]]
    .assert_eq(&world.transcript());
}

#[test]
fn waves_open_after_somebody_succeeded_and_the_soak_time_passed() {
    let (mut world, ids) = fleet_of(4);
    world.release(1, release(1)).unwrap();
    for id in &ids {
        world.commits(*id);
    }
    world.transcript();
    world.change(ids[2], |device| {
        device.tags.insert("ring".into(), "canary".into());
    });
    let mut release = staged(2, &[50, 100], 60, false);
    let plan = release.rollout.as_mut().unwrap();
    plan.waves[0].who = Who::Tag {
        key: "ring".into(),
        value: Some("canary".into()),
    };
    world.release(2, release).unwrap();
    world.pass(3600);
    world.commits(ids[2]);
    world.pass(59);
    world.restart();
    world.pass(1);
    world.commits(ids[0]);
    world.pass(60);
    let late = device_id(99);
    let device = Device::new(name("pi"));
    world.device(late, "late", device).unwrap();
    expect![[r#"
        > device pi-2
        > release 2 Final
        pi-0: release 2 is being rolled out and the device's wave is not open
        pi-2: release 2, counter 2
        pi-1: release 2 is being rolled out and the device's wave is not open
        pi-3: release 2 is being rolled out and the device's wave is not open
        > 3600 s pass
        > pi-2 reports counter 2
        Soaking { release: 2, wave: 0 }
        > 59 s pass
        the server restarts
        pi-0: release 2 is being rolled out and the device's wave is not open
        pi-1: release 2 is being rolled out and the device's wave is not open
        pi-3: release 2 is being rolled out and the device's wave is not open
        > 1 s pass
        WaveOpened { release: 2, wave: 1 }
        pi-0: nothing is kept from it
        pi-0: release 2, counter 2
        pi-1: nothing is kept from it
        pi-1: release 2, counter 2
        pi-3: nothing is kept from it
        pi-3: release 2, counter 2
        > pi-0 reports counter 2
        Soaking { release: 2, wave: 1 }
        > 60 s pass
        Completed { release: 2 }
        > device late
        late: release 2, counter 1
    "#]]
    .assert_eq(&world.transcript());
}

#[test]
fn a_late_joiner_waits_for_its_wave_on_the_release_before() {
    let (mut world, _) = fleet_of(20);
    world.release(1, release(1)).unwrap();
    world.release(2, staged(2, &[1, 100], 60, false)).unwrap();
    let late = device_id(4000);
    world.device(late, "late", Device::new(name("pi"))).unwrap();
    assert_eq!(world.given(late), Some(1));
}

#[test]
fn too_many_failures_halt_a_roll_out_and_take_back_who_has_it_if_the_plan_says_so() {
    for revert in [false, true] {
        let (mut world, ids) = fleet_of(8);
        world.release(1, release(1)).unwrap();
        ids.iter().for_each(|id| world.commits(*id));
        world.release(2, staged(2, &[100], 60, revert)).unwrap();
        world.commits(ids[0]);
        world.rejects(ids[1]);
        assert_eq!(world.given(ids[0]), Some(2), "one failure is not two");
        world.rejects(ids[2]);
        let expected = if revert { Some(1) } else { Some(2) };
        assert_eq!(world.given(ids[0]), expected);
        let late = device_id(99);
        world.device(late, "late", Device::new(name("pi"))).unwrap();
        assert_eq!(world.given(late), Some(1), "nobody new is given it");
        world.restart();
        assert_eq!(world.given(ids[0]), expected);
        assert_eq!(world.given(late), Some(1));
    }
}

#[test]
fn a_device_that_is_off_or_defers_is_not_a_failure() {
    let (mut world, ids) = fleet_of(8);
    world.release(1, release(1)).unwrap();
    world.release(2, staged(2, &[100], 60, true)).unwrap();
    world.commits(ids[0]);
    world.pass(7 * 24 * 3600);
    let rollout = world.director.rollout(2).unwrap();
    assert_eq!(rollout.waves[0].failed, 0);
    assert_eq!(rollout.progress.phase, lightship_director::Phase::Completed);
}

#[test]
fn a_roll_out_is_paused_resumed_advanced_and_aborted_by_people() {
    let (mut world, ids) = fleet_of(6);
    world.release(1, release(1)).unwrap();
    world.release(2, staged(2, &[50, 100], 60, false)).unwrap();
    let has = |world: &World| ids.iter().filter(|id| world.given(**id) == Some(2)).count();
    let half = has(&world);
    assert!((1..6).contains(&half));
    world.order(2, Order::Pause).unwrap();
    assert_eq!(world.order(2, Order::Pause), Err(Refusal::NotNow));
    assert_eq!(world.order(2, Order::Advance), Err(Refusal::NotNow));
    world.order(2, Order::Resume).unwrap();
    world.order(2, Order::Advance).unwrap();
    assert_eq!(has(&world), 6);
    world.order(2, Order::Abort { revert: false }).unwrap();
    assert_eq!(has(&world), 6, "who has it keeps it");
    world.order(2, Order::Abort { revert: true }).unwrap();
    assert_eq!(has(&world), 0);
    assert_eq!(world.order(1, Order::Pause), Err(Refusal::NoRollout));
    assert_eq!(world.order(2, Order::Resume), Err(Refusal::NotNow));
}

#[test]
fn an_update_waits_for_the_local_window_and_is_taken_back_from_who_missed_it() {
    let (mut world, ids) = fleet_of(2);
    world.release(1, release(1)).unwrap();
    ids.iter().for_each(|id| world.commits(*id));
    world.transcript();
    let fleet = Fleet {
        windows: vec!["daily 02:00-05:00".parse().unwrap()],
        zone: "Europe/Berlin".parse().unwrap(),
        ..Fleet::default()
    };
    // It is 18:00 UTC: 19:00 in Berlin, 03:00 in Tokyo.
    world.set_fleet(fleet).unwrap();
    world.release(2, release(2)).unwrap();
    world.change(ids[1], |device| {
        device.zone = Some("Asia/Tokyo".parse().unwrap())
    });
    world.pass(7 * 3600);
    world.commits(ids[0]);
    world.pass(5 * 3600);
    expect![[r#"
        > fleet
        > release 2 Final
        pi-0: release 2 waits for a maintenance window
        pi-1: release 2 waits for a maintenance window
        > device pi-1
        pi-1: nothing is kept from it
        pi-1: release 2, counter 2
        > 25200 s pass
        pi-1: release 2 waits for a maintenance window
        pi-1: release 2 withdrawn
        pi-1: release 1, counter 3
        pi-0: nothing is kept from it
        pi-0: release 2, counter 2
        > pi-0 reports counter 2
        > 18000 s pass
    "#]]
    .assert_eq(&world.transcript());
}

#[test]
fn a_device_that_has_seen_a_higher_counter_is_given_a_higher_one_still() {
    let (mut world, ids) = fleet_of(1);
    world.release(1, release(1)).unwrap();
    let report = |counter| Report {
        counter,
        ..Report::default()
    };
    world.report(ids[0], report(41));
    world.report(ids[0], report(u64::MAX));
    world.report(ids[0], report(i64::MAX as u64));
    world.pass(365 * 24 * 3600);
    expect![[r#"
        > release 1 Final
        pi-0: nothing is kept from it
        pi-0: release 1, counter 1
        > pi-0 reports counter 41
        pi-0: counter behind
        pi-0: release 1, counter 42
        > pi-0 reports counter 18446744073709551615
        > pi-0 reports counter 9223372036854775807
        pi-0: counter behind
        pi-0: its counter cannot rise any more; give it a new director key
        > 31536000 s pass
    "#]]
    .assert_eq(&world.transcript());
}

#[test]
fn an_assignment_is_renewed_before_it_expires() {
    let (mut world, ids) = fleet_of(1);
    world.release(1, release(1)).unwrap();
    let expires = |world: &World| world.records[&ids[0]].assigned.clone().unwrap().expires.0;
    let first = expires(&world);
    for _ in 0..60 {
        world.pass(24 * 3600);
        assert!(expires(&world) > world.now);
    }
    assert!(expires(&world) > first);
    assert!(world.assigned < 6, "{}", world.assigned);
}

#[test]
fn a_fleet_pinned_to_a_release_is_given_it_in_waves() {
    let (mut world, ids) = fleet_of(10);
    world.release(1, release(1)).unwrap();
    let pinned = |release| Fleet {
        policy: Policy::Pinned(release),
        ..Fleet::default()
    };
    world.set_fleet(pinned(1)).unwrap();
    world.release(2, staged(2, &[50, 100], 60, false)).unwrap();
    assert!(ids.iter().all(|id| world.given(*id) == Some(1)));
    world.set_fleet(pinned(2)).unwrap();
    let has = ids.iter().filter(|id| world.given(**id) == Some(2)).count();
    assert!((1..10).contains(&has), "{has}");
    world.set_fleet(pinned(7)).unwrap();
    let still = ids.iter().filter(|id| world.given(**id) == Some(2)).count();
    assert_eq!(has, still, "a pin on nothing changes nothing");
}

#[test]
fn what_the_director_decided_is_stored_and_read_back() {
    let (mut world, ids) = fleet_of(1);
    world.release(1, release(1)).unwrap();
    let record = &world.records[&ids[0]];
    let text = serde_json::to_string(record).unwrap();
    assert_eq!(
        &serde_json::from_str::<lightship_director::Record>(&text).unwrap(),
        record
    );
    world.transcript();
    world.restart();
    expect!["the server restarts\n"].assert_eq(&world.transcript());
}

#[test]
fn a_device_that_was_moved_here_keeps_its_counter_and_nothing_else() {
    let (mut world, ids) = fleet_of(4);
    world.release(1, release(1)).unwrap();
    world.release(2, staged(2, &[100], 60, false)).unwrap();
    world.order(2, Order::Pause).unwrap();
    let mut record = world.records[&ids[0]].clone();
    let assigned = record.assigned.as_mut().unwrap();
    assigned.document = document(2, "elsewhere", 0, 0).digest;
    assigned.counter = 70;
    let moved = device_id(77);
    world.devices.insert(moved, Device::new(name("pi")));
    world.names.insert(moved, "moved".into());
    world.records.insert(moved, record);
    world.restart();
    assert_eq!(
        world.given(moved),
        Some(1),
        "release 2 of another fleet is not this one"
    );
    assert_eq!(world.records[&moved].assigned.as_ref().unwrap().counter, 71);
}
