#![doc = include_str!("../README.md")]

mod board;
mod command;
mod factory;
mod file_flash;
mod layout;
mod life;
mod outside;
mod payload;
mod say;

pub use command::main;
pub use factory::{Factory, install};
pub use life::{Options, run};
pub use payload::{Behaviour, Image};
