//! The messages between a device and its fleet (design, sections 3 and 4).
//!
//! The same types in two encodings: postcard behind one byte of version ([`encode`], [`decode_up`], [`decode_down`]) and JSON ([`json`]).
//! A message that does not decode is a named [`Rejection`]; nothing in it has been acted on.
//! Nothing here is believed because it arrived: what matters is signed ([`trust`](crate::trust)) or comes over an authenticated connection.

pub mod json;

use core::net::Ipv4Addr;
use heapless::Vec;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{
    ApiKey, Digest, Endpoint, KeyId, Name, PresharedKey, ProvisioningKey, PublicKey, Uuid, Version,
};
use crate::limits::{MESSAGE_BYTES, REPORT_COMPONENTS};
use crate::trust::Offence;

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

/// What changed on a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Report {
    /// Counts reports since boot; a lower one after a higher one is old news.
    pub sequence: u32,
    /// Boots counted by the device, so that sequences of two boots are not compared.
    pub boot: u32,
    /// The assignment counter last accepted.
    pub counter: u64,
    /// Version of the trusted root.
    pub root: u32,
    /// The release that was committed last.
    pub committed: Option<Digest>,
    /// Its version, for people.
    pub version: Option<Version>,
    /// The release that is being tried, and how far it is.
    pub trial: Option<TrialReport>,
    /// The release that was tried and given up last, and why.
    pub rejected: Option<RejectedReport>,
    /// What a peer did wrong last, since boot.
    pub offence: Option<Offence>,
    /// Whether the last assignment has expired without a newer one.
    pub frozen: bool,
    /// Whether storage fails or cannot be read: what this report says may not survive a power cut, or may not be all.
    pub unsaved: bool,
    /// Components whose state changed; not necessarily all.
    pub components: Vec<ComponentReport, REPORT_COMPONENTS>,
}

/// A release on trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct TrialReport {
    /// SHA-256 digest of the release's payload.
    pub release: Digest,
    /// How far it is.
    pub phase: Phase,
}

/// A release that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RejectedReport {
    /// SHA-256 digest of the release's payload.
    pub release: Digest,
    /// Why.
    pub reason: Reason,
}

/// How far a trial is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Being fetched and staged; what ran before still runs.
    Preparing,
    /// Being started and watched.
    Trying,
    /// An update lock holds it off.
    Held,
}

/// Why a release was rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The platform cannot run it: another architecture, a spec it must refuse, a broken image.
    Unusable,
    /// A component did not start.
    DidNotStart,
    /// A component exited, crashed or failed its probes too often.
    Unhealthy,
    /// The boot loader went back to the old image.
    BootedOld,
    /// The fleet was not reached in the time that the release sets.
    Unreachable,
    /// Power went or the device restarted too often while it was tried.
    Reboots,
    /// The platform could not tell what is on the device.
    Unseen,
}

/// What a component is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ComponentReport {
    /// Its name in the release.
    pub name: Name,
    /// Digest of the artifact that the state is about.
    pub artifact: Digest,
    /// What it does.
    pub state: ComponentState,
    /// Bytes fetched so far, while it is being fetched.
    pub fetched: Option<u64>,
}

/// The state of a component, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "snake_case")]
pub enum ComponentState {
    /// Waits to be fetched, or is being fetched.
    Fetching,
    /// Fetched or staged, not started.
    Ready,
    /// Started, not yet healthy.
    Starting,
    /// Runs and is healthy.
    Healthy,
    /// Runs and is not healthy.
    Unhealthy,
    /// Has exited.
    Exited,
    /// Ran to completion.
    Completed,
    /// Was stopped.
    Stopped,
}

/// Bytes inside a message: raw in postcard, base64 (RFC 4648, section 4) in JSON.
///
/// JSON leaves them encoded; [`json::decode_down`] decodes them into memory of the caller's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Blob<'a> {
    /// The bytes.
    Raw(&'a [u8]),
    /// Their base64 text, not yet decoded.
    Base64(&'a str),
}

impl core::fmt::Debug for Blob<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Raw(bytes) => write!(f, "{} B", bytes.len()),
            Self::Base64(text) => write!(f, "{} characters", text.len()),
        }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Blob<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        match self {
            Self::Raw(bytes) => defmt::write!(f, "{=usize} B", bytes.len()),
            Self::Base64(text) => defmt::write!(f, "{=usize} characters", text.len()),
        }
    }
}

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match (self, s.is_human_readable()) {
            (Self::Raw(bytes), false) => s.serialize_bytes(bytes),
            (Self::Raw(bytes), true) => s.collect_str(&json::Base64(bytes)),
            (Self::Base64(text), true) => s.serialize_str(text),
            (Self::Base64(_), false) => Err(serde::ser::Error::custom("blob is not decoded")),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Blob<'a> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            d.deserialize_str(BlobVisitor)
        } else {
            d.deserialize_bytes(BlobVisitor)
        }
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob<'de>;

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("bytes, or their base64 text")
    }

    fn visit_borrowed_bytes<E: serde::de::Error>(self, bytes: &'de [u8]) -> Result<Blob<'de>, E> {
        Ok(Blob::Raw(bytes))
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Blob<'de>, E> {
        Ok(Blob::Base64(text))
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
pub fn encode<'o, T: Serialize>(message: &T, out: &'o mut [u8]) -> Result<&'o [u8], Rejection> {
    let (version, rest) = out.split_first_mut().ok_or(Rejection::TooLarge)?;
    *version = VERSION;
    let len = postcard::to_slice(message, rest)
        .map_err(|_| Rejection::TooLarge)?
        .len();
    Ok(&out[..=len])
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

fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Rejection> {
    if bytes.len() > MESSAGE_BYTES {
        return Err(Rejection::TooLarge);
    }
    let (version, body) = bytes.split_first().ok_or(Rejection::Empty)?;
    if *version != VERSION {
        return Err(Rejection::UnknownVersion);
    }
    match postcard::take_from_bytes(body) {
        Ok((message, [])) => Ok(message),
        Ok(_) => Err(Rejection::TrailingBytes),
        Err(_) => Err(Rejection::Undecodable),
    }
}

#[cfg(test)]
mod tests;
