//! The HTTP interface: one module a noun, as in the tables.

mod builds;
pub(crate) mod caller;
mod changes;
mod check;
mod device;
pub(crate) mod devices;
pub(crate) mod extract;
pub(crate) mod failure;
mod fleets;
pub(crate) mod health;
mod hub_key;
pub(crate) mod listener;
mod logs;
mod members;
mod page;
pub(crate) mod peer;
mod provisioning_keys;
pub(crate) mod range;
mod releases;
mod rollouts;
mod roots;
pub(crate) mod serve;
mod standing;
mod tokens;
mod tunnel;
mod users;
mod variables;

use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::App;
use failure::Failure;

/// Everything that is described by the OpenAPI document.
pub(crate) fn described() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(crate::openapi::base())
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
        .routes(routes!(health::authority))
        .routes(routes!(tokens::log_in, tokens::log_out))
        .routes(routes!(tokens::me))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(users::list, users::create))
        .routes(routes!(users::show, users::update, users::delete))
        .routes(routes!(fleets::list, fleets::create))
        .routes(routes!(fleets::show, fleets::update, fleets::delete))
        .routes(routes!(fleets::rotate_keys))
        .routes(routes!(members::list))
        .routes(routes!(members::put, members::delete))
        .routes(routes!(provisioning_keys::list, provisioning_keys::create))
        .routes(routes!(provisioning_keys::revoke))
        .routes(routes!(devices::list, devices::create))
        .routes(routes!(devices::show, devices::update, devices::delete))
        .routes(routes!(devices::pin))
        .routes(routes!(devices::move_to))
        .routes(routes!(devices::retry))
        .routes(routes!(devices::locks))
        .routes(routes!(devices::command))
        .routes(routes!(tunnel::open))
        .routes(routes!(hub_key::show))
        .routes(routes!(hub_key::rotate))
        .routes(routes!(hub_key::retire))
        .routes(routes!(logs::read))
        .routes(routes!(roots::director_key))
        .routes(routes!(roots::list, roots::create))
        .routes(routes!(releases::list, releases::create))
        .routes(routes!(releases::show))
        .routes(routes!(releases::finalize))
        .routes(routes!(releases::invalidate))
        .routes(routes!(rollouts::plan, rollouts::show, rollouts::order))
        .routes(routes!(builds::list, builds::create))
        .routes(routes!(builds::show))
        .routes(routes!(builds::log))
        .routes(routes!(builds::cancel))
        .routes(routes!(variables::list, variables::put))
        .routes(routes!(variables::delete))
        .routes(routes!(variables::list_of_device, variables::put_of_device))
        .routes(routes!(variables::delete_of_device))
        .routes(routes!(changes::of_server))
        .routes(routes!(changes::of_fleet))
        .routes(routes!(changes::events))
}

/// Everything, ready to be served.
pub(crate) fn router(app: App) -> Router {
    let (described, document) = described().split_for_parts();
    let document = crate::openapi::finish(document);
    let document = axum::body::Bytes::from(
        document
            .to_json()
            .expect("a generated document is plain data"),
    );
    let open = Router::new()
        .route("/metrics", axum::routing::get(health::metrics))
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(move || async move {
                ([("content-type", "application/json")], document)
            }),
        );
    let limit = app.config.limits.body_bytes;
    described
        .merge(open)
        .fallback(|| async { Failure::not_found("resource") })
        .method_not_allowed_fallback(|| async { Failure::method_not_allowed() })
        .layer(DefaultBodyLimit::max(limit))
        .merge(device::router())
        .merge(crate::registry::router())
        .layer(middleware::from_fn_with_state(app.clone(), measure))
        .with_state(app)
}

/// What a device reaches through its tunnel: its own routes, and images.
pub(crate) fn inside(app: App) -> Router {
    let routes = device::router().merge(crate::registry::router());
    routes
        .fallback(|| async { Failure::not_found("resource") })
        .layer(middleware::from_fn_with_state(app.clone(), measure))
        .with_state(app)
}

/// What a device reaches that enrols: registration, and nothing else.
pub(crate) fn for_guests(app: App) -> Router {
    device::registration()
        .fallback(|| async { Failure::not_found("resource") })
        .layer(middleware::from_fn_with_state(app.clone(), measure))
        .with_state(app)
}

/// Counts requests and how long they take, by route and status.
async fn measure(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|path| path.as_str().to_owned());
    let started = std::time::Instant::now();
    let response = if request.method().is_safe() {
        next.run(request).await
    } else {
        // What changes something is finished even if the caller hangs up in the middle: between
        // a commit and what memory learns of it there must be no way out.
        let work = tokio::spawn(next.run(request));
        work.await
            .unwrap_or_else(|error| Failure::internal(error).into_response())
    };
    app.metrics.request(
        route.as_deref().unwrap_or("other"),
        response.status().as_u16(),
        started.elapsed(),
    );
    response
}
