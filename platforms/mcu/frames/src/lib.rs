#![doc = include_str!("../README.md")]

mod decode;
mod places;
mod show;
mod stream;
mod table;

pub use defmt_parser::Level;
pub use places::{Place, Places};
pub use stream::{Line, Malformed, Stream};
pub use table::{Table, Unreadable};
