//! Times every question of the console to a store: `ask DIR [RUNS]`. Prints the median and the slowest in milliseconds, and whether the
//! answer was complete. The store is opened once, as the console has it.

#![allow(clippy::expect_used)]

#[path = "../testing/events.rs"]
mod events;

use std::time::{Duration, Instant};

use packet::Timestamp;
use store::{Ask, By, Filter, Range, Reader};

fn main() {
    let mut words = std::env::args().skip(1);
    let Some(directory) = words.next() else {
        eprintln!("ask DIR [RUNS]");
        std::process::exit(2);
    };
    let runs: usize = words.next().and_then(|n| n.parse().ok()).unwrap_or(5);
    let begin = Instant::now();
    let reader = Reader::new(&directory);
    let facts = reader.facts().expect("facts");
    println!(
        "opening: {:.1} ms, {} files, {} events",
        begin.elapsed().as_secs_f64() * 1e3,
        facts.files.len(),
        facts.events
    );
    let until = facts.newest.expect("events").0.plus_nanos(1);
    let all = Range { since: facts.oldest.expect("events").0, until };
    let quarter = Range { since: until.minus_nanos(900_000_000_000), until };
    let mut slowest = Duration::ZERO;
    let mut time = |name: &str, ask: &mut dyn FnMut() -> (bool, usize)| {
        let mut took = Vec::new();
        let mut last = (true, 0);
        for _ in 0..runs.max(1) {
            let begin = Instant::now();
            last = ask();
            took.push(begin.elapsed());
        }
        took.sort();
        let most = *took.last().unwrap_or(&Duration::ZERO);
        slowest = slowest.max(most);
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let whole = if last.0 { "complete" } else { "cut at the deadline" };
        println!("{name:58} {:8.1} {:8.1}  {:6} {whole}", ms(median), ms(most), last.1);
    };
    let rare = "ip:10.0.0.7";
    let queries = [
        "",
        "type:call",
        "status:\"Server Error\"",
        rare,
        "ip:10.0.1.0/24",
        "port:5060",
        "no.such",
        "call:7@gw2.example",
        "http.response.status_code:500",
        "-type:flow -type:dns source:web1",
    ];
    for (range_name, range) in [("all", all), ("15 min", quarter)] {
        for q in queries {
            let filter = Filter::parse(q, &events::is_field).expect("a filter");
            let ask = Ask::new(&filter, range);
            time(&format!("events {range_name} {q}"), &mut || {
                let answer = reader.events(&ask, 50, None).expect("events");
                (answer.bounds.complete, answer.events.len())
            });
            time(&format!("histogram {range_name} {q}"), &mut || {
                let answer = reader.histogram(&ask, 120, By::Type).expect("histogram");
                (answer.bounds.complete, answer.total as usize)
            });
        }
        let filter = Filter::default();
        let ask = Ask::new(&filter, range);
        for field in ["type", "ip", "port", "dns.question.name"] {
            time(&format!("facets {range_name} {field}"), &mut || {
                let answer = reader.facets(&ask, field, "", 10).expect("facets");
                (answer.bounds.complete, answer.values.len())
            });
        }
        time(&format!("streams {range_name}"), &mut || {
            let answer = reader.streams(&ask, 200).expect("streams");
            (answer.bounds.complete, answer.streams.len())
        });
        time(&format!("calls {range_name}"), &mut || {
            let answer = reader.calls(&ask, 100).expect("calls");
            (answer.bounds.complete, answer.calls.len())
        });
        time(&format!("talkers {range_name}"), &mut || {
            let answer = reader.talkers(range, 10).expect("talkers");
            (answer.bounds.complete, answer.talkers.len())
        });
    }
    let filter = Filter::default();
    let middle = Timestamp::from_nanos((all.since.nanos() + all.until.nanos()) / 2);
    let old = reader.events(&Ask::new(&filter, Range { since: all.since, until: middle }), 1, None).expect("events");
    let document: serde_json::Value = serde_json::from_str(old.events.first().expect("one").get()).expect("JSON");
    let id = event::EventId(u128::from_str_radix(document["id"].as_str().unwrap_or_default(), 16).expect("an id"));
    time("event by id", &mut || (reader.event(id, None).expect("asked").is_some(), 1));
    time("event by id that is not there", &mut || (reader.event(event::EventId(1), None).expect("asked").is_none(), 0));
    let found = reader.event(id, None).expect("asked").expect("there");
    time("related", &mut || {
        let answer = reader.related(&found, &Ask::new(&filter, all), 50, None).expect("related");
        (answer.events.bounds.complete, answer.events.events.len())
    });
    time("files", &mut || (true, reader.facts().expect("facts").files.len()));
    let mark = reader.mark().expect("a mark");
    time("tail", &mut || (true, reader.tail(&mark, &filter, 100).expect("a tail").events.len()));
    println!("slowest_ms: {:.1}", slowest.as_secs_f64() * 1e3);
}
