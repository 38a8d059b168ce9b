//! `tapline analyze` as a user runs it.
#![allow(clippy::unwrap_used)]

mod program;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use program::*;

fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    std::fs::File::create(&path).unwrap().write_all(bytes).unwrap();
    path
}

fn some_traffic() -> Vec<Vec<u8>> {
    (0..50u16).flat_map(|n| [ping(n as u8 % 9, n), lookup(n as u8 % 7, n)]).flatten().collect()
}

#[test]
fn pings_and_lookups_become_events() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.pcap", &plain(&some_traffic()));
    let output = tapline(&["analyze", text(&path)]);
    assert!(output.status.success(), "{}", complaint(&output));
    let events = events(&output);
    let of = |name: &str| events.iter().filter(|event| event["type"] == name).count();
    assert_eq!((of("icmp"), of("dns")), (50, 50));
    assert_eq!(events[0]["@timestamp"], "2023-11-14T22:13:20.000007Z");
    assert_eq!(events[0]["tapline"]["packet"]["last"], 1);
}

#[test]
fn byte_order_resolution_and_compression_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let traffic = some_traffic();
    let expect = tapline(&["analyze", text(&write(folder.path(), "a.pcap", &plain(&traffic)))]).stdout;
    assert!(!expect.is_empty());
    // Ids follow the content, so the form of the numbers must be taken out where it differs.
    let without_ids = |bytes: &[u8]| -> Vec<serde_json::Value> {
        String::from_utf8_lossy(bytes)
            .lines()
            .map(|line| {
                let mut event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["_id"] = "".into();
                event["tapline"]["epoch"] = "".into();
                event["observer"]["name"] = "".into();
                event["tapline"]["source"] = "".into();
                event
            })
            .collect()
    };
    for (big_endian, nanoseconds) in [(false, true), (true, false), (true, true)] {
        let file = write(folder.path(), "b.pcap", &pcap(Form { big_endian, nanoseconds }, &traffic));
        assert_eq!(without_ids(&tapline(&["analyze", text(&file)]).stdout), without_ids(&expect));
    }
    for (name, program) in [("a.pcap.gz", "gzip"), ("a.pcap.zst", "zstd")] {
        let Ok(mut child) =
            Command::new(program).arg("-c").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()
        else {
            continue;
        };
        child.stdin.take().unwrap().write_all(&plain(&traffic)).unwrap();
        let packed = child.wait_with_output().unwrap().stdout;
        let file = write(folder.path(), name, &packed);
        assert_eq!(without_ids(&tapline(&["analyze", text(&file)]).stdout), without_ids(&expect), "{name}");
        let piped = tapline_with(&packed, &["analyze", "-"]);
        assert_eq!(without_ids(&piped.stdout), without_ids(&expect), "{name} through a pipe");
        // The ids do not depend on the compression either.
        assert_eq!(
            events(&piped)[0]["_id"],
            serde_json::from_slice::<serde_json::Value>(expect.split(|b| *b == b'\n').next().unwrap()).unwrap()["_id"]
        );
    }
}

#[test]
fn table_and_summary_are_for_people() {
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "a.pcap", &plain(&some_traffic()));
    let table = String::from_utf8(tapline(&["analyze", "-o", "table", text(&path)]).stdout).unwrap();
    assert!(table.starts_with("TIME"));
    assert!(
        table.lines().any(|line| line.contains(" dns ") && line.contains("10.0.0.3:40000 > 10.0.1.53:53")),
        "{table}"
    );
    let summary = String::from_utf8(tapline(&["analyze", "-o", "summary", text(&path)]).stdout).unwrap();
    assert!(summary.contains("packets  200 "), "{summary}");
    assert!(summary.contains("2023-11-14T22:13:20.000007Z"), "{summary}");
}

/// The last column of the table's lines of one type.
fn what(table: &str, kind: &str) -> Vec<String> {
    let (from, kind) = (table.find("WHAT").unwrap(), format!(" {kind} "));
    table.lines().filter(|line| line.contains(&kind)).map(|line| line.get(from..).unwrap_or("").to_owned()).collect()
}

#[test]
fn the_table_says_what_signalling_media_and_calls_are_about() {
    let protocols = Path::new(env!("CARGO_MANIFEST_DIR")).join("../decode/src/protocols");
    let table = |file: &Path| String::from_utf8(tapline(&["analyze", "-o", "table", text(file)]).stdout).unwrap();
    let call = table(&protocols.join("sip/fixtures/call.pcap"));
    assert_eq!(
        what(&call, "sip"),
        ["INVITE bob", "180 Ringing (INVITE)", "200 OK (INVITE)", "ACK bob", "BYE bob", "200 OK (BYE)"]
    );
    let rtp = what(&call, "rtp");
    assert_eq!(rtp[0], "PCMA, 50 packets, 0 lost (0.0%), jitter 0.23 ms, MOS 4.41, interval");
    assert_eq!(rtp[1], "PCMA, 50 packets, 0 lost (0.0%), jitter 0.23 ms, MOS 4.41, final");
    assert_eq!(what(&call, "call"), ["ada@10.9.8.1 -> bob@10.9.8.2, answered, 200, talked 1.11s, MOS 4.41"]);
    let keys = table(&protocols.join("rtp/fixtures/keys.pcap"));
    assert_eq!(what(&keys, "rtcp")[..2], ["sr sdes", "rr xr: loss 2.0%, 2 lost in all, round trip 0.62 ms"]);
}

#[test]
fn an_anomaly_in_the_table_is_its_message() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = plain(&some_traffic());
    bytes.truncate(bytes.len() - 11);
    let path = write(folder.path(), "cut.pcap", &bytes);
    let table = String::from_utf8(tapline(&["analyze", "-o", "table", text(&path)]).stdout).unwrap();
    let anomaly = table.lines().find(|line| line.contains(" anomaly ")).unwrap();
    assert!(!anomaly.contains("- > -"), "{anomaly}");
    assert!(anomaly.contains("capture file: ") && anomaly.ends_with(" !capture.damaged"), "{anomaly}");
}

#[test]
fn damage_is_a_warning_and_an_anomaly_and_what_is_before_it_is_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = plain(&some_traffic());
    bytes.truncate(bytes.len() - 11);
    let path = write(folder.path(), "cut.pcap", &bytes);
    let output = tapline(&["analyze", text(&path)]);
    assert_eq!(output.status.code(), Some(0));
    assert!(complaint(&output).contains("cut.pcap"), "{}", complaint(&output));
    let events = events(&output);
    assert_eq!(
        events.iter().filter(|event| event["type"] == "dns").count(),
        50,
        "the last query has no answer, but is there"
    );
    let anomaly = events.iter().find(|event| event["type"] == "anomaly").unwrap();
    assert_eq!(anomaly["tapline"]["anomalies"][0]["name"], "capture.damaged");
}

#[test]
fn what_is_no_capture_fails_and_the_other_files_are_still_decoded() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good.pcap", &plain(&some_traffic()));
    let bad = write(folder.path(), "bad.pcap", b"this is only text, no capture at all");
    let output = tapline(&["analyze", text(&bad), text(&good)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("bad.pcap"));
    assert!(events(&output).len() >= 100);
    let missing = tapline(&["analyze", "/nowhere/at/all.pcap"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(complaint(&missing).contains("/nowhere/at/all.pcap: No such file"));
}

#[test]
fn wrong_usage_and_wrong_settings_are_2() {
    let folder = tempfile::tempdir().unwrap();
    let good = write(folder.path(), "good.pcap", &plain(&some_traffic()));
    assert_eq!(tapline(&["analyze"]).status.code(), Some(2));
    assert_eq!(tapline(&["analyse"]).status.code(), Some(2));
    let wrong = tapline(&["analyze", text(&good), "--set", "analyzer.worker=2"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(complaint(&wrong).contains("did you mean `workers`?"), "{}", complaint(&wrong));
    let config = write(
        folder.path(),
        "t.toml",
        b"[analyzer]\nworkers = 1\n\n[analyzer.protocols.dns]\nport = [53]\n[colector]\n",
    );
    let wrong = tapline(&["analyze", text(&good), "--config", text(&config)]);
    assert_eq!(wrong.status.code(), Some(2));
    let complaint = complaint(&wrong);
    assert!(complaint.contains("t.toml:5: ") && complaint.contains("`ports`"), "{complaint}");
    assert!(complaint.contains("t.toml:6: ") && complaint.contains("`collector`"), "{complaint}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let traffic: Vec<_> = (0..3000u16).flat_map(|n| ping(n as u8 % 200, n)).collect();
    let path = write(folder.path(), "a.pcap", &plain(&traffic));
    let mut child = Command::new(env!("CARGO_BIN_EXE_tapline"))
        .args(["analyze", text(&path)])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(complaint(&output), "");
}

/// Captures of many kinds, where they are at hand.
fn corpus() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/files");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn any_number_of_workers_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = corpus();
    files.push(write(folder.path(), "a.pcap", &plain(&some_traffic())));
    for file in files {
        let run = |workers: &str| tapline(&["analyze", text(&file), "--set", &format!("analyzer.workers={workers}")]);
        let one = run("1");
        let four = run("4");
        assert!(one.stdout == four.stdout, "{} differs between one worker and four", file.display());
        assert_eq!(one.status.code(), four.status.code(), "{}", file.display());
    }
}

#[test]
fn every_capture_at_hand_is_survived() {
    const SECONDS_MAX: u64 = 10;
    const RESIDENT_KIB_MAX: u64 = 200 * 1024;
    for file in corpus() {
        let since = Instant::now();
        let mut child = Command::new(env!("CARGO_BIN_EXE_tapline"))
            .args(["analyze", text(&file), "-o", "summary"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut resident = 0;
        let status = loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let peak =
                status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
            resident = resident.max(peak.unwrap_or(0u64));
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if since.elapsed() > Duration::from_secs(SECONDS_MAX) {
                child.kill().unwrap();
                panic!("{} takes longer than {SECONDS_MAX} s", file.display());
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        // 1 is "no capture file"; a panic would be 101, a crash none.
        assert!(matches!(status.code(), Some(0 | 1)), "{}: {status}", file.display());
        assert!(resident < RESIDENT_KIB_MAX, "{}: {resident} KiB resident", file.display());
    }
}
