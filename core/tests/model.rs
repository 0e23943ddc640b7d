//! Registration and rotation, checked against every order of loss, repetition, delay and power cut (with stateright).
//!
//! A state is the device with its disk, the fleet, and the messages on their way; a transition is one thing that happens to them.
//! Up to three or four of the transitions of a path are faults.
//! From every state that is reached, the fault-free future is played as well: in the end the device must be registered, connected and rotated.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod support;

use lightship_core::id::{ApiKey, PublicKey, Uuid};
use lightship_core::record::{self, Identity, Record, Saved};
use lightship_core::time::{Duration, Instant};
use lightship_core::wire::*;
use lightship_core::*;
use stateright::{Checker, Model, Property};
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use support::*;

/// What can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Happening {
    /// The moment comes that the device waits for.
    Tick,
    /// The fleet gets a message and the device hears of it.
    Deliver(usize),
    /// The fleet gets a message and the device believes that it was lost.
    DeliverUnheard(usize),
    /// A message to the fleet is lost.
    Lose(usize),
    /// The device gets a message.
    Receive(usize),
    /// The device gets a message, and it stays on its way to come again.
    ReceiveTwice(usize),
    /// A message to the device is lost.
    LoseAnswer(usize),
    /// Power goes before the device's n-th action from here on.
    CutBefore(usize),
    /// Power goes after the device's n-th action from here on, and nobody hears of it.
    CutAfter(usize),
    /// The connection breaks.
    Break,
}

impl Happening {
    fn is_fault(self) -> bool {
        match self {
            Self::Tick | Self::Deliver(_) | Self::Receive(_) => false,
            Self::DeliverUnheard(_)
            | Self::Lose(_)
            | Self::ReceiveTwice(_)
            | Self::LoseAnswer(_)
            | Self::CutBefore(_)
            | Self::CutAfter(_)
            | Self::Break => true,
        }
    }
}

/// What the fleet keeps of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Fleet {
    devices: Vec<Uuid>,
    uses: usize,
    api: Option<ApiKey>,
    api_proposed: Option<ApiKey>,
    wireguard: Option<PublicKey>,
    wireguard_proposed: Option<PublicKey>,
    /// The hub keys that the device's tunnel is taken under, the one before first.
    hubs: Vec<PublicKey>,
    retired_api: Vec<ApiKey>,
    retired_wireguard: Vec<PublicKey>,
}

impl Fleet {
    fn register(&mut self, register: &Register) -> Down<'static> {
        if !self.devices.contains(&register.uuid) {
            self.devices.push(register.uuid);
            self.uses += 1;
            self.api = Some(register.api_key);
            self.wireguard = Some(register.wireguard);
            self.hubs.push(hub_of(&registered(register.uuid).tunnel));
        } else if self.api != Some(register.api_key) {
            return Down::Refused(Refused {
                reason: Refusal::IdentityTaken,
                retry_after_s: None,
            });
        }
        Down::Registered(registered(register.uuid))
    }

    fn accept(&mut self, key: &NewKey) -> Down<'static> {
        match key {
            NewKey::Api(key) if self.api != Some(*key) => self.api_proposed = Some(*key),
            NewKey::WireGuard(key) if self.wireguard != Some(*key) => {
                self.wireguard_proposed = Some(*key);
            }
            NewKey::Api(_) | NewKey::WireGuard(_) => {}
        }
        Down::KeyAccepted(KeyAccepted {
            kind: key.kind(),
            id: key.id(),
        })
    }

    /// The first successful use of a new key retires the old one; that of a hub key by this device, for this device.
    fn authenticate(
        &mut self,
        api: ApiKey,
        wireguard: PublicKey,
        hub: PublicKey,
    ) -> Result<(), Failure> {
        let tunnel_known = [self.wireguard, self.wireguard_proposed].contains(&Some(wireguard));
        if !tunnel_known || !self.hubs.contains(&hub) {
            // A tunnel answers strangers with silence.
            return Err(Failure::TimedOut);
        }
        if self.hubs.last() == Some(&hub) {
            self.hubs = vec![hub];
        }
        if self.wireguard_proposed == Some(wireguard) {
            self.retired_wireguard
                .extend(self.wireguard.replace(wireguard));
            self.wireguard_proposed = None;
        }
        if ![self.api, self.api_proposed].contains(&Some(api)) {
            return Err(Failure::Unauthorized);
        }
        if self.api_proposed == Some(api) {
            self.retired_api.extend(self.api.replace(api));
            self.api_proposed = None;
        }
        Ok(())
    }

    /// What there is to say to a device that is there.
    fn news(
        &mut self,
        plan: Plan,
        records: &BTreeMap<usize, Vec<u8>>,
        uuid: Uuid,
    ) -> Vec<Down<'static>> {
        let mut news = vec![];
        let state = records.get(&(Record::State as usize));
        let state = state.map(|bytes| record::decode::<record::State<1>>(bytes).unwrap());
        let heard = state.is_some_and(|state| state.command > 0);
        if let Some(kind) = plan.commanded.filter(|_| !heard) {
            let order = Order::Rotate(kind);
            news.push(Down::Command(Command { id: 1, order }));
        }
        if plan.tunnel && self.hubs != [NEW_HUB] {
            self.hubs.truncate(1);
            self.hubs.push(NEW_HUB);
            let tunnel = registered(uuid).tunnel.unwrap();
            let hub = NEW_HUB;
            news.push(Down::Tunnel(Tunnel { hub, ..tunnel }));
        }
        news
    }
}

/// What is to be changed once the device is registered.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    /// A person at the device orders this key to be rotated, once.
    asked: Option<KeyKind>,
    /// The fleet orders this key to be rotated, until the device has saved that it heard of it.
    commanded: Option<KeyKind>,
    /// The fleet has another hub key, and tells the device until it is used.
    tunnel: bool,
}

const NEW_HUB: PublicKey = PublicKey([8; 32]);

fn hub_of(tunnel: &Option<Tunnel>) -> PublicKey {
    tunnel.as_ref().expect("a tunnel").hub
}

struct World {
    agent: Agent<1>,
    records: BTreeMap<usize, Vec<u8>>,
    erased: bool,
    now: Instant,
    until: Option<Instant>,
    lives: u8,
    fleet: Fleet,
    up: Vec<(MessageId, Up)>,
    down: Vec<Down<'static>>,
    connected: bool,
    plan: Plan,
    ordered: bool,
}

struct Cut;

impl World {
    fn new(plan: Plan) -> Self {
        let mut world = Self {
            agent: boot(&BTreeMap::new(), false, 1),
            records: BTreeMap::new(),
            erased: false,
            now: Instant::BOOT,
            until: None,
            lives: 1,
            fleet: Fleet::default(),
            up: vec![],
            down: vec![],
            connected: false,
            plan,
            ordered: false,
        };
        world.run_uncut();
        world
    }

    fn identity(&self) -> Option<Identity> {
        let bytes = self.records.get(&(Record::Identity as usize))?;
        Some(record::decode(bytes).unwrap())
    }

    fn restart(&mut self) {
        self.lives += 1;
        self.agent = boot(&self.records, self.erased, self.lives);
        self.now = Instant::BOOT;
        self.up.clear();
        self.down.clear();
        self.connected = false;
    }

    fn run_uncut(&mut self) {
        while self.run(None).is_err() {}
    }

    /// Carries out what the device wants; a cut comes before or after the n-th action.
    fn run(&mut self, cut: Option<(usize, bool)>) -> Result<usize, Cut> {
        for action in 0..1000 {
            let answer = loop {
                match self.agent.poll() {
                    Step::Note(_) => {}
                    Step::Wait { until, .. } => {
                        self.until = until;
                        if self.order_if_registered() {
                            continue;
                        }
                        return Ok(action);
                    }
                    Step::Act(act) => {
                        if cut == Some((action, false)) {
                            return Err(Cut);
                        }
                        let mut outside = Outside {
                            records: &mut self.records,
                            erased: &mut self.erased,
                            fleet: &mut self.fleet,
                            up: &mut self.up,
                            down: &mut self.down,
                            connected: &mut self.connected,
                            plan: self.plan,
                        };
                        break outside.carry_out(act);
                    }
                }
            };
            if cut == Some((action, true)) {
                return Err(Cut);
            }
            if let Some(answer) = answer {
                self.agent.handle(self.now, answer);
            }
        }
        panic!("the device does not come to rest");
    }

    /// A person orders the rotation once, when the device is registered.
    fn order_if_registered(&mut self) -> bool {
        let Some(kind) = self
            .plan
            .asked
            .filter(|_| !self.ordered && self.agent.is_registered())
        else {
            return false;
        };
        self.ordered = true;
        self.agent
            .handle(self.now, Event::Asked(Order::Rotate(kind)));
        true
    }

    fn happen(&mut self, happening: Happening) {
        let mut cut = None;
        match happening {
            Happening::Tick => {
                self.now = self.until.unwrap_or(self.now).max(self.now);
                self.agent.handle(self.now, Event::Woke);
                self.repeat();
            }
            Happening::Deliver(at) => {
                let id = self.deliver(at);
                self.agent.handle(self.now, Event::Sent(id, Ok(())));
            }
            Happening::DeliverUnheard(at) => {
                let id = self.deliver(at);
                self.agent
                    .handle(self.now, Event::Sent(id, Err(Failure::Network)));
            }
            Happening::Lose(at) => {
                let (id, _) = self.up.remove(at);
                self.agent
                    .handle(self.now, Event::Sent(id, Err(Failure::Network)));
            }
            Happening::Receive(at) => {
                let down = self.down.remove(at);
                self.agent.handle(self.now, Event::Received(down));
            }
            Happening::ReceiveTwice(at) => {
                let down = self.down[at].clone();
                self.agent.handle(self.now, Event::Received(down));
            }
            Happening::LoseAnswer(at) => drop(self.down.remove(at)),
            Happening::Break => {
                self.connected = false;
                self.up.clear();
                self.down.clear();
                self.agent
                    .handle(self.now, Event::Disconnected(Failure::Network));
            }
            Happening::CutBefore(at) => cut = Some((at, false)),
            Happening::CutAfter(at) => cut = Some((at, true)),
        }
        if cut.is_some() {
            // The next thing to happen without a cut is that time passes or a message arrives.
            let next = self.ordinary();
            if let Some(next) = next {
                self.prepare(next);
            }
        }
        match self.run(cut) {
            Ok(_) => {}
            Err(Cut) => {
                self.restart();
                self.run_uncut();
            }
        }
    }

    /// The fleet says again what was lost on the way to a device that is there.
    fn repeat(&mut self) {
        if self.connected
            && self.down.is_empty()
            && let Some(identity) = self.identity().filter(|identity| identity.registered)
        {
            let news = self.fleet.news(self.plan, &self.records, identity.uuid);
            self.down.extend(news);
        }
    }

    /// Lets something ordinary happen, without the actions that follow.
    fn prepare(&mut self, happening: Happening) {
        match happening {
            Happening::Deliver(at) => {
                let id = self.deliver(at);
                self.agent.handle(self.now, Event::Sent(id, Ok(())));
            }
            Happening::Receive(at) => {
                let down = self.down.remove(at);
                self.agent.handle(self.now, Event::Received(down));
            }
            _ => {
                self.now = self.until.unwrap_or(self.now).max(self.now);
                self.agent.handle(self.now, Event::Woke);
            }
        }
    }

    fn deliver(&mut self, at: usize) -> MessageId {
        let (id, up) = self.up.remove(at);
        match up {
            Up::Register(register) => {
                let answer = self.fleet.register(&register);
                self.down.push(answer);
            }
            Up::ProposeKey(key) => {
                let answer = self.fleet.accept(&key);
                self.down.push(answer);
            }
            Up::Report(_) => {}
        }
        id
    }

    /// What happens next when nothing goes wrong.
    fn ordinary(&self) -> Option<Happening> {
        if !self.down.is_empty() {
            Some(Happening::Receive(0))
        } else if !self.up.is_empty() {
            Some(Happening::Deliver(0))
        } else if self.is_done() {
            None
        } else {
            Some(Happening::Tick)
        }
    }

    /// Registered, connected, rotated, and the provisioning key erased.
    fn is_done(&self) -> bool {
        let Some(identity) = self.identity() else {
            return false;
        };
        // A cut may take an order of a person with it; one that was noted is carried out, and so is one of the fleet.
        let rotated = identity.rotation_ordered.is_none()
            && identity.api_key_pending.is_none()
            && identity.wireguard_pending.is_none();
        let obeyed = match self.plan.commanded {
            None => true,
            Some(KeyKind::Api) => !self.fleet.retired_api.is_empty(),
            Some(KeyKind::WireGuard) => !self.fleet.retired_wireguard.is_empty(),
        };
        let moved = !self.plan.tunnel
            || (identity.tunnel_pending.is_none()
                && identity.tunnel.as_ref().map(|tunnel| tunnel.hub) == Some(NEW_HUB));
        identity.registered && rotated && obeyed && moved && self.connected && self.erased
    }

    fn possible(&self, faults_left: bool) -> Vec<Happening> {
        let mut all: Vec<Happening> = self.ordinary().into_iter().collect();
        all.extend((1..self.up.len()).map(Happening::Deliver));
        all.extend((1..self.down.len()).map(Happening::Receive));
        if faults_left {
            for at in 0..self.up.len() {
                all.push(Happening::DeliverUnheard(at));
                all.push(Happening::Lose(at));
            }
            for at in 0..self.down.len() {
                all.push(Happening::ReceiveTwice(at));
                all.push(Happening::LoseAnswer(at));
            }
            if self.connected {
                all.push(Happening::Break);
            }
            for at in 0..8 {
                all.push(Happening::CutBefore(at));
                all.push(Happening::CutAfter(at));
            }
        }
        all
    }
}

struct Outside<'a> {
    records: &'a mut BTreeMap<usize, Vec<u8>>,
    erased: &'a mut bool,
    fleet: &'a mut Fleet,
    up: &'a mut Vec<(MessageId, Up)>,
    down: &'a mut Vec<Down<'static>>,
    connected: &'a mut bool,
    plan: Plan,
}

impl Outside<'_> {
    fn carry_out(&mut self, action: Action<'_>) -> Option<Event<'static>> {
        match action {
            Action::StoreRecord(record) => {
                let mut bytes = vec![0; limits::RECORD_BYTES];
                let len = record.encode(&mut bytes).unwrap();
                bytes.truncate(len);
                self.records.insert(record.kind() as usize, bytes);
                Some(Event::RecordStored(record.kind(), Ok(())))
            }
            Action::EraseProvisioningKey => {
                let bytes = &self.records[&(Record::Identity as usize)];
                let identity: Identity = record::decode(bytes).unwrap();
                assert!(identity.registered, "erased before registration is stored");
                *self.erased = true;
                Some(Event::ProvisioningKeyErased(Ok(())))
            }
            Action::Connect(Credentials::Enrolment { .. }) => {
                assert!(!*self.erased);
                *self.connected = true;
                Some(Event::Connected)
            }
            Action::Connect(Credentials::Device {
                uuid,
                api_key,
                wireguard,
                tunnel,
                ..
            }) => {
                let TunnelKey::Inside(secret) = wireguard else {
                    panic!("keys are inside");
                };
                let hub = tunnel.expect("the fleet has one").hub;
                let result = self.fleet.authenticate(*api_key, secret.public(), hub);
                *self.connected = result.is_ok();
                if result.is_ok() {
                    let news = self.fleet.news(self.plan, self.records, uuid);
                    self.down.extend(news);
                }
                Some(match result {
                    Ok(()) => Event::Connected,
                    Err(failure) => Event::Disconnected(failure),
                })
            }
            Action::Disconnect => {
                *self.connected = false;
                self.up.clear();
                self.down.clear();
                None
            }
            Action::Send(id, up) => {
                self.up.push((id, up));
                None
            }
            Action::TakeInventory => Some(Event::InventoryTaken(Ok(()))),
            other => panic!("there is nothing to run: {other:?}"),
        }
    }
}

fn boot(records: &BTreeMap<usize, Vec<u8>>, erased: bool, life: u8) -> Agent<1> {
    let mut config = Publisher::default().config();
    if erased {
        config.provisioning_key = None;
    }
    let record = |record: Record| records.get(&(record as usize)).map(Vec::as_slice);
    let saved = Saved {
        identity: record(Record::Identity),
        trust: record(Record::Trust),
        state: record(Record::State),
        clock: record(Record::Clock),
    };
    Agent::new(config, saved, [life; 32], Instant::BOOT)
}

/// A path, and what it led to; two paths to the same state are one.
#[derive(Clone, Debug)]
struct Path {
    happenings: Vec<Happening>,
    faults: usize,
    fingerprint: u64,
    verdict: Result<(), &'static str>,
    possible: Vec<Happening>,
}

impl PartialEq for Path {
    fn eq(&self, other: &Self) -> bool {
        (self.fingerprint, self.faults) == (other.fingerprint, other.faults)
    }
}

impl Hash for Path {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
        self.faults.hash(state);
    }
}

struct Check {
    plan: Plan,
    /// Faults on one path.
    faults: usize,
}

impl Check {
    fn replay(&self, happenings: &[Happening]) -> World {
        let mut world = World::new(self.plan);
        for happening in happenings {
            world.happen(*happening);
        }
        world
    }

    fn path(&self, happenings: Vec<Happening>) -> Path {
        let mut world = self.replay(&happenings);
        let faults = happenings.iter().filter(|h| h.is_fault()).count();
        let fingerprint = fingerprint(&world);
        let possible = world.possible(faults < self.faults);
        let verdict = judge(&world).and_then(|()| {
            for _ in 0..200 {
                let Some(next) = world.ordinary() else {
                    return judge(&world);
                };
                world.happen(next);
            }
            Err("the device does not get there in the end")
        });
        Path {
            happenings,
            faults,
            fingerprint,
            verdict,
            possible,
        }
    }
}

/// What must hold at any time.
fn judge(world: &World) -> Result<(), &'static str> {
    if world.fleet.devices.len() > 1 || world.fleet.uses > 1 {
        return Err("the identity changed");
    }
    let Some(identity) = world.identity() else {
        return if world.fleet.devices.is_empty() {
            Ok(())
        } else {
            Err("the device was known before its identity was saved")
        };
    };
    if world
        .fleet
        .devices
        .iter()
        .any(|uuid| *uuid != identity.uuid)
    {
        return Err("the fleet knows another identity");
    }
    if world.erased && !identity.registered {
        return Err("the provisioning key was erased before registration was stored");
    }
    if identity.registered {
        let keys = [Some(identity.api_key), identity.api_key_pending];
        if !keys.contains(&world.fleet.api) {
            return Err("no stored API key is the one that the fleet takes");
        }
        let pending = identity.wireguard_pending.as_ref().map(|key| key.public());
        if ![Some(identity.wireguard.public()), pending].contains(&world.fleet.wireguard) {
            return Err("no stored tunnel key is the one that the fleet takes");
        }
        let hubs = [&identity.tunnel, &identity.tunnel_pending];
        let hubs = hubs.into_iter().flatten();
        if !hubs
            .into_iter()
            .any(|tunnel| world.fleet.hubs.contains(&tunnel.hub))
        {
            return Err("no stored tunnel leads to the hub");
        }
    }
    let live = |key: &Option<ApiKey>| key.is_some_and(|k| world.fleet.retired_api.contains(&k));
    if live(&world.fleet.api) || live(&world.fleet.api_proposed) {
        return Err("an old API key works again");
    }
    Ok(())
}

fn fingerprint(world: &World) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    world.records.hash(&mut hasher);
    world.erased.hash(&mut hasher);
    world.fleet.hash(&mut hasher);
    world.connected.hash(&mut hasher);
    world.ordered.hash(&mut hasher);
    format!("{:?} {:?} {:?}", world.agent, world.up, world.down).hash(&mut hasher);
    hasher.finish()
}

impl Model for Check {
    type State = Path;
    type Action = Happening;

    fn init_states(&self) -> Vec<Path> {
        vec![self.path(vec![])]
    }

    fn actions(&self, state: &Path, actions: &mut Vec<Happening>) {
        actions.extend(&state.possible);
    }

    fn next_state(&self, state: &Path, action: Happening) -> Option<Path> {
        let mut happenings = state.happenings.clone();
        happenings.push(action);
        Some(self.path(happenings))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(
            "holds, and gets there in the end",
            |_, path: &Path| path.verdict.is_ok(),
        )]
    }
}

/// Tries everything with so many faults, which must come to more states than `least`: fewer are no search.
fn check(name: &str, plan: Plan, faults: usize, least: usize) {
    let checker = Check { plan, faults }
        .checker()
        .threads(2)
        .spawn_bfs()
        .join();
    if let Some(path) = checker.discovery("holds, and gets there in the end") {
        let last = path.last_state();
        panic!("{name}: {:?} after {:#?}", last.verdict, last.happenings);
    }
    eprintln!(
        "model check, {name}: {} states",
        checker.unique_state_count()
    );
    assert!(
        checker.unique_state_count() > least,
        "{}",
        checker.unique_state_count()
    );
}

fn asked(kind: KeyKind) -> Plan {
    Plan {
        asked: Some(kind),
        ..Plan::default()
    }
}

fn commanded(kind: KeyKind) -> Plan {
    Plan {
        commanded: Some(kind),
        ..Plan::default()
    }
}

#[test]
fn registration_survives_every_loss_repetition_and_cut() {
    check("registration", Plan::default(), 4, 1_000);
}

#[test]
fn rotation_of_the_api_key_survives_every_loss_repetition_and_cut() {
    check("rotation of the API key", asked(KeyKind::Api), 3, 1_000);
}

#[test]
fn rotation_of_the_tunnel_key_survives_every_loss_repetition_and_cut() {
    check(
        "rotation of the tunnel key",
        asked(KeyKind::WireGuard),
        3,
        1_000,
    );
}

#[test]
fn an_order_to_rotate_is_carried_out_whatever_is_lost_repeated_or_cut() {
    for kind in [KeyKind::Api, KeyKind::WireGuard] {
        check("an order of the fleet", commanded(kind), 2, 900);
    }
}

#[test]
fn a_new_tunnel_survives_every_loss_repetition_and_cut() {
    let tunnel = Plan {
        tunnel: true,
        ..Plan::default()
    };
    check("a new tunnel", tunnel, 3, 1_000);
}

#[test]
fn a_new_tunnel_and_a_new_key_at_once_survive_every_loss_repetition_and_cut() {
    for kind in [KeyKind::Api, KeyKind::WireGuard] {
        let both = Plan {
            tunnel: true,
            ..commanded(kind)
        };
        check("a new tunnel and a new key", both, 2, 900);
    }
}

#[test]
fn time_is_only_a_number_to_the_device() {
    // A clock that goes backwards is a delay, never a panic.
    let mut world = World::new(Plan::default());
    world
        .agent
        .handle(Instant::from_millis(5_000_000), Event::Woke);
    world
        .agent
        .handle(Instant::BOOT + Duration::from_millis(1), Event::Woke);
    world.run_uncut();
}
