//! Answers that say no, in one form, and how the errors of others become them.

use api::{ClientError, ErrorAnswer};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

/// A question that is not answered: status, what is wrong, what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) hint: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: error.into(), hint: hint.into() }
    }

    /// The question cannot be understood.
    pub(crate) fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }

    /// There is no such thing.
    pub(crate) fn missing(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.status, axum::Json(ErrorAnswer { error: self.error, hint: self.hint })).into_response()
    }
}

impl From<store::Error> for Refusal {
    fn from(error: store::Error) -> Self {
        let status = match error.is_question() {
            true => StatusCode::BAD_REQUEST,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        match error {
            store::Error::Filter(error) => error.into(),
            other => Self::new(status, other.to_string(), ""),
        }
    }
}

impl From<store::FilterError> for Refusal {
    fn from(error: store::FilterError) -> Self {
        Self::bad(format!("`{}`: {}", error.word, error.reason), error.hint)
    }
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Answer { status, error, hint } => {
                Self::new(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), error, hint)
            }
            other => {
                Self::new(StatusCode::BAD_GATEWAY, other.to_string(), "start the collector, or see console.collector")
            }
        }
    }
}
