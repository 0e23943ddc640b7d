//! The loop with a platform and a link that the test plays, in virtual time.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;

use ed25519_dalek::{Signer, SigningKey};
use embassy_futures::block_on;
use lightship_core::id::{Digest, KeyId, Name, ProvisioningKey, PublicKey, Uuid, Version};
use lightship_core::plan::Presence;
use lightship_core::record::{Record, Saved};
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::{Instant, UnixTime};
use lightship_core::trust::*;
use lightship_core::wire::{Blob, Down, Registered, Rejection, SignedTarget, Up};
use lightship_core::{Agent, Config, Credentials, Failure, Note, StepId, limits};
use lightship_driver::{Clock, Driver, End, Happening, Platform, Task};
use lightship_link::{
    Event as LinkEvent, Failure as LinkFailure, Known, Link, NotTaken, Unreachable,
};

const TODAY: u64 = 1_800_000_000;

/// Time passes when nobody has anything else to do.
#[derive(Clone, Default)]
struct Virtual(Rc<Cell<u64>>);

impl Clock for Virtual {
    fn now(&self) -> Instant {
        Instant::from_millis(self.0.get())
    }

    async fn sleep_until(&self, moment: Instant) {
        let mut idle = 0;
        poll_fn(|cx| {
            if self.now() >= moment {
                return Poll::Ready(());
            }
            idle += 1;
            if idle > 3 {
                self.0.set(moment.as_millis());
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// A fleet that lets everybody in and has one target.
#[derive(Default)]
struct FleetLink {
    events: VecDeque<Said>,
    up: VecDeque<Up>,
    release: Option<(Vec<u8>, Digest)>,
    current: Option<(Vec<u8>, Vec<u8>)>,
    reports: Rc<Cell<u32>>,
    /// How many messages it took and has not acknowledged, and whether it said that it ended.
    open: Rc<Cell<(u32, bool)>>,
    /// Says nothing of an end.
    is_deaf: bool,
    /// Acknowledges nothing for now.
    holds: Rc<Cell<bool>>,
    /// What the platform has happen to the link.
    air: Air,
}

type Air = Rc<RefCell<VecDeque<Said>>>;

enum Said {
    Up,
    Down,
    Lost,
    Sent,
    Registered(Uuid),
    Target(Vec<u8>, Vec<u8>),
    Garbage,
    Switched,
}

fn director() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

fn public(key: &SigningKey) -> PublicKey {
    PublicKey(key.verifying_key().to_bytes())
}

fn signed(payload: &[u8], key: &SigningKey) -> Vec<u8> {
    let signature = (KeyId::of(&public(key)), key.sign(payload).to_bytes());
    let mut out = vec![0; limits::DOCUMENT_BYTES];
    let len = seal(payload, &[signature], &mut out).unwrap();
    out.truncate(len);
    out
}

impl Link for FleetLink {
    fn connect(&mut self, credentials: &lightship_link::Credentials, _: Known) {
        self.events.push_back(Said::Up);
        if let lightship_link::Secret::Provisioning(_) = credentials.secret {
            return;
        }
        let Some((release, digest)) = self.release.clone() else {
            return;
        };
        let head = AssignmentHead {
            device: credentials.uuid,
            counter: 1,
            issued: UnixTime(TODAY),
            expires: UnixTime(TODAY + 86_400),
            release: digest,
            attempt: 0,
            override_locks: false,
        };
        let mut payload = [0; 512];
        let len = encode_assignment(&head, &[], &mut payload).unwrap();
        self.events
            .push_back(Said::Target(signed(&payload[..len], &director()), release));
    }

    fn disconnect(&mut self) {
        if !self.is_deaf {
            self.events.push_back(Said::Down);
        }
    }

    fn send(&mut self, message: Up) -> Result<(), NotTaken> {
        let (under_way, is_ended) = self.open.get();
        self.open.set((under_way + 1, is_ended));
        self.events.push_back(Said::Sent);
        match &message {
            Up::Register(register) => self.events.push_back(Said::Registered(register.uuid)),
            Up::Report(_) => {
                self.reports.set(self.reports.get() + 1);
                self.events.extend([Said::Garbage, Said::Switched]);
            }
            Up::ProposeKey(_) => {}
        }
        self.up.push_back(message);
        Ok(())
    }

    async fn next(&mut self) -> LinkEvent<'_> {
        if self.holds.get() && matches!(self.events.front(), Some(Said::Sent)) {
            return pending().await;
        }
        let said = self.events.pop_front();
        match said.or_else(|| self.air.borrow_mut().pop_front()) {
            None => pending().await,
            Some(Said::Lost) => LinkEvent::Down(LinkFailure::Unreachable(Unreachable::Broken)),
            Some(Said::Up) => LinkEvent::Up { resumed: false },
            Some(Said::Down) => {
                self.open.set((self.open.get().0, true));
                LinkEvent::Down(LinkFailure::Closed)
            }
            Some(Said::Sent) => {
                let (under_way, is_ended) = self.open.get();
                self.open.set((under_way - 1, is_ended));
                LinkEvent::Sent
            }
            Some(Said::Garbage) => LinkEvent::Rejected(Rejection::Undecodable),
            Some(Said::Switched) => LinkEvent::Switched {
                to: 1,
                why: Some(LinkFailure::Untrusted),
            },
            Some(Said::Registered(uuid)) => {
                LinkEvent::Message(Down::Registered(Registered { uuid, tunnel: None }))
            }
            Some(Said::Target(assignment, release)) => {
                let (assignment, release) = self.current.insert((assignment, release));
                LinkEvent::Message(Down::Target(SignedTarget {
                    assignment: Blob::Raw(assignment),
                    release: Blob::Raw(release),
                }))
            }
        }
    }
}

#[derive(Default)]
struct Board {
    records: BTreeMap<usize, Vec<u8>>,
    happenings: VecDeque<Happening>,
    instances: BTreeMap<(Name, Digest), Presence>,
    notes: Vec<Note>,
    cancelled: Vec<StepId>,
    /// Inventories that fail.
    breaks: u8,
    /// Fetches that were begun.
    fetches: Rc<Cell<u32>>,
    /// Where a fetch comes in two parts, the connection breaks and is made over another link between them.
    air: Option<Air>,
    /// What hangs for ever.
    hangs: Option<&'static str>,
    ends_when: Option<fn(&Note) -> bool>,
    /// Set once the device is one of the fleet.
    holds: Option<Rc<Cell<bool>>>,
}

impl Platform for Board {
    fn note(&mut self, _: Instant, note: &Note) {
        self.notes.push(note.clone());
        if let (Note::Registered, Some(holds)) = (note, &self.holds) {
            holds.set(true);
        }
        if self.ends_when.is_some_and(|ends| ends(note)) {
            self.happenings.push_back(Happening::Ended);
        }
    }

    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure> {
        if self.hangs == Some("store") {
            self.hangs = None;
            pending::<()>().await;
        }
        self.records.insert(record as usize, bytes.to_vec());
        Ok(())
    }

    async fn erase_provisioning_key(&mut self) -> Result<(), Failure> {
        Ok(())
    }

    async fn create_key(&mut self, _: u8) -> Result<PublicKey, Failure> {
        Err(Failure::Unusable)
    }

    async fn prepare(&mut self, _: &Credentials<'_>) -> Result<(), Failure> {
        Ok(())
    }

    fn begin(&mut self, id: StepId, task: Task<'_>) {
        let mut done = |presence, component: &Component| {
            let instance = (component.name.clone(), component.instance());
            self.instances.insert(instance, presence);
            self.happenings.push_back(Happening::Done(id, Ok(())));
        };
        match task {
            Task::Fetch(_) if self.hangs == Some("fetch") => self.hangs = None,
            Task::TakeInventory if self.hangs == Some("inventory") => self.hangs = None,
            Task::TakeInventory if self.breaks > 0 => {
                self.breaks -= 1;
                let broken = Happening::Done(id, Err(Failure::Storage));
                self.happenings.push_back(broken);
            }
            Task::Fetch(component) => {
                self.fetches.set(self.fetches.get() + 1);
                if self.air.is_some() {
                    let parts = [5, 10].map(|bytes| Happening::Progressed(id, bytes));
                    self.happenings.extend(parts);
                }
                let instance = (component.name.clone(), component.instance());
                self.instances.insert(instance, Presence::Fetched);
                self.happenings.push_back(Happening::Done(id, Ok(())));
            }
            Task::Stage(component) => done(Presence::Staged, component),
            Task::Start(component) => done(Presence::Healthy, component),
            Task::Confirm(_) | Task::Stop(_) | Task::Remove(_) | Task::TakeInventory => {
                self.happenings.push_back(Happening::Done(id, Ok(())));
            }
            Task::Probe(instance) => {
                let known = self
                    .instances
                    .get(&(instance.name.clone(), instance.instance));
                let presence = known.copied().unwrap_or(Presence::Missing);
                self.happenings.push_back(Happening::Probed(id, presence));
            }
        }
    }

    fn cancel(&mut self, id: StepId) {
        self.cancelled.push(id);
    }

    async fn next(&mut self) -> Happening {
        let Some(happening) = self.happenings.pop_front() else {
            return pending().await;
        };
        if let (Happening::Progressed(_, 5), Some(air)) = (&happening, &self.air) {
            air.borrow_mut().extend([Said::Lost, Said::Switched]);
        }
        happening
    }

    fn raise_floor(&mut self, _: u32) {}

    fn identify(&mut self) {}

    async fn reboot(&mut self) {}
}

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

fn config() -> Config {
    let keys = [1, 2, 3].map(|seed| SigningKey::from_bytes(&[seed; 32]));
    let role = |members| RoleKeys {
        members,
        threshold: 1,
    };
    Config {
        device_type: name("testboard"),
        product: name("kiosk"),
        name: None,
        root: Root {
            version: 1,
            issued: UnixTime(TODAY),
            expires: UnixTime(TODAY * 2),
            floor: 0,
            keys: keys.iter().map(public).collect(),
            root: role(1),
            release: role(2),
            director: role(4),
        },
        provisioning_key: Some(ProvisioningKey([9; 32])),
        rotation_period_s: None,
        keys_outside: false,
    }
}

fn release() -> (Vec<u8>, Digest) {
    let head = ReleaseHead {
        product: name("kiosk"),
        device_type: name("testboard"),
        version: Version::new("1.0").unwrap(),
        security_version: 1,
        floor: 0,
        issued: UnixTime(TODAY),
        reach_fleet_s: Some(60),
    };
    let web = Component {
        name: name("web"),
        kind: Kind::Container,
        artifact: Artifact {
            digest: Digest([1; 32]),
            size: 10,
        },
        spec: Digest([2; 32]),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::DownloadThenKill,
        health: Health::default(),
        after: [].into_iter().collect(),
    };
    let mut payload = [0; 512];
    let len = encode_release(&head, &[web], &mut payload).unwrap();
    let document = signed(&payload[..len], &SigningKey::from_bytes(&[2; 32]));
    (document, Digest::of(&payload[..len]))
}

fn run(mut board: Board) -> (Vec<Note>, Vec<StepId>, u32, u64) {
    let clock = Virtual::default();
    let reports = Rc::new(Cell::new(0));
    let link = FleetLink {
        release: Some(release()),
        reports: Rc::clone(&reports),
        air: board.air.clone().unwrap_or_default(),
        ..FleetLink::default()
    };
    let mut agent = Agent::<2>::new(config(), Saved::default(), [5; 32], clock.now());
    let mut buffer = [0; limits::RECORD_BYTES];
    let mut driver = Driver::new(&mut agent, link, &mut board, clock.clone(), &mut buffer);
    assert_eq!(block_on(driver.run()), End::Asked);
    let board = driver.platform();
    (
        board.notes.clone(),
        board.cancelled.clone(),
        reports.get(),
        clock.0.get(),
    )
}

fn until_committed() -> Board {
    Board {
        ends_when: Some(|note| matches!(note, Note::Committed(_))),
        ..Board::default()
    }
}

#[test]
fn a_device_registers_installs_a_release_and_commits_it() {
    let (notes, cancelled, reports, _) = run(until_committed());
    assert!(notes.contains(&Note::Registered), "{notes:?}");
    assert!(notes.contains(&Note::ProvisioningKeyErased), "{notes:?}");
    assert!(cancelled.is_empty());
    assert!(reports >= 1);
}

#[test]
fn a_farewell_lets_what_is_being_sent_arrive_and_waits_for_no_one_for_ever() {
    for (is_acknowledged, is_deaf) in [(true, false), (true, true), (false, false)] {
        let clock = Virtual::default();
        let (open, holds) = (Rc::new(Cell::default()), Rc::new(Cell::new(false)));
        let link = FleetLink {
            release: Some(release()),
            open: Rc::clone(&open),
            is_deaf,
            holds: Rc::clone(&holds),
            ..FleetLink::default()
        };
        let mut board = Board {
            holds: Some(Rc::clone(&holds)),
            ends_when: Some(|note| matches!(note, Note::TargetAccepted(_))),
            ..Board::default()
        };
        let mut agent = Agent::<2>::new(config(), Saved::default(), [5; 32], clock.now());
        let mut buffer = [0; limits::RECORD_BYTES];
        let mut driver = Driver::new(&mut agent, link, &mut board, clock.clone(), &mut buffer);
        assert_eq!(block_on(driver.run()), End::Asked);
        assert_eq!(open.get().0, 1, "a message is under way");
        open.set((1, false));
        holds.set(!is_acknowledged);
        let begun = clock.0.get();
        block_on(driver.leave());
        let (under_way, is_ended) = open.get();
        assert_eq!(under_way == 0, is_acknowledged);
        assert_eq!(is_ended, is_acknowledged && !is_deaf);
        assert!(clock.0.get() - begun <= lightship_driver::limits::FAREWELL.as_millis());
    }
}

#[test]
fn a_step_that_hangs_is_cancelled_told_and_tried_again() {
    let board = Board {
        hangs: Some("fetch"),
        ..until_committed()
    };
    let (notes, cancelled, _, now) = run(board);
    let failed = Note::StepFailed {
        component: name("web"),
        failure: Failure::TimedOut,
    };
    assert!(notes.contains(&failed), "{notes:?}");
    assert_eq!(cancelled.len(), 1);
    assert!(now >= lightship_driver::limits::FETCH_SILENCE.as_millis());
}

#[test]
fn an_inventory_that_hangs_or_fails_is_asked_for_again() {
    let hangs = Board {
        hangs: Some("inventory"),
        ..until_committed()
    };
    let breaks = Board {
        breaks: 2,
        ..until_committed()
    };
    let cases = [
        (hangs, Failure::TimedOut, 1, 1),
        (breaks, Failure::Storage, 2, 0),
    ];
    for (board, expected, times, cancels) in cases {
        let (notes, cancelled, _, _) = run(board);
        let failed = notes.iter().filter(
            |note| matches!(note, Note::InventoryFailed { failure, .. } if *failure == expected),
        );
        assert_eq!(failed.count(), times, "{notes:?}");
        assert_eq!(cancelled.len(), cancels);
    }
}

#[test]
fn garbage_and_changes_of_transport_are_told_to_the_agent() {
    let (notes, ..) = run(until_committed());
    let unreadable = Note::Unreadable(Rejection::Undecodable);
    assert!(notes.contains(&unreadable), "{notes:?}");
    let switched = Note::Switched {
        to: 1,
        why: Some(Failure::Network),
    };
    assert!(notes.contains(&switched), "{notes:?}");
}

#[test]
fn a_fetch_goes_on_while_the_connection_breaks_and_is_made_over_another_link() {
    let fetches = Rc::new(Cell::new(0));
    let board = Board {
        fetches: Rc::clone(&fetches),
        air: Some(Air::default()),
        ..until_committed()
    };
    let (notes, cancelled, ..) = run(board);
    let mut after = notes.iter();
    let mut then = |wanted: fn(&Note) -> bool| after.any(wanted);
    assert!(
        then(|note| matches!(note, Note::TargetAccepted(_)))
            && then(|note| matches!(note, Note::Disconnected { .. }))
            && then(|note| matches!(note, Note::Switched { .. }))
            && then(|note| matches!(note, Note::Committed(_))),
        "{notes:?}"
    );
    assert_eq!((fetches.get(), cancelled.len()), (1, 0), "it is one fetch");
    let failed = notes
        .iter()
        .any(|note| matches!(note, Note::StepFailed { .. }));
    assert!(!failed, "{notes:?}");
}

#[test]
fn storage_that_hangs_is_a_failure_and_nothing_that_depends_on_it_is_done() {
    let board = Board {
        hangs: Some("store"),
        ..until_committed()
    };
    let (notes, _, _, now) = run(board);
    assert!(
        notes.contains(&Note::RecordNotSaved(Record::Clock)),
        "{notes:?}"
    );
    assert!(now >= lightship_driver::limits::STORE.as_millis());
}
