//! What the device receives; the empty program holds it too, so that it weighs nothing.

/// The first root document.
pub static ROOT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/root.bin"));
/// The answer to a registration.
pub static REGISTERED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/registered.bin"));
/// A release of four components, and its assignment.
pub static TARGET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/target.bin"));
/// An order to rotate the API key.
pub static ROTATE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/rotate.bin"));
