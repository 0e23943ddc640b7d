//! Golden transcripts: events in (`<`), actions (`>`) and notes (`*`) out.
//!
//! `UPDATE_EXPECT=1 cargo test -p lightship-core --test transcripts` writes them anew; read the difference.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use expect_test::{Expect, expect};
use lightship_core::id::{ApiKey, KeyId, PublicKey};
use lightship_core::record::{self, Record};
use lightship_core::target::*;
use lightship_core::time::{Duration, UnixTime};
use lightship_core::trust::TrustState;
use lightship_core::wire::*;
use lightship_core::{Config, Event, Failure, limits};
use support::fleet::Fleet;
use support::script::{Cut, Device, Fault};
use support::*;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// A registered device that says nothing of how it got there.
fn registered_device() -> (Publisher, Device) {
    registered_with(|_| {})
}

fn registered_with(change: impl FnOnce(&mut Config)) -> (Publisher, Device) {
    let publisher = Publisher::default();
    let mut config = publisher.config();
    change(&mut config);
    let mut device = Device::new(config).quiet();
    device.register().unwrap();
    device.pass(seconds(2)).unwrap();
    (publisher, device)
}

/// One that runs release 1.0 of these components.
fn running_device(components: &[Component]) -> (Publisher, Device) {
    let (publisher, mut device) = registered_device();
    device
        .assign(&publisher, 1, &release_head("1.0"), components)
        .unwrap();
    device.pass(seconds(60)).unwrap();
    assert!(device.agent.state().committed.is_some());
    (publisher, device)
}

/// Shows the transcript without the probes, which come every two seconds.
fn shows(device: &Device, expected: Expect) {
    let lines = device
        .out
        .lines()
        .filter(|line| !line.starts_with("> probe"));
    let text: Vec<&str> = lines.collect();
    expected.assert_eq(&(text.join("\n") + "\n"));
}

#[test]
fn a_device_registers_and_erases_its_provisioning_key() {
    let mut device = Device::new(Publisher::default().config());
    device.register().unwrap();
    shows(
        &device,
        expect![[r#"
            * IdentityMade(be039752-625e-4673-8d0d-77ac7ae4821c)
            > store Clock
            > store Identity
            > take inventory
            > connect to enrol
            * Connected
            > send registration
            < registered
            * Registered
            > store Identity
            > erase provisioning key
            * ProvisioningKeyErased
            > disconnect
            > connect
            * Connected
            > send report 1: counter 0
        "#]],
    );
}

#[test]
fn a_refused_registration_is_tried_again_when_the_fleet_says() {
    let mut device = Device::new(Publisher::default().config());
    device.run().unwrap();
    let refused = Refused {
        reason: Refusal::Busy,
        retry_after_s: Some(30),
    };
    device
        .event(Event::Received(Down::Refused(refused)))
        .unwrap();
    device.pass(seconds(31)).unwrap();
    shows(
        &device,
        expect![[r#"
            * IdentityMade(be039752-625e-4673-8d0d-77ac7ae4821c)
            > store Clock
            > store Identity
            > take inventory
            > connect to enrol
            * Connected
            > send registration
            < Received(Refused(Refused { reason: Busy, retry_after_s: Some(30) }))
            * Refused(Busy)
            * Disconnected { failure: RetryAfter(30), retry_at: Instant(30000) }
            > disconnect
            -- 31 s pass --
            > connect to enrol
            * Connected
            > send registration
        "#]],
    );
}

#[test]
fn a_lost_answer_makes_the_same_registration_again() {
    let mut device = Device::new(Publisher::default().config());
    device.run().unwrap();
    let first = device.sent.pop_front().unwrap();
    device.event(Event::Disconnected(Failure::Network)).unwrap();
    device.pass(seconds(10)).unwrap();
    assert_eq!(device.sent.pop_front(), Some(first));
    shows(
        &device,
        expect![[r#"
            * IdentityMade(be039752-625e-4673-8d0d-77ac7ae4821c)
            > store Clock
            > store Identity
            > take inventory
            > connect to enrol
            * Connected
            > send registration
            < Disconnected(Network)
            * Disconnected { failure: Network, retry_at: Instant(1129) }
            -- 10 s pass --
            > connect to enrol
            * Connected
            > send registration
        "#]],
    );
}

#[test]
fn without_a_provisioning_key_a_device_runs_what_it_has() {
    let mut config = Publisher::default().config();
    config.provisioning_key = None;
    let mut device = Device::new(config);
    device.pass(seconds(3600)).unwrap();
    shows(
        &device,
        expect![[r#"
        -- 3600 s pass --
        * Unprovisioned
        > store Clock
        > take inventory
    "#]],
    );
}

#[test]
fn a_release_is_tried_and_committed() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device
        .assign(&publisher, 2, &release_head("2.0"), &[component("web", 2)])
        .unwrap();
    device.pass(seconds(30)).unwrap();
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(f96ef8d5)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(f96ef8d5)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying f96ef8d5, web Healthy
            -- 30 s pass --
            > store State
            * Committed(f96ef8d5)
            > remove web ed596007
            > send report 5: counter 2, committed f96ef8d5
        "#]],
    );
}

#[test]
fn a_release_that_fails_is_reverted_and_not_tried_again() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    let bad = component("web", 2);
    device.faults.insert(bad.artifact.digest, Fault::Unhealthy);
    device
        .assign(
            &publisher,
            2,
            &release_head("2.0"),
            std::slice::from_ref(&bad),
        )
        .unwrap();
    device.pass(seconds(60)).unwrap();
    device
        .assign(&publisher, 2, &release_head("2.0"), &[bad])
        .unwrap();
    device.pass(seconds(60)).unwrap();
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(f96ef8d5)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(f96ef8d5)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying f96ef8d5, web Unhealthy
            -- 60 s pass --
            * Rejected { release: f96ef8d5, reason: Unhealthy }
            > store State
            > stop web 436022c1
            > start web 77010101
            > remove web 436022c1
            > send report 5: counter 2, committed 602f4c13, rejected f96ef8d5 as Unhealthy, web Healthy
            * Reverted
            < target
            * TargetRejectedBefore(f96ef8d5)
            -- 60 s pass --
        "#]],
    );
}

#[test]
fn a_device_starts_its_release_again_with_no_network_at_all() {
    let (_, device) = running_device(&[component("web", 1), component("db", 1)]);
    let mut device = device.loud();
    device.online = false;
    let mut device = device.restarted();
    device.pass(seconds(5)).unwrap();
    shows(
        &device,
        expect![[r#"
            -- restart --
            -- 5 s pass --
            > store Clock
            > take inventory
            > start web 77010101
            > start db 64010101
            > connect
            * Disconnected { failure: Network, retry_at: Instant(1104) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(3347) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(7833) }
        "#]],
    );
}

fn replacing(strategy: Strategy, fault: Option<Fault>) -> Device {
    let with = |version| {
        let mut component = component("web", version);
        component.strategy = strategy;
        component
    };
    let (publisher, device) = running_device(&[with(1)]);
    let mut device = device.loud();
    if let Some(fault) = fault {
        device.faults.insert(with(2).artifact.digest, fault);
    }
    device
        .assign(&publisher, 2, &release_head("2.0"), &[with(2)])
        .unwrap();
    device.pass(seconds(20)).unwrap();
    device
}

#[test]
fn kill_then_download_stops_the_old_one_first() {
    shows(
        &replacing(Strategy::KillThenDownload, None),
        expect![[r#"
            < target
            * TargetAccepted(7139c018)
            > store Trust
            > store State
            > store State
            * TrialStarted(7139c018)
            > stop web ed596007
            > fetch web 77020202
            > stage web 77020202
            > start web 77020202
            > send report 4: counter 2, committed 0bb7cd68, Trying 7139c018, web Healthy
            -- 20 s pass --
            > store State
            * Committed(7139c018)
            > remove web ed596007
            > send report 5: counter 2, committed 7139c018
        "#]],
    );
}

#[test]
fn delete_then_download_keeps_the_old_one_while_there_is_room() {
    shows(
        &replacing(Strategy::DeleteThenDownload, None),
        expect![[r#"
            < target
            * TargetAccepted(6944e413)
            > store Trust
            > store State
            > store State
            * TrialStarted(6944e413)
            > stop web ed596007
            > fetch web 77020202
            > stage web 77020202
            > start web 77020202
            > send report 4: counter 2, committed 64078a73, Trying 6944e413, web Healthy
            -- 20 s pass --
            > store State
            * Committed(6944e413)
            > remove web ed596007
            > send report 5: counter 2, committed 6944e413
        "#]],
    );
}

#[test]
fn delete_then_download_removes_the_old_one_when_there_is_no_room() {
    let device = replacing(Strategy::DeleteThenDownload, Some(Fault::NoSpace));
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(6944e413)
            > store Trust
            > store State
            > store State
            * TrialStarted(6944e413)
            > stop web ed596007
            > fetch web 77020202
            * StepFailed { component: web, failure: NoSpace }
            > remove web ed596007
            > send report 4: counter 2, committed 64078a73, Trying 6944e413, web Fetching
            -- 20 s pass --
            > fetch web 77020202
            > stage web 77020202
            > start web 77020202
            > send report 5: counter 2, committed 64078a73, Trying 6944e413, web Healthy
            > store State
            * Committed(6944e413)
            > send report 6: counter 2, committed 6944e413
        "#]],
    );
}

#[test]
fn hand_over_stops_the_old_one_when_the_new_one_is_healthy() {
    shows(
        &replacing(Strategy::HandOver, None),
        expect![[r#"
            < target
            * TargetAccepted(4ed120d8)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(4ed120d8)
            > start web 77020202
            > stop web ed596007
            > send report 4: counter 2, committed a30114a5, Trying 4ed120d8, web Healthy
            -- 20 s pass --
            > store State
            * Committed(4ed120d8)
            > remove web ed596007
            > send report 5: counter 2, committed 4ed120d8
        "#]],
    );
}

#[test]
fn hand_over_to_one_that_fails_leaves_the_old_one_running() {
    shows(
        &replacing(Strategy::HandOver, Some(Fault::Unhealthy)),
        expect![[r#"
            < target
            * TargetAccepted(4ed120d8)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(4ed120d8)
            > start web 77020202
            > send report 4: counter 2, committed a30114a5, Trying 4ed120d8, web Unhealthy
            -- 20 s pass --
            * Rejected { release: 4ed120d8, reason: Unhealthy }
            > store State
            > stop web 436022c1
            > remove web 436022c1
            * Reverted
            > send report 5: counter 2, committed a30114a5, rejected 4ed120d8 as Unhealthy
        "#]],
    );
}

#[test]
fn components_start_after_what_they_wait_for() {
    let (publisher, device) = registered_device();
    let mut device = device.loud();
    let mut all = [
        component("init", 1),
        component("web", 1),
        component("db", 1),
    ];
    let after = |component, condition| {
        let after = After {
            component,
            condition,
        };
        [after].into_iter().collect()
    };
    all[0].mode = Mode::Job;
    all[0].after = after(2, Condition::Started);
    all[1].after = after(0, Condition::Completed);
    device
        .assign(&publisher, 1, &release_head("1.0"), &all)
        .unwrap();
    device.pass(seconds(15)).unwrap();
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(3f73ea3e)
            > store Trust
            > store State
            > fetch init 69010101
            > stage init 69010101
            > fetch web 77010101
            > stage web 77010101
            > fetch db 64010101
            > stage db 64010101
            > store State
            * TrialStarted(3f73ea3e)
            > start db 64010101
            > start init 69010101
            > start web 77010101
            > send report 2: counter 1, Trying 3f73ea3e, init Completed, web Healthy, db Healthy
            -- 15 s pass --
            > store State
            * Committed(3f73ea3e)
            > send report 3: counter 1, committed 3f73ea3e
        "#]],
    );
}

#[test]
fn firmware_is_tried_across_a_restart_and_confirmed() {
    let firmware = |version| {
        let mut component = component("app", version);
        component.kind = Kind::Firmware;
        component
    };
    let (publisher, device) = registered_device();
    let mut device = device.loud();
    for version in [1, 2] {
        let head = release_head(["1.0", "2.0"][usize::from(version) - 1]);
        let counter = u64::from(version);
        let cut = device.assign(&publisher, counter, &head, &[firmware(version)]);
        assert_eq!(cut, Err(Cut), "starting firmware restarts the device");
        device = device.restarted();
        device.pass(seconds(30)).unwrap();
    }
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(4f22c1d6)
            > store Trust
            > store State
            > fetch app 61010101
            > stage app 61010101
            > store State
            * TrialStarted(4f22c1d6)
            > start app 61010101
            -- restart --
            -- 30 s pass --
            * TrialResumed(1)
            > store Clock
            > store State
            > take inventory
            > connect
            * Connected
            > send report 1: counter 1, Trying 4f22c1d6, app Healthy
            > confirm app 61010101
            > store State
            * Committed(4f22c1d6)
            > send report 2: counter 1, committed 4f22c1d6
            < target
            * TargetAccepted(2e6ba8d3)
            > store Trust
            > store State
            > fetch app 61020202
            > stage app 61020202
            > store State
            * TrialStarted(2e6ba8d3)
            > start app 61020202
            -- restart --
            -- 30 s pass --
            * TrialResumed(1)
            > store Clock
            > store State
            > take inventory
            > connect
            * Connected
            > send report 1: counter 2, committed 4f22c1d6, Trying 2e6ba8d3, app Healthy
            > confirm app 61020202
            > store State
            * Committed(2e6ba8d3)
            > remove app d4acc9c7
            > send report 2: counter 2, committed 2e6ba8d3
        "#]],
    );
}

#[test]
fn a_lock_holds_what_it_covers_until_it_expires() {
    let (publisher, device) = running_device(&[component("web", 1), component("db", 1)]);
    let mut device = device.loud();
    let lock = Event::Locked {
        owner: name("app"),
        covers: Some(name("web")),
        expires_in: Some(seconds(40)),
    };
    device.event(lock).unwrap();
    let release = [component("web", 2), component("db", 2)];
    device
        .assign(&publisher, 2, &release_head("2.0"), &release)
        .unwrap();
    device.pass(seconds(60)).unwrap();
    shows(
        &device,
        expect![[r#"
            < Locked { owner: app, covers: Some(web), expires_in: Some(Duration(40000)) }
            < target
            * TargetAccepted(2304c415)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > fetch db 64020202
            > stage db 64020202
            > store State
            * HeldByLock
            * TrialStarted(2304c415)
            > stop db 4d5f39d3
            > start db 64020202
            > send report 4: counter 2, committed d2203b4d, Held 2304c415, web Ready, db Healthy
            -- 60 s pass --
            > stop web ed596007
            > start web 77020202
            > send report 5: counter 2, committed d2203b4d, Trying 2304c415, web Healthy
            > store State
            * Committed(2304c415)
            > remove web ed596007
            > remove db 4d5f39d3
            > send report 6: counter 2, committed 2304c415
        "#]],
    );
}

#[test]
fn the_fleet_can_override_a_lock_and_that_is_noted() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    let lock = Event::Locked {
        owner: name("app"),
        covers: None,
        expires_in: None,
    };
    device.event(lock).unwrap();
    let (release, digest) = publisher.release(&release_head("2.0"), &[component("web", 2)]);
    let mut head = assignment_head(device.uuid(), 2, digest);
    head.override_locks = true;
    let assignment = publisher.assignment(&head, &[]);
    let target = SignedTarget {
        assignment: Blob::Raw(&assignment),
        release: Blob::Raw(&release),
    };
    device.event(Event::Received(Down::Target(target))).unwrap();
    shows(
        &device,
        expect![[r#"
            < Locked { owner: app, covers: None, expires_in: None }
            < target
            * LocksOverridden
            * TargetAccepted(f96ef8d5)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(f96ef8d5)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying f96ef8d5, web Healthy
        "#]],
    );
}

#[test]
fn a_restart_waits_for_locks_and_happens_once() {
    let (_, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    let lock = Event::Locked {
        owner: name("app"),
        covers: Some(name("web")),
        expires_in: None,
    };
    device.event(lock).unwrap();
    let reboot = || {
        Event::Received(Down::Command(Command {
            id: 1,
            order: Order::Reboot,
        }))
    };
    device.event(reboot()).unwrap();
    assert_eq!(device.event(Event::Unlocked(name("app"))), Err(Cut));
    let mut device = device.restarted();
    device.run().unwrap();
    device.event(reboot()).unwrap();
    shows(
        &device,
        expect![[r#"
            < Locked { owner: app, covers: Some(web), expires_in: None }
            < Received(Command(Command { id: 1, order: Reboot }))
            > store State
            < Unlocked(app)
            > reboot
            -- restart --
            > store Clock
            > take inventory
            > start web 77010101
            > connect
            * Connected
            > send report 1: counter 1, committed 602f4c13, web Healthy
            < Received(Command(Command { id: 1, order: Reboot }))
            * CommandRepeated(1)
        "#]],
    );
}

#[test]
fn commands_name_components_that_are_there() {
    let (_, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    for (id, order) in [
        (1, Order::Restart(name("web"))),
        (2, Order::Restart(name("nothing"))),
        (3, Order::Identify),
        (4, Order::Report),
    ] {
        device
            .event(Event::Received(Down::Command(Command { id, order })))
            .unwrap();
    }
    device.pass(seconds(3)).unwrap();
    shows(
        &device,
        expect![[r#"
            < Received(Command(Command { id: 1, order: Restart(web) }))
            > store State
            > stop web ed596007
            > start web 77010101
            > send report 4: counter 1, committed 602f4c13, web Healthy
            < Received(Command(Command { id: 2, order: Restart(nothing) }))
            > store State
            * OrderVoid(nothing)
            < Received(Command(Command { id: 3, order: Identify }))
            > store State
            > identify
            < Received(Command(Command { id: 4, order: Report }))
            > store State
            -- 3 s pass --
            > send report 5: counter 1, committed 602f4c13, web Healthy
        "#]],
    );
}

#[test]
fn the_api_key_is_rotated_in_two_phases() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    let mut fleet = Fleet {
        current: Some(ApiKey([0; 32])),
        ..Fleet::default()
    };
    device.sent.clear();
    device
        .event(Event::Asked(Order::Rotate(KeyKind::Api)))
        .unwrap();
    fleet.talk(&mut device).unwrap();
    shows(
        &device,
        expect![[r#"
            < Asked(Rotate(Api))
            > store Identity
            > store Identity
            > send proposal of a new Api key
            * KeyProposed(Api)
            < Received(KeyAccepted(KeyAccepted { kind: Api, id: 8e8c00fa }))
            > disconnect
            > connect
            * Connected
            * KeyRotated(Api)
            > store Identity
            > send report 2: counter 0
        "#]],
    );
}

fn offered(device: &mut Device, hub: u8) {
    let tunnel = registered(device.uuid()).tunnel.unwrap();
    let hub = PublicKey([hub; 32]);
    let down = Down::Tunnel(Tunnel { hub, ..tunnel });
    device.event(Event::Received(down)).unwrap();
}

#[test]
fn another_tunnel_is_tried_at_once_and_takes_the_place_of_the_one_in_use() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    offered(&mut device, 8);
    offered(&mut device, 8);
    shows(
        &device,
        expect![[r#"
        < Received(Tunnel(Tunnel { hub: 08080808, endpoint: fleet.example:51820, address: 100.64.0.9, gateway: 100.64.0.1, preshared: None, mqtt_port: 1883, http_port: 80 }))
        * TunnelOffered
        > store Identity
        > disconnect
        > connect
        * Connected
        * TunnelReplaced
        > store Identity
        > send report 2: counter 0
        < Received(Tunnel(Tunnel { hub: 08080808, endpoint: fleet.example:51820, address: 100.64.0.9, gateway: 100.64.0.1, preshared: None, mqtt_port: 1883, http_port: 80 }))
    "#]],
    );
    assert_eq!(device.last_hub, Some(PublicKey([8; 32])));
}

#[test]
fn a_tunnel_that_does_not_come_up_leaves_the_one_in_use_and_is_tried_again_later() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    device.silent_hubs.insert(PublicKey([8; 32]));
    offered(&mut device, 8);
    device.pass(seconds(10)).unwrap();
    offered(&mut device, 8);
    assert_eq!(device.last_hub, Some(PublicKey([7; 32])));
    device.silent_hubs.clear();
    device.pass(seconds(3700)).unwrap();
    shows(
        &device,
        expect![[r#"
        < Received(Tunnel(Tunnel { hub: 08080808, endpoint: fleet.example:51820, address: 100.64.0.9, gateway: 100.64.0.1, preshared: None, mqtt_port: 1883, http_port: 80 }))
        * TunnelOffered
        > store Identity
        > disconnect
        > connect
        * Disconnected { failure: TimedOut, retry_at: Instant(3752) }
        -- 10 s pass --
        > connect
        * Connected
        > send report 2: counter 0
        < Received(Tunnel(Tunnel { hub: 08080808, endpoint: fleet.example:51820, address: 100.64.0.9, gateway: 100.64.0.1, preshared: None, mqtt_port: 1883, http_port: 80 }))
        -- 3700 s pass --
        > disconnect
        > connect
        * Connected
        * TunnelReplaced
        > store Identity
        > send report 3: counter 0
    "#]],
    );
    assert_eq!(device.last_hub, Some(PublicKey([8; 32])));
}

#[test]
fn a_tunnel_that_the_fleet_takes_back_is_not_tried_again() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    device.silent_hubs.insert(PublicKey([8; 32]));
    offered(&mut device, 8);
    device.pass(seconds(10)).unwrap();
    offered(&mut device, 7);
    device.silent_hubs.clear();
    device.pass(seconds(3700)).unwrap();
    assert_eq!(device.last_hub, Some(PublicKey([7; 32])));
    let bytes = &device.disk.records[&(Record::Identity as usize)];
    let identity: record::Identity = record::decode(bytes).unwrap();
    assert_eq!(identity.tunnel_pending, None);
}

/// Power goes when the hub has already seen the new key and the device has not saved that it works.
#[test]
fn a_device_whose_tunnel_is_gone_when_it_wakes_takes_the_one_it_was_told_of() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    // Up to the connection with the new tunnel: save, disconnect, connect.
    device.cut_after = Some(2);
    device.cut_late = true;
    let tunnel = registered(device.uuid()).tunnel.unwrap();
    let hub = PublicKey([8; 32]);
    device.tell(Event::Received(Down::Tunnel(Tunnel { hub, ..tunnel })));
    assert!(device.run().is_err(), "the power goes");
    device.silent_hubs.insert(PublicKey([7; 32]));
    let mut device = device.restarted();
    device.pass(seconds(10)).unwrap();
    shows(
        &device,
        expect![[r#"
        < Received(Tunnel(Tunnel { hub: 08080808, endpoint: fleet.example:51820, address: 100.64.0.9, gateway: 100.64.0.1, preshared: None, mqtt_port: 1883, http_port: 80 }))
        * TunnelOffered
        > store Identity
        > disconnect
        > connect
        -- restart --
        -- 10 s pass --
        > store Clock
        > take inventory
        > connect
        * Disconnected { failure: TimedOut, retry_at: Instant(1104) }
        > connect
        * Connected
        * TunnelReplaced
        > store Identity
        > send report 1: counter 0
    "#]],
    );
    assert_eq!(device.last_hub, Some(hub));
}

#[test]
fn two_orders_to_rotate_that_come_together_are_both_carried_out() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    device.storage_is_slow = true;
    let mut fleet = Fleet {
        current: Some(ApiKey([0; 32])),
        ..Fleet::default()
    };
    device.sent.clear();
    for (id, kind) in [(1, KeyKind::Api), (2, KeyKind::WireGuard)] {
        let order = Order::Rotate(kind);
        device.tell(Event::Received(Down::Command(Command { id, order })));
    }
    fleet.talk(&mut device).unwrap();
    for kind in ["KeyRotated(Api)", "KeyRotated(WireGuard)"] {
        assert!(device.out.contains(kind), "{}", device.out);
    }
}

/// The records as the first layout had them, which devices in the field have saved.
#[test]
fn what_an_agent_of_the_first_layout_saved_reads_back() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/records/layout-1");
    let mut rest = &std::fs::read(corpus).unwrap()[..];
    let mut saved = Vec::new();
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (bytes, after) = after.split_at(usize::from(u16::from_le_bytes(*len)));
        assert_eq!(bytes[0], 1, "the layout");
        saved.push(bytes.to_vec());
        rest = after;
    }
    let identity: record::Identity = record::decode(&saved[0]).unwrap();
    assert!(identity.registered && identity.rotation_ordered == Some(KeyKind::Api));
    assert_eq!(identity.rotation_ordered_next, None);
    assert_eq!(identity.tunnel_pending, None);
    record::decode::<TrustState>(&saved[1]).unwrap();
    record::decode::<record::State<2>>(&saved[2]).unwrap();
    assert_eq!(record::decode::<record::Clock>(&saved[3]).unwrap().boots, 3);
    let mut out = [0; limits::RECORD_BYTES];
    let len = record::RecordRef::Identity(&identity)
        .encode(&mut out)
        .unwrap();
    assert_eq!(out[0], 3, "and is saved as the third");
    assert_eq!(
        record::decode::<record::Identity>(&out[..len]),
        Ok(identity)
    );
}

#[test]
fn a_secure_element_makes_and_keeps_the_tunnel_key() {
    let publisher = Publisher::default();
    let mut config = publisher.config();
    config.keys_outside = true;
    let mut device = Device::new(config);
    device.register().unwrap();
    device.sent.clear();
    device
        .event(Event::Asked(Order::Rotate(KeyKind::WireGuard)))
        .unwrap();
    let key = NewKey::WireGuard(PublicKey([101; 32]));
    assert_eq!(device.sent.pop_back(), Some(Up::ProposeKey(key.clone())));
    let accepted = KeyAccepted {
        kind: KeyKind::WireGuard,
        id: key.id(),
    };
    device
        .event(Event::Received(Down::KeyAccepted(accepted)))
        .unwrap();
    shows(
        &device,
        expect![[r#"
            > store Clock
            > take inventory
            > create key in slot 0
            * IdentityMade(ba32fbd1-ac0d-4158-a9fe-1f8a3e3fe621)
            > store Identity
            > connect to enrol
            * Connected
            > send registration
            < registered
            * Registered
            > store Identity
            > erase provisioning key
            * ProvisioningKeyErased
            > disconnect
            > connect
            * Connected
            > send report 1: counter 0
            < Asked(Rotate(WireGuard))
            > store Identity
            > create key in slot 1
            > store Identity
            > send proposal of a new WireGuard key
            * KeyProposed(WireGuard)
            < Received(KeyAccepted(KeyAccepted { kind: WireGuard, id: dfb41745 }))
            > disconnect
            > connect
            * Connected
            * KeyRotated(WireGuard)
            > store Identity
        "#]],
    );
}

#[test]
fn an_acceptance_of_another_key_is_ignored() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    device
        .event(Event::Asked(Order::Rotate(KeyKind::Api)))
        .unwrap();
    let accepted = KeyAccepted {
        kind: KeyKind::Api,
        id: KeyId([0; 8]),
    };
    device
        .event(Event::Received(Down::KeyAccepted(accepted)))
        .unwrap();
    shows(
        &device,
        expect![[r#"
        < Asked(Rotate(Api))
        > store Identity
        > store Identity
        > send proposal of a new Api key
        * KeyProposed(Api)
        < Received(KeyAccepted(KeyAccepted { kind: Api, id: 00000000 }))
    "#]],
    );
}

#[test]
fn keys_rotate_on_schedule() {
    let (_, device) = registered_with(|config| config.rotation_period_s = Some(86_400));
    let mut device = device.loud();
    device
        .event(Event::ClockSet(UnixTime(TODAY + 2 * DAY)))
        .unwrap();
    shows(
        &device,
        expect![[r#"
        < ClockSet(UnixTime(1800172800))
        > store Identity
        > send proposal of a new Api key
        * KeyProposed(Api)
    "#]],
    );
}

#[test]
fn the_trust_root_rotates_one_version_after_the_other() {
    let (publisher, device) = registered_device();
    let mut device = device.loud();
    let mut root = publisher.root.clone();
    for version in [2, 3] {
        root.version = version;
        let document = publisher.root_document(&root, &[&publisher.root_key]);
        let document = Blob::Raw(&document);
        device
            .event(Event::Received(Down::Root(SignedRoot { document })))
            .unwrap();
        // The same again is out of order, and changes nothing.
        device
            .event(Event::Received(Down::Root(SignedRoot { document })))
            .unwrap();
    }
    device.pass(seconds(2)).unwrap();
    shows(
        &device,
        expect![[r#"
        < root
        * RootTrusted(2)
        > store Trust
        > send report 2: counter 0
        < root
        * Offence(RootOutOfOrder)
        < root
        * RootTrusted(3)
        > store Trust
        < root
        * Offence(RootOutOfOrder)
        -- 2 s pass --
        > send report 3: counter 0, RootOutOfOrder
    "#]],
    );
}

#[test]
fn a_trial_that_must_reach_the_fleet_is_reverted_when_it_does_not() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device.online = false;
    let mut head = release_head("2.0");
    head.reach_fleet_s = Some(120);
    device
        .assign(&publisher, 2, &head, &[component("web", 2)])
        .unwrap();
    device.event(Event::Disconnected(Failure::Network)).unwrap();
    device.pass(seconds(200)).unwrap();
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(67eaef4f)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(67eaef4f)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying 67eaef4f, web Healthy
            < Disconnected(Network)
            * Disconnected { failure: Network, retry_at: Instant(63676) }
            -- 200 s pass --
            > connect
            * Disconnected { failure: Network, retry_at: Instant(66206) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(71473) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(80884) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(98889) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(144134) }
            > connect
            * Disconnected { failure: Network, retry_at: Instant(233065) }
            > store State
            * Rejected { release: 67eaef4f, reason: Unreachable }
            > stop web 436022c1
            > start web 77010101
            > remove web 436022c1
            * Reverted
            > connect
            * Disconnected { failure: Network, retry_at: Instant(404766) }
        "#]],
    );
}

#[test]
fn a_trial_that_must_reach_the_fleet_is_committed_when_it_does() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    let mut head = release_head("2.0");
    head.reach_fleet_s = Some(120);
    device
        .assign(&publisher, 2, &head, &[component("web", 2)])
        .unwrap();
    device.pass(seconds(20)).unwrap();
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(67eaef4f)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(67eaef4f)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying 67eaef4f, web Healthy
            -- 20 s pass --
            > store State
            * Committed(67eaef4f)
            > remove web ed596007
            > send report 5: counter 2, committed 67eaef4f
        "#]],
    );
}

#[test]
fn a_message_that_is_not_delivered_is_put_off() {
    let (_, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device.online = false;
    device.event(Event::Asked(Order::Report)).unwrap();
    device.pass(seconds(60)).unwrap();
    shows(
        &device,
        expect![[r#"
            < Asked(Report)
            > send report 4: counter 1, committed 602f4c13, web Healthy
            -- 60 s pass --
            > send report 5: counter 1, committed 602f4c13, web Healthy
            > send report 6: counter 1, committed 602f4c13, web Healthy
            > send report 7: counter 1, committed 602f4c13, web Healthy
            > send report 8: counter 1, committed 602f4c13, web Healthy
            > send report 9: counter 1, committed 602f4c13, web Healthy
        "#]],
    );
}

#[test]
fn power_cuts_in_a_trial_are_counted_apart_from_failures() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device
        .assign(&publisher, 2, &release_head("2.0"), &[component("web", 2)])
        .unwrap();
    for _ in 0..11 {
        device = device.restarted().quiet();
        device.run().unwrap();
    }
    let mut device = device.loud().restarted();
    device.run().unwrap();
    let rejected = device.agent.state().rejected.unwrap();
    assert_eq!(rejected.reason, Reason::Reboots);
    assert_eq!(device.running().len(), 1);
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(f96ef8d5)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(f96ef8d5)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying f96ef8d5, web Healthy
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            -- restart --
            > store Clock
            > take inventory
            > start web 77010101
            > connect
            * Connected
            > send report 1: counter 2, committed 602f4c13, rejected f96ef8d5 as Reboots, web Healthy
        "#]],
    );
}

#[test]
fn what_cannot_be_saved_is_not_begun() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device.storage_works = false;
    device
        .assign(&publisher, 2, &release_head("2.0"), &[component("web", 2)])
        .unwrap();
    device.pass(seconds(10)).unwrap();
    device.storage_works = true;
    device.pass(seconds(30)).unwrap();
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(f96ef8d5)
            > store Trust
            * RecordNotSaved(Trust)
            > store State
            * RecordNotSaved(State)
            > send report 4: counter 2, committed 602f4c13, Preparing f96ef8d5, unsaved
            -- 10 s pass --
            > store State
            * RecordNotSaved(State)
            > store Trust
            * RecordNotSaved(Trust)
            > store State
            * RecordNotSaved(State)
            > store Trust
            * RecordNotSaved(Trust)
            -- 30 s pass --
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            * TrialStarted(f96ef8d5)
            > store State
            > stop web ed596007
            > start web 77020202
            > send report 5: counter 2, committed 602f4c13, Trying f96ef8d5, web Healthy
            > store State
            * Committed(f96ef8d5)
            > remove web ed596007
            > send report 6: counter 2, committed f96ef8d5
        "#]],
    );
}

#[test]
fn a_read_only_disk_does_not_keep_the_committed_release_from_running() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device
        .assign(&publisher, 2, &release_head("2.0"), &[component("web", 2)])
        .unwrap();
    device.storage_works = false;
    device.online = false;
    let mut device = device.restarted();
    device.pass(seconds(3)).unwrap();
    assert_eq!(
        device.running(),
        vec![(name("web"), component("web", 1).instance())]
    );
    shows(
        &device,
        expect![[r#"
            < target
            * TargetAccepted(f96ef8d5)
            > store Trust
            > store State
            > fetch web 77020202
            > stage web 77020202
            > store State
            * TrialStarted(f96ef8d5)
            > stop web ed596007
            > start web 77020202
            > send report 4: counter 2, committed 602f4c13, Trying f96ef8d5, web Healthy
            -- restart --
            -- 3 s pass --
            * TrialResumed(1)
            > store Clock
            * RecordNotSaved(Clock)
            > store State
            * RecordNotSaved(State)
            > take inventory
            > start web 77010101
            > connect
            * Disconnected { failure: Network, retry_at: Instant(1121) }
            > store Clock
            * RecordNotSaved(Clock)
            > store State
            * RecordNotSaved(State)
            > connect
            * Disconnected { failure: Network, retry_at: Instant(3649) }
        "#]],
    );
}

#[test]
fn what_is_committed_is_started_again_while_the_next_release_cannot_be_fetched() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device;
    let new = component("web", 2);
    device.faults.insert(new.artifact.digest, Fault::NoNetwork);
    device
        .assign(
            &publisher,
            2,
            &release_head("2.0"),
            std::slice::from_ref(&new),
        )
        .unwrap();
    device.online = false;
    let mut device = device.restarted();
    device.pass(seconds(5)).unwrap();
    let old = (name("web"), component("web", 1).instance());
    assert_eq!(device.running(), vec![old]);
    device.faults.clear();
    device.online = true;
    device.pass(seconds(600)).unwrap();
    assert_eq!(device.running(), vec![(name("web"), new.instance())]);
}

#[test]
fn what_is_committed_is_started_again_though_a_new_target_cannot_be_saved() {
    let (publisher, device) = running_device(&[component("web", 1)]);
    let mut device = device.restarted();
    device.storage_works = false;
    device
        .assign(&publisher, 2, &release_head("2.0"), &[component("web", 2)])
        .unwrap();
    device.pass(seconds(5)).unwrap();
    let old = (name("web"), component("web", 1).instance());
    assert_eq!(device.running(), vec![old]);
}

fn damaged(record: Record, damage: impl FnOnce(&mut Vec<u8>)) -> Device {
    let (_, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    damage(device.disk.records.get_mut(&(record as usize)).unwrap());
    let before = device.disk.records[&(record as usize)].clone();
    let mut device = device.restarted();
    device.pass(seconds(5)).unwrap();
    if device.out.contains("Newer") {
        assert_eq!(
            device.disk.records[&(record as usize)],
            before,
            "it is left alone"
        );
    }
    device
}

fn torn(bytes: &mut Vec<u8>) {
    bytes.truncate(bytes.len() / 2);
}

/// A record of a newer agent that says that this one must not read it.
#[expect(clippy::ptr_arg, reason = "it stands where `torn` stands")]
fn newer(bytes: &mut Vec<u8>) {
    bytes[0] = 9;
    bytes[1] = 9;
    let sum = lightship_core::id::Digest::of(&bytes[7..]).chain(&bytes[..3]);
    bytes[3..7].copy_from_slice(&sum.0[..4]);
}

#[test]
fn a_torn_state_leaves_everything_on_the_device_as_it_is() {
    let device = damaged(Record::State, torn);
    assert_eq!(device.disk.instances.len(), 1);
    shows(
        &device,
        expect![[r#"
        -- restart --
        -- 5 s pass --
        * RecordUnreadable(State, Torn)
        > store Clock
        > take inventory
        > connect
        * Connected
        > send report 1: counter 1, unsaved
    "#]],
    );
}

#[test]
fn a_state_of_a_newer_agent_is_left_alone() {
    let device = damaged(Record::State, newer);
    assert_eq!(device.disk.instances.len(), 1);
    shows(
        &device,
        expect![[r#"
        -- restart --
        -- 5 s pass --
        * RecordUnreadable(State, Newer)
        > store Clock
        > take inventory
        > connect
        * Connected
        > send report 1: counter 1, unsaved
    "#]],
    );
}

#[test]
fn a_torn_trust_falls_back_to_the_first_root() {
    shows(
        &damaged(Record::Trust, torn),
        expect![[r#"
            -- restart --
            -- 5 s pass --
            * RecordUnreadable(Trust, Torn)
            > store Clock
            > take inventory
            > start web 77010101
            > connect
            * Connected
            > send report 1: counter 0, committed 602f4c13, web Healthy
        "#]],
    );
}

#[test]
fn a_torn_identity_without_a_provisioning_key_still_runs_its_release() {
    let device = damaged(Record::Identity, torn);
    assert_eq!(device.running().len(), 1);
    shows(
        &device,
        expect![[r#"
        -- restart --
        -- 5 s pass --
        * RecordUnreadable(Identity, Torn)
        * Unprovisioned
        > store Clock
        > take inventory
        > start web 77010101
    "#]],
    );
}

#[test]
fn an_identity_of_a_newer_agent_is_left_alone() {
    let device = damaged(Record::Identity, newer);
    assert_eq!(device.running().len(), 1);
    shows(
        &device,
        expect![[r#"
        -- restart --
        -- 5 s pass --
        * RecordUnreadable(Identity, Newer)
        > store Clock
        > take inventory
        > start web 77010101
    "#]],
    );
}

#[test]
fn a_component_that_exits_is_started_again_with_back_off_and_never_given_up() {
    let (_, mut device) = running_device(&[component("web", 1)]);
    device
        .faults
        .insert(component("web", 1).artifact.digest, Fault::Exits);
    let mut device = device.loud().restarted();
    device.pass(seconds(30)).unwrap();
    shows(
        &device,
        expect![[r#"
            -- restart --
            -- 30 s pass --
            > store Clock
            > take inventory
            > start web 77010101
            * ComponentFailed(web)
            > connect
            * Connected
            > send report 1: counter 1, committed 602f4c13, web Exited
            > stop web ed596007
            > start web 77010101
            * ComponentFailed(web)
            > stop web ed596007
            > start web 77010101
            * ComponentFailed(web)
            > stop web ed596007
            > start web 77010101
            * ComponentFailed(web)
            > send report 2: counter 1, committed 602f4c13, web Exited
            > stop web ed596007
            > start web 77010101
            * ComponentFailed(web)
            > send report 3: counter 1, committed 602f4c13, web Exited
        "#]],
    );
}

/// A device that comes back with its containers still running, and an engine that breaks off its first answers.
fn blind_device(inventories: u32) -> Device {
    let (_, device) = running_device(&[component("web", 1), component("db", 1)]);
    let before = device.disk.instances.clone();
    let mut device = device.loud().restarted();
    device.disk.instances = before;
    device.blind = inventories;
    device
}

#[test]
fn an_inventory_that_fails_is_taken_again_and_nothing_is_started_twice_meanwhile() {
    let mut device = blind_device(3);
    device.pass(seconds(60)).unwrap();
    shows(
        &device,
        expect![[r#"
            -- restart --
            -- 60 s pass --
            > store Clock
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(1104) }
            > connect
            * Connected
            > send report 1: counter 1, committed d2203b4d, unsaved, db Healthy
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(3347) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(7833) }
            > take inventory
            > send report 2: counter 1, committed d2203b4d, web Healthy, db Healthy
        "#]],
    );
}

#[test]
fn inventories_that_fail_are_asked_for_ever_more_rarely() {
    let mut device = blind_device(u32::MAX);
    device.pass(seconds(24 * 3600)).unwrap();
    let asked = device.out.matches("> take inventory").count();
    assert!((90..220).contains(&asked), "{asked} in a day");
    assert!(!device.out.contains("> start") && !device.out.contains("> remove"));
    device.blind = 0;
    device.pass(seconds(16 * 60)).unwrap();
    assert_eq!(device.running().len(), 2, "as it was all the time");
}

#[test]
fn a_trial_that_cannot_be_seen_is_rejected_and_the_committed_release_runs_again() {
    let (publisher, mut device) = running_device(&[component("web", 1)]);
    let slow = component("web", 2);
    device.faults.insert(slow.artifact.digest, Fault::Unhealthy);
    device
        .assign(&publisher, 2, &release_head("2.0"), &[slow])
        .unwrap();
    device.pass(seconds(4)).unwrap();
    let mut device = device.loud().restarted();
    device.blind = 8;
    device.pass(seconds(600)).unwrap();
    assert_eq!(device.running().len(), 1);
    shows(
        &device,
        expect![[r#"
            -- restart --
            -- 600 s pass --
            * TrialResumed(1)
            > store Clock
            > store State
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(1121) }
            > connect
            * Connected
            > send report 1: counter 2, committed 602f4c13, Trying f96ef8d5, unsaved, web Ready
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(3364) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(11286) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(21400) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(48722) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(100015) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(185587) }
            > take inventory
            * InventoryFailed { failure: Storage, retry_at: Instant(414980) }
            * Rejected { release: f96ef8d5, reason: Unseen }
            > store State
            > send report 2: counter 2, committed 602f4c13, rejected f96ef8d5 as Unseen, unsaved
            > take inventory
            > start web 77010101
            > remove web 436022c1
            > send report 3: counter 2, committed 602f4c13, rejected f96ef8d5 as Unseen, web Healthy
            * Reverted
        "#]],
    );
}

#[test]
fn what_is_not_a_message_and_a_change_of_way_are_noted() {
    let (_, device) = registered_device();
    let mut device = device.loud();
    device
        .event(Event::Switched {
            to: 1,
            why: Some(Failure::Network),
        })
        .unwrap();
    device
        .event(Event::Unreadable(Rejection::TrailingBytes))
        .unwrap();
    device.pass(seconds(10)).unwrap();
    shows(
        &device,
        expect![[r#"
        < Switched { to: 1, why: Some(Network) }
        * Switched { to: 1, why: Some(Network) }
        < Unreadable(TrailingBytes)
        * Unreadable(TrailingBytes)
        > send report 2: counter 0, TrailingBytes
        -- 10 s pass --
    "#]],
    );
}

#[test]
fn an_idle_device_sends_nothing() {
    let (_, device) = running_device(&[component("web", 1)]);
    let mut device = device.loud();
    device.pass(seconds(3600)).unwrap();
    shows(
        &device,
        expect![[r#"
        -- 3600 s pass --
    "#]],
    );
}
