//! The overview: what collector, analyzer and store say of themselves, asked once a second, with the rates that follow from it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use api::{BalanceAnswer, BalanceRow, Client, ClientError, SourceRow, SourcesAnswer, StatusAnswer};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use packet::Timestamp;
use serde::Serialize;
use store::Reader;
use tokio::sync::watch;

use crate::answer::Refusal;
use crate::question::Said;
use crate::state::Console;
use crate::stream::{self, Listener};

/// How often everything is asked.
const EVERY: Duration = Duration::from_secs(1);
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);
/// Seconds of history that are kept.
const HISTORY: usize = 120;
/// Seconds over which a rate is taken.
const RATE: usize = 5;
/// Sources whose history is kept.
const SOURCES_MAX: usize = 10_000;

/// `GET /api/v1/overview`.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Overview {
    time: String,
    sources: Vec<Source>,
    chain: Chain,
    balance: Balance,
    collector: CollectorState,
    analyzer: AnalyzerState,
    store: StoreState,
    events_by_type: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Source {
    name: String,
    connected: bool,
    protocol: String,
    packets_per_second: f64,
    bytes_per_second: f64,
    drops_per_second: f64,
    received_packets: u64,
    received_bytes: u64,
    dropped_packets: u64,
    behind_seconds: Option<f64>,
    last_packet: Option<String>,
    spool_bytes: u64,
    certificate_expires: Option<String>,
    history: Rates,
}

/// What came in each second, oldest first.
#[derive(Debug, Clone, Default, Serialize)]
struct Rates {
    seconds: u64,
    until: String,
    packets: VecDeque<u64>,
    bytes: VecDeque<u64>,
    dropped: VecDeque<u64>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Chain {
    captured: u64,
    kernel_dropped: u64,
    dropped: BTreeMap<String, u64>,
    in_flight: u64,
    archived: u64,
    not_stored: u64,
    published: u64,
    decoded_packets: u64,
    decode_missing: u64,
    events: u64,
    outputs: Vec<OutputState>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct OutputState {
    name: String,
    written: u64,
    dropped: u64,
    queued: u64,
    failing: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Balance {
    closes: bool,
    remark: String,
}

#[derive(Debug, Clone, Default, Serialize)]
struct CollectorState {
    reachable: bool,
    error: String,
    version: String,
    archive_error: Option<String>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct AnalyzerState {
    reachable: bool,
    error: String,
}

#[derive(Debug, Clone, Default, Serialize)]
struct StoreState {
    events: u64,
    bytes: u64,
    oldest: Option<store::Time>,
    newest: Option<store::Time>,
}

/// The part of the analyzer's status that is looked at.
#[derive(Debug, Default, serde::Deserialize)]
struct AnalyzerAnswer {
    counters: BTreeMap<String, u64>,
    events_by_type: BTreeMap<String, u64>,
    outputs: BTreeMap<String, OutputAnswer>,
}

#[derive(Debug, Default, serde::Deserialize)]
struct OutputAnswer {
    events_written: u64,
    events_dropped: u64,
    batches_queued: u64,
    failing: bool,
}

/// Asks everybody once a second, for as long as anybody may want to know.
pub(crate) async fn watch(collector: Client, analyzer: Client, reader: Arc<Reader>, out: watch::Sender<Arc<Overview>>) {
    let mut histories = Histories::default();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !out.is_closed() {
        ticks.tick().await;
        let overview = look(&collector, &analyzer, &reader, &mut histories).await;
        out.send_replace(Arc::new(overview));
    }
}

async fn asked<T: serde::de::DeserializeOwned>(client: &Client, path: &str) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, client.json(path)).await {
        Ok(answer) => answer.map_err(|error: ClientError| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

async fn look(collector: &Client, analyzer: &Client, reader: &Arc<Reader>, histories: &mut Histories) -> Overview {
    let now = Timestamp::from_system(SystemTime::now());
    let mut overview = Overview { time: now.to_string(), ..Overview::default() };
    let answers = async {
        let status: StatusAnswer = asked(collector, "/api/v1/status").await?;
        let sources: SourcesAnswer = asked(collector, "/api/v1/sources").await?;
        let balance: BalanceAnswer = asked(collector, "/api/v1/balance").await?;
        Ok((status, sources, balance))
    };
    match answers.await {
        Ok((status, sources, balance)) => {
            overview.collector = CollectorState {
                reachable: true,
                error: String::new(),
                version: status.version,
                archive_error: status.archive_error,
            };
            add_up(&balance.balance, &mut overview);
            overview.sources = histories.rows(&sources.sources, &balance.balance, now);
        }
        Err(error) => {
            overview.collector.error = error;
            // Not asked is not wrong.
            overview.balance.closes = true;
        }
    }
    match asked::<AnalyzerAnswer>(analyzer, "/status").await {
        Ok(answer) => {
            overview.analyzer.reachable = true;
            let count = |name: &str| answer.counters.get(name).copied().unwrap_or(0);
            overview.chain.decoded_packets = count("packets");
            overview.chain.decode_missing = count("batches_missing");
            overview.chain.events = count("events");
            overview.events_by_type = answer.events_by_type;
            let outputs = answer.outputs.into_iter().map(|(name, output)| OutputState {
                name,
                written: output.events_written,
                dropped: output.events_dropped,
                queued: output.batches_queued,
                failing: output.failing,
            });
            overview.chain.outputs = outputs.collect();
        }
        // The client speaks of a collector.
        Err(error) => overview.analyzer.error = error.replace("collector", "analyzer"),
    }
    let reader = Arc::clone(reader);
    if let Ok(Ok(facts)) = tokio::task::spawn_blocking(move || reader.facts()).await {
        overview.store =
            StoreState { events: facts.events, bytes: facts.bytes, oldest: facts.oldest, newest: facts.newest };
    }
    overview
}

/// The account of all sources together.
fn add_up(rows: &[BalanceRow], overview: &mut Overview) {
    let chain = &mut overview.chain;
    overview.balance.closes = true;
    for row in rows {
        chain.captured += row.captured_packets;
        chain.kernel_dropped += row.kernel_dropped_packets + row.interface_dropped_packets;
        chain.in_flight += row.in_flight_packets;
        chain.archived += row.archived_packets;
        chain.not_stored += row.not_stored_packets;
        chain.published += row.published_packets;
        for (place, count) in &row.dropped {
            *chain.dropped.entry(place.clone()).or_default() += count;
        }
        if !row.closes && overview.balance.closes {
            overview.balance.closes = false;
            overview.balance.remark = format!("{}, epoch {}: {}", row.source, row.epoch, row.remark);
        }
    }
}

/// Counts of a source as they were last seen.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    packets: u64,
    bytes: u64,
    dropped: u64,
}

#[derive(Debug, Default)]
struct History {
    before: Option<Counts>,
    rates: Rates,
}

impl History {
    fn note(&mut self, counts: Counts, now: Timestamp) {
        let before = self.before.replace(counts).unwrap_or(counts);
        let rates = &mut self.rates;
        // A count that falls began anew.
        let rises = [
            (&mut rates.packets, counts.packets.saturating_sub(before.packets)),
            (&mut rates.bytes, counts.bytes.saturating_sub(before.bytes)),
            (&mut rates.dropped, counts.dropped.saturating_sub(before.dropped)),
        ];
        for (list, rise) in rises {
            list.push_back(rise);
            while list.len() > HISTORY {
                list.pop_front();
            }
        }
        rates.seconds = EVERY.as_secs();
        rates.until = now.to_string();
    }
}

#[derive(Debug, Default)]
struct Histories(BTreeMap<String, History>);

impl Histories {
    fn rows(&mut self, sources: &[SourceRow], balance: &[BalanceRow], now: Timestamp) -> Vec<Source> {
        self.0.retain(|name, _| sources.iter().any(|row| row.name == *name));
        let mut dropped: BTreeMap<&str, u64> = BTreeMap::new();
        for row in balance {
            *dropped.entry(&row.source).or_default() +=
                row.dropped_packets + row.kernel_dropped_packets + row.interface_dropped_packets;
        }
        sources.iter().take(SOURCES_MAX).map(|row| self.row(row, &dropped, now)).collect()
    }

    fn row(&mut self, row: &SourceRow, dropped: &BTreeMap<&str, u64>, now: Timestamp) -> Source {
        let dropped = dropped.get(row.name.as_str()).copied().unwrap_or(0);
        let history = self.0.entry(row.name.clone()).or_default();
        history.note(Counts { packets: row.received_packets, bytes: row.received_bytes, dropped }, now);
        let (arrived, newest) = (row.last_batch_nanos, row.newest_packet_nanos);
        let behind = i128::from(arrived) - i128::from(newest) + i128::from(row.clock_offset_nanos.unwrap_or(0));
        Source {
            name: row.name.clone(),
            connected: row.connected,
            protocol: row.protocol.clone(),
            packets_per_second: rate(&history.rates.packets),
            bytes_per_second: rate(&history.rates.bytes),
            drops_per_second: rate(&history.rates.dropped),
            received_packets: row.received_packets,
            received_bytes: row.received_bytes,
            dropped_packets: dropped,
            behind_seconds: (newest > 0 && arrived > 0).then(|| behind.max(0) as f64 / 1e9),
            last_packet: (newest > 0).then(|| Timestamp::from_nanos(newest).to_string()),
            spool_bytes: row.spool_bytes,
            certificate_expires: row
                .certificate_expires_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(|seconds| Timestamp::from_parts(seconds, 0).to_string()),
            history: history.rates.clone(),
        }
    }
}

/// The mean of the last seconds.
fn rate(list: &VecDeque<u64>) -> f64 {
    let count = list.len().min(RATE);
    if count == 0 {
        return 0.0;
    }
    list.iter().rev().take(count).sum::<u64>() as f64 / (count as f64 * EVERY.as_secs_f64())
}

/// `GET /api/v1/overview`.
pub(crate) async fn overview(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[])?;
    let overview = Arc::clone(&console.overview.borrow());
    Ok(axum::Json(&*overview).into_response())
}

/// `GET /api/v1/overview/live`.
pub(crate) async fn live(State(console): State<Console>, said: Said) -> Result<Response, Refusal> {
    said.only(&[])?;
    let (listener, response) = stream::events(console.listener()?);
    tokio::spawn(follow(console.overview.clone(), listener));
    Ok(response)
}

async fn follow(mut overviews: watch::Receiver<Arc<Overview>>, listener: Listener) {
    loop {
        let overview = Arc::clone(&overviews.borrow_and_update());
        if !listener.send("overview", &*overview).await || overviews.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(packets: u64) -> SourceRow {
        SourceRow {
            name: "a".to_owned(),
            received_packets: packets,
            received_bytes: packets * 100,
            last_batch_nanos: 5_200_000_000,
            newest_packet_nanos: 5_000_000_000,
            clock_offset_nanos: Some(300_000_000),
            ..SourceRow::default()
        }
    }

    #[test]
    fn rates_are_rises_and_a_count_that_began_anew_is_none() {
        let mut histories = Histories::default();
        let mut last = Vec::new();
        for packets in [1000, 1010, 1030, 5, 15] {
            last = histories.rows(&[source(packets)], &[], Timestamp::from_parts(10, 0));
        }
        let row = &last[0];
        assert_eq!(row.history.packets, [0, 10, 20, 0, 10]);
        assert_eq!(row.packets_per_second, 8.0);
        assert_eq!(row.bytes_per_second, 800.0);
        assert_eq!(row.behind_seconds, Some(0.5), "arrival, by the probe's clock, after the packet");
        for _ in 0..200 {
            last = histories.rows(&[source(15)], &[], Timestamp::from_parts(10, 0));
        }
        assert_eq!(last[0].history.packets.len(), HISTORY);
        assert!(histories.rows(&[], &[], Timestamp::ZERO).is_empty());
        assert!(histories.0.is_empty(), "what is gone is forgotten");
    }

    #[test]
    fn one_account_that_does_not_close_is_named() {
        let mut overview = Overview::default();
        let good = BalanceRow { captured_packets: 10, archived_packets: 10, closes: true, ..BalanceRow::default() };
        let bad = BalanceRow {
            source: "b".to_owned(),
            epoch: "7".to_owned(),
            remark: "one is missing".to_owned(),
            captured_packets: 5,
            archived_packets: 4,
            dropped: [("probe/spool_full".to_owned(), 2)].into(),
            ..BalanceRow::default()
        };
        add_up(&[good.clone(), bad], &mut overview);
        assert!(!overview.balance.closes);
        assert_eq!(overview.balance.remark, "b, epoch 7: one is missing");
        assert_eq!((overview.chain.captured, overview.chain.archived), (15, 14));
        assert_eq!(overview.chain.dropped["probe/spool_full"], 2);
        add_up(&[good], &mut overview);
        assert!(overview.balance.closes);
    }
}
