//! Where blobs are: a folder, or a bucket of S3. Addressed by digest, whole or absent.
//!
//! What arrives is staged on this machine first, because an upload may break off and go on, and
//! is placed only when its digest is right.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::aws::AmazonS3Builder;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt, WriteMultipart};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;

use crate::config::{Blobs, Config};
use crate::folder;

/// Bytes read at once.
const PIECE: usize = 64 * 1024;
/// Parts of one upload to a bucket that are under way at once.
const PARTS: usize = 4;

/// The blob store.
pub(crate) enum Store {
    Folder(PathBuf),
    Bucket(Arc<dyn ObjectStore>),
}

/// A part of a blob: from a byte, so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) from: u64,
    pub(crate) len: u64,
}

/// The bytes of a blob as they come.
pub(crate) type Pieces = BoxStream<'static, io::Result<Bytes>>;

impl Store {
    /// The store that the configuration names.
    pub(crate) fn open(config: &Config) -> io::Result<Self> {
        match &config.blobs {
            Blobs::Folder => {
                let path = config.data.join("blobs");
                folder::make(&path)?;
                Ok(Self::Folder(path))
            }
            Blobs::S3 {
                bucket,
                region,
                endpoint,
                access_key_id,
                secret_access_key_file,
                allow_http,
            } => {
                let secret = std::fs::read_to_string(secret_access_key_file)?;
                let builder = AmazonS3Builder::new()
                    .with_bucket_name(bucket)
                    .with_region(region);
                let builder = builder
                    .with_access_key_id(access_key_id)
                    .with_secret_access_key(secret.trim());
                let builder = builder.with_allow_http(*allow_http);
                let builder = match endpoint {
                    Some(endpoint) => builder.with_endpoint(endpoint),
                    None => builder,
                };
                let store = builder.build().map_err(io::Error::other)?;
                Ok(Self::Bucket(Arc::new(store)))
            }
        }
    }

    /// Puts a staged file in its place; it is there for good when this returns.
    pub(crate) async fn place(&self, staged: &Path, digest: &str) -> io::Result<()> {
        match self {
            Self::Folder(root) => {
                let (staged, path) = (staged.to_owned(), root.join(key(digest)?));
                let work = move || {
                    std::fs::File::open(&staged)?.sync_all()?;
                    folder::make(path.parent().expect("a blob's path has a folder"))?;
                    std::fs::rename(&staged, &path)?;
                    folder::sync_parent(&path)
                };
                tokio::task::spawn_blocking(work)
                    .await
                    .map_err(io::Error::other)?
            }
            Self::Bucket(bucket) => {
                let upload = bucket
                    .put_multipart(&key(digest)?.as_str().into())
                    .await
                    .map_err(io::Error::other)?;
                let mut writer = WriteMultipart::new(upload);
                let mut file = tokio::fs::File::open(staged).await?;
                let mut piece = vec![0; PIECE];
                loop {
                    let len = file.read(&mut piece).await?;
                    if len == 0 {
                        break;
                    }
                    writer
                        .wait_for_capacity(PARTS)
                        .await
                        .map_err(io::Error::other)?;
                    writer.write(&piece[..len]);
                }
                writer.finish().await.map_err(io::Error::other)?;
                tokio::fs::remove_file(staged).await
            }
        }
    }

    /// A part of a blob, piece by piece.
    pub(crate) async fn read(&self, digest: &str, part: Part) -> io::Result<Pieces> {
        match self {
            Self::Folder(root) => {
                let mut file = tokio::fs::File::open(root.join(key(digest)?)).await?;
                file.seek(io::SeekFrom::Start(part.from)).await?;
                Ok(ReaderStream::with_capacity(file.take(part.len), PIECE).boxed())
            }
            Self::Bucket(_) if part.len == 0 => Ok(futures_util::stream::empty().boxed()),
            Self::Bucket(bucket) => {
                let range = GetRange::Bounded(part.from..part.from + part.len);
                let options = GetOptions {
                    range: Some(range),
                    ..GetOptions::default()
                };
                let found = bucket
                    .get_opts(&key(digest)?.as_str().into(), options)
                    .await
                    .map_err(io::Error::other)?;
                Ok(found
                    .into_stream()
                    .map(|piece| piece.map_err(io::Error::other))
                    .boxed())
            }
        }
    }

    /// A blob that is known to be small.
    pub(crate) async fn read_all(&self, digest: &str) -> io::Result<Vec<u8>> {
        match self {
            Self::Folder(root) => tokio::fs::read(root.join(key(digest)?)).await,
            Self::Bucket(bucket) => {
                let found = bucket
                    .get(&key(digest)?.as_str().into())
                    .await
                    .map_err(io::Error::other)?;
                Ok(found.bytes().await.map_err(io::Error::other)?.to_vec())
            }
        }
    }

    /// Removes a blob; removing one that is not there is as good.
    pub(crate) async fn delete(&self, digest: &str) -> io::Result<()> {
        let gone = match self {
            Self::Folder(root) => tokio::fs::remove_file(root.join(key(digest)?)).await,
            Self::Bucket(bucket) => match bucket.delete(&key(digest)?.as_str().into()).await {
                Err(object_store::Error::NotFound { .. }) | Ok(()) => Ok(()),
                Err(error) => Err(io::Error::other(error)),
            },
        };
        match gone {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Where a blob is, below the root: `sha256/ab/ab…`.
fn key(digest: &str) -> io::Result<String> {
    let parts = digest
        .split_once(':')
        .filter(|(_, hex)| hex.len() >= 2 && hex.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let (algorithm @ ("sha256" | "sha512"), hex) = parts.unwrap_or_default() else {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a digest"));
    };
    Ok(format!("{algorithm}/{}/{hex}", &hex[..2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_never_leads_out_of_the_store() {
        assert_eq!(key("sha256:abcd").unwrap(), "sha256/ab/abcd");
        for bad in [
            "",
            "sha256:",
            "sha256:../../etc",
            "md5:abcd",
            "../x:abcd",
            "sha256:é1",
        ] {
            assert!(key(bad).is_err(), "{bad}");
        }
    }
}
