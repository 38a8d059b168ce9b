//! SIP over UDP and TCP: one event per message, and its SDP announced to whoever decodes media. Pairs no requests with answers
//! and knows no dialog: calls are put together where flows meet.

mod address;
mod document;
pub mod fields;
mod message;

use std::sync::Arc;

use event::common;
use packet::flow::Endpoint;
use serde::Deserialize;

use crate::config::{self, Profile};
use crate::context::{Context, Exchange, FlowInfo, Seen};
use crate::decoder::{self, Announced as Given, FlowDecoder, Protocol, Recognition, Sample, Side, Verdict};
use crate::options::Flag;
use crate::protocols::sdp::{Announced, Description};

use document::Shown;
use message::{Message, Read};

/// SIP for the registry.
pub(crate) static PROTOCOL: Protocol = Protocol {
    name: "sip",
    fields: fields::TABLE,
    datagrams: true,
    streams: true,
    ip_protocols: &[],
    ports: &[5060],
    in_packetbeat: true,
    recognise: Some(recognise),
    configure,
};

/// Most bytes of a message that are waited for on one side of a stream.
const WAITING_MAX: usize = 256 * 1024;

/// Datagrams up to this length that are no message keep a hole in a firewall open, and speak neither for nor against SIP.
const KEEP_ALIVE_MAX: usize = 12;

/// `[analyzer.protocols.sip]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Options {
    parse_authorization: Flag,
    parse_body: Flag,
    keep_original: Flag,
    redact_authorization: Option<Flag>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            parse_authorization: Flag(true),
            parse_body: Flag(true),
            keep_original: Flag(true),
            redact_authorization: None,
        }
    }
}

fn configure(table: toml::Table, profile: Profile) -> Result<Arc<dyn decoder::Factory>, String> {
    let options: Options = config::options(table)?;
    let packetbeat = profile == Profile::Packetbeat;
    Ok(Arc::new(Factory {
        shown: Shown {
            authorization: options.parse_authorization.0,
            body: options.parse_body.0,
            original: options.keep_original.0,
            redacted: options.redact_authorization.map_or(!packetbeat, |flag| flag.0),
            packetbeat,
        },
    }))
}

fn recognise(sample: &Sample<'_>) -> Recognition {
    let start = sample.bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let Some(bytes) = start.and_then(|start| sample.bytes.get(start..)) else {
        return if sample.stream { Recognition::Maybe } else { Recognition::No };
    };
    match (message::begins(bytes), memchr::memchr(b'\n', bytes).is_some()) {
        (true, true) => Recognition::Yes,
        (true, false) if sample.stream => Recognition::Maybe,
        _ => Recognition::No,
    }
}

struct Factory {
    shown: Shown,
}

impl decoder::Factory for Factory {
    fn decoder(&self, _: &FlowInfo, _: Option<&Given>) -> Box<dyn FlowDecoder> {
        Box::new(Decoder { shown: self.shown, messages: 0, waiting: Default::default() })
    }
}

/// What one side of a stream has sent of a message that is not complete.
#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    began: Option<Seen>,
    /// How long the message is, once its head is there.
    wanted: usize,
    /// Whether the beginning of a message has to be found first.
    lost: bool,
}

struct Decoder {
    shown: Shown,
    messages: u64,
    waiting: [Waiting; 2],
}

impl FlowDecoder for Decoder {
    fn datagram(&mut self, context: &mut Context<'_>, side: Side, payload: &[u8], wire_length: usize) -> Verdict {
        match message::read(payload, true) {
            Read::Message { message, .. } => {
                let began = context.begin();
                self.message(context, side, began, &message);
            }
            // Keep-alives: line ends as RFC 5626 has them, but also a few blanks or zeros.
            Read::Incomplete { .. } => {}
            Read::Foreign if wire_length <= KEEP_ALIVE_MAX => {}
            Read::Foreign if self.messages == 0 => return Verdict::GiveBack,
            Read::Foreign => {}
        }
        Verdict::Continue
    }

    fn data(&mut self, context: &mut Context<'_>, side: Side, bytes: &[u8]) -> Verdict {
        let mut waiting = std::mem::take(&mut self.waiting[side.index()]);
        let verdict = self.stream(context, side, bytes, &mut waiting);
        self.waiting[side.index()] = waiting;
        verdict
    }

    fn gap(&mut self, _: &mut Context<'_>, side: Side, _: u64) -> Verdict {
        self.waiting[side.index()] = Waiting { lost: true, ..Waiting::default() };
        Verdict::Continue
    }

    fn finish(&mut self, context: &mut Context<'_>) {
        for side in [Side::First, Side::Second] {
            let waiting = std::mem::take(&mut self.waiting[side.index()]);
            if let (Some(began), Read::Message { message, .. }) = (waiting.began, message::read(&waiting.bytes, true))
                && self.messages > 0
            {
                self.message(context, side, began, &message);
            }
        }
    }

    fn oldest_needed(&self) -> Option<u64> {
        self.waiting.iter().filter_map(|waiting| waiting.began).map(|began| began.packet).min()
    }
}

impl Decoder {
    fn stream(&mut self, context: &mut Context<'_>, side: Side, new: &[u8], waiting: &mut Waiting) -> Verdict {
        let mut held = std::mem::take(&mut waiting.bytes);
        if !held.is_empty() {
            held.extend_from_slice(new);
            if held.len() < waiting.wanted {
                waiting.bytes = held;
                return Verdict::Continue;
            }
        }
        let mut rest = if held.is_empty() { new } else { &held[..] };
        loop {
            if waiting.lost {
                let Some(start) = next_start(rest) else {
                    // The end of what is there may be the beginning of a first line.
                    let line = memchr::memrchr(b'\n', rest).map_or(0, |at| at + 1);
                    rest = rest.get(line..).filter(|line| line.len() < 4096).unwrap_or(&[]);
                    break;
                };
                rest = rest.get(start..).unwrap_or(&[]);
                waiting.lost = false;
                waiting.began = None;
            }
            match message::read(rest, false) {
                Read::Message { message, skipped } => {
                    let length = skipped + message.raw.len();
                    let began = waiting.began.take().unwrap_or_else(|| context.begin());
                    waiting.wanted = 0;
                    self.message(context, side, began, &message);
                    rest = rest.get(length..).unwrap_or(&[]);
                }
                Read::Incomplete { skipped } => {
                    rest = rest.get(skipped..).unwrap_or(&[]);
                    break;
                }
                Read::Foreign if self.messages == 0 => return Verdict::GiveBack,
                Read::Foreign => {
                    waiting.lost = true;
                    rest = rest.get(1..).unwrap_or(&[]);
                }
            }
        }
        if rest.is_empty() {
            *waiting = Waiting { lost: waiting.lost, ..Waiting::default() };
            return Verdict::Continue;
        }
        if rest.len() > WAITING_MAX {
            *waiting = Waiting { lost: true, ..Waiting::default() };
            return Verdict::Continue;
        }
        if waiting.began.is_none() {
            waiting.began = Some(context.begin());
        }
        waiting.wanted = message::length_wanted(rest).unwrap_or(0);
        if waiting.wanted > WAITING_MAX {
            *waiting = Waiting { lost: true, ..Waiting::default() };
            return Verdict::Continue;
        }
        waiting.bytes = rest.to_vec();
        Verdict::Continue
    }

    fn message(&mut self, context: &mut Context<'_>, side: Side, began: Seen, message: &Message<'_>) {
        self.messages += 1;
        if let Some(text) = message.sdp() {
            announce(context, message, &Description::parse(&text));
        }
        let exchange =
            Exchange { client: side, began, ended: Some(context.now()), request_bytes: 0, response_bytes: None };
        let mut event = context.exchange("sip", &exchange);
        for field in [&common::SOURCE_BYTES, &common::CLIENT_BYTES, &common::NETWORK_BYTES] {
            event.remove(field);
        }
        event.put_display(&fields::NETWORK_IANA_NUMBER, context.flow.protocol);
        let ends = (context.flow.endpoint(side).address, context.flow.endpoint(side.other()).address);
        document::write(&mut event, message, self.shown, ends);
        context.emit(event);
    }
}

/// Where after a gap a message begins: the first line that is one.
fn next_start(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let rest = bytes.get(at..)?;
        let end = memchr::memchr(b'\n', rest)?;
        if end > 12 && message::begins(rest) {
            return Some(at);
        }
        at += end + 1;
    }
}

/// Tells where media and their RTCP will be sent.
fn announce(context: &mut Context<'_>, message: &Message<'_>, description: &Description<'_>) {
    for media in description.media.iter().filter(|media| media.is_rtp() && media.port != 0) {
        let Some(address) = media.address else { continue };
        let announced: Given = Arc::new(Announced {
            call_id: message.first("call-id").unwrap_or_default().into(),
            protocol: "sip",
            mappings: media.mappings.clone(),
            preferred: media.formats.first().copied(),
            secure: media.is_secure(),
        });
        context.expect(Endpoint::new(address, media.port), "rtp", Arc::clone(&announced));
        let rtcp = media.rtcp.and_then(|(_, address)| address).unwrap_or(address);
        if (rtcp, media.rtcp_port()) != (address, media.port) {
            context.expect(Endpoint::new(rtcp, media.rtcp_port()), "rtp", announced);
        }
    }
}
