//! What the console counts of itself, as Prometheus text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;

use crate::state::Console;

/// Counters of this run.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    by_status: Mutex<BTreeMap<u16, u64>>,
    questions: AtomicU64,
    question_nanos: AtomicU64,
    longest_nanos: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self, status: StatusCode) {
        *self.by_status.lock().unwrap_or_else(PoisonError::into_inner).entry(status.as_u16()).or_default() += 1;
    }

    pub(crate) fn question(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.question_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.longest_nanos.fetch_max(nanos, Ordering::Relaxed);
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(console): State<Console>) -> impl IntoResponse {
    let counters = &console.counters;
    let seconds = |nanos: &AtomicU64| nanos.load(Ordering::Relaxed) as f64 / 1e9;
    let mut text = String::new();
    let mut one = |name: &str, kind: &str, help: &str, samples: &str| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{samples}");
    };
    let mut by_status = String::new();
    for (status, count) in counters.by_status.lock().unwrap_or_else(PoisonError::into_inner).iter() {
        let _ = writeln!(by_status, "tapline_console_requests_total{{code=\"{status}\"}} {count}");
    }
    one("tapline_console_requests_total", "counter", "Requests answered, by status.", &by_status);
    let questions = format!(
        "tapline_console_question_seconds_sum {}\ntapline_console_question_seconds_count {}\n",
        seconds(&counters.question_nanos),
        counters.questions.load(Ordering::Relaxed)
    );
    one("tapline_console_question_seconds", "summary", "Time the store took for its answers.", &questions);
    let longest = format!("tapline_console_question_longest_seconds {}\n", seconds(&counters.longest_nanos));
    one("tapline_console_question_longest_seconds", "gauge", "The longest of them.", &longest);
    let listening = format!("tapline_console_listeners {}\n", console.listening());
    one("tapline_console_listeners", "gauge", "Streams of events that are being listened to.", &listening);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}
