//! The container spec: Compose in, what the publisher signs and the engines run.

pub mod container;
