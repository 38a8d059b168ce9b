//! The collector's API, handed through as it is.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Method, Uri, header};
use axum::response::{IntoResponse, Response};

use crate::answer::Refusal;
use crate::state::Console;
use crate::stream::Held;

/// Headers of the answer that are handed on.
const HEADERS: [header::HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_DISPOSITION];

/// Hands the request on and the answer back.
pub(crate) async fn through(State(console): State<Console>, method: Method, uri: Uri) -> Result<Response, Refusal> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    forward(&console, method, path).await
}

/// Asks the collector for `path` and gives its answer as it comes.
pub(crate) async fn forward(console: &Console, method: Method, path: &str) -> Result<Response, Refusal> {
    let is_stream = ["packets", "live", "batches"].iter().any(|name| is_question(path, name));
    let place = if is_stream { console.download()? } else { console.pass()? };
    let answer = console.collector.ask(method, path).await?;
    let (parts, body) = answer.into_parts();
    let mut response = (parts.status, Body::new(Held { body, _place: place })).into_response();
    for name in HEADERS {
        if let Some(value) = parts.headers.get(&name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    Ok(response)
}

fn is_question(path: &str, name: &str) -> bool {
    path.split('?').next().and_then(|path| path.strip_prefix("/api/v1/")) == Some(name)
}
