//! DNS (RFC 1035) over UDP and TCP: questions paired with their answers by identifier.

mod data;
pub mod fields;
mod message;
mod names;

use crate::config::{Profile, options};
use crate::context::{Context, Exchange, FlowInfo, Seen};
use crate::decoder::{Announced, Close, Factory, FlowDecoder, Protocol, Recognition, Sample, Side, Verdict};
use crate::options::{Flag, Span};
use data::{Data, Records};
use event::{Event, Members, Value, common};
use message::{Message, Record};
use packet::Timestamp;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// DNS in the registry.
pub static PROTOCOL: Protocol = Protocol {
    name: "dns",
    fields: fields::TABLE,
    datagrams: true,
    streams: true,
    ip_protocols: &[],
    ports: &[53],
    in_packetbeat: true,
    recognise: Some(recognise),
    configure,
};

/// `[analyzer.protocols.dns]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether the records of the authority section are listed.
    pub include_authorities: Flag,
    /// Whether the records of the additional section are listed.
    pub include_additionals: Flag,
    /// Whether the question stands in `request` as text.
    pub send_request: Flag,
    /// Whether the answer stands in `response` as text.
    pub send_response: Flag,
    /// How long a question waits for its answer.
    pub transaction_timeout: Span,
}

impl Settings {
    const NEW: Self = Self {
        include_authorities: Flag(false),
        include_additionals: Flag(false),
        send_request: Flag(false),
        send_response: Flag(false),
        transaction_timeout: Span::seconds(10),
    };
}

impl Default for Settings {
    fn default() -> Self {
        Self::NEW
    }
}

fn configure(table: toml::Table, _: Profile) -> Result<Arc<dyn Factory>, String> {
    Ok(Arc::new(Dns { settings: options(table)? }))
}

thread_local! {
    /// Working memory: a thread decodes one message at a time.
    static RECORDS: RefCell<Records> = RefCell::new(Records::new());
}

struct Dns {
    settings: Settings,
}

impl Factory for Dns {
    fn decoder(&self, _: &FlowInfo, _: Option<&Announced>) -> Box<dyn FlowDecoder> {
        /// As a constant it is copied from where nobody has written to a moment ago: see docs/decisions/0013.
        const NEW: Decoder = Decoder { settings: Settings::NEW, open: VecDeque::new(), stream: None };
        let mut decoder = Box::new(NEW);
        decoder.settings = self.settings;
        decoder
    }
}

/// Whether bytes look like a DNS message: a header that makes sense and a question that can be read.
fn recognise(sample: &Sample<'_>) -> Recognition {
    let mut bytes = sample.bytes;
    if sample.stream {
        let Some((length, rest)) = bytes.split_first_chunk::<2>() else { return Recognition::Maybe };
        let length = usize::from(u16::from_be_bytes(*length));
        if !(17..=4096).contains(&length) {
            return Recognition::No;
        }
        let Some(message) = rest.get(..length) else {
            return if rest.len() < 12 || plausible(rest) { Recognition::Maybe } else { Recognition::No };
        };
        bytes = message;
    }
    if !plausible(bytes) {
        return Recognition::No;
    }
    match Message::parse(bytes) {
        Some(message) if message.anomaly.is_none() && !message.questions.is_empty() => {
            let known = message.questions.iter().all(|question| {
                matches!(question.class & 0x7fff, 1 | 3 | 254 | 255) && !names::kind(question.kind).starts_with("TYPE")
            });
            if known { Recognition::Yes } else { Recognition::No }
        }
        _ => Recognition::No,
    }
}

fn plausible(bytes: &[u8]) -> bool {
    let Some(head) = bytes.first_chunk::<12>() else { return false };
    let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
    let (flags, questions) = (word(2), word(4));
    let response = flags & 0x8000 != 0;
    flags & 0x40 == 0
        && matches!(flags >> 11 & 15, 0 | 4 | 5)
        && questions == 1
        && (response || (flags & 15 == 0 && word(6) == 0))
        && word(6) < 512
        && word(8) < 512
        && word(10) < 512
}

/// Most questions of one flow that wait at once.
const MOST_OPEN: usize = 1024;
/// Longest message of a stream that is put together.
const MOST_BYTES: usize = 65_535;

struct Open {
    client: Side,
    began: Seen,
    bytes: u64,
    message: Message,
    text: Option<String>,
}

struct Decoder {
    /// A copy: cheaper than to count who shares them, once for every flow.
    settings: Settings,
    open: VecDeque<Open>,
    /// Where it is a stream: most flows are one question in one datagram, and many wait for their end.
    stream: Option<Box<[Stream; 2]>>,
}

/// One side of a stream.
#[derive(Default)]
struct Stream {
    /// Bytes that make no whole message yet.
    bytes: Vec<u8>,
    /// When they began to come.
    began: Option<Seen>,
    /// Bytes of a message with a hole in it that are still to come.
    skip: usize,
}

impl FlowDecoder for Decoder {
    fn datagram(&mut self, context: &mut Context<'_>, side: Side, payload: &[u8], wire_length: usize) -> Verdict {
        match Message::parse(payload) {
            Some(mut message) => {
                if wire_length > payload.len() && message.anomaly.is_some() {
                    message.anomaly = Some(("dns.cut_by_capture", payload.len()));
                }
                let began = context.begin();
                self.message(context, side, began, payload, message, wire_length as u64);
                Verdict::Continue
            }
            None => {
                let ports = [context.flow.first.port, context.flow.second.port];
                let is_known = ports.iter().any(|port| PROTOCOL.ports.contains(port));
                if is_known { Verdict::Continue } else { Verdict::GiveBack }
            }
        }
    }

    fn data(&mut self, context: &mut Context<'_>, side: Side, bytes: &[u8]) -> Verdict {
        let mut stream = std::mem::take(self.stream(side));
        let skipped = stream.skip.min(bytes.len());
        stream.skip -= skipped;
        stream.bytes.extend_from_slice(&bytes[skipped..]);
        let mut at = 0;
        while let Some((head, rest)) = stream.bytes.get(at..).and_then(|rest| rest.split_first_chunk::<2>()) {
            let length = usize::from(u16::from_be_bytes(*head));
            let Some(whole) = rest.get(..length) else { break };
            match Message::parse(whole) {
                Some(message) => {
                    let began = stream.began.take().unwrap_or_else(|| context.begin());
                    self.message(context, side, began, whole, message, length as u64 + 2);
                }
                None if length == 0 => {}
                None => return Verdict::GiveBack,
            }
            at += 2 + length;
        }
        stream.bytes.drain(..at);
        if stream.bytes.len() > MOST_BYTES + 2 {
            return Verdict::GiveBack;
        }
        let began = stream.began.take();
        stream.began = (!stream.bytes.is_empty()).then(|| began.unwrap_or_else(|| context.begin()));
        *self.stream(side) = stream;
        Verdict::Continue
    }

    fn gap(&mut self, _: &mut Context<'_>, side: Side, length: u64) -> Verdict {
        // Within a message of known length the next one can be found again; else the stream cannot be followed.
        let stream = self.stream(side);
        let Some(head) = stream.bytes.first_chunk::<2>() else { return Verdict::GiveBack };
        let missing = 2 + usize::from(u16::from_be_bytes(*head)) - stream.bytes.len().min(MOST_BYTES);
        stream.bytes.clear();
        stream.began = None;
        match usize::try_from(length) {
            Ok(length) if length <= missing => {
                stream.skip = missing - length;
                Verdict::Continue
            }
            _ => Verdict::GiveBack,
        }
    }

    fn closed(&mut self, context: &mut Context<'_>, how: Close) {
        if let Close::Reset(_) = how {
            self.give_up(context, "The connection was broken off before an answer came");
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let timeout = self.settings.transaction_timeout.nanos()?;
        self.open.front().map(|open| open.began.time.plus_nanos(timeout))
    }

    fn expire(&mut self, context: &mut Context<'_>, now: Timestamp) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            if let Some(open) = self.open.pop_front() {
                unanswered(context, self.settings, &open, "No answer was seen");
            }
        }
    }

    fn finish(&mut self, context: &mut Context<'_>) {
        self.give_up(context, "No answer was seen");
    }

    fn oldest_needed(&self) -> Option<u64> {
        let open = self.open.front().map(|open| open.began);
        let streams = self.stream.iter().flat_map(|sides| sides.iter()).filter_map(|stream| stream.began);
        streams.chain(open).map(|began| began.packet).min()
    }
}

impl Decoder {
    fn stream(&mut self, side: Side) -> &mut Stream {
        &mut self.stream.get_or_insert_default()[side.index()]
    }

    fn give_up(&mut self, context: &mut Context<'_>, note: &'static str) {
        for open in std::mem::take(&mut self.open) {
            unanswered(context, self.settings, &open, note);
        }
    }

    fn message(
        &mut self,
        context: &mut Context<'_>,
        side: Side,
        began: Seen,
        bytes: &[u8],
        message: Message,
        length: u64,
    ) {
        if message.is_response() {
            let is_it = |open: &Open| {
                open.client != side
                    && open.message.id == message.id
                    && (message.questions.is_empty() || open.message.questions == message.questions)
            };
            let open = self.open.iter().position(is_it).and_then(|at| self.open.remove(at));
            if self.open.is_empty() {
                // Most flows ask once: what waits for their end shall be small.
                self.open = VecDeque::new();
            }
            let exchange = Exchange {
                client: side.other(),
                began: open.as_ref().map_or(began, |open| open.began),
                ended: Some(context.now()),
                request_bytes: open.as_ref().map_or(0, |open| open.bytes),
                response_bytes: Some(length),
            };
            let note = open.is_none().then_some("The question of this answer was not seen");
            let mut event = context.exchange("dns", &exchange);
            put(&mut event, self.settings, open.as_ref(), Some((&message, bytes)), context);
            finish(
                &mut event,
                message.code() != 0,
                note,
                open.as_ref().and_then(|o| o.message.anomaly),
                message.anomaly,
            );
            context.emit(event);
            return;
        }
        let text = self.settings.send_request.0.then(|| describe(&message, bytes));
        let repeated = |open: &Open| open.client == side && open.message.id == message.id;
        if let Some(open) = self.open.iter().position(repeated).and_then(|at| self.open.remove(at)) {
            unanswered(
                context,
                self.settings,
                &open,
                "Another question with the same identifier came before an answer",
            );
        }
        if self.open.len() >= MOST_OPEN
            && let Some(open) = self.open.pop_front()
        {
            unanswered(context, self.settings, &open, "Too many questions wait for an answer");
        }
        if self.open.is_empty() {
            // Most flows ask once.
            self.open.reserve_exact(1);
        }
        self.open.push_back(Open { client: side, began, bytes: length, message, text });
    }
}

fn unanswered(context: &mut Context<'_>, settings: Settings, open: &Open, note: &'static str) {
    let exchange = Exchange {
        client: open.client,
        began: open.began,
        ended: None,
        request_bytes: open.bytes,
        response_bytes: None,
    };
    let mut event = context.exchange("dns", &exchange);
    put(&mut event, settings, Some(open), None, context);
    finish(&mut event, true, Some(note), open.message.anomaly, None);
    context.emit(event);
}

fn finish(
    event: &mut Event,
    failed: bool,
    note: Option<&'static str>,
    request: Option<(&'static str, usize)>,
    response: Option<(&'static str, usize)>,
) {
    for (name, offset) in [request, response].into_iter().flatten() {
        event.anomaly(name, offset as u64);
    }
    event.put(&common::STATUS, if failed || note.is_some() { "Error" } else { "OK" });
    if let Some(note) = note {
        event.put(&common::ERROR_MESSAGE, note);
    }
}

/// Sets everything that question and answer say.
fn put(
    event: &mut Event,
    settings: Settings,
    request: Option<&Open>,
    response: Option<(&Message, &[u8])>,
    context: &Context<'_>,
) {
    event.put(&common::EVENT_TYPE, Value::Words(&["connection", "protocol"]));
    event.put(&common::NETWORK_PROTOCOL, "dns");
    let question_in = request.map(|open| &open.message).or(response.map(|(message, _)| message));
    let Some(asked) = question_in else { return };
    event.put(&common::METHOD, names::opcode(asked.opcode()));
    event.put(&fields::KIND, if response.is_some() { "answer" } else { "query" });
    if let Some(text) = request.and_then(|open| open.text.as_deref()) {
        event.put_text(&common::REQUEST, text);
    }
    let shown = response.map_or(asked, |(message, _)| message);
    put_header(event, shown);
    if let Some(question) = asked.questions.first().or(shown.questions.first()) {
        put_question(event, question);
    }
    let Some((message, bytes)) = response else { return };
    let code = names::value(event, names::code(message.code()));
    event.put(&fields::RESPONSE_CODE, code);
    if settings.send_response.0 {
        event.put_text(&common::RESPONSE, &describe(message, bytes));
    }
    put_records(event, settings, message, bytes, context);
}

fn put_header(event: &mut Event, message: &Message) {
    let flag = |bit: u16| message.flags & bit != 0;
    let dnssec_ok = message.opt.is_some_and(|opt| opt.dnssec_ok);
    event.put(&fields::ID, message.id);
    event.put(&fields::OP_CODE, names::opcode(message.opcode()));
    event.put(&fields::FLAG_AUTHORITATIVE, flag(0x400));
    event.put(&fields::FLAG_TRUNCATED, flag(0x200));
    event.put(&fields::FLAG_RECURSION_DESIRED, flag(0x100));
    event.put(&fields::FLAG_RECURSION_AVAILABLE, flag(0x80));
    event.put(&fields::FLAG_AUTHENTIC_DATA, flag(0x20));
    event.put(&fields::FLAG_CHECKING_DISABLED, flag(0x10));
    let names = [
        (flag(0x400), "AA"),
        (flag(0x200), "TC"),
        (flag(0x100), "RD"),
        (flag(0x80), "RA"),
        (flag(0x20), "AD"),
        (flag(0x10), "CD"),
        (dnssec_ok, "DO"),
    ];
    if names.iter().any(|(set, _)| *set) {
        event.put_list(&fields::HEADER_FLAGS, names.iter().filter(|(set, _)| *set).map(|(_, name)| *name));
    }
    if let Some(opt) = message.opt {
        let (version, code) = (event.digits(opt.version), names::value(event, names::code(message.code())));
        event.put(&fields::OPT_VERSION, version);
        event.put(&fields::OPT_DO, opt.dnssec_ok);
        event.put(&fields::OPT_EXT_RCODE, code);
        event.put(&fields::OPT_UDP_SIZE, opt.udp_size);
    }
}

fn put_question(event: &mut Event, question: &message::Question) {
    let (kind, class) = (names::kind(question.kind), names::class(question.class));
    let name = if question.name.is_empty() { "." } else { question.name.as_str() };
    let query = event.joined(&["class ", &class, ", type ", &kind, ", ", name]);
    // A text within a text need not be kept twice.
    let (whole, name) = (query.end(name.len()), &question.name);
    event.put(&common::QUERY, query);
    event.put(&common::RESOURCE, whole);
    event.put(&fields::QUESTION_NAME, whole);
    let (kind, class) = (names::value(event, kind), names::value(event, class));
    event.put(&fields::QUESTION_TYPE, kind);
    event.put(&fields::QUESTION_CLASS, class);
    if let Some(domain) = psl::domain(name.as_bytes()) {
        let (domain, suffix) = (domain.as_bytes().len(), domain.suffix().as_bytes().len());
        event.put(&fields::QUESTION_ETLD_PLUS_ONE, whole.end(domain));
        event.put(&fields::QUESTION_REGISTERED_DOMAIN, whole.end(domain));
        if let Some(subdomain) = name.len().checked_sub(domain + 1) {
            let mut value = whole;
            value.cut(subdomain);
            event.put(&fields::QUESTION_SUBDOMAIN, value);
        }
        event.put(&fields::QUESTION_TOP_LEVEL_DOMAIN, whole.end(suffix));
    }
}

fn put_records(event: &mut Event, settings: Settings, message: &Message, bytes: &[u8], context: &Context<'_>) {
    let [answers, authorities, additionals] = message.sections();
    event.put(&fields::ANSWERS_COUNT, answers.len());
    event.put(&fields::AUTHORITIES_COUNT, authorities.len());
    event.put(&fields::ADDITIONALS_COUNT, additionals.len());
    let wanted = |flag: &Flag, records: &[Record]| flag.0 && !records.is_empty();
    let more = wanted(&settings.include_authorities, authorities) || wanted(&settings.include_additionals, additionals);
    if answers.is_empty() && !more {
        return;
    }
    let mut resolved: SmallVec<[IpAddr; 4]> = SmallVec::new();
    let mut objects: SmallVec<[Members; 8]> = SmallVec::new();
    RECORDS.with_borrow_mut(|making| {
        making.begin();
        for record in answers {
            if let Some(address) = data::address_of(bytes, record)
                && !resolved.contains(&address)
            {
                resolved.push(address);
            }
            objects.push(making.object(event, bytes, record));
        }
        if !objects.is_empty() {
            event.put_list(&fields::ANSWERS, objects.drain(..).map(Value::Object));
        }
        for (flag, records, field) in [
            (&settings.include_authorities, authorities, &fields::AUTHORITIES),
            (&settings.include_additionals, additionals, &fields::ADDITIONALS),
        ] {
            if wanted(flag, records) {
                objects.extend(records.iter().map(|record| making.object(event, bytes, record)));
                event.put_list(field, objects.drain(..).map(Value::Object));
            }
        }
    });
    if !resolved.is_empty() {
        event.put_list(&fields::RESOLVED_IP, resolved.iter().copied());
        let mut ends = [context.flow.first.address, context.flow.second.address];
        if let Some(Value::Ip(source)) = event.get(&common::SOURCE_IP)
            && *source != ends[0]
        {
            ends.swap(0, 1);
        }
        let ends = ends.get(..if ends[0] == ends[1] { 1 } else { 2 }).unwrap_or_default();
        let others = resolved.iter().filter(|address| !ends.contains(address));
        event.put_list(&common::RELATED_IP, ends.iter().chain(others).copied());
    }
}

/// A message as one line of text, as Packetbeat prints it.
fn describe(message: &Message, bytes: &[u8]) -> String {
    let mut text = format!(
        "ID {}; QR {}; OPCODE {}; FLAGS {}; RCODE {}",
        message.id,
        if message.is_response() { "response" } else { "query" },
        names::opcode(message.opcode()),
        flags(message.flags),
        names::code(message.code()),
    );
    if let Some(question) = message.questions.first() {
        let name = if question.name.is_empty() { "." } else { question.name.as_str() };
        let _ = write!(
            text,
            "; QUESTION class {}, type {}, {name}",
            names::class(question.class),
            names::kind(question.kind)
        );
    }
    let mut data = Data::new();
    for (title, records) in ["ANSWER", "AUTHORITY", "ADDITIONAL"].into_iter().zip(message.sections()) {
        if records.is_empty() {
            continue;
        }
        let _ = write!(text, "; {title} ");
        for (at, record) in records.iter().enumerate() {
            if at > 0 {
                text.push_str("; ");
            }
            data.read(bytes, record);
            data.describe(&mut text);
        }
    }
    text
}

fn flags(flags: u16) -> String {
    let names = [(0x400, "aa"), (0x200, "tc"), (0x100, "rd"), (0x80, "ra"), (0x20, "ad"), (0x10, "cd")];
    names.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}
