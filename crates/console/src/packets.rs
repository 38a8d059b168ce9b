//! From an event to its packets: which numbers of which epoch, of which flows, and the question to the collector that means exactly them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use packet::Timestamp;
use serde_json::Value;
use store::{Ask, Filter, Range};

use crate::answer::Refusal;
use crate::events;
use crate::question::Said;
use crate::state::Console;
use crate::through;

/// Around the times of an event: packets that were reordered on their way to the probe.
const MARGIN: Duration = Duration::from_secs(1);
/// Events of a call that are looked at.
const CALL_EVENTS: usize = 1000;
/// Flows that one question may name.
const FLOWS_MAX: usize = 8;
/// Bytes of a message that no usual link splits into fragments.
const UNFRAGMENTED: u64 = 1400;
/// How much of the answer is read to tell its size.
const COUNTED_BYTES: usize = 64 << 20;
/// How long that may take.
const COUNTED_TIME: Duration = Duration::from_secs(5);

/// Which packets.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    source: String,
    epoch: String,
    /// As `4-9,12`.
    numbers: String,
    /// Filter expressions, any of which holds; none where the numbers alone say it.
    flows: BTreeSet<String>,
    since: Timestamp,
    until: Timestamp,
}

fn text<'a>(document: &'a Value, path: &str) -> Option<&'a str> {
    at(document, path)?.as_str()
}

fn number(document: &Value, path: &str) -> Option<u64> {
    at(document, path)?.as_u64()
}

fn at<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(document, |value, name| value.get(name))
}

fn time(document: &Value, path: &str) -> Option<Timestamp> {
    api::moment::parse(text(document, path)?, Timestamp::ZERO).ok()
}

/// The flow of an event, as a filter. A stream of RTP is one direction of it.
fn flow(document: &Value) -> Option<String> {
    let flow = format!("community-id {}", text(document, "network.community_id")?);
    let sender = || {
        let address = text(document, "source.ip")?.parse().ok()?;
        Some(SocketAddr::new(address, u16::try_from(number(document, "source.port")?).ok()?))
    };
    match text(document, "type") {
        Some("rtp") => Some(format!("({flow} and sent-by {})", sender()?)),
        // Only the first fragment shows of which flow it is.
        Some("dns" | "icmp") if text(document, "network.transport") != Some("tcp") => {
            let (source, destination) = (text(document, "source.ip")?, text(document, "destination.ip")?);
            let of_both = format!("host {source} and host {destination}");
            let fragments = if source.contains(':') { "ip6 proto 44" } else { "ip[6:2] & 0x3fff != 0" };
            Some(format!("({flow}) or ({of_both} and {fragments})"))
        }
        _ => Some(flow),
    }
}

/// The packets of one event, by its own account.
fn of_event(document: &Value) -> Option<Wanted> {
    let (first, last) = (number(document, "tapline.packet.first")?, number(document, "tapline.packet.last")?);
    let transport = text(document, "network.transport").unwrap_or("");
    // A request and its answer are two packets, and what came between them belongs to others of the same flow.
    let is_one_packet = |side: &str| number(document, side).unwrap_or(0) <= UNFRAGMENTED;
    let is_pair = matches!(text(document, "type"), Some("dns" | "icmp"))
        && transport != "tcp"
        && is_one_packet("source.bytes")
        && is_one_packet("destination.bytes");
    let numbers = match (first == last, is_pair) {
        (true, _) => first.to_string(),
        (false, true) => format!("{first},{last}"),
        (false, false) => format!("{first}-{last}"),
    };
    let stamp = time(document, "@timestamp")?;
    let (start, end) = (time(document, "event.start").unwrap_or(stamp), time(document, "event.end").unwrap_or(stamp));
    let margin = u64::try_from(MARGIN.as_nanos()).unwrap_or(0);
    let flow = flow(document).filter(|_| first != last && !is_pair);
    Some(Wanted {
        source: text(document, "tapline.source")?.to_owned(),
        epoch: text(document, "tapline.epoch")?.to_owned(),
        numbers,
        flows: flow.into_iter().collect(),
        since: Timestamp::from_nanos(start.min(stamp).nanos().saturating_sub(margin)),
        until: Timestamp::from_nanos(end.max(stamp).nanos().saturating_add(margin)),
    })
}

/// The packets of a call: those of its signalling and its streams in the epoch in which it was seen.
fn of_call(call: &Wanted, events: &[Value]) -> Option<Wanted> {
    let parts: Vec<Wanted> = events
        .iter()
        .filter(|event| text(event, "type") != Some("call"))
        .filter_map(of_event)
        .filter(|part| part.source == call.source && part.epoch == call.epoch)
        .collect();
    let of_kind = |kinds: &[&str]| {
        let of_kind = |event: &&Value| text(event, "type").is_some_and(|kind| kinds.contains(&kind));
        let ids = events.iter().filter(of_kind).filter_map(|event| text(event, "network.community_id"));
        ids.map(|id| format!("community-id {id}")).collect::<BTreeSet<_>>()
    };
    // Streams go on over many events: what counts is the flow over the whole time of the call.
    let media = of_kind(&["rtp", "rtcp"]);
    let (first, last) = events
        .iter()
        .filter_map(|event| Some((number(event, "tapline.packet.first")?, number(event, "tapline.packet.last")?)))
        .reduce(|(a, b), (c, d)| (a.min(c), b.max(d)))?;
    let (since, until) = parts
        .iter()
        .fold((call.since, call.until), |(since, until), part| (since.min(part.since), until.max(part.until)));
    let (numbers, flows) = match media.is_empty() {
        true => (
            parts.iter().map(|part| part.numbers.clone()).collect::<Vec<_>>().join(","),
            parts.iter().flat_map(|part| part.flows.clone()).collect(),
        ),
        false => (format!("{first}-{last}"), media.into_iter().chain(of_kind(&["sip"])).take(FLOWS_MAX).collect()),
    };
    let numbers = if numbers.is_empty() { call.numbers.clone() } else { numbers };
    Some(Wanted { numbers, flows, since, until, ..call.clone() })
}

impl Wanted {
    fn expression(&self) -> String {
        let flows: Vec<&str> = self.flows.iter().map(String::as_str).collect();
        flows.join(" or ")
    }

    /// The collector's question.
    fn path(&self) -> String {
        let mut path = format!(
            "/api/v1/packets?format=pcapng&source={}&epoch={}&packets={}&since={}&until={}",
            api::escape(&self.source),
            api::escape(&self.epoch),
            api::escape(&self.numbers),
            self.since.nanos(),
            self.until.nanos()
        );
        if !self.flows.is_empty() {
            let _ = write!(path, "&query={}", api::escape(&self.expression()));
        }
        path
    }

    /// The same on the command line.
    fn command(&self) -> String {
        let mut command = String::from("tapline grab");
        if !self.flows.is_empty() {
            let _ = write!(command, " '{}'", self.expression());
        }
        let _ = write!(
            command,
            " --source {} --epoch {} --packets {} --since {} --until {} -w event.pcapng",
            self.source, self.epoch, self.numbers, self.since, self.until
        );
        command
    }
}

async fn wanted(console: &Console, id: &str, said: &Said) -> Result<(Wanted, Value), Refusal> {
    said.only(&[&["time"]])?;
    let found = events::find(console, id, said.time("time")?).await?;
    let nothing = || Refusal::missing("this event has no packets in the archive", "only events of packets have some");
    let document: Value = serde_json::from_str(found.document.get()).map_err(|_| nothing())?;
    let own = of_event(&document).ok_or_else(nothing)?;
    if text(&document, "type") != Some("call") {
        return Ok((own, document));
    }
    let related = console
        .ask(move |reader| reader.related(&found, &Ask::new(&Filter::default(), Range::ALL), CALL_EVENTS, None))
        .await?;
    let mut events: Vec<Value> =
        related.events.events.iter().filter_map(|event| serde_json::from_str(event.get()).ok()).collect();
    events.push(document.clone());
    Ok((of_call(&own, &events).unwrap_or(own), document))
}

/// `GET /api/v1/events/ID/packets.pcapng`.
pub(crate) async fn download(
    State(console): State<Console>,
    Path(id): Path<String>,
    said: Said,
) -> Result<Response, Refusal> {
    let (wanted, document) = wanted(&console, &id, &said).await?;
    let mut response = through::forward(&console, Method::GET, &wanted.path()).await?;
    let kind = text(&document, "type").unwrap_or("event");
    let short = id.get(..8).unwrap_or("");
    if response.status().is_success()
        && let Ok(name) = HeaderValue::from_str(&format!("attachment; filename=\"{kind}-{short}.pcapng\""))
    {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

/// What a download would be.
#[derive(Debug, serde::Serialize)]
struct Facts {
    packets: u64,
    bytes: u64,
    /// Whether there are more than were counted.
    at_least: bool,
    lost: u64,
    command: String,
}

/// `GET /api/v1/events/ID/packets`.
pub(crate) async fn facts(
    State(console): State<Console>,
    Path(id): Path<String>,
    said: Said,
) -> Result<Response, Refusal> {
    let (wanted, document) = wanted(&console, &id, &said).await?;
    let _place = console.download()?;
    let mut facts = Facts {
        packets: 0,
        bytes: 0,
        at_least: false,
        lost: number(&document, "tapline.capture_loss").unwrap_or(0),
        command: wanted.command(),
    };
    let mut body = console.collector.stream(&wanted.path()).await?;
    let mut blocks = packet::pcapng::PacketCount::default();
    let began = std::time::Instant::now();
    while let Some(bytes) = body.next().await? {
        facts.bytes += bytes.len() as u64;
        blocks.see(&bytes);
        if facts.bytes > COUNTED_BYTES as u64 || began.elapsed() > COUNTED_TIME {
            facts.at_least = true;
            break;
        }
    }
    facts.packets = blocks.count();
    Ok(axum::Json(facts).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(kind: &str, transport: &str, first: u64, last: u64, flow: &str) -> Value {
        json!({
            "@timestamp": "2026-01-01T00:00:10Z", "type": kind,
            "event": {"start": "2026-01-01T00:00:10Z", "end": "2026-01-01T00:00:12.5Z"},
            "network": {"transport": transport, "community_id": flow},
            "tapline": {"source": "gw 1", "epoch": "0a", "packet": {"first": first, "last": last}},
        })
    }

    #[test]
    fn a_request_and_its_answer_are_two_packets_and_a_stream_is_its_flow() {
        let pair = of_event(&event("dns", "udp", 4, 9, "1:x=")).unwrap();
        assert_eq!((pair.numbers.as_str(), pair.flows.len()), ("4,9", 0));
        let mut large = event("dns", "udp", 4, 9, "1:x=");
        large["source"] = json!({"ip": "10.0.0.1", "bytes": 40});
        large["destination"] = json!({"ip": "10.0.0.2", "bytes": 3000});
        let large = of_event(&large).unwrap();
        assert_eq!(large.numbers, "4-9");
        assert!(large.expression().ends_with("(host 10.0.0.1 and host 10.0.0.2 and ip[6:2] & 0x3fff != 0)"));
        let one = of_event(&event("sip", "udp", 4, 4, "1:x=")).unwrap();
        assert_eq!((one.numbers.as_str(), one.flows.len()), ("4", 0));
        let stream = of_event(&event("dns", "tcp", 4, 9, "1:x=")).unwrap();
        assert_eq!((stream.numbers.as_str(), stream.expression().as_str()), ("4-9", "community-id 1:x="));
        let path = stream.path();
        assert!(path.contains("source=gw%201&epoch=0a&packets=4-9&since="), "{path}");
        assert!(path.ends_with("&query=community-id%201%3Ax%3D"), "{path}");
        assert_eq!(stream.until.since(stream.since), 4_500_000_000);
        assert!(stream.command().contains("'community-id 1:x='"));
        assert_eq!(of_event(&json!({"type": "x"})), None);
        let mut stream = event("rtp", "udp", 4, 9, "1:x=");
        stream["source"] = json!({"ip": "2001:db8::1", "port": 16000});
        assert_eq!(of_event(&stream).unwrap().expression(), "(community-id 1:x= and sent-by [2001:db8::1]:16000)");
    }

    #[test]
    fn a_call_has_its_messages_and_its_streams_and_nothing_of_other_epochs() {
        let call = of_event(&event("call", "udp", 1, 2, "")).unwrap();
        let sip = [event("sip", "udp", 1, 1, "1:s="), event("sip", "udp", 90, 90, "1:s=")];
        let only_signalling = of_call(&call, &sip).unwrap();
        assert_eq!((only_signalling.numbers.as_str(), only_signalling.flows.len()), ("1,90", 0));
        let mut all = sip.to_vec();
        all.push(event("rtp", "udp", 10, 80, "1:r="));
        let whole = of_call(&call, &all).unwrap();
        assert_eq!(whole.numbers, "1-90");
        assert_eq!(whole.expression(), "community-id 1:r= or community-id 1:s=");
    }
}
