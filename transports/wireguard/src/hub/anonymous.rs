//! Who is it that wants in?
//!
//! An initiation hides the initiator's public key from everyone but the holder of the hub's private key (whitepaper, section 5.4.2).
//! This opens it that far and no further: nothing is decided here, and nothing here proves that the sender holds that key.
//! The engine of the peer that is named does the whole handshake afterwards.

use wireguard_sans_io::consts::{CONSTRUCTION, IDENTIFIER};
use wireguard_sans_io::crypto::{aead, blake2s, kdf};
use wireguard_sans_io::message::{HandshakeInitiation, Packet, parse};

use crate::keys::{PublicKey, SecretKey};

/// The device key that an initiation to the hub key `local` names, or `None` when it was not made for that key.
pub(super) fn initiator(
    local: &SecretKey,
    local_public: &PublicKey,
    datagram: &[u8],
) -> Option<PublicKey> {
    let Ok(Packet::HandshakeInitiation(initiation)) = parse(datagram) else {
        return None;
    };
    open(local, local_public, &initiation).map(PublicKey)
}

fn open(
    local: &SecretKey,
    local_public: &PublicKey,
    initiation: &HandshakeInitiation<'_>,
) -> Option<[u8; 32]> {
    let chain = blake2s::hash(&[CONSTRUCTION]);
    let hash = blake2s::hash(&[&chain, IDENTIFIER]);
    let hash = blake2s::hash(&[&hash, &local_public.0]);
    let chain = kdf::kdf1(&chain, initiation.ephemeral);
    let hash = blake2s::hash(&[&hash, initiation.ephemeral]);
    let secret =
        wireguard_sans_io::crypto::x25519::shared_secret(&local.0, initiation.ephemeral).ok()?;
    let (_, key) = kdf::kdf2(&chain, &secret);
    let mut public = [0; 32];
    let opened = aead::open(
        &key,
        &aead::nonce_from_counter(0),
        &hash,
        initiation.encrypted_static,
        &mut public,
    );
    (opened == Ok(32)).then_some(public)
}

#[cfg(test)]
mod tests {
    use wireguard_sans_io::Encapsulated;

    use super::*;
    use crate::engine::{Now, engine};
    use crate::entropy::Os;
    use crate::keys::PresharedKey;

    #[test]
    fn only_the_key_it_was_made_for_opens_an_initiation() {
        let (hub, other, device) = (
            SecretKey::generate(),
            SecretKey::generate(),
            SecretKey::generate(),
        );
        let mut buffer = [0; 256];
        let mut tunnel = engine(&device, &hub.public(), &PresharedKey::default()).unwrap();
        let Ok(Encapsulated::HandshakeInitiation(wire)) =
            tunnel.encapsulate(Now::new(0, 1, 0), b"x", &mut buffer, &mut Os)
        else {
            panic!("the first packet starts a handshake");
        };
        assert_eq!(initiator(&hub, &hub.public(), wire), Some(device.public()));
        assert_eq!(initiator(&other, &other.public(), wire), None);
        let mut forged = wire.to_vec();
        forged[50] ^= 1;
        assert_eq!(initiator(&hub, &hub.public(), &forged), None);
        assert_eq!(initiator(&hub, &hub.public(), &wire[..100]), None);
    }
}
