//! Clients of osmo-pcap, and subscribers written for it: a session recorded from the original gives the same messages.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod setting;

use feed::Message;
use serde::Deserialize;
use setting::{Collector, messages, wait};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

#[test]
fn collector_process() {
    setting::collector_process();
}

#[derive(Deserialize)]
struct Recorded {
    client_to_server: String,
    published: Vec<Vec<String>>,
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The parts of a message.
type Parts = Vec<Vec<u8>>;

/// The session recorded in a format, where the recordings are at hand.
fn recorded(format: &str) -> Option<(Vec<u8>, Vec<Parts>)> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../../../shared/osmo-pcap/{format}.json"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        println!("{} is not there: nothing to compare with", path.display());
        return None;
    };
    let recorded: Recorded = serde_json::from_str(&text).unwrap();
    let published = recorded.published.iter().map(|parts| parts.iter().map(|part| bytes(part)).collect()).collect();
    Some((bytes(&recorded.client_to_server), published))
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(port: u16) -> Collector {
    Collector::start(|settings| {
        settings.osmo_pcap.listen = vec![format!("127.0.0.1:{port}")];
        settings.osmo_pcap.sources.insert("127.0.0.1".to_owned(), "probe1".to_owned());
    })
}

/// A v1 message as its parts; the path of a file without its folder and time.
fn parts(message: &Message) -> Vec<Vec<u8>> {
    match message {
        Message::V1Packet { source, link_header, record } => {
            vec![format!("data.v1.{source}").into_bytes(), link_header.clone(), record.clone()]
        }
        Message::V1Event { topic, path: None } => vec![topic.clone().into_bytes()],
        Message::V1Event { topic, path: Some(path) } => {
            assert!(path.starts_with('/'), "{path} is not absolute");
            vec![topic.clone().into_bytes(), b"PATH".to_vec()]
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_recorded_session_is_published_as_the_original_publishes_it() {
    for format in ["pcap", "pcapng"] {
        let Some((stream, mut expected)) = recorded(format) else { return };
        // The original sends a stray disconnect right after connect.
        expected.remove(1);
        let closing = expected.iter_mut().find(|parts| parts[0].starts_with(b"event.v1.closingtracefile."));
        closing.unwrap()[1] = b"PATH".to_vec();

        let port = free_port();
        let collector = start(port);
        let subscriber = collector.subscriber(&["data.v1.", "event.v1."]);
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        for piece in stream.chunks(100) {
            client.write_all(piece).unwrap();
        }
        drop(client);
        let seen = messages(&subscriber, |seen| seen.len() >= expected.len());
        let seen: Vec<_> = seen.iter().map(parts).collect();
        assert_eq!(seen, expected, "{format}");

        let row = wait("the balance to be complete", || {
            collector.balance("probe1").into_iter().find(|row| row.state == "complete")
        });
        assert!(row.closes, "{}", row.remark);
        assert_eq!((row.captured_packets, row.archived_packets, row.published_packets), (12, 12, 12));
        let archived = collector.grab("source=probe1&query=udp");
        assert_eq!(archived.len(), 12);
        assert!(
            archived
                .iter()
                .zip(&expected[1..])
                .all(|(packet, message)| { message[2].windows(packet.len()).any(|window| window == packet) })
        );
    }
}

#[test]
fn bad_clients_are_disconnected_with_a_counted_reason() {
    let port = free_port();
    let collector = start(port);
    let header = bytes("00000018d4c3b2a10200040000000000000000002823000001000000");
    let lying = [&header[..], &bytes("0100001400000000000000001000000010000000aabbccdd")].concat();
    let cases: [(&str, &[u8]); 5] = [
        ("an unknown type", b"GET / HTTP/1.1\r\n\r\n"),
        ("data before the header", &bytes("01000004aabbccdd")),
        ("a header that is none", &bytes("00000004aabbccdd")),
        ("an inner length that lies", &lying),
        ("a header of the wrong length", &bytes("00000008d4c3b2a102000400")),
    ];
    for (n, (what, stream)) in cases.iter().enumerate() {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(stream).unwrap();
        client.set_read_timeout(Some(setting::PATIENCE)).unwrap();
        let closed = !matches!(client.read(&mut [0]), Err(error) if error.kind() == std::io::ErrorKind::WouldBlock);
        assert!(closed, "{what}");
        wait(what, || {
            let malformed = collector.metric("tapline_collector_bad_peers_total{reason=\"malformed\"}");
            let unexpected = collector.metric("tapline_collector_bad_peers_total{reason=\"unexpected\"}");
            (malformed + unexpected == n as u64 + 1).then_some(())
        });
    }
}

#[test]
fn a_second_connection_takes_the_place_of_the_first_and_nothing_is_lost() {
    let Some((stream, _)) = recorded("pcap") else { return };
    let port = free_port();
    let collector = start(port);
    let mut first = TcpStream::connect(("127.0.0.1", port)).unwrap();
    first.write_all(&stream).unwrap();
    wait("the packets", || (collector.grab("source=probe1").len() == 12).then_some(()));
    let mut second = TcpStream::connect(("127.0.0.1", port)).unwrap();
    first.set_read_timeout(Some(setting::PATIENCE)).unwrap();
    assert_eq!(first.read(&mut [0]).unwrap_or(0), 0, "the first is closed");
    second.write_all(&stream).unwrap();
    wait("the packets of both", || (collector.grab("source=probe1").len() == 24).then_some(()));
    let rows = wait("two epochs", || Some(collector.balance("probe1")).filter(|rows| rows.len() == 2));
    assert_eq!(rows.iter().filter(|row| row.state == "complete").count(), 1);
}

/// Runs an example of the documentation until it has printed `lines` lines.
fn python(example: &str, endpoint: &str, lines: usize, act: impl FnOnce()) -> Option<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats").join(example);
    let python = "/usr/bin/python3";
    if !Command::new(python).args(["-c", "import zmq"]).status().is_ok_and(|status| status.success()) {
        println!("python3-zmq is not installed: {example} is not run");
        return None;
    }
    let mut process = Command::new(python).arg("-u").arg(path).arg(endpoint).stdout(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    act();
    let output = process.stdout.take().unwrap();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::BufRead;
        for line in std::io::BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut seen = Vec::new();
    while seen.len() < lines {
        match receiver.recv_timeout(setting::PATIENCE) {
            Ok(line) => seen.push(line),
            Err(_) => break,
        }
    }
    let _ = process.kill();
    let _ = process.wait();
    Some(seen)
}

#[test]
fn the_examples_of_the_documentation_work() {
    let Some((stream, _)) = recorded("pcap") else { return };
    let port = free_port();
    let collector = start(port);
    let send = || {
        let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        client.write_all(&stream).unwrap();
    };
    let Some(seen) = python("feed_v1_subscriber.py", &collector.settings.feed_v1[0], 15, send) else { return };
    assert_eq!(seen.iter().filter(|line| line.starts_with("data.v1.probe1 ")).count(), 12, "{seen:?}");
    assert_eq!(seen[0], "event.v1.connect.probe1");
    assert_eq!(seen[14], "event.v1.disconnect.probe1");
    let Some(seen) = python("feed_v2_subscriber.py", &collector.settings.feed[0], 5, send) else { return };
    assert!(seen.iter().any(|line| line.starts_with("probe1 batch 0: 12 packets")), "{seen:?}");
    assert!(seen.iter().any(|line| line.starts_with("connect probe1")), "{seen:?}");
}
