//! Fetches an image from any OCI registry into the store.
//!
//! OCI distribution specification 1.1. The registry, and everything on the way to it, is an enemy:
//! the artifact's digest comes signed from elsewhere, and every byte is checked against it.
//! A manifest is written when all that it names is there, so a manifest in the store means an image.

mod download;
mod local;
mod registry;
mod token;

pub use local::Image;
pub use registry::{Access, Credentials, Registries};

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, Weak};

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::sync::Mutex;

use super::image::{Artifact, Descriptor, ImageConfig, Manifest, Platform, Reference};
use super::unpack::{Bounds, Ownership};
use super::{Error, blocking};
use crate::engine::error::Doing;
use crate::store::{Digest, Store};

/// Layers downloaded at the same time.
pub const MAX_DOWNLOADS: usize = 3;

/// Files, folders and links in all layers of one image together.
pub const MAX_FILES: u64 = 1_000_000;

/// An unpacked layer is taken to be this many times its packed size when space is asked for.
const UNPACKED_RATIO: u64 = 3;

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes that are here.
    pub done_bytes: u64,
    /// Bytes of all layers that were not here at the start.
    pub total_bytes: u64,
}

/// Is told how far a fetch has come, now and then.
pub type OnProgress = Arc<dyn Fn(Progress) + Send + Sync>;

/// Fetches images.
#[derive(Clone, Debug)]
pub struct Puller {
    store: Store,
    registries: Registries,
    platform: Platform,
    ownership: Ownership,
    max_files: u64,
    unpacking: Arc<Mutex<()>>,
    under_way: UnderWay,
}

/// The layers that are being fetched. Services often share an image: whoever wants a layer that another fetches
/// waits for it, because a download has one writer.
#[derive(Clone, Debug, Default)]
struct UnderWay(Arc<std::sync::Mutex<BTreeMap<Digest, Weak<Mutex<()>>>>>);

impl UnderWay {
    /// The turn at a layer, for one at a time.
    fn turn(&self, layer: &Digest) -> Arc<Mutex<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, turn| turn.strong_count() > 0);
        if let Some(turn) = all.get(layer).and_then(Weak::upgrade) {
            return turn;
        }
        let turn = Arc::default();
        all.insert(*layer, Arc::downgrade(&turn));
        turn
    }
}

/// One layer to fetch.
#[derive(Clone, Debug)]
struct Layer {
    descriptor: Descriptor,
    diff_id: Digest,
}

impl Puller {
    /// Fetches into `store` what `platform` runs.
    pub fn new(
        store: Store,
        registries: Registries,
        platform: Platform,
        ownership: Ownership,
    ) -> Self {
        Self {
            store,
            registries,
            platform,
            ownership,
            max_files: MAX_FILES,
            unpacking: Arc::default(),
            under_way: UnderWay::default(),
        }
    }

    /// Refuses images of more files than this.
    #[must_use]
    pub fn with_max_files(self, max_files: u64) -> Self {
        Self { max_files, ..self }
    }

    /// Fetches an image, unless it is here already.
    ///
    /// Dropping the future stops the fetch; what came so far is kept and the next call goes on from it.
    pub async fn pull(
        &self,
        from: &Reference,
        artifact: &Digest,
        on_progress: OnProgress,
    ) -> Result<Image, Error> {
        if let Some(image) = self.local(artifact).await? {
            return Ok(image);
        }
        let mut chain = vec![self.registries.manifest(from, artifact).await?];
        let manifest = match Artifact::decode(&chain[0], &self.platform)? {
            Artifact::Manifest(manifest) => manifest,
            Artifact::Index(chosen) => {
                chain.push(self.registries.manifest(from, &chosen.digest).await?);
                let decoded = Artifact::decode(&chain[1], &self.platform)?;
                let Artifact::Manifest(manifest) = decoded else {
                    return Err(Error::BadImage("an index within an index".to_owned()));
                };
                manifest
            }
        };
        manifest.check()?;
        chain.push(self.config(from, &manifest).await?);
        self.layers(from, &manifest, &chain, on_progress).await?;
        self.keep(chain).await?;
        let image = self.local(artifact).await?;
        image.ok_or_else(|| Error::Absent(format!("image {artifact}")))
    }

    /// The image as it lies in the store, whole; nothing when any part of it is missing.
    pub async fn local(&self, artifact: &Digest) -> Result<Option<Image>, Error> {
        let (store, platform, artifact) = (self.store.clone(), self.platform.clone(), *artifact);
        blocking(move || Image::load(&store, &artifact, &platform)).await
    }

    async fn config(&self, from: &Reference, manifest: &Manifest) -> Result<Vec<u8>, Error> {
        let bytes = self
            .registries
            .small_blob(from, &manifest.config.digest)
            .await?;
        Ok(bytes)
    }

    async fn layers(
        &self,
        from: &Reference,
        manifest: &Manifest,
        chain: &[Vec<u8>],
        on_progress: OnProgress,
    ) -> Result<(), Error> {
        let bytes = chain.last().expect("the configuration was pushed last");
        let config = ImageConfig::decode(bytes, &self.platform, manifest.layers.len())?;
        config.check()?;
        let missing = self.missing(manifest, &config);
        let total = self.make_room(&missing)?;
        let tally = download::Tally::new(total, on_progress);
        let budget = Arc::new(std::sync::Mutex::new(Bounds {
            entries: self.max_files,
            bytes: u64::MAX,
        }));
        let fetches = missing
            .into_iter()
            .map(|layer| self.layer(from, layer, &tally, &budget));
        stream::iter(fetches)
            .buffer_unordered(MAX_DOWNLOADS)
            .try_collect::<()>()
            .await
    }

    fn missing(&self, manifest: &Manifest, config: &ImageConfig) -> Vec<Layer> {
        let mut missing: Vec<Layer> = Vec::new();
        for (descriptor, diff_id) in manifest.layers.iter().zip(&config.rootfs.diff_ids) {
            // An image may hold the same (often empty) layer twice.
            let known = missing.iter().any(|layer| layer.diff_id == *diff_id);
            if !known && !self.store.has_layer(diff_id) {
                missing.push(Layer {
                    descriptor: descriptor.clone(),
                    diff_id: *diff_id,
                });
            }
        }
        missing
    }

    /// Refuses what plainly does not fit, and returns the bytes to download.
    fn make_room(&self, missing: &[Layer]) -> Result<u64, Error> {
        let (mut download, mut unpacked, mut here) = (0_u64, 0_u64, 0_u64);
        for Layer { descriptor, .. } in missing {
            download = download.saturating_add(descriptor.size);
            unpacked = unpacked.saturating_add(descriptor.size.saturating_mul(UNPACKED_RATIO));
            here = here.saturating_add(
                self.store
                    .partial_length(&descriptor.digest)
                    .min(descriptor.size),
            );
        }
        let free_bytes = self.store.free_bytes().doing("asking for free space")?;
        let needed_bytes = download.saturating_add(unpacked).saturating_sub(here);
        if needed_bytes > free_bytes {
            return Err(Error::NoSpace {
                needed_bytes,
                free_bytes,
            });
        }
        Ok(download)
    }

    async fn layer(
        &self,
        from: &Reference,
        layer: Layer,
        tally: &download::Tally,
        budget: &Arc<std::sync::Mutex<Bounds>>,
    ) -> Result<(), Error> {
        let turn = self.under_way.turn(&layer.descriptor.digest);
        let _mine = turn.lock().await;
        if self.store.has_layer(&layer.diff_id) {
            return Ok(());
        }
        let partial = self
            .registries
            .download(&self.store, from, &layer.descriptor, tally)
            .await?;
        // One at a time: unpacking takes the processor and the disk, and boards have one of each.
        let _turn = self.unpacking.lock().await;
        let cancel = local::Cancel::default();
        let work = local::Unpacking {
            store: self.store.clone(),
            diff_id: layer.diff_id,
            partial,
            ownership: self.ownership,
            budget: Arc::clone(budget),
            cancelled: cancel.flag(),
        };
        blocking(move || work.run()).await
    }

    /// Keeps manifests and configuration, outermost last.
    async fn keep(&self, chain: Vec<Vec<u8>>) -> Result<(), Error> {
        let store = self.store.clone();
        blocking(move || {
            for bytes in chain.iter().rev() {
                store.write_blob(bytes).doing("keeping a manifest")?;
            }
            Ok(())
        })
        .await
    }
}
