//! Questions to the API: what was said after the question mark, and the answer where something is wrong with it. Knows no question by name.

use api::ErrorAnswer;
use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};

/// What went wrong, and what to do.
pub(super) fn failure(status: StatusCode, error: impl Into<String>, hint: &str) -> Response {
    (status, axum::Json(ErrorAnswer { error: error.into(), hint: hint.to_owned() })).into_response()
}

/// The question is wrong.
pub(super) fn bad(error: impl std::fmt::Display, hint: &str) -> Response {
    failure(StatusCode::BAD_REQUEST, error.to_string(), hint)
}

/// The value of a parameter is wrong.
pub(super) fn wrong(parameter: &str, error: impl std::fmt::Display, hint: &str) -> Response {
    bad(format!("{parameter}: {error}"), hint)
}

/// Hints that several questions have in common.
pub(super) const SOURCES: &str = "sources are listed by /api/v1/sources";
pub(super) const EPOCHS: &str = "epochs are listed by /api/v1/balance";
pub(super) const LOG: &str = "look at the collector's log";

/// What was said after the question mark; what cannot be understood is answered like any other mistake.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: serde::de::DeserializeOwned, S: Sync> FromRequestParts<S> for Parameters<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let said = axum::extract::Query::<T>::try_from_uri(&parts.uri);
        said.map(|said| Self(said.0)).map_err(|error| {
            let (error, hint) = misunderstood(&error.body_text());
            bad(error, &hint)
        })
    }
}

/// What is wrong with what was said after the question mark, and what to do, from the words of serde.
pub(super) fn misunderstood(text: &str) -> (String, String) {
    let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(text);
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    match (quoted.split_first(), text.split_once(": ")) {
        (Some((name, known)), _) if text.contains("unknown field") => {
            (format!("there is no parameter `{name}`"), settings::suggestion(name, known))
        }
        (Some((name, _)), _) if text.contains("missing field") => {
            (format!("the parameter `{name}` is missing"), format!("add {name}=..."))
        }
        (_, Some((name, _))) if text.ends_with("found in string") || text.ends_with("from empty string") => {
            let hint = "write digits only; times are nanoseconds since 1970 UTC, such as 1795455436286207373";
            (format!("{name}: this is no whole number"), hint.to_owned())
        }
        _ => (
            text.to_owned(),
            "write it as NAME=VALUE&NAME=VALUE, other characters than letters and digits as %XX".to_owned(),
        ),
    }
}
