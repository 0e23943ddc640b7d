//! The built-in engine and its store, against registries that lie and disks that stop.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

mod archive;
mod containers;
mod cuts;
mod device;
mod executing;
mod networking;
mod power;
mod pulling;
mod registry;
mod scratch;
mod unpacking;
