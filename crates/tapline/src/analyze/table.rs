//! Events as lines for people: time, type, who talked to whom, how it went, what it was about.
//! Deliberately lossy; the whole event is what `-o ndjson` prints.

use std::fmt::Write;
use std::net::IpAddr;

use event::{Event, Field, Value, common};

/// Width of the column with both addresses.
const WHO_WIDTH: usize = 47;
/// The last column is cut after this many characters.
const WHAT_CHARS_MAX: usize = 160;

/// The line above the events.
pub fn heading() -> String {
    format!("{:<29} {:<6} {:<WHO_WIDTH$} {:<13} {:>10}  WHAT\n", "TIME", "TYPE", "WHO", "STATUS", "TOOK")
}

/// Appends the event's line.
pub fn line(event: &Event, out: &mut Vec<u8>) {
    let mut text = String::with_capacity(200);
    let mut time = Vec::with_capacity(32);
    event.time.write_rfc3339(&mut time);
    let who = format!(
        "{} > {}",
        side(event, &common::SOURCE_IP, &common::SOURCE_PORT),
        side(event, &common::DESTINATION_IP, &common::DESTINATION_PORT)
    );
    let status = event.get_str(&common::STATUS).unwrap_or("");
    let took = number(event, &common::EVENT_DURATION).map(duration).unwrap_or_default();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "{:<29} {:<6} {who:<WHO_WIDTH$} {status:<13} {took:>10}  ",
        String::from_utf8_lossy(&time),
        event.event_type
    );
    let _ = write!(text, "{}", what(event));
    for anomaly in &event.anomalies {
        let _ = write!(text, " !{}", anomaly.name);
    }
    out.extend_from_slice(text.trim_end().as_bytes());
    out.push(b'\n');
}

fn what(event: &Event) -> String {
    let mut parts: Vec<String> = Vec::new();
    let about = [&common::QUERY, &common::PATH, &common::METHOD, &common::RESOURCE];
    if let Some(text) = about.iter().find_map(|field| event.get_str(field)) {
        parts.push(printable(text));
    } else if let Some(bytes) = number(event, &common::NETWORK_BYTES) {
        let transport = event.get_str(&common::NETWORK_TRANSPORT).unwrap_or("");
        let packets = number(event, &common::NETWORK_PACKETS).unwrap_or(0);
        parts.push(format!("{transport} {packets} packets, {bytes} bytes"));
    }
    if let Some(error) = event.get_str(&common::ERROR_MESSAGE) {
        parts.push(format!("({})", printable(error)));
    }
    parts.join(" ")
}

/// What peers sent must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().take(WHAT_CHARS_MAX).map(|c| if c.is_control() { '\u{b7}' } else { c }).collect()
}

fn side(event: &Event, ip: &'static Field, port: &'static Field) -> String {
    match (address(event, ip), number(event, port)) {
        (Some(IpAddr::V6(ip)), Some(port)) => format!("[{ip}]:{port}"),
        (Some(ip), Some(port)) => format!("{ip}:{port}"),
        (Some(ip), None) => ip.to_string(),
        _ => "-".to_owned(),
    }
}

/// The address that a field holds.
pub fn address(event: &Event, field: &'static Field) -> Option<IpAddr> {
    match event.get(field)? {
        Value::Ip(ip) => Some(*ip),
        _ => None,
    }
}

/// The number that a field holds, if it is one from 0.
pub fn number(event: &Event, field: &'static Field) -> Option<u64> {
    match event.get(field)? {
        Value::Unsigned(number) => Some(*number),
        Value::Signed(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn duration(nanos: u64) -> String {
    match nanos {
        0..1_000_000 => format!("{:.1}us", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}ms", nanos as f64 / 1e6),
        _ => format!("{:.2}s", nanos as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use event::{Observer, Origin};

    #[test]
    fn a_line_holds_time_who_status_and_what() {
        let observer = Arc::new(Observer { name: "f".into(), epoch: "e".into(), is_file: true });
        let origin = Origin { observer, interface: "".into(), first_packet: 0, last_packet: 1 };
        let mut event = Event::new("dns", packet::Timestamp::from_nanos(1_500_000_000), origin);
        event.put(&common::SOURCE_IP, IpAddr::from([10, 0, 0, 1]));
        event.put(&common::SOURCE_PORT, 4000u16);
        event.put(&common::DESTINATION_IP, "2001:db8::1".parse::<IpAddr>().unwrap());
        event.put(&common::DESTINATION_PORT, 53u16);
        event.put(&common::STATUS, "OK");
        event.put(&common::EVENT_DURATION, 1_500_000u64);
        event.put_text(&common::QUERY, "class IN,\x1b[2J A");
        event.anomaly("dns.name_loop", 12);
        let mut out = Vec::new();
        line(&event, &mut out);
        let line = String::from_utf8(out).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(
            words,
            [
                "1970-01-01T00:00:01.500Z",
                "dns",
                "10.0.0.1:4000",
                ">",
                "[2001:db8::1]:53",
                "OK",
                "1.5ms",
                "class",
                "IN,\u{b7}[2J",
                "A",
                "!dns.name_loop"
            ]
        );
    }
}
