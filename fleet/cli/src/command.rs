//! The commands, one file a noun.

pub(crate) mod build;
pub(crate) mod changes;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod device;
pub(crate) mod env;
pub(crate) mod fleet;
pub(crate) mod hub;
pub(crate) mod login;
pub(crate) mod logs;
pub(crate) mod release;
pub(crate) mod serve;
pub(crate) mod token;
pub(crate) mod user;
