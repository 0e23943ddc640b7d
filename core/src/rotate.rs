//! Rotation of the API key and the tunnel key, in two phases (design, section 3.4).
//!
//! 1. Make the new key and save it as pending.
//! 2. Propose it over a connection made with the old one. The fleet accepts both from now on.
//! 3. Connect with the new one. Its first successful use retires the old one, at the fleet and, once saved, here.
//!
//! A cut at any point leaves a device that can connect: the key in use is tried first, and when it is refused, the pending one.
//! One key is rotated at a time. What the fleet itself changes, its hub's key, the pre-shared key and the place where it listens, comes as a whole tunnel ([`Down::Tunnel`](crate::wire::Down::Tunnel)): it is saved as pending, tried beside the one in use, and takes its place with the first connection.
//! What the fleet tells of its tunnel is not signed, so whoever has the server could lead a device elsewhere for good.
//! Therefore the tunnel of the registration, which came over the one connection that the publisher's configuration vouches for, is never forgotten: it is tried when the present one has not led to the fleet for an hour, and every hour while the fleet at its end can show no assignment that is still valid under a root that is.
//! An order of the fleet is saved before it is remembered as carried out. The trust root rotates by its own documents ([`trust`](crate::trust)).

use crate::context::Context;
use crate::id::{ApiKey, PublicKey, SecretKey};
use crate::link::Attempt;
use crate::note::Note;
use crate::record::{Identity, Record, StoredKey};
use crate::time::UnixTime;
use crate::wire::{KeyKind, NewKey, Tunnel};

impl Identity {
    /// The key that is pending, if one is.
    pub(crate) fn pending(&self) -> Option<NewKey> {
        if let Some(key) = self.api_key_pending {
            return Some(NewKey::Api(key));
        }
        let key = self.wireguard_pending.as_ref()?;
        Some(NewKey::WireGuard(key.public()))
    }

    /// Whether there is something pending for this attempt.
    pub(crate) fn may_try(&self, attempt: Attempt) -> bool {
        match attempt {
            Attempt::Key(kind) => self.pending().is_some_and(|key| key.kind() == kind),
            Attempt::Tunnel => self.tunnel_pending.is_some(),
            Attempt::Home => self.tunnel_home.is_some(),
        }
    }

    /// Takes the tunnel that the fleet tells of; whether it is one to be tried.
    pub(crate) fn offer_tunnel(&mut self, cx: &mut Context, tunnel: Tunnel) -> bool {
        let is_in_use = self.tunnel.as_ref() == Some(&tunnel);
        let is_known = match &self.tunnel_pending {
            Some(pending) => *pending == tunnel,
            None => is_in_use,
        };
        if is_known {
            return false;
        }
        self.tunnel_pending = (!is_in_use).then_some(tunnel);
        cx.changed(Record::Identity);
        if !is_in_use {
            cx.note(Note::TunnelOffered);
        }
        !is_in_use
    }

    /// Which key should be rotated now: ordered, or older than `period_s` seconds.
    pub(crate) fn rotation_due(&self, now: UnixTime, period_s: Option<u32>) -> Option<KeyKind> {
        if !self.registered || self.pending().is_some() {
            return None;
        }
        if self.rotation_ordered.is_some() {
            return self.rotation_ordered;
        }
        let period_s = period_s?;
        let mut kinds = self.rotated_kinds().iter().copied();
        kinds.find(|kind| self.due_at(*kind, period_s) <= now)
    }

    /// When the next rotation is due by the clock.
    pub(crate) fn next_rotation(&self, period_s: Option<u32>) -> Option<UnixTime> {
        let period_s = period_s?;
        let kinds = self.rotated_kinds().iter();
        kinds.map(|kind| self.due_at(*kind, period_s)).min()
    }

    /// The keys that are rotated by the clock.
    const fn rotated_kinds(&self) -> &'static [KeyKind] {
        match self.tunnel {
            Some(_) => &[KeyKind::Api, KeyKind::WireGuard],
            None => &[KeyKind::Api],
        }
    }

    /// When a key is due. A device's own share of an eighth of the period is taken off, so that a fleet that was made on one day does not rotate in one hour.
    #[inline(never)]
    fn due_at(&self, kind: KeyKind, period_s: u32) -> UnixTime {
        let share = u64::from(period_s) / 8 * u64::from(self.uuid.0[0]) / 256;
        let rotated = match kind {
            KeyKind::Api => self.api_key_rotated,
            KeyKind::WireGuard => self.wireguard_rotated,
        };
        rotated.later(u64::from(period_s) - share)
    }

    /// The slot of the secure element that a new tunnel key goes into, if keys are kept there.
    pub(crate) fn next_slot(&self) -> Option<u8> {
        match self.wireguard {
            StoredKey::Inside(_) => None,
            StoredKey::Outside(slot, _) => Some(slot ^ 1),
        }
    }

    /// Makes a new key and has it saved as pending.
    pub(crate) fn begin_rotation(
        &mut self,
        cx: &mut Context,
        kind: KeyKind,
        outside: Option<(u8, PublicKey)>,
    ) {
        match (kind, outside) {
            (KeyKind::Api, _) => self.api_key_pending = Some(ApiKey(cx.random())),
            (KeyKind::WireGuard, Some((slot, public))) => {
                self.wireguard_pending = Some(StoredKey::Outside(slot, public));
            }
            (KeyKind::WireGuard, None) => {
                self.wireguard_pending = Some(StoredKey::Inside(SecretKey(cx.random())));
            }
        }
        cx.changed(Record::Identity);
    }

    /// What was pending was used with success: it is what is in use from now on.
    pub(crate) fn promote(&mut self, cx: &mut Context, attempt: Attempt, now: UnixTime) {
        let kind = match attempt {
            // Whether it can still be tried: the fleet may have taken it back meanwhile.
            _ if !self.may_try(attempt) => return,
            Attempt::Key(kind) => kind,
            Attempt::Tunnel => {
                if self.tunnel_home.is_none() {
                    exchange(&mut self.tunnel_home, &mut self.tunnel);
                }
                exchange(&mut self.tunnel, &mut self.tunnel_pending);
                return self.settle_tunnel(cx, Note::TunnelReplaced);
            }
            Attempt::Home => {
                exchange(&mut self.tunnel, &mut self.tunnel_home);
                self.tunnel_home = None;
                return self.settle_tunnel(cx, Note::TunnelRegained);
            }
        };
        if let Some(key) = self.api_key_pending.take() {
            self.api_key = key;
        } else if let Some(key) = self.wireguard_pending.take() {
            self.wireguard = key;
        }
        self.settle(kind, now);
        cx.changed(Record::Identity);
        cx.note(Note::KeyRotated(kind));
    }

    /// The fleet does not want the pending key: the old one stays until the next rotation is due.
    pub(crate) fn withdraw(&mut self, cx: &mut Context, now: UnixTime) {
        let Some(kind) = self.pending().map(|key| key.kind()) else {
            return;
        };
        self.api_key_pending = None;
        self.wireguard_pending = None;
        self.settle(kind, now);
        cx.changed(Record::Identity);
        cx.note(Note::KeyWithdrawn(kind));
    }

    /// What the fleet told before is as good as the fleet that told it was.
    fn settle_tunnel(&mut self, cx: &mut Context, note: Note) {
        self.tunnel_pending = None;
        cx.changed(Record::Identity);
        cx.note(note);
    }

    fn settle(&mut self, kind: KeyKind, now: UnixTime) {
        match kind {
            KeyKind::Api => self.api_key_rotated = now,
            KeyKind::WireGuard => self.wireguard_rotated = now,
        }
        if self.rotation_ordered == Some(kind) {
            self.rotation_ordered = self.rotation_ordered_next.take();
        } else if self.rotation_ordered_next == Some(kind) {
            self.rotation_ordered_next = None;
        }
    }

    /// Orders a rotation, after the one that is ordered already.
    pub(crate) fn order_rotation(&mut self, cx: &mut Context, kind: KeyKind) {
        let is_tunnel = kind == KeyKind::WireGuard;
        if self.rotation_ordered == Some(kind) || (is_tunnel && self.tunnel.is_none()) {
            return;
        }
        let place = match self.rotation_ordered {
            None => &mut self.rotation_ordered,
            Some(_) => &mut self.rotation_ordered_next,
        };
        if *place != Some(kind) {
            *place = Some(kind);
            cx.changed(Record::Identity);
        }
    }
}

/// Once in the program, instead of a copy through the stack at each place.
#[inline(never)]
fn exchange(one: &mut Option<Tunnel>, other: &mut Option<Tunnel>) {
    core::mem::swap(one, other);
}
