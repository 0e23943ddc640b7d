//! The rules by which documents are accepted.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{AssignmentHead, Codec, Compact, Offence, ReleaseHead, Role, Root};
use crate::codec::fields;
use crate::id::{Digest, Name, Uuid};
use crate::target::{Part, Target};
use crate::time::UnixTime;

/// What must survive a power cut for the rules to hold. Saved before anything that was accepted is acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TrustState {
    /// The trusted root.
    pub root: Root,
    /// The highest assignment counter seen under the present director keys.
    pub counter: u64,
    /// Digest of the assignment that had it.
    pub assignment: Option<Digest>,
    /// The lowest security version that may be installed.
    pub floor: u32,
    /// It is certainly later than this.
    pub time_floor: UnixTime,
    /// When the last assignment ends.
    pub expires: UnixTime,
}

fields!(TrustState {
    root,
    counter,
    assignment,
    floor,
    time_floor,
    expires
});

/// Judges documents for one device.
#[derive(Clone, Debug)]
pub struct Trust<'a, C = Compact> {
    /// Takes documents apart.
    pub codec: C,
    /// What is trusted now.
    pub state: &'a TrustState,
    /// The device that judges.
    pub device: Uuid,
    /// What it is.
    pub device_type: &'a Name,
    /// What it is meant to run.
    pub product: &'a Name,
    /// What an authentic clock says, if there is one.
    pub clock: Option<UnixTime>,
}

/// A target that passed every rule, and the state to save before it is acted on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted<const COMPONENTS: usize> {
    /// What to run.
    pub target: Target<COMPONENTS>,
    /// What to save.
    pub state: TrustState,
}

/// What an accepted assignment changes in the trust.
pub(crate) struct Seen {
    counter: u64,
    pub(crate) assignment: Digest,
    issued: UnixTime,
    expires: UnixTime,
}

impl TrustState {
    /// Trust on a device that was never told anything but its first root.
    pub fn new(root: Root) -> Self {
        Self {
            counter: 0,
            assignment: None,
            floor: root.floor,
            time_floor: root.issued,
            expires: UnixTime(0),
            root,
        }
    }

    /// The first root, which comes with the configuration or the firmware and so is believed, if its signatures hold among themselves.
    ///
    /// # Errors
    ///
    /// An [`Offence`] when it is not a root that its own keys signed.
    pub fn first_root<C: Codec>(codec: &C, bytes: &[u8]) -> Result<Root, Offence> {
        let envelope = codec.open(bytes)?;
        let root = codec.root(envelope.payload)?;
        well_formed(&root)?;
        envelope.verify(&root, root.root)?;
        Ok(root)
    }

    /// Takes what was accepted.
    #[inline(never)]
    pub(crate) fn see(&mut self, seen: &Seen) {
        self.counter = seen.counter;
        self.assignment = Some(seen.assignment);
        self.time_floor = self.time_floor.max(seen.issued);
        self.expires = seen.expires;
    }

    /// Takes an accepted root; see [`Trust::accept_root`].
    #[inline(never)]
    pub(crate) fn follow(&mut self, root: Root) {
        if !root.same_holders(&self.root, Role::Director) {
            self.counter = 0;
            self.assignment = None;
            self.time_floor = root.issued;
        }
        self.floor = if root.same_holders(&self.root, Role::Release) {
            self.floor.max(root.floor)
        } else {
            root.floor
        };
        self.root = root;
    }

    /// When the last assignment ends: with its root, if that ends first.
    pub(crate) fn ends(&self) -> UnixTime {
        self.expires.min(self.root.expires)
    }

    /// Whether the last assignment has ended without a newer one: somebody may be keeping updates from this device.
    pub fn is_frozen(&self, clock: Option<UnixTime>) -> bool {
        self.assignment.is_some() && self.time_floor.max(clock.unwrap_or_default()) > self.ends()
    }
}

fn well_formed(root: &Root) -> Result<(), Offence> {
    for keys in &[root.root, root.release, root.director] {
        if !keys.is_possible(root.keys.len()) {
            return Err(Offence::ImpossibleThreshold);
        }
    }
    Ok(())
}

impl<C: Codec> Trust<'_, C> {
    #[inline(never)]
    fn time(&self) -> UnixTime {
        self.state.time_floor.max(self.clock.unwrap_or_default())
    }

    /// Judges the next root (TUF specification, section 5.3): exactly one version later, signed by the threshold of the trusted root *and* by its own.
    ///
    /// An expired root in the middle of a chain is accepted, because the next may not be; nothing is installed while the last one is expired.
    /// When the director's keys change, counter and time floor start again, and when the release keys change, the floor does: this is how a fleet recovers from a thief who pushed them to their end (TUF specification, section 5.3.11, fast-forward attack).
    ///
    /// # Errors
    ///
    /// The [`Offence`]; nothing has changed.
    pub fn accept_root(&self, bytes: &[u8]) -> Result<TrustState, Offence> {
        let root = self.judge_root(bytes)?;
        let mut state = self.state.clone();
        state.follow(root);
        Ok(state)
    }

    /// As [`accept_root`](Self::accept_root), for who holds the state and lets it [`follow`](TrustState::follow).
    #[inline(never)]
    pub(crate) fn judge_root(&self, bytes: &[u8]) -> Result<Root, Offence> {
        let envelope = self.codec.open(bytes)?;
        envelope.verify(&self.state.root, self.state.root.root)?;
        let root = self.codec.root(envelope.payload)?;
        if self.state.root.version.checked_add(1) != Some(root.version) {
            return Err(Offence::RootOutOfOrder);
        }
        well_formed(&root)?;
        envelope.verify(&root, root.root)?;
        Ok(root)
    }

    /// Judges an assignment together with the release that it names.
    ///
    /// # Errors
    ///
    /// The [`Offence`]; nothing has changed.
    pub fn accept_target<const COMPONENTS: usize>(
        &self,
        assignment: &[u8],
        release: &[u8],
    ) -> Result<Accepted<COMPONENTS>, Offence> {
        let (target, seen) = self.judge_target(assignment, release)?;
        let mut state = self.state.clone();
        state.see(&seen);
        Ok(Accepted { target, state })
    }

    /// As [`accept_target`](Self::accept_target), for who holds the state and lets it [`see`](TrustState::see).
    #[inline(never)]
    pub(crate) fn judge_target<const COMPONENTS: usize>(
        &self,
        assignment: &[u8],
        release: &[u8],
    ) -> Result<(Target<COMPONENTS>, Seen), Offence> {
        if self.state.root.expires < self.time() {
            return Err(Offence::RootExpired);
        }
        let signed = self.verified(assignment, Role::Director)?;
        let digest = Digest::of(signed);
        let assigned = self.codec.assignment::<COMPONENTS>(signed)?;
        self.check_assignment(&assigned.head, &digest)?;

        let signed = self.verified(release, Role::Release)?;
        if Digest::of(signed) != assigned.head.release {
            return Err(Offence::OtherRelease);
        }
        let (head, reader) = self.codec.release(signed)?;
        self.check_release(&head)?;
        let mut target = target(&assigned.head, head);
        reader.all(&mut target.parts)?;
        settle(&mut target.parts, &assigned.settings)?;
        for part in &target.parts {
            target.id = target.id.chain(&part.instance.0);
        }
        let seen = Seen {
            counter: assigned.head.counter,
            assignment: digest,
            issued: assigned.head.issued,
            expires: assigned.head.expires,
        };
        Ok((target, seen))
    }

    /// The payload of an envelope that enough keys of `role` signed.
    fn verified<'b>(&self, bytes: &'b [u8], role: Role) -> Result<&'b [u8], Offence> {
        let envelope = self.codec.open(bytes)?;
        envelope.verify(&self.state.root, self.state.root.role(role))?;
        Ok(envelope.payload)
    }

    fn check_assignment(&self, head: &AssignmentHead, digest: &Digest) -> Result<(), Offence> {
        if head.device != self.device {
            return Err(Offence::OtherDevice);
        }
        if head.counter < self.state.counter {
            return Err(Offence::CounterReplayed);
        }
        let known = self.state.assignment.as_ref();
        if head.counter == self.state.counter && known.is_some_and(|known| known != digest) {
            return Err(Offence::CounterReused);
        }
        if head.expires < self.time() || head.expires < head.issued {
            return Err(Offence::AssignmentExpired);
        }
        Ok(())
    }

    fn check_release(&self, head: &ReleaseHead) -> Result<(), Offence> {
        if head.product != *self.product {
            return Err(Offence::OtherProduct);
        }
        if head.device_type != *self.device_type {
            return Err(Offence::OtherDeviceType);
        }
        if head.security_version < self.state.floor {
            return Err(Offence::BelowFloor);
        }
        Ok(())
    }
}

/// Fills the director's settings into the publisher's components.
fn settle(parts: &mut [Part], settings: &[(u8, Digest)]) -> Result<(), Offence> {
    for (position, digest) in settings {
        let part = parts.get_mut(usize::from(*position));
        let part = part.ok_or(Offence::StraySettings)?;
        part.component.settings = Some(*digest);
        part.instance = part.component.instance();
    }
    Ok(())
}

/// What is assigned, without its parts.
fn target<const COMPONENTS: usize>(
    assigned: &AssignmentHead,
    head: ReleaseHead,
) -> Target<COMPONENTS> {
    Target {
        release: assigned.release,
        // Of its parts as well, once these are settled.
        id: assigned.release.chain(&assigned.attempt.to_le_bytes()),
        version: head.version,
        security_version: head.security_version,
        floor: head.floor,
        reach_fleet_s: head.reach_fleet_s,
        override_locks: assigned.override_locks,
        parts: Vec::new(),
    }
}
