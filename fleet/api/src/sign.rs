//! Signing where the keys are (design, section 3.3).
//!
//! Root and release documents are made here, from keys that the caller holds in memory: on a developer's machine, in CI, on a machine without a network.
//! The documents are those of [`lightship_core::trust`]; nothing here decides whether one is to be believed but by asking that module.

use ed25519_dalek::{Signer as _, SigningKey};
use lightship_core::id::{KeyId, PublicKey};
use lightship_core::limits::{DOCUMENT_BYTES, ROOT_KEYS};
use lightship_core::target::Component;
use lightship_core::time::UnixTime;
use lightship_core::trust::{
    Envelope, Offence, ReleaseHead, Role, RoleKeys, Root, encode_release, encode_root, seal,
};

/// An Ed25519 private key (RFC 8032). Erased from memory when dropped, never printed.
pub struct Signer(SigningKey);

impl Signer {
    /// The key made of these 32 bytes.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// What verifies its signatures.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn entry(&self, payload: &[u8]) -> (KeyId, [u8; 64]) {
        (KeyId::of(&self.public()), self.0.sign(payload).to_bytes())
    }
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", KeyId::of(&self.public()))
    }
}

/// Who holds a role, and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holders {
    /// Different keys; at least one.
    pub keys: Vec<PublicKey>,
    /// 1 to as many as there are keys.
    pub threshold: u8,
}

/// A root document to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRoot {
    /// 1, or one more than the one before.
    pub version: u32,
    /// Now.
    pub issued: UnixTime,
    /// When it must have been replaced.
    pub expires: UnixTime,
    /// The lowest security version that devices accept.
    pub floor: u32,
    /// Who signs roots; kept offline.
    pub root: Holders,
    /// Who signs releases; kept where releases are made.
    pub release: Holders,
    /// Who signs assignments: the fleet server.
    pub director: Holders,
}

/// Why keys cannot be a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRoot {
    /// More keys in all than a document lists.
    #[error("a root lists at most {ROOT_KEYS} different keys")]
    TooManyKeys,
    /// A threshold of zero, or above the number of different keys.
    #[error("the threshold of {role} must be between 1 and the number of its keys")]
    Threshold {
        /// Whose.
        role: &'static str,
    },
    /// The server's key would be able to sign more than assignments.
    #[error("the director's key is on the server: it must not hold another role")]
    DirectorHoldsAnotherRole,
    /// It ends before it begins.
    #[error("the root must expire after it is issued")]
    Expired,
}

impl NewRoot {
    /// The root, if its keys and thresholds can be one.
    ///
    /// # Errors
    ///
    /// A [`BadRoot`].
    pub fn make(&self) -> Result<Root, BadRoot> {
        if self.expires <= self.issued {
            return Err(BadRoot::Expired);
        }
        let mut others = self.root.keys.iter().chain(&self.release.keys);
        if others.any(|key| self.director.keys.contains(key)) {
            return Err(BadRoot::DirectorHoldsAnotherRole);
        }
        let none = RoleKeys {
            members: 0,
            threshold: 0,
        };
        let mut root = Root {
            version: self.version,
            issued: self.issued,
            expires: self.expires,
            floor: self.floor,
            keys: Default::default(),
            root: none,
            release: none,
            director: none,
        };
        root.root = enter(&mut root, &self.root, "root")?;
        root.release = enter(&mut root, &self.release, "release")?;
        root.director = enter(&mut root, &self.director, "director")?;
        Ok(root)
    }
}

/// Lists the keys of a role in the root.
fn enter(root: &mut Root, holders: &Holders, role: &'static str) -> Result<RoleKeys, BadRoot> {
    let mut members = 0;
    for key in &holders.keys {
        let known = root.keys.iter().position(|listed| listed == key);
        let position = match known {
            Some(position) => position,
            None => {
                root.keys.push(*key).map_err(|_| BadRoot::TooManyKeys)?;
                root.keys.len() - 1
            }
        };
        members |= 1 << position;
    }
    let keys = RoleKeys {
        members,
        threshold: holders.threshold,
    };
    if keys.is_possible(root.keys.len()) {
        Ok(keys)
    } else {
        Err(BadRoot::Threshold { role })
    }
}

/// The keys that hold a role.
#[must_use]
pub fn holders(root: &Root, role: Role) -> Holders {
    let RoleKeys { members, threshold } = root.role(role);
    let keys = root.keys.iter().enumerate();
    let keys = keys.filter(|(position, _)| members & 1 << position != 0);
    Holders {
        keys: keys.map(|(_, key)| *key).collect(),
        threshold,
    }
}

/// The payload of a root document.
///
/// # Errors
///
/// An [`Offence`] when no device would accept it.
pub fn root_payload(root: &Root) -> Result<Vec<u8>, Offence> {
    filled(|out| encode_root(root, out))
}

/// The payload of a release document.
///
/// # Errors
///
/// An [`Offence`] when no device would accept it.
pub fn release_payload(head: &ReleaseHead, components: &[Component]) -> Result<Vec<u8>, Offence> {
    filled(|out| encode_release(head, components, out))
}

fn filled(write: impl FnOnce(&mut [u8]) -> Result<usize, Offence>) -> Result<Vec<u8>, Offence> {
    let mut out = vec![0; DOCUMENT_BYTES];
    let len = write(&mut out)?;
    out.truncate(len);
    Ok(out)
}

/// The document: the payload and the signatures of these keys; none is allowed, for others to sign elsewhere.
///
/// # Errors
///
/// An [`Offence`] when there are too many, or the document is too large.
pub fn sign(payload: &[u8], signers: &[Signer]) -> Result<Vec<u8>, Offence> {
    let mut entries = Vec::new();
    for signer in signers {
        add(&mut entries, signer.entry(payload));
    }
    filled(|out| seal(payload, &entries, out))
}

/// The document with one more signature, or with a new one by a key that had signed it.
///
/// # Errors
///
/// An [`Offence`] when it is no document, or there are too many signatures.
pub fn attach(document: &[u8], signer: &Signer) -> Result<Vec<u8>, Offence> {
    let envelope = Envelope::open(document)?;
    let mut entries = entries(&envelope);
    add(&mut entries, signer.entry(envelope.payload));
    filled(|out| seal(envelope.payload, &entries, out))
}

/// The document with the signatures of both copies: how one that was signed elsewhere comes home.
///
/// # Errors
///
/// [`Offence::OtherRelease`] when they are not copies of the same payload, or another [`Offence`].
pub fn merge(document: &[u8], other: &[u8]) -> Result<Vec<u8>, Offence> {
    let (mine, theirs) = (Envelope::open(document)?, Envelope::open(other)?);
    if mine.payload != theirs.payload {
        return Err(Offence::OtherRelease);
    }
    let mut all = entries(&mine);
    entries(&theirs)
        .into_iter()
        .for_each(|entry| add(&mut all, entry));
    filled(|out| seal(mine.payload, &all, out))
}

fn entries(envelope: &Envelope<'_>) -> Vec<(KeyId, [u8; 64])> {
    let all = envelope.signatures();
    all.map(|(id, signature)| (id, *signature)).collect()
}

fn add(entries: &mut Vec<(KeyId, [u8; 64])>, entry: (KeyId, [u8; 64])) {
    entries.retain(|(id, _)| *id != entry.0);
    entries.push(entry);
}

/// Which of these keys signed the document validly.
///
/// # Errors
///
/// An [`Offence`] when it is no document.
pub fn signed_by(document: &[u8], keys: &[PublicKey]) -> Result<Vec<PublicKey>, Offence> {
    let envelope = Envelope::open(document)?;
    let signed = |key: &&PublicKey| {
        let alone = RoleKeys {
            members: 1,
            threshold: 1,
        };
        let mut root = Root {
            version: 0,
            issued: UnixTime(0),
            expires: UnixTime(0),
            floor: 0,
            keys: Default::default(),
            root: alone,
            release: alone,
            director: alone,
        };
        root.keys.push(**key).is_ok() && envelope.verify(&root, alone).is_ok()
    };
    Ok(keys.iter().filter(signed).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lightship_core::id::{Digest, Name, Uuid, Version};
    use lightship_core::target::{Artifact, Health, Kind, Mode, Strategy};
    use lightship_core::trust::{AssignmentHead, Compact, Trust, TrustState, encode_assignment};

    fn signer(seed: u8) -> Signer {
        Signer::from_seed(&[seed; 32])
    }

    fn held_by(seeds: &[u8], threshold: u8) -> Holders {
        Holders {
            keys: seeds.iter().map(|seed| signer(*seed).public()).collect(),
            threshold,
        }
    }

    /// Two of three for the root, one for releases, one for the director.
    fn new_root(version: u32) -> NewRoot {
        NewRoot {
            version,
            issued: UnixTime(1000),
            expires: UnixTime(9000),
            floor: 0,
            root: held_by(&[1, 2, 3], 2),
            release: held_by(&[4], 1),
            director: held_by(&[5], 1),
        }
    }

    fn document(new: &NewRoot, seeds: &[u8]) -> Vec<u8> {
        let payload = root_payload(&new.make().unwrap()).unwrap();
        let signers: Vec<_> = seeds.iter().map(|seed| signer(*seed)).collect();
        sign(&payload, &signers).unwrap()
    }

    fn release() -> Vec<u8> {
        let head = ReleaseHead {
            product: Name::new("harbour").unwrap(),
            device_type: Name::new("pi").unwrap(),
            version: Version::new("1.0.0").unwrap(),
            security_version: 1,
            floor: 0,
            issued: UnixTime(1000),
            reach_fleet_s: None,
        };
        let component = Component {
            name: Name::new("web").unwrap(),
            kind: Kind::Container,
            artifact: Artifact {
                digest: Digest([1; 32]),
                size: 9,
            },
            spec: Digest([2; 32]),
            settings: None,
            mode: Mode::Service,
            strategy: Strategy::DownloadThenKill,
            health: Health::default(),
            after: Default::default(),
        };
        release_payload(&head, &[component]).unwrap()
    }

    #[test]
    fn a_device_believes_a_root_that_enough_of_its_keys_signed_wherever_they_are() {
        let here = document(&new_root(1), &[1]);
        assert_eq!(
            TrustState::first_root(&Compact, &here),
            Err(Offence::UnderThreshold)
        );
        let elsewhere = attach(&document(&new_root(1), &[]), &signer(3)).unwrap();
        let whole = merge(&here, &elsewhere).unwrap();
        assert!(TrustState::first_root(&Compact, &whole).is_ok());
        let twice = attach(&here, &signer(1)).unwrap();
        assert_eq!(
            TrustState::first_root(&Compact, &twice),
            Err(Offence::UnderThreshold)
        );
        let all = held_by(&[1, 2, 3], 2).keys;
        assert_eq!(signed_by(&whole, &all).unwrap(), [all[0], all[2]]);
        let other = document(&new_root(2), &[1]);
        assert_eq!(merge(&here, &other), Err(Offence::OtherRelease));
    }

    #[test]
    fn a_rotated_root_is_accepted_and_so_is_a_release_by_the_new_key_and_no_other() {
        let first = TrustState::first_root(&Compact, &document(&new_root(1), &[1, 2])).unwrap();
        let state = TrustState::new(first);
        let (device_type, product) = (Name::new("pi").unwrap(), Name::new("harbour").unwrap());
        let device = Uuid::from_random([9; 16]);
        let trust = |state| Trust {
            codec: Compact,
            state,
            device,
            device_type: &device_type,
            product: &product,
            clock: None,
        };
        let mut next = new_root(2);
        next.release = held_by(&[6], 1);
        next.root = held_by(&[2, 3, 7], 2);
        let under = trust(&state).accept_root(&document(&next, &[3, 7]));
        assert_eq!(
            under,
            Err(Offence::UnderThreshold),
            "the old keys must agree"
        );
        let state = trust(&state)
            .accept_root(&document(&next, &[2, 3]))
            .unwrap();

        let payload = release();
        let head = AssignmentHead {
            device,
            counter: 1,
            issued: UnixTime(1000),
            expires: UnixTime(9000),
            release: Digest::of(&payload),
            attempt: 0,
            override_locks: false,
        };
        let assignment = filled(|out| encode_assignment(&head, &[], out)).unwrap();
        let assignment = sign(&assignment, &[signer(5)]).unwrap();
        let judge = |release: &[u8]| trust(&state).accept_target::<4>(&assignment, release);
        assert!(judge(&sign(&payload, &[signer(6)]).unwrap()).is_ok());
        for other in [4, 5] {
            let signed = sign(&payload, &[signer(other)]).unwrap();
            assert_eq!(judge(&signed).err(), Some(Offence::UnderThreshold));
        }
    }

    #[test]
    fn keys_that_cannot_be_a_root_are_refused_when_it_is_made() {
        let change = |change: fn(&mut NewRoot)| {
            let mut root = new_root(1);
            change(&mut root);
            root.make().err()
        };
        let threshold = |role| Some(BadRoot::Threshold { role });
        assert_eq!(change(|root| root.root.threshold = 4), threshold("root"));
        assert_eq!(
            change(|root| root.release.threshold = 0),
            threshold("release")
        );
        assert_eq!(
            change(|root| root.release.keys.clear()),
            threshold("release")
        );
        assert_eq!(
            change(|root| root.expires = root.issued),
            Some(BadRoot::Expired)
        );
        assert_eq!(
            change(|root| root.release = root.director.clone()),
            Some(BadRoot::DirectorHoldsAnotherRole)
        );
        let twice = change(|root| root.release = held_by(&[4, 4], 2));
        assert_eq!(twice, threshold("release"), "one key is one key");
        let many = change(|root| root.root = held_by(&[1, 2, 3, 6, 7, 8, 9, 10], 1));
        assert_eq!(many, Some(BadRoot::TooManyKeys));
    }
}
