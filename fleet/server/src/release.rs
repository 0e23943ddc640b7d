//! What the server reads of documents that others signed.
//!
//! It checks what a device would check, so that a mistake is found when a document is uploaded
//! and not on ten thousand devices; what a device believes does not depend on it.

use lightship_core::id::PublicKey;
use lightship_core::target::Component;
use lightship_core::trust::{Codec as _, Compact, Envelope, Offence, ReleaseHead, Role, Root};

/// The largest release that the server takes: what the director and a signed document hold.
pub(crate) const COMPONENTS: usize = lightship_director::limits::COMPONENTS;

/// Takes the payload of a release document apart.
pub(crate) fn read(payload: &[u8]) -> Result<(ReleaseHead, Vec<Component>), Offence> {
    let (head, reader) = Compact.release(payload)?;
    Ok((
        head,
        reader.components::<COMPONENTS>()?.into_iter().collect(),
    ))
}

/// Takes a release document apart that the publisher named by `root` must have signed.
pub(crate) fn verified(
    document: &[u8],
    root: &Root,
) -> Result<(Vec<u8>, ReleaseHead, Vec<Component>), Offence> {
    let envelope = Envelope::open(document)?;
    envelope.verify(root, root.release)?;
    let (head, components) = read(envelope.payload)?;
    Ok((envelope.payload.to_vec(), head, components))
}

/// Reads a root document; whether it is to be believed is another question.
pub(crate) fn root(document: &[u8]) -> Result<Root, Offence> {
    Compact.root(Envelope::open(document)?.payload)
}

/// Judges the next root of a fleet: signed by its own threshold and by that of the one before,
/// exactly one version higher, and naming `director` as a key that can sign assignments alone.
pub(crate) fn next_root(
    document: &[u8],
    before: Option<&Root>,
    director: &PublicKey,
) -> Result<Root, String> {
    let envelope = Envelope::open(document).map_err(words)?;
    let root = Compact.root(envelope.payload).map_err(words)?;
    let expected = before.map_or(1, |before| before.version.saturating_add(1));
    if root.version != expected {
        return Err(format!(
            "version {expected} is expected, this is version {}",
            root.version
        ));
    }
    for role in [Role::Root, Role::Release, Role::Director] {
        if !root.role(role).is_possible(root.keys.len()) {
            return Err(format!("the threshold of {role:?} cannot be met"));
        }
    }
    envelope
        .verify(&root, root.root)
        .map_err(|_| "not signed by its own root keys".to_owned())?;
    if let Some(before) = before {
        envelope
            .verify(before, before.root)
            .map_err(|_| "not signed by the root keys of the version before".to_owned())?;
    }
    let keys = root.keys.iter().enumerate();
    let named = keys
        .filter(|(_, key)| *key == director)
        .any(|(at, _)| root.director.members & (1 << at) != 0);
    if !named || root.director.threshold != 1 {
        return Err(format!(
            "the director role must be this server's key {director} with threshold 1"
        ));
    }
    Ok(root)
}

/// An offence for people.
pub(crate) fn words(offence: Offence) -> String {
    format!("a device would refuse this document: {offence:?}")
}
