//! Events as lines for people: time, type, who talked to whom, how it went, what it was about.
//! Deliberately lossy; the whole event is what `-o ndjson` prints.

use std::fmt::Write;
use std::net::IpAddr;

use analyzer::correlation::fields as call;
use decode::protocols::{rtp::fields as rtp, sip::fields as sip};
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
    let who = match (
        side(event, &common::SOURCE_IP, &common::SOURCE_PORT).as_str(),
        side(event, &common::DESTINATION_IP, &common::DESTINATION_PORT).as_str(),
    ) {
        // About the file, not about anybody.
        ("-", "-") => String::new(),
        (source, destination) => format!("{source} > {destination}"),
    };
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
    let of_a_call = match event.event_type {
        "sip" => sip_message(event),
        "rtp" => rtp_stream(event),
        "rtcp" => rtcp_compound(event),
        "call" => whole_call(event),
        _ => String::new(),
    };
    if !of_a_call.is_empty() {
        parts.push(printable(&of_a_call));
    } else if let Some(text) = about.iter().find_map(|field| event.get_str(field)) {
        parts.push(printable(text));
    } else if let Some(bytes) = number(event, &common::NETWORK_BYTES) {
        let transport = event.get_str(&common::NETWORK_TRANSPORT).unwrap_or("");
        let packets = number(event, &common::NETWORK_PACKETS).unwrap_or(0);
        parts.push(format!("{transport} {packets} packets, {bytes} bytes"));
    }
    if let Some(error) = event.get_str(&common::ERROR_MESSAGE) {
        let error = printable(error);
        parts.push(if parts.is_empty() { error } else { format!("({error})") });
    }
    parts.join(" ")
}

/// `INVITE bob`, or `180 Ringing (INVITE)`.
fn sip_message(event: &Event) -> String {
    if let Some(code) = number(event, &sip::CODE) {
        let method = event.get_str(&sip::CSEQ_METHOD).map(|method| format!("({method})"));
        let phrase = event.get_str(&sip::STATUS).unwrap_or("");
        return words([Some(code.to_string()), Some(phrase.to_owned()), method], " ");
    }
    let to = [&sip::URI_USERNAME, &sip::URI_ORIGINAL].iter().find_map(|field| event.get_str(field));
    words([event.get_str(&sip::METHOD).map(str::to_owned), to.map(str::to_owned)], " ")
}

/// `PCMA, 50 packets, 1 lost (2.0%), jitter 0.23 ms, MOS 4.41, final`.
fn rtp_stream(event: &Event) -> String {
    let payload_type = || number(event, &rtp::PAYLOAD_TYPE).map(|number| format!("payload type {number}"));
    let percent = event.get(&rtp::LOSS_PERCENT).and_then(float);
    let percent = percent.map(|percent| format!(" ({percent:.1}%)")).unwrap_or_default();
    let span = match event.get(&rtp::FINAL) {
        Some(Value::Bool(true)) => Some("final".to_owned()),
        Some(Value::Bool(false)) => Some("interval".to_owned()),
        _ => None,
    };
    words(
        [
            event.get_str(&rtp::CODEC).map(str::to_owned).or_else(payload_type),
            number(event, &rtp::PACKETS).map(|packets| format!("{packets} packets")),
            number(event, &rtp::LOST).map(|packets| format!("{packets} lost{percent}")),
            event.get(&rtp::JITTER_MEAN).and_then(float).map(|jitter| format!("jitter {jitter:.2} ms")),
            mos(event, &rtp::MOS),
            span,
        ],
        ", ",
    )
}

/// `rr xr: loss 2.0%, 2 lost in all, round trip 0.62 ms`: what it holds, and how the far end says it receives each stream.
fn rtcp_compound(event: &Event) -> String {
    let list = |field| match event.get(field) {
        Some(Value::List(values)) => event.items(*values),
        _ => &[],
    };
    let kinds: Vec<&str> = list(&rtp::RTCP_PACKETS).iter().filter_map(|kind| event.as_str(kind)).collect();
    let mut said: Vec<String> = Vec::new();
    for report in list(&rtp::RTCP_REPORTS) {
        let Value::Object(report) = report else { continue };
        let member =
            |name| event.members(*report).iter().find(|(key, _)| event.key(key) == name).map(|(_, value)| value);
        // The one since the report before, the other since the beginning.
        said.extend(member("loss_percent").and_then(float).map(|percent| format!("loss {percent:.1}%")));
        said.extend(member("lost").and_then(float).map(|packets| format!("{packets} lost in all")));
        said.extend(member("round_trip_ms").and_then(float).map(|trip| format!("round trip {trip:.2} ms")));
    }
    let end_to_end = event.get(&rtp::RTCP_ROUND_TRIP_MS).and_then(float);
    said.extend(end_to_end.map(|trip| format!("end to end {trip:.2} ms")));
    words([Some(kinds.join(" ")), Some(said.join(", "))], ": ")
}

/// `ada@10.0.0.1 -> bob@10.0.0.2, answered, 200, talked 1.11s, MOS 4.41`.
fn whole_call(event: &Event) -> String {
    let side = |field| event.get_str(field).unwrap_or("-");
    let talk = event.get(&call::TALK_TIME_MS).and_then(float);
    words(
        [
            Some(format!("{} -> {}", side(&call::CALLER), side(&call::CALLEE))),
            event.get_str(&call::STATE).map(str::to_owned),
            number(event, &call::CODE).map(|code| code.to_string()),
            talk.map(|millis| format!("talked {}", duration((millis * 1e6) as u64))),
            mos(event, &call::MOS),
        ],
        ", ",
    )
}

/// Those that say something.
fn words<const N: usize>(parts: [Option<String>; N], between: &str) -> String {
    let said: Vec<String> = parts.into_iter().flatten().filter(|part| !part.is_empty()).collect();
    said.join(between)
}

fn mos(event: &Event, field: &'static Field) -> Option<String> {
    event.get(field).and_then(float).map(|mos| format!("MOS {mos:.2}"))
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        Value::Unsigned(number) => Some(*number as f64),
        Value::Signed(number) => Some(*number as f64),
        _ => None,
    }
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
