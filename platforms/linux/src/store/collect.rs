//! Garbage collection: removes what nothing that is kept needs.
//!
//! Names are removed before what they lead to (manifests before layers), so that a cut in between
//! leaves an image that is plainly incomplete, never one that only looks whole.

use std::collections::BTreeSet;
use std::io;

use super::{Digest, Store};

/// What must stay.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// Manifests, configurations, specs, settings.
    pub blobs: BTreeSet<Digest>,
    /// Unpacked layers.
    pub layers: BTreeSet<Digest>,
    /// Downloads in progress.
    pub partials: BTreeSet<Digest>,
}

/// How much was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests, configurations, specs, settings.
    pub blobs: usize,
    /// Unpacked layers.
    pub layers: usize,
    /// Downloads that nothing asks for any more.
    pub partials: usize,
}

impl Store {
    /// Removes every blob, layer and download that is not kept.
    ///
    /// The caller makes sure that nothing is being fetched meanwhile.
    pub fn collect(&self, keep: &Keep) -> io::Result<Collected> {
        let mut collected = Collected::default();
        for digest in self
            .blobs()?
            .iter()
            .filter(|digest| !keep.blobs.contains(digest))
        {
            self.remove_blob(digest)?;
            collected.blobs += 1;
        }
        if collected.blobs > 0 {
            self.files.sync_dir(&self.root.join("blobs"))?;
        }
        for digest in self
            .layers()?
            .iter()
            .filter(|digest| !keep.layers.contains(digest))
        {
            self.remove_layer(digest)?;
            collected.layers += 1;
        }
        for digest in self
            .partials()?
            .iter()
            .filter(|digest| !keep.partials.contains(digest))
        {
            self.remove_partial(digest)?;
            collected.partials += 1;
        }
        Ok(collected)
    }
}
