//! The protocol itself: one [`Engine`] per pair of keys, from `wireguard-sans-io`.
//!
//! It does no I/O, reads no clock and allocates nothing, so the very same code runs on a microcontroller, in the device's daemon, in the hub, and in tests that live through an hour in a second.
//! Where there is an operating system the bulk cipher is RustCrypto's, which uses the processor's vector units.

pub use wireguard_sans_io::{EntropyError, EntropySource, Now, Ticks};

use crate::keys::{PresharedKey, PublicKey, SecretKey};
use crate::limits;
use crate::link::KeySet;

#[cfg(not(feature = "std"))]
pub(crate) type Keystream = wireguard_sans_io::Scalar;
#[cfg(feature = "std")]
pub(crate) type Keystream = RustCrypto;

/// One tunnel to one peer.
pub(crate) type Engine = wireguard_sans_io::Tunnel<Keystream>;

/// The keys could never make a tunnel: the peer's is our own, or a point of low order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnusableKey;

impl core::fmt::Display for UnusableKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the peer's public key is this end's own, or no usable point")
    }
}

impl core::error::Error for UnusableKey {}

/// Puts a new engine in the place of another, which stays if the keys are unusable.
///
/// An engine is the largest thing that a device holds, so this is the one function that has a second one on the stack.
#[inline(never)]
pub(crate) fn build(place: &mut Option<Engine>, keys: &KeySet) -> Result<(), UnusableKey> {
    let config = config(&keys.secret, &keys.hub, &keys.preshared);
    match Engine::with_backend(config) {
        Ok(engine) => *place = Some(engine),
        Err(_) => return Err(UnusableKey),
    }
    Ok(())
}

/// A tunnel between `local` and `peer`; it sends nothing by itself until it is used.
#[cfg(any(feature = "hub", feature = "linux"))]
pub(crate) fn engine(
    local: &SecretKey,
    peer: &PublicKey,
    shared: &PresharedKey,
) -> Result<Engine, UnusableKey> {
    Engine::with_backend(config(local, peer, shared)).map_err(|_| UnusableKey)
}

fn config(local: &SecretKey, peer: &PublicKey, shared: &PresharedKey) -> wireguard_sans_io::Config {
    let mut config = wireguard_sans_io::Config::new(local.engine(), peer.engine());
    config.psk = shared.engine();
    config.mtu = core::num::NonZeroU16::new(limits::MTU);
    config
}

/// ChaCha20 of the `chacha20` crate.
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy)]
pub(crate) struct RustCrypto;

#[cfg(feature = "std")]
impl wireguard_sans_io::ChaChaImpl for RustCrypto {
    fn apply_keystream(key: &[u8; 32], nonce: &[u8; 12], counter: u32, data: &mut [u8]) {
        use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
        let mut cipher = chacha20::ChaCha20::new(key.into(), nonce.into());
        cipher.seek(u64::from(counter) * 64);
        cipher.apply_keystream(data);
    }

    fn name() -> &'static str {
        "chacha20"
    }
}
