//! What the probe tells about itself: `/healthz`, `/readyz` and `/metrics` (Prometheus text) over HTTP on loopback or a Unix socket.
//! One request at a time, of bounded size and time, on a thread of its own: nobody who asks can hold up a packet.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use listen::Bound;
use packet::Timestamp;
use spool::Spool;

/// How long a visitor may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest head of a request.
const HEAD_BYTES: usize = 4096;

/// What is told.
#[derive(Debug)]
pub struct Status {
    /// The packets' account.
    pub spool: Arc<Spool>,
    /// Whether a collector is connected.
    pub connected: Arc<AtomicBool>,
}

/// Answers until the process ends.
pub fn serve(bound: &Bound, status: &Status) {
    loop {
        let answered = match bound {
            Bound::Tcp(listener) => listener.accept().and_then(|(stream, _)| tcp(stream, status)),
            Bound::Unix(listener) => listener.accept().and_then(|(stream, _)| unix(stream, status)),
        };
        if answered.is_err() {
            // A visitor who went, or no more files: the next may fare better.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn tcp(stream: TcpStream, status: &Status) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    answer(stream, status)
}

fn unix(stream: UnixStream, status: &Status) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    answer(stream, status)
}

fn answer(mut stream: impl Read + Write, status: &Status) -> io::Result<()> {
    let mut head = Vec::new();
    let mut piece = [0; 512];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") && head.len() < HEAD_BYTES {
        match stream.read(&mut piece)? {
            0 => break,
            length => head.extend_from_slice(piece.get(..length).unwrap_or_default()),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let mut words = head.split_whitespace();
    let (code, text) = match (words.next(), words.next()) {
        (Some("GET"), Some("/healthz")) => ("200 OK", "ok\n".to_owned()),
        (Some("GET"), Some("/readyz")) if status.connected.load(Ordering::Relaxed) => ("200 OK", "ready\n".to_owned()),
        (Some("GET"), Some("/readyz")) => ("503 Service Unavailable", "no collector is connected\n".to_owned()),
        (Some("GET"), Some("/metrics")) => ("200 OK", metrics(status)),
        _ => ("404 Not Found", "there are /healthz, /readyz and /metrics\n".to_owned()),
    };
    let length = text.len();
    let kind = "text/plain; version=0.0.4";
    write!(
        stream,
        "HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{text}"
    )
}

fn metrics(status: &Status) -> String {
    let now = Timestamp::from_system(SystemTime::now());
    let statistics = status.spool.statistics(now);
    let source = status.spool.source();
    let mut text = String::new();
    let mut one = |name: &str, kind: &str, help: &str, value: u64| {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name}{{source=\"{source}\"}} {value}\n");
    };
    one(
        "tapline_probe_connected",
        "gauge",
        "1 while a collector is connected.",
        status.connected.load(Ordering::Relaxed).into(),
    );
    one("tapline_probe_captured_packets_total", "counter", "Packets captured.", statistics.captured);
    one(
        "tapline_probe_acknowledged_packets_total",
        "counter",
        "Packets that the collector has durably.",
        statistics.acknowledged,
    );
    one("tapline_probe_held_packets", "gauge", "Packets that wait for the collector.", statistics.held);
    one("tapline_probe_spool_bytes", "gauge", "Bytes that wait for the collector.", statistics.spool_bytes);
    one(
        "tapline_probe_kernel_received_packets_total",
        "counter",
        "Packets that passed the filter, by the kernel's count.",
        statistics.received_by_kernel,
    );
    one(
        "tapline_probe_kernel_dropped_packets_total",
        "counter",
        "Packets that the kernel dropped for want of buffer.",
        statistics.dropped_by_kernel,
    );
    one(
        "tapline_probe_interface_dropped_packets_total",
        "counter",
        "Packets that the interfaces dropped.",
        statistics.dropped_by_interface,
    );
    let name = "tapline_probe_dropped_packets_total";
    let _ = write!(
        text,
        "# HELP {name} Captured packets that the probe dropped, by place and reason.\n# TYPE {name} counter\n"
    );
    for drop in &statistics.drops {
        let (place, reason) = (drop.place.as_str(), drop.reason.as_str());
        let _ = writeln!(text, "{name}{{source=\"{source}\",place=\"{place}\",reason=\"{reason}\"}} {}", drop.packets);
    }
    text
}
