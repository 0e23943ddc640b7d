//! The server as its peers see it: over the network, on both databases.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod access;
mod begin;
mod builds;
mod bus;
mod crash;
mod devices;
mod gadget;
mod image_tools;
mod kernel;
mod limits;
mod metrics;
mod openapi;
mod people;
mod postcard;
mod postgres;
mod publisher;
mod registry;
mod s3;
mod schema;
mod site;
mod standby;
mod tunnel;
