//! Reading requests: axum's extractors, with problem details for what they refuse.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::header;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use super::failure::Failure;

/// How long a JSON body may take to arrive.
const BODY: Duration = Duration::from_secs(60);

/// A JSON body, in requests and answers.
pub(crate) struct Json<T>(pub(crate) T);

/// The variable parts of a path; what does not parse is not there.
pub(crate) struct Path<T>(pub(crate) T);

/// The query of a URL.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failure> {
        let declared = request.headers().get(header::CONTENT_TYPE);
        let declared = declared
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if declared.split(';').next().map(str::trim) != Some("application/json") {
            return Err(Failure::malformed(
                "the content type must be application/json",
            ));
        }
        let bytes = tokio::time::timeout(BODY, Bytes::from_request(request, state)).await;
        let bytes = bytes.map_err(|_| Failure::too_slow())?.map_err(body)?;
        decode(&bytes).map(Self)
    }
}

/// Decodes JSON and names the field that is at fault.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Failure> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let cause = error.inner().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data => Failure::invalid(error.path().to_string(), cause),
            _ => Failure::malformed(cause),
        }
    })?;
    reader
        .end()
        .map_err(|error| Failure::malformed(error.to_string()))?;
    Ok(value)
}

fn body(rejection: BytesRejection) -> Failure {
    match rejection.status() {
        axum::http::StatusCode::PAYLOAD_TOO_LARGE => Failure::too_large(rejection.body_text()),
        _ => Failure::malformed(rejection.body_text()),
    }
}

impl<T: serde::Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, "application/json")], body).into_response(),
            Err(error) => Failure::internal(error).into_response(),
        }
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        path.map(|path| Self(path.0))
            .map_err(|_: PathRejection| Failure::not_found("resource"))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let refused = |rejection: QueryRejection| Failure::invalid("query", rejection.body_text());
        query.map(|query| Self(query.0)).map_err(refused)
    }
}
