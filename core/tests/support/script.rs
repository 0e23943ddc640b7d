//! A device whose platform is the test: scripted where it matters, obliging where it does not.

use super::*;
use lightship_core::plan::Presence;
use lightship_core::record::{Record, Saved};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;

/// The most components of a release in the tests.
pub const COMPONENTS: usize = 4;

/// What survives a power cut.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    pub records: BTreeMap<usize, Vec<u8>>,
    /// Name, instance, kind, presence; a restart makes what ran `Staged`.
    pub instances: BTreeMap<(Name, Digest), (Kind, Presence)>,
    pub provisioning_key_erased: bool,
    pub floor: u32,
    /// The firmware that the boot loader would boot: confirmed, and on trial.
    pub firmware: Option<(Name, Digest)>,
    pub firmware_trial: Option<(Name, Digest)>,
}

/// A component that misbehaves: instances with this artifact do what the test says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Runs and is never healthy.
    Unhealthy,
    /// Exits as soon as it is started.
    Exits,
    /// Does not start.
    DoesNotStart,
    /// Cannot be staged here, ever.
    Unusable,
    /// Is never fetched.
    NoNetwork,
    /// Does not fit beside an old one.
    NoSpace,
}

pub struct Device {
    pub agent: Agent<COMPONENTS>,
    pub now: Instant,
    pub disk: Disk,
    pub config: Config,
    pub faults: BTreeMap<Digest, Fault>,
    pub out: String,
    /// What was sent and not yet looked at by the test.
    pub sent: VecDeque<Up>,
    /// Whether connecting works, and with which API key it does not.
    pub online: bool,
    pub refused_keys: BTreeSet<ApiKey>,
    pub last_key: Option<ApiKey>,
    /// Hub keys that nobody answers to, and the one that was connected with last.
    pub silent_hubs: BTreeSet<PublicKey>,
    pub last_hub: Option<PublicKey>,
    /// Whether records can be saved.
    pub storage_works: bool,
    /// Whether records are saved, and said to be, only when there is nothing else to do.
    pub storage_is_slow: bool,
    saving: Vec<(Record, Vec<u8>)>,
    /// Inventories that break off half-way before one is whole.
    pub blind: u32,
    /// Power goes after so many more actions.
    pub cut_after: Option<usize>,
    /// Whether the last action is still carried out, though nobody hears of it.
    pub cut_late: bool,
    /// Actions so far.
    pub actions: usize,
    pub wants_reboot: bool,
    verbose: bool,
    life: u8,
}

/// Power went.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut;

impl Device {
    pub fn new(config: Config) -> Self {
        Self::boot(config, Disk::default(), 1)
    }

    fn boot(mut config: Config, mut disk: Disk, life: u8) -> Self {
        if disk.provisioning_key_erased {
            config.provisioning_key = None;
        }
        boot_loader(&mut disk);
        let record = |record: Record| disk.records.get(&(record as usize)).map(Vec::as_slice);
        let saved = Saved {
            identity: record(Record::Identity),
            trust: record(Record::Trust),
            state: record(Record::State),
            clock: record(Record::Clock),
        };
        let agent = Agent::new(config.clone(), saved, [life; 32], Instant::BOOT);
        Self {
            agent,
            now: Instant::BOOT,
            disk,
            config,
            faults: BTreeMap::new(),
            out: String::new(),
            sent: VecDeque::new(),
            online: true,
            refused_keys: BTreeSet::new(),
            last_key: None,
            silent_hubs: BTreeSet::new(),
            last_hub: None,
            storage_works: true,
            storage_is_slow: false,
            saving: Vec::new(),
            blind: 0,
            cut_after: None,
            cut_late: false,
            actions: 0,
            wants_reboot: false,
            verbose: true,
            life,
        }
    }

    /// The device after power went and came back.
    pub fn restarted(self) -> Self {
        let mut next = Self::boot(self.config, self.disk, self.life.wrapping_add(1));
        next.faults = self.faults;
        next.online = self.online;
        next.refused_keys = self.refused_keys;
        next.silent_hubs = self.silent_hubs;
        next.storage_works = self.storage_works;
        next.storage_is_slow = self.storage_is_slow;
        next.blind = self.blind;
        next.out = self.out;
        next.actions = self.actions;
        next.say("-- restart --");
        next
    }

    pub fn say(&mut self, line: &str) {
        if self.verbose {
            writeln!(self.out, "{line}").expect("memory");
        }
    }

    /// Tells the agent something, without answering what it wants done.
    pub fn tell(&mut self, event: Event<'_>) {
        let line = format!("< {}", describe_event(&event));
        self.say(&line);
        self.agent.handle(self.now, event);
    }

    /// Tells the agent something and carries out all that follows.
    pub fn event(&mut self, event: Event<'_>) -> Result<(), Cut> {
        self.tell(event);
        self.run().map(drop)
    }

    /// Carries out what the agent wants until it waits; until when.
    pub fn run(&mut self) -> Result<Option<Instant>, Cut> {
        for _ in 0..10_000 {
            let (line, answers) = match self.agent.poll() {
                Step::Wait { until, .. } => match self.saving.pop() {
                    None => return Ok(until),
                    Some((kind, bytes)) => {
                        self.disk.records.insert(kind as usize, bytes);
                        (
                            "..saved".into(),
                            Some(vec![Event::RecordStored(kind, Ok(()))]),
                        )
                    }
                },
                Step::Note(note) => (format!("* {note:?}"), None),
                Step::Act(action) => {
                    self.actions += 1;
                    let line = format!("> {}", describe_action(&action));
                    let mut world = World {
                        disk: &mut self.disk,
                        faults: &self.faults,
                        sent: &mut self.sent,
                        online: self.online,
                        refused_keys: &self.refused_keys,
                        last_key: &mut self.last_key,
                        silent_hubs: &self.silent_hubs,
                        last_hub: &mut self.last_hub,
                        storage_works: self.storage_works,
                        saving: self.storage_is_slow.then_some(&mut self.saving),
                        blind: &mut self.blind,
                        wants_reboot: &mut self.wants_reboot,
                    };
                    let dies = self.cut_after == Some(0);
                    let answers = if dies {
                        vec![]
                    } else {
                        world.carry_out(&action)
                    };
                    (line, Some(answers))
                }
            };
            self.say(&line);
            if answers.is_some() {
                if self.cut_after == Some(0) {
                    return Err(Cut);
                }
                self.cut_after = self.cut_after.map(|left| left - 1);
            }
            for answer in answers.into_iter().flatten() {
                self.agent.handle(self.now, answer);
            }
            if self.wants_reboot {
                return Err(Cut);
            }
        }
        panic!("the agent does not come to rest:\n{}", self.out);
    }

    /// Lets time pass, in the steps that the agent asks for.
    pub fn pass(&mut self, span: Duration) -> Result<(), Cut> {
        let end = self.now + span;
        let line = format!("-- {} s pass --", span.as_millis() / 1000);
        self.say(&line);
        for _ in 0..100_000 {
            let until = self.run()?;
            let Some(until) = until.filter(|until| *until <= end) else {
                self.now = end;
                self.agent.handle(end, Event::Woke);
                return self.run().map(drop);
            };
            assert!(until > self.now, "a wait must be for later:\n{}", self.out);
            self.now = until;
            self.agent.handle(self.now, Event::Woke);
        }
        panic!("the agent wakes up without end:\n{}", self.out);
    }

    pub fn quiet(mut self) -> Self {
        self.verbose = false;
        self
    }

    pub fn loud(mut self) -> Self {
        self.verbose = true;
        self
    }

    pub fn take_out(&mut self) -> String {
        std::mem::take(&mut self.out)
    }

    pub fn uuid(&self) -> Uuid {
        self.agent.uuid().expect("an identity")
    }

    /// Registers with an obliging fleet.
    pub fn register(&mut self) -> Result<(), Cut> {
        self.run()?;
        let uuid = self.uuid();
        self.event(Event::Received(Down::Registered(registered(uuid))))?;
        self.run().map(drop)
    }

    /// Assigns a release of these components.
    pub fn assign(
        &mut self,
        publisher: &Publisher,
        counter: u64,
        head: &ReleaseHead,
        components: &[Component],
    ) -> Result<Digest, Cut> {
        let (release, digest) = publisher.release(head, components);
        let head = assignment_head(self.uuid(), counter, digest);
        let assignment = publisher.assignment(&head, &[]);
        self.event(Event::Received(Down::Target(SignedTarget {
            assignment: Blob::Raw(&assignment),
            release: Blob::Raw(&release),
        })))?;
        Ok(digest)
    }

    /// Names and instances that run now.
    pub fn running(&self) -> Vec<(Name, Digest)> {
        let all = self.disk.instances.iter();
        all.filter(|(_, (_, presence))| presence.is_running())
            .map(|(id, _)| id.clone())
            .collect()
    }
}

/// What the boot loader and the loss of power do to what ran.
fn boot_loader(disk: &mut Disk) {
    for (_, (_, presence)) in disk.instances.iter_mut() {
        if presence.is_active() {
            *presence = Presence::Staged;
        }
    }
    let booted = disk
        .firmware_trial
        .clone()
        .or_else(|| disk.firmware.clone());
    if let Some(id) = booted
        && let Some((_, presence)) = disk.instances.get_mut(&id)
    {
        *presence = Presence::Healthy;
    }
}

struct World<'a> {
    disk: &'a mut Disk,
    faults: &'a BTreeMap<Digest, Fault>,
    sent: &'a mut VecDeque<Up>,
    online: bool,
    refused_keys: &'a BTreeSet<ApiKey>,
    last_key: &'a mut Option<ApiKey>,
    silent_hubs: &'a BTreeSet<PublicKey>,
    last_hub: &'a mut Option<PublicKey>,
    storage_works: bool,
    saving: Option<&'a mut Vec<(Record, Vec<u8>)>>,
    blind: &'a mut u32,
    wants_reboot: &'a mut bool,
}

impl World<'_> {
    fn carry_out(&mut self, action: &Action<'_>) -> Vec<Event<'static>> {
        match action {
            Action::StoreRecord(record) => self.store(record),
            Action::CreateKey(slot) => {
                vec![Event::KeyCreated(*slot, Ok(PublicKey([slot + 100; 32])))]
            }
            Action::EraseProvisioningKey => {
                self.disk.provisioning_key_erased = true;
                vec![Event::ProvisioningKeyErased(Ok(()))]
            }
            Action::Connect(credentials) => vec![self.connect(credentials)],
            Action::Send(id, _) if !self.online => {
                vec![Event::Sent(*id, Err(Failure::Network))]
            }
            Action::Send(id, message) => {
                if let Up::Report(report) = message {
                    self.check_truth(report);
                }
                self.sent.push_back(message.clone());
                vec![Event::Sent(*id, Ok(()))]
            }
            Action::TakeInventory => {
                let found = self.disk.instances.iter();
                let found = found.map(|((name, instance), (kind, presence))| Event::Found {
                    name: name.clone(),
                    instance: *instance,
                    kind: *kind,
                    presence: *presence,
                });
                if *self.blind == 0 {
                    return found.chain([Event::InventoryTaken(Ok(()))]).collect();
                }
                *self.blind -= 1;
                let half = self.disk.instances.len() / 2;
                let end = Event::InventoryTaken(Err(Failure::Storage));
                found.take(half).chain([end]).collect()
            }
            Action::Fetch(id, component) => vec![Event::Fetched(*id, self.fetch(component))],
            Action::Stage(id, component) => {
                let result = match self.fault(component) {
                    Some(Fault::Unusable) => Err(Failure::Unusable),
                    _ => self.set(component, Presence::Staged),
                };
                vec![Event::Staged(*id, result)]
            }
            Action::Start(id, component) => self.start(*id, component),
            Action::Stop(id, instance) => {
                let known = self
                    .disk
                    .instances
                    .get_mut(&(instance.name.clone(), instance.instance));
                known.expect("it is there").1 = Presence::Staged;
                vec![Event::Stopped(*id, Ok(()))]
            }
            Action::Probe(id, instance) => {
                let known = self
                    .disk
                    .instances
                    .get(&(instance.name.clone(), instance.instance));
                vec![Event::Probed(
                    *id,
                    known.map_or(Presence::Missing, |known| known.1),
                )]
            }
            Action::Confirm(id, component) => {
                let instance = (component.name.clone(), component.instance());
                self.disk.firmware = Some(instance);
                self.disk.firmware_trial = None;
                vec![Event::Confirmed(*id, Ok(()))]
            }
            Action::Remove(id, instance) => {
                self.disk
                    .instances
                    .remove(&(instance.name.clone(), instance.instance));
                vec![Event::Removed(*id, Ok(()))]
            }
            Action::RaiseFloor(floor) => {
                self.disk.floor = self.disk.floor.max(*floor);
                vec![]
            }
            Action::Disconnect | Action::Identify => vec![],
            Action::Reboot => {
                *self.wants_reboot = true;
                vec![]
            }
        }
    }

    /// What is reported must already be saved.
    fn check_truth(&self, report: &Report) {
        let bytes = self.disk.records.get(&(Record::State as usize));
        let saved = bytes.map(|bytes| record::decode::<record::State<COMPONENTS>>(bytes));
        let Ok(saved) = saved.transpose() else {
            assert!(report.unsaved, "what cannot be read is not reported as so");
            return;
        };
        let saved = saved.unwrap_or_default();
        let committed = saved.committed.as_ref().map(|target| target.release);
        let rejected = saved.rejected.map(|rejected| rejected.release);
        assert!(
            report.unsaved || report.committed == committed,
            "{report:?}"
        );
        assert!(
            report.unsaved || report.rejected.map(|r| r.release) == rejected,
            "{report:?}"
        );
    }

    fn fault(&self, component: &Component) -> Option<Fault> {
        self.faults.get(&component.artifact.digest).copied()
    }

    fn set(&mut self, component: &Component, presence: Presence) -> Result<(), Failure> {
        let id = (component.name.clone(), component.instance());
        self.disk.instances.insert(id, (component.kind, presence));
        Ok(())
    }

    fn store(&mut self, record: &record::RecordRef<'_>) -> Vec<Event<'static>> {
        let kind = record.kind();
        if !self.storage_works {
            return vec![Event::RecordStored(kind, Err(Failure::Storage))];
        }
        let mut bytes = vec![0; limits::RECORD_BYTES];
        let len = record.encode(&mut bytes).expect("it fits");
        bytes.truncate(len);
        match &mut self.saving {
            Some(saving) => {
                saving.push((kind, bytes));
                vec![]
            }
            None => {
                self.disk.records.insert(kind as usize, bytes);
                vec![Event::RecordStored(kind, Ok(()))]
            }
        }
    }

    fn connect(&mut self, credentials: &Credentials<'_>) -> Event<'static> {
        if !self.online {
            return Event::Disconnected(Failure::Network);
        }
        if let Credentials::Device {
            api_key, tunnel, ..
        } = credentials
        {
            let hub = tunnel.map(|tunnel| tunnel.hub);
            if hub.is_some_and(|hub| self.silent_hubs.contains(&hub)) {
                return Event::Disconnected(Failure::TimedOut);
            }
            *self.last_hub = hub;
            if self.refused_keys.contains(api_key) {
                return Event::Disconnected(Failure::Unauthorized);
            }
            *self.last_key = Some(**api_key);
        }
        Event::Connected
    }

    fn fetch(&mut self, component: &Component) -> Result<(), Failure> {
        let beside = self.disk.instances.keys();
        let beside = beside
            .filter(|(name, digest)| *name == component.name && *digest != component.instance());
        match self.fault(component) {
            Some(Fault::NoNetwork) => Err(Failure::Network),
            Some(Fault::NoSpace) if beside.count() > 0 => Err(Failure::NoSpace),
            _ => self.set(component, Presence::Fetched),
        }
    }

    fn start(&mut self, id: StepId, component: &Component) -> Vec<Event<'static>> {
        if component.kind.restarts_device() {
            let instance = (component.name.clone(), component.instance());
            if self.disk.firmware.as_ref() != Some(&instance) {
                self.disk.firmware_trial = Some(instance);
            }
            *self.wants_reboot = true;
            return vec![];
        }
        let (presence, result) = match self.fault(component) {
            Some(Fault::Unhealthy) => (Presence::Unhealthy, Ok(())),
            Some(Fault::Exits) => (Presence::Exited, Ok(())),
            Some(Fault::DoesNotStart) => (Presence::Staged, Err(Failure::Broken)),
            _ if component.mode == Mode::Job => (Presence::Completed, Ok(())),
            _ => (Presence::Healthy, Ok(())),
        };
        self.set(component, presence).expect("memory");
        vec![Event::Started(id, result)]
    }
}

fn describe_action(action: &Action<'_>) -> String {
    let of = |c: &Component| format!("{} {:?}", c.name, c.artifact.digest);
    match action {
        Action::StoreRecord(record) => format!("store {:?}", record.kind()),
        Action::CreateKey(slot) => format!("create key in slot {slot}"),
        Action::EraseProvisioningKey => "erase provisioning key".into(),
        Action::Connect(Credentials::Enrolment { .. }) => "connect to enrol".into(),
        Action::Connect(Credentials::Device { .. }) => "connect".into(),
        Action::Send(_, up) => format!("send {}", describe_up(up)),
        Action::TakeInventory => "take inventory".into(),
        Action::Fetch(_, c) => format!("fetch {}", of(c)),
        Action::Stage(_, c) => format!("stage {}", of(c)),
        Action::Start(_, c) => format!("start {}", of(c)),
        Action::Stop(_, i) => format!("stop {} {:?}", i.name, i.instance),
        Action::Probe(_, i) => format!("probe {}", i.name),
        Action::Confirm(_, c) => format!("confirm {}", of(c)),
        Action::Remove(_, i) => format!("remove {} {:?}", i.name, i.instance),
        Action::Disconnect => "disconnect".into(),
        Action::RaiseFloor(floor) => format!("raise floor to {floor}"),
        Action::Identify => "identify".into(),
        Action::Reboot => "reboot".into(),
    }
}

fn describe_up(up: &Up) -> String {
    match up {
        Up::Register(_) => "registration".into(),
        Up::ProposeKey(key) => format!("proposal of a new {:?} key", key.kind()),
        Up::Report(report) => {
            let mut line = format!("report {}: counter {}", report.sequence, report.counter);
            if let Some(committed) = report.committed {
                write!(line, ", committed {committed:?}").expect("memory");
            }
            if let Some(trial) = report.trial {
                write!(line, ", {:?} {:?}", trial.phase, trial.release).expect("memory");
            }
            if let Some(rejected) = report.rejected {
                write!(
                    line,
                    ", rejected {:?} as {:?}",
                    rejected.release, rejected.reason
                )
                .expect("memory");
            }
            if let Some(offence) = report.offence {
                write!(line, ", {offence:?}").expect("memory");
            }
            for (text, flag) in [("frozen", report.frozen), ("unsaved", report.unsaved)] {
                if flag {
                    write!(line, ", {text}").expect("memory");
                }
            }
            for c in &report.components {
                write!(line, ", {} {:?}", c.name, c.state).expect("memory");
            }
            line
        }
    }
}

fn describe_event(event: &Event<'_>) -> String {
    match event {
        Event::Received(Down::Registered(_)) => "registered".into(),
        Event::Received(Down::Target(_)) => "target".into(),
        Event::Received(Down::Root(_)) => "root".into(),
        other => format!("{other:?}"),
    }
}
