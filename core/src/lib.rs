#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]
#![allow(
    clippy::large_enum_variant,
    reason = "there is no allocator to box the large ones with"
)]

mod action;
mod agent;
pub mod codec;
mod context;
mod curve;
mod event;
pub mod hash;
pub mod id;
pub mod limits;
mod link;
mod note;
pub mod plan;
mod provision;
mod reconcile;
pub mod record;
mod report;
mod rotate;
mod soonest;
mod table;
pub mod target;
pub mod time;
mod trial;
pub mod trust;
pub mod wire;

pub use action::{Action, Credentials, InstanceRef, TunnelKey};
pub use agent::{Agent, Config, Step, Wake};
pub use event::{Event, Failure, MessageId, StepId};
pub use note::Note;
