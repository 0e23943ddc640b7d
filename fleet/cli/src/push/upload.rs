//! Uploads to the server's registry (OCI distribution specification 1.1): only what is not there, and from where it broke off.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::ProgressBar;
use lightship_core::id::Digest;
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, LOCATION, RANGE};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use crate::client::Client;
use crate::failure::{Code, Failure};
use crate::output::Output;
use crate::place::{Place, write_private};

/// Bytes sent at once: what is lost when the connection breaks.
const PIECE: usize = 4 << 20;
/// How often in a row a piece is tried before the upload is given up.
const TRIES: u32 = 5;
/// The wait after a failure; doubled each time.
const WAIT: Duration = Duration::from_millis(250);

/// Something to be uploaded.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) repository: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) content: Content,
}

/// What it is.
#[derive(Debug)]
pub(crate) enum Content {
    /// A blob in memory.
    Bytes(Vec<u8>),
    /// A blob in a file.
    File(PathBuf),
    /// A manifest, with its media type; after the blobs that it names.
    Manifest(String, Vec<u8>),
}

/// Uploads all of them, in order.
pub(crate) async fn all(
    client: &Client,
    place: &Place,
    artifacts: Vec<Artifact>,
    output: &Output,
) -> Result<(), Failure> {
    let total = artifacts.iter().map(|artifact| artifact.size).sum();
    let bar = output.bytes("upload", total);
    for artifact in artifacts {
        let upload = Upload {
            client,
            place,
            artifact: &artifact,
            bar: &bar,
        };
        upload.run().await?;
    }
    bar.finish_and_clear();
    Ok(())
}

struct Upload<'a> {
    client: &'a Client,
    place: &'a Place,
    artifact: &'a Artifact,
    bar: &'a ProgressBar,
}

impl Upload<'_> {
    async fn run(&self) -> Result<(), Failure> {
        let done = self.bar.position() + self.artifact.size;
        if !self.is_there().await? {
            match &self.artifact.content {
                Content::Manifest(media_type, bytes) => self.manifest(media_type, bytes).await?,
                Content::Bytes(_) | Content::File(_) => self.blob().await?,
            }
        }
        self.bar.set_position(done);
        Ok(())
    }

    fn path(&self, what: &str) -> String {
        format!("/v2/{}/{what}", self.artifact.repository)
    }

    async fn is_there(&self) -> Result<bool, Failure> {
        let kind = match self.artifact.content {
            Content::Manifest(..) => "manifests",
            Content::Bytes(_) | Content::File(_) => "blobs",
        };
        let path = self.path(&format!("{kind}/sha256:{}", self.artifact.digest));
        let asked = self.client.send(self.client.request(Method::HEAD, &path));
        match asked.await {
            Ok(_) => Ok(true),
            Err(failure) if failure.code == Code::Missing => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    async fn manifest(&self, media_type: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(&format!("manifests/sha256:{}", self.artifact.digest));
        let request = self.client.request(Method::PUT, &path);
        let request = request
            .header(CONTENT_TYPE, media_type)
            .body(bytes.to_vec());
        self.client.send(request).await.map(|_| ())
    }

    async fn blob(&self) -> Result<(), Failure> {
        let start = self.bar.position();
        let (mut location, mut offset) = self.begin().await?;
        let mut failures = 0;
        while offset < self.artifact.size {
            self.bar.set_position(start + offset);
            let piece = self.piece(offset).await?;
            match self.send(&location, offset, piece).await {
                Ok((next, end)) => {
                    (location, offset, failures) = (next, end, 0);
                    self.remember(&location)?;
                }
                Err(failure) if !is_transient(&failure) || failures == TRIES => {
                    return Err(failure);
                }
                Err(_) => {
                    tokio::time::sleep(WAIT * 2u32.pow(failures)).await;
                    failures += 1;
                    // What arrived of the piece, the server knows.
                    if let Some(known) = self.offset(&location).await {
                        offset = known;
                    }
                }
            }
        }
        let join = if location.contains('?') { '&' } else { '?' };
        let path = format!("{location}{join}digest=sha256:{}", self.artifact.digest);
        let ended = self
            .client
            .send(self.client.request(Method::PUT, &path))
            .await;
        self.forget();
        ended.map(|_| ())
    }

    /// Goes on with an upload that broke off, or begins one.
    async fn begin(&self) -> Result<(String, u64), Failure> {
        if let Ok(location) = std::fs::read_to_string(self.memory())
            && let Some(offset) = self.offset(&location).await
        {
            return Ok((location, offset));
        }
        let path = self.path("blobs/uploads/");
        let response = self
            .client
            .send(self.client.request(Method::POST, &path))
            .await?;
        let location = self.location(&response)?;
        self.remember(&location)?;
        Ok((location, 0))
    }

    /// How much of an upload the server has; nothing when it does not know the upload.
    async fn offset(&self, location: &str) -> Option<u64> {
        let asked = self.client.send(self.client.request(Method::GET, location));
        let response = asked.await.ok()?;
        let range = response.headers().get(RANGE)?.to_str().ok()?;
        let last = range.trim_start_matches("bytes=").strip_prefix("0-")?;
        let last: u64 = last.parse().ok()?;
        // `0-0` is said of nothing as well as of one byte: that byte is never sent alone.
        let offset = if last == 0 { 0 } else { last + 1 };
        (offset <= self.artifact.size).then_some(offset)
    }

    async fn piece(&self, offset: u64) -> Result<Vec<u8>, Failure> {
        let left = usize::try_from(self.artifact.size - offset).unwrap_or(PIECE);
        let mut piece = vec![0; left.min(PIECE)];
        match &self.artifact.content {
            Content::Bytes(bytes) | Content::Manifest(_, bytes) => {
                let from = usize::try_from(offset).expect("what is in memory has an address");
                let len = piece.len();
                piece.copy_from_slice(&bytes[from..from + len]);
            }
            Content::File(path) => {
                let read = read_at(path, offset, &mut piece).await;
                read.map_err(|error| Failure::file(path, &error))?;
            }
        }
        Ok(piece)
    }

    async fn send(
        &self,
        location: &str,
        offset: u64,
        piece: Vec<u8>,
    ) -> Result<(String, u64), Failure> {
        let end = offset + piece.len() as u64;
        let request = self.client.request(Method::PATCH, location);
        let request = request
            .header(CONTENT_RANGE, format!("{offset}-{}", end - 1))
            .header(CONTENT_TYPE, "application/octet-stream");
        let response = self.client.send(request.body(piece)).await?;
        Ok((self.location(&response)?, end))
    }

    /// Where the upload goes on: on this server, for nobody else is sent the token.
    fn location(&self, response: &reqwest::Response) -> Result<String, Failure> {
        let location = response.headers().get(LOCATION);
        let location = location.and_then(|location| location.to_str().ok());
        let location = location.unwrap_or_default();
        let path = location.strip_prefix(self.client.server());
        let path = path.unwrap_or(location);
        if path.starts_with('/') && !path.starts_with("//") {
            return Ok(path.to_owned());
        }
        let message = format!("the server wants the upload to go on elsewhere: {location:?}");
        Err(Failure::new(Code::Failed, message))
    }

    fn memory(&self) -> PathBuf {
        let Artifact {
            repository, digest, ..
        } = self.artifact;
        let key = format!("{} {repository} {digest}", self.client.server());
        let name = Digest::of(key.as_bytes()).to_string();
        self.place.uploads().join(name)
    }

    fn remember(&self, location: &str) -> Result<(), Failure> {
        write_private(&self.memory(), location.as_bytes(), true)
    }

    fn forget(&self) {
        let _gone = std::fs::remove_file(self.memory()).is_err();
    }
}

async fn read_at(path: &Path, offset: u64, piece: &mut [u8]) -> std::io::Result<()> {
    let mut file = tokio::fs::File::open(path).await?;
    file.seek(SeekFrom::Start(offset)).await?;
    file.read_exact(piece).await.map(|_| ())
}

/// Whether trying again can help.
fn is_transient(failure: &Failure) -> bool {
    let status = failure.problem.as_ref().map(|problem| problem.status);
    failure.code == Code::Unreachable
        || status.is_some_and(|status| status >= 500 || status == 429 || status == 416)
}
