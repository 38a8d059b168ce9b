//! ICMP (RFC 792) and ICMPv6 (RFC 4443): requests paired with their answers, errors and what else there is.
//! Errors are also noted at the flow that caused them, by the engine.

mod names;

use crate::config::{Profile, options};
use crate::context::{Context, Exchange, FlowInfo, Seen};
use crate::decoder::{Announced, Factory, FlowDecoder, Protocol, Side, Verdict};
use crate::options::Span;
use event::{Value, common};
use packet::Timestamp;
use packet::net::Icmp;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::Arc;

event::fields! {
    /// Fields of ICMP events.
    pub static TABLE;
    VERSION: Long = "icmp.version", "4 for ICMP, 6 for ICMPv6.";
    REQUEST_MESSAGE: Keyword = "icmp.request.message", "The request in words.";
    REQUEST_TYPE: Long = "icmp.request.type", "Type of the request.";
    REQUEST_CODE: Long = "icmp.request.code", "Code of the request.";
    RESPONSE_MESSAGE: Keyword = "icmp.response.message", "The answer in words.";
    RESPONSE_TYPE: Long = "icmp.response.type", "Type of the answer.";
    RESPONSE_CODE: Long = "icmp.response.code", "Code of the answer.";
}

/// ICMP in the registry.
pub static PROTOCOL: Protocol = Protocol {
    name: "icmp",
    fields: TABLE,
    datagrams: false,
    streams: false,
    ip_protocols: &[1, 58],
    ports: &[],
    in_packetbeat: true,
    recognise: None,
    configure,
};

/// `[analyzer.protocols.icmp]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How long a request waits for its answer.
    pub transaction_timeout: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self { transaction_timeout: Span::seconds(10) }
    }
}

fn configure(table: toml::Table, _: Profile) -> Result<Arc<dyn Factory>, String> {
    Ok(Arc::new(Icmps { settings: options(table)? }))
}

struct Icmps {
    settings: Settings,
}

impl Factory for Icmps {
    fn decoder(&self, _: &FlowInfo, _: Option<&Announced>) -> Box<dyn FlowDecoder> {
        let timeout_nanos = self.settings.transaction_timeout.nanos().unwrap_or(10_000_000_000);
        Box::new(Decoder { timeout_nanos, open: VecDeque::new() })
    }
}

/// Most requests of one pair of hosts that wait at once.
const MOST_OPEN: usize = 256;

struct Open {
    side: Side,
    icmp: Icmp,
    began: Seen,
    bytes: u64,
}

struct Decoder {
    timeout_nanos: u64,
    open: VecDeque<Open>,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Waits for an answer of this type.
    Request(u8),
    /// Answers a request of this type.
    Response(u8),
    /// Neither.
    Other,
}

const fn role(icmp: &Icmp) -> Role {
    match (icmp.version, icmp.kind) {
        (4, 8) => Role::Request(0),
        (4, 0) => Role::Response(8),
        (4, 13) => Role::Request(14),
        (4, 14) => Role::Response(13),
        (4, 15) => Role::Request(16),
        (4, 16) => Role::Response(15),
        (4, 17) => Role::Request(18),
        (4, 18) => Role::Response(17),
        (6, 128) => Role::Request(129),
        (6, 129) => Role::Response(128),
        (6, 139) => Role::Request(140),
        (6, 140) => Role::Response(139),
        _ => Role::Other,
    }
}

impl FlowDecoder for Decoder {
    fn datagram(&mut self, context: &mut Context<'_>, side: Side, payload: &[u8], wire_length: usize) -> Verdict {
        let _ = payload;
        let Some(icmp) = context.packet.icmp else { return Verdict::GiveBack };
        let bytes = wire_length as u64;
        let began = context.begin();
        match role(&icmp) {
            Role::Request(_) => {
                let same =
                    |open: &Open| open.side == side && open.icmp.kind == icmp.kind && open.icmp.rest == icmp.rest;
                if let Some(at) = self.open.iter().position(same)
                    && let Some(open) = self.open.remove(at)
                {
                    emit(context, Some(&open), None, Some("The request was repeated before an answer came"));
                }
                if self.open.len() >= MOST_OPEN
                    && let Some(open) = self.open.pop_front()
                {
                    emit(context, Some(&open), None, Some("Too many requests wait for an answer"));
                }
                self.open.push_back(Open { side, icmp, began, bytes });
            }
            Role::Response(request) => {
                let answer = Open { side, icmp, began, bytes };
                // Who talks to itself does so from one side only.
                let to_itself = context.flow.first.address == context.flow.second.address;
                let asked = |open: &Open| {
                    (open.side != side || to_itself) && open.icmp.kind == request && open.icmp.rest == icmp.rest
                };
                match self.open.iter().position(asked).and_then(|at| self.open.remove(at)) {
                    Some(open) => emit(context, Some(&open), Some(&answer), None),
                    None => emit(context, None, Some(&answer), Some("The request of this answer was not seen")),
                }
            }
            Role::Other => {
                let message = Open { side, icmp, began, bytes };
                emit(context, Some(&message), None, None);
            }
        }
        Verdict::Continue
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.open.front().map(|open| open.began.time.plus_nanos(self.timeout_nanos))
    }

    fn expire(&mut self, context: &mut Context<'_>, now: Timestamp) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            if let Some(open) = self.open.pop_front() {
                emit(context, Some(&open), None, Some("No answer was seen"));
            }
        }
    }

    fn finish(&mut self, context: &mut Context<'_>) {
        for open in self.open.drain(..) {
            emit(context, Some(&open), None, Some("No answer was seen"));
        }
    }

    fn oldest_needed(&self) -> Option<u64> {
        self.open.front().map(|open| open.began.packet)
    }
}

fn emit(context: &mut Context<'_>, request: Option<&Open>, response: Option<&Open>, note: Option<&'static str>) {
    let Some(begins) = request.or(response) else { return };
    let client = match (request, response) {
        (Some(request), _) => request.side,
        (None, _) => begins.side.other(),
    };
    let exchange = Exchange {
        client,
        began: begins.began,
        ended: response.map(|response| response.began),
        request_bytes: request.map_or(0, |request| request.bytes),
        response_bytes: response.map(|response| response.bytes),
    };
    let error = begins.icmp.is_error();
    let mut event = context.exchange("icmp", &exchange);
    event.put(&common::EVENT_TYPE, Value::Words(&["connection"]));
    let server = context.flow.endpoint(client.other()).address;
    event.put_display(&common::PATH, server);
    event.put(&VERSION, begins.icmp.version);
    if let Some(request) = request {
        event.put_text(&REQUEST_MESSAGE, &names::message(&request.icmp));
        event.put(&REQUEST_TYPE, request.icmp.kind);
        event.put(&REQUEST_CODE, request.icmp.code);
    }
    if let Some(response) = response {
        event.put_text(&RESPONSE_MESSAGE, &names::message(&response.icmp));
        event.put(&RESPONSE_TYPE, response.icmp.kind);
        event.put(&RESPONSE_CODE, response.icmp.code);
    }
    event.put(&common::STATUS, if note.is_some() || error { "Error" } else { "OK" });
    if let Some(note) = note {
        event.put(&common::ERROR_MESSAGE, note);
    }
    context.emit(event);
}
