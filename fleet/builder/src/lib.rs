#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod build;
pub mod bundle;
mod config;
mod context;
pub mod dockerfile;
pub mod engine;
mod error;
mod guard;
mod ignore;
mod layer;
mod layout;
mod pattern;
pub mod project;
mod registry;
mod tree;

pub use config::{Descriptor, Index, Manifest, Platform};
pub use error::BuildError;
pub use guard::{Cancel, Limits};
pub use layout::Layout;
pub use registry::Registries;
