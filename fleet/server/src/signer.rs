//! The director's key: the only one the server holds, good for assignments alone.

use std::path::Path;

use lightship_core::id::{Digest, KeyId, PublicKey, Uuid};
use lightship_core::limits::DOCUMENT_BYTES;
use lightship_core::trust::{Offence, seal};
use lightship_director::Assigned;
use ring::signature::{Ed25519KeyPair, KeyPair};

use crate::{folder, secret};

/// Signs assignments.
pub(crate) struct Signer {
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl Signer {
    /// Reads the key from the data folder, or makes it.
    pub(crate) fn keep(data: &Path) -> std::io::Result<Self> {
        let seed = folder::keep(&data.join("director.key"), || {
            secret::random::<32>().to_vec()
        })?;
        let rejected = |error| std::io::Error::other(format!("director.key: {error}"));
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(rejected)?;
        let public = pair
            .public_key()
            .as_ref()
            .try_into()
            .expect("an Ed25519 public key has 32 bytes");
        Ok(Self {
            pair,
            public: PublicKey(public),
        })
    }

    /// The key that a root document has to name as director.
    pub(crate) fn public(&self) -> PublicKey {
        self.public
    }

    /// The signed assignment of a device.
    pub(crate) fn assignment(&self, device: Uuid, assigned: &Assigned) -> Result<Vec<u8>, Offence> {
        let payload = assigned.payload(device)?;
        let signature = self
            .pair
            .sign(&payload)
            .as_ref()
            .try_into()
            .expect("an Ed25519 signature has 64 bytes");
        let mut sealed = vec![0; DOCUMENT_BYTES];
        let len = seal(
            &payload,
            &[(KeyId::of(&self.public), signature)],
            &mut sealed,
        )?;
        sealed.truncate(len);
        Ok(sealed)
    }
}

/// A digest as the registry writes it.
pub(crate) fn oci(digest: &Digest) -> String {
    format!("sha256:{digest}")
}
