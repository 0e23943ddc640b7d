//! Golden transcripts: events in (`<`), actions (`>`) and notes (`*`) out.
#![allow(missing_docs, reason = "a test")]

mod support;

use expect_test::expect;
use lightship_core::time::Duration;
use support::script::Device;
use support::*;

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

#[test]
fn a_device_registers_and_erases_its_provisioning_key() {
    let mut device = Device::new(Publisher::default().config());
    device.register().unwrap();
    expect![[r#"
        * IdentityMade(023f3720-3a24-46c4-a566-a61cc55c3ca8)
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
    "#]]
    .assert_eq(&device.out);
}

#[test]
fn a_release_is_tried_and_committed() {
    let publisher = Publisher::default();
    let mut device = Device::new(publisher.config()).quiet();
    device.register().unwrap();
    device = device.loud();
    device
        .assign(&publisher, 1, &release_head("1.0"), &[component("web", 1)])
        .unwrap();
    device.pass(seconds(30)).unwrap();
    device
        .assign(&publisher, 2, &release_head("2.0"), &[component("web", 2)])
        .unwrap();
    device.pass(seconds(30)).unwrap();
    expect![[r#"
        < target
        * TargetAccepted(09f36e45)
        > store Trust
        > store State
        > fetch web 77010101
        > stage web 77010101
        > store State
        * TrialStarted(09f36e45)
        > start web 77010101
        > probe web
        -- 30 s pass --
        > send report 2: counter 1, Trying 09f36e45, web Healthy
        > probe web
        > probe web
        > probe web
        > probe web
        > store State
        * Committed(09f36e45)
        > probe web
        > send report 3: counter 1, committed 09f36e45
        < target
        * TargetAccepted(81444adf)
        > store Trust
        > store State
        > fetch web 77020202
        > stage web 77020202
        > store State
        * TrialStarted(81444adf)
        > stop web ed596007
        > start web 77020202
        > probe web
        > send report 4: counter 2, committed 09f36e45, Trying 81444adf, web Healthy
        -- 30 s pass --
        > probe web
        > probe web
        > probe web
        > probe web
        > store State
        * Committed(81444adf)
        > remove web ed596007
        > probe web
        > send report 5: counter 2, committed 81444adf
    "#]]
    .assert_eq(&device.out);
}
