//! Secrets: made here, shown once, kept as keyed hashes.
//!
//! The hash key lives in the data folder, not in the database: a copy of the database alone
//! allows neither logging in nor testing guesses of tokens. Passwords, which people choose, are
//! hashed with argon2id on top of that.

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use ring::aead::{self, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};

/// Bytes of randomness in a secret.
const SECRET_LEN: usize = 24;
/// Bytes of randomness in an identifier.
const ID_LEN: usize = 8;

/// Makes and checks secrets.
#[derive(Clone)]
pub(crate) struct Secrets {
    key: hmac::Key,
}

/// Random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("the operating system has randomness");
    bytes
}

/// SHA-256 in hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

/// A new identifier: not secret, never used twice.
pub(crate) fn new_id() -> String {
    hex::encode(random::<ID_LEN>())
}

/// A new secret of `kind`: `kind_id_secret`, so that it can be recognised when it leaks.
pub(crate) fn new_secret(kind: &str, id: &str) -> String {
    format!(
        "{kind}_{id}_{}",
        URL_SAFE_NO_PAD.encode(random::<SECRET_LEN>())
    )
}

/// The identifier within a secret of `kind`.
pub(crate) fn id_of<'a>(secret: &'a str, kind: &str) -> Option<&'a str> {
    let rest = secret.strip_prefix(kind)?.strip_prefix('_')?;
    let (id, _) = rest.split_once('_')?;
    (id.len() == 2 * ID_LEN).then_some(id)
}

impl Secrets {
    /// With the key that hashes are made with.
    pub(crate) fn new(key: &[u8]) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
        }
    }

    /// What is kept of a secret.
    pub(crate) fn hash(&self, secret: &str) -> String {
        hex::encode(hmac::sign(&self.key, secret.as_bytes()))
    }

    /// Whether `secret` is the one that `hash` was kept of; takes the same time either way.
    pub(crate) fn matches(&self, secret: &str, hash: &str) -> bool {
        let Ok(tag) = hex::decode(hash) else {
            return false;
        };
        hmac::verify(&self.key, secret.as_bytes(), &tag).is_ok()
    }

    /// What is kept of a password. Takes a good while: call it where blocking is allowed.
    pub(crate) fn hash_password(&self, password: &str) -> String {
        let salt = SaltString::encode_b64(&random::<16>()).expect("16 bytes are a salt");
        let hash = argon2().hash_password(&self.keyed(password), &salt);
        hash.expect("parameters and salt are valid").to_string()
    }

    /// Whether `password` is the one that `hash` was kept of. Takes as long as making it.
    pub(crate) fn password_matches(&self, password: &str, hash: &str) -> bool {
        let Ok(parsed) = PasswordHash::new(hash) else {
            return false;
        };
        argon2()
            .verify_password(&self.keyed(password), &parsed)
            .is_ok()
    }

    /// A hash that no password has, as costly to check as a real one.
    pub(crate) fn decoy(&self) -> String {
        let salt = STANDARD_NO_PAD.encode([0; 16]);
        let hash = STANDARD_NO_PAD.encode(hmac::sign(&self.key, b"decoy"));
        format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hash}")
    }

    /// The provisioning key with this identifier: 32 bytes in hexadecimal.
    ///
    /// Derived, so that the tunnel hub can use it as a pre-shared key although nothing of it is stored.
    pub(crate) fn provisioning_key(&self, id: &str) -> String {
        hex::encode(hmac::sign(
            &self.key,
            format!("provisioning key {id}").as_bytes(),
        ))
    }

    /// The hub's private key for the provisioning key with this identifier.
    pub(crate) fn hub_key(&self, id: &str) -> [u8; 32] {
        let tag = hmac::sign(&self.key, format!("hub key {id}").as_bytes());
        tag.as_ref()
            .try_into()
            .expect("an HMAC-SHA256 has 32 bytes")
    }

    /// The pre-shared key of a device's tunnel that has this number.
    pub(crate) fn tunnel_key(&self, uuid: &str, number: i64) -> [u8; 32] {
        let name = format!("tunnel key {number} of {uuid}");
        let tag = hmac::sign(&self.key, name.as_bytes());
        tag.as_ref()
            .try_into()
            .expect("an HMAC-SHA256 has 32 bytes")
    }

    /// What the servers on one database leave there to know each other by.
    pub(crate) fn mark(&self) -> String {
        hex::encode(hmac::sign(&self.key, b"servers of one database"))
    }

    /// Seals a key for whoever has the same `secret.key`; it opens under its name alone.
    pub(crate) fn seal(&self, name: &str, key: &[u8]) -> String {
        let nonce = random::<{ aead::NONCE_LEN }>();
        let mut sealed = key.to_vec();
        self.sealing()
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(name),
                &mut sealed,
            )
            .expect("a key is shorter than what can be sealed");
        hex::encode([&nonce[..], &sealed].concat())
    }

    /// Opens what was sealed under this name, if it was sealed with the same `secret.key`.
    pub(crate) fn open(&self, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let bytes = hex::decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk()?;
        let (nonce, mut sealed) = (Nonce::assume_unique_for_key(*nonce), sealed.to_vec());
        let opened = self
            .sealing()
            .open_in_place(nonce, Aad::from(name), &mut sealed);
        Some(opened.ok()?.to_vec())
    }

    fn sealing(&self) -> LessSafeKey {
        let key = hmac::sign(&self.key, b"keys of the server, sealed");
        let key = UnboundKey::new(&CHACHA20_POLY1305, key.as_ref());
        LessSafeKey::new(key.expect("an HMAC-SHA256 has 32 bytes"))
    }

    /// The password as argon2 sees it: keyed, and of one length whatever was typed.
    fn keyed(&self, password: &str) -> Vec<u8> {
        STANDARD_NO_PAD
            .encode(hmac::sign(&self.key, password.as_bytes()))
            .into_bytes()
    }
}

/// Argon2id with 19 MiB, two passes and one lane: OWASP's recommendation.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).expect("these are valid parameters");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_keyed_hash_alone() {
        let secrets = Secrets::new(&[1; 32]);
        let secret = new_secret("lst", &new_id());
        let hash = secrets.hash(&secret);
        assert!(secrets.matches(&secret, &hash));
        assert!(!secrets.matches(&new_secret("lst", "0"), &hash));
        assert!(!Secrets::new(&[2; 32]).matches(&secret, &hash));
        assert!(!secrets.matches(&secret, "not hexadecimal"));
    }

    #[test]
    fn a_secret_names_its_kind_and_its_identifier() {
        let secret = new_secret("lst", "0123456789abcdef");
        assert_eq!(id_of(&secret, "lst"), Some("0123456789abcdef"));
        assert_eq!(id_of(&secret, "lsp"), None);
        assert_eq!(id_of("lst_short_x", "lst"), None);
    }

    #[test]
    fn what_is_sealed_opens_under_its_name_and_with_its_key_alone() {
        let (ours, theirs) = (Secrets::new(&[1; 32]), Secrets::new(&[2; 32]));
        let sealed = ours.seal("ca.key", b"private");
        assert_eq!(ours.open("ca.key", &sealed).unwrap(), b"private");
        assert_eq!(ours.open("hub.key", &sealed), None);
        assert_eq!(theirs.open("ca.key", &sealed), None);
        assert_eq!(ours.open("ca.key", "00"), None);
        assert_ne!(ours.seal("ca.key", b"private"), sealed);
        assert_ne!(ours.mark(), theirs.mark());
    }

    #[test]
    fn a_password_is_checked_against_its_salted_and_keyed_hash() {
        let secrets = Secrets::new(&[1; 32]);
        let hash = secrets.hash_password("correct horse");
        assert!(secrets.password_matches("correct horse", &hash));
        assert!(!secrets.password_matches("incorrect horse", &hash));
        assert!(!Secrets::new(&[2; 32]).password_matches("correct horse", &hash));
        assert!(PasswordHash::new(&secrets.decoy()).is_ok());
        assert!(!secrets.password_matches("correct horse", &secrets.decoy()));
    }
}
