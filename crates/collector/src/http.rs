//! The HTTP API: what is connected and archived, the balance, packets, entries for gap filling and replay, metrics.
//! Reads through the archive's files; nothing a visitor asks slows the writer but the disk they share.

mod question;

use crate::pipeline::Publish;
use crate::shared::Shared;
use api::{BalanceAnswer, EntryMeta, SegmentRow, SegmentsAnswer, SourcesAnswer, StatusAnswer};
use archive::{Dump, DumpFormat, Filter, Query, StoredEntry};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use packet::batch::GapRecord;
use packet::{BatchName, Epoch, SourceName, Timestamp};
use question::{EPOCHS, LOG, Parameters, SOURCES, bad, failure, wrong};
use serde::Deserialize;
use std::fmt::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::mpsc;

/// Size of a piece of a streamed answer.
const PIECE: usize = 128 * 1024;
/// Pieces that may wait for a reader.
const PIECES: usize = 8;
/// How long the first packets are waited for before a grab is answered: what is wrong until then can still be said.
const FIRST_PACKETS: Duration = Duration::from_secs(1);

/// What the API answers from.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    pub(crate) jobs: mpsc::Sender<Publish>,
}

pub(crate) fn router(api: Api) -> Router {
    Router::new()
        .route("/api/v1/sources", get(sources))
        .route("/api/v1/balance", get(balance))
        .route("/api/v1/segments", get(segments))
        .route("/api/v1/archive", get(stored))
        .route("/api/v1/status", get(status))
        .route("/api/v1/batches", get(batches))
        .route("/api/v1/packets", get(packets))
        .route("/api/v1/live", get(live))
        .route("/api/v1/estimate", get(estimate))
        .route("/api/v1/rotate", post(rotate))
        .route("/api/v1/pins", get(pins).post(add_pin))
        .route("/api/v1/pins/{id}", delete(remove_pin))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .fallback(|uri: Uri| async move {
            let error = format!("there is nothing at {}", uri.path());
            failure(
                StatusCode::NOT_FOUND,
                error,
                "what there is stands in docs/collector.md, The API: /api/v1/status, for example",
            )
        })
        .method_not_allowed_fallback(|method: Method, uri: Uri| async move {
            let error = format!("{method} cannot be done to {}", uri.path());
            failure(StatusCode::METHOD_NOT_ALLOWED, error, "see docs/collector.md, The API, for what can")
        })
        .with_state(api)
}

async fn sources(State(api): State<Api>) -> axum::Json<SourcesAnswer> {
    let mut answer = SourcesAnswer::default();
    answer.sources.extend(api.shared.seen().values().map(|seen| seen.row.clone()));
    let known: Vec<String> = answer.sources.iter().map(|row| row.name.clone()).collect();
    for source in api.shared.archive.sources().unwrap_or_default() {
        if !known.iter().any(|name| name == source.as_str()) {
            answer.sources.push(api::SourceRow { name: source.to_string(), ..api::SourceRow::default() });
        }
    }
    answer.sources.sort_by(|a, b| a.name.cmp(&b.name));
    axum::Json(answer)
}

async fn balance(State(api): State<Api>) -> axum::Json<BalanceAnswer> {
    axum::Json(BalanceAnswer { balance: api.shared.ledger().rows() })
}

async fn segments(State(api): State<Api>) -> Response {
    let archive = api.shared.archive.clone();
    let listed = tokio::task::spawn_blocking(move || {
        let mut answer = SegmentsAnswer::default();
        for source in archive.sources()? {
            for segment in archive.segments(&source)? {
                answer.segments.push(SegmentRow {
                    source: source.to_string(),
                    path: segment.path.to_string_lossy().into_owned(),
                    bytes: segment.bytes,
                    open: segment.open,
                    modified_nanos: segment.modified.nanos(),
                });
            }
        }
        std::io::Result::Ok(answer)
    });
    match listed.await {
        Ok(Ok(answer)) => axum::Json(answer).into_response(),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
    }
}

/// In parts of which length.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredWanted {
    /// Seconds.
    step: Option<u64>,
}

async fn stored(State(api): State<Api>, Parameters(wanted): Parameters<StoredWanted>) -> Response {
    if wanted.step == Some(0) {
        return wrong("step", "0 is no length of time", "write seconds, or leave step out");
    }
    let looked = tokio::task::spawn_blocking(move || {
        let pins = api.shared.pins().clone();
        api.shared.stored.look(&api.shared.archive, &pins, wanted.step)
    });
    match looked.await {
        Ok(Ok(answer)) => axum::Json(answer).into_response(),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
    }
}

async fn status(State(api): State<Api>) -> axum::Json<StatusAnswer> {
    let counters = &api.shared.counters;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    axum::Json(StatusAnswer {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_nanos: api.shared.started.nanos(),
        connections: load(&counters.connected),
        subscribers: load(&counters.subscribers),
        received_batches: load(&counters.received_batches),
        received_packets: load(&counters.received_packets),
        archived_packets: load(&counters.archived_packets),
        archive_error: api.shared.archive_error().clone(),
        archive: std::path::absolute(api.shared.archive.root()).unwrap_or_default(),
    })
}

async fn readyz(State(api): State<Api>) -> Response {
    match api.shared.archive_error().clone() {
        None => "ready\n".into_response(),
        Some(error) => {
            (StatusCode::SERVICE_UNAVAILABLE, format!("the archive cannot be written: {error}\n")).into_response()
        }
    }
}

type Piece = Result<Bytes, std::io::Error>;

/// A streamed answer: what a blocking task sends, until it ends or the reader is gone.
struct Pieces {
    /// Taken before.
    first: Option<Piece>,
    rest: mpsc::Receiver<Piece>,
}

impl Pieces {
    fn new(rest: mpsc::Receiver<Piece>) -> Self {
        Self { first: None, rest }
    }

    fn body(self) -> Body {
        Body::new(self)
    }
}

impl axum::body::HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, std::io::Error>>> {
        let piece = match self.first.take() {
            Some(piece) => Poll::Ready(Some(piece)),
            None => self.rest.poll_recv(context),
        };
        piece.map(|piece| piece.map(|piece| piece.map(http_body::Frame::data)))
    }
}

/// Which entries are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchesWanted {
    source: String,
    epoch: String,
    from: Option<u64>,
    /// Up to and including this one.
    to: Option<u64>,
}

async fn batches(State(api): State<Api>, Parameters(wanted): Parameters<BatchesWanted>) -> Response {
    let (source, epoch) = match (wanted.source.parse::<SourceName>(), wanted.epoch.parse::<Epoch>()) {
        (Ok(source), Ok(epoch)) => (source, epoch),
        (Err(error), _) => return wrong("source", error, SOURCES),
        (_, Err(error)) => return wrong("epoch", error, EPOCHS),
    };
    let (from, to) = (wanted.from.unwrap_or(0), wanted.to.map_or(u64::MAX, |to| to.saturating_add(1)));
    let archive = api.shared.archive.clone();
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut piece = Vec::new();
        let entries = match archive.entries(&source, epoch, from, to) {
            Ok(entries) => entries,
            Err(error) => return drop(sender.blocking_send(Err(error))),
        };
        for entry in entries {
            let written = entry.and_then(|entry| write_entry(&mut piece, &source, epoch, &entry));
            if let Err(error) = written {
                return drop(sender.blocking_send(Err(error)));
            }
            if piece.len() >= PIECE && sender.blocking_send(Ok(std::mem::take(&mut piece).into())).is_err() {
                return;
            }
        }
        if !piece.is_empty() {
            let _ = sender.blocking_send(Ok(piece.into()));
        }
    });
    ([(header::CONTENT_TYPE, "application/octet-stream")], Pieces::new(receiver).body()).into_response()
}

fn write_entry(out: &mut Vec<u8>, source: &SourceName, epoch: Epoch, stored: &StoredEntry) -> std::io::Result<()> {
    let entry = &stored.entry;
    let name = BatchName { source: source.clone(), epoch, seq: entry.seq };
    let gap = entry.is_gap().then(|| GapRecord {
        name: name.clone(),
        last_seq: entry.last_seq,
        place: packet::DropPlace::from_code(entry.gap as u16).unwrap_or(packet::DropPlace::Archive),
        reason: packet::DropReason::from_code((entry.gap >> 16) as u16).unwrap_or(packet::DropReason::Corrupt),
        first_packet: entry.first_packet,
        packets: entry.packets,
        captured_bytes: entry.captured_bytes,
        time_min: entry.time_min,
        time_max: entry.time_max,
    });
    let times = (entry.time_min.nanos(), entry.time_max.nanos());
    let mut meta = EntryMeta::new(
        &name,
        entry.last_seq,
        entry.first_packet,
        entry.packets,
        times,
        &stored.set,
        entry.raw_length as usize,
        gap.as_ref(),
    );
    if !stored.compressed {
        meta.encoding = "none".to_owned();
    }
    api::write_entry(out, &meta, &stored.frame).map_err(std::io::Error::other)
}

/// Which packets are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PacketsWanted {
    /// pcap filter expression.
    query: String,
    /// Sources, separated by commas; none means all.
    source: String,
    /// Nanoseconds of Unix time.
    since: Option<u64>,
    until: Option<u64>,
    /// Only this run of a probe.
    epoch: String,
    /// Only packets with these numbers within the epoch, such as `4-9,12`.
    packets: String,
    /// `pcapng` or `pcap`.
    format: String,
}

impl PacketsWanted {
    fn query(&self) -> Result<Query, Box<Response>> {
        let filter = Filter::new(&self.query)
            .map_err(|error| Box::new(wrong("query", error, "write a pcap filter expression, such as: udp port 53")))?;
        let mut sources = Vec::new();
        for name in self.source.split(',').filter(|name| !name.is_empty()) {
            sources.push(name.parse().map_err(|error| Box::new(wrong("source", error, SOURCES)))?);
        }
        let (since, until) = (self.since.map(Timestamp::from_nanos), self.until.map(Timestamp::from_nanos));
        let epoch = match self.epoch.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| Box::new(wrong("epoch", error, EPOCHS)))?),
        };
        let numbers = match self.packets.as_str() {
            "" => None,
            text => Some(
                text.parse()
                    .map_err(|error| Box::new(wrong("packets", error, "events state the numbers of their packets")))?,
            ),
        };
        if numbers.is_some() && (epoch.is_none() || sources.len() != 1) {
            return Err(Box::new(bad(
                "packets: they are numbered within an epoch of a source",
                "give the source and its epoch as well",
            )));
        }
        Ok(Query { filter, sources, since, until, epoch, numbers })
    }
}

async fn packets(State(api): State<Api>, Parameters(wanted): Parameters<PacketsWanted>) -> Response {
    let query = match wanted.query() {
        Ok(query) => query,
        Err(response) => return *response,
    };
    let format = match wanted.format.as_str() {
        "" => DumpFormat::Pcapng,
        other => match other.parse() {
            Ok(format) => format,
            Err(error) => return wrong("format", error, "write format=pcapng or format=pcap"),
        },
    };
    tracing::info!(query = wanted.query, source = wanted.source, "packets are grabbed");
    let archive = api.shared.archive.clone();
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = grab(&archive, query, format, &sender) {
            let _ = sender.blocking_send(Err(error));
        }
    });
    let mut pieces = Pieces::new(receiver);
    pieces.first = tokio::time::timeout(FIRST_PACKETS, pieces.rest.recv()).await.unwrap_or_default();
    if let Some(Err(error)) = &pieces.first {
        return match error.kind() {
            std::io::ErrorKind::InvalidInput => bad(error, "ask for pcapng (leave format out), or choose one source"),
            _ => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
        };
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = format.media_type().parse() {
        headers.insert(header::CONTENT_TYPE, value);
    }
    let name = crate::shared::now().to_string().replace([':', '.'], "-");
    if let Ok(value) = format!("attachment; filename=\"tapline-{name}.{}\"", format.extension()).parse() {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    (headers, pieces.body()).into_response()
}

async fn live(State(api): State<Api>, Parameters(wanted): Parameters<PacketsWanted>) -> Response {
    let query = match wanted.query() {
        Ok(query) => query,
        Err(response) => return *response,
    };
    if !matches!(wanted.format.as_str(), "" | "pcapng") {
        return wrong("format", "live packets come as pcapng only", "leave format out");
    }
    if query.since.is_some() || query.until.is_some() || query.epoch.is_some() {
        return bad("live packets have no range of time or numbers", "ask /api/v1/packets for what is past");
    }
    tracing::info!(query = wanted.query, source = wanted.source, "packets are watched live");
    let (sender, receiver) = mpsc::channel(PIECES);
    let batches = api.shared.live.subscribe();
    tokio::spawn(crate::live::stream(batches, query, sender, api.shared.clone()));
    ([(header::CONTENT_TYPE, DumpFormat::Pcapng.media_type())], Pieces::new(receiver).body()).into_response()
}

fn grab(
    archive: &archive::Archive,
    query: Query,
    format: DumpFormat,
    sender: &mpsc::Sender<Piece>,
) -> Result<(), std::io::Error> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let other = std::io::Error::other;
    let mut result = archive.query_cancellable(query, Some(cancelled)).map_err(other)?;
    let mut dump = Dump::new(format);
    let mut piece = Vec::with_capacity(PIECE + 4096);
    while let Some(found) = result.next().map_err(other)? {
        dump.packet(&found, &mut piece).map_err(|error| {
            // The format that was asked for cannot hold what was asked for.
            std::io::Error::new(std::io::ErrorKind::InvalidInput, error)
        })?;
        if piece.len() >= PIECE {
            let full = std::mem::replace(&mut piece, Vec::with_capacity(PIECE + 4096));
            if sender.blocking_send(Ok(full.into())).is_err() {
                return Ok(());
            }
        }
    }
    dump.finish(result.gaps(), &mut piece);
    let _ = sender.blocking_send(Ok(piece.into()));
    Ok(())
}

async fn estimate(State(api): State<Api>, Parameters(wanted): Parameters<PacketsWanted>) -> Response {
    let query = match wanted.query() {
        Ok(query) => query,
        Err(response) => return *response,
    };
    let archive = api.shared.archive.clone();
    let estimated = tokio::task::spawn_blocking(move || archive.query(query).map(|result| result.progress()));
    match estimated.await {
        Ok(Ok(progress)) => axum::Json(serde_json::json!({
            "segments": progress.segments,
            "batches": progress.batches_total,
            "packets_at_most": progress.packets_total,
            "bytes_to_read": progress.bytes_total,
            "archive_bytes": progress.archive_bytes,
        }))
        .into_response(),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
    }
}

/// Whose segments are to be closed.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RotateWanted {
    source: String,
}

async fn rotate(State(api): State<Api>, Parameters(wanted): Parameters<RotateWanted>) -> Response {
    let source = match wanted.source.as_str() {
        "" => None,
        name => match name.parse::<SourceName>() {
            Ok(source) => Some(source),
            Err(error) => return wrong("source", error, SOURCES),
        },
    };
    match api.jobs.send(Publish::Rotate(source, None)).await {
        Ok(()) => (StatusCode::ACCEPTED, axum::Json(serde_json::json!({}))).into_response(),
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the collector is going down", "ask again when it runs"),
    }
}

async fn pins(State(api): State<Api>) -> axum::Json<archive::Pins> {
    axum::Json(api.shared.pins().clone())
}

/// What is to be kept.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PinWanted {
    source: String,
    /// Nanoseconds of Unix time.
    since: Option<u64>,
    until: Option<u64>,
    note: String,
}

/// Pins that there may be.
const PINS_MAX: usize = 10_000;

async fn add_pin(State(api): State<Api>, Parameters(wanted): Parameters<PinWanted>) -> Response {
    let source = match wanted.source.as_str() {
        "" | "*" => "*".to_owned(),
        name => match name.parse::<SourceName>() {
            Ok(source) => source.to_string(),
            Err(error) => return wrong("source", error, "sources are listed by /api/v1/sources; * means all"),
        },
    };
    let (since, until) = (wanted.since.unwrap_or(0), wanted.until.unwrap_or(u64::MAX));
    if since >= until {
        return wrong("since", "it is not before until: nothing would be kept", "exchange them");
    }
    if api.shared.pins().pins.len() >= PINS_MAX {
        return bad(format!("there are {PINS_MAX} pins, and no more are kept"), "remove some: DELETE /api/v1/pins/ID");
    }
    let (since, until) = (Timestamp::from_nanos(since), Timestamp::from_nanos(until));
    let note = wanted.note.chars().take(200).collect();
    let changed = api.shared.change_pins(|pins| pins.add(source, since, until, note, crate::shared::now()));
    match changed {
        Ok(id) => (StatusCode::CREATED, axum::Json(serde_json::json!({ "id": id }))).into_response(),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
    }
}

async fn remove_pin(State(api): State<Api>, Path(id): Path<String>) -> Response {
    const PINS: &str = "pins are listed by /api/v1/pins";
    let Ok(id) = id.parse() else { return bad(format!("{id:?} is no number of a pin"), PINS) };
    match api.shared.change_pins(|pins| pins.remove(id)) {
        Ok(true) => StatusCode::NO_CONTENT.into_response(),
        Ok(false) => failure(StatusCode::NOT_FOUND, format!("there is no pin {id}"), PINS),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), LOG),
    }
}

async fn metrics(State(api): State<Api>) -> Response {
    let mut text = String::new();
    let counters = &api.shared.counters;
    let load = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n");
    };
    one("tapline_collector_connections", "gauge", "Connections from probes.", load(&counters.connected));
    one(
        "tapline_collector_refused_connections_total",
        "counter",
        "Connections turned away.",
        load(&counters.refused_connections),
    );
    one("tapline_collector_received_batches_total", "counter", "Batches received.", load(&counters.received_batches));
    one("tapline_collector_received_packets_total", "counter", "Packets received.", load(&counters.received_packets));
    one(
        "tapline_collector_received_bytes_total",
        "counter",
        "Captured bytes received.",
        load(&counters.received_bytes),
    );
    one(
        "tapline_archive_packets_total",
        "counter",
        "Packets made durable, also in earlier runs.",
        load(&counters.archived_packets),
    );
    one("tapline_archive_bytes_total", "counter", "Their captured bytes.", load(&counters.archived_bytes));
    one("tapline_archive_commits_total", "counter", "Commit rounds.", load(&counters.commits));
    one("tapline_archive_errors_total", "counter", "Failed writes.", load(&counters.archive_errors));
    one(
        "tapline_archive_removed_segments_total",
        "counter",
        "Segments removed by retention.",
        load(&counters.removed_segments),
    );
    one(
        "tapline_archive_failing",
        "gauge",
        "1 while the archive cannot be written.",
        api.shared.archive_error().is_some().into(),
    );
    one("tapline_feed_published_total", "counter", "Entries published on the v2 feed.", load(&counters.published));
    let denied = load(&counters.feed_denied);
    one("tapline_feed_denied_total", "counter", "Subscribers turned away because they are not on the list.", denied);
    one("tapline_feed_events_total", "counter", "Events published.", load(&counters.published_events));
    one(
        "tapline_feed_v1_subscriptions",
        "gauge",
        "Distinct subscriptions of the v1 feed.",
        load(&counters.v1_subscribers),
    );
    one(
        "tapline_live_missed_batches_total",
        "counter",
        "Batches that watchers of live packets were too slow for.",
        load(&counters.live_missed),
    );
    one(
        "tapline_archive_not_stored_packets_total",
        "counter",
        "Packets kept from being stored by policy, also in earlier runs.",
        load(&counters.not_stored_packets),
    );
    one("tapline_feed_subscriptions", "gauge", "Distinct subscriptions of the v2 feed.", load(&counters.subscribers));
    let rows = api.shared.ledger().rows();
    let mut dropped = std::collections::BTreeMap::<(String, String, String), u64>::new();
    let mut open = 0u64;
    for row in &rows {
        for (name, packets) in &row.dropped {
            let (place, reason) = name.split_once('/').unwrap_or((name, ""));
            *dropped.entry((row.source.clone(), place.to_owned(), reason.to_owned())).or_default() += packets;
        }
        for (place, packets) in [("kernel", row.kernel_dropped_packets), ("interface", row.interface_dropped_packets)] {
            *dropped.entry((row.source.clone(), place.to_owned(), "buffer_full".to_owned())).or_default() += packets;
        }
        open += u64::from(row.counted_nanos > 0 && !row.closes);
    }
    one("tapline_balance_not_closing", "gauge", "Epochs whose balance does not close.", open);
    let expires = api.shared.certificate_expires.load(Ordering::Relaxed);
    if expires != 0 {
        let help = "Unix time at which the collector's certificate expires.";
        one("tapline_collector_certificate_expires_seconds", "gauge", help, u64::try_from(expires).unwrap_or(0));
    }
    if let Some(hook) = api.shared.hook.get() {
        one("tapline_hook_runs_total", "counter", "Segments that the hook was told of.", load(&hook.good));
        one("tapline_hook_failures_total", "counter", "Runs of the hook that failed.", load(&hook.failed));
        one("tapline_hook_skipped_total", "counter", "Segments it was too slow for.", load(&hook.skipped));
    }
    let pinned = api.shared.pins().pins.len() as u64;
    one("tapline_archive_pins", "gauge", "Ranges of time that retention leaves alone.", pinned);
    one("tapline_archive_free_bytes", "gauge", "Bytes free on the archive's disk.", load(&counters.free_bytes));
    sources_text(&mut text, &api.shared);
    let _ = write!(
        text,
        "# HELP tapline_collector_bad_peers_total Connections closed for what the peer sent, by reason.\n# TYPE tapline_collector_bad_peers_total counter\n"
    );
    for (reason, count) in api.shared.bad_peers() {
        let _ = writeln!(text, "tapline_collector_bad_peers_total{{reason=\"{reason}\"}} {count}");
    }
    let _ = write!(
        text,
        "# HELP tapline_dropped_packets_total Packets dropped, by place and reason.\n# TYPE tapline_dropped_packets_total counter\n"
    );
    for ((source, place, reason), packets) in dropped {
        let _ = writeln!(
            text,
            "tapline_dropped_packets_total{{source=\"{source}\",place=\"{place}\",reason=\"{reason}\"}} {packets}"
        );
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

/// What is said of each source.
fn sources_text(text: &mut String, shared: &Shared) {
    let rows: Vec<_> = shared.seen().values().map(|seen| seen.row.clone()).collect();
    let nanos = crate::shared::now().nanos();
    type Value = fn(&api::SourceRow) -> u64;
    let seconds_since = |then: u64, now: u64| now.saturating_sub(then) / 1_000_000_000;
    let columns: [(&str, &str, &str, Value); 5] = [
        ("tapline_source_connected", "gauge", "1 while the source is connected.", |row| row.connected.into()),
        ("tapline_source_received_packets_total", "counter", "Packets received of the source.", |row| {
            row.received_packets
        }),
        ("tapline_source_received_bytes_total", "counter", "Captured bytes received of the source.", |row| {
            row.received_bytes
        }),
        ("tapline_source_spool_bytes", "gauge", "Bytes that wait in the probe's spool.", |row| row.spool_bytes),
        ("tapline_source_newest_packet_seconds", "gauge", "Unix time of the newest packet received.", |row| {
            row.newest_packet_nanos / 1_000_000_000
        }),
    ];
    for (name, kind, help, value) in columns {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for row in &rows {
            let _ = writeln!(text, "{name}{{source=\"{}\"}} {}", row.name, value(row));
        }
    }
    let name = "tapline_source_certificate_expires_seconds";
    let _ = write!(text, "# HELP {name} Unix time at which the probe's certificate expires.\n# TYPE {name} gauge\n");
    for row in &rows {
        if let Some(expires) = row.certificate_expires_seconds {
            let _ = writeln!(text, "{name}{{source=\"{}\"}} {expires}", row.name);
        }
    }
    let name = "tapline_source_quiet_seconds";
    let _ = write!(text, "# HELP {name} Time since a batch last came.\n# TYPE {name} gauge\n");
    for row in rows.iter().filter(|row| row.last_batch_nanos > 0) {
        let _ = writeln!(text, "{name}{{source=\"{}\"}} {}", row.name, seconds_since(row.last_batch_nanos, nanos));
    }
}

#[cfg(test)]
mod tests {
    use super::question::misunderstood;
    use super::*;

    fn said<T: serde::de::DeserializeOwned>(query: &str) -> (String, String) {
        let uri: Uri = format!("/x?{query}").parse().unwrap();
        match axum::extract::Query::<T>::try_from_uri(&uri) {
            Ok(_) => Default::default(),
            Err(error) => misunderstood(&error.body_text()),
        }
    }

    #[test]
    fn what_is_not_understood_is_said_with_the_parameter_and_what_to_do() {
        assert_eq!(said::<PacketsWanted>("query=icmp&since=1"), Default::default());
        let (error, hint) = said::<PacketsWanted>("quer=icmp");
        assert_eq!((error.as_str(), hint.as_str()), ("there is no parameter `quer`", "did you mean `query`?"));
        let (error, hint) = said::<RotateWanted>("nothing=1");
        assert_eq!((error.as_str(), hint.as_str()), ("there is no parameter `nothing`", "known are `source`"));
        for number in ["yesterday", "", "-1", "99999999999999999999999"] {
            let (error, hint) = said::<PacketsWanted>(&format!("since={number}"));
            assert!(error.starts_with("since: ") && !hint.is_empty(), "{number}: {error}; {hint}");
        }
        let (error, hint) = said::<BatchesWanted>("source=x");
        assert_eq!((error.as_str(), hint.as_str()), ("the parameter `epoch` is missing", "add epoch=..."));
        let (error, hint) = said::<PacketsWanted>("query=a&query=b");
        assert!(error.contains("query") && !hint.is_empty(), "{error}; {hint}");
    }
}
