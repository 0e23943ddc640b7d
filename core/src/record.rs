//! What is saved, and how it reads back in another version of the agent.
//!
//! A platform saves each record whole or not at all: after a power cut it is as it was or as it was to be.
//! What changes together is one record.
//!
//! ```text
//! byte 0      version of the writer's layout
//! byte 1      oldest version of the layout whose reader can read this
//! byte 2      which record
//! 4 bytes     first bytes of the SHA-256 digest of all that follows and of bytes 0 to 2
//! the rest    postcard
//! ```
//!
//! A newer layout only appends fields that mean nothing when they are zero, which is what a newer agent reads where an older one wrote none; an older agent (one that came back after a failed update of itself) reads what it knows and ignores the rest, if the writer says that this is safe.
//! When it is not, the record is [`Unreadable::Newer`]: it is left alone, and so is everything that depends on it.

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer, fields};
use crate::id::{ApiKey, Digest, PublicKey, SecretKey, Uuid};
use crate::target::Target;
use crate::time::UnixTime;
use crate::trust::TrustState;
use crate::wire::{KeyKind, Reason, Tunnel};

/// Which record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Record {
    /// Who the device is, and its keys.
    Identity,
    /// The trusted root, counters and floors.
    Trust,
    /// The committed release, the one on trial and the one rejected last.
    State,
    /// The time floor and the count of boots.
    Clock,
}

impl Record {
    /// All of them, in the order in which they are saved when several have changed.
    pub const ALL: [Self; 4] = [Self::Clock, Self::Identity, Self::Trust, Self::State];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Clock => 0,
            Self::Identity => 1,
            Self::Trust => 2,
            Self::State => 3,
        }
    }
}

/// Why a saved record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Unreadable {
    /// It is not what was written: too short, another record, a wrong checksum, fields that make no sense.
    Torn,
    /// It was written by a newer agent that says that this one must not read it.
    Newer,
    /// It holds more components than this agent has room for.
    TooManyComponents,
}

/// The tunnel key, or where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StoredKey {
    /// The private key itself.
    Inside(SecretKey),
    /// A slot of the secure element, and the public key that belongs to it.
    Outside(u8, PublicKey),
}

impl StoredKey {
    /// The public half.
    pub fn public(&self) -> PublicKey {
        match self {
            Self::Inside(secret) => secret.public(),
            Self::Outside(_, public) => *public,
        }
    }
}

/// Who the device is. Saved before the first packet and never made anew while it can be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Identity {
    /// For life.
    pub uuid: Uuid,
    /// The API key in use.
    pub api_key: ApiKey,
    /// The API key that is to replace it.
    pub api_key_pending: Option<ApiKey>,
    /// The tunnel key in use.
    pub wireguard: StoredKey,
    /// The tunnel key that is to replace it.
    pub wireguard_pending: Option<StoredKey>,
    /// Whether the fleet has confirmed the registration.
    pub registered: bool,
    /// How to reach the fleet, once registered.
    pub tunnel: Option<Tunnel>,
    /// When each key was rotated last, or first made.
    pub api_key_rotated: UnixTime,
    /// When the tunnel key was rotated last, or first made.
    pub wireguard_rotated: UnixTime,
    /// Key that the fleet or a person has ordered to be rotated.
    pub rotation_ordered: Option<KeyKind>,
    /// Key that has been ordered to be rotated after that one. Since layout 2.
    pub rotation_ordered_next: Option<KeyKind>,
    /// How to reach the fleet as it said last, until that was used with success. Since layout 2.
    pub tunnel_pending: Option<Tunnel>,
    /// How to reach the fleet as it said when the device registered, once that is not in use any more; the last resort. Since layout 3.
    pub tunnel_home: Option<Tunnel>,
}

/// A release on trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trial<const COMPONENTS: usize> {
    /// What is tried.
    pub target: Target<COMPONENTS>,
    /// Whether anything that ran before may have been disturbed.
    pub started: bool,
    /// Boots since it was started.
    pub boots: u8,
}

/// A release that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Rejected {
    /// [`Target::id`]: exactly this is not tried again.
    pub id: Digest,
    /// Its release.
    pub release: Digest,
    /// Why.
    pub reason: Reason,
}

/// What the device runs, tries and has given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct State<const COMPONENTS: usize> {
    /// What it goes back to.
    pub committed: Option<Target<COMPONENTS>>,
    /// What it tries.
    pub trial: Option<Trial<COMPONENTS>>,
    /// What it gave up last.
    pub rejected: Option<Rejected>,
    /// The highest command carried out.
    pub command: u64,
}

impl<const COMPONENTS: usize> State<COMPONENTS> {
    /// Nothing at all.
    pub const fn new() -> Self {
        Self {
            committed: None,
            trial: None,
            rejected: None,
            command: 0,
        }
    }
}

impl<const COMPONENTS: usize> Default for State<COMPONENTS> {
    fn default() -> Self {
        Self::new()
    }
}

/// What a device without a clock knows of the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Clock {
    /// It is certainly later than this.
    pub floor: UnixTime,
    /// Tunnel handshakes of this life bear later timestamps than this; raised at each boot, so that none is repeated (WireGuard paper, section 5.1).
    pub handshake: UnixTime,
    /// Boots so far.
    pub boots: u32,
}

/// A record to be saved; its bytes are made by [`encode`](Self::encode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RecordRef<'a> {
    /// See [`Identity`].
    Identity(&'a Identity),
    /// See [`TrustState`].
    Trust(&'a TrustState),
    /// See [`State`].
    State(StateRef<'a>),
    /// See [`Clock`].
    Clock(&'a Clock),
}

/// A [`State`] of any number of components.
#[derive(Clone, Copy)]
pub struct StateRef<'a>(&'a dyn Encode);

impl<'a> StateRef<'a> {
    /// Borrows a state.
    pub fn new<const COMPONENTS: usize>(state: &'a State<COMPONENTS>) -> Self {
        Self(state)
    }
}

impl core::fmt::Debug for StateRef<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("State")
    }
}

impl PartialEq for StateRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::addr_eq(self.0, other.0)
    }
}

impl Eq for StateRef<'_> {}

#[cfg(feature = "defmt")]
impl defmt::Format for StateRef<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "State");
    }
}

/// The memory given is too short; [`RECORD_BYTES`](crate::limits::RECORD_BYTES) is always enough for 32 components.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NoRoom;

impl core::fmt::Display for NoRoom {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the record does not fit the memory given for it")
    }
}

impl core::error::Error for NoRoom {}

fields!(Identity {
    uuid,
    api_key,
    api_key_pending,
    wireguard,
    wireguard_pending,
    registered,
    tunnel,
    api_key_rotated,
    wireguard_rotated,
    rotation_ordered,
    rotation_ordered_next,
    tunnel_pending,
    tunnel_home,
});
fields!(Trial<const COMPONENTS> { target, started, boots });
fields!(Rejected {
    id,
    release,
    reason
});
fields!(State<const COMPONENTS> { committed, trial, rejected, command });
fields!(Clock {
    floor,
    handshake,
    boots
});

impl Encode for StoredKey {
    fn encode(&self, to: &mut Writer<'_>) {
        match self {
            Self::Inside(secret) => {
                to.byte(0);
                secret.encode(to);
            }
            Self::Outside(slot, public) => {
                to.byte(1);
                to.byte(*slot);
                public.encode(to);
            }
        }
    }
}

impl Decode<'_> for StoredKey {
    fn decode(from: &mut Reader<'_>) -> Self {
        match from.tag(2) {
            0 => Self::Inside(SecretKey::decode(from)),
            _ => Self::Outside(from.byte(), PublicKey::decode(from)),
        }
    }
}

/// 1: the first. 2: the identity has two more fields. 3: and one more.
const VERSION: u8 = 3;
const OLDEST_READER: u8 = 1;
const HEAD: usize = 7;

impl RecordRef<'_> {
    /// Which record it is.
    pub const fn kind(&self) -> Record {
        match self {
            Self::Identity(_) => Record::Identity,
            Self::Trust(_) => Record::Trust,
            Self::State(_) => Record::State,
            Self::Clock(_) => Record::Clock,
        }
    }

    /// Writes the record's bytes and returns how many there are.
    ///
    /// # Errors
    ///
    /// [`NoRoom`]; nothing may be saved then.
    #[inline(never)]
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, NoRoom> {
        let (head, body) = out.split_at_mut_checked(HEAD).ok_or(NoRoom)?;
        let mut writer = Writer::new(body);
        match self {
            Self::Identity(identity) => identity.encode(&mut writer),
            Self::Trust(trust) => trust.encode(&mut writer),
            Self::State(state) => state.0.encode(&mut writer),
            Self::Clock(clock) => clock.encode(&mut writer),
        }
        let len = writer.end().ok_or(NoRoom)?;
        head[..3].copy_from_slice(&[VERSION, OLDEST_READER, self.kind().index() as u8]);
        let sum = checksum(&head[..3], &body[..len]);
        head[3..].copy_from_slice(&sum);
        Ok(HEAD + len)
    }
}

fn checksum(head: &[u8], body: &[u8]) -> [u8; 4] {
    let digest = Digest::of(body).chain(head);
    [digest.0[0], digest.0[1], digest.0[2], digest.0[3]]
}

/// Reads the body of a record that is whole and may be read; and the layout that it has.
fn open(record: Record, bytes: &[u8]) -> Result<(Reader<'_>, u8), Unreadable> {
    let (head, body) = bytes.split_at_checked(HEAD).ok_or(Unreadable::Torn)?;
    if checksum(&head[..3], body) != head[3..] || usize::from(head[2]) != record.index() {
        return Err(Unreadable::Torn);
    }
    if head[1] > VERSION {
        return Err(Unreadable::Newer);
    }
    let layout = head[0];
    let reader = if layout < VERSION {
        Reader::padded(body)
    } else {
        Reader::new(body)
    };
    Ok((reader, layout))
}

/// Whether all of a body was read, as far as its layout is known; `broken` is what it means when it does not decode.
#[inline(never)]
fn close(reader: Reader<'_>, layout: u8, broken: Unreadable) -> Result<(), Unreadable> {
    match reader.end() {
        Some(rest) if rest.is_empty() || layout > VERSION => Ok(()),
        Some(_) => Err(Unreadable::Torn),
        None => Err(broken),
    }
}

/// Reads a saved record: `Identity`, `TrustState`, `State` or `Clock`.
///
/// # Errors
///
/// [`Unreadable`]; the bytes should then be left where they are.
pub fn decode<T: Saveable>(bytes: &[u8]) -> Result<T, Unreadable> {
    let (mut reader, layout) = open(T::RECORD, bytes)?;
    let value = T::decode(&mut reader);
    close(reader, layout, T::BROKEN).map(|()| value)
}

/// As [`decode`], handing over what was read: large as it is, it is then moved once.
pub(crate) fn decode_to<T: Saveable>(bytes: &[u8], keep: impl FnOnce(T)) -> Result<(), Unreadable> {
    let (mut reader, layout) = open(T::RECORD, bytes)?;
    let value = T::decode(&mut reader);
    close(reader, layout, T::BROKEN)?;
    keep(value);
    Ok(())
}

/// A record that [`decode`] can read.
pub trait Saveable: for<'a> Decode<'a> {
    /// Which record it is.
    const RECORD: Record;
    /// What it means when whole bytes do not decode.
    const BROKEN: Unreadable = Unreadable::Torn;
}

impl Saveable for Identity {
    const RECORD: Record = Record::Identity;
}

impl Saveable for TrustState {
    const RECORD: Record = Record::Trust;
}

impl<const COMPONENTS: usize> Saveable for State<COMPONENTS> {
    const RECORD: Record = Record::State;
    /// The checksum holds, so the one thing that can be wrong is the number of components.
    const BROKEN: Unreadable = Unreadable::TooManyComponents;
}

impl Saveable for Clock {
    const RECORD: Record = Record::Clock;
}

/// The saved records, as the platform found them at boot; `None` is one that was never saved.
#[derive(Clone, Copy, Debug, Default)]
pub struct Saved<'a> {
    /// Bytes of [`Identity`].
    pub identity: Option<&'a [u8]>,
    /// Bytes of [`TrustState`].
    pub trust: Option<&'a [u8]>,
    /// Bytes of [`State`].
    pub state: Option<&'a [u8]>,
    /// Bytes of [`Clock`].
    pub clock: Option<&'a [u8]>,
}
