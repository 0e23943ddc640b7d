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
#[cfg(feature = "linux")]
mod interface;
mod keepalive;
mod keys;
#[cfg(feature = "linux")]
mod life;
pub mod limits;
pub mod link;
mod ping;
#[cfg(feature = "stack")]
mod socket;
#[cfg(feature = "stack")]
mod stack;
#[cfg(feature = "stack")]
mod stream;

pub use clock::{RESERVE_S, TimeFloor};
pub use engine::{EntropyError, EntropySource, Now, Ticks, UnusableKey};
#[cfg(feature = "std")]
pub use entropy::Os;
pub use keys::{MalformedKey, PresharedKey, PublicKey, SecretKey};
#[cfg(feature = "linux")]
pub mod tunnel;
#[cfg(feature = "stack")]
pub use stack::Buffers;
#[cfg(feature = "stack")]
pub use stream::Stream;
