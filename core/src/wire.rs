//! The messages between a device and its fleet (design, sections 3 and 4).
//!
//! The same types in two encodings: postcard behind one byte of version ([`encode`], [`decode_up`], [`decode_down`]) and JSON ([`json`]).
//! A message that does not decode is a named [`Rejection`]; nothing in it has been acted on.
//! Nothing here is believed because it arrived: what matters is signed ([`trust`](crate::trust)) or comes over an authenticated connection.

mod blob;
pub mod json;
mod report;

pub use blob::Blob;
pub use report::{
    ComponentReport, ComponentState, Phase, Reason, RejectedReport, Report, TrialReport,
};

use core::net::Ipv4Addr;
use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer, contents, fields, variants};
use crate::id::{ApiKey, Endpoint, KeyId, Name, PresharedKey, ProvisioningKey, PublicKey, Uuid};
use crate::limits::MESSAGE_BYTES;

/// The version byte in front of a postcard message.
pub const VERSION: u8 = 1;

/// What a device sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Up {
    /// Asks to be one of the fleet. Sending it twice is as good as once.
    Register(Register),
    /// Says what changed since the last report.
    Report(Report),
    /// Offers a new key; the old one stays valid until the new one was used.
    ProposeKey(NewKey),
}

/// What a fleet sends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Down<'a> {
    /// The device is one of the fleet.
    Registered(Registered),
    /// The device is not let in, or a proposal is not taken.
    Refused(Refused),
    /// What to run: two signed documents.
    #[serde(borrow)]
    Target(SignedTarget<'a>),
    /// The next root document.
    #[serde(borrow)]
    Root(SignedRoot<'a>),
    /// A proposed key is accepted beside the old one.
    KeyAccepted(KeyAccepted),
    /// Something to do once.
    Command(Command),
    /// How to reach the fleet from now on. The way before stays open until this one was used.
    Tunnel(Tunnel),
}

/// A request to be one of the fleet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Register {
    /// Made by the device, stored before this is sent.
    pub uuid: Uuid,
    /// What lets it in.
    pub provisioning_key: ProvisioningKey,
    /// What it will show from now on.
    pub api_key: ApiKey,
    /// The public half of its tunnel key.
    pub wireguard: PublicKey,
    /// What it is.
    pub device_type: Name,
    /// What it would like to be called.
    pub name: Option<Name>,
}

/// The other end of the tunnel and this device's place in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tunnel {
    /// The hub's public key.
    pub hub: PublicKey,
    /// Where the hub listens for UDP.
    pub endpoint: Endpoint,
    /// This device's address inside.
    #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
    pub address: Ipv4Addr,
    /// The fleet's address inside.
    #[cfg_attr(feature = "defmt", defmt(Debug2Format))]
    pub gateway: Ipv4Addr,
    /// A pre-shared key, if the hub wants one.
    pub preshared: Option<PresharedKey>,
    /// TCP port of MQTT at the gateway.
    pub mqtt_port: u16,
    /// TCP port of HTTP at the gateway.
    pub http_port: u16,
}

/// The answer to [`Register`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Registered {
    /// The device that is meant.
    pub uuid: Uuid,
    /// How to reach the fleet from now on; without it, the way that was used to register.
    pub tunnel: Option<Tunnel>,
}

/// Why a fleet does not do what a device asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The provisioning key is unknown, revoked, expired or used up. It is not said which.
    BadProvisioningKey,
    /// The uuid is taken by a device with another key.
    IdentityTaken,
    /// The fleet knows no such device type.
    UnknownDeviceType,
    /// Too much at once; try again later.
    Busy,
    /// The proposed key is taken or malformed.
    BadKey,
}

/// A request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// Seconds to wait before trying again (RFC 9110, section 10.2.3: seconds, not milliseconds).
    pub retry_after_s: Option<u32>,
}

/// An assignment and the release it names, each in its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SignedTarget<'a> {
    /// Signed by the director.
    #[serde(borrow)]
    pub assignment: Blob<'a>,
    /// Signed by the publisher.
    #[serde(borrow)]
    pub release: Blob<'a>,
}

/// A root document in its envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SignedRoot<'a> {
    /// Signed by the old and the new root keys.
    #[serde(borrow)]
    pub document: Blob<'a>,
}

/// Which of a device's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum KeyKind {
    /// The API key.
    Api,
    /// The tunnel key.
    WireGuard,
}

/// A key that a device wants to use from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum NewKey {
    /// The API key itself.
    Api(ApiKey),
    /// The public half of the tunnel key.
    WireGuard(PublicKey),
}

impl NewKey {
    /// Which key it is to replace.
    pub const fn kind(&self) -> KeyKind {
        match self {
            Self::Api(_) => KeyKind::Api,
            Self::WireGuard(_) => KeyKind::WireGuard,
        }
    }

    /// How an acceptance names it.
    pub fn id(&self) -> KeyId {
        match self {
            Self::Api(key) => KeyId::of(&PublicKey(key.0)),
            Self::WireGuard(key) => KeyId::of(key),
        }
    }
}

/// The answer to [`Up::ProposeKey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct KeyAccepted {
    /// Which key.
    pub kind: KeyKind,
    /// [`NewKey::id`] of the proposal.
    pub id: KeyId,
}

/// Something to do once: a device remembers the highest identifier that it has acted on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Command {
    /// Rises from command to command.
    pub id: u64,
    /// What to do.
    pub order: Order,
}

/// What a fleet or a person at the device may order. None of these changes which code runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Restart the device, when no lock holds it.
    Reboot,
    /// Stop and start one component, when no lock holds it.
    Restart(Name),
    /// Make the device visible to someone who stands before it.
    Identify,
    /// Replace a key.
    Rotate(KeyKind),
    /// Send a whole report.
    Report,
}

fields!(Register {
    uuid,
    provisioning_key,
    api_key,
    wireguard,
    device_type,
    name
});
fields!(Tunnel {
    hub,
    endpoint,
    address,
    gateway,
    preshared,
    mqtt_port,
    http_port
});
fields!(Registered { uuid, tunnel });
variants!(Refusal {
    BadProvisioningKey,
    IdentityTaken,
    UnknownDeviceType,
    Busy,
    BadKey
});
fields!(Refused {
    reason,
    retry_after_s
});
fields!(SignedTarget<'a> { assignment, release });
fields!(SignedRoot<'a> { document });
variants!(KeyKind { Api, WireGuard });
fields!(KeyAccepted { kind, id });
fields!(Command { id, order });
contents!(Up { Register 0, Report 1, ProposeKey 2 });
contents!(Down<'a> { Registered 0, Refused 1, Target 2, Root 3, KeyAccepted 4, Command 5, Tunnel 6 });
contents!(NewKey { Api 0, WireGuard 1 });

impl Encode for Order {
    fn encode(&self, to: &mut Writer<'_>) {
        match self {
            Self::Reboot => to.byte(0),
            Self::Restart(name) => {
                to.byte(1);
                name.encode(to);
            }
            Self::Identify => to.byte(2),
            Self::Rotate(kind) => {
                to.byte(3);
                kind.encode(to);
            }
            Self::Report => to.byte(4),
        }
    }
}

impl Decode<'_> for Order {
    fn decode(from: &mut Reader<'_>) -> Self {
        match from.tag(5) {
            0 => Self::Reboot,
            1 => Self::Restart(Name::decode(from)),
            2 => Self::Identify,
            3 => Self::Rotate(KeyKind::decode(from)),
            _ => Self::Report,
        }
    }
}

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Rejection {
    /// Longer than [`MESSAGE_BYTES`], or than the memory given for it.
    TooLarge,
    /// No byte at all.
    Empty,
    /// A version of the protocol that this side does not speak.
    UnknownVersion,
    /// Nested deeper than [`JSON_DEPTH`](crate::limits::JSON_DEPTH).
    TooDeep,
    /// Not a message.
    Undecodable,
    /// A message, and then more.
    TrailingBytes,
}

impl core::fmt::Display for Rejection {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the message is too large",
            Self::Empty => "the message is empty",
            Self::UnknownVersion => "the message is of a protocol version that is not known here",
            Self::TooDeep => "the message is nested too deeply",
            Self::Undecodable => "the message cannot be decoded",
            Self::TrailingBytes => "bytes follow the message",
        })
    }
}

impl core::error::Error for Rejection {}

/// Writes a message in postcard behind its version byte, and returns what was written.
///
/// # Errors
///
/// [`Rejection::TooLarge`] when `out` is too short.
#[inline(never)]
pub fn encode<'o, T: Encode>(message: &T, out: &'o mut [u8]) -> Result<&'o [u8], Rejection> {
    let mut to = Writer::new(out);
    to.byte(VERSION);
    message.encode(&mut to);
    let len = to.end().ok_or(Rejection::TooLarge)?;
    Ok(&out[..len])
}

/// Reads a device's message.
///
/// # Errors
///
/// A [`Rejection`]; see its variants.
pub fn decode_up(bytes: &[u8]) -> Result<Up, Rejection> {
    decode(bytes)
}

/// Reads a fleet's message.
///
/// # Errors
///
/// A [`Rejection`]; see its variants.
pub fn decode_down(bytes: &[u8]) -> Result<Down<'_>, Rejection> {
    decode(bytes)
}

#[inline(never)]
fn decode<'a, T: Decode<'a>>(bytes: &'a [u8]) -> Result<T, Rejection> {
    let mut from = body(bytes)?;
    let message = T::decode(&mut from);
    match from.end() {
        None => Err(Rejection::Undecodable),
        Some([]) => Ok(message),
        Some(_) => Err(Rejection::TrailingBytes),
    }
}

/// What follows the version byte.
fn body(bytes: &[u8]) -> Result<Reader<'_>, Rejection> {
    if bytes.len() > MESSAGE_BYTES {
        return Err(Rejection::TooLarge);
    }
    let (version, body) = bytes.split_first().ok_or(Rejection::Empty)?;
    if *version != VERSION {
        return Err(Rejection::UnknownVersion);
    }
    Ok(Reader::new(body))
}

#[cfg(test)]
mod tests;
