//! Every question against a naive answer made from the same events' JSON, with random events, ranges and filters.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../testing/events.rs"]
mod events;
#[path = "../testing/oracle.rs"]
mod oracle;

use std::collections::BTreeMap;
use std::time::Duration;

use oracle::{Oracle, filled, fits, id, text_of};
use packet::Timestamp;
use serde_json::Value;
use store::{Ask, By, Error, Filter, Range, Reader};

const SECOND: u64 = 1_000_000_000;
const LONG: Duration = Duration::from_secs(60);

fn ask<'a>(filter: &'a Filter, range: Range) -> Ask<'a> {
    Ask { deadline: LONG, ..Ask::new(filter, range) }
}

/// A filter of up to three random words, as text.
fn words(random: &mut events::Random) -> String {
    const WORDS: &[&str] = &[
        "type:dns",
        "type:http",
        "type:rtp",
        "-type:flow",
        "type:CALL",
        "source:web1",
        "-source:core",
        "status:OK",
        "-status:OK",
        "status:\"Server Error\"",
        "ip:10.0.0.7",
        "ip:10.0.0.0/28",
        "-ip:10.0.0.0/27",
        "ip:fd08::/16",
        "ip:fd08::53",
        "port:53",
        "-port:443",
        "port:5060",
        "call:7@gw2.example",
        "-call:7@gw2.example",
        "such",
        "NXDOMAIN",
        "\"GET /api\"",
        "-login",
        "\"X11\\\"\"",
        "Tapline\\Test",
        "BÜCHER",
        "dns.question.type:AAAA",
        "-dns.question.type:AAAA",
        "http.response.status_code:404",
        "http.response.status_code:500",
        "dns.answers.type:A",
        "related.ip:10.0.0.7",
        "tapline.capture_loss:3",
        "flow.final:true",
        "type:nothing",
        "flow:FLOW",
    ];
    let pick = |random: &mut events::Random| WORDS[random.below(WORDS.len() as u64) as usize];
    (0..random.below(4)).map(|_| pick(random)).collect::<Vec<_>>().join(" ")
}

fn range(random: &mut events::Random, oracle: &Oracle) -> Range {
    let (min, max) = (oracle.first().nanos(), oracle.last().nanos());
    match random.below(4) {
        0 => Range::ALL,
        1 => {
            // The edges fall on events.
            let pick = |random: &mut events::Random| oracle.rows[random.below(oracle.rows.len() as u64) as usize].time;
            let (a, b) = (pick(random), pick(random));
            Range { since: a.min(b), until: a.max(b).plus_nanos(1) }
        }
        _ => {
            let a = min + random.below(max - min);
            Range { since: Timestamp::from_nanos(a), until: Timestamp::from_nanos(a + 1 + random.below(max - a)) }
        }
    }
}

#[test]
fn answers_are_those_of_the_oracle() {
    for seed in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        let oracle = filled(directory.path(), seed, 3_000);
        let reader = Reader::new(directory.path());
        assert!(reader.facts().unwrap().files.iter().any(|file| file.sealed), "some file is finished");
        let mut random = events::Random(seed + 100);
        let mut seen = 0;
        for round in 0..50 {
            let flow = oracle.rows[random.below(3_000) as usize].json["network"]["community_id"]
                .as_str()
                .unwrap_or("1:x")
                .to_owned();
            let q = words(&mut random).replace("FLOW", &flow);
            let filter = Filter::parse(&q, &events::is_field).unwrap();
            let range = range(&mut random, &oracle);
            let what = format!("seed {seed} round {round}: {q:?} {range:?}");
            let wanted: Vec<&oracle::Stored> =
                oracle.newest_first().filter(|row| oracle::within(row, range) && fits(row, &q)).collect();
            seen += wanted.len();
            pages(&reader, &filter, range, &wanted, 1 + random.below(60) as usize, &what);
            histogram(&reader, &filter, range, &wanted, 1 + random.below(200) as usize, &what);
            for field in ["type", "source", "status", "ip", "port", "dns.question.type", "related.ip"] {
                facets(&reader, &filter, range, &wanted, field, &what);
            }
        }
        assert!(seen > 5_000, "the filters let something through");
    }
}

fn pages(reader: &Reader, filter: &Filter, range: Range, wanted: &[&oracle::Stored], limit: usize, what: &str) {
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = reader.events(&ask(filter, range), limit, after.as_deref()).unwrap();
        assert!(page.bounds.complete && page.events.len() <= limit, "{what}");
        found.extend(page.events.iter().map(|event| id(event.get())));
        after = page.next;
        if after.is_none() || found.len() > wanted.len() + limit {
            break;
        }
    }
    let ids: Vec<String> = wanted.iter().map(|row| row.id.clone()).collect();
    assert_eq!(found, ids, "{what}");
}

fn histogram(reader: &Reader, filter: &Filter, range: Range, wanted: &[&oracle::Stored], buckets: usize, what: &str) {
    for (by, name) in [(By::Type, "type"), (By::Source, "source"), (By::Status, "status")] {
        let answer = reader.histogram(&ask(filter, range), buckets, by).unwrap();
        assert!(answer.bounds.complete && answer.times.len() <= buckets.max(1), "{what}");
        assert_eq!(answer.total, wanted.len() as u64, "{what}");
        let mut counts: BTreeMap<(String, usize), u64> = BTreeMap::new();
        let mut losses = vec![0; answer.times.len()];
        for row in wanted {
            let bucket = answer.times.partition_point(|start| start.0 <= row.time) - 1;
            assert!(row.time.since(answer.times[bucket].0) < answer.bucket_seconds * SECOND, "{what}");
            *counts.entry((text_of(row, name), bucket)).or_default() += 1;
            losses[bucket] += row.json["tapline"]["capture_loss"].as_u64().unwrap_or(0);
        }
        let mut found: BTreeMap<(String, usize), u64> = BTreeMap::new();
        for series in &answer.series {
            for (bucket, count) in series.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                found.insert((series.name.clone(), bucket), *count);
            }
        }
        assert_eq!(found, counts, "{what} by {name}");
        assert_eq!(answer.capture_loss, losses, "{what}");
    }
}

fn facets(reader: &Reader, filter: &Filter, range: Range, wanted: &[&oracle::Stored], field: &str, what: &str) {
    for prefix in ["", "a", "1"] {
        let answer = reader.facets(&ask(filter, range), field, prefix, 7).unwrap();
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        for row in wanted {
            for value in oracle::values(row, field) {
                if value.to_lowercase().starts_with(prefix) {
                    *counts.entry(value).or_default() += 1;
                }
            }
        }
        let mut counts: Vec<(String, u64)> = counts.into_iter().collect();
        counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(7);
        let found: Vec<(String, u64)> = answer.values.into_iter().map(|value| (value.value, value.count)).collect();
        assert_eq!(found, counts, "{what} facets {field} {prefix}");
    }
}

#[test]
fn one_event_and_its_relatives_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let oracle = filled(directory.path(), 5, 3_000);
    let reader = Reader::new(directory.path());
    let filter = Filter::default();
    for row in oracle.rows.iter().step_by(37) {
        let number = event::EventId(u128::from_str_radix(&row.id, 16).unwrap());
        let found = reader.event(number, None).unwrap().unwrap();
        assert!(found.document.get().starts_with(&format!("{{\"id\":\"{}\",\"@timestamp\"", row.id)));
        assert_eq!(serde_json::from_str::<Value>(found.document.get()).unwrap()["@timestamp"], row.json["@timestamp"]);
        assert_eq!(found.time.0, row.time);
        assert!(reader.event(number, Some(row.time)).unwrap().is_some());
        assert!(reader.event(number, Some(row.time.plus_nanos(1))).unwrap().is_some(), "a wrong time does no harm");
        let related = reader.related(&found, &ask(&filter, Range::ALL), 1000, None).unwrap();
        let share = |other: &oracle::Stored| match oracle::call(row) {
            Some(call) => oracle::call(other) == Some(call),
            None => other.json["network"]["community_id"] == row.json["network"]["community_id"],
        };
        let wanted: Vec<String> = oracle
            .newest_first()
            .filter(|other| other.id != row.id && share(other))
            .map(|other| other.id.clone())
            .collect();
        let ids: Vec<String> = related.events.events.iter().map(|event| id(event.get())).collect();
        assert_eq!(ids, wanted);
        assert_eq!(related.by, Some(if oracle::call(row).is_some() { "call" } else { "flow" }));
    }
    assert!(reader.event(event::EventId(1), None).unwrap().is_none());
}

#[test]
fn streams_and_calls_are_put_together() {
    let directory = tempfile::tempdir().unwrap();
    let oracle = filled(directory.path(), 6, 4_000);
    let reader = Reader::new(directory.path());
    let filter = Filter::parse("source:gw2", &events::is_field).unwrap();
    let streams = reader.streams(&ask(&filter, Range::ALL), 1000).unwrap();
    let key = |row: &oracle::Stored| {
        let end = |side: &str| {
            let ip = row.json[side]["ip"].as_str().unwrap();
            format!("{ip}:{}", row.json[side]["port"])
        };
        format!("gw2/{}/{}/{}", end("source"), end("destination"), row.json["rtp"]["ssrc"].as_str().unwrap())
    };
    let mut wanted: Vec<(String, Vec<&oracle::Stored>)> = Vec::new();
    for row in oracle.newest_first().filter(|row| fits(row, "type:rtp source:gw2")) {
        let key = key(row);
        match wanted.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => wanted.push((key, vec![row])),
        }
    }
    assert!(wanted.iter().any(|(_, rows)| rows.len() > 1));
    assert_eq!(streams.streams.len(), wanted.len());
    for (stream, (key, rows)) in streams.streams.iter().zip(&wanted) {
        assert_eq!((&stream.key, &stream.id), (key, &rows[0].id));
        let whole = rows.iter().find(|row| row.json["rtp"]["final"] == true);
        let sum = |field: &str| match whole {
            Some(row) => row.json["rtp"][field].as_u64().unwrap_or(0),
            None => rows.iter().map(|row| row.json["rtp"][field].as_u64().unwrap_or(0)).sum(),
        };
        assert_eq!(stream.is_final, whole.is_some());
        assert_eq!((stream.packets, stream.expected, stream.lost), (sum("packets"), sum("expected"), sum("lost")));
        assert_eq!(stream.capture_loss, sum("lost_by_capture"));
        assert_eq!(stream.call_id.as_deref(), rows[0].json["rtp"]["call_id"].as_str());
        let intervals = rows.iter().filter(|row| row.json["rtp"]["final"] == false).count();
        assert!(
            stream.points.len() == intervals
                || intervals == 0 && stream.points.len() == 1
                || stream.points.len() == intervals + 1
        );
    }
    let few = reader.streams(&ask(&filter, Range::ALL), 5).unwrap();
    assert_eq!(few.streams, streams.streams[..5]);

    let calls = reader.calls(&ask(&filter, Range::ALL), 1000).unwrap();
    let wanted: Vec<String> =
        oracle.newest_first().filter(|row| fits(row, "type:call source:gw2")).map(|row| row.id.clone()).collect();
    assert_eq!(calls.calls.iter().map(|call| call.id.clone()).collect::<Vec<_>>(), wanted);
    assert!(
        calls.calls.iter().all(|call| call.state.as_deref() == Some("answered") && call.duration_ms == Some(60_000.0))
    );
    assert!(calls.calls[0].streams[0].starts_with("gw2/10."));
    let none = Filter::parse("type:dns", &events::is_field).unwrap();
    assert!(reader.calls(&ask(&none, Range::ALL), 10).unwrap().calls.is_empty());
}

#[test]
fn an_answer_cut_by_its_deadline_says_how_far_it_goes_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let oracle = filled(directory.path(), 8, 4_000);
    let reader = Reader::new(directory.path());
    let q = "no_such_text_anywhere";
    let filter = Filter::parse(q, &events::is_field).unwrap();
    let (mut range, mut steps) = (Range::ALL, 0);
    loop {
        let ask = Ask { deadline: Duration::ZERO, ..Ask::new(&filter, range) };
        let page = reader.events(&ask, 10, None).unwrap();
        assert!(page.events.is_empty());
        if page.bounds.complete {
            break;
        }
        assert!(page.bounds.searched_from.0 < range.until && page.next.is_some());
        range.until = page.bounds.searched_from.0;
        steps += 1;
    }
    assert!(steps > 1);
    // With matches, `next` gives each of them once.
    let filter = Filter::parse("such", &events::is_field).unwrap();
    let wanted: Vec<String> = oracle.newest_first().filter(|row| fits(row, "such")).map(|row| row.id.clone()).collect();
    let (mut found, mut after) = (Vec::new(), None::<String>);
    loop {
        let ask = Ask { deadline: Duration::ZERO, ..Ask::new(&filter, Range::ALL) };
        let page = reader.events(&ask, 1000, after.as_deref()).unwrap();
        found.extend(page.events.iter().map(|event| id(event.get())));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, wanted);
}

#[test]
fn wrong_questions_are_the_askers_fault() {
    let directory = tempfile::tempdir().unwrap();
    let reader = Reader::new(directory.path().join("not-there-yet"));
    let filter = Filter::default();
    let empty = Range { since: Timestamp::from_nanos(5), until: Timestamp::from_nanos(5) };
    assert!(reader.histogram(&ask(&filter, empty), 10, By::Type).unwrap_err().is_question());
    assert!(matches!(reader.events(&ask(&filter, Range::ALL), 10, Some("x")), Err(Error::Cursor(_))));
    assert!("colour".parse::<By>().unwrap_err().is_question());
    let nothing = reader.events(&ask(&filter, Range::ALL), 10, None).unwrap();
    assert!(nothing.events.is_empty() && nothing.next.is_none() && nothing.bounds.complete);
    assert_eq!(reader.facts().unwrap().events, 0);
    assert!(reader.talkers(Range::ALL, 10).unwrap().talkers.is_empty());
}
