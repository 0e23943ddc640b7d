#![doc = include_str!("../README.md")]

mod build;
mod change;
mod device;
mod fleet;
mod hub_key;
mod log;
mod name;
mod problem;
mod provisioning_key;
mod release;
mod role;
mod rollout;
pub mod sign;
mod time;
mod token;
mod user;
mod variable;

pub use build::{Build, BuildEvent, BuildLine, BuildState, BuildTarget, BuiltImage, NewBuild};
pub use change::{Change, Changes, Event};
pub use device::{Command, Device, DevicePatch, Locks, Metrics, Move, NewDevice, Pin, Transport};
pub use fleet::{
    Fleet, FleetPatch, FleetRotation, Member, NewFleet, NewMember, Policy, RotationPlanned,
};
pub use hub_key::{HubKey, HubKeyRotation};
pub use log::{LogLine, LogStream};
pub use name::{BadName, Name};
pub use problem::Problem;
pub use provisioning_key::{
    CreatedProvisioningKey, Enrolment, NewProvisioningKey, ProvisioningKey,
};
pub use release::{
    DirectorKey, Invalidation, NewRelease, NewRoot, Release, ReleaseDocument, ReleaseState, Root,
};
pub use role::{BadScope, Role, Scope};
pub use rollout::{NewRollout, NewWave, Rollout, RolloutOrder, RolloutPhase, Wave, WaveWho};
pub use time::{BadTimestamp, Timestamp};
pub use token::{CreatedToken, Login, Me, NewToken, Token};
pub use user::{NewUser, User, UserPatch};
pub use variable::{Variable, VariableKind};
