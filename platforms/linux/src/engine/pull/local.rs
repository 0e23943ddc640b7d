//! The part of a pull that works on the store alone.

use std::io::{self, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::super::image::{Artifact, ImageConfig, Platform};
use super::super::unpack::{Bounds, Ownership, unpack};
use super::Error;
use crate::engine::error::Doing;
use crate::store::{Digest, Partial, Store};

/// An image that is in the store, whole.
#[derive(Clone, Debug)]
pub struct Image {
    /// What it says about how it is run.
    pub config: ImageConfig,
    /// Its layers, lowest first.
    pub layers: Vec<Digest>,
    /// The blobs that make it up: index, manifest, configuration.
    pub blobs: Vec<Digest>,
}

impl Image {
    /// Reads an image from the store; nothing when any part is missing or corrupt.
    pub fn load(
        store: &Store,
        artifact: &Digest,
        platform: &Platform,
    ) -> Result<Option<Self>, Error> {
        let read = |digest: &Digest| store.read_blob(digest).doing("reading a manifest");
        let mut blobs = vec![*artifact];
        let Some(mut bytes) = read(artifact)? else {
            return Ok(None);
        };
        if let Artifact::Index(chosen) = Artifact::decode(&bytes, platform)? {
            blobs.push(chosen.digest);
            let Some(inner) = read(&chosen.digest)? else {
                return Ok(None);
            };
            bytes = inner;
        }
        let Artifact::Manifest(manifest) = Artifact::decode(&bytes, platform)? else {
            return Err(Error::BadImage("an index within an index".to_owned()));
        };
        blobs.push(manifest.config.digest);
        let Some(bytes) = read(&manifest.config.digest)? else {
            return Ok(None);
        };
        let config = ImageConfig::decode(&bytes, platform, manifest.layers.len())?;
        let layers = config.rootfs.diff_ids.clone();
        let whole = layers.iter().all(|layer| store.has_layer(layer));
        Ok(whole.then_some(Self {
            config,
            layers,
            blobs,
        }))
    }
}

/// Stops an unpacking when the future that waits for it is dropped.
#[derive(Debug, Default)]
pub(super) struct Cancel(Arc<AtomicBool>);

impl Cancel {
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Turns a downloaded layer into an unpacked one.
pub(super) struct Unpacking {
    pub(super) store: Store,
    pub(super) diff_id: Digest,
    pub(super) partial: Partial,
    pub(super) ownership: Ownership,
    pub(super) budget: Arc<Mutex<Bounds>>,
    pub(super) cancelled: Arc<AtomicBool>,
}

impl Unpacking {
    pub(super) fn run(self) -> Result<(), Error> {
        if self.store.has_layer(&self.diff_id) {
            return self.partial.remove().doing("removing a download");
        }
        let bounds = self.bounds()?;
        let draft = self
            .store
            .begin_layer(&self.diff_id)
            .doing("starting a layer")?;
        let packed = Cancellable {
            stream: self.partial.reader().doing("reading a download")?,
            cancelled: Arc::clone(&self.cancelled),
        };
        let unpacked = unpack(
            packed,
            draft.root(),
            self.store.files(),
            bounds,
            self.ownership,
        );
        let (digest, held) = match unpacked {
            Ok(done) => done,
            Err(error) => {
                draft.abandon().doing("removing a layer that is refused")?;
                return Err(self.refuse(error));
            }
        };
        if digest != self.diff_id {
            draft.abandon().doing("removing a layer that is refused")?;
            return Err(self.refuse(Error::DigestMismatch {
                wanted: self.diff_id,
                found: digest.to_string(),
            }));
        }
        self.spend(held);
        draft.commit(&digest).doing("keeping a layer")?;
        self.partial.remove().doing("removing a download")
    }

    /// What this layer may hold: what the image's other layers left, and what the disk has room for.
    fn bounds(&self) -> Result<Bounds, Error> {
        let free = self.store.free_bytes().doing("asking for free space")?;
        let left = *self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Bounds {
            entries: left.entries,
            bytes: left.bytes.min(free),
        })
    }

    fn spend(&self, held: Bounds) {
        let mut left = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
        left.entries = left.entries.saturating_sub(held.entries);
        left.bytes = left.bytes.saturating_sub(held.bytes);
    }

    /// An image that is itself wrong does not keep its download; a full disk does.
    fn refuse(&self, error: Error) -> Error {
        if matches!(error, Error::BadImage(_) | Error::DigestMismatch { .. }) {
            // What cannot be removed now is garbage that the next collection removes.
            let _ = self.partial.forget();
        }
        error
    }
}

struct Cancellable<R> {
    stream: R,
    cancelled: Arc<AtomicBool>,
}

impl<R: Read> Read for Cancellable<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.cancelled.load(Ordering::Relaxed) {
            return Err(io::Error::from_raw_os_error(
                rustix::io::Errno::CANCELED.raw_os_error(),
            ));
        }
        self.stream.read(buffer)
    }
}
