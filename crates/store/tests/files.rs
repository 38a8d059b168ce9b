//! Files over their life: begun, gone on with, finished, read by several while they are written, removed, damaged.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "../testing/events.rs"]
mod events;

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use packet::Timestamp;
use store::{Ask, By, Filter, Mark, Options, Range, Reader, Stored, Writer};

const START: u64 = 1_795_460_400;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_parts(START + seconds, 0)
}

fn write(writer: &mut Writer, numbers: std::ops::Range<u64>, now: Timestamp) -> Stored {
    let batch: Vec<event::Event> = numbers.map(events::numbered).collect();
    let lines = events::lines(&batch);
    writer.write(batch.iter().zip(lines.iter().map(Vec::as_slice)), now).unwrap()
}

fn finish(writer: &mut Writer, now: Timestamp) {
    while writer.step(now) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn names(directory: &Path) -> Vec<(String, u64, bool)> {
    let facts = Reader::new(directory).facts().unwrap();
    facts.files.into_iter().map(|file| (file.name, file.events, file.sealed)).collect()
}

#[test]
fn a_file_per_hour_is_begun_gone_on_with_and_finished() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut writer = Writer::open(Options::new(path), at(0)).unwrap();
    assert_eq!(write(&mut writer, 0..10, at(1)).events, 10);
    drop(writer);
    let mut writer = Writer::open(Options::new(path), at(100)).unwrap();
    assert_eq!(writer.recent_ids(3).unwrap(), [9, 8, 7].map(|number| events::numbered(number).id().0));
    write(&mut writer, 10..20, at(3_599));
    write(&mut writer, 20..30, at(3_600));
    assert_eq!(writer.recent_ids(100).unwrap().len(), 30);
    finish(&mut writer, at(3_601));
    let first = ("events-20261123T19.sqlite".to_owned(), 20, true);
    assert_eq!(names(path), [first.clone(), ("events-20261123T20.sqlite".to_owned(), 10, false)]);
    // The hour ends without an event, and the clock may go back.
    finish(&mut writer, at(7_300));
    assert!(names(path).iter().all(|(_, _, sealed)| *sealed));
    drop(writer);
    let mut writer = Writer::open(Options::new(path), at(3_700)).unwrap();
    write(&mut writer, 30..31, at(3_700));
    assert_eq!(names(path)[2], ("events-20261123T20-2.sqlite".to_owned(), 1, false));
    assert!(!path.join("new.sqlite").exists());
}

#[test]
fn a_finished_file_has_no_log_and_can_be_read_without_rights_to_write() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(Options::new(directory.path()), at(0)).unwrap();
    write(&mut writer, 0..500, at(1));
    finish(&mut writer, at(4_000));
    drop(writer);
    let log = directory.path().join("events-20261123T19.sqlite-wal");
    assert!(!log.exists() || log.metadata().unwrap().len() == 0);
    // (As root, rights do not matter; the way through `immutable` is then not taken.)
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o555)).unwrap();
    assert_eq!(Reader::new(directory.path()).facts().unwrap().events, 500);
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn retention_removes_whole_files_by_age_and_size_and_never_the_open_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let by_age = Options { retention_age: Duration::from_secs(2 * 3_600), ..Options::new(path) };
    let mut writer = Writer::open(by_age, at(0)).unwrap();
    for hour in 0..5 {
        write(&mut writer, hour * 2_000..hour * 2_000 + 2_000, at(hour * 3_600));
        finish(&mut writer, at(hour * 3_600));
    }
    assert_eq!(names(path).len(), 3, "those that ended less than two hours ago, and the open one");
    finish(&mut writer, at(4 * 3_600 + 30));
    assert_eq!(names(path)[0].0, "events-20261123T21.sqlite");
    assert_eq!(Reader::new(path).facts().unwrap().retention.age.as_deref(), Some("2h"));
    drop(writer);
    let bytes = Reader::new(path).facts().unwrap().files[1].bytes;
    let by_size = Options { retention_size: 2 * bytes + bytes / 2, ..Options::new(path) };
    let mut writer = Writer::open(by_size, at(4 * 3_600 + 60)).unwrap();
    finish(&mut writer, at(4 * 3_600 + 60));
    let left = names(path);
    assert!((1..=2).contains(&left.len()), "{left:?}");
    assert_eq!(left.last().unwrap().0, "events-20261123T23.sqlite");
    drop(writer);
    let mut writer = Writer::open(Options { retention_size: 1, ..Options::new(path) }, at(4 * 3_600 + 90)).unwrap();
    finish(&mut writer, at(4 * 3_600 + 90));
    assert_eq!(names(path).len(), 1, "the open file stays however large it is");
}

#[test]
fn what_is_damaged_foreign_or_newer_is_reported_left_out_and_left_there() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut writer =
        Writer::open(Options { retention_age: Duration::from_secs(1), ..Options::new(path) }, at(0)).unwrap();
    write(&mut writer, 0..10, at(0));
    drop(writer);
    let good = std::fs::read(path.join("events-20261123T19.sqlite")).unwrap();
    let mut newer = good.clone();
    newer[60..64].copy_from_slice(&99u32.to_be_bytes());
    let mut foreign = good.clone();
    foreign[68..72].copy_from_slice(&7u32.to_be_bytes());
    let mut torn = good.clone();
    torn[2_000..].fill(0x5a);
    let bad = [("12", newer), ("13", foreign), ("14", torn), ("15", b"no database".to_vec())];
    for (hour, bytes) in &bad {
        std::fs::write(path.join(format!("events-20261123T{hour}.sqlite")), bytes).unwrap();
    }
    let reader = Reader::new(path);
    let facts = reader.facts().unwrap();
    assert_eq!((facts.events, facts.files.len()), (10, 1));
    assert_eq!(facts.problems.len(), 4, "{:?}", facts.problems);
    assert!(facts.problems[0].contains("version 99"), "{:?}", facts.problems);
    let page = reader.events(&Ask::new(&Filter::default(), Range::ALL), 100, None).unwrap();
    assert_eq!(page.events.len(), 10);
    // The file of this very hour is damaged: another one is begun, and the others are not removed.
    std::fs::write(path.join("events-20261123T22.sqlite"), b"torn").unwrap();
    let mut writer =
        Writer::open(Options { retention_age: Duration::from_secs(1), ..Options::new(path) }, at(3 * 3_600)).unwrap();
    write(&mut writer, 10..20, at(3 * 3_600));
    finish(&mut writer, at(3 * 3_600 + 60));
    assert!(path.join("events-20261123T22-2.sqlite").exists());
    assert!(!path.join("events-20261123T19.sqlite").exists(), "the old one is removed");
    for hour in ["12", "13", "14", "15", "22"] {
        assert!(path.join(format!("events-20261123T{hour}.sqlite")).exists(), "{hour}");
    }
}

#[test]
fn readers_see_whole_batches_while_one_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let mut writer = Writer::open(Options { events_max: 5_000, ..Options::new(path) }, at(0)).unwrap();
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let reader = Reader::new(path);
                    let filter = Filter::default();
                    let (mut mark, mut live, mut asked) = (Mark::default(), 0, 0u64);
                    while !done.load(Ordering::Acquire) || asked == 0 {
                        let before = written.load(Ordering::Acquire);
                        let ask = Ask { deadline: Duration::from_secs(10), ..Ask::new(&filter, Range::ALL) };
                        let events =
                            reader.facets(&ask, "type", "", 10).unwrap().values.first().map_or(0, |value| value.count);
                        assert!(events >= before, "{events} of {before}");
                        assert_eq!(events % 50, 0, "a batch is there as a whole or not at all");
                        let page = reader.events(&ask, 100, None).unwrap();
                        assert!(page.events.len() as u64 >= before.min(100));
                        let tail = reader.tail(&mark, &filter, 100_000).unwrap();
                        live += tail.events.len() as u64 + tail.skipped;
                        mark = tail.mark;
                        asked += 1;
                    }
                    let tail = reader.tail(&mark, &filter, 100_000).unwrap();
                    live + tail.events.len() as u64 + tail.skipped
                })
            })
            .collect();
        for batch in 0..300 {
            write(&mut writer, batch * 50..batch * 50 + 50, at(1));
            written.store(batch * 50 + 50, Ordering::Release);
            writer.step(at(1));
        }
        writer.flush().unwrap();
        done.store(true, Ordering::Release);
        for reader in readers {
            assert_eq!(reader.join().unwrap(), 15_000, "each event comes once in the tail");
        }
    });
    let filter = Filter::default();
    let histogram = Reader::new(path).histogram(&Ask::new(&filter, Range::ALL), 100, By::Type).unwrap();
    assert_eq!(histogram.total, 15_000);
}

#[test]
fn the_tail_shows_the_newest_and_counts_the_rest() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(Options::new(directory.path()), at(0)).unwrap();
    write(&mut writer, 0..10, at(0));
    let reader = Reader::new(directory.path());
    let mark = reader.mark().unwrap();
    let filter = Filter::parse("ip:10.0.0.0/29", &events::is_field).unwrap();
    assert!(reader.tail(&mark, &filter, 10).unwrap().events.is_empty());
    write(&mut writer, 500..520, at(0));
    write(&mut writer, 520..530, at(3_700));
    let tail = reader.tail(&mark, &filter, 3).unwrap();
    let queries: Vec<String> =
        tail.events.iter().map(|event| event.get().split("number ").nth(1).unwrap()[..3].to_owned()).collect();
    assert_eq!((queries, tail.skipped), (vec!["505".to_owned(), "506".to_owned(), "507".to_owned()], 5));
    assert!(reader.tail(&tail.mark, &filter, 3).unwrap().events.is_empty());
}

#[test]
fn talkers_are_ranked_by_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(Options::new(directory.path()), at(0)).unwrap();
    let mut source = events::Events::new(1, 30);
    let batch: Vec<event::Event> = (0..300).map(|_| source.next(at(5))).collect();
    let lines = events::lines(&batch);
    writer.write(batch.iter().zip(lines.iter().map(Vec::as_slice)), at(5)).unwrap();
    let mut wanted: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for line in &lines {
        let event: serde_json::Value = serde_json::from_slice(line).unwrap();
        if event["flow"]["final"] == true {
            for side in ["source", "destination"] {
                *wanted.entry(event[side]["ip"].as_str().unwrap().to_owned()).or_default() +=
                    event["network"]["bytes"].as_u64().unwrap();
            }
        }
    }
    let answer = Reader::new(directory.path()).talkers(Range { since: at(0), until: at(60) }, 5).unwrap();
    let mut wanted: Vec<(u64, String)> = wanted.into_iter().map(|(ip, bytes)| (bytes, ip)).collect();
    wanted.sort();
    let best: Vec<(u64, String)> = wanted.into_iter().rev().take(5).collect();
    assert_eq!(answer.talkers.into_iter().map(|talker| (talker.bytes, talker.ip)).collect::<Vec<_>>(), best);
}
