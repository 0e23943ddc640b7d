//! Releases: signed elsewhere, checked and handed out here.

use std::collections::BTreeMap;

use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_api::{Invalidation, Name, NewRelease, Release, ReleaseState, Role};
use lightship_core::id::Digest;
use lightship_core::target::{Component, Kind};
use lightship_core::trust::Root;
use lightship_director as director;

use super::caller::Caller;
use super::check;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use crate::db::releases::Stored;
use crate::db::{self, Entry, Tx};
use crate::signer::oci;
use crate::specs::Specs;
use crate::{App, clock, direct, release};

/// Documents of one release.
const DOCUMENTS: usize = 64;

/// The fleet's releases, oldest first.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/releases", operation_id = "listReleases", tag = "releases", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Releases", body = Vec<Release>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
) -> Answer<Json<Vec<Release>>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    let releases = db::releases::list(&app.db, &fleet).await?;
    Ok(Json(releases.iter().map(Stored::shown).collect()))
}

/// One release.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/releases/{release}", operation_id = "showRelease", tag = "releases", params(("fleet" = Name, Path, description = "The fleet's name"), ("release" = u64, Path, description = "The release's number")), responses((status = 200, description = "The release", body = Release)))]
pub(super) async fn show(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
) -> Answer<Json<Release>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    Ok(Json(find(&app, &fleet, number).await?.shown()))
}

/// One signed document of a release, with what was checked of it.
struct Checked {
    document: Vec<u8>,
    digest: Digest,
    device_type: String,
    version: String,
    components: Vec<Component>,
}

/// Upload a signed release; uploading the same documents again is as good as once.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/releases", operation_id = "createRelease", tag = "releases", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 201, description = "Uploaded", body = Release), (status = 200, description = "It was there already", body = Release)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Json(new): Json<NewRelease>,
) -> Answer<(StatusCode, Json<Release>)> {
    caller.require(&app, &fleet, Role::Developer).await?;
    if !(1..=DOCUMENTS).contains(&new.documents.len()) {
        return Err(Failure::invalid(
            "documents",
            format!("1 to {DOCUMENTS} documents"),
        ));
    }
    let root = db::roots::newest(&app.db, &fleet).await?;
    let root =
        root.ok_or_else(|| Failure::conflict("the fleet has no trust root yet: upload one first"))?;
    let root =
        release::root(&root).map_err(|offence| Failure::internal(release::words(offence)))?;
    let mut checked = Vec::new();
    for (position, document) in new.documents.iter().enumerate() {
        let field = format!("documents[{position}]");
        checked.push(check_document(&app, &fleet, &root, &field, document).await?);
    }
    let state = if new.draft {
        ReleaseState::Draft
    } else {
        ReleaseState::Final
    };
    let (stored, made) = store(&app, &caller, &fleet, checked, state).await?;
    if made {
        let facts = direct::release_facts(&Specs::of(&app, &fleet), &stored).await;
        app.tell(&fleet, director::Event::Release(stored.number, facts))
            .await?;
    }
    let status = if made {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(stored.shown())))
}

async fn check_document(
    app: &App,
    fleet: &Name,
    root: &Root,
    field: &str,
    document: &str,
) -> Answer<Checked> {
    let invalid = |detail: String| Failure::invalid(field, detail);
    let document = STANDARD
        .decode(document)
        .map_err(|_| invalid("not base64".to_owned()))?;
    let (payload, head, components) =
        release::verified(&document, root).map_err(|offence| invalid(release::words(offence)))?;
    let product = db::fleets::find(&app.db, fleet)
        .await?
        .map(|fleet| fleet.product);
    if product
        .as_ref()
        .is_none_or(|product| product.as_str() != head.product.as_str())
    {
        return Err(invalid(format!(
            "it is a release of {}, not of this fleet's product",
            head.product
        )));
    }
    for component in &components {
        present(app, fleet, component).await?.map_err(invalid)?;
    }
    Specs::of(app, fleet)
        .read(&payload)
        .await
        .map_err(|error| invalid(error.to_string()))?;
    Ok(Checked {
        digest: Digest::of(&payload),
        device_type: head.device_type.to_string(),
        version: head.version.to_string(),
        document,
        components,
    })
}

/// Whether what a component is made of was uploaded, with the size that was signed.
async fn present(app: &App, fleet: &Name, component: &Component) -> Answer<Result<(), String>> {
    let (name, artifact) = (&component.name, oci(&component.artifact.digest));
    let manifest = db::manifests::body_in_fleet(&app.db, fleet, &artifact)
        .await?
        .map(|body| body.len() as u64);
    let size = match manifest {
        Some(size) => Some(size),
        None => db::blobs::size_in_fleet(&app.db, fleet, &artifact).await?,
    };
    if size != Some(component.artifact.size) {
        return Ok(Err(format!(
            "component {name}: artifact {artifact} of {} bytes was not uploaded",
            component.artifact.size
        )));
    }
    let spec = db::blobs::size_in_fleet(&app.db, fleet, &oci(&component.spec)).await?;
    match component.kind {
        Kind::Container if spec.is_none() => {
            Ok(Err(format!("component {name}: its spec was not uploaded")))
        }
        Kind::Container | Kind::Firmware | Kind::HostOs | Kind::Agent => Ok(Ok(())),
    }
}

async fn store(
    app: &App,
    caller: &Caller,
    fleet: &Name,
    checked: Vec<Checked>,
    state: ReleaseState,
) -> Answer<(Stored, bool)> {
    let mut tx = app.db.write().await?;
    if let Some(number) = known(&mut tx, fleet, &checked).await? {
        drop(tx);
        return Ok((find(app, fleet, number).await?, false));
    }
    let number = db::releases::next_number(&mut tx, fleet).await?;
    let version = checked
        .first()
        .map(|document| document.version.clone())
        .unwrap_or_default();
    let mut stored = Stored {
        number,
        version,
        state,
        reason: None,
        plan: None,
        progress: None,
        created_by: caller.user.clone(),
        created_at: clock::now(),
        documents: BTreeMap::new(),
    };
    db::releases::insert(&mut tx, fleet, &stored).await?;
    for document in checked {
        let digest = document.digest.to_string();
        if stored.documents.contains_key(&document.device_type) {
            return Err(Failure::invalid(
                "documents",
                format!("two documents are for {}", document.device_type),
            ));
        }
        db::releases::insert_document(
            &mut tx,
            fleet,
            number,
            &document.device_type,
            &digest,
            &document.document,
        )
        .await?;
        for component in &document.components {
            db::releases::keep_blob(&mut tx, fleet, number, &oci(&component.artifact.digest))
                .await?;
            db::releases::keep_blob(&mut tx, fleet, number, &oci(&component.spec)).await?;
        }
        stored
            .documents
            .insert(document.device_type, document.document);
    }
    record(
        &mut tx,
        caller,
        fleet,
        number,
        "release.created",
        stored.version.clone(),
    )
    .await?;
    tx.commit().await?;
    Ok((stored, true))
}

/// The release that has exactly these documents.
async fn known(tx: &mut Tx<'_>, fleet: &Name, checked: &[Checked]) -> Answer<Option<u64>> {
    let mut numbers = Vec::new();
    for document in checked {
        numbers.push(db::releases::with_document(tx, fleet, &document.digest.to_string()).await?);
    }
    match numbers.first().copied().flatten() {
        Some(first) if numbers.iter().all(|number| *number == Some(first)) => Ok(Some(first)),
        _ if numbers.iter().any(Option::is_some) => Err(Failure::conflict(
            "some of these documents belong to another release",
        )),
        _ => Ok(None),
    }
}

/// Hand a draft out to every device that follows the fleet.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/releases/{release}/finalize", operation_id = "finalizeRelease", tag = "releases", params(("fleet" = Name, Path, description = "The fleet's name"), ("release" = u64, Path, description = "The release's number")), responses((status = 200, description = "Final", body = Release)))]
pub(super) async fn finalize(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
) -> Answer<Json<Release>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    set_state(&app, &caller, &fleet, number, ReleaseState::Final, None).await
}

/// Hand a release out no more, and say why.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/releases/{release}/invalidate", operation_id = "invalidateRelease", tag = "releases", params(("fleet" = Name, Path, description = "The fleet's name"), ("release" = u64, Path, description = "The release's number")), responses((status = 200, description = "Invalid", body = Release)))]
pub(super) async fn invalidate(
    State(app): State<App>,
    caller: Caller,
    Path((fleet, number)): Path<(Name, u64)>,
    Json(why): Json<Invalidation>,
) -> Answer<Json<Release>> {
    caller.require(&app, &fleet, Role::Developer).await?;
    check::text("reason", &why.reason, 256)?;
    if why.reason.is_empty() {
        return Err(Failure::invalid("reason", "say why"));
    }
    set_state(
        &app,
        &caller,
        &fleet,
        number,
        ReleaseState::Invalid,
        Some(why.reason),
    )
    .await
}

async fn set_state(
    app: &App,
    caller: &Caller,
    fleet: &Name,
    number: u64,
    state: ReleaseState,
    reason: Option<String>,
) -> Answer<Json<Release>> {
    let mut stored = find(app, fleet, number).await?;
    if stored.state == ReleaseState::Invalid && state != ReleaseState::Invalid {
        return Err(Failure::conflict("an invalid release stays invalid"));
    }
    let mut tx = app.db.write().await?;
    db::releases::set_state(&mut tx, fleet, number, state, reason.as_deref()).await?;
    let what = if state == ReleaseState::Invalid {
        "release.invalidated"
    } else {
        "release.finalized"
    };
    record(
        &mut tx,
        caller,
        fleet,
        number,
        what,
        reason.clone().unwrap_or_default(),
    )
    .await?;
    tx.commit().await?;
    (stored.state, stored.reason) = (state, reason);
    let facts = direct::release_facts(&Specs::of(app, fleet), &stored).await;
    app.tell(fleet, director::Event::Release(number, facts))
        .await?;
    Ok(Json(stored.shown()))
}

/// A release that must be there.
pub(super) async fn find(app: &App, fleet: &Name, number: u64) -> Answer<Stored> {
    db::releases::find(&app.db, fleet, number)
        .await?
        .ok_or_else(|| Failure::not_found("release"))
}

/// Records what somebody did with a release.
pub(super) async fn record(
    tx: &mut Tx<'_>,
    caller: &Caller,
    fleet: &Name,
    number: u64,
    what: &'static str,
    detail: String,
) -> Answer<()> {
    let (by, subject) = (caller.by(), number.to_string());
    tx.record(Entry {
        by: &by,
        fleet: Some(fleet),
        what,
        subject: &subject,
        detail,
    })
    .await?;
    Ok(())
}
