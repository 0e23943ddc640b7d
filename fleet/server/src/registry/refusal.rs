//! Errors as the distribution specification writes them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::db;
use crate::http::failure::Failure;

/// What is answered, or why not.
pub(super) type Reply = Result<Response, Refusal>;

/// An error of the registry.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    challenge: Option<HeaderValue>,
    retry_after_s: Option<u32>,
}

/// An error with the specification's code.
pub(super) fn refuse(
    status: StatusCode,
    code: &'static str,
    message: impl Into<String>,
) -> Refusal {
    Refusal {
        status,
        code,
        message: message.into(),
        challenge: None,
        retry_after_s: None,
    }
}

/// The method is not for this.
pub(super) fn unsupported() -> Refusal {
    refuse(
        StatusCode::METHOD_NOT_ALLOWED,
        "UNSUPPORTED",
        "this does not take that method",
    )
}

/// No credential, or not one for this.
pub(super) fn unauthorized(challenge: HeaderValue) -> Refusal {
    let refusal = refuse(
        StatusCode::UNAUTHORIZED,
        "UNAUTHORIZED",
        "authentication required",
    );
    Refusal {
        challenge: Some(challenge),
        ..refusal
    }
}

impl Refusal {
    /// What happened, in words.
    pub(super) fn text(&self) -> &str {
        &self.message
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        let code = match failure.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => "TOOMANYREQUESTS",
            StatusCode::RANGE_NOT_SATISFIABLE => "RANGE_INVALID",
            _ => "UNKNOWN",
        };
        let mut refusal = refuse(failure.status(), code, failure.text());
        refusal.retry_after_s = failure.retry_after_s();
        refusal
    }
}

impl From<db::Error> for Refusal {
    fn from(error: db::Error) -> Self {
        Failure::from(error).into()
    }
}

impl From<std::io::Error> for Refusal {
    fn from(error: std::io::Error) -> Self {
        Failure::internal(error).into()
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"errors": [{"code": self.code, "message": self.message}]});
        let json = [(header::CONTENT_TYPE, "application/json")];
        let mut response = (self.status, json, body.to_string()).into_response();
        if let Some(challenge) = self.challenge {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
