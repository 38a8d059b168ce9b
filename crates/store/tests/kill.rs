//! A writer is killed a hundred times in the middle of writing: no acknowledged event is missing, none is there twice.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../testing/events.rs"]
mod events;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use packet::Timestamp;
use store::{Ask, Filter, Options, Range, Reader, Writer};

/// How far a writer begins again before the last event that was acknowledged.
const REWIND: u64 = 500;
const KILLS: u64 = 100;
const TIME_MAX: Duration = Duration::from_secs(20);

/// Small files, so that one is often being begun or finished when the end comes.
fn options(directory: &Path) -> Options {
    Options { events_max: 3_000, ..Options::new(directory) }
}

/// The writing process: this test program again, with this test alone. As the analyzer does after a restart, it begins a little before
/// what was acknowledged and leaves out what the store knows.
#[test]
#[ignore = "runs as a process of the other test"]
fn writer() {
    let Ok(directory) = std::env::var("STORE_KILL_DIRECTORY") else { return };
    let number_of = |name: &str| std::env::var(name).unwrap().parse::<u64>().unwrap();
    let mut random = events::Random(number_of("STORE_KILL_SEED"));
    let mut number = number_of("STORE_KILL_POSITION").saturating_sub(REWIND);
    let start = Timestamp::from_parts(1_795_460_400, 0);
    let mut writer = Writer::open(options(Path::new(&directory)), start).unwrap();
    let known: HashSet<u128> = writer.recent_ids(100_000).unwrap().into_iter().collect();
    loop {
        let batch: Vec<event::Event> = (0..1 + random.below(200)).map(|at| events::numbered(number + at)).collect();
        number += batch.len() as u64;
        let lines = events::lines(&batch);
        let pairs = batch.iter().zip(lines.iter().map(Vec::as_slice));
        writer.write(pairs.filter(|(event, _)| !known.contains(&event.id().0)), start).unwrap();
        if random.below(3) == 0 {
            writer.flush().unwrap();
            writeln!(std::io::stdout(), "acknowledged {number}").unwrap();
        }
        writer.step(start);
    }
}

fn start(directory: &Path, seed: u64, position: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "writer", "--ignored", "--nocapture", "--test-threads", "1"])
        .env("STORE_KILL_DIRECTORY", directory)
        .env("STORE_KILL_SEED", seed.to_string())
        .env("STORE_KILL_POSITION", position.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn no_acknowledged_event_is_missing_and_none_is_there_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut random = events::Random(1);
    let (mut position, mut kills, mut beyond) = (0, 0, 0);
    let begin = Instant::now();
    while kills < KILLS && begin.elapsed() < TIME_MAX {
        let mut child = start(directory.path(), random.next(), position);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let number = |line: String| line.strip_prefix("acknowledged ").and_then(|n| n.parse::<u64>().ok());
        position = lines.by_ref().find_map(number).unwrap_or_else(|| panic!("the writer acknowledges something"));
        std::thread::sleep(Duration::from_micros(random.below(25_000)));
        child.kill().unwrap();
        child.wait().unwrap();
        position = lines.filter_map(number).last().unwrap_or(position);
        kills += 1;
        let stored = Reader::new(directory.path()).facts().unwrap();
        assert!(stored.problems.is_empty(), "{:?}", stored.problems);
        assert!(stored.events >= position, "kill {kills}: {} of {position}", stored.events);
        beyond += u64::from(stored.events > position);
    }
    assert!(kills >= KILLS / 2, "only {kills} kills in {TIME_MAX:?}");
    assert!(beyond > 0, "no kill came between a write and its acknowledgement: the test tests nothing");
    check(directory.path(), position, kills);
}

/// All events up to the last acknowledged are there, none twice; columns, documents and roll-ups agree.
fn check(directory: &Path, position: u64, kills: u64) {
    let reader = Reader::new(directory);
    let filter = Filter::default();
    let ask = Ask { deadline: Duration::from_secs(60), ..Ask::new(&filter, Range::ALL) };
    let mut found: HashSet<u128> = HashSet::new();
    let mut after = None::<String>;
    let mut count = 0;
    loop {
        let page = reader.events(&ask, 1000, after.as_deref()).unwrap();
        for event in &page.events {
            let event: serde_json::Value = serde_json::from_str(event.get()).unwrap();
            let first = event["tapline"]["packet"]["first"].as_u64().unwrap();
            let id = u128::from_str_radix(event["id"].as_str().unwrap(), 16).unwrap();
            assert_eq!(events::numbered(first).id().0, id);
            assert!(found.insert(id), "event {first} is there twice");
            count += 1;
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for number in 0..position {
        assert!(
            found.contains(&events::numbered(number).id().0),
            "event {number} of {position} is missing after {kills} kills"
        );
    }
    let histogram = reader.histogram(&ask, 10, store::By::Type).unwrap();
    assert_eq!((histogram.total, reader.facts().unwrap().events), (count, count));
}
