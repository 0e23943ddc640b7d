//! What a device may read by digest.

use lightship_core::id::Digest;

use crate::App;
use crate::db;
use crate::http::failure::Answer;
use crate::roster::Known;
use crate::signer::oci;

/// A blob that was found.
pub(crate) enum Found {
    /// In the database.
    Bytes(Vec<u8>),
    /// In the blob store.
    Stored {
        /// As the registry writes it.
        digest: String,
        /// Bytes.
        size: u64,
    },
}

impl App {
    /// The device's own settings, or a manifest or blob of its fleet; nothing else is there for it.
    pub(crate) async fn blob_of(&self, known: &Known, digest: &Digest) -> Answer<Option<Found>> {
        let settings =
            db::assignments::settings(&self.db, &known.uuid.to_string(), &digest.to_string())
                .await?;
        if let Some(bytes) = settings {
            return Ok(Some(Found::Bytes(bytes)));
        }
        let (fleet, digest) = (known.fleet(), oci(digest));
        if let Some(bytes) = db::manifests::body_in_fleet(&self.db, &fleet, &digest).await? {
            return Ok(Some(Found::Bytes(bytes)));
        }
        let size = db::blobs::size_in_fleet(&self.db, &fleet, &digest).await?;
        Ok(size.map(|size| Found::Stored { digest, size }))
    }
}
