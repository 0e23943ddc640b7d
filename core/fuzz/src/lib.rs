//! What each fuzz target does with its bytes.
//!
//! The same code is run twice: by a fuzzer that looks for new inputs (`fuzz_targets/`),
//! and over the committed corpus by an ordinary test (`core/tests/corpus.rs`).
//! A new target is a module here, a line in [`TARGETS`], a file in `fuzz_targets/` and a folder in `corpus/`.

pub mod documents;
pub mod events;
mod fleet;
pub mod records;
pub mod rules;
pub mod wire;

/// What a target does with its bytes; it panics when it finds a fault.
pub type Target = fn(&[u8]);

/// Every target: its name and what it runs.
pub const TARGETS: &[(&str, Target)] = &[
    ("documents", documents::run),
    ("events", events::run),
    ("records", records::run),
    ("rules", rules::run),
    ("wire", wire::run),
];
