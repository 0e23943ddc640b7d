//! The trust root of a fleet, version by version.

use axum::extract::State;
use axum::http::StatusCode;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lightship_api::{DirectorKey, Name, NewRoot, Role, Root};
use lightship_core::trust::Role as Signs;
use lightship_director as director;

use super::caller::Caller;
use super::extract::{Json, Path};
use super::failure::{Answer, Failure};
use crate::db::{self, Entry};
use crate::roster::Head;
use crate::{App, clock, direct, release};

/// The key that a trust root has to name as director.
#[utoipa::path(get, path = "/api/v1/director", operation_id = "showDirectorKey", tag = "roots", responses((status = 200, description = "The key", body = DirectorKey)))]
pub(super) async fn director_key(State(app): State<App>, _caller: Caller) -> Json<DirectorKey> {
    Json(DirectorKey {
        public_key: app.signer.public().to_string(),
    })
}

/// All versions of the fleet's trust root, oldest first.
#[utoipa::path(get, path = "/api/v1/fleets/{fleet}/roots", operation_id = "listRoots", tag = "roots", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 200, description = "Roots", body = Vec<Root>)))]
pub(super) async fn list(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
) -> Answer<Json<Vec<Root>>> {
    caller.require(&app, &fleet, Role::Viewer).await?;
    Ok(Json(db::roots::list(&app.db, &fleet).await?))
}

/// Upload the next version of the fleet's trust root.
#[utoipa::path(post, path = "/api/v1/fleets/{fleet}/roots", operation_id = "createRoot", tag = "roots", params(("fleet" = Name, Path, description = "The fleet's name")), responses((status = 201, description = "Uploaded", body = Root)))]
pub(super) async fn create(
    State(app): State<App>,
    caller: Caller,
    Path(fleet): Path<Name>,
    Json(new): Json<NewRoot>,
) -> Answer<(StatusCode, Json<Root>)> {
    caller.require(&app, &fleet, Role::Owner).await?;
    let document = STANDARD
        .decode(&new.document)
        .map_err(|_| Failure::invalid("document", "not base64"))?;
    let before = db::roots::newest(&app.db, &fleet).await?;
    let before = before.map(|before| release::root(&before)).transpose();
    let before = before.map_err(|offence| Failure::internal(release::words(offence)))?;
    let root = release::next_root(&document, before.as_ref(), &app.signer.public());
    let root = root.map_err(|why| Failure::invalid("document", why))?;
    if root.expires <= direct::now() {
        return Err(Failure::invalid("document", "it has expired"));
    }
    let at = clock::now();
    let mut tx = app.db.write().await?;
    db::roots::insert(&mut tx, &fleet, root.version, &document, &caller.user, at).await?;
    let (by, subject) = (caller.by(), root.version.to_string());
    tx.record(Entry {
        by: &by,
        fleet: Some(&fleet),
        what: "root.created",
        subject: &subject,
        detail: String::new(),
    })
    .await?;
    tx.commit().await?;
    for known in app.roster.of_fleet(&fleet) {
        known.raise(Head {
            root: root.version,
            ..Head::default()
        });
        app.outbox.root(known.uuid, root.version);
    }
    if before.is_some_and(|before| !root.same_holders(&before, Signs::Release)) {
        app.told(
            &fleet,
            director::Event::ReleaseKeysChanged { floor: root.floor },
        )
        .await;
    }
    app.told(
        &fleet,
        director::Event::Fleet(Box::new(direct::fleet_facts(&app, &fleet).await?)),
    )
    .await;
    let shown = Root {
        version: root.version.into(),
        document: new.document,
        created_by: caller.user,
        created_at: at,
    };
    Ok((StatusCode::CREATED, Json(shown)))
}
