//! Uploads: whole, in pieces, or mounted from another repository; one that breaks off goes on.
//!
//! What has arrived is a file on this machine whose name says which repository it is for, so a
//! restart loses nothing and one repository cannot go on with another's upload.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use ring::digest::{Context, SHA256, SHA512};
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Asked;
use super::blobs::named;
use super::names::{Repository, is_digest};
use super::refusal::{Refusal, Reply, refuse, unsupported};
use crate::{App, clock, db, folder, secret};

/// Bytes read at once.
const PIECE: usize = 64 * 1024;

/// How long an upload may be silent before it counts as broken off.
const IDLE: Duration = Duration::from_secs(60);

/// Where uploads are staged, and which of them are being written to.
pub(crate) struct Uploads {
    folder: PathBuf,
    busy: Mutex<HashSet<String>>,
}

/// The right to write to an upload.
struct Turn<'a> {
    uploads: &'a Uploads,
    id: String,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.uploads
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.id);
    }
}

impl Uploads {
    /// Below the data folder.
    pub(crate) fn open(data: &Path) -> std::io::Result<Self> {
        let path = data.join("uploads");
        folder::make(&path)?;
        Ok(Self {
            folder: path,
            busy: Mutex::default(),
        })
    }

    fn path(&self, repository: &Repository, id: &str) -> PathBuf {
        self.folder.join(format!(
            "{id}-{}",
            &secret::sha256_hex(repository.name.as_bytes())[..16]
        ))
    }

    fn turn(&self, id: &str) -> Result<Turn<'_>, Refusal> {
        let free = self
            .busy
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned());
        let busy = || {
            refuse(
                StatusCode::CONFLICT,
                "BLOB_UPLOAD_INVALID",
                "this upload is being written to",
            )
        };
        free.then(|| Turn {
            uploads: self,
            id: id.to_owned(),
        })
        .ok_or_else(busy)
    }

    /// Removes what nobody has gone on with since.
    pub(crate) fn sweep(&self, before: std::time::SystemTime) -> std::io::Result<()> {
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            if entry.metadata()?.modified()? < before {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

/// Starts an upload, or does all of it at once.
pub(super) async fn start(asked: Asked) -> Reply {
    if asked.method != Method::POST {
        return Err(unsupported());
    }
    if let (Some(digest), Some(from)) = (asked.query("mount"), asked.query("from"))
        && let Some(size) = mounted(&asked.app, from, digest).await?
    {
        let digest = digest.to_owned();
        link(&asked.app, &asked.repository, &digest, size).await?;
        return created(&asked.repository, &digest);
    }
    let id = secret::new_id() + &secret::new_id();
    let path = asked.app.uploads.path(&asked.repository, &id);
    File::create_new(&path).await?;
    let Some(digest) = asked.query("digest").map(str::to_owned) else {
        return progress(StatusCode::ACCEPTED, &asked.repository, &id, 0);
    };
    let _turn = asked.app.uploads.turn(&id)?;
    let (app, repository) = (asked.app.clone(), asked.repository.clone());
    append(&app, &path, 0, asked.body).await?;
    finish(&app, &repository, &path, &digest).await
}

/// The size of a blob that another repository has.
async fn mounted(app: &App, from: &str, digest: &str) -> Result<Option<u64>, Refusal> {
    match Repository::parse(from) {
        Some(from) if is_digest(digest) => Ok(db::blobs::size(&app.db, &from.name, digest).await?),
        _ => Ok(None),
    }
}

/// Goes on with an upload, asks how far it is, ends it, or gives it up.
pub(super) async fn go_on(asked: Asked, id: &str) -> Reply {
    let unknown = || {
        refuse(
            StatusCode::NOT_FOUND,
            "BLOB_UPLOAD_UNKNOWN",
            "no such upload in this repository",
        )
    };
    if id.len() != 32 || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(unknown());
    }
    let path = asked.app.uploads.path(&asked.repository, id);
    let length = tokio::fs::metadata(&path)
        .await
        .map_err(|_| unknown())?
        .len();
    let (app, repository) = (asked.app.clone(), asked.repository.clone());
    match asked.method {
        Method::GET => progress(StatusCode::NO_CONTENT, &repository, id, length),
        Method::DELETE => {
            let _turn = app.uploads.turn(id)?;
            tokio::fs::remove_file(&path).await?;
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        Method::PATCH | Method::PUT => {
            let _turn = app.uploads.turn(id)?;
            if !goes_on_at(&asked, length) {
                return progress(StatusCode::RANGE_NOT_SATISFIABLE, &repository, id, length);
            }
            let digest = asked.query("digest").map(str::to_owned);
            if asked.method == Method::PATCH {
                let length = append(&app, &path, length, asked.body).await?;
                return progress(StatusCode::ACCEPTED, &repository, id, length);
            }
            let missing = || {
                refuse(
                    StatusCode::BAD_REQUEST,
                    "DIGEST_INVALID",
                    "say which digest it should have",
                )
            };
            let digest = digest.ok_or_else(missing)?;
            append(&app, &path, length, asked.body).await?;
            finish(&app, &repository, &path, &digest).await
        }
        _ => Err(unsupported()),
    }
}

/// Whether a piece begins where the last one ended; one that does not say so does.
fn goes_on_at(asked: &Asked, length: u64) -> bool {
    let range = asked
        .headers
        .get(header::CONTENT_RANGE)
        .and_then(|range| range.to_str().ok());
    let from = range.map(|range| {
        range
            .trim_start_matches("bytes ")
            .split('-')
            .next()
            .and_then(|from| from.parse().ok())
    });
    from.is_none_or(|from| from == Some(length))
}

async fn append(
    app: &App,
    path: &Path,
    mut length: u64,
    body: axum::body::Body,
) -> Result<u64, Refusal> {
    let mut file = OpenOptions::new().append(true).open(path).await?;
    let mut pieces = body.into_data_stream();
    loop {
        let piece = match tokio::time::timeout(IDLE, pieces.next()).await {
            Ok(None) => break,
            Ok(Some(Ok(piece))) => piece,
            // What arrived before the connection broke or fell silent stays, and the upload goes on from there.
            Ok(Some(Err(_))) | Err(_) => {
                file.flush().await?;
                return Err(refuse(
                    StatusCode::BAD_REQUEST,
                    "BLOB_UPLOAD_INVALID",
                    "the upload broke off",
                ));
            }
        };
        length += piece.len() as u64;
        if length > app.config.limits.blob_bytes {
            return Err(refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                "the blob is larger than is taken",
            ));
        }
        file.write_all(&piece).await?;
    }
    file.flush().await?;
    Ok(length)
}

/// Puts a copy of a file into a repository, as an upload that ends at once.
pub(super) async fn copy_in(
    app: &App,
    repository: &Repository,
    from: &Path,
    digest: &str,
) -> Result<(), Refusal> {
    let id = secret::new_id() + &secret::new_id();
    let path = app.uploads.path(repository, &id);
    tokio::fs::copy(from, &path).await?;
    finish(app, repository, &path, digest).await.map(|_| ())
}

async fn finish(app: &App, repository: &Repository, path: &Path, digest: &str) -> Reply {
    let right = is_digest(digest) && hash(path, digest.starts_with("sha512:")).await? == digest;
    if !right {
        tokio::fs::remove_file(path).await?;
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "the bytes do not have that digest",
        ));
    }
    let size = tokio::fs::metadata(path).await?.len();
    // Nothing is collected between the two: the row without the bytes would be a lie.
    let _no_collection = app.collection.read().await;
    app.store.place(path, digest).await?;
    link(app, repository, digest, size).await?;
    created(repository, digest)
}

pub(super) async fn link(
    app: &App,
    repository: &Repository,
    digest: &str,
    size: u64,
) -> Result<(), Refusal> {
    let mut tx = app.db.write().await?;
    db::blobs::link(
        &mut tx,
        &repository.fleet,
        &repository.name,
        digest,
        size,
        clock::now_ms(),
    )
    .await?;
    Ok(tx.commit().await?)
}

/// The digest of a file, as the registry writes it.
async fn hash(path: &Path, sha512: bool) -> std::io::Result<String> {
    let mut context = Context::new(if sha512 { &SHA512 } else { &SHA256 });
    let mut file = File::open(path).await?;
    let mut piece = vec![0; PIECE];
    loop {
        let length = file.read(&mut piece).await?;
        if length == 0 {
            break;
        }
        context.update(&piece[..length]);
    }
    let algorithm = if sha512 { "sha512" } else { "sha256" };
    Ok(format!("{algorithm}:{}", hex::encode(context.finish())))
}

fn created(repository: &Repository, digest: &str) -> Reply {
    let mut response = StatusCode::CREATED.into_response();
    located(
        &mut response,
        &format!("/v2/{}/blobs/{digest}", repository.name),
    );
    named(&mut response, digest);
    Ok(response)
}

fn progress(status: StatusCode, repository: &Repository, id: &str, length: u64) -> Reply {
    let mut response = status.into_response();
    located(
        &mut response,
        &format!("/v2/{}/blobs/uploads/{id}", repository.name),
    );
    let range = format!("0-{}", length.saturating_sub(1));
    response.headers_mut().insert(
        header::RANGE,
        HeaderValue::from_str(&range).expect("digits"),
    );
    response.headers_mut().insert(
        "docker-upload-uuid",
        HeaderValue::from_str(id).expect("hexadecimal"),
    );
    Ok(response)
}

/// Says where something is.
pub(super) fn located(response: &mut Response, path: &str) {
    let path =
        HeaderValue::from_str(path).expect("checked names are letters, digits and a few signs");
    response.headers_mut().insert(header::LOCATION, path);
}
