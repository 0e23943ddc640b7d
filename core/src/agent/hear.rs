//! What each event means to whom.

use super::Agent;
use crate::event::{Failure, MessageId};
use crate::id::PublicKey;
use crate::link::{Attempt, Cargo, Up};
use crate::note::Note;
use crate::plan::Lock;
use crate::provision::Erasure;
use crate::record::{Identity, Record};
use crate::time::UnixTime;
use crate::trust::{Compact, Offence, Trust};
use crate::wire::{
    Blob, Command, Down, KeyAccepted, KeyKind, Order, Refusal, Refused, Registered, Rejection,
    SignedTarget, Tunnel,
};

impl<const COMPONENTS: usize> Agent<COMPONENTS> {
    /// Makes an identity if there is none and something to register with.
    pub(super) fn make_identity(&mut self) {
        if self.identity.is_some() || self.cx.ledger.is_halted(Record::Identity) {
            return;
        }
        if self.config.provisioning_key.is_none() {
            self.cx.note(Note::Unprovisioned);
        } else if !self.config.keys_outside || self.public_key.is_some() {
            let now = self.wall();
            let outside = self.public_key.take();
            self.identity = Some(Identity::make(&mut self.cx, outside, now));
        }
    }

    /// The time, at least.
    pub(super) fn wall(&self) -> UnixTime {
        let elapsed_s = (self.cx.now - self.wall_at).as_secs();
        self.wall.later(elapsed_s)
    }

    pub(super) fn clock_set(&mut self, time: UnixTime) {
        if time > self.wall() {
            self.wall = time;
            self.wall_at = self.cx.now;
        }
    }

    #[inline(never)]
    pub(super) fn record_stored(&mut self, record: Record, result: Result<(), Failure>) {
        let chance = self.cx.chance();
        let now = self.cx.now;
        if !self.cx.ledger.stored(now, chance, record, result) {
            return;
        }
        if result.is_err() {
            self.cx.note(Note::RecordNotSaved(record));
        }
        if record == Record::State {
            self.reconcile.state_stored(result.is_ok());
            self.raise_floor();
        }
    }

    /// Raises the floor to what the committed release asks for, once that is saved.
    fn raise_floor(&mut self) {
        if !self.cx.is_saved(Record::State) {
            return;
        }
        let committed = self.reconcile.state.committed.as_ref();
        let floor = committed.map_or(0, |target| target.floor);
        if floor > self.trust.floor {
            self.trust.floor = floor;
            self.cx.changed(Record::Trust);
        }
    }

    #[inline(never)]
    pub(super) fn key_created(&mut self, slot: u8, result: Result<PublicKey, Failure>) {
        if !core::mem::take(&mut self.creating_key) {
            return;
        }
        let Ok(public) = result else {
            self.link.put_off(&mut self.cx, Failure::Storage);
            return;
        };
        match &mut self.identity {
            None => {
                self.public_key = Some(public);
                self.make_identity();
            }
            Some(identity) if identity.next_slot() == Some(slot) => {
                identity.begin_rotation(&mut self.cx, KeyKind::WireGuard, Some((slot, public)));
            }
            Some(_) => (),
        }
    }

    pub(super) fn provisioning_key_erased(&mut self, result: Result<(), Failure>) {
        if self.erasure != Erasure::UnderWay {
            return;
        }
        match result {
            Ok(()) => {
                self.erasure = Erasure::Done;
                self.config.provisioning_key = None;
                self.cx.note(Note::ProvisioningKeyErased);
            }
            Err(_) => {
                self.erasure = Erasure::Wanted;
                self.cx.back_off(&mut self.erasure_backoff);
            }
        }
    }

    pub(super) fn connected(&mut self) {
        match self.link.connected(&mut self.cx) {
            Up::Stray => return,
            Up::Plain => (),
            Up::With(attempt) => {
                let now = self.wall();
                if let Some(identity) = &mut self.identity {
                    identity.promote(&mut self.cx, attempt, now);
                }
            }
        }
        if !self.link.is_enrolling() {
            self.reconcile.reached_fleet();
            self.reporter.forget(&mut self.reconcile);
        }
    }

    pub(super) fn disconnected(&mut self, failure: Failure) {
        if let Some(identity) = &self.identity {
            let frozen = self.reporter.frozen;
            self.link
                .disconnected(&mut self.cx, identity, frozen, failure);
        }
    }

    pub(super) fn sent(&mut self, id: MessageId, result: Result<(), Failure>) {
        let cargo = self.link.sent(&mut self.cx, id, result);
        // A connection that lasts through a trial is never made anew: a delivered message shows as well that the fleet is in reach.
        if cargo.is_some() && result.is_ok() && !self.link.is_enrolling() {
            self.reconcile.reached_fleet();
        }
        if result.is_err() && cargo == Some(Cargo::Report) {
            self.reporter.forget(&mut self.reconcile);
        }
    }

    /// What was reported while the platform could not tell all is reported again when it can.
    pub(super) fn inventory_taken(&mut self, result: Result<(), Failure>) {
        let was_blind = self.reconcile.is_blind();
        self.reconcile.inventory_taken(&mut self.cx, result);
        if was_blind && !self.reconcile.is_blind() {
            self.reporter.forget(&mut self.reconcile);
        }
    }

    pub(super) fn locked(&mut self, lock: Lock) {
        if let Err(lock) = self.reconcile.locks.take(lock) {
            self.cx.note(Note::LockRefused(lock.owner));
        }
    }

    #[inline(never)]
    pub(super) fn received(&mut self, down: Down<'_>) {
        if self.link.is_down() {
            return;
        }
        match down {
            Down::Registered(registered) => self.registered(registered),
            Down::Refused(refused) => self.refused(refused),
            Down::Target(_)
            | Down::Root(_)
            | Down::KeyAccepted(_)
            | Down::Command(_)
            | Down::Tunnel(_)
                if self.link.is_enrolling() => {}
            Down::Target(target) => self.assigned(target),
            Down::Root(root) => self.root(root.document),
            Down::KeyAccepted(accepted) => self.key_accepted(accepted),
            Down::Command(command) => self.command(command),
            Down::Tunnel(tunnel) => self.tunnel_offered(tunnel),
        }
    }

    /// A peer that sends what is no message is told of in the next report.
    pub(super) fn unreadable(&mut self, rejection: Rejection) {
        if self.link.is_down() {
            return;
        }
        self.cx.note(Note::Unreadable(rejection));
        self.reporter.offence = Some(match rejection {
            Rejection::TooLarge => Offence::TooLarge,
            Rejection::Empty | Rejection::TooDeep | Rejection::Undecodable => Offence::Undecodable,
            Rejection::UnknownVersion => Offence::UnknownVersion,
            Rejection::TrailingBytes => Offence::TrailingBytes,
        });
    }

    fn registered(&mut self, registered: Registered) {
        let Some(identity) = &mut self.identity else {
            return;
        };
        if self.link.replied(Cargo::Registration) && identity.confirm(&mut self.cx, registered) {
            self.cx.note(Note::Registered);
            self.link.renew(None);
        }
    }

    fn refused(&mut self, refused: Refused) {
        let failure = refused
            .retry_after_s
            .map_or(Failure::Unauthorized, Failure::RetryAfter);
        if self.link.replied(Cargo::Registration) {
            self.cx.note(Note::Refused(refused.reason));
            self.link.refused(&mut self.cx, failure);
        } else if self.link.replied(Cargo::Proposal) {
            self.cx.note(Note::Refused(refused.reason));
            let now = self.wall();
            match (refused.reason, &mut self.identity) {
                (Refusal::BadKey, Some(identity)) => identity.withdraw(&mut self.cx, now),
                (
                    Refusal::BadKey
                    | Refusal::BadProvisioningKey
                    | Refusal::IdentityTaken
                    | Refusal::UnknownDeviceType
                    | Refusal::Busy,
                    _,
                ) => self.link.refused(&mut self.cx, failure),
            }
        }
    }

    fn key_accepted(&mut self, accepted: KeyAccepted) {
        let pending = self.identity.as_ref().and_then(Identity::pending);
        let is_it =
            pending.is_some_and(|key| key.kind() == accepted.kind && key.id() == accepted.id);
        if is_it && self.link.replied(Cargo::Proposal) {
            self.link.renew(Some(Attempt::Key(accepted.kind)));
        }
    }

    fn tunnel_offered(&mut self, tunnel: Tunnel) {
        let Some(identity) = &mut self.identity else {
            return;
        };
        if identity.offer_tunnel(&mut self.cx, tunnel) {
            self.link.tunnel_offered();
        }
    }

    /// Who judges documents; nobody while what they would change cannot be saved.
    fn judge(&self) -> Option<Trust<'_, Compact>> {
        let ledger = &self.cx.ledger;
        if ledger.is_halted(Record::Trust) || ledger.is_halted(Record::State) {
            return None;
        }
        Some(Trust {
            codec: Compact,
            state: &self.trust,
            device: self.identity.as_ref()?.uuid,
            device_type: &self.config.device_type,
            product: &self.config.product,
            clock: Some(self.wall()),
        })
    }

    #[inline(never)]
    fn offended(&mut self, offence: Offence) {
        self.reporter.offence = Some(offence);
        self.cx.note(Note::Offence(offence));
    }

    #[inline(never)]
    fn assigned(&mut self, target: SignedTarget<'_>) {
        let (Blob::Raw(assignment), Blob::Raw(release)) = (target.assignment, target.release)
        else {
            return self.offended(Offence::Undecodable);
        };
        let Some(trust) = self.judge() else {
            return;
        };
        let (target, seen) = match trust.judge_target(assignment, release) {
            Ok(accepted) => accepted,
            Err(offence) => return self.offended(offence),
        };
        // The same assignment again brings nothing that would have to be saved.
        if self.trust.assignment != Some(seen.assignment) {
            self.trust.see(&seen);
            self.cx.changed(Record::Trust);
        }
        self.clock_set(self.trust.time_floor);
        self.reporter.frozen = false;
        self.reconcile.assign(&mut self.cx, target);
    }

    #[inline(never)]
    fn root(&mut self, document: Blob<'_>) {
        let Blob::Raw(document) = document else {
            return self.offended(Offence::Undecodable);
        };
        let Some(trust) = self.judge() else {
            return;
        };
        let root = match trust.judge_root(document) {
            Ok(root) => root,
            Err(offence) => return self.offended(offence),
        };
        let time_floor = self.trust.time_floor;
        self.trust.follow(root);
        let forgets_time = self.trust.time_floor < time_floor;
        self.cx.changed(Record::Trust);
        self.cx.note(Note::RootTrusted(self.trust.root.version));
        if forgets_time {
            self.forget_time();
        }
    }

    /// The keys that told the time are no longer trusted, and so neither is the time.
    ///
    /// Handshakes of the tunnel still bear later timestamps than before.
    fn forget_time(&mut self) {
        self.wall = self.trust.time_floor;
        self.wall_at = self.cx.now;
        self.clock.floor = self.wall;
        self.cx.changed(Record::Clock);
    }

    /// A command is remembered before it is carried out, so that a restart does not lead to the next.
    ///
    /// An order to rotate is part of the identity, which is saved before what is remembered of commands: no cut takes it away.
    fn command(&mut self, command: Command) {
        if command.id <= self.reconcile.state.command {
            self.cx.note(Note::CommandRepeated(command.id));
            return;
        }
        let taken = match (&command.order, &mut self.identity) {
            (Order::Rotate(kind), Some(identity)) => {
                identity.order_rotation(&mut self.cx, *kind);
                true
            }
            _ => self.orders.push_back(command.order).is_ok(),
        };
        if taken {
            self.reconcile.state.command = command.id;
            self.cx.changed(Record::State);
        }
    }

    /// What a person at the device orders needs no memory: a restart ends it.
    pub(super) fn order(&mut self, order: Order) {
        if self.orders.push_back(order).is_err() {
            self.cx.note(Note::OrderRefused);
        }
    }
}
