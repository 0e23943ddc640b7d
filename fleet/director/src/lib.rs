#![doc = include_str!("../README.md")]

mod choose;
mod director;
mod event;
mod facts;
pub mod limits;
mod record;
mod rollout;
mod variables;
mod window;

pub use choose::Withheld;
pub use director::{Director, Progressed, Saved, SavedDevice, Standing};
pub use event::{Decision, Event, Note, Order, Refusal, Step};
pub use facts::{
    Component, Device, Document, DocumentError, Fleet, Policy, Release, ReleaseState, Report,
};
pub use record::{Assigned, Previous, Record};
pub use rollout::{BadPlan, Phase, Plan, Progress, Stage, Tally, Threshold, Wave, Who};
pub use variables::{Filled, VariableKind, Variables};
pub use window::{BadWindow, BadZone, Window, Zone};
