//! Documents into the store, images into the engine, and images out of it again.

use std::collections::{BTreeMap, BTreeSet};

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptionsBuilder, ListImagesOptions, RemoveImageOptions};
use futures_util::StreamExt as _;
use lightship_spec::container::ContainerSpec;

use super::fault::{self, Answer as _, status, words};
use super::{Inner, host};
use crate::engine::{Component, Documents, Error, OnProgress, Progress, blocking};
use crate::store::Digest;

/// Repositories that images were pulled from, one a line: what may be collected.
const PULLED: &str = "pulled";

impl Inner {
    /// Keeps the documents, if they are the ones that the component names.
    pub(super) async fn keep(
        &self,
        component: &Component,
        documents: Documents<'_>,
    ) -> Result<ContainerSpec, Error> {
        let mut wanted = vec![(component.spec, documents.spec.to_vec())];
        match (component.settings, documents.settings) {
            (Some(digest), Some(bytes)) => wanted.push((digest, bytes.to_vec())),
            (Some(digest), None) => return Err(Error::Absent(digest.to_string())),
            (None, _) => {}
        }
        for (wanted, bytes) in &wanted {
            let found = Digest::of(bytes);
            if found != *wanted {
                return Err(Error::DigestMismatch {
                    wanted: *wanted,
                    found: found.to_string(),
                });
            }
        }
        let spec = ContainerSpec::decode(documents.spec)
            .map_err(|error| Error::refused("spec", error.to_string()))?;
        let store = self.store.clone();
        blocking(move || {
            for (_, bytes) in &wanted {
                store
                    .write_blob(bytes)
                    .map_err(|e| Error::system("keeping a document", e))?;
            }
            Ok(())
        })
        .await?;
        Ok(spec)
    }

    /// Pulls by digest, which the engine verifies; an image that is there already is not pulled.
    pub(super) async fn pull(
        &self,
        repository: &str,
        image: &str,
        on_progress: OnProgress,
    ) -> Result<(), Error> {
        let known = self.docker.inspect_image(image).await;
        if known.unless(&[404], "looking for an image")?.is_none() {
            self.remember(repository).await?;
            self.pull_now(repository, image, on_progress).await?;
        }
        let image = self.docker.inspect_image(image).await;
        let image = image.answer("looking at the image")?;
        let found = image.architecture.unwrap_or_default();
        if !host::runs(&self.architecture, &found) {
            return Err(Error::WrongArchitecture {
                wanted: self.architecture.clone(),
                found,
            });
        }
        Ok(())
    }

    async fn pull_now(
        &self,
        repository: &str,
        image: &str,
        on_progress: OnProgress,
    ) -> Result<(), Error> {
        let options = CreateImageOptionsBuilder::default()
            .from_image(image)
            .build();
        let host = repository.split('/').next().unwrap_or_default();
        let registries = self.config.registries.as_ref();
        let known = registries.and_then(|registries| registries.credentials(host));
        let credentials = known.map(|known| DockerCredentials {
            username: Some(known.user),
            password: Some(known.password),
            serveraddress: Some(host.to_owned()),
            ..DockerCredentials::default()
        });
        let mut steps = self.docker.create_image(Some(options), None, credentials);
        let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        while let Some(step) = steps.next().await {
            let step = step.map_err(|error| fault::pull(image, &words(&error)))?;
            if let Some(error) = step.error_detail {
                return Err(fault::pull(image, &error.message.unwrap_or_default()));
            }
            let (Some(id), Some(detail)) = (step.id, step.progress_detail) else {
                continue;
            };
            let bytes = |value: Option<i64>| value.and_then(|v| u64::try_from(v).ok());
            if let (Some(done), Some(total)) = (bytes(detail.current), bytes(detail.total)) {
                layers.insert(id, (done, total));
                on_progress(Progress {
                    done_bytes: layers.values().map(|(done, _)| done).sum(),
                    total_bytes: layers.values().map(|(_, total)| total).sum(),
                });
            }
        }
        Ok(())
    }

    /// Writes down where images come from before the first is pulled, so that none is forgotten.
    async fn remember(&self, repository: &str) -> Result<(), Error> {
        let store = self.store.clone();
        let repository = repository.to_owned();
        blocking(move || {
            let path = store.root().join(PULLED);
            let mut known = read_pulled(&path);
            if !known.insert(repository) {
                return Ok(());
            }
            let text: String = known
                .iter()
                .flat_map(|name| [name.as_str(), "\n"])
                .collect();
            let draft = store.root().join("tmp").join(PULLED);
            let written = store.files().replace(&path, &draft, text.as_bytes());
            written.map_err(|error| Error::system("noting a repository", error))
        })
        .await
    }

    /// Removes the images of our repositories that are neither kept nor some instance's.
    pub(super) async fn collect(&self, keep: &[Digest]) -> Result<(), Error> {
        let ours = read_pulled(&self.store.root().join(PULLED));
        let records = self.records().await?;
        let needed: BTreeSet<String> = records
            .iter()
            .map(|record| &record.artifact)
            .chain(keep)
            .map(Digest::to_string)
            .collect();
        let images = self.docker.list_images(None::<ListImagesOptions>).await;
        for image in images.answer("listing the images")? {
            for name in image.repo_digests {
                let Some((repository, digest)) = name.split_once('@') else {
                    continue;
                };
                if !ours.contains(repository) || needed.contains(digest) {
                    continue;
                }
                match self
                    .docker
                    .remove_image(&name, None::<RemoveImageOptions>, None)
                    .await
                {
                    // Used by a container that is not ours, or gone meanwhile: not ours to remove.
                    Err(error) if matches!(status(&error), Some(404 | 409)) => {}
                    other => {
                        other.answer("removing an image")?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn read_pulled(path: &std::path::Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}
