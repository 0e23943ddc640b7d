#![doc = include_str!("../README.md")]
#![cfg_attr(not(feature = "std"), no_std)]

mod base64;
mod clock;
#[cfg(feature = "embassy")]
pub mod embassy;
mod engine;
pub mod enrolment;
#[cfg(feature = "std")]
mod entropy;
#[cfg(feature = "hub")]
pub mod hub;
mod keepalive;
mod keys;
pub mod limits;
pub mod link;
mod ping;
#[cfg(feature = "stack")]
mod socket;
#[cfg(feature = "stack")]
mod stack;

pub use clock::{RESERVE_S, TimeFloor};
pub use engine::{EntropyError, EntropySource, Now, Ticks, UnusableKey};
#[cfg(feature = "std")]
pub use entropy::Os;
pub use keys::{MalformedKey, PresharedKey, PublicKey, SecretKey};
#[cfg(feature = "linux")]
pub mod tunnel;
#[cfg(feature = "stack")]
pub use stack::{Buffers, Stream};
