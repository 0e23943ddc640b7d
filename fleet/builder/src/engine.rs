//! Builds with a container engine what cannot be built without one: Dockerfiles that run commands.
//!
//! The engine is Docker's, balenaEngine's or podman's, over its API. It gets the context and gives back an
//! image, which is put into the layout like one that was built here; the engine keeps nothing but its cache.
//! It builds for another architecture where the kernel knows how to run that one (qemu-user).

mod archive;
mod context;

use std::collections::HashMap;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    BuildImageOptionsBuilder, CreateImageOptionsBuilder, RemoveImageOptionsBuilder,
};
use bytes::Bytes;
use futures_util::{Stream, TryStreamExt as _};
use tempfile::NamedTempFile;

use crate::build::Request;
use crate::config::{Descriptor, Platform};
use crate::error::{At, BuildError};
use crate::guard::{Cancel, Guard, Limits};
use crate::layout::Layout;

/// Longer than any build may take: the build's own limit ends it.
const API_TIMEOUT_S: u64 = 24 * 3600;

/// How long a cancelled build may go on unnoticed.
const LOOK: Duration = Duration::from_millis(200);

/// Bytes that are read and sent at once.
const PIECE: usize = 256 * 1024;

/// A container engine that builds.
#[derive(Clone, Debug)]
pub struct Engine {
    docker: Docker,
}

impl Engine {
    /// Connects to the engine behind this socket.
    ///
    /// # Errors
    /// When there is none.
    pub async fn connect(socket: &Path) -> Result<Self, BuildError> {
        let path = socket.display().to_string();
        let docker = Docker::connect_with_unix(&path, API_TIMEOUT_S, bollard::API_DEFAULT_VERSION);
        let docker = docker
            .map_err(engine)?
            .negotiate_version()
            .await
            .map_err(engine)?;
        docker.ping().await.map_err(engine)?;
        Ok(Self { docker })
    }

    /// Builds the image, and says what the engine says, line by line, to `log`.
    ///
    /// # Errors
    /// Why there is no image. The layout is left as it was, but for blobs that nothing names.
    pub async fn build(
        &self,
        request: &Request<'_>,
        log: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Descriptor, BuildError> {
        let guard = Guard::new(request.limits, request.cancel);
        let context = context::pack(request, &guard)?;
        // Named after what it is made of, so that two builds at once are not in each other's way.
        let name = format!("lightship-build:{}", context.name);
        let options = options(request, &name);
        let body = bollard::body_try_stream(pieces(context.file));
        let steps = self.docker.build_image(options, None, Some(body));
        watched(steps, &guard, |step| {
            if let Some(error) = step.error_detail {
                return Err(BuildError::Engine(error.message.unwrap_or_default()));
            }
            let text = step.stream.unwrap_or_default();
            text.lines()
                .filter(|line| !line.trim().is_empty())
                .for_each(&mut *log);
            Ok(())
        })
        .await?;
        let image = self
            .take(&name, request.platform, request.layout, &guard)
            .await;
        let untag = RemoveImageOptionsBuilder::default()
            .force(true)
            .noprune(true)
            .build();
        let untagged = self.docker.remove_image(&name, Some(untag), None).await;
        let image = image?;
        untagged.map_err(engine)?;
        log(&format!("built {} for {}", image.digest, request.platform));
        Ok(image)
    }

    /// Pulls an image with the engine, puts it into the layout and names it there.
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn pull(
        &self,
        reference: &str,
        platform: &Platform,
        layout: &Layout,
        cancel: &Cancel,
    ) -> Result<Descriptor, BuildError> {
        let guard = Guard::new(Limits::default(), cancel);
        let tagged = reference.contains('@')
            || reference
                .rsplit('/')
                .next()
                .is_some_and(|last| last.contains(':'));
        let full = if tagged {
            reference.to_owned()
        } else {
            format!("{reference}:latest")
        };
        let options = CreateImageOptionsBuilder::default()
            .from_image(&full)
            .platform(&platform.to_string())
            .build();
        let steps = self.docker.create_image(Some(options), None, None);
        watched(steps, &guard, |step| match step.error_detail {
            Some(error) => Err(BuildError::Engine(error.message.unwrap_or_default())),
            None => Ok(()),
        })
        .await?;
        let image = self.take(&full, platform, layout, &guard).await?;
        layout.name(reference, &image)?;
        Ok(image)
    }

    /// Takes an image out of the engine into the layout.
    async fn take(
        &self,
        name: &str,
        platform: &Platform,
        layout: &Layout,
        guard: &Guard,
    ) -> Result<Descriptor, BuildError> {
        let mut file = NamedTempFile::new().at(&std::env::temp_dir())?;
        let path = file.path().to_owned();
        let pieces = self.docker.export_image(name);
        watched(pieces, guard, |piece: Bytes| {
            file.write_all(&piece).at(&path)
        })
        .await?;
        let image = archive::unpack(&path, layout, guard)?;
        let found = image.platform.clone().unwrap_or_else(|| platform.clone());
        if !platform.runs(&found) {
            return Err(BuildError::BadImage {
                image: name.to_owned(),
                what: format!("was built for {found} and not for {platform}"),
            });
        }
        Ok(image)
    }
}

fn options(request: &Request<'_>, name: &str) -> bollard::query_parameters::BuildImageOptions {
    let map = |all: &std::collections::BTreeMap<String, String>| -> HashMap<String, String> {
        all.clone().into_iter().collect()
    };
    let mut options = BuildImageOptionsBuilder::default()
        .dockerfile(context::DOCKERFILE)
        .t(name)
        .rm(true)
        .forcerm(true)
        .platform(&request.platform.to_string())
        .buildargs(&map(request.args))
        .labels(&map(request.labels));
    if let Some(target) = request.target {
        options = options.target(target);
    }
    options.build()
}

/// Every item goes to `each`, and the bounds are looked at even while none comes.
async fn watched<T>(
    items: impl Stream<Item = Result<T, bollard::errors::Error>>,
    guard: &Guard,
    mut each: impl FnMut(T) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let mut items = std::pin::pin!(items);
    loop {
        guard.check()?;
        match tokio::time::timeout(LOOK, items.try_next()).await {
            Ok(Ok(Some(item))) => each(item)?,
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(engine(error)),
            Err(_) => {}
        }
    }
}

/// The file in pieces.
fn pieces(
    file: NamedTempFile,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    use std::io::Read as _;
    futures_util::stream::iter(std::iter::from_fn({
        let mut file = file;
        move || {
            let mut piece = vec![0; PIECE];
            match file.as_file_mut().read(&mut piece) {
                Ok(0) => None,
                Ok(length) => {
                    piece.truncate(length);
                    Some(Ok(Bytes::from(piece)))
                }
                Err(error) => Some(Err(error)),
            }
        }
    }))
}

fn engine(error: bollard::errors::Error) -> BuildError {
    use bollard::errors::Error;
    BuildError::Engine(match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        Error::DockerStreamError { error } => error.trim().to_owned(),
        other => other.to_string(),
    })
}
