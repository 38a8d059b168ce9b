//! A store filled with random events beside the same events as JSON, and naive answers from those.
#![allow(dead_code, clippy::unwrap_used, clippy::indexing_slicing)]

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use packet::Timestamp;
use serde_json::Value;
use store::{Options, Range, Writer};

use crate::events;

/// One stored event.
pub struct Stored {
    pub id: String,
    pub time: Timestamp,
    pub file: u64,
    pub order: usize,
    /// The line without its id.
    pub line: String,
    pub json: Value,
}

/// All stored events in the order they were stored.
pub struct Oracle {
    pub rows: Vec<Stored>,
}

impl Oracle {
    pub fn first(&self) -> Timestamp {
        self.rows.iter().map(|row| row.time).min().unwrap()
    }
    pub fn last(&self) -> Timestamp {
        self.rows.iter().map(|row| row.time).max().unwrap()
    }
    pub fn newest_first(&self) -> impl Iterator<Item = &Stored> {
        let mut rows: Vec<&Stored> = self.rows.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.time, row.order)));
        rows.into_iter()
    }
}

pub fn id(document: &str) -> String {
    serde_json::from_str::<Value>(document).unwrap()["id"].as_str().unwrap().to_owned()
}

/// A store of several files with events out of order, some of the same time, all but the last two files finished.
pub fn filled(directory: &Path, seed: u64, count: usize) -> Oracle {
    let options = Options { period: Duration::from_secs(1800), events_max: 700, ..Options::new(directory) };
    let start = Timestamp::from_parts(1_795_460_400 + 86_400 * seed, 0);
    let span = 3 * 3_600_000_000_000u64;
    let mut source = events::Events::new(seed, 300);
    let mut rows = Vec::new();
    let mut writer = Writer::open(options, start).unwrap();
    while rows.len() < count {
        let arrival = start.plus_nanos(span / count as u64 * rows.len() as u64);
        let size = 1 + source.random.below(150) as usize;
        let batch: Vec<event::Event> = (0..size.min(count - rows.len()))
            .map(|_| {
                let late = match source.random.below(10) {
                    0 => source.random.below(1_800_000_000_000),
                    1 => 0,
                    _ => source.random.below(2_000_000_000),
                };
                source.next(arrival.minus_nanos(late))
            })
            .collect();
        let lines = events::lines(&batch);
        writer.write(batch.iter().zip(lines.iter().map(Vec::as_slice)), arrival).unwrap();
        for (event, line) in batch.iter().zip(lines) {
            let line = String::from_utf8(line).unwrap();
            let json: Value = serde_json::from_str(&line).unwrap();
            rows.push(Stored {
                id: event.id().to_string(),
                time: event.time,
                file: 0,
                order: rows.len(),
                line: line[42..].to_owned(),
                json,
            });
        }
        if rows.len() < count * 2 / 3 {
            while writer.step(arrival) {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    writer.flush().unwrap();
    Oracle { rows }
}

pub fn within(row: &Stored, range: Range) -> bool {
    range.since <= row.time && row.time < range.until
}

pub fn call(row: &Stored) -> Option<&str> {
    ["/sip/call_id", "/rtp/call_id", "/call/id"].iter().find_map(|path| row.json.pointer(path)?.as_str())
}

pub fn text_of(row: &Stored, field: &str) -> String {
    let value = if field == "source" { &row.json["tapline"]["source"] } else { &row.json[field] };
    value.as_str().unwrap_or_default().to_owned()
}

fn ends(row: &Stored, what: &str) -> Vec<String> {
    let sides = if row.json["client"]["ip"].is_null() { ["source", "destination"] } else { ["client", "server"] };
    let mut found: Vec<String> = sides
        .iter()
        .filter_map(|side| match &row.json[side][what] {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        })
        .collect();
    found.dedup();
    found
}

/// The different values that an event has of a field.
pub fn values(row: &Stored, field: &str) -> Vec<String> {
    match field {
        "type" | "source" | "status" => Some(text_of(row, field)).filter(|text| !text.is_empty()).into_iter().collect(),
        "ip" | "port" => ends(row, field),
        field => {
            let mut found = Vec::new();
            let mut open = vec![(&row.json, field)];
            while let Some((value, path)) = open.pop() {
                match value {
                    Value::Array(values) => open.extend(values.iter().map(|value| (value, path))),
                    Value::Object(members) => {
                        let (head, rest) = path.split_once('.').unwrap_or((path, ""));
                        open.extend(members.get(head).map(|value| (value, rest)));
                    }
                    Value::Null => {}
                    Value::String(text) if path.is_empty() => found.push(text.clone()),
                    other if path.is_empty() => found.push(other.to_string()),
                    _ => {}
                }
            }
            found.sort();
            found.dedup();
            found
        }
    }
}

fn in_network(address: &str, network: &str) -> bool {
    let (base, prefix) = network.split_once('/').unwrap_or((network, ""));
    let bits = |text: &str| match text.parse::<IpAddr>().unwrap() {
        IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32, true),
        IpAddr::V6(address) => (u128::from(address), 128, false),
    };
    let ((address, _, v4), (base, most, base_v4)) = (bits(address), bits(base));
    let prefix: u32 = prefix.parse().unwrap_or(most);
    v4 == base_v4 && (prefix == 0 || (address ^ base) >> (128 - prefix) == 0)
}

/// Whether an event fits a filter, told from the text of its words: blanks within double quotes are not known here but as written below.
pub fn fits(row: &Stored, q: &str) -> bool {
    let mut words: Vec<String> = Vec::new();
    let mut quoted = false;
    let mut escaped = false;
    let mut current = String::new();
    for c in q.chars().chain([' ']) {
        match c {
            _ if escaped => {
                current.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ' ' if !quoted => words.extend(Some(std::mem::take(&mut current)).filter(|word| !word.is_empty())),
            c => current.push(c),
        }
    }
    let mut any: std::collections::BTreeMap<String, bool> = std::collections::BTreeMap::new();
    for word in words {
        let (excludes, word) = word.strip_prefix('-').map_or((false, word.as_str()), |rest| (true, rest));
        let name = word.split_once(':').filter(|(name, _)| {
            ["type", "source", "status", "ip", "port", "flow", "call"].contains(name) || events::is_field(name)
        });
        let holds = match name {
            None => {
                let needle = serde_json::to_string(&word.to_lowercase()).unwrap();
                row.line.to_lowercase().contains(needle.trim_matches('"').trim_end_matches("\\")) && {
                    let inner = &needle[1..needle.len() - 1];
                    row.line.to_lowercase().contains(inner)
                }
            }
            Some(("type" | "source" | "status", value)) => {
                let (field, _) = word.split_once(':').unwrap();
                text_of(row, field).eq_ignore_ascii_case(value)
            }
            Some(("ip", value)) => ends(row, "ip").iter().any(|ip| in_network(ip, value)),
            Some(("port", value)) => ends(row, "port").iter().any(|port| port == value),
            Some(("flow", value)) => row.json["network"]["community_id"] == value,
            Some(("call", value)) => call(row) == Some(value),
            Some((field, value)) => values(row, field).iter().any(|has| has == value),
        };
        match name {
            _ if excludes && holds => return false,
            _ if excludes => {}
            Some((name, _)) => *any.entry(name.to_owned()).or_default() |= holds,
            None if !holds => return false,
            None => {}
        }
    }
    any.values().all(|holds| *holds)
}
