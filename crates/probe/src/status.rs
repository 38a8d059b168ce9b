//! What the probe tells about itself: `/healthz`, `/readyz` and `/metrics` (Prometheus text) over HTTP on loopback or a Unix socket.
//! One request at a time, of bounded size and time, on a thread of its own: nobody who asks can hold up a packet.

use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::link::Orders;
use listen::Bound;
use packet::Timestamp;
use spool::Spool;
use uplink::Statistics;

/// How long a visitor may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest head of a request.
const HEAD_BYTES: usize = 4096;

/// What is told: of one spool, which its collectors empty in turn, or of one for each collector.
#[derive(Debug)]
pub struct Status(pub Vec<Outlet>);

/// One spool and who empties it.
#[derive(Debug)]
pub struct Outlet {
    /// Its collectors, as they are written in the configuration.
    pub collectors: Vec<String>,
    /// The packets' account.
    pub spool: Arc<Spool>,
    /// Whether a collector is connected, and which.
    pub orders: Arc<Orders>,
}

impl Outlet {
    fn name(&self) -> String {
        self.collectors.join(", ")
    }

    fn is_connected(&self) -> bool {
        self.orders.connected.get().is_some()
    }
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
        (Some("GET"), Some("/readyz")) => match missing(status) {
            None => ("200 OK", "ready\n".to_owned()),
            Some(missing) => ("503 Service Unavailable", missing),
        },
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

/// Who is not connected, if that is to be said.
fn missing(status: &Status) -> Option<String> {
    let away: Vec<String> =
        status.0.iter().filter(|outlet| !outlet.is_connected()).map(|outlet| format!("{}\n", outlet.name())).collect();
    match (away.is_empty(), status.0.len()) {
        (true, _) => None,
        (false, 1) => Some("no collector is connected\n".to_owned()),
        (false, _) => Some(format!("not connected:\n{}", away.concat())),
    }
}

/// The value of a label between its quotes.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// The text being made, and the labels in it.
struct Page<'a> {
    text: String,
    source: &'a str,
}

impl Page<'_> {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
    }

    fn value(&mut self, name: &str, labels: &str, value: u64) {
        let _ = writeln!(self.text, "{name}{{source=\"{}\"{labels}}} {value}", self.source);
    }
}

fn metrics(status: &Status) -> String {
    let now = Timestamp::from_system(SystemTime::now());
    let Some(first) = status.0.first() else { return String::new() };
    let label = |collector: &str| format!(",collector=\"{}\"", escaped(collector));
    let mut page = Page { text: String::new(), source: first.spool.source().as_str() };

    let name = "tapline_probe_connected";
    page.head(name, "gauge", "1 while a collector is connected.");
    let several = status.0.iter().map(|outlet| outlet.collectors.len()).sum::<usize>() > 1;
    for outlet in &status.0 {
        let connected = outlet.orders.connected.get();
        for (place, collector) in outlet.collectors.iter().enumerate() {
            let labels = if several { label(collector) } else { String::new() };
            page.value(name, &labels, (connected == Some(place)).into());
        }
    }

    // Each spool's own; their label says whose it is, where there are several.
    let outlets: Vec<(String, Statistics)> = status
        .0
        .iter()
        .map(|outlet| {
            let labels = if status.0.len() > 1 { label(&outlet.name()) } else { String::new() };
            (labels, outlet.spool.statistics(now))
        })
        .collect();
    // What was captured is the same for all.
    let captured = outlets.first().map(|(_, statistics)| statistics.clone()).unwrap_or_default();
    let mut common = |name: &str, help: &str, value: u64| {
        page.head(name, "counter", help);
        page.value(name, "", value);
    };
    common("tapline_probe_captured_packets_total", "Packets captured.", captured.captured);
    common(
        "tapline_probe_kernel_received_packets_total",
        "Packets that passed the filter, by the kernel's count.",
        captured.received_by_kernel,
    );
    common(
        "tapline_probe_kernel_dropped_packets_total",
        "Packets that the kernel dropped for want of buffer.",
        captured.dropped_by_kernel,
    );
    common(
        "tapline_probe_interface_dropped_packets_total",
        "Packets that the interfaces dropped.",
        captured.dropped_by_interface,
    );
    let mut each = |name: &str, kind: &str, help: &str, value: fn(&Statistics) -> u64| {
        page.head(name, kind, help);
        for (labels, statistics) in &outlets {
            page.value(name, labels, value(statistics));
        }
    };
    each(
        "tapline_probe_acknowledged_packets_total",
        "counter",
        "Packets that the collector has durably.",
        |statistics| statistics.acknowledged,
    );
    each("tapline_probe_held_packets", "gauge", "Packets that wait for the collector.", |statistics| statistics.held);
    each("tapline_probe_spool_bytes", "gauge", "Bytes that wait for the collector.", |statistics| {
        statistics.spool_bytes
    });
    let name = "tapline_probe_dropped_packets_total";
    page.head(name, "counter", "Captured packets that the probe dropped, by place and reason.");
    for (labels, statistics) in &outlets {
        for drop in &statistics.drops {
            let labels = format!("{labels},place=\"{}\",reason=\"{}\"", drop.place.as_str(), drop.reason.as_str());
            page.value(name, &labels, drop.packets);
        }
    }
    page.text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use packet::Epoch;
    use spool::{Limits, Mode, WhenFull};

    fn outlet(collectors: &[&str]) -> Outlet {
        let limits = Limits { memory: 1 << 20, full: WhenFull::Oldest, waits: false, mode: Mode::Memory };
        Outlet {
            collectors: collectors.iter().map(|text| (*text).to_owned()).collect(),
            spool: Arc::new(Spool::new("gw1".parse().unwrap(), Epoch([1; 16]), limits)),
            orders: Arc::default(),
        }
    }

    #[test]
    fn one_collector_needs_no_name() {
        let status = Status(vec![outlet(&["a:1"])]);
        assert_eq!(missing(&status).unwrap(), "no collector is connected\n");
        status.0[0].orders.connected.set(Some(0));
        assert_eq!(missing(&status), None);
        let text = metrics(&status);
        assert!(!text.contains("collector=\""), "{text}");
        assert!(text.contains("tapline_probe_connected{source=\"gw1\"} 1\n"), "{text}");
        assert!(text.contains("tapline_probe_held_packets{source=\"gw1\"} 0\n"), "{text}");
    }

    #[test]
    fn failover_is_ready_with_one_and_says_with_which() {
        let status = Status(vec![outlet(&["a:1", "b:2"])]);
        status.0[0].orders.connected.set(Some(1));
        assert_eq!(missing(&status), None);
        let text = metrics(&status);
        assert!(text.contains("tapline_probe_connected{source=\"gw1\",collector=\"a:1\"} 0\n"), "{text}");
        assert!(text.contains("tapline_probe_connected{source=\"gw1\",collector=\"b:2\"} 1\n"), "{text}");
        assert!(text.contains("tapline_probe_held_packets{source=\"gw1\"} 0\n"), "one spool: {text}");
    }

    #[test]
    fn each_spool_has_its_values_and_each_name_one_head() {
        let status = Status(vec![outlet(&["a:1"]), outlet(&["unix:/a\"b\\c"])]);
        status.0[0].orders.connected.set(Some(0));
        assert_eq!(missing(&status).unwrap(), "not connected:\nunix:/a\"b\\c\n");
        status.0.iter().for_each(|outlet| outlet.spool.sealed(3));
        let text = metrics(&status);
        assert!(text.contains("tapline_probe_captured_packets_total{source=\"gw1\"} 3\n"), "{text}");
        for label in ["a:1", "unix:/a\\\"b\\\\c"] {
            assert!(text.contains(&format!("held_packets{{source=\"gw1\",collector=\"{label}\"}} 3\n")), "{text}");
        }
        let heads: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
        let mut once = heads.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), heads.len());
        status.0[1].orders.connected.set(Some(0));
        assert_eq!(missing(&status), None);
    }
}
