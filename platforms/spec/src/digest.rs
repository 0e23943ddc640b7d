//! The SHA-256 digest that names a spec or settings document: what is signed and what is compared.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::container::{ContainerSpec, Settings};

/// A SHA-256 digest. Shown as OCI shows it: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ContainerSpec {
    /// The digest of [`ContainerSpec::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

impl Settings {
    /// The digest of [`Settings::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_shown_as_oci_shows_it() {
        assert_eq!(
            Digest::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
