//! One device: the core, the driver and the host's transports as on a board; what it runs is imagined.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::time::Duration;

use embassy_sync::blocking_mutex::raw::CriticalSectionRawMutex;
use lightship_core::id::{Digest, Name, PublicKey};
use lightship_core::limits::{MESSAGE_BYTES, RECORD_BYTES};
use lightship_core::plan::Presence;
use lightship_core::record::{Record, Saved};
use lightship_core::target::Component;
use lightship_core::time::Instant;
use lightship_core::{Agent, Config, Credentials, Failure, Note, StepId};
use lightship_driver::{Clock, Driver, Happening, Platform, Task};
use lightship_https::host as https;
use lightship_link::Link;
use lightship_link::chunk::{Exchange, Slot};
use lightship_link::mailbox::{Mailbox, Packet};
use lightship_mqtt::host as mqtt;
use tokio::sync::mpsc;

use crate::agents::Shore;

type Raw = CriticalSectionRawMutex;

/// What a device keeps from one life to the next.
pub(crate) struct Device {
    seed: [u8; 32],
    records: RefCell<BTreeMap<usize, Vec<u8>>>,
    began: std::time::Instant,
}

impl Device {
    pub(crate) fn new(i: u64) -> Self {
        Self {
            seed: Digest::of(&i.to_le_bytes()).0,
            records: RefCell::default(),
            began: std::time::Instant::now(),
        }
    }
}

/// Its time since it was made.
struct Since(std::time::Instant);

impl Clock for Since {
    fn now(&self) -> Instant {
        Instant::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap())
    }

    async fn sleep_until(&self, moment: Instant) {
        let span = moment.since(self.now());
        tokio::time::sleep(Duration::from_millis(span.as_millis())).await;
    }
}

/// Registers over HTTPS; returns when the device has forgotten its provisioning key.
pub(crate) async fn register(shore: &Shore, device: &Device) {
    let mut packet = Packet::<MESSAGE_BYTES>::default();
    let mut mailbox: Mailbox<'_, Raw> = Mailbox::new(&mut packet);
    let (handle, port) = mailbox.split();
    let config = https::Config::new(&shore.url, &shore.authority).unwrap();
    let (mut runner, _reader, _logs) = https::parts(config, port);
    let is_over = |note: &Note| *note == Note::ProvisioningKeyErased;
    let life = Box::pin(live(shore, device, handle, true, is_over));
    tokio::select! {
        () = life => {}
        never = runner.run() => never,
    }
}

/// Stays connected over MQTT, and says when it is and when it has accepted a target.
pub(crate) async fn stay(
    shore: &Shore,
    device: &Device,
    connected: impl Fn(),
    accepted: mpsc::UnboundedSender<()>,
) {
    let mut packet = Packet::<MESSAGE_BYTES>::default();
    let mut mailbox: Mailbox<'_, Raw> = Mailbox::new(&mut packet);
    let (handle, port) = mailbox.split();
    let mut slot = Slot::new();
    let mut exchange: Exchange<'_, Raw> = Exchange::new(&mut slot);
    let (_, asked) = exchange.split();
    let mut broker = mqtt::Config::new(&shore.mqtt.ip().to_string(), shore.mqtt.port());
    broker.clean_start = true;
    let mut runner = mqtt::Runner::new(broker, port, asked);
    let hear = |note: &Note| {
        match note {
            Note::Connected => connected(),
            Note::TargetAccepted(_) => accepted.send(()).unwrap(),
            _ => {}
        }
        false
    };
    let life = Box::pin(live(shore, device, handle, false, hear));
    tokio::select! {
        () = life => {}
        never = runner.run() => never,
    }
}

/// One life of the agent, until a note ends it.
async fn live(
    shore: &Shore,
    device: &Device,
    link: impl Link,
    is_new: bool,
    ends: impl Fn(&Note) -> bool,
) {
    let saved = device.records.borrow().clone();
    let record = |record: Record| saved.get(&(record as usize)).map(Vec::as_slice);
    let saved = Saved {
        identity: record(Record::Identity),
        trust: record(Record::Trust),
        state: record(Record::State),
        clock: record(Record::Clock),
    };
    let config = Config {
        device_type: Name::new("board").unwrap(),
        product: Name::new("harbour").unwrap(),
        name: None,
        root: shore.root.clone(),
        provisioning_key: is_new.then_some(shore.key),
        rotation_period_s: None,
        keys_outside: false,
    };
    let clock = Since(device.began);
    let mut agent = Box::new(Agent::<1>::new(config, saved, device.seed, clock.now()));
    let mut board = Board {
        device,
        ends,
        happenings: VecDeque::new(),
        instances: BTreeMap::new(),
    };
    let mut buffer = vec![0; RECORD_BYTES];
    let mut driver = Driver::new(&mut agent, link, &mut board, clock, &mut buffer);
    driver.run().await;
}

/// Does at once whatever it is told, and finds everything healthy.
struct Board<'a, E> {
    device: &'a Device,
    ends: E,
    happenings: VecDeque<Happening>,
    instances: BTreeMap<(Name, Digest), Presence>,
}

impl<E: Fn(&Note) -> bool> Platform for Board<'_, E> {
    fn note(&mut self, _: Instant, note: &Note) {
        if (self.ends)(note) {
            self.happenings.push_back(Happening::Ended);
        }
    }

    async fn store(&mut self, record: Record, bytes: &[u8]) -> Result<(), Failure> {
        let mut records = self.device.records.borrow_mut();
        records.insert(record as usize, bytes.to_vec());
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
        };
        match task {
            Task::Fetch(component) => done(Presence::Fetched, component),
            Task::Stage(component) => done(Presence::Staged, component),
            Task::Start(component) => done(Presence::Healthy, component),
            Task::Confirm(_) | Task::Stop(_) | Task::Remove(_) | Task::TakeInventory => {}
            Task::Probe(instance) => {
                let instance = (instance.name.clone(), instance.instance);
                let known = self.instances.get(&instance).copied();
                let presence = known.unwrap_or(Presence::Missing);
                self.happenings.push_back(Happening::Probed(id, presence));
                return;
            }
        }
        self.happenings.push_back(Happening::Done(id, Ok(())));
    }

    fn cancel(&mut self, _: StepId) {}

    async fn next(&mut self) -> Happening {
        match self.happenings.pop_front() {
            Some(happening) => happening,
            None => pending().await,
        }
    }

    fn raise_floor(&mut self, _: u32) {}

    fn identify(&mut self) {}

    async fn reboot(&mut self) {}
}
