//! The loop.

use embassy_futures::select::{Either, Either3, select, select3};
use lightship_core::id::PublicKey;
use lightship_core::plan::Presence;
use lightship_core::record::RecordRef;
use lightship_core::time::{Instant, earliest};
use lightship_core::wire::{Command, Down, Order, Up};
use lightship_core::{Action, Agent, Credentials, Event, Failure, MessageId, Step, StepId};
use lightship_link::{Credentials as LinkCredentials, Event as LinkEvent, Known, Link, Secret};

use crate::contract::{Clock, Happening, Platform, Task};
use crate::limits::{FAREWELL, PREPARE, STORE};
use crate::under_way::{UnderWay, Verb};

/// How [`TakeInventory`](lightship_core::Action::TakeInventory) is named to a platform; the core does not number it, and its own numbers begin at 1.
const INVENTORY: StepId = StepId(0);

/// Why a driver came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The platform asked for it.
    Asked,
    /// The device is about to restart.
    Reboot,
}

/// Runs an agent. See the crate's documentation.
pub struct Driver<'a, const COMPONENTS: usize, L, P, C> {
    agent: &'a mut Agent<COMPONENTS>,
    link: L,
    platform: &'a mut P,
    clock: C,
    buffer: &'a mut [u8],
    under_way: UnderWay<COMPONENTS>,
    sending: Option<MessageId>,
}

impl<'a, const COMPONENTS: usize, L: Link, P: Platform, C: Clock> Driver<'a, COMPONENTS, L, P, C> {
    /// Joins the parts. The large ones are lent: who makes them says where they lie, and they are not moved.
    ///
    /// `buffer` holds one record at a time; [`RECORD_BYTES`](lightship_core::limits::RECORD_BYTES) is always enough, and a device with few components needs less.
    pub const fn new(
        agent: &'a mut Agent<COMPONENTS>,
        link: L,
        platform: &'a mut P,
        clock: C,
        buffer: &'a mut [u8],
    ) -> Self {
        Self {
            agent,
            link,
            platform,
            clock,
            buffer,
            under_way: UnderWay::new(),
            sending: None,
        }
    }

    /// The agent.
    pub const fn agent(&self) -> &Agent<COMPONENTS> {
        self.agent
    }

    /// The platform.
    pub const fn platform(&self) -> &P {
        self.platform
    }

    /// Runs until the platform asks for an end or the device restarts.
    pub async fn run(&mut self) -> End {
        loop {
            let until = match self.settle().await {
                Ok(until) => until,
                Err(end) => return end,
            };
            if self.wait(until).await {
                return End::Asked;
            }
        }
    }

    /// Ends the connection, so that the fleet knows at once that nobody is there; what is being sent may arrive first.
    ///
    /// For a platform that has time for it once [`run`](Self::run) has come to its end. Takes no longer than [`FAREWELL`].
    pub async fn leave(&mut self) {
        let end = self.clock.now() + FAREWELL;
        let (link, sending) = (&mut self.link, &mut self.sending);
        let gone = async {
            while sending.is_some() {
                link_event(link.next().await, sending);
            }
            link.disconnect();
            while !matches!(link.next().await, LinkEvent::Down(_)) {}
        };
        select(gone, self.clock.sleep_until(end)).await;
    }

    /// Does what the agent wants until it waits; until when.
    async fn settle(&mut self) -> Result<Option<Instant>, End> {
        loop {
            let known = Known {
                counter: self.agent.trust().counter,
                root: self.agent.trust().root.version,
                command: self.agent.state().command,
            };
            let now = self.clock.now();
            let action = match self.agent.poll() {
                Step::Wait { until, .. } => return Ok(until),
                Step::Note(note) => {
                    self.platform.note(now, &note);
                    continue;
                }
                Step::Act(action) => action,
            };
            let mut hands = Hands {
                link: &mut self.link,
                platform: self.platform,
                clock: &self.clock,
                buffer: self.buffer,
                under_way: &mut self.under_way,
                sending: &mut self.sending,
            };
            let answer = match hands.act(action) {
                Done::At(answer) => answer,
                Done::Later(errand) => hands.run(errand, known).await,
                Done::Never => {
                    self.platform.reboot().await;
                    return Err(End::Reboot);
                }
            };
            if let Some(event) = answer {
                self.agent.handle(self.clock.now(), event);
            }
        }
    }

    /// Waits for something to happen and tells the agent; whether the end was asked for.
    async fn wait(&mut self, until: Option<Instant>) -> bool {
        let until = earliest(until, self.under_way.deadline());
        let time = async {
            match until {
                Some(moment) => self.clock.sleep_until(moment).await,
                None => core::future::pending().await,
            }
        };
        match select3(self.link.next(), self.platform.next(), time).await {
            Either3::First(event) => {
                let now = self.clock.now();
                let event = link_event(event, &mut self.sending);
                if let Some(event) = event {
                    if asks(&event) {
                        self.platform.asked();
                    }
                    self.agent.handle(now, event);
                }
            }
            Either3::Second(Happening::Ended) => return true,
            Either3::Second(happening) => self.happened(happening),
            Either3::Third(()) => self.woke(),
        }
        false
    }

    fn woke(&mut self) {
        let now = self.clock.now();
        while let Some((id, verb)) = self.under_way.overdue(now) {
            self.platform.cancel(id);
            let event = match verb {
                Verb::Probe => Event::Probed(id, Presence::Unhealthy),
                Verb::Fetch
                | Verb::Stage
                | Verb::Start
                | Verb::Confirm
                | Verb::Stop
                | Verb::Remove
                | Verb::Inventory => done(id, verb, Err(Failure::TimedOut)),
            };
            self.agent.handle(now, event);
        }
        self.agent.handle(now, Event::Woke);
    }

    fn happened(&mut self, happening: Happening) {
        let now = self.clock.now();
        let event = match happening {
            Happening::Done(id, result) => {
                let Some(verb) = self.under_way.finish(id) else {
                    return;
                };
                done(id, verb, result)
            }
            Happening::Probed(id, presence) => {
                if self.under_way.finish(id) != Some(Verb::Probe) {
                    return;
                }
                Event::Probed(id, presence)
            }
            Happening::Progressed(id, bytes) => {
                self.under_way.alive(id, now);
                Event::Progressed(id, bytes)
            }
            Happening::Found {
                name,
                instance,
                kind,
                presence,
            } => {
                self.under_way.alive(INVENTORY, now);
                Event::Found {
                    name,
                    instance,
                    kind,
                    presence,
                }
            }
            Happening::Changed(name) => Event::Changed(name),
            Happening::Locked {
                owner,
                covers,
                expires_in,
            } => Event::Locked {
                owner,
                covers,
                expires_in,
            },
            Happening::Unlocked(owner) => Event::Unlocked(owner),
            Happening::ClockSet(time) => Event::ClockSet(time),
            Happening::Asked(order) => Event::Asked(order),
            Happening::Ended => return,
        };
        if asks(&event) {
            self.platform.asked();
        }
        self.agent.handle(now, event);
    }
}

/// What became of an action.
enum Done<'a> {
    /// It is done, and this is what the agent is told.
    At(Option<Event<'static>>),
    /// It takes some time.
    Later(Errand<'a>),
    /// It is the device's restart.
    Never,
}

/// What the driver waits for before it goes on.
enum Errand<'a> {
    Store(RecordRef<'a>),
    CreateKey(u8),
    EraseKey,
    Connect(Credentials<'a>),
}

impl Errand<'_> {
    /// The platform's part of it; the key, if one was made.
    async fn run(
        &self,
        platform: &mut impl Platform,
        buffer: &mut [u8],
    ) -> Result<Option<PublicKey>, Failure> {
        match self {
            Self::Store(record) => {
                let len = record.encode(buffer).map_err(|_| Failure::NoSpace)?;
                platform.store(record.kind(), &buffer[..len]).await?;
            }
            Self::CreateKey(slot) => return platform.create_key(*slot).await.map(Some),
            Self::EraseKey => platform.erase_provisioning_key().await?,
            Self::Connect(credentials) => platform.prepare(credentials).await?,
        }
        Ok(None)
    }
}

/// Everything but the agent, which lends the action.
struct Hands<'a, const COMPONENTS: usize, L, P, C> {
    link: &'a mut L,
    platform: &'a mut P,
    clock: &'a C,
    buffer: &'a mut [u8],
    under_way: &'a mut UnderWay<COMPONENTS>,
    sending: &'a mut Option<MessageId>,
}

impl<const COMPONENTS: usize, L: Link, P: Platform, C: Clock> Hands<'_, COMPONENTS, L, P, C> {
    /// Does what takes no time, and returns what the agent is told of it.
    fn act<'e>(&mut self, action: Action<'e>) -> Done<'e> {
        let (id, task) = match action {
            Action::StoreRecord(record) => return Done::Later(Errand::Store(record)),
            Action::CreateKey(slot) => return Done::Later(Errand::CreateKey(slot)),
            Action::EraseProvisioningKey => return Done::Later(Errand::EraseKey),
            Action::Connect(credentials) => return Done::Later(Errand::Connect(credentials)),
            Action::Reboot => return Done::Never,
            Action::Send(id, up) => return Done::At(self.send(id, up)),
            Action::TakeInventory => (INVENTORY, Task::TakeInventory),
            Action::Fetch(id, component) => (id, Task::Fetch(component)),
            Action::Stage(id, component) => (id, Task::Stage(component)),
            Action::Start(id, component) => (id, Task::Start(component)),
            Action::Confirm(id, component) => (id, Task::Confirm(component)),
            Action::Stop(id, instance) => (id, Task::Stop(instance)),
            Action::Probe(id, instance) => (id, Task::Probe(instance)),
            Action::Remove(id, instance) => (id, Task::Remove(instance)),
            Action::Disconnect => {
                self.link.disconnect();
                return Done::At(None);
            }
            Action::RaiseFloor(floor) => {
                self.platform.raise_floor(floor);
                return Done::At(None);
            }
            Action::Identify => {
                self.platform.identify();
                return Done::At(None);
            }
        };
        Done::At(self.begin(id, task))
    }

    /// Does what takes some time, and returns what the agent is told of it.
    async fn run(&mut self, errand: Errand<'_>, known: Known) -> Option<Event<'static>> {
        let limit = match errand {
            Errand::Connect(_) => PREPARE,
            Errand::Store(_) | Errand::CreateKey(_) | Errand::EraseKey => STORE,
        };
        let end = self.clock.now() + limit;
        let late = self.clock.sleep_until(end);
        let result = match select(errand.run(self.platform, self.buffer), late).await {
            Either::First(result) => result,
            Either::Second(()) => Err(Failure::TimedOut),
        };
        match errand {
            Errand::Store(record) => Some(Event::RecordStored(record.kind(), result.map(drop))),
            Errand::CreateKey(slot) => {
                let key = result.and_then(|key| key.ok_or(Failure::Unusable));
                Some(Event::KeyCreated(slot, key))
            }
            Errand::EraseKey => Some(Event::ProvisioningKeyErased(result.map(drop))),
            Errand::Connect(credentials) => self.connect(&credentials, known, result.err()),
        }
    }

    /// Has the link connect, unless there is no way for it.
    fn connect(
        &mut self,
        credentials: &Credentials<'_>,
        known: Known,
        failure: Option<Failure>,
    ) -> Option<Event<'static>> {
        if let Some(failure) = failure {
            return Some(Event::Disconnected(failure));
        }
        let (uuid, secret) = match credentials {
            Credentials::Enrolment {
                uuid,
                provisioning_key,
                ..
            } => (*uuid, Secret::Provisioning(**provisioning_key)),
            Credentials::Device { uuid, api_key, .. } => (*uuid, Secret::Api(**api_key)),
        };
        self.link.connect(&LinkCredentials { uuid, secret }, known);
        None
    }

    fn send(&mut self, id: MessageId, up: Up) -> Option<Event<'static>> {
        match self.link.send(up) {
            Ok(()) => {
                *self.sending = Some(id);
                None
            }
            Err(_) => Some(Event::Sent(id, Err(Failure::Broken))),
        }
    }

    fn begin(&mut self, id: StepId, task: Task<'_>) -> Option<Event<'static>> {
        let verb = Verb::of(&task);
        if !self.under_way.begin(id, verb, self.clock.now()) {
            return Some(done(id, verb, Err(Failure::NoSpace)));
        }
        self.platform.begin(id, task);
        None
    }
}

/// Whether somebody wants to know how the device does.
const fn asks(event: &Event<'_>) -> bool {
    matches!(
        event,
        Event::Asked(Order::Report)
            | Event::Received(Down::Command(Command {
                order: Order::Report,
                ..
            }))
    )
}

/// What an event of the link is to the agent.
fn link_event<'e>(event: LinkEvent<'e>, sending: &mut Option<MessageId>) -> Option<Event<'e>> {
    match event {
        LinkEvent::Up { .. } => Some(Event::Connected),
        // The end of a connection that was replaced is not the end of the one that replaces it.
        LinkEvent::Down(lightship_link::Failure::Closed) => None,
        LinkEvent::Down(failure) => Some(Event::Disconnected(failure.into())),
        LinkEvent::Message(down) => Some(Event::Received(down)),
        LinkEvent::Sent => Some(Event::Sent(sending.take()?, Ok(()))),
        LinkEvent::Unsent(failure) => Some(Event::Sent(sending.take()?, Err(failure.into()))),
        LinkEvent::Rejected(rejection) => Some(Event::Unreadable(rejection)),
        LinkEvent::Switched { to, why } => Some(Event::Switched {
            to,
            why: why.map(Into::into),
        }),
    }
}

const fn done(id: StepId, verb: Verb, result: Result<(), Failure>) -> Event<'static> {
    match verb {
        Verb::Fetch => Event::Fetched(id, result),
        Verb::Stage => Event::Staged(id, result),
        Verb::Start => Event::Started(id, result),
        Verb::Confirm => Event::Confirmed(id, result),
        Verb::Stop => Event::Stopped(id, result),
        Verb::Remove => Event::Removed(id, result),
        // A probe that cannot tell has found something that does not work.
        Verb::Probe => Event::Probed(id, Presence::Unhealthy),
        Verb::Inventory => Event::InventoryTaken(result),
    }
}
