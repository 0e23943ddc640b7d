//! How a device becomes one of a fleet (design, section 3.4).
//!
//! What must stay true:
//! - the identity is made once and saved before the first packet;
//! - registering again with the same identity is a success, so a lost answer costs nothing;
//! - no failure of the network changes the identity;
//! - the provisioning key is erased when, and only when, the confirmed registration is saved.

use crate::context::Context;
use crate::id::{ApiKey, ProvisioningKey, PublicKey, SecretKey, Uuid};
use crate::note::Note;
use crate::record::{Identity, Record, StoredKey};
use crate::time::UnixTime;
use crate::wire::{Register, Registered};

use crate::id::Name;

/// How far the device is with getting rid of its provisioning key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Erasure {
    /// There may be one to erase.
    Wanted,
    UnderWay,
    Done,
}

impl Identity {
    /// A new identity. Its tunnel key is inside unless the secure element made one.
    pub(crate) fn make(cx: &mut Context, outside: Option<PublicKey>, now: UnixTime) -> Self {
        let identity = Self {
            uuid: Uuid::from_random(cx.random()),
            api_key: ApiKey(cx.random()),
            api_key_pending: None,
            wireguard: match outside {
                Some(public) => StoredKey::Outside(0, public),
                None => StoredKey::Inside(SecretKey(cx.random())),
            },
            wireguard_pending: None,
            registered: false,
            tunnel: None,
            api_key_rotated: now,
            wireguard_rotated: now,
            rotation_ordered: None,
            rotation_ordered_next: None,
            tunnel_pending: None,
            tunnel_home: None,
        };
        cx.note(Note::IdentityMade(identity.uuid));
        cx.changed(Record::Identity);
        identity
    }

    /// The request to be let in.
    pub(crate) fn request(
        &self,
        provisioning_key: ProvisioningKey,
        device_type: &Name,
        name: Option<&Name>,
    ) -> Register {
        Register {
            uuid: self.uuid,
            provisioning_key,
            api_key: self.api_key,
            wireguard: self.wireguard.public(),
            device_type: device_type.clone(),
            name: name.cloned(),
        }
    }

    /// Takes the confirmation; whether it was for this device and told something new.
    pub(crate) fn confirm(&mut self, cx: &mut Context, registered: Registered) -> bool {
        if registered.uuid != self.uuid || self.registered {
            return false;
        }
        self.registered = true;
        self.tunnel = registered.tunnel;
        cx.changed(Record::Identity);
        true
    }
}
