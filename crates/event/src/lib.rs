//! The event: one decoded document on its way to outputs, store and page, and the tables of fields it is made of.
//! Knows neither protocols nor outputs: decoders bring their field tables, outputs read events.
//!
//! A decoder declares its fields once with [`fields!`]; the same table names them in code, drives the order of JSON,
//! the Elasticsearch mapping and the generated reference.
#![forbid(unsafe_code)]

pub mod common;
mod extra;
mod field;
mod id;
mod json;
mod place;
mod spare;
mod value;

pub use extra::{Extra, ExtraValue};
pub use field::{Field, Kind, Schema, SchemaError};
pub use id::EventId;
pub use json::JsonWriter;
pub use place::Place;
pub use value::{Key, Span, Value};

use packet::Timestamp;
use std::fmt;
use std::sync::Arc;

/// Where the packets of an event were captured and which they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// What saw the packets, shared by all events of it.
    pub observer: Arc<Observer>,
    /// Name of the interface that captured the first packet; empty if unknown.
    pub interface: Arc<str>,
    /// Number of the event's first packet within the epoch (or the capture file), from 0.
    pub first_packet: u64,
    /// Number of its last packet.
    pub last_packet: u64,
}

/// A source during one epoch, or a capture file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observer {
    /// Name of the source, or of the capture file.
    pub name: String,
    /// The epoch as text; for capture files a hash of the content. With `name` it goes into the ids of events.
    pub epoch: String,
    /// Whether this is a capture file: then its name takes no part in the ids of events.
    pub is_file: bool,
}

/// Something in the packets that should not be so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anomaly {
    /// Its fixed name, such as `dns.name_loop`.
    pub name: &'static str,
    /// Where: offset in bytes in the message or stream it was found in.
    pub offset: u64,
}

/// One decoded document.
#[derive(Debug, Clone)]
pub struct Event {
    /// The `@timestamp`: packet time of what began it.
    pub time: Timestamp,
    /// Its `type`, the protocol's name as Packetbeat has it.
    pub event_type: &'static str,
    /// Where its packets are.
    pub origin: Origin,
    /// Tells events apart that share type and first packet; counted from 0.
    pub ordinal: u32,
    /// Whether it was cut by the edge of the input or of a replayed range.
    pub partial: bool,
    /// Packets known to be lost by our own capture during its time.
    pub capture_loss: u64,
    /// What was wrong with its packets.
    pub anomalies: Vec<Anomaly>,
    fields: Vec<(&'static Field, Value)>,
    text: String,
    /// Bits of the [`Extra`]s that are left out.
    left_out: u16,
}

/// What becomes of a field, or of a member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prune {
    /// It stays, with all below it.
    Keep,
    /// It goes.
    Drop,
    /// It stays if members of it do.
    Inside,
}

impl Event {
    /// An event without fields yet.
    pub fn new(event_type: &'static str, time: Timestamp, origin: Origin) -> Self {
        let (fields, text) = spare::take();
        Self {
            time,
            event_type,
            origin,
            ordinal: 0,
            partial: false,
            capture_loss: 0,
            anomalies: Vec::new(),
            fields,
            text,
            left_out: 0,
        }
    }

    /// Sets a field. Of a field set twice the last value counts.
    #[inline]
    pub fn put(&mut self, field: &'static Field, value: impl Into<Value>) {
        self.fields.push((field, value.into()));
    }

    /// Sets a field to a text.
    #[inline]
    pub fn put_text(&mut self, field: &'static Field, text: &str) {
        let value = self.text(text);
        self.fields.push((field, value));
    }

    /// Sets a field to bytes from a peer, taken as UTF-8; what is none becomes U+FFFD.
    pub fn put_bytes(&mut self, field: &'static Field, bytes: &[u8]) {
        let value = self.bytes(bytes);
        self.fields.push((field, value));
    }

    /// Sets a field to a formatted text.
    pub fn put_display(&mut self, field: &'static Field, text: impl fmt::Display) {
        let value = self.display(text);
        self.fields.push((field, value));
    }

    /// Keeps a text in the event and hands out the value that stands for it, for use in lists and objects.
    #[inline]
    pub fn text(&mut self, text: &str) -> Value {
        let start = self.text.len();
        self.text.push_str(text);
        self.since(start)
    }

    /// Like [`Event::text`] for bytes from a peer.
    pub fn bytes(&mut self, bytes: &[u8]) -> Value {
        let start = self.text.len();
        for chunk in bytes.utf8_chunks() {
            self.text.push_str(chunk.valid());
            if !chunk.invalid().is_empty() {
                self.text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        self.since(start)
    }

    /// Like [`Event::text`] for a text in parts.
    pub fn joined(&mut self, parts: &[&str]) -> Value {
        let start = self.text.len();
        for part in parts {
            self.text.push_str(part);
        }
        self.since(start)
    }

    /// Like [`Event::text`] for the digits of a number, where a number is told as a text.
    pub fn digits(&mut self, number: impl Into<u64>) -> Value {
        let start = self.text.len();
        let (digits, from) = json::digits(number.into());
        // Only ASCII is ever written into it.
        self.text.push_str(std::str::from_utf8(digits.get(from..json::DIGITS).unwrap_or_default()).unwrap_or_default());
        self.since(start)
    }

    /// Like [`Event::text`] for what can be formatted.
    pub fn display(&mut self, text: impl fmt::Display) -> Value {
        let start = self.text.len();
        // Writing into a String fails only if a Display implementation says so; then what was written stands.
        let _ = fmt::Write::write_fmt(&mut self.text, format_args!("{text}"));
        self.since(start)
    }

    fn since(&self, start: usize) -> Value {
        Value::Text(Span { start: start as u32, length: (self.text.len() - start) as u32 })
    }

    /// Notes an anomaly.
    pub fn anomaly(&mut self, name: &'static str, offset: u64) {
        self.anomalies.push(Anomaly { name, offset });
    }

    /// The value of a field, if it is set.
    pub fn get(&self, field: &'static Field) -> Option<&Value> {
        self.fields.iter().rev().find(|(set, _)| std::ptr::eq(*set, field)).map(|(_, value)| value)
    }

    /// The text that a value of this event stands for, if it is one.
    pub fn as_str<'a>(&'a self, value: &'a Value) -> Option<&'a str> {
        match value {
            Value::Static(text) => Some(text),
            Value::Text(span) => Some(self.span(*span)),
            _ => None,
        }
    }

    /// The text of a field, if it is set and a text.
    pub fn get_str(&self, field: &'static Field) -> Option<&str> {
        match self.get(field)? {
            Value::Static(text) => Some(text),
            Value::Text(span) => Some(self.span(*span)),
            _ => None,
        }
    }

    /// Takes a field away.
    pub fn remove(&mut self, field: &'static Field) {
        self.fields.retain(|(set, _)| !std::ptr::eq(*set, field));
    }

    /// Takes away what `decide` says of fields and of members of objects, also in lists: told are the path and whether there can be
    /// something below it. Objects that this leaves without a member go too. [`Extra`]s are not asked about.
    pub fn prune(&mut self, mut decide: impl FnMut(&str, bool) -> Prune) {
        let text = &self.text;
        let mut path = String::new();
        self.fields.retain_mut(|(field, value)| match decide(field.path, has_members(value)) {
            Prune::Keep => true,
            Prune::Drop => false,
            Prune::Inside => {
                path.clear();
                path.push_str(field.path);
                prune_members(value, &mut path, text, &mut decide)
            }
        });
    }

    /// Leaves out what the event has beside its fields; [`Extra::Time`] and [`Extra::Type`] stay all the same.
    pub fn leave_out(&mut self, extra: Extra) {
        if !extra.is_mandatory() {
            self.left_out |= extra.bit();
        }
    }

    /// The fields, to be changed: as they were set, a later one with the same path counts.
    pub fn fields_mut(&mut self) -> &mut Vec<(&'static Field, Value)> {
        &mut self.fields
    }

    /// The text of a member's key.
    pub fn key<'a>(&'a self, key: &'a Key) -> &'a str {
        key.text_in(&self.text)
    }

    /// All fields in the order they were set.
    pub fn fields(&self) -> &[(&'static Field, Value)] {
        &self.fields
    }

    /// What stands in the event's `_id`: the same for the same packets, however often they are decoded.
    pub fn id(&self) -> EventId {
        EventId::of(self)
    }

    pub(crate) fn span(&self, span: Span) -> &str {
        let start = span.start as usize;
        self.text.get(start..start + span.length as usize).unwrap_or_default()
    }
}

fn has_members(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::List(values) => values.iter().any(has_members),
        _ => false,
    }
}

/// Whether something is left.
fn prune_members(
    value: &mut Value,
    path: &mut String,
    text: &str,
    decide: &mut impl FnMut(&str, bool) -> Prune,
) -> bool {
    match value {
        Value::Object(members) => {
            let length = path.len();
            members.retain_mut(|(key, value)| {
                path.truncate(length);
                path.push('.');
                path.push_str(key.text_in(text));
                match decide(path, has_members(value)) {
                    Prune::Keep => true,
                    Prune::Drop => false,
                    Prune::Inside => prune_members(value, path, text, decide),
                }
            });
            path.truncate(length);
            !members.is_empty()
        }
        Value::List(values) => {
            values.retain_mut(|value| prune_members(value, path, text, decide));
            !values.is_empty()
        }
        _ => true,
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        spare::give(std::mem::take(&mut self.fields), std::mem::take(&mut self.text));
    }
}
