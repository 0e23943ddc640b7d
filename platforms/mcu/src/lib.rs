#![doc = include_str!("../README.md")]
#![no_std]

#[cfg(test)]
extern crate std;

#[cfg(feature = "agent")]
pub mod agent;
pub mod boot;
#[cfg(feature = "config")]
pub mod config;
#[cfg(feature = "curve")]
mod curve;
pub mod flash;
mod handoff;
mod inspect;
pub mod last_words;
pub mod ledger;
pub mod limits;
mod log;
pub mod origin;
mod record;
pub mod seed;
pub mod slots;

#[cfg(feature = "curve")]
pub use curve::CoreCurve;
pub use handoff::{Handoff, Why};
pub use inspect::{Device, Verdict};
pub use log::{RecordFailed, RecordLog};
pub use record::{BootState, Outcome, Phase, RECORD_LEN, Revert, Slot, Staging, Trial};
