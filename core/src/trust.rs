//! Who may say what: root, release and director (design, section 3.3).
//!
//! Uptane's roles with TUF's rules (TUF specification 1.0, sections 5 and 6; Uptane standard 2.1) in a compact encoding.
//!
//! What must stay true:
//! - signatures are verified over the received bytes before anything in them is decoded;
//! - counters, floors, the root version and the time floor only rise, but for the one exception of [`Trust::accept_root`], where the offline root says so;
//! - nothing here stores or sends: the caller saves a [`TrustState`] before it acts on what was accepted.
//!
//! The rules are generic over [`Codec`], which only takes bytes apart, so that the same rules can be judged with another encoding.

mod accept;
mod document;
mod envelope;
#[cfg(test)]
mod tests;

pub use accept::{Accepted, Trust, TrustState};
pub use document::{
    Assignment, AssignmentHead, Codec, Compact, ReleaseHead, ReleaseReader, Role, RoleKeys, Root,
    encode_assignment, encode_release, encode_root,
};
pub use envelope::{Envelope, SIGNATURE_BYTES, Signatures, seal};

use serde::{Deserialize, Serialize};

use crate::codec::{Decode, Encode, Reader, Writer};
use crate::target::Malformation;

/// Why a document was refused. Each is something that only a faulty or hostile peer causes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[serde(rename_all = "kebab-case")]
pub enum Offence {
    /// Longer than [`DOCUMENT_BYTES`](crate::limits::DOCUMENT_BYTES).
    TooLarge,
    /// Not an envelope, or the payload is not what its role calls for.
    Undecodable,
    /// Bytes follow the end of the document.
    TrailingBytes,
    /// An encoding that this agent does not know.
    UnknownVersion,
    /// The payload says that it is of another role.
    WrongRole,
    /// More signatures than [`SIGNATURES`](crate::limits::SIGNATURES).
    TooManySignatures,
    /// Fewer valid signatures by different keys of the role than its threshold asks for.
    UnderThreshold,
    /// A threshold of zero, or above the number of keys.
    ImpossibleThreshold,
    /// The root does not follow the one that is trusted: not exactly one version later.
    RootOutOfOrder,
    /// The root document is past its end, as far as the device knows the time.
    RootExpired,
    /// The assignment is for another device.
    OtherDevice,
    /// The assignment's counter is lower than one seen before (rollback).
    CounterReplayed,
    /// The counter is the same as before, but the assignment is another (equivocation).
    CounterReused,
    /// The assignment was issued or ends before the time floor (freeze, replay).
    AssignmentExpired,
    /// The release is not the one that the director assigned (mix-and-match).
    OtherRelease,
    /// The release is for another device type (wrong software).
    OtherDeviceType,
    /// The release is for another product.
    OtherProduct,
    /// The release's security version is below the floor (rollback).
    BelowFloor,
    /// More components than this agent has room for.
    TooManyComponents,
    /// Settings for a component that is not there, or twice for one.
    StraySettings,
    /// The components cannot be a release.
    Components(Malformation),
}

impl Offence {
    /// All without content, in the order in which they are declared; the one with content comes last.
    const PLAIN: [Self; 20] = [
        Self::TooLarge,
        Self::Undecodable,
        Self::TrailingBytes,
        Self::UnknownVersion,
        Self::WrongRole,
        Self::TooManySignatures,
        Self::UnderThreshold,
        Self::ImpossibleThreshold,
        Self::RootOutOfOrder,
        Self::RootExpired,
        Self::OtherDevice,
        Self::CounterReplayed,
        Self::CounterReused,
        Self::AssignmentExpired,
        Self::OtherRelease,
        Self::OtherDeviceType,
        Self::OtherProduct,
        Self::BelowFloor,
        Self::TooManyComponents,
        Self::StraySettings,
    ];
}

impl Encode for Offence {
    fn encode(&self, to: &mut Writer<'_>) {
        let tag = Self::PLAIN.iter().position(|plain| plain == self);
        to.byte(tag.unwrap_or(Self::PLAIN.len()) as u8);
        if let Self::Components(malformation) = self {
            malformation.encode(to);
        }
    }
}

impl Decode<'_> for Offence {
    fn decode(from: &mut Reader<'_>) -> Self {
        let tag = from.tag(Self::PLAIN.len() as u8 + 1);
        match Self::PLAIN.get(usize::from(tag)) {
            Some(plain) => *plain,
            None => Self::Components(Malformation::decode(from)),
        }
    }
}
