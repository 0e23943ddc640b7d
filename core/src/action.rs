//! What the core wants done. Each action but the last group is answered by the [`Event`](crate::Event) of the same name in the past tense.

use crate::event::{MessageId, StepId};
use crate::id::{ApiKey, Digest, Name, ProvisioningKey, SecretKey, Uuid};
use crate::plan::Presence;
use crate::record::RecordRef;
use crate::target::{Component, Kind};
use crate::time::UnixTime;
use crate::wire::{Tunnel, Up};

/// Where the private half of the tunnel key is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TunnelKey<'a> {
    /// Here.
    Inside(&'a SecretKey),
    /// In this slot of the secure element.
    Outside(u8),
}

/// What to show the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Credentials<'a> {
    /// Not one of the fleet yet: the enrolment tunnel, or the registration endpoint.
    Enrolment {
        /// Who the device will be.
        uuid: Uuid,
        /// What lets it in.
        provisioning_key: &'a ProvisioningKey,
        /// The tunnel key it will have.
        wireguard: TunnelKey<'a>,
        /// Handshake timestamps must be later than this (WireGuard paper, section 5.1).
        handshake_floor: UnixTime,
    },
    /// One of the fleet.
    Device {
        /// Who the device is.
        uuid: Uuid,
        /// Its API key.
        api_key: &'a ApiKey,
        /// Its tunnel key.
        wireguard: TunnelKey<'a>,
        /// The other end of the tunnel, if the fleet uses one.
        tunnel: Option<&'a Tunnel>,
        /// Handshake timestamps must be later than this (WireGuard paper, section 5.1).
        handshake_floor: UnixTime,
    },
}

/// What to do. Actions come one at a time from [`Agent::poll`](crate::Agent::poll); several may be under way at once.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Action<'a> {
    /// Save a record so that a power cut leaves it whole, as it was or as it is now.
    StoreRecord(RecordRef<'a>),
    /// Make a tunnel key in this slot of the secure element, forgetting what was in the slot.
    CreateKey(u8),
    /// Erase the provisioning key from configuration or firmware; a success if it is not there.
    EraseProvisioningKey,
    /// Connect, or connect anew, with these credentials. The answer is `Connected` or `Disconnected`.
    Connect(Credentials<'a>),
    /// Send a message over the connection.
    Send(MessageId, Up),
    /// Tell of every instance on the device: `Found` for each, then `InventoryTaken`.
    TakeInventory,
    /// Fetch and verify an artifact; what is there already is not fetched again.
    Fetch(StepId, &'a Component),
    /// Make a component ready to start: unpack it, check its slot, read its spec and settings.
    Stage(StepId, &'a Component),
    /// Start a component.
    Start(StepId, &'a Component),
    /// Stop an instance and release what it held.
    Stop(StepId, InstanceRef<'a>),
    /// Tell what is known of an instance.
    Probe(StepId, InstanceRef<'a>),
    /// Have the boot loader keep this component's image.
    Confirm(StepId, &'a Component),
    /// Remove an instance and what only it uses.
    Remove(StepId, InstanceRef<'a>),
    /// End the connection. No answer.
    Disconnect,
    /// Never again boot an image with a lower security version. Repeated after each boot; no answer.
    RaiseFloor(u32),
    /// Make the device visible to someone who stands before it. No answer.
    Identify,
    /// Restart the device. The answer is the next life.
    Reboot,
}

/// Names an instance on the device; the release that it came from may be long forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InstanceRef<'a> {
    /// The component's name.
    pub name: &'a Name,
    /// Which version.
    pub instance: Digest,
    /// What it is made of.
    pub kind: Kind,
    /// What the core believes of it.
    pub presence: Presence,
}
