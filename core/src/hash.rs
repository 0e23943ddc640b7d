//! SHA-256 (FIPS 180-4), by the sha2 library, or with `--cfg lightship_curve="small"` by our own, a third of its size and slower.

#[cfg(any(test, lightship_curve = "small"))]
pub(crate) mod small;

/// The digest of both, one after the other.
#[inline(never)]
pub(crate) fn sha256(first: &[u8], rest: &[u8]) -> [u8; 32] {
    #[cfg(lightship_curve = "small")]
    {
        let mut hash = small::Sha256::new();
        hash.update(first);
        hash.update(rest);
        hash.finish()
    }
    #[cfg(not(lightship_curve = "small"))]
    {
        use sha2::Digest;

        let mut hash = sha2::Sha256::new();
        hash.update(first);
        hash.update(rest);
        hash.finalize().into()
    }
}
