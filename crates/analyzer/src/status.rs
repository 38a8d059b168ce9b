//! What the analyzer tells about itself over HTTP: `/healthz`, `/readyz`, `/status` (JSON) and `/metrics` (Prometheus text).
//! Changes nothing and serves no packet or event.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing::get;
use listen::Bound;
use output::{Counters, Snapshot};

use crate::position::Position;
use crate::sandbox::Facts;

/// What the parts of the analyzer count, shared with those who ask.
#[derive(Debug, Default)]
pub struct Shared {
    /// Packets decoded.
    pub packets: AtomicU64,
    /// Their captured bytes.
    pub bytes: AtomicU64,
    /// Batches decoded.
    pub batches: AtomicU64,
    /// Batches that came again and were dropped.
    pub batches_known: AtomicU64,
    /// Batches that were fetched from the archive.
    pub batches_fetched: AtomicU64,
    /// Batches that the feed lost and that the archive did not have either.
    pub batches_missing: AtomicU64,
    /// Messages of the feed, or entries of the archive, that made no sense.
    pub messages_bad: AtomicU64,
    /// Packets that gap records and capture statistics say were lost before they came to us.
    pub packets_lost: AtomicU64,
    /// Events handed to the outputs.
    pub events: AtomicU64,
    /// Events left out because an earlier run gave them out.
    pub events_repeated: AtomicU64,
    /// How often a decoder panicked.
    pub decoder_panics: AtomicU64,
    /// Whether the feed is subscribed and stored positions are caught up with.
    pub ready: AtomicBool,
    events_by_type: Mutex<BTreeMap<&'static str, u64>>,
    positions: Mutex<Vec<Position>>,
    facts: Mutex<Option<Facts>>,
    outputs: Mutex<Vec<(&'static str, Arc<Counters>)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Plain values: a panic elsewhere leaves them usable.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Adds to a counter.
    pub fn add(counter: &AtomicU64, value: u64) {
        counter.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts events that are handed to the outputs.
    pub fn count_events(&self, events: &[event::Event]) {
        Self::add(&self.events, events.len() as u64);
        let mut by_type = lock(&self.events_by_type);
        for event in events {
            *by_type.entry(event.event_type).or_default() += 1;
        }
    }

    /// States how far the analyzer has come; everything before is decoded and written.
    pub fn set_positions(&self, positions: Vec<Position>) {
        *lock(&self.positions) = positions;
    }

    /// States what the sandbox does.
    pub fn set_sandbox(&self, facts: Facts) {
        *lock(&self.facts) = Some(facts);
    }

    /// Adds an output whose counters are shown.
    pub fn add_output(&self, name: &'static str, counters: Arc<Counters>) {
        lock(&self.outputs).push((name, counters));
    }

    /// Everything, for `/status`.
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            ready: self.ready.load(Ordering::Relaxed),
            counters: self.counters().into_iter().map(|(name, _, value)| (name, value)).collect(),
            events_by_type: lock(&self.events_by_type).clone(),
            positions: lock(&self.positions).clone(),
            sandbox: lock(&self.facts).clone(),
            outputs: lock(&self.outputs).iter().map(|(name, counters)| (*name, counters.snapshot())).collect(),
        }
    }

    fn counters(&self) -> [(&'static str, &'static str, u64); 11] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("packets", "Packets decoded", get(&self.packets)),
            ("bytes", "Captured bytes decoded", get(&self.bytes)),
            ("batches", "Batches decoded", get(&self.batches)),
            ("batches_known", "Batches that came again and were dropped", get(&self.batches_known)),
            ("batches_fetched", "Batches fetched from the archive", get(&self.batches_fetched)),
            ("batches_missing", "Batches that neither feed nor archive had", get(&self.batches_missing)),
            ("messages_bad", "Messages that made no sense", get(&self.messages_bad)),
            ("packets_lost", "Packets lost before they came here", get(&self.packets_lost)),
            ("events", "Events handed to the outputs", get(&self.events)),
            ("events_repeated", "Events an earlier run gave out", get(&self.events_repeated)),
            ("decoder_panics", "Panics of decoders", get(&self.decoder_panics)),
        ]
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        for (name, help, value) in self.counters() {
            text.push_str(&format!(
                "# HELP tapline_analyzer_{name}_total {help}.\n# TYPE tapline_analyzer_{name}_total counter\ntapline_analyzer_{name}_total {value}\n"
            ));
        }
        text.push_str("# HELP tapline_analyzer_events_by_type_total Events by type.\n# TYPE tapline_analyzer_events_by_type_total counter\n");
        for (name, count) in lock(&self.events_by_type).iter() {
            text.push_str(&format!("tapline_analyzer_events_by_type_total{{type=\"{name}\"}} {count}\n"));
        }
        let outputs: Vec<(&str, Snapshot)> =
            lock(&self.outputs).iter().map(|(name, counters)| (*name, counters.snapshot())).collect();
        type Read = fn(&Snapshot) -> u64;
        let series: [(&str, &str, &str, Read); 16] = [
            ("events_received_total", "counter", "Events handed to the output", |s| s.events_received),
            ("events_written_total", "counter", "Events it wrote", |s| s.events_written),
            ("events_known_total", "counter", "Events it had written in an earlier run", |s| s.events_known),
            ("events_dropped_total", "counter", "Events it lost", |s| s.events_dropped),
            ("bytes_written_total", "counter", "Bytes it wrote", |s| s.bytes_written),
            ("failures_total", "counter", "Attempts that failed", |s| s.failures),
            ("events_filtered_total", "counter", "Events that its condition keeps from it", |s| s.events_filtered),
            (
                "events_refused_total",
                "counter",
                "Events that the service refused and that lie with the dead letters",
                |s| s.events_refused,
            ),
            ("events_retried_total", "counter", "Events sent again, counted each time", |s| s.events_retried),
            ("events_damaged_total", "counter", "Events that could not be read back from disk", |s| s.events_damaged),
            ("spilled_events", "gauge", "Events that wait on disk for the service", |s| s.spilled_events),
            ("spilled_bytes", "gauge", "Bytes of disk that they take", |s| s.spilled_bytes),
            ("held_events", "gauge", "Events that wait on disk because their index, topic or key takes nothing", |s| {
                s.held_events
            }),
            ("held_bytes", "gauge", "Bytes of disk that they take", |s| s.held_bytes),
            ("batches_queued", "gauge", "Batches waiting in its queue", |s| s.batches_queued),
            ("failing", "gauge", "1 if the last attempt failed", |s| u64::from(s.failing)),
        ];
        for (name, kind, help, read) in series {
            text.push_str(&format!("# HELP tapline_output_{name} {help}.\n# TYPE tapline_output_{name} {kind}\n"));
            for (output, snapshot) in &outputs {
                text.push_str(&format!("tapline_output_{name}{{output=\"{output}\"}} {}\n", read(snapshot)));
            }
        }
        text.push_str(
            "# HELP tapline_analyzer_next_seq First batch not decoded yet.\n# TYPE tapline_analyzer_next_seq gauge\n",
        );
        for position in lock(&self.positions).iter() {
            text.push_str(&format!(
                "tapline_analyzer_next_seq{{source=\"{}\",epoch=\"{}\"}} {}\n",
                position.source, position.epoch, position.next_seq
            ));
        }
        text
    }
}

/// The answer of `/status`.
#[derive(Debug, serde::Serialize)]
pub struct Status {
    /// Version of the program.
    pub version: &'static str,
    /// Whether the feed is subscribed and what was missed has been fetched.
    pub ready: bool,
    /// The counters by name.
    pub counters: BTreeMap<&'static str, u64>,
    /// Events handed to the outputs in this run, by type.
    pub events_by_type: BTreeMap<&'static str, u64>,
    /// How far each source and epoch is decoded and written.
    pub positions: Vec<Position>,
    /// What the sandbox does.
    pub sandbox: Option<Facts>,
    /// The outputs' counters.
    pub outputs: BTreeMap<&'static str, Snapshot>,
}

fn routes(shared: Arc<Shared>) -> Router {
    let (ready, status, metrics) = (Arc::clone(&shared), Arc::clone(&shared), shared);
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route(
            "/readyz",
            get(move || async move {
                match ready.ready.load(Ordering::Relaxed) {
                    true => (StatusCode::OK, "ready\n"),
                    false => (StatusCode::SERVICE_UNAVAILABLE, "not yet\n"),
                }
            }),
        )
        .route("/status", get(move || async move { axum::Json(status.status()) }))
        .route(
            "/metrics",
            get(move || async move { ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.metrics()) }),
        )
}

/// Serves on this listener until the runtime ends.
///
/// # Errors
/// When the runtime cannot take the socket.
pub async fn serve(listener: Bound, shared: Arc<Shared>) -> std::io::Result<()> {
    let routes = routes(shared);
    match listener {
        Bound::Unix(listener) => {
            listener.set_nonblocking(true)?;
            axum::serve(tokio::net::UnixListener::from_std(listener)?, routes).await
        }
        Bound::Tcp(listener) => {
            listener.set_nonblocking(true)?;
            axum::serve(tokio::net::TcpListener::from_std(listener)?, routes).await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use listen::Address;
    use std::io::{Read, Write};
    use std::path::Path;

    fn ask(path: &Path, what: &str) -> String {
        let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
        write!(stream, "GET {what} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn status_metrics_and_readiness_are_served_on_a_unix_socket() {
        let data = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared::default());
        Shared::add(&shared.packets, 7);
        let address = Address::parse("analyzer.status", "unix:analyzer.sock", data.path(), None).unwrap();
        let listener = address.bind().unwrap();
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(serve(listener, serving)).unwrap();
        });
        let path = data.path().join("analyzer.sock");
        assert!(ask(&path, "/healthz").starts_with("HTTP/1.1 200"));
        assert!(ask(&path, "/readyz").starts_with("HTTP/1.1 503"));
        shared.ready.store(true, Ordering::Relaxed);
        assert!(ask(&path, "/readyz").starts_with("HTTP/1.1 200"));
        assert!(ask(&path, "/status").contains("\"packets\":7"));
        assert!(ask(&path, "/metrics").contains("\ntapline_analyzer_packets_total 7\n"));
    }
}
