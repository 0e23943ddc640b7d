//! Blobs: reading them, and taking them out of a repository.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};

use super::Asked;
use super::names::is_digest;
use super::refusal::{Refusal, Reply, refuse, unsupported};
use crate::db;
use crate::http::range;

/// Sends a blob or a part of it, or takes it out.
pub(super) async fn blob(asked: Asked, digest: &str) -> Reply {
    if !is_digest(digest) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "not a digest that is known here",
        ));
    }
    match asked.method {
        Method::GET | Method::HEAD => read(asked, digest).await,
        Method::DELETE => {
            let mut tx = asked.app.db.write().await?;
            if !db::blobs::unlink(&mut tx, &asked.repository.name, digest).await? {
                return Err(unknown());
            }
            tx.commit().await?;
            Ok(StatusCode::ACCEPTED.into_response())
        }
        _ => Err(unsupported()),
    }
}

async fn read(asked: Asked, digest: &str) -> Reply {
    let size = db::blobs::size(&asked.app.db, &asked.repository.name, digest)
        .await?
        .ok_or_else(unknown)?;
    let mut response = range::stored(&asked.app, &asked.headers, digest, size).await?;
    named(&mut response, digest);
    if asked.method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    Ok(response)
}

/// Says which blob or manifest this is.
pub(super) fn named(response: &mut Response, digest: &str) {
    let digest = HeaderValue::from_str(digest).expect("a digest is letters and digits");
    response
        .headers_mut()
        .insert("docker-content-digest", digest);
}

fn unknown() -> Refusal {
    refuse(
        StatusCode::NOT_FOUND,
        "BLOB_UNKNOWN",
        "no such blob in this repository",
    )
}
