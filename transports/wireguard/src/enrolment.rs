//! What both ends of an enrolment tunnel agree on (design.md, section 3.4).

use wireguard_sans_io::crypto::kdf;

use crate::keys::PresharedKey;

/// Keeps this use of a provisioning key apart from every other.
const LABEL: &[u8] = b"lightship enrolment tunnel 1";

/// The pre-shared key of the enrolment tunnel that a provisioning key opens: HMAC-BLAKE2s of the label under the provisioning key.
///
/// Neither end sends the provisioning key itself, and what an eavesdropper or a stranger who guesses the hub's public key sees does not tell it.
pub fn preshared_key(provisioning_key: &[u8]) -> PresharedKey {
    PresharedKey(kdf::hmac(provisioning_key, &[LABEL]))
}
