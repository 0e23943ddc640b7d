//! Power cuts at every file operation of a trial that fails and of the way back: the agent's records and the store together.
//!
//! Oracle: whenever the power goes, the committed release is in the store, whole; no report ever says
//! that the broken one was committed; and the next life comes to the same end as if nothing had happened: the
//! committed release runs, the broken one is rejected, told, and gone from the disk.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use lightship_core::id::{Digest, KeyId, Name, ProvisioningKey, PublicKey, Version};
use lightship_core::plan::Presence;
use lightship_core::record::Record;
use lightship_core::target::{Artifact, Component, Health, Kind, Mode, Strategy};
use lightship_core::time::{Instant, UnixTime};
use lightship_core::trust::{
    AssignmentHead, ReleaseHead, RoleKeys, Root, encode_assignment, encode_release, seal,
};
use lightship_core::wire::{Blob, Down, Registered, Report, SignedTarget, Up};
use lightship_core::{Agent, Config, Credentials, Failure, InstanceRef, Note, StepId, limits};
use lightship_driver::{Clock as _, Driver, Happening, Platform, Task};
use lightship_link::{Credentials as LinkCredentials, Event, Known, Link, NotTaken, Secret};
use lightshipd::daemon::Records;
use lightshipd::store::{self, Files, InstanceId, Keep, Store};

use crate::power::{LOSSES, Loss, Power};
use crate::scratch;
use crate::time::Time;

const TODAY: u64 = 1_800_000_000;

/// What the images of the two releases are; the second one's program ends at once.
const IMAGES: [&[u8]; 2] = [b"image 1", b"image 2"];

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
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

fn name(text: &str) -> Name {
    Name::new(text).unwrap()
}

/// A release's document and its digest; the first is number 0.
fn release(number: usize) -> (Vec<u8>, Digest) {
    let head = ReleaseHead {
        product: name("harbour"),
        device_type: name("board"),
        version: Version::new(["1.0.0", "2.0.0"][number]).unwrap(),
        security_version: 1,
        floor: 0,
        issued: UnixTime(TODAY),
        reach_fleet_s: None,
    };
    let component = Component {
        name: name("web"),
        kind: Kind::Container,
        artifact: Artifact {
            digest: Digest::of(IMAGES[number]),
            size: IMAGES[number].len() as u64,
        },
        spec: Digest([7; 32]),
        settings: None,
        mode: Mode::Service,
        strategy: Strategy::DownloadThenKill,
        health: Health {
            grace_s: 5,
            window_s: 5,
            failures: 0,
        },
        after: [].into_iter().collect(),
    };
    let mut payload = [0; 512];
    let len = encode_release(&head, &[component], &mut payload).unwrap();
    (
        signed(&payload[..len], &key(2)),
        Digest::of(&payload[..len]),
    )
}

/// A fleet that assigns one release and keeps what it is told.
struct Fleet {
    assigned: usize,
    events: VecDeque<Said>,
    current: (Vec<u8>, Vec<u8>),
    reports: Rc<RefCell<Vec<Report>>>,
}

enum Said {
    Up,
    Sent,
    Registered(Registered),
    Target(Vec<u8>, Vec<u8>),
}

impl Link for Fleet {
    fn connect(&mut self, credentials: &LinkCredentials, _: Known) {
        self.events.push_back(Said::Up);
        if let Secret::Provisioning(_) = credentials.secret {
            return;
        }
        let (document, digest) = release(self.assigned);
        let head = AssignmentHead {
            device: credentials.uuid,
            counter: 1 + self.assigned as u64,
            issued: UnixTime(TODAY),
            expires: UnixTime(TODAY + 86_400),
            release: digest,
            attempt: 0,
            override_locks: false,
        };
        let mut payload = [0; 512];
        let len = encode_assignment(&head, &[], &mut payload).unwrap();
        let assignment = signed(&payload[..len], &key(3));
        self.events.push_back(Said::Target(assignment, document));
    }

    fn disconnect(&mut self) {}

    fn send(&mut self, message: Up) -> Result<(), NotTaken> {
        self.events.push_back(Said::Sent);
        match message {
            Up::Register(register) => {
                let (uuid, tunnel) = (register.uuid, None);
                self.events
                    .push_back(Said::Registered(Registered { uuid, tunnel }));
            }
            Up::Report(report) => self.reports.borrow_mut().push(report),
            Up::ProposeKey(_) => {}
        }
        Ok(())
    }

    async fn next(&mut self) -> Event<'_> {
        match self.events.pop_front() {
            None => pending().await,
            Some(Said::Up) => Event::Up { resumed: false },
            Some(Said::Sent) => Event::Sent,
            Some(Said::Registered(registered)) => Event::Message(Down::Registered(registered)),
            Some(Said::Target(assignment, document)) => {
                self.current = (assignment, document);
                Event::Message(Down::Target(SignedTarget {
                    assignment: Blob::Raw(&self.current.0),
                    release: Blob::Raw(&self.current.1),
                }))
            }
        }
    }
}

/// A device's disk, and the containers that run on it.
struct Board {
    records: Records,
    store: Store,
    power: Arc<Power>,
    happenings: VecDeque<Happening>,
    running: Rc<RefCell<BTreeMap<Digest, Presence>>>,
    reports: Rc<RefCell<Vec<Report>>>,
    is_over: fn(&Self) -> bool,
}

fn own(digest: &Digest) -> store::Digest {
    store::Digest::from_bytes(digest.0)
}

fn record_of(component: &Component) -> store::Record {
    store::Record {
        version: 1,
        name: component.name.to_string(),
        instance: own(&component.instance()),
        artifact: own(&component.artifact.digest),
        spec: own(&component.spec),
        settings: None,
        confirmed: false,
    }
}

impl Board {
    fn told<T, E>(&mut self, done: Result<T, E>) -> Result<T, Failure> {
        if self.power.is_cut() {
            self.happenings.push_back(Happening::Ended);
        }
        done.map_err(|_| Failure::Storage)
    }

    fn done(&mut self, id: StepId, done: std::io::Result<()>) {
        let result = self.told(done);
        self.happenings.push_back(Happening::Done(id, result));
    }

    fn presence(&self, instance: &Digest) -> Presence {
        let running = self.running.borrow().get(instance).copied();
        let is_staged = self
            .store
            .records()
            .unwrap()
            .iter()
            .any(|r| r.instance == own(instance));
        running.unwrap_or(if is_staged {
            Presence::Staged
        } else {
            Presence::Missing
        })
    }

    fn fetch(&self, component: &Component) -> std::io::Result<()> {
        let image = IMAGES
            .iter()
            .find(|image| Digest::of(image) == component.artifact.digest);
        self.store.write_blob(image.unwrap()).map(drop)
    }

    fn start(&self, component: &Component) {
        let is_good = component.artifact.digest == Digest::of(IMAGES[0]);
        let presence = if is_good {
            Presence::Healthy
        } else {
            Presence::Exited
        };
        self.running
            .borrow_mut()
            .insert(component.instance(), presence);
    }

    fn remove(&self, instance: &InstanceRef<'_>) -> std::io::Result<()> {
        self.running.borrow_mut().remove(&instance.instance);
        let name = instance.name.to_string();
        self.store
            .remove_instance(InstanceId::of(&name, &own(&instance.instance)))
    }

    /// Removes what no instance needs, as the daemon does whenever a step has ended and when it begins.
    fn sweep(&self) -> std::io::Result<()> {
        let records = self.store.records()?;
        let keep = Keep {
            blobs: records.iter().map(|record| record.artifact).collect(),
            ..Keep::default()
        };
        self.store.collect(&keep).map(drop)
    }

    fn take_inventory(&mut self, id: StepId) {
        for record in self.store.records().unwrap() {
            let instance = Digest(*record.instance.as_bytes());
            self.happenings.push_back(Happening::Found {
                name: name(&record.name),
                instance,
                kind: Kind::Container,
                presence: self.presence(&instance),
            });
        }
        self.done(id, Ok(()));
    }
}

impl Platform for Board {
    fn note(&mut self, _: Instant, _: &Note) {}

    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure> {
        let saved = self.records.save(record, bytes);
        self.told(saved)
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
        let done = match task {
            Task::Fetch(component) => self.fetch(component),
            Task::Stage(component) => self.store.stage(&record_of(component)),
            Task::Start(component) => {
                self.start(component);
                Ok(())
            }
            Task::Confirm(component) => self.store.confirm(record_of(component).id(), true),
            Task::Stop(instance) => {
                self.running.borrow_mut().remove(&instance.instance);
                Ok(())
            }
            Task::Remove(instance) => self.remove(&instance),
            Task::Probe(instance) => {
                let presence = self.presence(&instance.instance);
                return self.happenings.push_back(Happening::Probed(id, presence));
            }
            Task::TakeInventory => return self.take_inventory(id),
        };
        self.done(id, done);
    }

    fn cancel(&mut self, _: StepId) {}

    async fn next(&mut self) -> Happening {
        if let Some(happening) = self.happenings.pop_front() {
            return happening;
        }
        if !(self.is_over)(self) {
            return pending().await;
        }
        // The power may go in it; there is another life then.
        let _ = self.sweep();
        Happening::Ended
    }

    fn raise_floor(&mut self, _: u32) {}

    fn identify(&mut self) {}

    async fn reboot(&mut self) {}
}

fn config() -> Config {
    let role = |members| RoleKeys {
        members,
        threshold: 1,
    };
    Config {
        device_type: name("board"),
        product: name("harbour"),
        name: None,
        root: Root {
            version: 1,
            issued: UnixTime(TODAY),
            expires: UnixTime(TODAY * 2),
            floor: 0,
            keys: [1, 2, 3]
                .map(|seed| public(&key(seed)))
                .into_iter()
                .collect(),
            root: role(1),
            release: role(2),
            director: role(4),
        },
        provisioning_key: Some(ProvisioningKey([9; 32])),
        rotation_period_s: None,
        keys_outside: false,
    }
}

/// One life of a device to which this release is assigned, until it is over or the power goes; what runs at its end.
async fn life(
    folder: &Path,
    power: Arc<Power>,
    assigned: usize,
    is_over: fn(&Board) -> bool,
) -> BTreeMap<Digest, Presence> {
    let files = Files::witnessed(power.clone());
    let running = Rc::<RefCell<BTreeMap<_, _>>>::default();
    let Ok(records) = Records::open(&folder.join("agent"), files.clone()) else {
        return BTreeMap::new();
    };
    let Ok(store) = Store::open(&folder.join("store"), files) else {
        return BTreeMap::new();
    };
    let loaded = records.load().unwrap();
    let time = Time::default();
    let mut agent = Agent::<2>::new(config(), loaded.saved(), [5; 32], time.now());
    let reports = Rc::<RefCell<Vec<Report>>>::default();
    let link = Fleet {
        assigned,
        events: VecDeque::new(),
        current: (Vec::new(), Vec::new()),
        reports: reports.clone(),
    };
    let mut board = Board {
        records,
        store,
        power,
        happenings: VecDeque::new(),
        running: running.clone(),
        reports: reports.clone(),
        is_over,
    };
    let mut buffer = vec![0; limits::RECORD_BYTES];
    Driver::new(&mut agent, link, &mut board, time, &mut buffer)
        .run()
        .await;
    if assigned == 1 {
        let (_, good) = release(0);
        for report in reports.borrow().iter() {
            assert_eq!(
                report.committed,
                Some(good),
                "a report that is not true: {report:?}"
            );
        }
    }
    running.take()
}

fn is_committed(board: &Board) -> bool {
    let reports = board.reports.borrow();
    reports.last().is_some_and(|last| last.committed.is_some())
}

/// Told that the second release is rejected, and nothing of it is left.
fn is_reverted(board: &Board) -> bool {
    let reports = board.reports.borrow();
    let (_, bad) = release(1);
    let is_told = reports.last().is_some_and(|last| {
        let rejected = last.rejected.as_ref().map(|rejected| rejected.release);
        rejected == Some(bad) && last.trial.is_none()
    });
    let good = |record: &store::Record| record.artifact == store::Digest::of(IMAGES[0]);
    let records = board.store.records().unwrap();
    let runs = board.running.borrow().values().copied().collect::<Vec<_>>() == [Presence::Healthy];
    is_told && runs && records.iter().all(good)
}

fn judge(folder: &Path, what: &str) {
    let store = Store::open(&folder.join("store"), Files::default()).unwrap();
    let good = store::Digest::of(IMAGES[0]);
    let records = store.records().unwrap();
    let is_there = records.iter().any(|record| record.artifact == good);
    assert!(is_there, "{what}: {records:?}");
    assert!(
        store.read_blob(&good).unwrap().is_some(),
        "{what}: it is not whole"
    );
}

/// A copy of a device's folders.
fn copy(from: &Path) -> tempfile::TempDir {
    let to = scratch::folder();
    let copied = std::process::Command::new("cp")
        .arg("-a")
        .arg(from.join("."))
        .arg(to.path())
        .status();
    assert!(copied.unwrap().success());
    to
}

/// Cuts the power at one operation; whether there was such an operation.
async fn cut(begun: &Path, at: usize, loss: Loss) -> bool {
    let folder = copy(begun);
    let power = Power::new(Some(at), loss);
    life(folder.path(), power.clone(), 1, is_reverted).await;
    let what = format!("cut at operation {at}, {loss:?}");
    judge(folder.path(), &what);
    let running = life(folder.path(), Power::new(None, loss), 1, is_reverted).await;
    judge(folder.path(), &what);
    assert_eq!(running.len(), 1, "{what}: {running:?}");
    let store = Store::open(&folder.path().join("store"), Files::default()).unwrap();
    assert_eq!(store.records().unwrap().len(), 1, "{what}");
    let bad = store::Digest::of(IMAGES[1]);
    assert!(
        store.read_blob(&bad).unwrap().is_none(),
        "{what}: the broken image is left"
    );
    power.is_cut()
}

#[tokio::test]
async fn a_cut_at_any_file_operation_of_a_revert_leaves_the_committed_release_and_a_true_report() {
    let begun = scratch::folder();
    life(
        begun.path(),
        Power::new(None, Loss::Nothing),
        0,
        is_committed,
    )
    .await;
    judge(begun.path(), "before");
    let whole = Power::new(None, Loss::Nothing);
    life(copy(begun.path()).path(), whole.clone(), 1, is_reverted).await;
    let mut cuts = 0;
    for loss in LOSSES {
        for at in 1.. {
            if !cut(begun.path(), at, loss).await {
                break;
            }
            cuts += 1;
        }
    }
    eprintln!("{cuts} cuts");
    assert!(whole.count() > 30, "only {} operations", whole.count());
    assert_eq!(cuts, whole.count() * LOSSES.len());
}
