//! The server as its peers see it: over the network, on both databases.
#![allow(clippy::unwrap_used, reason = "a test that fails should stop")]

mod openapi;
mod people;
mod postgres;
mod site;
