//! Connections: how many, how long a visitor may take to say what he wants, and the routes behind the guard.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{any, get, post};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use listen::Bound;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;
use crate::guard::{self, Guard};
use crate::state::Console;
use crate::{events, metrics, numbers, overview, packets, page, through};

/// How long the head of a request may take.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Connections at once.
const CONNECTIONS: usize = 512;
/// The machine-readable form of `docs/api.md`.
const OPENAPI: &str = include_str!("openapi.json");

/// Questions that the collector answers.
const THROUGH: [&str; 9] =
    ["sources", "balance", "segments", "archive", "status", "batches", "packets", "estimate", "live"];

/// Everything that is answered, behind a guard.
pub(crate) fn routes(guard: Guard) -> Router {
    let console: Console = guard.console.clone();
    let mut router = Router::new()
        .route("/api/v1/events", get(events::list))
        .route("/api/v1/events/live", get(events::live))
        .route("/api/v1/events/{id}", get(events::one))
        .route("/api/v1/events/{id}/related", get(events::related))
        .route("/api/v1/events/{id}/packets", get(packets::facts))
        .route("/api/v1/events/{id}/packets.pcapng", get(packets::download))
        .route("/api/v1/histogram", get(numbers::histogram))
        .route("/api/v1/facets", get(numbers::facets))
        .route("/api/v1/fields", get(numbers::fields))
        .route("/api/v1/streams", get(numbers::streams))
        .route("/api/v1/calls", get(numbers::calls))
        .route("/api/v1/talkers", get(numbers::talkers))
        .route("/api/v1/store", get(numbers::store))
        .route("/api/v1/overview", get(overview::overview))
        .route("/api/v1/overview/live", get(overview::live))
        .route("/api/v1/session", post(guard::session))
        .route("/api/v1/rotate", post(through::through))
        .route("/api/v1/openapi.json", get(|| async { json(OPENAPI) }))
        .route("/api/{*rest}", any(|| async { Refusal::missing("there is nothing here", "see docs/api.md") }))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/status", get(status))
        .fallback(get(page::page));
    for name in THROUGH {
        router = router.route(&format!("/api/v1/{name}"), get(through::through));
    }
    router.layer(axum::middleware::from_fn_with_state(guard, guard::guard)).with_state(console)
}

fn json(text: &'static str) -> impl IntoResponse {
    ([(axum::http::header::CONTENT_TYPE, "application/json")], text)
}

/// Ready once the store can be read; an empty one can.
async fn readyz(axum::extract::State(console): axum::extract::State<Console>) -> impl IntoResponse {
    match console.ask(|reader| reader.mark()).await {
        Ok(_) => (StatusCode::OK, "ready\n".to_owned()),
        Err(refusal) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", refusal.error)),
    }
}

async fn status(axum::extract::State(console): axum::extract::State<Console>) -> impl IntoResponse {
    axum::Json(serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "addresses": console.addresses }))
}

/// Serves on this socket until the runtime ends.
pub(crate) async fn serve(bound: Bound, routes: Router, connections: Arc<Semaphore>) -> std::io::Result<()> {
    match bound {
        Bound::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let Ok(place) = Arc::clone(&connections).acquire_owned().await else { return Ok(()) };
                match listener.accept().await {
                    Ok((stream, _)) => answer(stream, routes.clone(), place),
                    Err(error) => not_taken(&error).await,
                }
            }
        }
        Bound::Unix(listener) => {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::UnixListener::from_std(listener)?;
            loop {
                let Ok(place) = Arc::clone(&connections).acquire_owned().await else { return Ok(()) };
                match listener.accept().await {
                    Ok((stream, _)) => answer(stream, routes.clone(), place),
                    Err(error) => not_taken(&error).await,
                }
            }
        }
    }
}

/// A visitor who went before he came in; or no more files, which gets better.
async fn not_taken(error: &std::io::Error) {
    tracing::debug!("a connection could not be taken: {error}");
    tokio::time::sleep(Duration::from_millis(20)).await;
}

/// A place for all connections together.
pub(crate) fn places() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(CONNECTIONS))
}

fn answer<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: S, routes: Router, place: OwnedSemaphorePermit) {
    tokio::spawn(async move {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_buf_size(64 * 1024);
        // How a visitor goes is his affair.
        let _ = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes)).await;
        drop(place);
    });
}
