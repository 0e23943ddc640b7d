//! In which order the parts get their say, and how their choices become actions.
//!
//! Saving comes first, because everything else depends on it; then the components, because they are what the device is for; then the fleet.

use super::{Agent, Step, Wake};
use crate::action::{Action, Credentials, TunnelKey};
use crate::event::{Failure, MessageId};
use crate::limits::CLOCK_SAVE_INTERVAL;
use crate::link::{Attempt, Cargo};
use crate::note::Note;
use crate::provision::Erasure;
use crate::reconcile::Issue;
use crate::record::{Identity, Record, RecordRef, StateRef, StoredKey};
use crate::soonest::Soonest;
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::{KeyKind, Order, Up};

/// What was decided, before it borrows what it is about.
pub(super) enum Choice {
    Store(Record),
    Component(Issue),
    CreateKey(u8),
    Erase,
    Connect(Option<Attempt>),
    Disconnect,
    Send(MessageId, Cargo),
    RaiseFloor,
    Identify,
    Reboot,
}

impl<const COMPONENTS: usize> Agent<COMPONENTS> {
    pub(super) fn choose(&mut self) -> Option<Choice> {
        if self.rebooting {
            return None;
        }
        self.keep_up();
        if let Some(record) = self.cx.ledger.next(self.cx.now) {
            return Some(Choice::Store(record));
        }
        if let Some(issue) = self.reconcile.next_issue(&mut self.cx) {
            return Some(Choice::Component(issue));
        }
        if let Some(record) = self.cx.ledger.next(self.cx.now) {
            return Some(Choice::Store(record));
        }
        self.choose_floor()
            .or_else(|| self.choose_order())
            .or_else(|| self.choose_key())
            .or_else(|| self.choose_link())
    }

    /// What time alone brings about: the clock is saved, a freeze is noticed, a rotation is due.
    fn keep_up(&mut self) {
        let wall = self.wall();
        if self.cx.now - self.clock_saved_at >= CLOCK_SAVE_INTERVAL {
            let elapsed_s = (self.cx.now - self.clock_saved_at).as_secs();
            self.clock_saved_at = self.cx.now;
            self.clock.floor = self.clock.floor.max(wall);
            self.clock.handshake = self.clock.handshake.later(elapsed_s);
            self.cx.changed(Record::Clock);
        }
        if self.trust.is_frozen(Some(wall)) && !self.reporter.frozen {
            self.reporter.frozen = true;
            self.cx.note(Note::Frozen);
        }
    }

    fn choose_floor(&mut self) -> Option<Choice> {
        let floor = self.trust.floor;
        if floor == self.floor_told || !self.cx.is_saved(Record::Trust) {
            return None;
        }
        self.floor_told = floor;
        Some(Choice::RaiseFloor)
    }

    fn choose_order(&mut self) -> Option<Choice> {
        if !self.cx.is_saved(Record::State) {
            return None;
        }
        match self.orders.front()? {
            Order::Reboot if !self.reconcile.may_reboot() => return None,
            Order::Reboot
            | Order::Restart(_)
            | Order::Identify
            | Order::Rotate(_)
            | Order::Report => (),
        }
        match self.orders.pop_front()? {
            Order::Reboot => {
                self.rebooting = true;
                return Some(Choice::Reboot);
            }
            Order::Identify => return Some(Choice::Identify),
            Order::Restart(name) => {
                if !self.reconcile.restart(&name) {
                    self.cx.note(Note::OrderVoid(name));
                }
            }
            Order::Rotate(kind) => {
                if let Some(identity) = &mut self.identity {
                    identity.order_rotation(&mut self.cx, kind);
                }
            }
            Order::Report => self.reporter.forget(&mut self.reconcile),
        }
        self.choose()
    }

    /// Keys that are to be made or erased.
    fn choose_key(&mut self) -> Option<Choice> {
        let now = self.cx.now;
        let wall = self.wall();
        let Some(identity) = &mut self.identity else {
            let wanted = self.config.keys_outside && self.config.provisioning_key.is_some();
            let wanted = wanted && !self.cx.ledger.is_halted(Record::Identity);
            return (wanted && self.link.may_connect(now))
                .then(|| self.create_key(0))
                .flatten();
        };
        if !self.cx.is_saved(Record::Identity) {
            return None;
        }
        let may_erase = self.erasure == Erasure::Wanted && self.erasure_backoff.is_over(now);
        if identity.registered && self.config.provisioning_key.is_some() && may_erase {
            self.erasure = Erasure::UnderWay;
            return Some(Choice::Erase);
        }
        let kind = identity.rotation_due(wall, self.config.rotation_period_s)?;
        match (kind, identity.next_slot()) {
            (KeyKind::WireGuard, Some(slot)) => self.create_key(slot),
            (KeyKind::WireGuard, None) | (KeyKind::Api, _) => {
                identity.begin_rotation(&mut self.cx, kind, None);
                self.cx.ledger.next(now).map(Choice::Store)
            }
        }
    }

    fn create_key(&mut self, slot: u8) -> Option<Choice> {
        if core::mem::replace(&mut self.creating_key, true) {
            return None;
        }
        Some(Choice::CreateKey(slot))
    }

    fn choose_link(&mut self) -> Option<Choice> {
        let now = self.cx.now;
        let (identity, frozen) = (self.identity.as_ref()?, self.reporter.frozen);
        if self.link.has_timed_out(now) {
            self.link
                .disconnected(&mut self.cx, identity, frozen, Failure::TimedOut);
            return Some(Choice::Disconnect);
        }
        let saved = self.cx.is_saved(Record::Identity);
        if !saved {
            return None;
        }
        self.link.try_tunnel(now, identity, frozen);
        if self.link.must_end() {
            self.link.ended();
            return Some(Choice::Disconnect);
        }
        // A handshake floor that could not be saved costs, at worst, a refused handshake after the next boot.
        let clock_saved =
            self.cx.is_saved(Record::Clock) || self.cx.ledger.has_failed(Record::Clock);
        let has_credentials = identity.registered || self.config.provisioning_key.is_some();
        if clock_saved && has_credentials && self.link.may_connect(now) {
            return Some(Choice::Connect(self.link.connecting(now, identity)));
        }
        let cargo = self.choose_cargo()?;
        Some(Choice::Send(self.link.send(now, cargo), cargo))
    }

    fn choose_cargo(&mut self) -> Option<Cargo> {
        if !self.link.may_send(self.cx.now) {
            return None;
        }
        let identity = self.identity.as_ref()?;
        if !identity.registered {
            return Some(Cargo::Registration);
        }
        if let Some(key) = identity.pending() {
            self.cx.note(Note::KeyProposed(key.kind()));
            return Some(Cargo::Proposal);
        }
        let may_tell = |record| self.cx.is_saved(record) || self.cx.ledger.has_failed(record);
        if !may_tell(Record::State) || !may_tell(Record::Trust) {
            return None;
        }
        let due = self.reporter.due(&self.trust, &self.reconcile);
        (due <= self.cx.now).then_some(Cargo::Report)
    }

    pub(super) fn act(&mut self, choice: Choice) -> Action<'_> {
        match choice {
            Choice::Store(record) => Action::StoreRecord(self.record(record)),
            Choice::Component(issue) => self.reconcile.action(issue),
            Choice::CreateKey(slot) => Action::CreateKey(slot),
            Choice::Erase => Action::EraseProvisioningKey,
            Choice::Connect(pending) => Action::Connect(self.credentials(pending)),
            Choice::Disconnect => Action::Disconnect,
            Choice::Send(id, cargo) => Action::Send(id, self.message(cargo)),
            Choice::RaiseFloor => Action::RaiseFloor(self.trust.floor),
            Choice::Identify => Action::Identify,
            Choice::Reboot => Action::Reboot,
        }
    }

    fn record(&self, record: Record) -> RecordRef<'_> {
        match record {
            Record::Identity => RecordRef::Identity(self.known()),
            Record::Trust => RecordRef::Trust(&self.trust),
            Record::State => RecordRef::State(StateRef::new(&self.reconcile.state)),
            Record::Clock => RecordRef::Clock(&self.clock),
        }
    }

    fn known(&self) -> &Identity {
        self.identity
            .as_ref()
            .expect("nothing about an identity is chosen before there is one")
    }

    #[inline(never)]
    fn credentials(&self, attempt: Option<Attempt>) -> Credentials<'_> {
        let identity = self.known();
        let key = match (attempt, &identity.wireguard_pending) {
            (Some(Attempt::Key(KeyKind::WireGuard)), Some(key)) => key,
            (Some(Attempt::Key(_) | Attempt::Tunnel | Attempt::Home) | None, _) => {
                &identity.wireguard
            }
        };
        let wireguard = match key {
            StoredKey::Inside(secret) => TunnelKey::Inside(secret),
            StoredKey::Outside(slot, _) => TunnelKey::Outside(*slot),
        };
        let api_key = match (attempt, &identity.api_key_pending) {
            (Some(Attempt::Key(KeyKind::Api)), Some(key)) => key,
            (Some(Attempt::Key(_) | Attempt::Tunnel | Attempt::Home) | None, _) => {
                &identity.api_key
            }
        };
        let tunnel = match attempt {
            Some(Attempt::Tunnel) => identity.tunnel_pending.as_ref(),
            Some(Attempt::Home) => identity.tunnel_home.as_ref(),
            Some(Attempt::Key(_)) | None => identity.tunnel.as_ref(),
        };
        let handshake_floor = self.handshake_floor();
        match &self.config.provisioning_key {
            Some(provisioning_key) if !identity.registered => Credentials::Enrolment {
                uuid: identity.uuid,
                provisioning_key,
                wireguard,
                handshake_floor,
            },
            Some(_) | None => Credentials::Device {
                uuid: identity.uuid,
                api_key,
                wireguard,
                tunnel,
                handshake_floor,
            },
        }
    }

    /// Later than any handshake of this life and of those before.
    ///
    /// It counts by itself: were it raised by what documents say of the time, a thief of the director's key could push it to its end and cut the device off for ever.
    fn handshake_floor(&self) -> UnixTime {
        let elapsed_s = (self.cx.now - self.clock_saved_at).as_secs();
        self.clock.handshake.later(elapsed_s)
    }

    #[inline(never)]
    fn message(&mut self, cargo: Cargo) -> Up {
        let identity = self
            .identity
            .as_ref()
            .expect("nothing is sent without an identity");
        match (cargo, identity.pending(), self.config.provisioning_key) {
            (Cargo::Registration, _, Some(key)) => {
                let name = self.config.name.as_ref();
                Up::Register(identity.request(key, &self.config.device_type, name))
            }
            (Cargo::Proposal, Some(key), _) => Up::ProposeKey(key),
            (Cargo::Registration | Cargo::Proposal | Cargo::Report, _, _) => {
                let is_saved =
                    |record| self.cx.is_saved(record) && !self.cx.ledger.is_halted(record);
                let is_saved = is_saved(Record::State) && is_saved(Record::Trust);
                let unsaved = !is_saved || self.reconcile.is_paused() || self.reconcile.is_blind();
                let (now, reconcile) = (self.cx.now, &mut self.reconcile);
                Up::Report(
                    self.reporter
                        .make(now, &self.clock, &self.trust, reconcile, unsaved),
                )
            }
        }
    }

    pub(super) fn wait(&self) -> Step<'static> {
        let (until, why) = self.next_wake();
        Step::Wait { until, why }
    }

    /// The earliest moment at which something has to be looked at again, and what for.
    #[inline(never)]
    fn next_wake(&self) -> (Option<Instant>, Wake) {
        let mut soonest = Soonest::after(self.cx.now);
        if !self.rebooting {
            self.cx.ledger.deadlines(&mut soonest);
            self.reconcile.deadlines(&self.cx, &mut soonest);
            self.link_deadlines(&mut soonest);
            self.upkeep_deadlines(&mut soonest);
        }
        soonest.found()
    }

    fn link_deadlines(&self, soonest: &mut Soonest) {
        let Some(identity) = &self.identity else {
            return;
        };
        let can_link = self.config.provisioning_key.is_some() || identity.registered;
        if can_link {
            soonest.offer(Wake::Link, self.link.deadline());
        }
        let goes_home = self.reporter.frozen && identity.may_try(Attempt::Home);
        if identity.may_try(Attempt::Tunnel) || goes_home {
            soonest.offer(Wake::Link, self.link.tunnel_at());
        }
        if self.link.may_send(self.cx.now) {
            let due = self.reporter.due(&self.trust, &self.reconcile);
            soonest.offer(Wake::Report, due);
        }
    }

    /// The moments at which time alone brings something about; see [`keep_up`](Self::keep_up).
    fn upkeep_deadlines(&self, soonest: &mut Soonest) {
        soonest.offer(Wake::Upkeep, self.clock_saved_at + CLOCK_SAVE_INTERVAL);
        soonest.offer(Wake::Upkeep, self.erasure_backoff.until());
        if self.trust.assignment.is_some() && !self.reporter.frozen {
            soonest.offer(Wake::Upkeep, self.instant_of(self.trust.ends()));
        }
        let identity = self
            .identity
            .as_ref()
            .filter(|identity| identity.registered);
        if let Some(at) = identity.and_then(|i| i.next_rotation(self.config.rotation_period_s)) {
            soonest.offer(Wake::Upkeep, self.instant_of(at));
        }
    }

    /// When it will certainly be later than `time`, by this life's clock.
    fn instant_of(&self, time: UnixTime) -> Instant {
        let left_s = time.0.saturating_sub(self.wall().0).saturating_add(1);
        self.cx.now + Duration::from_secs(left_s)
    }
}
