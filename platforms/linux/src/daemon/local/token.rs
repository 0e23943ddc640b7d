//! Tokens: made from a secret of this device and the name of a service, so that they outlive the daemon.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::store::Files;

/// From which all tokens are made; it never leaves the device.
#[derive(Clone)]
pub(super) struct Secret([u8; 32]);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// Which of the two ways of speaking a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Dialect {
    /// Lightship's own.
    Own,
    /// That of balena's supervisor.
    Balena,
}

impl Secret {
    /// Reads the secret, or makes it.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Ok(bytes) = fs::read(path)
            && let Ok(secret) = <[u8; 32]>::try_from(bytes)
        {
            return Ok(Self(secret));
        }
        let mut secret = [0; 32];
        let mut filled = 0;
        while filled < secret.len() {
            let flags = rustix::rand::GetRandomFlags::empty();
            filled += rustix::rand::getrandom(&mut secret[filled..], flags)?;
        }
        Files::default().replace(path, &path.with_extension("draft"), &secret)?;
        Ok(Self(secret))
    }

    /// The token of a service. The secret is hashed in twice, so that no token can be made longer into another's.
    pub(super) fn token(&self, dialect: Dialect, application: &str, service: &str) -> String {
        let dialect = match dialect {
            Dialect::Own => "own",
            Dialect::Balena => "balena",
        };
        let mut inner = Sha256::new_with_prefix(self.0);
        for part in [dialect, application, service] {
            inner.update((part.len() as u64).to_be_bytes());
            inner.update(part);
        }
        let mut outer = Sha256::new_with_prefix(self.0);
        outer.update(inner.finalize());
        hex::encode(outer.finalize())
    }
}

/// Whether two texts are the same, in a time that does not tell where they differ.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.len() == b.len()
        && a.bytes()
            .zip(b.bytes())
            .fold(0, |all, (x, y)| all | (x ^ y))
            == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_and_dialect_has_a_token_that_outlives_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = Secret::open(&path).unwrap();
        let token = secret.token(Dialect::Own, "shop", "web");
        assert_eq!(
            Secret::open(&path)
                .unwrap()
                .token(Dialect::Own, "shop", "web"),
            token
        );
        let others = [
            secret.token(Dialect::Balena, "shop", "web"),
            secret.token(Dialect::Own, "shopw", "eb"),
            secret.token(Dialect::Own, "shop", "we"),
            Secret::open(&folder.path().join("other"))
                .unwrap()
                .token(Dialect::Own, "shop", "web"),
        ];
        assert!(
            others.iter().all(|other| !same(other, &token)),
            "{others:?}"
        );
        assert!(same(&token, &token.clone()));
    }
}
