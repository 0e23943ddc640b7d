//! A folder in OCI's image layout: where base images are found and built ones are put.
//!
//! Blobs are written under another name and renamed when whole, so a blob that is there is right.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::config::{Descriptor, INDEX, ImageConfig, Index, Manifest, Platform, REFERENCE};
use crate::error::{At, BuildError};

/// A manifest, index or configuration larger than this is refused.
const MAX_DOCUMENT_BYTES: u64 = 4 << 20;

/// Indexes within indexes are followed so far.
const MAX_NESTING: usize = 4;

/// A folder in OCI's image layout.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
}

/// An image of a layout.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    pub(crate) manifest: Manifest,
    pub(crate) config: ImageConfig,
}

impl Layout {
    /// Opens the folder, making it a layout if it is empty or absent.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(root: &Path) -> Result<Self, BuildError> {
        let blobs = root.join("blobs/sha256");
        fs::create_dir_all(&blobs).at(&blobs)?;
        let layout = Self {
            root: root.to_owned(),
        };
        if !root.join("oci-layout").exists() {
            layout.replace("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        }
        if !root.join("index.json").exists() {
            layout.write_index(&Index {
                schema_version: 2,
                media_type: INDEX.to_owned(),
                manifests: Vec::new(),
            })?;
        }
        Ok(layout)
    }

    /// Where a blob is, or would be; nothing when the digest is malformed.
    pub fn blob(&self, digest: &str) -> Option<PathBuf> {
        let hex = digest.strip_prefix("sha256:")?;
        let lower = |c: char| c.is_ascii_digit() || matches!(c, 'a'..='f');
        let fits = hex.len() == 64 && hex.chars().all(lower);
        fits.then(|| self.root.join("blobs/sha256").join(hex))
    }

    /// Names an image, in place of what had this name for the same platform.
    ///
    /// # Errors
    /// The disk's.
    pub fn name(&self, reference: &str, descriptor: &Descriptor) -> Result<(), BuildError> {
        let mut index = self.index()?;
        let named = |d: &Descriptor| d.annotations.get(REFERENCE).is_some_and(|n| n == reference);
        index
            .manifests
            .retain(|d| !(named(d) && d.platform == descriptor.platform));
        let mut descriptor = descriptor.clone();
        descriptor
            .annotations
            .insert(REFERENCE.to_owned(), reference.to_owned());
        index.manifests.push(descriptor);
        self.write_index(&index)
    }

    /// Puts these bytes into the layout.
    ///
    /// # Errors
    /// The disk's.
    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, BuildError> {
        let mut blob = self.new_blob()?;
        blob.write_all(bytes).at(&self.root)?;
        blob.finish(media_type)
    }

    /// A blob that is written piece by piece.
    pub(crate) fn new_blob(&self) -> Result<NewBlob<'_>, BuildError> {
        let folder = self.root.join("blobs/sha256");
        let file = tempfile::Builder::new()
            .prefix(".new")
            .tempfile_in(&folder)
            .at(&folder)?;
        Ok(NewBlob {
            layout: self,
            file,
            hash: Sha256::new(),
            size: 0,
        })
    }

    /// A small blob, checked against its digest.
    ///
    /// # Errors
    /// When it is absent, too large or not what its digest says.
    pub fn document(&self, descriptor: &Descriptor) -> Result<Vec<u8>, BuildError> {
        let bad = |what: &str| BuildError::BadImage {
            image: descriptor.digest.clone(),
            what: what.to_owned(),
        };
        let path = self
            .blob(&descriptor.digest)
            .ok_or_else(|| bad("not a SHA-256 digest"))?;
        let mut bytes = Vec::new();
        let file = File::open(&path).at(&path)?;
        file.take(MAX_DOCUMENT_BYTES + 1)
            .read_to_end(&mut bytes)
            .at(&path)?;
        if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
            return Err(bad("a document that is too large"));
        }
        if format!("sha256:{}", hex::encode(Sha256::digest(&bytes))) != descriptor.digest {
            return Err(bad("does not have the digest that names it"));
        }
        Ok(bytes)
    }

    /// The manifest of the image of this name that runs on this platform best.
    ///
    /// # Errors
    /// [`BuildError::MissingImage`], or why it cannot be used.
    pub fn resolve(&self, reference: &str, platform: &Platform) -> Result<Descriptor, BuildError> {
        self.select(reference, platform).map(|(found, _)| found)
    }

    /// The image of this name that runs on this platform best.
    pub(crate) fn find(&self, reference: &str, platform: &Platform) -> Result<Image, BuildError> {
        self.select(reference, platform).map(|(_, image)| image)
    }

    fn select(
        &self,
        reference: &str,
        platform: &Platform,
    ) -> Result<(Descriptor, Image), BuildError> {
        let bad = |what: String| BuildError::BadImage {
            image: reference.to_owned(),
            what,
        };
        let index = self.index()?;
        let named = |d: &Descriptor| {
            d.annotations
                .get(REFERENCE)
                .is_some_and(|name| name == reference)
                || reference.ends_with(&format!("@{}", d.digest))
        };
        let mut left: Vec<(Descriptor, usize)> = index
            .manifests
            .into_iter()
            .filter(named)
            .map(|d| (d, 0))
            .collect();
        if left.is_empty() {
            return Err(BuildError::MissingImage(reference.to_owned()));
        }
        let mut best: Option<(u8, (Descriptor, Image))> = None;
        let mut others = Vec::new();
        while let Some((descriptor, depth)) = left.pop() {
            let json = |error: serde_json::Error| bad(error.to_string());
            let bytes = self.document(&descriptor)?;
            if descriptor.media_type.contains("index") || descriptor.media_type.contains("list") {
                let inner: Index = serde_json::from_slice(&bytes).map_err(json)?;
                if depth < MAX_NESTING {
                    let fits =
                        |d: &Descriptor| d.platform.as_ref().is_none_or(|p| platform.runs(p));
                    left.extend(
                        inner
                            .manifests
                            .into_iter()
                            .filter(fits)
                            .map(|d| (d, depth + 1)),
                    );
                }
                continue;
            }
            let manifest: Manifest = serde_json::from_slice(&bytes).map_err(json)?;
            let config = self.document(&manifest.config)?;
            let config: ImageConfig = serde_json::from_slice(&config).map_err(json)?;
            let theirs = config.platform();
            match platform.rank(&theirs).filter(|_| platform.runs(&theirs)) {
                Some(rank) if best.as_ref().is_none_or(|(most, _)| rank > *most) => {
                    best = Some((rank, (descriptor, Image { manifest, config })));
                }
                Some(_) => {}
                None => others.push(theirs.to_string()),
            }
        }
        let best = best.map(|(_, found)| found);
        best.ok_or_else(|| {
            bad(format!(
                "is not there for {platform}; it is for {}",
                others.join(", ")
            ))
        })
    }

    fn index(&self) -> Result<Index, BuildError> {
        let path = self.root.join("index.json");
        let bytes = fs::read(&path).at(&path)?;
        serde_json::from_slice(&bytes)
            .map_err(io::Error::from)
            .at(&path)
    }

    fn write_index(&self, index: &Index) -> Result<(), BuildError> {
        let bytes = serde_json::to_vec(index).expect("an index has strings for keys");
        self.replace("index.json", &bytes)
    }

    fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), BuildError> {
        let path = self.root.join(name);
        let mut file = tempfile::NamedTempFile::new_in(&self.root).at(&path)?;
        file.write_all(bytes).at(&path)?;
        file.persist(&path).map_err(|error| error.error).at(&path)?;
        Ok(())
    }
}

/// A blob that is being written.
pub(crate) struct NewBlob<'l> {
    layout: &'l Layout,
    file: tempfile::NamedTempFile,
    hash: Sha256,
    size: u64,
}

impl Write for NewBlob<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hash.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl NewBlob<'_> {
    /// As [`Self::finish`], but only when the bytes have this digest.
    pub(crate) fn finish_as(
        self,
        digest: &str,
        media_type: &str,
    ) -> Result<Option<Descriptor>, BuildError> {
        let found = format!("sha256:{}", hex::encode(self.hash.clone().finalize()));
        if found != digest {
            return Ok(None);
        }
        self.finish(media_type).map(Some)
    }

    pub(crate) fn finish(self, media_type: &str) -> Result<Descriptor, BuildError> {
        let digest = format!("sha256:{}", hex::encode(self.hash.finalize()));
        let path = self
            .layout
            .blob(&digest)
            .expect("a SHA-256 digest is well-formed");
        self.file
            .persist(&path)
            .map_err(|error| error.error)
            .at(&path)?;
        Ok(Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size: self.size,
            platform: None,
            annotations: Default::default(),
        })
    }
}
