#![doc = include_str!("../README.md")]

mod decode;
mod show;
mod stream;
mod table;

pub use defmt_parser::Level;
pub use stream::{Line, Malformed, Stream};
pub use table::{Table, Unreadable};
