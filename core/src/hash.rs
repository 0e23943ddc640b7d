//! SHA-256 (FIPS 180-4), by the sha2 library, or with `--cfg lightship_curve="small"` by our own, a third of its size and slower.

#[cfg(any(test, lightship_curve = "small"))]
pub(crate) mod small;

#[cfg(lightship_curve = "small")]
use small::Sha256 as Inner;
#[cfg(not(lightship_curve = "small"))]
use whole::Sha256 as Inner;

/// SHA-256 of bytes that come in pieces: the one that the core itself uses, so that a device has it once.
#[derive(Clone)]
pub struct Sha256(Inner);

impl Sha256 {
    /// Of nothing yet.
    #[expect(
        clippy::new_without_default,
        reason = "an empty hash is no default of anything"
    )]
    pub fn new() -> Self {
        Self(Inner::new())
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The digest of all bytes taken.
    pub fn finish(self) -> [u8; 32] {
        self.0.finish()
    }
}

/// What was hashed may be secret, and its state is not shown.
impl core::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Sha256").finish_non_exhaustive()
    }
}

/// The digest of all parts, one after the other.
#[inline(never)]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    hash.finish()
}

/// By the library.
#[cfg(not(lightship_curve = "small"))]
mod whole {
    use sha2::Digest;

    #[derive(Clone)]
    pub(super) struct Sha256(sha2::Sha256);

    impl Sha256 {
        pub(super) fn new() -> Self {
            Self(sha2::Sha256::new())
        }

        pub(super) fn update(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }

        pub(super) fn finish(self) -> [u8; 32] {
            self.0.finalize().into()
        }
    }
}
