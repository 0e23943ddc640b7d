//! Unpacked layers, shared by every image that has them, named by the digest of their tar stream.

use std::io;
use std::path::{Path, PathBuf};

use super::{Digest, Files, Store};

/// A layer being unpacked. Dropped before [`commit`](Self::commit) it leaves rubbish in `tmp` alone.
#[derive(Debug)]
pub struct LayerDraft {
    digest: Digest,
    draft: PathBuf,
    place: PathBuf,
    files: Files,
}

impl Store {
    /// Whether the layer is here, whole.
    pub fn has_layer(&self, diff_id: &Digest) -> bool {
        self.layer(diff_id).is_dir()
    }

    /// The folder of an unpacked layer.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.to_hex())
    }

    /// Starts an empty layer.
    pub fn begin_layer(&self, diff_id: &Digest) -> io::Result<LayerDraft> {
        let draft = self.draft("layer");
        self.files.create_dir(&draft, 0o755)?;
        let place = self.layer(diff_id);
        Ok(LayerDraft {
            digest: *diff_id,
            draft,
            place,
            files: self.files.clone(),
        })
    }

    /// The layers that are there.
    pub(super) fn layers(&self) -> io::Result<Vec<Digest>> {
        Ok(self
            .names("layers")?
            .iter()
            .filter_map(|name| Digest::from_hex(name).ok())
            .collect())
    }

    pub(super) fn remove_layer(&self, diff_id: &Digest) -> io::Result<()> {
        self.discard(&self.layer(diff_id))
    }
}

impl LayerDraft {
    /// Where to unpack.
    pub fn root(&self) -> &Path {
        &self.draft
    }

    /// Makes the layer last and gives it its name, if the stream that was unpacked has that digest.
    pub fn commit(self, unpacked: &Digest) -> io::Result<()> {
        if *unpacked != self.digest {
            let why = format!("the layer unpacks to {unpacked}, not to {}", self.digest);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        self.files.sync_tree(&self.draft)?;
        match self.files.rename(&self.draft, &self.place) {
            // Another image's fetch put the same layer here first.
            Err(_) if self.place.is_dir() => return self.files.remove_tree(&self.draft),
            done => done?,
        }
        let folder = self
            .place
            .parent()
            .expect("a layer lies in the folder `layers`");
        self.files.sync_dir(folder)
    }

    /// Gives the draft up.
    pub fn abandon(self) -> io::Result<()> {
        self.files.remove_tree(&self.draft)
    }
}
