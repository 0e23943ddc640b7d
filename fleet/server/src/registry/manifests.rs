//! Manifests, tags and referrers.

use axum::body::Body;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest::{SHA256, SHA512, digest};
use serde_json::{Value, json};

use super::Asked;
use super::blobs::named;
use super::names::{Repository, is_digest, is_tag};
use super::refusal::{Refusal, Reply, refuse, unsupported};
use super::uploads::located;
use crate::db::manifests::{Manifest, New};
use crate::{App, clock, db};

/// The largest manifest, as the specification asks for.
const MANIFEST_BYTES: usize = 4 << 20;
/// Tags of one page, unless fewer are asked for.
const TAGS: i64 = 1000;
/// What a list of referrers is.
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// What a manifest is that does not say.
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Reads, writes or removes a manifest or a tag.
pub(super) async fn manifest(asked: Asked, reference: &str) -> Reply {
    match asked.method {
        Method::PUT => put(asked, reference).await,
        Method::GET | Method::HEAD => get(asked, reference).await,
        Method::DELETE => delete(asked, reference).await,
        _ => Err(unsupported()),
    }
}

fn unknown() -> Refusal {
    refuse(
        StatusCode::NOT_FOUND,
        "MANIFEST_UNKNOWN",
        "no such manifest in this repository",
    )
}

async fn find(app: &App, repository: &Repository, reference: &str) -> Result<Manifest, Refusal> {
    let found = if is_digest(reference) {
        db::manifests::find(&app.db, &repository.name, reference).await?
    } else if is_tag(reference) {
        db::manifests::find_tagged(&app.db, &repository.name, reference).await?
    } else {
        None
    };
    found.ok_or_else(unknown)
}

async fn get(asked: Asked, reference: &str) -> Reply {
    let found = find(&asked.app, &asked.repository, reference).await?;
    let length = found.body.len();
    let body = if asked.method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(found.body)
    };
    let mut response = Response::new(body);
    let kind = HeaderValue::from_str(&found.media_type)
        .unwrap_or_else(|_| HeaderValue::from_static(MANIFEST));
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
        .headers_mut()
        .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    named(&mut response, &found.digest);
    Ok(response)
}

async fn delete(asked: Asked, reference: &str) -> Reply {
    let mut tx = asked.app.db.write().await?;
    let repository = asked.repository.name.as_str();
    let gone = if is_digest(reference) {
        db::manifests::delete(&mut tx, repository, reference).await?
    } else {
        db::manifests::delete_tag(&mut tx, repository, reference).await?
    };
    if !gone {
        return Err(unknown());
    }
    tx.commit().await?;
    Ok(StatusCode::ACCEPTED.into_response())
}

fn invalid(why: &str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why)
}

async fn put(asked: Asked, reference: &str) -> Reply {
    let by_digest = reference.contains(':');
    if by_digest && !is_digest(reference) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "not a digest that is known here",
        ));
    }
    if !by_digest && !is_tag(reference) {
        return Err(invalid("not a tag"));
    }
    let (app, repository) = (asked.app.clone(), asked.repository.clone());
    let declared = asked
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .map(str::to_owned);
    let body = axum::body::to_bytes(asked.body, MANIFEST_BYTES).await;
    let body = body
        .map_err(|_| {
            refuse(
                StatusCode::PAYLOAD_TOO_LARGE,
                "SIZE_INVALID",
                "at most 4 MiB",
            )
        })?
        .to_vec();
    let own = if reference.starts_with("sha512:") {
        format!("sha512:{}", hex::encode(digest(&SHA512, &body)))
    } else {
        format!("sha256:{}", hex::encode(digest(&SHA256, &body)))
    };
    if by_digest && own != reference {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "the bytes do not have that digest",
        ));
    }
    let sent = Sent {
        digest: own.clone(),
        body,
        declared,
        tag: Some(reference).filter(|_| !by_digest),
    };
    let subject = keep(&app, &repository, sent).await?;
    let mut response = StatusCode::CREATED.into_response();
    located(
        &mut response,
        &format!("/v2/{}/manifests/{own}", repository.name),
    );
    named(&mut response, &own);
    if let Some(subject) = subject {
        let subject = HeaderValue::from_str(&subject).expect("a digest is letters and digits");
        response.headers_mut().insert("oci-subject", subject);
    }
    Ok(response)
}

/// A manifest to be stored.
pub(super) struct Sent<'a> {
    /// The digest that it has.
    pub(super) digest: String,
    pub(super) body: Vec<u8>,
    /// The media type that was said to be its.
    pub(super) declared: Option<String>,
    pub(super) tag: Option<&'a str>,
}

/// Stores a manifest whose parts are there already; returns the digest of its subject.
pub(super) async fn keep(
    app: &App,
    repository: &Repository,
    sent: Sent<'_>,
) -> Result<Option<String>, Refusal> {
    let (own, body, declared) = (sent.digest, sent.body, sent.declared);
    let value: Value = serde_json::from_slice(&body).map_err(|_| invalid("not JSON"))?;
    let children = children(&value)?;
    let mut tx = app.db.write().await?;
    for child in children.iter().filter(|child| child.needed) {
        if !present(&app.db, &repository.name, child).await? {
            return Err(refuse(
                StatusCode::NOT_FOUND,
                "MANIFEST_BLOB_UNKNOWN",
                child.digest.as_str(),
            ));
        }
    }
    let media_type = value["mediaType"]
        .as_str()
        .map(str::to_owned)
        .or(declared)
        .unwrap_or_else(|| MANIFEST.to_owned());
    let descriptor = describe(&value, &media_type, &own, body.len());
    let subject = value["subject"]["digest"]
        .as_str()
        .filter(|subject| is_digest(subject))
        .map(str::to_owned);
    let manifest = Manifest {
        digest: own.clone(),
        media_type,
        body,
    };
    let names: Vec<String> = children.into_iter().map(|child| child.digest).collect();
    let new = New {
        fleet: &repository.fleet,
        repository: &repository.name,
        manifest: &manifest,
        subject: subject.as_deref(),
        descriptor: &descriptor,
        children: &names,
        now_ms: clock::now_ms(),
    };
    db::manifests::put(&mut tx, &new).await?;
    if let Some(tag) = sent.tag {
        db::manifests::put_tag(&mut tx, &repository.name, tag, &own).await?;
    }
    tx.commit().await?;
    Ok(subject)
}

/// What a manifest is made of.
struct Child {
    digest: String,
    manifest: bool,
    needed: bool,
}

fn children(value: &Value) -> Result<Vec<Child>, Refusal> {
    let list = |name: &str| {
        value[name]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default()
    };
    let config = value.get("config").into_iter();
    let blobs = list("layers").iter().chain(config).map(|one| (one, false));
    let manifests = list("manifests").iter().map(|one| (one, true));
    let mut children = Vec::new();
    for (descriptor, manifest) in blobs.chain(manifests) {
        let digest = descriptor["digest"]
            .as_str()
            .filter(|digest| is_digest(digest));
        let digest = digest
            .ok_or_else(|| invalid("a descriptor has no digest that is known here"))?
            .to_owned();
        let foreign = |kind: &str| kind.contains("nondistributable") || kind.contains("foreign");
        let needed = !descriptor["mediaType"].as_str().is_some_and(foreign);
        children.push(Child {
            digest,
            manifest,
            needed,
        });
    }
    Ok(children)
}

async fn present(db: &db::Db, repository: &str, child: &Child) -> Result<bool, Refusal> {
    if child.manifest {
        Ok(db::manifests::find(db, repository, &child.digest)
            .await?
            .is_some())
    } else {
        Ok(db::blobs::size(db, repository, &child.digest)
            .await?
            .is_some())
    }
}

/// What a list of referrers says of a manifest.
fn describe(value: &Value, media_type: &str, digest: &str, size: usize) -> String {
    let mut descriptor = json!({"mediaType": media_type, "digest": digest, "size": size});
    let kind = value["artifactType"]
        .as_str()
        .or(value["config"]["mediaType"].as_str());
    if let Some(kind) = kind.filter(|kind| !kind.is_empty()) {
        descriptor["artifactType"] = kind.into();
    }
    if value["annotations"].is_object() {
        descriptor["annotations"] = value["annotations"].clone();
    }
    descriptor.to_string()
}

/// The tags of a repository, in order.
pub(super) async fn tags(asked: Asked) -> Reply {
    if asked.method != Method::GET {
        return Err(unsupported());
    }
    let name = asked.repository.name.as_str();
    let asked_for = asked.query("n").and_then(|n| n.parse::<i64>().ok());
    let limit = asked_for.unwrap_or(TAGS).clamp(0, TAGS);
    let last = asked.query("last").unwrap_or_default();
    let mut tags = db::manifests::tags(&asked.app.db, name, last, limit + 1).await?;
    if tags.is_empty() && !db::blobs::repository_exists(&asked.app.db, name).await? {
        return Err(refuse(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "no such repository",
        ));
    }
    let more = tags.len() as u64 > limit.unsigned_abs();
    tags.truncate(usize::try_from(limit).unwrap_or_default());
    let mut response = axum::Json(json!({"name": name, "tags": tags})).into_response();
    if let Some(last) = tags.last().filter(|_| more) {
        let link = format!("</v2/{name}/tags/list?n={limit}&last={last}>; rel=\"next\"");
        let link = HeaderValue::from_str(&link)
            .expect("checked names are letters, digits and a few signs");
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The manifests that refer to a subject.
pub(super) async fn referrers(asked: Asked, subject: &str) -> Reply {
    if asked.method != Method::GET {
        return Err(unsupported());
    }
    if !is_digest(subject) {
        return Err(refuse(
            StatusCode::BAD_REQUEST,
            "DIGEST_INVALID",
            "not a digest that is known here",
        ));
    }
    let rows = db::manifests::referrers(&asked.app.db, &asked.repository.name, subject).await?;
    let mut manifests: Vec<Value> = rows
        .iter()
        .filter_map(|row| serde_json::from_str(row).ok())
        .collect();
    let kind = asked.query("artifactType");
    if let Some(kind) = kind {
        manifests.retain(|manifest| manifest["artifactType"].as_str() == Some(kind));
    }
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests});
    let mut response = ([(header::CONTENT_TYPE, INDEX)], index.to_string()).into_response();
    if kind.is_some() {
        response.headers_mut().insert(
            "oci-filters-applied",
            HeaderValue::from_static("artifactType"),
        );
    }
    Ok(response)
}
