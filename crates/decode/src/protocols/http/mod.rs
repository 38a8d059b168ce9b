//! HTTP/1.x (RFC 9110, RFC 9112): requests paired with their responses in order, per connection.
//! HTTP/2 is not decoded; what is upgraded to something else, or tunnelled by CONNECT, is left alone.

mod document;
pub mod fields;
mod message;
mod settings;

pub use settings::Settings;

use crate::config::Profile;
use crate::context::{Context, Exchange, FlowInfo, Seen};
use crate::decoder::{Announced, Close, Factory, FlowDecoder, Protocol, Recognition, Sample, Side, Verdict};
use event::{Value, common};
use message::{BodyLength, Message, Reader, Step};
use packet::Timestamp;
use settings::Ready;
use std::collections::VecDeque;
use std::sync::Arc;

/// HTTP in the registry.
pub static PROTOCOL: Protocol = Protocol {
    name: "http",
    fields: fields::TABLE,
    datagrams: false,
    streams: true,
    ip_protocols: &[],
    ports: &[80, 8080, 8000, 5000, 8002],
    in_packetbeat: true,
    recognise: Some(recognise),
    configure,
};

fn configure(table: toml::Table, profile: Profile) -> Result<Arc<dyn Factory>, String> {
    Ok(Arc::new(Http { ready: Arc::new(Ready::new(table, profile)?) }))
}

fn recognise(sample: &Sample<'_>) -> Recognition {
    match message::looks_like_start(sample.bytes) {
        Some(true) => Recognition::Yes,
        Some(false) => Recognition::No,
        None => Recognition::Maybe,
    }
}

struct Http {
    ready: Arc<Ready>,
}

impl Factory for Http {
    fn decoder(&self, _: &FlowInfo, _: Option<&Announced>) -> Box<dyn FlowDecoder> {
        Box::new(Decoder { ready: self.ready.clone(), readers: [Reader::new(), Reader::new()], open: VecDeque::new() })
    }
}

/// Most requests of a connection that wait at once.
const MOST_OPEN: usize = 1024;

struct Open {
    client: Side,
    /// When the request was complete: time-outs count from here.
    complete: Seen,
    request: Box<Message>,
}

struct Decoder {
    ready: Arc<Ready>,
    readers: [Reader; 2],
    open: VecDeque<Open>,
}

impl FlowDecoder for Decoder {
    fn data(&mut self, context: &mut Context<'_>, side: Side, bytes: &[u8]) -> Verdict {
        let mut rest = bytes;
        loop {
            let reader = &mut self.readers[side.index()];
            let step = reader.step(&mut rest, &mut || context.begin());
            match step {
                Step::Head(message) => {
                    let length = self.body_length(side, &message);
                    let reader = &mut self.readers[side.index()];
                    reader.keep_body = self.ready.keep_body(&message);
                    if let Some(message) = reader.body(message, length) {
                        self.complete(context, side, message);
                    }
                }
                Step::Complete(message) => self.complete(context, side, message),
                Step::More => return Verdict::Continue,
                Step::NotHttp => {
                    let found = self.readers.iter().any(|reader| reader.found);
                    return if found { Verdict::Continue } else { Verdict::GiveBack };
                }
            }
        }
    }

    fn gap(&mut self, context: &mut Context<'_>, side: Side, length: u64) -> Verdict {
        if let Some(message) = self.readers[side.index()].gap(length) {
            self.complete(context, side, message);
        }
        Verdict::Continue
    }

    fn closed(&mut self, context: &mut Context<'_>, how: Close) {
        match how {
            Close::Finished(side) => {
                if let Some(message) = self.readers[side.index()].end() {
                    self.complete(context, side, message);
                }
                // A server that has said it sends no more answers nothing that is still open.
                let unanswered = |open: &Open| open.client != side;
                while self.open.front().is_some_and(unanswered) {
                    if let Some(open) = self.open.pop_front() {
                        self.emit(context, Some(&open), None, Some("The connection was closed before a response came"));
                    }
                }
            }
            Close::Reset(_) => self.end(context, "The connection was broken off before a response came"),
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let timeout = self.ready.options.transaction_timeout.nanos()?;
        let open = self.open.front()?;
        // A response that is under way is waited for.
        if self.readers[open.client.other().index()].current().is_some() {
            return None;
        }
        Some(open.complete.time.plus_nanos(timeout))
    }

    fn expire(&mut self, context: &mut Context<'_>, now: Timestamp) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            if let Some(open) = self.open.pop_front() {
                self.emit(context, Some(&open), None, Some("No response was seen"));
            }
        }
    }

    fn finish(&mut self, context: &mut Context<'_>) {
        self.end(context, "No response was seen");
    }

    fn oldest_needed(&self) -> Option<u64> {
        let open = self.open.front().map(|open| open.request.began.packet);
        let current =
            self.readers.iter().filter_map(|reader| reader.current().map(|message| message.began.packet)).min();
        match (open, current) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }
}

impl Decoder {
    fn end(&mut self, context: &mut Context<'_>, note: &'static str) {
        for side in [Side::First, Side::Second] {
            if let Some(message) = self.readers[side.index()].end() {
                self.complete(context, side, message);
            }
        }
        for open in std::mem::take(&mut self.open) {
            self.emit(context, Some(&open), None, Some(note));
        }
    }

    /// How the body of a message ends (RFC 9112 6.3).
    fn body_length(&self, side: Side, message: &Message) -> BodyLength {
        if let Some(status) = message.status() {
            let asked = self.open.iter().find(|open| open.client != side).and_then(|open| open.request.method());
            if matches!(status, 100..=199 | 204 | 304) || asked == Some(b"HEAD") {
                return BodyLength::None;
            }
            if asked == Some(b"CONNECT") && (200..300).contains(&status) {
                return BodyLength::None;
            }
        }
        if message.header_has("transfer-encoding", "chunked") {
            return BodyLength::Chunked;
        }
        match (message.content_length(), message.status()) {
            (Some(length), _) => BodyLength::Known(length),
            (None, Some(_)) => BodyLength::UntilClose,
            (None, None) => BodyLength::None,
        }
    }

    fn complete(&mut self, context: &mut Context<'_>, side: Side, message: Box<Message>) {
        let Some(status) = message.status() else {
            if self.open.len() >= MOST_OPEN
                && let Some(open) = self.open.pop_front()
            {
                self.emit(context, Some(&open), None, Some("Too many requests wait for a response"));
            }
            self.open.push_back(Open { client: side, complete: context.now(), request: message });
            return;
        };
        // Interim: the real one is still to come (RFC 9110 15.2).
        if (100..200).contains(&status) && status != 101 {
            return;
        }
        let at = self.open.iter().position(|open| open.client != side);
        let open = at.and_then(|at| self.open.remove(at));
        let tunnel = open.as_ref().is_some_and(|open| open.request.method() == Some(b"CONNECT"));
        let note = if open.is_none() { Some("The request of this response was not seen") } else { None };
        self.emit(context, open.as_ref(), Some((side, &message)), note);
        if status == 101 || (tunnel && (200..300).contains(&status)) {
            self.readers.iter_mut().for_each(Reader::stop);
        }
    }

    fn emit(
        &self,
        context: &mut Context<'_>,
        open: Option<&Open>,
        response: Option<(Side, &Message)>,
        note: Option<&'static str>,
    ) {
        let request = open.map(|open| open.request.as_ref());
        let (client, began) = match (open, response) {
            (Some(open), _) => (open.client, open.request.began),
            (None, Some((server, response))) => (server.other(), response.began),
            (None, None) => return,
        };
        let response = response.map(|(_, response)| response);
        // Packetbeat's transaction ends when the response begins.
        let ended = response.map(|response| if self.ready.packetbeat { response.began } else { context.now() });
        let exchange = Exchange {
            client,
            began,
            ended,
            request_bytes: request.map_or(0, |request| request.bytes),
            response_bytes: response.map(|response| response.bytes),
        };
        let server = context.flow.endpoint(client.other());
        let mut event = context.exchange("http", &exchange);
        if response.is_some() {
            event.origin.last_packet = event.origin.last_packet.max(context.now().packet);
        }
        event.put(&common::EVENT_TYPE, Value::Words(&["connection", "protocol"]));
        event.put(&common::NETWORK_PROTOCOL, "http");
        if let Some(message) = request.or(response) {
            document::put_version(&mut event, message);
        }
        if let Some(request) = request {
            document::put_request(&mut event, &self.ready, request, server);
        }
        if let Some(response) = response {
            document::put_response(&mut event, &self.ready, response);
        }
        let failed = response.is_none_or(|response| response.status().is_none_or(|status| status >= 400));
        event.put(&common::STATUS, if failed { "Error" } else { "OK" });
        let mut notes: Vec<&'static str> = Vec::new();
        if request.is_some_and(|request| request.has_gap) {
            notes.push("Packet loss while capturing the request");
        }
        if let Some(response) = response {
            if response.has_gap {
                notes.push("Packet loss while capturing the response");
            } else if response.is_cut {
                notes.push("The response was cut off");
            }
        }
        notes.extend(note);
        match notes.as_slice() {
            [] => {}
            [one] => event.put(&common::ERROR_MESSAGE, *one),
            several => event.put_list(&common::ERROR_MESSAGE, several.iter().copied()),
        }
        context.emit(event);
    }
}
