//! The three documents and how their bytes are taken apart.
//!
//! Every payload starts with `LS`, one byte of format and one byte of role, and goes on in postcard; nothing may follow.

use heapless::Vec;
use serde::{Deserialize, Serialize};

use super::{Envelope, Offence};
use crate::codec::{Decode, Encode, Reader, Writer, fields};
use crate::id::{Digest, Name, PublicKey, Uuid, Version};
use crate::limits::ROOT_KEYS;
use crate::target::{self, Component};
use crate::time::UnixTime;

const MAGIC: [u8; 2] = *b"LS";
const FORMAT: u8 = 1;

/// Who signs (TUF's and Uptane's roles).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Offline; says which keys hold which role.
    Root,
    /// The publisher; says what a release is.
    Release,
    /// The fleet server; says which device runs which release.
    Director,
}

impl Role {
    const fn tag(self) -> u8 {
        match self {
            Self::Root => 1,
            Self::Release => 2,
            Self::Director => 3,
        }
    }
}

/// The keys of one role and how many of them must sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct RoleKeys {
    /// Bit `i` is set when key `i` of [`Root::keys`] holds this role.
    pub members: u8,
    /// How many different keys must sign; at least 1.
    pub threshold: u8,
}

impl RoleKeys {
    /// Whether the threshold can be met at all by the first `keys` keys.
    #[inline(never)]
    pub fn is_possible(self, keys: usize) -> bool {
        // At most eight keys: the ninth bit is not there.
        let listed = ((1u16 << keys.min(ROOT_KEYS)) - 1) as u8;
        self.members & !listed == 0
            && self.threshold > 0
            && u32::from(self.threshold) <= self.members.count_ones()
    }
}

/// Which keys hold which role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Root {
    /// Counts from 1; each new root is exactly one higher.
    pub version: u32,
    /// When it was signed.
    pub issued: UnixTime,
    /// When it must have been replaced.
    pub expires: UnixTime,
    /// The lowest security version that a device with this root accepts.
    ///
    /// When the release keys change, the floor starts again from here, so that a stolen release key cannot lock a fleet out for ever.
    pub floor: u32,
    /// All keys, Ed25519.
    pub keys: Vec<PublicKey, ROOT_KEYS>,
    /// Who signs the next root.
    pub root: RoleKeys,
    /// Who signs releases.
    pub release: RoleKeys,
    /// Who signs assignments.
    pub director: RoleKeys,
}

impl Root {
    /// The keys of a role.
    pub const fn role(&self, role: Role) -> RoleKeys {
        match role {
            Role::Root => self.root,
            Role::Release => self.release,
            Role::Director => self.director,
        }
    }

    /// Whether a role is held by the same keys in `other`, whatever their order.
    pub fn same_holders(&self, other: &Self, role: Role) -> bool {
        self.holders_within(other, role) && other.holders_within(self, role)
    }

    fn holders(&self, role: Role) -> impl Iterator<Item = &PublicKey> {
        let members = self.role(role).members;
        let keys = self.keys.iter().enumerate();
        keys.filter(move |(i, _)| members & 1 << i != 0)
            .map(|(_, key)| key)
    }

    fn holders_within(&self, other: &Self, role: Role) -> bool {
        self.holders(role)
            .all(|key| other.holders(role).any(|o| o == key))
    }
}

/// What a release says of itself before its components.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ReleaseHead {
    /// What it is a release of.
    pub product: Name,
    /// What it runs on.
    pub device_type: Name,
    /// For people.
    pub version: Version,
    /// Compared with the floor; rises when a release mends a weakness.
    pub security_version: u32,
    /// Once this release is committed, nothing with a lower security version is accepted.
    pub floor: u32,
    /// When it was signed.
    pub issued: UnixTime,
    /// Seconds within which a trial must have reached the fleet, if it must.
    pub reach_fleet_s: Option<u16>,
}

/// What an assignment says of itself before its settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AssignmentHead {
    /// For this device alone.
    pub device: Uuid,
    /// Never lower than any before.
    pub counter: u64,
    /// When it was signed; raises the device's time floor.
    pub issued: UnixTime,
    /// When a device that got nothing newer must suspect that it is being kept from it.
    pub expires: UnixTime,
    /// SHA-256 digest of the release's payload.
    pub release: Digest,
    /// A person raises it to have a rejected release tried again.
    pub attempt: u32,
    /// Whether update locks are overridden.
    pub override_locks: bool,
}

fields!(RoleKeys { members, threshold });
fields!(Root {
    version,
    issued,
    expires,
    floor,
    keys,
    root,
    release,
    director
});
fields!(ReleaseHead {
    product,
    device_type,
    version,
    security_version,
    floor,
    issued,
    reach_fleet_s,
});
fields!(AssignmentHead {
    device,
    counter,
    issued,
    expires,
    release,
    attempt,
    override_locks
});

/// A decoded assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment<const COMPONENTS: usize> {
    /// All but the settings.
    pub head: AssignmentHead,
    /// Component position and digest of its settings, in rising order of position.
    pub settings: Vec<(u8, Digest), COMPONENTS>,
}

/// Takes documents apart. Nothing here decides whether a document is to be believed.
pub trait Codec {
    /// Splits signatures from the signed bytes.
    ///
    /// # Errors
    ///
    /// An [`Offence`] when the bytes are not an envelope of this encoding.
    fn open<'a>(&self, bytes: &'a [u8]) -> Result<Envelope<'a>, Offence>;

    /// Decodes a verified root payload.
    ///
    /// # Errors
    ///
    /// An [`Offence`] when it is not a root.
    fn root(&self, payload: &[u8]) -> Result<Root, Offence>;

    /// Decodes a verified assignment payload.
    ///
    /// # Errors
    ///
    /// An [`Offence`] when it is not an assignment, or has settings for more than `COMPONENTS` components.
    fn assignment<const COMPONENTS: usize>(
        &self,
        payload: &[u8],
    ) -> Result<Assignment<COMPONENTS>, Offence>;

    /// Decodes the head of a verified release payload; its components are read one by one.
    ///
    /// # Errors
    ///
    /// An [`Offence`] when it is not a release.
    fn release<'a>(&self, payload: &'a [u8]) -> Result<(ReleaseHead, ReleaseReader<'a>), Offence>;
}

/// The encoding devices use: postcard behind four bytes of magic.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compact;

// Parts of one judgement whose frames are large are functions of their own: an instruction reaches only so far into a frame.
impl Codec for Compact {
    fn open<'a>(&self, bytes: &'a [u8]) -> Result<Envelope<'a>, Offence> {
        Envelope::open(bytes)
    }

    fn root(&self, payload: &[u8]) -> Result<Root, Offence> {
        let mut from = body(payload, Role::Root)?;
        let root = Root::decode(&mut from);
        finish(from)?;
        Ok(root)
    }

    #[inline(never)]
    fn assignment<const COMPONENTS: usize>(
        &self,
        payload: &[u8],
    ) -> Result<Assignment<COMPONENTS>, Offence> {
        let mut from = body(payload, Role::Director)?;
        let head = AssignmentHead::decode(&mut from);
        let mut settings = Vec::<(u8, Digest), COMPONENTS>::new();
        for _ in 0..from.byte() {
            let entry = Decode::decode(&mut from);
            if from.is_broken() {
                break;
            }
            let (position, _) = entry;
            if settings.last().is_some_and(|last| last.0 >= position) {
                return Err(Offence::StraySettings);
            }
            settings.push(entry).map_err(|_| Offence::StraySettings)?;
        }
        finish(from)?;
        Ok(Assignment { head, settings })
    }

    fn release<'a>(&self, payload: &'a [u8]) -> Result<(ReleaseHead, ReleaseReader<'a>), Offence> {
        let mut from = body(payload, Role::Release)?;
        let head = ReleaseHead::decode(&mut from);
        let left = from.byte();
        let bytes = from.end().ok_or(Offence::Undecodable)?;
        Ok((head, ReleaseReader { left, bytes }))
    }
}

/// Reads the components of a release, so that one with many needs no more memory than one with few.
#[derive(Clone, Debug)]
pub struct ReleaseReader<'a> {
    left: u8,
    bytes: &'a [u8],
}

impl ReleaseReader<'_> {
    /// Reads all components and checks that they can be a release.
    ///
    /// # Errors
    ///
    /// [`Offence::TooManyComponents`], [`Offence::Components`], or a decoding error.
    pub fn components<const COMPONENTS: usize>(
        self,
    ) -> Result<Vec<Component, COMPONENTS>, Offence> {
        let mut all = Vec::new();
        self.all(&mut all)?;
        Ok(all)
    }

    /// Reads all components as [`components`](Self::components) does, as they are or as parts of a target, to where they stay.
    #[inline(never)]
    pub(super) fn all<T: From<Component> + AsRef<Component>, const COMPONENTS: usize>(
        self,
        all: &mut Vec<T, COMPONENTS>,
    ) -> Result<(), Offence> {
        if usize::from(self.left) > COMPONENTS {
            return Err(Offence::TooManyComponents);
        }
        let mut from = Reader::new(self.bytes);
        for _ in 0..self.left {
            let component = Component::decode(&mut from);
            if from.is_broken() {
                break;
            }
            if component.settings.is_some() {
                return Err(Offence::StraySettings);
            }
            all.push(component.into())
                .map_err(|_| Offence::TooManyComponents)?;
        }
        finish(from)?;
        target::check(all).map_err(Offence::Components)
    }
}

/// What follows the magic, if the payload is of this role.
fn body(payload: &[u8], role: Role) -> Result<Reader<'_>, Offence> {
    let [m0, m1, format, tag, rest @ ..] = payload else {
        return Err(Offence::Undecodable);
    };
    if [*m0, *m1] != MAGIC {
        return Err(Offence::Undecodable);
    }
    if *format != FORMAT {
        return Err(Offence::UnknownVersion);
    }
    if *tag != role.tag() {
        return Err(Offence::WrongRole);
    }
    Ok(Reader::new(rest))
}

fn finish(from: Reader<'_>) -> Result<(), Offence> {
    match from.end() {
        None => Err(Offence::Undecodable),
        Some([]) => Ok(()),
        Some(_) => Err(Offence::TrailingBytes),
    }
}

/// Starts a payload of this role.
fn start(role: Role, out: &mut [u8]) -> Writer<'_> {
    let mut to = Writer::new(out);
    for byte in [MAGIC[0], MAGIC[1], FORMAT, role.tag()] {
        to.byte(byte);
    }
    to
}

fn put_count(count: usize, to: &mut Writer<'_>) -> Result<(), Offence> {
    to.byte(u8::try_from(count).map_err(|_| Offence::TooManyComponents)?);
    Ok(())
}

/// Writes the payload of a root document and returns its length. Sign it and [`seal`](super::seal) it.
///
/// # Errors
///
/// [`Offence::TooLarge`] when `out` is too short.
pub fn encode_root(root: &Root, out: &mut [u8]) -> Result<usize, Offence> {
    let mut to = start(Role::Root, out);
    root.encode(&mut to);
    to.end().ok_or(Offence::TooLarge)
}

/// Writes the payload of a release document and returns its length. Sign it and [`seal`](super::seal) it.
///
/// # Errors
///
/// [`Offence::TooLarge`] when `out` is too short, [`Offence::Components`] and [`Offence::StraySettings`] when no device would accept it.
pub fn encode_release(
    head: &ReleaseHead,
    components: &[Component],
    out: &mut [u8],
) -> Result<usize, Offence> {
    target::check(components).map_err(Offence::Components)?;
    let mut to = start(Role::Release, out);
    head.encode(&mut to);
    put_count(components.len(), &mut to)?;
    for component in components {
        if component.settings.is_some() {
            return Err(Offence::StraySettings);
        }
        component.encode(&mut to);
    }
    to.end().ok_or(Offence::TooLarge)
}

/// Writes the payload of an assignment and returns its length. Sign it and [`seal`](super::seal) it.
///
/// `settings` holds component positions in rising order.
///
/// # Errors
///
/// [`Offence::TooLarge`] when `out` is too short, [`Offence::StraySettings`] when positions do not rise.
pub fn encode_assignment(
    head: &AssignmentHead,
    settings: &[(u8, Digest)],
    out: &mut [u8],
) -> Result<usize, Offence> {
    if !settings.is_sorted_by(|a, b| a.0 < b.0) {
        return Err(Offence::StraySettings);
    }
    let mut to = start(Role::Director, out);
    head.encode(&mut to);
    put_count(settings.len(), &mut to)?;
    for entry in settings {
        entry.encode(&mut to);
    }
    to.end().ok_or(Offence::TooLarge)
}
