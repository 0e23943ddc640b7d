//! The OpenAPI document: generated, committed as `fleet/api/openapi.json`, compared by a test.

use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Content, InfoBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Response};
use utoipa::{PartialSchema, ToSchema};

/// What the routes are added to.
pub(crate) fn base() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Lightship fleet server")
        .version("1");
    let info = info.description(Some(
        "Times are RFC 3339, errors are problem details (RFC 9457).",
    ));
    OpenApiBuilder::new().info(info.build()).build()
}

/// Adds what is true of every route: how to authenticate, and what errors look like.
pub(crate) fn finish(mut document: OpenApi) -> OpenApi {
    let components = document.components.get_or_insert_default();
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    components.add_security_scheme("token", SecurityScheme::Http(bearer));
    let basic = HttpBuilder::new().scheme(HttpAuthScheme::Basic).build();
    components.add_security_scheme("device", SecurityScheme::Http(basic));
    let problem = lightship_api::Problem::name().into_owned();
    components
        .schemas
        .insert(problem.clone(), lightship_api::Problem::schema());
    let mut refusal = Response::new("A problem");
    let content = Content::new(Some(RefOr::Ref(Ref::from_schema_name(problem))));
    refusal
        .content
        .insert("application/problem+json".to_owned(), RefOr::T(content));
    for item in document.paths.paths.values_mut() {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
            &mut item.head,
        ];
        for operation in operations.into_iter().flatten() {
            operation
                .responses
                .responses
                .insert("default".to_owned(), RefOr::T(refusal.clone()));
            let token = || vec![SecurityRequirement::new("token", Vec::<String>::new())];
            operation.security.get_or_insert_with(token);
        }
    }
    document
}
