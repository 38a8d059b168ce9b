//! One event per call: a SIP dialog that an INVITE began, with its times, its end and the quality of its media.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use event::{Event, Key, Observer, Origin, Value, common};
use packet::Timestamp;

use super::fields;

/// What bounds the calls that are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many calls are followed at a time. With more, the one that was silent for longest is given out as it is.
    pub calls_max: usize,
    /// How long after its end a call waits at least: messages may be sent again.
    pub settle_ns: u64,
    /// How long it waits at most for the last report of its media.
    pub linger_ns: u64,
    /// A call without any message for so long is over.
    pub idle_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { calls_max: 50_000, settle_ns: 10_000_000_000, linger_ns: 90_000_000_000, idle_ns: 4 * 3_600_000_000_000 }
    }
}

const MEDIA_MAX: usize = 16;
const LEGS_MAX: usize = 32;
const CODECS_MAX: usize = 8;
/// The last reports of the streams of a call come together, or nearly.
const MEDIA_TOGETHER_NS: u64 = 2_000_000_000;
/// How many calls are looked through for ended ones at a time.
const SWEEP_NS: u64 = 1_000_000_000;

#[derive(Debug, Clone, Default)]
struct Medium {
    ssrc: String,
    source: Option<(IpAddr, u16)>,
    destination: Option<(IpAddr, u16)>,
    codec: Option<String>,
    packets: u64,
    lost: u64,
    loss_percent: f64,
    jitter_ms: Option<f64>,
    mos: Option<f64>,
}

#[derive(Debug)]
struct Call {
    origin: Origin,
    caller: String,
    callee: String,
    caller_tag: String,
    ends: (Option<IpAddr>, Option<IpAddr>),
    ports: (Option<u16>, Option<u16>),
    transport: Option<String>,
    start: Timestamp,
    progress: Option<Timestamp>,
    ring: Option<Timestamp>,
    answer: Option<Timestamp>,
    end: Option<Timestamp>,
    ended_by: Option<&'static str>,
    cancelled: bool,
    code: Option<u64>,
    reason: String,
    legs: Vec<(IpAddr, IpAddr)>,
    codecs: Vec<String>,
    media: Vec<Medium>,
    /// Streams that were reported and go on.
    going_on: Vec<(String, Option<(IpAddr, u16)>)>,
    /// When the last report of a stream came.
    media_heard: Timestamp,
    last_seen: Timestamp,
    capture_loss: u64,
    partial: bool,
}

/// The calls that are open.
#[derive(Debug, Default)]
pub struct Calls {
    limits: Limits,
    open: HashMap<String, Call>,
    clock: Timestamp,
    swept: Timestamp,
    /// Calls given out before their end because there were too many.
    pub evicted: u64,
}

/// The fields of a message that a call is made of, collected in one pass.
#[derive(Default)]
struct Message<'a> {
    call_id: Option<&'a str>,
    method: Option<&'a str>,
    code: Option<u64>,
    reason: Option<&'a str>,
    cseq_method: Option<&'a str>,
    from: (Option<&'a str>, Option<&'a str>),
    to: (Option<&'a str>, Option<&'a str>),
    from_tag: Option<&'a str>,
    to_tag: Option<&'a str>,
    source: (Option<IpAddr>, Option<u16>),
    destination: (Option<IpAddr>, Option<u16>),
    transport: Option<&'a str>,
    media: Option<&'a Value>,
}

fn unsigned(value: &Value) -> Option<u64> {
    match value {
        Value::Unsigned(number) => Some(*number),
        Value::Signed(number) => u64::try_from(*number).ok(),
        _ => None,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Float(number) => Some(*number),
        other => unsigned(other).map(|number| number as f64),
    }
}

fn port(value: &Value) -> Option<u16> {
    unsigned(value).and_then(|port| u16::try_from(port).ok())
}

fn ip(value: &Value) -> Option<IpAddr> {
    match value {
        Value::Ip(address) => Some(*address),
        _ => None,
    }
}

/// The codec that comes first in each of the media that an answer accepts.
fn chosen_codecs<'a>(event: &'a Event, media: &'a Value) -> Vec<&'a str> {
    let Value::List(media) = media else { return Vec::new() };
    let member = |medium: &'a Value, name: &str| match medium {
        Value::Object(medium) => {
            let mut members = event.members(*medium).iter();
            members.find(|(key, _)| matches!(key, Key::Static(known) if *known == name)).map(|(_, value)| value)
        }
        _ => None,
    };
    let accepted = event
        .items(*media)
        .iter()
        .filter(|medium| member(medium, "port").and_then(unsigned).is_some_and(|port| port != 0));
    accepted
        .filter_map(|medium| match member(medium, "codecs")? {
            Value::List(codecs) => event.as_str(event.items(*codecs).first()?),
            _ => None,
        })
        .collect()
}

impl<'a> Message<'a> {
    fn of(event: &'a Event) -> Self {
        let mut message = Self::default();
        for (field, value) in event.fields() {
            match field.path {
                "sip.call_id" => message.call_id = event.as_str(value),
                "sip.method" => message.method = event.as_str(value),
                "sip.code" => message.code = unsigned(value),
                "sip.status" => message.reason = event.as_str(value),
                "sip.cseq.method" => message.cseq_method = event.as_str(value),
                "sip.from.uri.username" => message.from.0 = event.as_str(value),
                "sip.from.uri.host" => message.from.1 = event.as_str(value),
                "sip.from.tag" => message.from_tag = event.as_str(value),
                "sip.to.uri.username" => message.to.0 = event.as_str(value),
                "sip.to.uri.host" => message.to.1 = event.as_str(value),
                "sip.to.tag" => message.to_tag = event.as_str(value),
                "sip.sdp.media" => message.media = Some(value),
                "source.ip" => message.source.0 = ip(value),
                "source.port" => message.source.1 = port(value),
                "destination.ip" => message.destination.0 = ip(value),
                "destination.port" => message.destination.1 = port(value),
                "network.transport" => message.transport = event.as_str(value),
                _ => {}
            }
        }
        message
    }
}

fn party((user, host): (Option<&str>, Option<&str>)) -> String {
    match (user, host) {
        (Some(user), Some(host)) => format!("{user}@{host}"),
        (Some(one), None) | (None, Some(one)) => one.to_owned(),
        (None, None) => String::new(),
    }
}

fn milliseconds(from: Timestamp, to: Timestamp) -> f64 {
    to.since(from) as f64 / 1e6
}

impl Calls {
    /// No calls yet.
    pub fn new(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// How many calls are open.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Takes note of an event; calls that are over by its time go to `out`.
    pub fn observe(&mut self, event: &Event, out: &mut Vec<Event>) {
        match event.event_type {
            "sip" => self.message(event, out),
            "rtp" => self.stream(event),
            _ => {}
        }
        self.advance(event.time, out);
    }

    /// Time has come this far: gives out what is over by then.
    pub fn advance(&mut self, clock: Timestamp, out: &mut Vec<Event>) {
        self.clock = self.clock.max(clock);
        if self.clock.since(self.swept) < SWEEP_NS || self.open.is_empty() {
            return;
        }
        self.swept = self.clock;
        let (clock, limits) = (self.clock, self.limits);
        let over = |call: &Call| match call.end {
            Some(end) => {
                let since = clock.since(end.max(call.last_seen));
                since >= limits.linger_ns || since >= limits.settle_ns && call.is_whole(clock)
            }
            None => clock.since(call.last_seen) >= limits.idle_ns,
        };
        let ids: Vec<String> = self.open.iter().filter(|(_, call)| over(call)).map(|(id, _)| id.clone()).collect();
        self.give_out(ids, out);
    }

    /// Nothing more comes: gives out all calls.
    pub fn finish(&mut self, out: &mut Vec<Event>) {
        let ids = self.open.keys().cloned().collect();
        self.give_out(ids, out);
    }

    /// Nothing more comes of what this observer saw: gives out its calls.
    pub fn finish_observer(&mut self, observer: &Arc<Observer>, out: &mut Vec<Event>) {
        let of = |call: &Call| Arc::ptr_eq(&call.origin.observer, observer);
        let ids = self.open.iter().filter(|(_, call)| of(call)).map(|(id, _)| id.clone()).collect();
        self.give_out(ids, out);
    }

    /// The oldest packet of an observer that an open call still needs.
    pub fn oldest_needed(&self, observer: &Arc<Observer>) -> Option<u64> {
        let of = |call: &&Call| Arc::ptr_eq(&call.origin.observer, observer);
        self.open.values().filter(of).map(|call| call.origin.first_packet).min()
    }

    fn give_out(&mut self, mut ids: Vec<String>, out: &mut Vec<Event>) {
        ids.sort_unstable_by(|a, b| {
            let place = |id| self.open.get(id).map(|call| (call.start, call.origin.first_packet));
            (place(a), a).cmp(&(place(b), b))
        });
        for id in ids {
            if let Some(call) = self.open.remove(&id) {
                out.push(call.into_event(&id));
            }
        }
    }

    fn message(&mut self, event: &Event, out: &mut Vec<Event>) {
        let message = Message::of(event);
        let Some(call_id) = message.call_id else { return };
        if !self.open.contains_key(call_id) {
            // A dialog begins with an INVITE that has no tag in To yet.
            if message.method != Some("INVITE") || message.to_tag.is_some() {
                return;
            }
            if self.open.len() >= self.limits.calls_max {
                self.evict(out);
            }
            self.open.insert(call_id.to_owned(), Call::begin(event, &message));
        }
        if let Some(call) = self.open.get_mut(call_id) {
            call.message(event, &message);
        }
    }

    #[cold]
    fn evict(&mut self, out: &mut Vec<Event>) {
        self.evicted += 1;
        let oldest =
            self.open.iter().min_by_key(|(id, call)| (call.last_seen, (*id).clone())).map(|(id, _)| id.clone());
        if let Some(mut call) = oldest.as_ref().and_then(|id| self.open.remove(id)) {
            call.partial = true;
            out.push(call.into_event(&oldest.unwrap_or_default()));
        }
    }

    fn stream(&mut self, event: &Event) {
        let (mut call_id, mut whole, mut medium) = (None, false, Medium::default());
        let (mut source, mut destination) = ((None, None), (None, None));
        for (field, value) in event.fields() {
            match field.path {
                "rtp.call_id" => call_id = event.as_str(value),
                "rtp.final" => whole = *value == Value::Bool(true),
                "rtp.ssrc" => medium.ssrc = event.as_str(value).unwrap_or_default().to_owned(),
                "rtp.codec" => medium.codec = event.as_str(value).map(str::to_owned),
                "rtp.packets" => medium.packets = unsigned(value).unwrap_or(0),
                "rtp.lost" => medium.lost = unsigned(value).unwrap_or(0),
                "rtp.loss.percent" => medium.loss_percent = float(value).unwrap_or(0.0),
                "rtp.jitter.mean_ms" => medium.jitter_ms = float(value),
                "rtp.mos" => medium.mos = float(value),
                "source.ip" => source.0 = ip(value),
                "source.port" => source.1 = port(value),
                "destination.ip" => destination.0 = ip(value),
                "destination.port" => destination.1 = port(value),
                _ => {}
            }
        }
        let Some(call) = call_id.and_then(|id| self.open.get_mut(id)) else { return };
        call.last_seen = call.last_seen.max(event.time);
        let name = (medium.ssrc.clone(), source.0.zip(source.1));
        if !whole {
            if !call.going_on.contains(&name) && call.going_on.len() < MEDIA_MAX {
                call.going_on.push(name);
            }
            return;
        }
        call.going_on.retain(|one| *one != name);
        call.media_heard = self.clock;
        call.capture_loss = call.capture_loss.max(event.capture_loss);
        medium.source = source.0.zip(source.1);
        medium.destination = destination.0.zip(destination.1);
        if let Some(codec) = &medium.codec {
            call.codec(codec);
        }
        if call.media.len() < MEDIA_MAX {
            call.media.push(medium);
        }
    }
}

impl Call {
    fn begin(event: &Event, message: &Message<'_>) -> Self {
        Self {
            origin: event.origin.clone(),
            caller: party(message.from),
            callee: party(message.to),
            caller_tag: message.from_tag.unwrap_or_default().to_owned(),
            ends: (message.source.0, message.destination.0),
            ports: (message.source.1, message.destination.1),
            transport: message.transport.map(str::to_owned),
            start: event.time,
            progress: None,
            ring: None,
            answer: None,
            end: None,
            ended_by: None,
            cancelled: false,
            code: None,
            reason: String::new(),
            legs: Vec::new(),
            codecs: Vec::new(),
            media: Vec::new(),
            going_on: Vec::new(),
            media_heard: Timestamp::ZERO,
            last_seen: event.time,
            capture_loss: 0,
            partial: false,
        }
    }

    /// Whether nothing more is to be expected of its media.
    fn is_whole(&self, clock: Timestamp) -> bool {
        let has_media = !self.media.is_empty() && clock.since(self.media_heard) >= MEDIA_TOGETHER_NS;
        self.going_on.is_empty() && (self.answer.is_none() || has_media)
    }

    fn codec(&mut self, codec: &str) {
        if self.codecs.len() < CODECS_MAX && !self.codecs.iter().any(|known| known == codec) {
            self.codecs.push(codec.to_owned());
        }
    }

    fn message(&mut self, event: &Event, message: &Message<'_>) {
        let time = event.time;
        self.last_seen = self.last_seen.max(time);
        self.origin.last_packet = self.origin.last_packet.max(event.origin.last_packet);
        self.capture_loss = self.capture_loss.max(event.capture_loss);
        self.partial |= event.partial;
        if let (Some(from), Some(to)) = (message.source.0, message.destination.0) {
            let leg = (from.min(to), from.max(to));
            if self.legs.len() < LEGS_MAX && !self.legs.contains(&leg) {
                self.legs.push(leg);
            }
        }
        match (message.method, message.code) {
            (Some("INVITE"), _) if self.answer.is_none() && !self.cancelled => {
                // Again with credentials, or to where a redirection led: the call goes on.
                self.end = None;
                self.ended_by = None;
            }
            (Some("CANCEL"), _) if self.answer.is_none() => {
                self.cancelled = true;
                self.end = self.end.or(Some(time));
                self.ended_by = Some("caller");
            }
            (Some("BYE"), _) if self.answer.is_some() && self.end.is_none() => {
                let by_caller = message.from_tag.unwrap_or_default() == self.caller_tag;
                self.end = Some(time);
                self.ended_by = Some(if by_caller { "caller" } else { "callee" });
            }
            (None, Some(code)) if message.cseq_method == Some("INVITE") => self.answered(code, event, message),
            _ => {}
        }
    }

    fn answered(&mut self, code: u64, event: &Event, message: &Message<'_>) {
        let time = event.time;
        if code > 100 && !matches!(code, 401 | 407) {
            self.progress = self.progress.or(Some(time));
        }
        match code {
            180..=183 => self.ring = self.ring.or(Some(time)),
            200..=299 if self.answer.is_none() => {
                self.answer = Some(time);
                self.end = None;
                self.set_code(code, message);
                for codec in message.media.map(|media| chosen_codecs(event, media)).unwrap_or_default() {
                    self.codec(codec);
                }
            }
            300.. if self.answer.is_none() => {
                self.set_code(code, message);
                self.end = self.end.or(Some(time));
                if !self.cancelled && !matches!(code, 401 | 407) {
                    self.ended_by = Some(if (500..600).contains(&code) { "network" } else { "callee" });
                }
            }
            _ => {}
        }
    }

    fn set_code(&mut self, code: u64, message: &Message<'_>) {
        self.code = Some(code);
        message.reason.unwrap_or_default().clone_into(&mut self.reason);
    }

    fn into_event(self, id: &str) -> Event {
        let mut event = Event::new("call", self.start, self.origin);
        event.partial = self.partial;
        event.capture_loss = self.capture_loss;
        let state = match (self.answer, self.cancelled, self.code) {
            (Some(_), ..) => "answered",
            (None, true, _) => "cancelled",
            (None, false, Some(408 | 480 | 487)) => "unanswered",
            (None, false, Some(300..)) => "rejected",
            (None, false, _) => "open",
        };
        event.put(&common::STATUS, if state == "rejected" { "Error" } else { "OK" });
        event.put(&common::EVENT_KIND, "event");
        event.put(&common::EVENT_CATEGORY, Value::Words(&["network"]));
        event.put(&common::EVENT_TYPE, Value::Words(&["info", "connection"]));
        event.put(&common::EVENT_DATASET, "call");
        event.put(&common::EVENT_START, self.start);
        let end = self.end.unwrap_or(self.last_seen).max(self.start);
        event.put(&common::EVENT_END, end);
        event.put(&common::EVENT_DURATION, end.since(self.start));
        if self.answer.is_some() || self.end.is_some() {
            event.put(&common::EVENT_OUTCOME, if self.answer.is_some() { "success" } else { "failure" });
        }
        event.put(&common::NETWORK_PROTOCOL, "sip");
        if let Some(transport) = &self.transport {
            event.put_text(&common::NETWORK_TRANSPORT, transport);
        }
        let ends = [
            (
                [&common::SOURCE_IP, &common::CLIENT_IP],
                self.ends.0,
                [&common::SOURCE_PORT, &common::CLIENT_PORT],
                self.ports.0,
            ),
            (
                [&common::DESTINATION_IP, &common::SERVER_IP],
                self.ends.1,
                [&common::DESTINATION_PORT, &common::SERVER_PORT],
                self.ports.1,
            ),
        ];
        for (addresses, address, ports, port) in ends {
            for (field, address) in addresses.into_iter().zip(std::iter::repeat(address)) {
                if let Some(address) = address {
                    event.put(field, address);
                }
            }
            for (field, port) in ports.into_iter().zip(std::iter::repeat(port)) {
                if let Some(port) = port {
                    event.put(field, port);
                }
            }
        }
        event.put_text(&fields::ID, id);
        event.put(&fields::STATE, state);
        for (field, text) in
            [(&fields::CALLER, &self.caller), (&fields::CALLEE, &self.callee), (&fields::REASON, &self.reason)]
        {
            if !text.is_empty() {
                event.put_text(field, text);
            }
        }
        event.put(&fields::START, self.start);
        for (field, time) in [(&fields::RING, self.ring), (&fields::ANSWER, self.answer), (&fields::END, self.end)] {
            if let Some(time) = time {
                event.put(field, time);
            }
        }
        if let Some(by) = self.ended_by {
            event.put(&fields::ENDED_BY, by);
        }
        if let Some(code) = self.code {
            event.put(&fields::CODE, code);
        }
        if let Some(progress) = self.progress {
            event.put(&fields::POST_DIAL_DELAY_MS, milliseconds(self.start, progress));
        }
        if let Some(answer) = self.answer {
            event.put(&fields::SETUP_TIME_MS, milliseconds(self.start, answer));
            event.put(&fields::TALK_TIME_MS, milliseconds(answer, end.max(answer)));
        }
        event.put(&fields::LEGS, self.legs.len());
        if !self.codecs.is_empty() {
            let codecs: Vec<Value> = self.codecs.iter().map(|codec| event.text(codec)).collect();
            event.put_list(&fields::CODECS, codecs);
        }
        put_quality(&mut event, &self.media);
        event
    }
}

fn put_quality(event: &mut Event, media: &[Medium]) {
    if media.is_empty() {
        return;
    }
    if let Some(mos) = media.iter().filter_map(|medium| medium.mos).min_by(f64::total_cmp) {
        event.put(&fields::MOS, mos);
    }
    if let Some(loss) = media.iter().map(|medium| medium.loss_percent).max_by(f64::total_cmp) {
        event.put(&fields::LOSS_PERCENT, loss);
    }
    if let Some(jitter) = media.iter().filter_map(|medium| medium.jitter_ms).max_by(f64::total_cmp) {
        event.put(&fields::JITTER_MS, jitter);
    }
    let list: Vec<Value> = media.iter().map(|medium| describe(event, medium)).collect();
    event.put_list(&fields::MEDIA, list);
}

fn describe(event: &mut Event, medium: &Medium) -> Value {
    let mut members: Vec<(&str, Value)> = vec![("ssrc", event.text(&medium.ssrc))];
    for (name, end) in [("source", medium.source), ("destination", medium.destination)] {
        if let Some((address, port)) = end {
            members.push((name, event.object([("ip", address.into()), ("port", port.into())])));
        }
    }
    if let Some(codec) = &medium.codec {
        members.push(("codec", event.text(codec)));
    }
    members.push(("packets", medium.packets.into()));
    members.push(("lost", medium.lost.into()));
    members.push(("loss_percent", medium.loss_percent.into()));
    for (name, value) in [("jitter_ms", medium.jitter_ms), ("mos", medium.mos)] {
        if let Some(value) = value {
            members.push((name, value.into()));
        }
    }
    event.object(members)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use event::Observer;

    use super::*;

    event::fields! {
        /// As the decoders have them.
        pub static TABLE;
        CALL_ID: Keyword = "sip.call_id", "";
        METHOD: Keyword = "sip.method", "";
        CODE: Long = "sip.code", "";
        CSEQ_METHOD: Keyword = "sip.cseq.method", "";
        FROM_USER: Keyword = "sip.from.uri.username", "";
        FROM_TAG: Keyword = "sip.from.tag", "";
        TO_TAG: Keyword = "sip.to.tag", "";
        RTP_CALL: Keyword = "rtp.call_id", "";
        RTP_FINAL: Boolean = "rtp.final", "";
        RTP_MOS: Double = "rtp.mos", "";
        RTP_CODEC: Keyword = "rtp.codec", "";
    }

    fn event(event_type: &'static str, ms: u64) -> Event {
        let observer = Arc::new(Observer { name: "f".into(), epoch: "e".into(), is_file: true });
        let origin = Origin { observer, interface: "".into(), first_packet: ms, last_packet: ms };
        Event::new(event_type, Timestamp::from_nanos(1_000_000_000_000 + ms * 1_000_000), origin)
    }

    fn request(ms: u64, method: &'static str, from_tag: &'static str, to_tag: Option<&'static str>) -> Event {
        let mut event = event("sip", ms);
        event.put(&CALL_ID, "1@a");
        event.put(&METHOD, method);
        event.put(&CSEQ_METHOD, method);
        event.put(&FROM_USER, "alice");
        event.put(&FROM_TAG, from_tag);
        if let Some(tag) = to_tag {
            event.put(&TO_TAG, tag);
        }
        event
    }

    fn response(ms: u64, code: u32, method: &'static str) -> Event {
        let mut event = event("sip", ms);
        event.put(&CALL_ID, "1@a");
        event.put(&CODE, code);
        event.put(&CSEQ_METHOD, method);
        event.put(&FROM_TAG, "a");
        event.put(&TO_TAG, "b");
        event
    }

    fn calls(events: &[Event]) -> Vec<Event> {
        let (mut calls, mut out) = (Calls::new(Limits::default()), Vec::new());
        for event in events {
            calls.observe(event, &mut out);
        }
        calls.finish(&mut out);
        out
    }

    fn number(event: &Event, field: &'static event::Field) -> f64 {
        event.get(field).and_then(float).unwrap()
    }

    #[test]
    fn an_answered_call_has_its_times_and_its_media() {
        let mut media = event("rtp", 2000);
        media.put(&RTP_CALL, "1@a");
        media.put(&RTP_FINAL, true);
        media.put(&RTP_MOS, 4.1);
        media.put(&RTP_CODEC, "PCMA");
        let found = calls(&[
            request(0, "INVITE", "a", None),
            response(10, 100, "INVITE"),
            response(300, 180, "INVITE"),
            response(2000, 200, "INVITE"),
            request(2010, "ACK", "a", Some("b")),
            media,
            request(62_000, "BYE", "b", Some("a")),
            response(62_010, 200, "BYE"),
        ]);
        let [call] = &found[..] else { panic!("one call") };
        assert_eq!((call.get_str(&fields::STATE), call.get_str(&fields::ENDED_BY)), (Some("answered"), Some("callee")));
        assert_eq!(number(call, &fields::POST_DIAL_DELAY_MS), 300.0);
        assert_eq!(number(call, &fields::SETUP_TIME_MS), 2000.0);
        assert_eq!(number(call, &fields::TALK_TIME_MS), 60_000.0);
        assert_eq!(number(call, &fields::CODE), 200.0);
        assert_eq!(number(call, &fields::MOS), 4.1);
        assert_eq!((call.origin.first_packet, call.origin.last_packet), (0, 62_010));
    }

    #[test]
    fn credentials_asked_for_do_not_end_a_call_and_a_refusal_does() {
        let found = calls(&[
            request(0, "INVITE", "a", None),
            response(10, 407, "INVITE"),
            request(20, "INVITE", "a", None),
            response(900, 486, "INVITE"),
        ]);
        assert_eq!(found[0].get_str(&fields::STATE), Some("rejected"));
        assert_eq!(number(&found[0], &fields::CODE), 486.0);
        assert_eq!(number(&found[0], &fields::POST_DIAL_DELAY_MS), 900.0);
    }

    #[test]
    fn a_call_given_up_by_the_caller_was_cancelled() {
        let found = calls(&[
            request(0, "INVITE", "a", None),
            response(100, 180, "INVITE"),
            request(5000, "CANCEL", "a", None),
            response(5010, 200, "CANCEL"),
            response(5020, 487, "INVITE"),
        ]);
        assert_eq!(
            (found[0].get_str(&fields::STATE), found[0].get_str(&fields::ENDED_BY)),
            (Some("cancelled"), Some("caller"))
        );
        assert!(found[0].get(&fields::ANSWER).is_none());
    }

    #[test]
    fn calls_are_bounded_and_registrations_are_none() {
        let mut calls = Calls::new(Limits { calls_max: 2, ..Limits::default() });
        let mut out = Vec::new();
        calls.observe(&request(0, "REGISTER", "a", None), &mut out);
        assert!(calls.is_empty());
        for (n, id) in ["1@a", "2@a", "3@a"].into_iter().enumerate() {
            let mut invite = request(n as u64, "INVITE", "a", None);
            invite.put(&CALL_ID, id);
            calls.observe(&invite, &mut out);
        }
        assert_eq!((calls.len(), calls.evicted, out.len()), (2, 1, 1));
        assert!(out[0].partial);
    }

    #[test]
    fn a_call_is_given_out_once_nothing_more_is_to_be_expected() {
        let at = |seconds: u64| Timestamp::from_nanos(1_000_000_000_000 + seconds * 1_000_000_000);
        let (mut calls, mut out) = (Calls::new(Limits::default()), Vec::new());
        for event in [request(0, "INVITE", "a", None), response(1, 404, "INVITE")] {
            calls.observe(&event, &mut out);
        }
        calls.advance(at(9), &mut out);
        assert!(out.is_empty(), "messages may be sent again");
        calls.advance(at(11), &mut out);
        assert_eq!(out.len(), 1);
    }

    #[test]
    fn an_answered_call_waits_for_all_its_media_but_not_for_ever() {
        let at = |seconds: u64| Timestamp::from_nanos(1_000_000_000_000 + seconds * 1_000_000_000);
        let media = |ms, whole: bool| {
            let mut media = event("rtp", ms);
            media.put(&RTP_CALL, "1@a");
            media.put(&RTP_FINAL, whole);
            media
        };
        let talk = [request(0, "INVITE", "a", None), response(1, 200, "INVITE"), request(2000, "BYE", "b", Some("a"))];
        let run = |reports: &[Event]| {
            let (mut calls, mut out) = (Calls::new(Limits::default()), Vec::new());
            for event in talk.iter().chain(reports) {
                calls.observe(event, &mut out);
            }
            (0..200).find(|second| {
                calls.advance(at(*second), &mut out);
                !out.is_empty()
            })
        };
        assert_eq!(run(&[media(2000, true)]), Some(12), "all is there");
        assert_eq!(run(&[]), Some(92), "no stream was seen");
        assert_eq!(run(&[media(1000, false)]), Some(92), "a stream goes on");
        assert_eq!(run(&[media(1000, false), media(2000, true)]), Some(12));
    }
}
