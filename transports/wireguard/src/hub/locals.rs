//! The hub's own keys: the fleet's, two of them while the hub key rotates, and one for each live provisioning key.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use wireguard_sans_io::{CookieChecker, EntropySource, HandshakeGate};

use super::Door;
use super::anonymous;
use super::guard::Guard;
use crate::engine::{Now, UnusableKey, engine};
use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::limits;

/// What a hub key lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Devices that are known.
    Fleet,
    /// Anyone who holds the provisioning key that this pre-shared key comes from.
    Enrolment(PresharedKey),
}

impl Purpose {
    fn door(&self) -> Door {
        match self {
            Self::Fleet => Door::Fleet,
            Self::Enrolment(_) => Door::Enrolment,
        }
    }
}

struct Local {
    secret: SecretKey,
    purpose: Purpose,
    cookies: CookieChecker,
}

/// What to do with an initiation.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Knock {
    /// It was made for no key behind this door.
    Stranger,
    /// Its sender must first show that it receives at its address.
    Cookie([u8; 64]),
    /// Its sender had its share.
    TooMany,
    /// It passes for one of our keys and does not open with it.
    Forged,
    /// It names this device and this hub key.
    Named { hub: PublicKey, device: PublicKey },
}

/// All of the hub's keys.
pub(super) struct Locals {
    by_key: HashMap<PublicKey, Local>,
    fleet: Guard,
    enrolment: Guard,
}

impl Default for Locals {
    fn default() -> Self {
        Self {
            by_key: HashMap::new(),
            fleet: Guard::new(),
            enrolment: Guard::new(),
        }
    }
}

impl Locals {
    /// Answers for one more key; `false` when there are [`limits::HUB_KEYS`] already.
    pub(super) fn add(&mut self, secret: SecretKey, purpose: Purpose) -> bool {
        let public = secret.public();
        if self.by_key.len() >= limits::HUB_KEYS && !self.by_key.contains_key(&public) {
            return false;
        }
        let cookies = CookieChecker::new(&public.engine());
        self.by_key.insert(
            public,
            Local {
                secret,
                purpose,
                cookies,
            },
        );
        true
    }

    pub(super) fn remove(&mut self, public: &PublicKey) -> bool {
        self.by_key.remove(public).is_some()
    }

    pub(super) fn secret(&self, public: &PublicKey) -> Option<&SecretKey> {
        self.by_key.get(public).map(|local| &local.secret)
    }

    pub(super) fn purpose(&self, public: &PublicKey) -> Option<Purpose> {
        self.by_key.get(public).map(|local| local.purpose.clone())
    }

    /// The public halves of the keys for the fleet.
    pub(super) fn fleet(&self) -> impl Iterator<Item = PublicKey> {
        self.by_key
            .iter()
            .filter(|(_, local)| local.purpose == Purpose::Fleet)
            .map(|(public, _)| *public)
    }

    /// Could any of our keys make a tunnel with this one?
    pub(super) fn check(&self, device: &PublicKey) -> Result<(), UnusableKey> {
        match self
            .by_key
            .values()
            .find(|local| local.purpose == Purpose::Fleet)
        {
            Some(local) => engine(&local.secret, device, &PresharedKey::default()).map(drop),
            None => Ok(()),
        }
    }

    /// Looks at an initiation as far as it takes to say whom it names.
    pub(super) fn knock(
        &mut self,
        now: Now,
        door: Door,
        from: SocketAddr,
        datagram: &[u8],
        chance: &mut dyn EntropySource,
    ) -> Knock {
        let guard = match door {
            Door::Fleet => &mut self.fleet,
            Door::Enrolment => &mut self.enrolment,
        };
        let rush = guard.arrives(now.ticks);
        let remote = remote(from);
        let mut reply = [0; 64];
        for (public, local) in self
            .by_key
            .iter_mut()
            .filter(|(_, local)| local.purpose.door() == door)
        {
            match local
                .cookies
                .gate(now, &remote, rush, datagram, &mut reply, chance)
            {
                Ok(HandshakeGate::Drop) => continue,
                Ok(HandshakeGate::CookieReply(_)) => return Knock::Cookie(reply),
                Ok(HandshakeGate::Pass) => {}
                Err(_) => return Knock::TooMany,
            }
            if rush && !guard.may(now.ticks, from.ip()) {
                return Knock::TooMany;
            }
            return match anonymous::initiator(&local.secret, public, datagram) {
                Some(device) => Knock::Named {
                    hub: *public,
                    device,
                },
                None => Knock::Forged,
            };
        }
        Knock::Stranger
    }
}

/// A sender's address and port as bytes: what a cookie is bound to.
pub(super) fn remote(from: SocketAddr) -> [u8; 18] {
    let address = match from.ip() {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    };
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&address.octets());
    bytes[16..].copy_from_slice(&from.port().to_be_bytes());
    bytes
}
