//! What must be true of the repository itself, as ordinary tests.
//!
//! What changes on purpose is accepted with `UPDATE_EXPECT=1 cargo test -p xtask --test repository`.

mod core_tree;
mod dependencies;
mod edges;
mod purity;
mod readmes;
mod sources;
mod targets;
mod tree;
