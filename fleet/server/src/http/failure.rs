//! Answers that are not what was asked for: problem details (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lightship_api::Problem;

use crate::db;

/// What a handler returns when it cannot do what was asked.
#[derive(Debug)]
pub(crate) struct Failure(Box<Inner>);

#[derive(Debug)]
struct Inner {
    problem: Problem,
    retry_after_s: Option<u32>,
    challenge: Option<HeaderValue>,
}

/// What most handlers return.
pub(crate) type Answer<T> = Result<T, Failure>;

impl Failure {
    fn new(status: StatusCode, kind: &str, title: &str) -> Self {
        let problem = Problem {
            kind: format!("urn:lightship:problem:{kind}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: None,
            field: None,
        };
        Self(Box::new(Inner {
            problem,
            retry_after_s: None,
            challenge: None,
        }))
    }

    fn detail(mut self, detail: impl Into<String>) -> Self {
        self.0.problem.detail = Some(detail.into());
        self
    }

    /// No credential, or a wrong one: which of the two is not said, nor what it would open.
    pub(crate) fn unauthorized() -> Self {
        let mut failure = Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthorized",
            "A valid credential is needed",
        );
        failure.0.challenge = Some(HeaderValue::from_static("Bearer realm=\"lightship\""));
        failure
    }

    /// A good credential that is not enough.
    pub(crate) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "This credential may not do that",
        )
        .detail(detail)
    }

    /// What is not there, or not for the caller to know of.
    pub(crate) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "There is no such thing")
            .detail(format!("no such {what}"))
    }

    /// The route does not take this method.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "This resource does not take that method",
        )
    }

    /// What contradicts the state of things.
    pub(crate) fn conflict(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::CONFLICT,
            "conflict",
            "This contradicts what is already there",
        )
        .detail(detail)
    }

    /// A field that does not hold what it should.
    pub(crate) fn invalid(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        let mut failure =
            Self::new(status, "invalid", "A field is not what it should be").detail(detail);
        failure.0.problem.field = Some(field.into());
        failure
    }

    /// A request that cannot be read at all.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "malformed",
            "The request cannot be read",
        )
        .detail(detail)
    }

    /// More bytes than are taken.
    pub(crate) fn too_large(detail: impl Into<String>) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "That is more than is taken",
        )
        .detail(detail)
    }

    /// A body that does not arrive.
    pub(crate) fn too_slow() -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            "too-slow",
            "The request did not arrive in time",
        )
    }

    /// A limit on a count.
    pub(crate) fn limit(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, "limit", "A limit is reached").detail(detail)
    }

    /// A range outside of what there is.
    pub(crate) fn range() -> Self {
        Self::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "range",
            "There is nothing in that range",
        )
    }

    /// Too often.
    pub(crate) fn too_often(retry_after_s: u32) -> Self {
        let mut failure = Self::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-often",
            "Too many requests; wait",
        );
        failure.0.retry_after_s = Some(retry_after_s.max(1));
        failure
    }

    /// Something is for the moment not to be had.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        let mut failure = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Not available now",
        )
        .detail(detail);
        failure.0.retry_after_s = Some(1);
        failure
    }

    /// Our fault: logged here, and not told outside.
    pub(crate) fn internal(error: impl std::fmt::Display) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The server failed",
        )
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.problem.status).expect("made from a status")
    }

    /// How long to wait, if it is only for a while.
    pub(crate) fn retry_after_s(&self) -> Option<u32> {
        self.0.retry_after_s
    }

    /// What happened, in words.
    pub(crate) fn text(&self) -> &str {
        self.0
            .problem
            .detail
            .as_deref()
            .unwrap_or(&self.0.problem.title)
    }
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        match error {
            db::Error::Sql(error) => error.into(),
            db::Error::Superseded => Self::unavailable("another server works now: try again"),
            db::Error::Gone | db::Error::Undecodable { .. } => Self::internal(error),
        }
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(cause) if cause.is_unique_violation() => {
                Self::conflict("it exists already")
            }
            sqlx::Error::Database(cause) if cause.is_foreign_key_violation() => Self::conflict(
                "it refers to something that is not there, or something refers to it",
            ),
            sqlx::Error::PoolTimedOut => Self::unavailable("the database is busy"),
            _ => Self::internal(error),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self.0.problem).expect("a problem is plain data");
        let json = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (self.status(), json, body).into_response();
        if let Some(seconds) = self.0.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(challenge) = self.0.challenge {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}
