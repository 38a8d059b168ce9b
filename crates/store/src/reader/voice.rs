//! RTP streams, put together from their events, and calls.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use serde::Deserialize;

use super::Ask;
use super::pool::Pool;
use super::row::Row;
use super::walk::{End, Visit, Walk};
use crate::answer::{Call, Calls, Point, Stream, Streams};
use crate::documents::Block;
use crate::filter::Filter;
use crate::{Error, Time};

/// Points of all streams of an answer together at most.
const POINTS_MAX: usize = 50_000;

/// Whole numbers and fractions of `rtp.*`; what is not there is left at nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Rtp {
    ssrc: String,
    #[serde(rename = "final")]
    is_final: bool,
    call_id: Option<String>,
    codec: Option<String>,
    packets: u64,
    expected: u64,
    lost: u64,
    lost_by_capture: u64,
    duplicates: u64,
    out_of_order: u64,
    loss: Loss,
    jitter: Jitter,
    mos: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Loss {
    percent: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Jitter {
    mean_ms: Option<f64>,
    max_ms: Option<f64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Side {
    ip: String,
    port: u16,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Span {
    duration: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RtpDocument {
    rtp: Rtp,
    source: Side,
    destination: Side,
    event: Span,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallDocument {
    call: CallFields,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CallFields {
    id: String,
    state: Option<String>,
    caller: Option<String>,
    callee: Option<String>,
    start: Option<String>,
    ring: Option<String>,
    answer: Option<String>,
    end: Option<String>,
    code: Option<u64>,
    talk_time_ms: Option<f64>,
    mos: Option<f64>,
    media: Vec<Medium>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Medium {
    ssrc: String,
    source: Side,
    destination: Side,
}

fn parse<'b, T: Deserialize<'b>>(buffer: &'b mut Vec<u8>, block: &Block, row: i64) -> Option<T> {
    buffer.clear();
    buffer.push(b'{');
    buffer.extend_from_slice(block.line(row)?);
    serde_json::from_slice(buffer).ok()
}

fn text(end: &Side) -> String {
    if end.ip.contains(':') { format!("[{}]:{}", end.ip, end.port) } else { format!("{}:{}", end.ip, end.port) }
}

fn key(source: &str, from: &Side, to: &Side, ssrc: &str) -> String {
    format!("{source}/{}/{}/{ssrc}", text(from), text(to))
}

/// The question's filter with the type fixed; none if it excludes the type.
fn only(filter: &Filter, kind: &str) -> Option<Filter> {
    let is = |name: &String| name.eq_ignore_ascii_case(kind);
    if filter.types.none.iter().any(is) || !(filter.types.any.is_empty() || filter.types.any.iter().any(is)) {
        return None;
    }
    let mut filter = filter.clone();
    filter.types.any = vec![kind.to_owned()];
    Some(filter)
}

/// A stream while its events come in, newest first.
struct Gathering {
    stream: Stream,
    /// Sums of what the mean of jitters needs: weights and weighted jitters.
    jitter: (f64, f64),
}

/// What tells streams apart without reading their documents.
type Ends = (usize, Option<[u8; 16]>, Option<u16>, Option<[u8; 16]>, Option<u16>);

/// RTP streams, newest first.
pub(super) fn streams(pool: &Pool, ask: &Ask<'_>, limit: usize) -> Result<Streams, Error> {
    let limit = limit.clamp(1, 1000);
    let (since, until) = ask.range.nanos();
    let Some(filter) = only(ask.filter, "rtp") else {
        return Ok(Streams { streams: Vec::new(), bounds: End::Whole.bounds(since, since) });
    };
    let walk = Walk::new(pool, &filter, (since, until), None, Instant::now() + ask.deadline)?;
    let mut order: Vec<Gathering> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut known_ends: HashSet<Ends> = HashSet::new();
    let mut sources: HashMap<String, usize> = HashMap::new();
    let (mut buffer, mut points) = (Vec::new(), 0);
    let end = walk.run(false, None, &mut |file, row, _| {
        let full = order.len() >= limit;
        let source = file.names.get(1).and_then(|names| names.get(row.names[1])).map_or("", String::as_str);
        let number = match sources.get(source) {
            Some(number) => *number,
            None => {
                sources.insert(source.to_owned(), sources.len());
                sources.len() - 1
            }
        };
        let ends = (number, row.client.0, row.client.1, row.server.0, row.server.1);
        if full && !known_ends.contains(&ends) {
            return Visit::On;
        }
        let Ok(Some(block)) = file.unpacker.block(&file.connection, row.row) else { return Visit::On };
        let Some(document) = parse::<RtpDocument>(&mut buffer, &block, row.row) else { return Visit::On };
        let key = key(source, &document.source, &document.destination, &document.rtp.ssrc);
        let at = match places.get(&key) {
            Some(at) => *at,
            None if full => return Visit::On,
            None => {
                places.insert(key.clone(), order.len());
                order.push(Gathering::begin(key, source, row, &document));
                order.len() - 1
            }
        };
        known_ends.insert(ends);
        points += 1;
        if let Some(gathering) = order.get_mut(at).filter(|_| points <= POINTS_MAX) {
            gathering.add(row, &document);
        }
        Visit::On
    });
    let streams = order.into_iter().map(Gathering::done).collect();
    Ok(Streams { streams, bounds: end.bounds(since, since) })
}

impl Gathering {
    fn begin(key: String, source: &str, row: &Row, document: &RtpDocument) -> Self {
        let rtp = &document.rtp;
        let stream = Stream {
            id: format!("{:032x}", row.id),
            key,
            source: source.to_owned(),
            call_id: None,
            ssrc: rtp.ssrc.clone(),
            codec: None,
            client: text(&document.source),
            server: text(&document.destination),
            start: Time::of(row.time),
            end: Time::of(row.time),
            is_final: false,
            packets: 0,
            expected: 0,
            lost: 0,
            loss_percent: 0.0,
            duplicates: 0,
            out_of_order: 0,
            capture_loss: 0,
            jitter_mean_ms: None,
            jitter_max_ms: None,
            mos: None,
            points: Vec::new(),
        };
        Self { stream, jitter: (0.0, 0.0) }
    }

    fn add(&mut self, row: &Row, document: &RtpDocument) {
        let (stream, rtp) = (&mut self.stream, &document.rtp);
        stream.call_id = stream.call_id.take().or_else(|| rtp.call_id.clone());
        stream.codec = stream.codec.take().or_else(|| rtp.codec.clone());
        stream.start = stream.start.min(Time::of(row.time));
        stream.end = stream.end.max(Time::of(row.time.saturating_add(document.event.duration.max(0))));
        let point = Point {
            time: Time::of(row.time),
            seconds: document.event.duration as f64 / 1e9,
            loss_percent: rtp.loss.percent,
            jitter_mean_ms: rtp.jitter.mean_ms,
            jitter_max_ms: rtp.jitter.max_ms,
            capture_loss: rtp.lost_by_capture,
            mos: rtp.mos,
        };
        if rtp.is_final {
            // The whole stream in one: its figures stand for all. A stream has one; of several on the same addresses the newest counts.
            if !stream.is_final {
                stream.is_final = true;
                stream.packets = rtp.packets;
                stream.expected = rtp.expected;
                stream.lost = rtp.lost;
                stream.loss_percent = rtp.loss.percent;
                stream.duplicates = rtp.duplicates;
                stream.out_of_order = rtp.out_of_order;
                stream.capture_loss = rtp.lost_by_capture;
                stream.jitter_mean_ms = rtp.jitter.mean_ms;
                stream.jitter_max_ms = rtp.jitter.max_ms;
                stream.mos = rtp.mos;
                self.jitter = (0.0, 0.0);
                if stream.points.is_empty() {
                    stream.points.push(point);
                    return;
                }
            }
            return;
        }
        // The final report stood in for intervals that had not come yet.
        if stream.is_final
            && stream.points.len() == 1
            && stream.points.first().is_some_and(|p| p.seconds > point.seconds)
        {
            stream.points.clear();
        }
        stream.points.push(point);
        if stream.is_final {
            return;
        }
        stream.packets = stream.packets.saturating_add(rtp.packets);
        stream.expected = stream.expected.saturating_add(rtp.expected);
        stream.lost = stream.lost.saturating_add(rtp.lost);
        stream.duplicates = stream.duplicates.saturating_add(rtp.duplicates);
        stream.out_of_order = stream.out_of_order.saturating_add(rtp.out_of_order);
        stream.capture_loss = stream.capture_loss.saturating_add(rtp.lost_by_capture);
        stream.jitter_max_ms = maximum(stream.jitter_max_ms, rtp.jitter.max_ms);
        stream.mos = match (stream.mos, rtp.mos) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(mean) = rtp.jitter.mean_ms {
            self.jitter.0 += rtp.packets as f64;
            self.jitter.1 += mean * rtp.packets as f64;
        }
    }

    fn done(mut self) -> Stream {
        self.stream.points.sort_by_key(|point| point.time);
        if !self.stream.is_final {
            let stream = &mut self.stream;
            if self.jitter.0 > 0.0 {
                stream.jitter_mean_ms = Some((self.jitter.1 / self.jitter.0 * 1000.0).round() / 1000.0);
            }
            // What our own capture lost says nothing about the network.
            let lost = stream.lost.saturating_sub(stream.capture_loss);
            if stream.expected > 0 {
                stream.loss_percent = (lost as f64 * 100_000.0 / stream.expected as f64).round() / 1000.0;
            }
        }
        self.stream
    }
}

fn maximum(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

/// Calls, newest first.
pub(super) fn calls(pool: &Pool, ask: &Ask<'_>, limit: usize) -> Result<Calls, Error> {
    let limit = limit.clamp(1, 1000);
    let (since, until) = ask.range.nanos();
    let Some(filter) = only(ask.filter, "call") else {
        return Ok(Calls { calls: Vec::new(), bounds: End::Whole.bounds(since, since) });
    };
    let walk = Walk::new(pool, &filter, (since, until), None, Instant::now() + ask.deadline)?;
    let mut calls = Vec::new();
    let (mut buffer, mut last) = (Vec::new(), since);
    let end = walk.run(true, Some(limit + 1), &mut |file, row, block| {
        if calls.len() == limit {
            return Visit::Enough;
        }
        let Some(document) = block.and_then(|block| parse::<CallDocument>(&mut buffer, block, row.row)) else {
            return Visit::On;
        };
        let source = file.names.get(1).and_then(|names| names.get(row.names[1])).cloned().unwrap_or_default();
        let call = document.call;
        let keys = call.media.iter().map(|medium| key(&source, &medium.source, &medium.destination, &medium.ssrc));
        last = row.time;
        calls.push(Call {
            id: format!("{:032x}", row.id),
            streams: keys.collect(),
            call_id: call.id,
            caller: call.caller,
            callee: call.callee,
            start: call.start,
            ring: call.ring,
            answer: call.answer,
            end: call.end,
            state: call.state,
            final_code: call.code,
            duration_ms: call.talk_time_ms,
            mos: call.mos,
            source,
        });
        Visit::On
    });
    Ok(Calls { calls, bounds: end.bounds(since, last) })
}
