//! Images that were built here, put into a repository as if they had been pushed.

use lightship_builder::{Descriptor, Layout, Manifest};

use super::names::Repository;
use super::{manifests, uploads};
use crate::{App, db};

/// Puts an image of a layout into a repository: the blobs first, then the manifest that names them.
///
/// # Errors
/// Why it is not there, in words.
pub(crate) async fn take_in(
    app: &App,
    repository: &str,
    layout: &Layout,
    image: &Descriptor,
) -> Result<(), String> {
    let repository = Repository::parse(repository)
        .ok_or_else(|| format!("{repository:?} is no name of a repository"))?;
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let bytes = layout.document(image).map_err(|error| words(&error))?;
    let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| words(&error))?;
    for blob in std::iter::once(&manifest.config).chain(&manifest.layers) {
        let known = db::blobs::size_in_fleet(&app.db, &repository.fleet, &blob.digest).await;
        let placed = match known.map_err(|error| words(&error))? {
            Some(size) => uploads::link(app, &repository, &blob.digest, size).await,
            None => {
                let path = layout.blob(&blob.digest).ok_or("a digest is malformed")?;
                uploads::copy_in(app, &repository, &path, &blob.digest).await
            }
        };
        placed.map_err(|refusal| refusal.text().to_owned())?;
    }
    let sent = manifests::Sent {
        digest: image.digest.clone(),
        body: bytes,
        declared: Some(image.media_type.clone()),
        tag: None,
    };
    let kept = manifests::keep(app, &repository, sent).await;
    kept.map(|_| ())
        .map_err(|refusal| refusal.text().to_owned())
}
