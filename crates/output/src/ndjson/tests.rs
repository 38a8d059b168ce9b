//! Facts about files of events: each event once and in a readable file, whatever is broken off where.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use event::{Event, JsonWriter, Observer, Origin, Schema};

use super::*;

fn batch(packets: std::ops::Range<u64>) -> EventBatch {
    let schema = Schema::new(&[]).unwrap();
    let mut writer = JsonWriter::new(&schema);
    let observer = Arc::new(Observer { name: "s".into(), epoch: "e".into(), is_file: false });
    let mut batch = EventBatch::new();
    for first_packet in packets {
        let origin =
            Origin { observer: Arc::clone(&observer), interface: "".into(), first_packet, last_packet: first_packet };
        batch.push(Event::new("dns", Timestamp::from_nanos(first_packet), origin), &mut writer);
    }
    batch
}

fn settings(rotate: u64, compression: Compression) -> Settings {
    Settings { rotate, compression, ..Settings::default() }
}

fn open(data: &Path, settings: &Settings) -> Ndjson {
    settings.open(&Place { data: data.to_owned(), fields: Vec::new() }).unwrap()
}

/// What its thread would do.
fn round(output: &mut Ndjson) -> u64 {
    round_while(output, &mut || true)
}

fn round_while(output: &mut Ndjson, go_on: &mut dyn FnMut() -> bool) -> u64 {
    output.finish.as_mut().unwrap().round(SystemTime::now(), go_on)
}

fn names(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("events")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The packets whose events are in the files, file by file, each read by the system's own programs where it is compressed.
fn packets(data: &Path) -> Vec<u64> {
    let mut packets = Vec::new();
    for name in names(data) {
        let path = data.join("events").join(&name);
        let text = match name.rsplit('.').next() {
            Some("gz") => reader("gzip", &path),
            Some("zst") => reader("zstd", &path),
            Some("ndjson") => std::fs::read(&path).unwrap(),
            _ => panic!("{name} is no file of events"),
        };
        let text = String::from_utf8(text).unwrap();
        packets.extend(text.lines().map(|line| {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["tapline"]["packet"]["first"].as_u64().unwrap()
        }));
    }
    packets
}

fn reader(program: &str, path: &Path) -> Vec<u8> {
    let output = std::process::Command::new(program).arg("-dc").arg(path).output().unwrap();
    assert!(output.status.success(), "{program} {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn file(data: &Path, name: &str) -> PathBuf {
    data.join("events").join(name)
}

#[test]
fn events_are_lines_in_order_over_several_files() {
    let data = tempfile::tempdir().unwrap();
    let mut output = open(data.path(), &settings(1000, Compression::None));
    for start in 0..20 {
        output.write(&batch(start * 3..start * 3 + 3)).unwrap();
    }
    assert_eq!(packets(data.path()), (0..60).collect::<Vec<_>>());
    assert!(names(data.path()).len() > 3);
}

#[test]
fn what_an_earlier_run_wrote_is_left_out() {
    for compression in Compression::ALL {
        let data = tempfile::tempdir().unwrap();
        let settings = settings(1000, compression);
        let mut output = open(data.path(), &settings);
        for number in 0..10 {
            output.write(&batch(number..number + 1)).unwrap();
        }
        assert_eq!(round(&mut output), 0);
        let mut output = open(data.path(), &settings);
        let written = output.write(&batch(0..12)).unwrap();
        assert_eq!((written.events, written.known), (2, 10));
        assert_eq!(packets(data.path()), (0..12).collect::<Vec<_>>());
    }
}

#[test]
fn half_a_line_left_by_a_crash_is_taken_away() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(1 << 20, Compression::None);
    open(data.path(), &settings).write(&batch(0..2)).unwrap();
    let path = file(data.path(), "events-00000001.ndjson");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
    open(data.path(), &settings).write(&batch(0..3)).unwrap();
    assert_eq!(packets(data.path()), [0, 1, 2]);
}

#[test]
fn only_the_last_files_are_kept_whatever_their_form() {
    for compression in Compression::ALL {
        let data = tempfile::tempdir().unwrap();
        let mut output = open(data.path(), &Settings { files_max: 3, ..settings(10, compression) });
        for number in 0..10 {
            output.write(&batch(number..number + 1)).unwrap();
            round(&mut output);
        }
        assert_eq!(packets(data.path()), [7, 8, 9]);
    }
}

#[test]
fn files_that_are_too_old_or_too_much_go_and_the_one_being_written_stays() {
    let data = tempfile::tempdir().unwrap();
    let age = Duration::from_secs(3600);
    let with = |retention| Settings { retention, ..settings(10, Compression::Zstd) };
    let mut output = open(data.path(), &with(Retention { age, size: 0 }));
    for number in 0..5 {
        output.write(&batch(number..number + 1)).unwrap();
    }
    for number in [1, 2, 5] {
        let path = file(data.path(), &format!("events-{number:08}.ndjson"));
        let old = SystemTime::now() - age - Duration::from_secs(5);
        std::fs::OpenOptions::new().append(true).open(path).unwrap().set_modified(old).unwrap();
    }
    round(&mut output);
    assert_eq!(packets(data.path()), [2, 3, 4]);
    // Compressing does not make a file younger.
    output.finish.as_mut().unwrap().round(SystemTime::now() + age, &mut || true);
    assert_eq!(packets(data.path()), [4]);

    let mut output = open(data.path(), &with(Retention { age: Duration::ZERO, size: 1 }));
    output.write(&batch(5..6)).unwrap();
    round(&mut output);
    assert_eq!(packets(data.path()), [5]);
}

#[test]
fn finished_files_are_compressed_and_the_one_being_written_is_not() {
    for (compression, suffix) in [(Compression::Gzip, "gz"), (Compression::Zstd, "zst")] {
        let data = tempfile::tempdir().unwrap();
        let mut output = open(data.path(), &settings(1000, compression));
        for start in 0..4 {
            output.write(&batch(start * 10..start * 10 + 10)).unwrap();
        }
        let plain = std::fs::metadata(file(data.path(), "events-00000001.ndjson")).unwrap();
        assert_eq!(round(&mut output), 0);
        let mut expected: Vec<_> = (1..4).map(|number| format!("events-{number:08}.ndjson.{suffix}")).collect();
        expected.push("events-00000004.ndjson".to_owned());
        assert_eq!(names(data.path()), expected);
        assert_eq!(packets(data.path()), (0..40).collect::<Vec<_>>());
        let compressed = std::fs::metadata(file(data.path(), &expected[0])).unwrap();
        assert_eq!(compressed.modified().unwrap(), plain.modified().unwrap());
        assert_eq!(compressed.permissions(), plain.permissions());
        assert!(compressed.len() < plain.len());
    }
}

#[test]
fn files_of_earlier_runs_are_kept_as_they_are_or_compressed() {
    let data = tempfile::tempdir().unwrap();
    let mut number = 0;
    for compression in [Compression::Gzip, Compression::None, Compression::Zstd] {
        let mut output = open(data.path(), &settings(10, compression));
        for _ in 0..2 {
            output.write(&batch(number..number + 1)).unwrap();
            number += 1;
        }
        round(&mut output);
    }
    let expected = ["1.ndjson.gz", "2.ndjson.zst", "3.ndjson.zst", "4.ndjson.zst", "5.ndjson.zst", "6.ndjson"];
    assert_eq!(names(data.path()), expected.map(|name| format!("events-0000000{name}")));
    assert_eq!(packets(data.path()), [0, 1, 2, 3, 4, 5]);

    // Somebody compressed the newest one, too: it is not written to any more.
    let newest = file(data.path(), "events-00000006.ndjson");
    assert!(std::process::Command::new("gzip").arg(newest).status().unwrap().success());
    let mut output = open(data.path(), &settings(1 << 20, Compression::None));
    assert_eq!(output.write(&batch(5..7)).unwrap().known, 1);
    assert_eq!(names(data.path()).last().unwrap(), "events-00000007.ndjson");
    assert_eq!(packets(data.path()), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn whatever_step_of_compressing_a_kill_breaks_off_every_event_is_there_once_after_the_next_start() {
    for (compression, next) in [
        (Compression::Zstd, Compression::Zstd),
        (Compression::Gzip, Compression::Gzip),
        (Compression::Gzip, Compression::Zstd),
        (Compression::Zstd, Compression::None),
    ] {
        let mut steps = 0;
        loop {
            let data = tempfile::tempdir().unwrap();
            let mut output = open(data.path(), &settings(1000, compression));
            for start in 0..3 {
                output.write(&batch(start * 10..start * 10 + 10)).unwrap();
            }
            let mut left = steps;
            let folder = output.folder.clone();
            // As a kill does it: nothing is cleaned up behind it.
            let done = compress::compress(&folder, 1, compression, &mut || {
                left -= i32::from(left >= 0);
                left >= 0
            });
            drop(output);

            let mut output = open(data.path(), &settings(1000, next));
            let written = output.write(&batch(0..31)).unwrap();
            assert_eq!((written.events, written.known), (1, 30), "{compression:?}, {next:?}, step {steps}");
            assert_eq!(round(&mut output), 0);
            assert_eq!(packets(data.path()), (0..31).collect::<Vec<_>>(), "{compression:?}, {next:?}, step {steps}");
            if next != Compression::None {
                let plain = names(data.path()).into_iter().filter(|name| name.ends_with(".ndjson")).count();
                assert_eq!(plain, 1, "{compression:?}, {next:?}, step {steps}");
            }
            if done.is_ok() {
                break;
            }
            steps += 1;
        }
        assert!(steps >= 7, "{steps}");
    }
}

#[test]
fn the_end_of_the_program_breaks_compressing_off_and_the_next_run_does_it() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(10, Compression::Zstd);
    let mut output = open(data.path(), &settings);
    for number in 0..4 {
        output.write(&batch(number..number + 1)).unwrap();
    }
    let mut asked = 0;
    let failures = round_while(&mut output, &mut || {
        asked += 1;
        asked < 4
    });
    assert_eq!(failures, 0);
    assert!(names(data.path()).iter().all(|name| name.ends_with(".ndjson")), "{:?}", names(data.path()));
    // Now with its thread.
    let mut output = open(data.path(), &settings);
    output.start(&Arc::new(Counters::default())).unwrap();
    assert_eq!(output.end(), 0);
    assert_eq!(names(data.path()).iter().filter(|name| name.ends_with(".zst")).count(), 3);
    assert_eq!(packets(data.path()), [0, 1, 2, 3]);
}

#[test]
fn a_copy_that_does_not_hold_the_same_is_touched_by_nobody() {
    let data = tempfile::tempdir().unwrap();
    let mut output = open(data.path(), &settings(10, Compression::Zstd));
    for number in 0..4 {
        output.write(&batch(number..number + 1)).unwrap();
    }
    // Half a file of somebody's who pressed Ctrl-C, and one with a line more.
    let copy = file(data.path(), "events-00000001.ndjson.gz");
    std::fs::write(&copy, b"\x1f\x8b\x08").unwrap();
    let longer = [std::fs::read(file(data.path(), "events-00000002.ndjson")).unwrap(), b"{}\n".to_vec()].concat();
    std::fs::write(file(data.path(), "events-00000002.ndjson.zst"), zstd::encode_all(longer.as_slice(), 1).unwrap())
        .unwrap();
    assert_eq!(round(&mut output), 2);
    let expected = ["1.ndjson", "1.ndjson.gz", "2.ndjson", "2.ndjson.zst", "3.ndjson.zst", "4.ndjson"];
    assert_eq!(names(data.path()), expected.map(|name| format!("events-0000000{name}")));
}

#[test]
fn a_damaged_file_does_not_keep_events_from_being_written() {
    let data = tempfile::tempdir().unwrap();
    let settings = settings(10, Compression::Zstd);
    let mut output = open(data.path(), &settings);
    for number in 0..3 {
        output.write(&batch(number..number + 1)).unwrap();
    }
    round(&mut output);
    std::fs::write(file(data.path(), "events-00000001.ndjson.zst"), b"what is this").unwrap();
    std::fs::write(file(data.path(), "events-00000002.ndjson.gz"), b"\x1f\x8b\x08").unwrap();
    assert_eq!(open(data.path(), &settings).write(&batch(2..4)).unwrap().known, 1);
}

#[test]
fn a_file_that_cannot_be_compressed_stays_and_holds_up_no_other() {
    let data = tempfile::tempdir().unwrap();
    let mut output = open(data.path(), &settings(10, Compression::Zstd));
    for number in 0..3 {
        output.write(&batch(number..number + 1)).unwrap();
    }
    // A directory where the part would be.
    let obstacle = file(data.path(), "events-00000001.ndjson.zst.part");
    std::fs::create_dir(&obstacle).unwrap();
    assert_eq!(round(&mut output), 1);
    assert!(names(data.path()).contains(&"events-00000002.ndjson.zst".to_owned()));
    std::fs::remove_dir(&obstacle).unwrap();
    assert_eq!(round(&mut output), 0);
    assert_eq!(packets(data.path()), [0, 1, 2]);
}

/// An output whose clock is set by hand.
fn clocked(data: &Path, settings: &Settings, clock: &Arc<AtomicU64>) -> Ndjson {
    let clock = Arc::clone(clock);
    let now = move || Timestamp::from_parts(clock.load(Ordering::Relaxed), 0);
    Ndjson::open(settings, &Place { data: data.to_owned(), fields: Vec::new() }, now).unwrap()
}

#[test]
fn a_new_file_begins_with_each_stretch_of_time_that_has_events() {
    let data = tempfile::tempdir().unwrap();
    let hour = 3600;
    let clock = Arc::new(AtomicU64::new(1_700_000_000 / hour * hour));
    let settings = Settings { rotate_time: Duration::from_secs(hour), ..Settings::default() };
    let mut output = clocked(data.path(), &settings, &clock);
    output.write(&batch(0..1)).unwrap();
    clock.fetch_add(hour - 1, Ordering::Relaxed);
    output.write(&batch(1..2)).unwrap();
    output.idle();
    assert_eq!(names(data.path()).len(), 1);
    // Nothing comes, and the file is finished all the same; an empty one is not.
    clock.fetch_add(1, Ordering::Relaxed);
    output.idle();
    assert_eq!(names(data.path()).len(), 2);
    clock.fetch_add(5 * hour, Ordering::Relaxed);
    output.idle();
    output.write(&batch(2..3)).unwrap();
    assert_eq!(names(data.path()).len(), 2);
    // Events come all the time: `idle` is never called.
    clock.fetch_add(hour, Ordering::Relaxed);
    output.write(&batch(3..4)).unwrap();
    let mut by_file = BTreeMap::new();
    for name in names(data.path()) {
        by_file.insert(name.clone(), std::fs::read_to_string(file(data.path(), &name)).unwrap().lines().count());
    }
    assert_eq!(by_file.into_values().collect::<Vec<_>>(), [2, 1, 1]);
}

#[test]
fn after_a_restart_a_file_of_an_earlier_time_is_finished() {
    let data = tempfile::tempdir().unwrap();
    let hour = 3600;
    let seconds = Timestamp::from_system(SystemTime::now()).seconds();
    let clock = Arc::new(AtomicU64::new(seconds));
    let settings = Settings { rotate_time: Duration::from_secs(hour), ..Settings::default() };
    clocked(data.path(), &settings, &clock).write(&batch(0..1)).unwrap();
    let path = file(data.path(), "events-00000001.ndjson");
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(written).unwrap();
    clocked(data.path(), &settings, &clock).idle();
    assert_eq!(names(data.path()).len(), 1, "it goes on in the same hour");
    clock.fetch_add(hour, Ordering::Relaxed);
    clocked(data.path(), &settings, &clock).idle();
    assert_eq!(names(data.path()).len(), 2);
}

#[test]
fn a_time_zone_that_is_none_is_refused() {
    let settings = Settings { rotate_zone: "Europe/Wien".to_owned(), ..Settings::default() };
    let data = tempfile::tempdir().unwrap();
    let error = settings.open(&Place { data: data.path().to_owned(), fields: Vec::new() }).err().unwrap();
    assert!(error.to_string().contains("Europe/Vienna"), "{error}");
}
