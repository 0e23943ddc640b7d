//! The built-in engine and its store, against registries that lie and disks that stop.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on should say where"
)]

#[path = "../docker/apart.rs"]
mod apart;
mod archive;
mod command;
mod containers;
mod cuts;
#[path = "../docker/daemon.rs"]
#[allow(dead_code, reason = "it does podman too")]
mod daemon;
mod device;
mod executing;
mod likeness;
mod networking;
mod power;
mod pulling;
mod registry;
mod reverting;
mod scratch;
mod time;
mod unpacking;
