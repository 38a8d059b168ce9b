//! Answers, named and shaped like the JSON of `docs/api.md`.
//! Fields are added, never renamed.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::Time;

/// One whole document as it was written, with `id` put first in the place of `_id`.
pub type Document = Box<RawValue>;

/// How far an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Whether everything in the range was looked through.
    pub complete: bool,
    /// The time down to which the answer is complete; ask again with `until` set to it.
    pub searched_from: Time,
}

/// `GET /api/v1/events`.
#[derive(Debug, Serialize)]
pub struct Events {
    /// The documents, newest first.
    pub events: Vec<Document>,
    /// Where older ones go on, if there may be any.
    pub next: Option<String>,
    /// How far it goes.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// `GET /api/v1/events/ID`, with what else the console needs to know of it.
#[derive(Debug)]
pub struct Found {
    /// The document.
    pub document: Document,
    /// Its `@timestamp`.
    pub time: Time,
}

/// `GET /api/v1/events/ID/related`.
#[derive(Debug, Serialize)]
pub struct Related {
    /// What joins them: `call` or `flow`; none if the event has neither.
    pub by: Option<&'static str>,
    /// The Call-ID or Community ID they share.
    pub value: Option<String>,
    /// The others.
    #[serde(flatten)]
    pub events: Events,
}

/// `GET /api/v1/histogram`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Histogram {
    /// The first moment asked for.
    pub since: Time,
    /// The first moment after it.
    pub until: Time,
    /// Length of a bucket in seconds.
    pub bucket_seconds: u64,
    /// When each bucket begins, oldest first.
    pub times: Vec<Time>,
    /// One series per name that occurs, the most frequent first.
    pub series: Vec<Series>,
    /// Packets known to be lost by our own capture, per bucket.
    pub capture_loss: Vec<u64>,
    /// Events in all buckets.
    pub total: u64,
    /// How far it goes.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// One line of a histogram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Series {
    /// The type, source or status; empty for events without status.
    pub name: String,
    /// Events per bucket.
    pub counts: Vec<u64>,
}

/// `GET /api/v1/facets`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Facets {
    /// The field asked for.
    pub field: String,
    /// Its values, the most frequent first.
    pub values: Vec<FacetValue>,
    /// How far it goes.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// A value and how many events have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FacetValue {
    /// The value as text.
    pub value: String,
    /// How many events.
    pub count: u64,
}

/// `GET /api/v1/streams`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Streams {
    /// The streams, newest first.
    pub streams: Vec<Stream>,
    /// How far it goes.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// An RTP stream, put together from its events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stream {
    /// Id of its newest event.
    pub id: String,
    /// What all its events share: source, addresses and SSRC.
    pub key: String,
    /// The source that captured it.
    pub source: String,
    /// The call that announced it.
    pub call_id: Option<String>,
    /// Its SSRC as `0x` and eight hexadecimal digits.
    pub ssrc: String,
    /// Encoding name.
    pub codec: Option<String>,
    /// Who sends, `address:port`.
    pub client: String,
    /// Who receives, `address:port`.
    pub server: String,
    /// Its first packet in the range.
    pub start: Time,
    /// Its last packet.
    pub end: Time,
    /// Whether it is over: then the figures are those of the whole stream, else of the intervals in the range.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Packets received, duplicates included.
    pub packets: u64,
    /// Packets expected.
    pub expected: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Lost by the network, in percent of those expected.
    pub loss_percent: f64,
    /// Packets received again.
    pub duplicates: u64,
    /// Packets received late.
    pub out_of_order: u64,
    /// Of the lost ones, those that our own capture may have lost.
    pub capture_loss: u64,
    /// Mean interarrival jitter.
    pub jitter_mean_ms: Option<f64>,
    /// Greatest interarrival jitter.
    pub jitter_max_ms: Option<f64>,
    /// Estimated mean opinion score; where the stream goes on, the lowest of its intervals.
    pub mos: Option<f64>,
    /// Its intervals, oldest first; of a stream shorter than an interval, the whole.
    pub points: Vec<Point>,
}

/// One interval of a stream.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Point {
    /// When it begins.
    pub time: Time,
    /// How long it is.
    pub seconds: f64,
    /// Lost by the network, in percent.
    pub loss_percent: f64,
    /// Mean jitter.
    pub jitter_mean_ms: Option<f64>,
    /// Greatest jitter.
    pub jitter_max_ms: Option<f64>,
    /// Lost packets that our own capture may have lost.
    pub capture_loss: u64,
    /// Estimated mean opinion score.
    pub mos: Option<f64>,
}

/// `GET /api/v1/calls`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Calls {
    /// The calls, newest first.
    pub calls: Vec<Call>,
    /// How far it goes.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// A call.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// Id of its event.
    pub id: String,
    /// Its SIP Call-ID.
    pub call_id: String,
    /// The source that captured it.
    pub source: String,
    /// Who calls.
    pub caller: Option<String>,
    /// Who is called.
    pub callee: Option<String>,
    /// When the first INVITE was sent, RFC 3339.
    pub start: Option<String>,
    /// When it rang.
    pub ring: Option<String>,
    /// When it was answered.
    pub answer: Option<String>,
    /// When it ended.
    pub end: Option<String>,
    /// answered, rejected, cancelled, unanswered or open.
    pub state: Option<String>,
    /// The final status code of the INVITE.
    pub final_code: Option<u64>,
    /// From the answer to the end.
    pub duration_ms: Option<f64>,
    /// The lowest estimated mean opinion score among its streams.
    pub mos: Option<f64>,
    /// Keys of its streams, as in [`Stream::key`].
    pub streams: Vec<String>,
}

/// `GET /api/v1/store`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoreFacts {
    /// The files, oldest first.
    pub files: Vec<FileFacts>,
    /// Events in all of them.
    pub events: u64,
    /// Bytes of all of them on disk.
    pub bytes: u64,
    /// The oldest `@timestamp`.
    pub oldest: Option<Time>,
    /// The newest `@timestamp`.
    pub newest: Option<Time>,
    /// How long is kept what, as the writer was configured last.
    pub retention: Retention,
    /// Files that cannot be read and are left out of all answers, and why.
    pub problems: Vec<String>,
}

/// What the writer removes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Retention {
    /// The age from which files are removed, such as `7d`; none keeps them.
    pub age: Option<String>,
    /// The size above which the oldest files are removed, in bytes; none is no bound.
    pub size: Option<u64>,
}

/// One file of the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Its name in the store's directory.
    pub name: String,
    /// Events in it.
    pub events: u64,
    /// Bytes on disk, its log included.
    pub bytes: u64,
    /// The oldest `@timestamp` in it.
    pub from: Option<Time>,
    /// The newest `@timestamp` in it.
    pub to: Option<Time>,
    /// Whether it is finished and has all indexes.
    pub sealed: bool,
}

/// What was stored since a mark, for `GET /api/v1/events/live`.
#[derive(Debug)]
pub struct Tail {
    /// Matching documents in the order they were stored, at most the limit.
    pub events: Vec<Document>,
    /// Matching events beyond the limit, or beyond what could be looked through; the newest ones are shown.
    pub skipped: u64,
    /// Give it next time.
    pub mark: crate::Mark,
}

/// The busiest addresses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Talkers {
    /// The addresses, most bytes first.
    pub talkers: Vec<Talker>,
    /// How far it goes.
    #[serde(flatten)]
    pub bounds: Bounds,
}

/// An address and what it took part in. Lower bounds: of each batch stored only the 64 busiest addresses are counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Talker {
    /// The address.
    pub ip: String,
    /// Events in which it was client or server.
    pub events: u64,
    /// Bytes of these events, both directions. Flow events and those of the protocols within count both.
    pub bytes: u64,
}
