//! The engine's cryptography has one author, so it is held against RustCrypto's, primitive by primitive, and the whole handshake against boringtun's.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use blake2::digest::consts::U16;
use blake2::digest::{KeyInit as _, Mac as _};
use blake2::{Blake2s256, Blake2sMac, Digest as _};
use chacha20poly1305::aead::Aead as _;
use chacha20poly1305::{ChaCha20Poly1305, XChaCha20Poly1305};
use wireguard_sans_io::crypto::{aead, blake2s, chacha20, kdf, x25519};
use wireguard_sans_io::testing::DeterministicRng;
use wireguard_sans_io::{Config, Encapsulated, EntropySource, Now, Received, StaticSecret, Tunnel};

fn bytes<const N: usize>(rng: &mut DeterministicRng) -> [u8; N] {
    let mut bytes = [0; N];
    rng.fill(&mut bytes).unwrap();
    bytes
}

fn some(rng: &mut DeterministicRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill(&mut bytes).unwrap();
    bytes
}

#[test]
fn x25519_agrees_and_both_refuse_points_of_low_order() {
    let mut rng = DeterministicRng::new(1);
    for _ in 0..200 {
        let (secret, point) = (bytes::<32>(&mut rng), bytes::<32>(&mut rng));
        let theirs = x25519_dalek::StaticSecret::from(secret).diffie_hellman(&point.into());
        assert_eq!(x25519::x25519(&secret, &point), *theirs.as_bytes());
        let public = x25519_dalek::PublicKey::from(&x25519_dalek::StaticSecret::from(secret));
        assert_eq!(x25519::x25519_base(&secret), *public.as_bytes());
    }
    for low in [[0; 32], {
        let mut one = [0; 32];
        one[0] = 1;
        one
    }] {
        let secret = bytes::<32>(&mut rng);
        assert!(x25519::shared_secret(&secret, &low).is_err());
        let theirs = x25519_dalek::StaticSecret::from(secret).diffie_hellman(&low.into());
        assert!(!theirs.was_contributory());
    }
}

#[test]
fn chacha20poly1305_agrees_and_each_opens_what_the_other_sealed() {
    let mut rng = DeterministicRng::new(2);
    for length in (0..300).chain([511, 512, 513, 1420, 1500]) {
        let (key, counter, plain) = (
            bytes::<32>(&mut rng),
            bytes::<8>(&mut rng),
            some(&mut rng, length),
        );
        let nonce = aead::nonce_from_counter(u64::from_le_bytes(counter));
        let mut ours = vec![0; length + 16];
        aead::seal(&key, &nonce, b"", &plain, &mut ours).unwrap();
        let theirs = ChaCha20Poly1305::new(&key.into())
            .encrypt(&nonce.into(), plain.as_slice())
            .unwrap();
        assert_eq!(ours, theirs, "{length} bytes");
        let mut opened = vec![0; length];
        assert_eq!(
            aead::open(&key, &nonce, b"", &theirs, &mut opened),
            Ok(length)
        );
        assert_eq!(opened, plain);
        let at = usize::from(bytes::<1>(&mut rng)[0]) % ours.len();
        ours[at] ^= 1;
        assert!(
            aead::open(&key, &nonce, b"", &ours, &mut opened).is_err(),
            "a changed byte is noticed"
        );
    }
}

#[test]
fn the_cookies_cipher_agrees() {
    let mut rng = DeterministicRng::new(3);
    for _ in 0..100 {
        let (key, nonce, cookie) = (
            bytes::<32>(&mut rng),
            bytes::<24>(&mut rng),
            bytes::<16>(&mut rng),
        );
        let mut ours = [0; 32];
        aead::xseal(&key, &nonce, b"", &cookie, &mut ours).unwrap();
        let theirs = XChaCha20Poly1305::new(&key.into())
            .encrypt(&nonce.into(), cookie.as_slice())
            .unwrap();
        assert_eq!(ours.as_slice(), theirs);
    }
}

#[test]
fn blake2s_and_its_mac_and_key_derivation_agree() {
    let mut rng = DeterministicRng::new(4);
    for length in 0..200 {
        let (key, data) = (bytes::<32>(&mut rng), some(&mut rng, length));
        assert_eq!(
            blake2s::hash(&[&data]),
            <[u8; 32]>::from(Blake2s256::digest(&data))
        );
        let mut mac = Blake2sMac::<U16>::new_from_slice(&key).unwrap();
        mac.update(&data);
        assert_eq!(
            blake2s::mac(&key, &[&data]),
            <[u8; 16]>::from(mac.finalize().into_bytes())
        );
        assert_eq!(kdf::hmac(&key, &[&data]), hmac(&key, &data));
        let first = hmac(&hmac(&key, &data), &[1]);
        let second = hmac(&hmac(&key, &data), &[first.as_slice(), &[2]].concat());
        assert_eq!(kdf::kdf2(&key, &data), (first, second));
    }
}

/// RFC 2104 over RustCrypto's BLAKE2s.
fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let pad = |with: u8| {
        let mut block = [with; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Blake2s256::new()
        .chain_update(pad(0x36))
        .chain_update(data)
        .finalize();
    Blake2s256::new()
        .chain_update(pad(0x5c))
        .chain_update(inner)
        .finalize()
        .into()
}

#[test]
fn the_keystream_agrees_at_every_length_and_position() {
    use ::chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
    let mut rng = DeterministicRng::new(5);
    for length in 0..400usize {
        let (key, nonce, mut ours) = (
            bytes::<32>(&mut rng),
            bytes::<12>(&mut rng),
            some(&mut rng, length),
        );
        let mut theirs = ours.clone();
        let block = length as u32 % 7;
        chacha20::xor_in_place(&key, block, &nonce, &mut ours);
        let mut cipher = ::chacha20::ChaCha20::new(&key.into(), &nonce.into());
        cipher.seek(u64::from(block) * 64);
        cipher.apply_keystream(&mut theirs);
        assert_eq!(ours, theirs, "{length} bytes");
    }
}

/// An IPv4 packet with nothing in it.
fn packet() -> Vec<u8> {
    let mut packet = vec![0; 20];
    packet[0] = 0x45;
    packet[3] = 20;
    packet[8] = 64;
    packet
}

#[test]
fn boringtun_and_the_engine_understand_each_other_whoever_begins() {
    use boringtun::noise::{Tunn, TunnResult};
    let mut rng = DeterministicRng::new(6);
    let (ours, theirs, shared) = (
        bytes::<32>(&mut rng),
        bytes::<32>(&mut rng),
        bytes::<32>(&mut rng),
    );
    let secret = boringtun::x25519::StaticSecret::from(theirs);
    let our_public =
        boringtun::x25519::PublicKey::from(*StaticSecret::from_bytes(ours).public_key().as_bytes());
    let now = |seconds: u64| Now::new(seconds * 1_000_000_000, 1_750_000_000 + seconds, 0);
    for we_begin in [true, false] {
        let their_public = boringtun::x25519::PublicKey::from(&secret);
        let mut config = Config::new(
            StaticSecret::from_bytes(ours),
            (*their_public.as_bytes()).into(),
        );
        config.psk = shared.into();
        let mut engine = Tunnel::new(config).unwrap();
        let mut peer = Tunn::new(secret.clone(), our_public, Some(shared), None, 1, None);
        let (mut a, mut b) = ([0; 2048], [0; 2048]);
        if we_begin {
            let Ok(Encapsulated::HandshakeInitiation(wire)) =
                engine.encapsulate(now(1), &packet(), &mut a, &mut rng)
            else {
                panic!()
            };
            let TunnResult::WriteToNetwork(wire) = peer.decapsulate(None, wire, &mut b) else {
                panic!()
            };
            assert!(matches!(
                engine.decapsulate(now(1), &[], false, wire, &mut a, &mut rng),
                Ok(Received::HandshakeComplete)
            ));
            let Ok(Encapsulated::Transport(wire)) =
                engine.encapsulate(now(1), &packet(), &mut a, &mut rng)
            else {
                panic!()
            };
            let TunnResult::WriteToTunnelV4(plain, _) = peer.decapsulate(None, wire, &mut b) else {
                panic!()
            };
            assert_eq!(plain, packet());
        } else {
            let TunnResult::WriteToNetwork(wire) = peer.encapsulate(&packet(), &mut b) else {
                panic!()
            };
            let Ok(Received::Reply(wire)) =
                engine.decapsulate(now(1), &[], false, wire, &mut a, &mut rng)
            else {
                panic!()
            };
            let TunnResult::WriteToNetwork(wire) = peer.decapsulate(None, wire, &mut b) else {
                panic!()
            };
            assert!(matches!(
                engine.decapsulate(now(1), &[], false, wire, &mut a, &mut rng),
                Ok(Received::Keepalive)
            ));
            let Ok(Encapsulated::Transport(wire)) =
                engine.encapsulate(now(1), &packet(), &mut a, &mut rng)
            else {
                panic!()
            };
            let TunnResult::WriteToTunnelV4(plain, _) = peer.decapsulate(None, wire, &mut b) else {
                panic!()
            };
            assert_eq!(plain, packet());
        }
    }
}
