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
pub use value::{Items, Key, Members, Span, Value};

use packet::Timestamp;
use spare::Parts;
use std::net::IpAddr;
use std::sync::Arc;
use std::{fmt, io};

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
    parts: Parts,
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
        Self {
            time,
            event_type,
            origin,
            ordinal: 0,
            partial: false,
            capture_loss: 0,
            anomalies: Vec::new(),
            parts: Parts::take(),
            left_out: 0,
        }
    }

    /// Sets a field. Of a field set twice the last value counts.
    #[inline]
    pub fn put(&mut self, field: &'static Field, value: impl Into<Value>) {
        self.parts.fields.push((field, value.into()));
    }

    /// Sets a field to a text.
    #[inline]
    pub fn put_text(&mut self, field: &'static Field, text: &str) {
        let value = self.text(text);
        self.parts.fields.push((field, value));
    }

    /// Sets a field to bytes from a peer, taken as UTF-8; what is none becomes U+FFFD.
    #[inline]
    pub fn put_bytes(&mut self, field: &'static Field, bytes: &[u8]) {
        let value = self.bytes(bytes);
        self.parts.fields.push((field, value));
    }

    /// Sets a field to a formatted text.
    pub fn put_display(&mut self, field: &'static Field, text: impl fmt::Display) {
        let value = self.display(text);
        self.parts.fields.push((field, value));
    }

    /// Keeps a text in the event and hands out the value that stands for it, for use in lists and objects.
    // Here and below: a span comes back in a register. A whole value would come back in memory, in pieces that the processor must
    // have stored before it can copy the value as one.
    #[inline]
    pub fn text(&mut self, text: &str) -> Value {
        Value::Text(self.keep_text(text))
    }

    /// Keeps a text in the event as the key of a member.
    #[inline]
    pub fn text_key(&mut self, text: &str) -> Key {
        Key::Text(self.keep_text(text))
    }

    #[inline]
    fn keep_text(&mut self, text: &str) -> Span {
        let start = self.parts.text.len();
        self.parts.text.extend_from_slice(text.as_bytes());
        self.since(start)
    }

    /// Like [`Event::text`] for bytes from a peer.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> Value {
        Value::Text(self.keep_bytes(bytes))
    }

    fn keep_bytes(&mut self, bytes: &[u8]) -> Span {
        let (start, text) = (self.parts.text.len(), &mut self.parts.text);
        if bytes.is_ascii() {
            text.extend_from_slice(bytes);
            return self.since(start);
        }
        for chunk in bytes.utf8_chunks() {
            text.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                text.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
        self.since(start)
    }

    /// Like [`Event::text`] for a text in parts.
    #[inline]
    pub fn joined(&mut self, parts: &[&str]) -> Value {
        let start = self.parts.text.len();
        for part in parts {
            self.parts.text.extend_from_slice(part.as_bytes());
        }
        Value::Text(self.since(start))
    }

    /// Like [`Event::text`] for bytes in base64 behind a prefix; without the padding at the end if not `padded`.
    #[inline]
    pub fn base64(&mut self, prefix: &'static str, bytes: &[u8], padded: bool) -> Value {
        let mut span = self.keep_base64(prefix, bytes);
        if !padded {
            span.length -= (3 - bytes.len() as u32 % 3) % 3;
        }
        Value::Text(span)
    }

    fn keep_base64(&mut self, prefix: &str, bytes: &[u8]) -> Span {
        let start = self.parts.text.len();
        self.parts.text.extend_from_slice(prefix.as_bytes());
        packet::base64::append(bytes, &mut self.parts.text);
        self.since(start)
    }

    /// Like [`Event::text`] for the digits of a number, where a number is told as a text.
    #[inline]
    pub fn digits(&mut self, number: impl Into<u64>) -> Value {
        Value::Text(self.keep_digits(number.into()))
    }

    fn keep_digits(&mut self, number: u64) -> Span {
        let start = self.parts.text.len();
        let (digits, from) = json::digits(number);
        self.parts.text.extend_from_slice(digits.get(from..json::DIGITS).unwrap_or_default());
        self.since(start)
    }

    /// Like [`Event::text`] for an address, where it is told as a text.
    #[inline]
    pub fn address(&mut self, address: IpAddr) -> Value {
        Value::Text(self.keep_address(address))
    }

    fn keep_address(&mut self, address: IpAddr) -> Span {
        let start = self.parts.text.len();
        match address {
            IpAddr::V4(address) => {
                let (text, length) = json::ipv4_text(address);
                self.parts.text.extend_from_slice(&text);
                self.parts.text.truncate(start + length);
            }
            IpAddr::V6(address) => return self.keep_display(address),
        }
        self.since(start)
    }

    /// Like [`Event::text`] for what can be formatted.
    #[inline]
    pub fn display(&mut self, text: impl fmt::Display) -> Value {
        Value::Text(self.keep_display(text))
    }

    fn keep_display(&mut self, text: impl fmt::Display) -> Span {
        let start = self.parts.text.len();
        // Writing into memory fails only if a Display implementation says so; then what was written stands.
        let _ = io::Write::write_fmt(&mut self.parts.text, format_args!("{text}"));
        self.since(start)
    }

    #[inline]
    fn since(&self, start: usize) -> Span {
        Span::since(start, self.parts.text.len())
    }

    /// A list of these values.
    #[inline]
    pub fn list(&mut self, values: impl IntoIterator<Item = impl Into<Value>>) -> Value {
        let start = self.parts.items.len();
        self.parts.items.extend(values.into_iter().map(Into::into));
        Value::List(Items(Span::since(start, self.parts.items.len())))
    }

    /// Sets a field to a list.
    pub fn put_list(&mut self, field: &'static Field, values: impl IntoIterator<Item = impl Into<Value>>) {
        let value = self.list(values);
        self.put(field, value);
    }

    /// An object of these members, in their order.
    #[inline]
    pub fn object<K: Into<Key>>(&mut self, members: impl IntoIterator<Item = (K, Value)>) -> Value {
        Value::Object(self.members_of(members))
    }

    /// What that object consists of.
    #[inline]
    pub fn members_of<K: Into<Key>>(&mut self, members: impl IntoIterator<Item = (K, Value)>) -> Members {
        let start = self.parts.members.len();
        self.parts.members.extend(members.into_iter().map(|(key, value)| (key.into(), value)));
        Members(Span::since(start, self.parts.members.len()))
    }

    /// An object of the members of another one of this event, and one more.
    pub fn with_member(&mut self, object: Members, member: (Key, Value)) -> Value {
        let members = &mut self.parts.members;
        let start = members.len();
        let range = object.0.range();
        if range.end <= start {
            members.extend_from_within(range);
        }
        members.push(member);
        Value::Object(Members(Span::since(start, members.len())))
    }

    /// Takes a member out of an object: the object without it, and its value.
    pub fn without_member(&mut self, object: Members, at: usize) -> Option<(Value, Value)> {
        let members = self.members_mut(object);
        let (_, value) = *members.get(at)?;
        members.get_mut(at..)?.rotate_left(1);
        let Members(Span { start, length }) = object;
        Some((Value::Object(Members(Span { start, length: length - 1 })), value))
    }

    /// The values of a list of this event.
    pub fn items(&self, list: Items) -> &[Value] {
        self.parts.items.get(list.0.range()).unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn items_mut(&mut self, list: Items) -> &mut [Value] {
        self.parts.items.get_mut(list.0.range()).unwrap_or_default()
    }

    /// The members of an object of this event, in their order.
    pub fn members(&self, object: Members) -> &[(Key, Value)] {
        self.parts.members.get(object.0.range()).unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn members_mut(&mut self, object: Members) -> &mut [(Key, Value)] {
        self.parts.members.get_mut(object.0.range()).unwrap_or_default()
    }

    /// Notes an anomaly.
    pub fn anomaly(&mut self, name: &'static str, offset: u64) {
        self.anomalies.push(Anomaly { name, offset });
    }

    /// The value of a field, if it is set.
    pub fn get(&self, field: &'static Field) -> Option<&Value> {
        self.parts.fields.iter().rev().find(|(set, _)| std::ptr::eq(*set, field)).map(|(_, value)| value)
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
        self.parts.fields.retain(|(set, _)| !std::ptr::eq(*set, field));
    }

    /// Takes away what `decide` says of fields and of members of objects, also in lists: told are the path and whether there can be
    /// something below it. Objects that this leaves without a member go too. [`Extra`]s are not asked about.
    pub fn prune(&mut self, mut decide: impl FnMut(&str, bool) -> Prune) {
        let mut path = String::new();
        let mut fields = std::mem::take(&mut self.parts.fields);
        fields.retain_mut(|(field, value)| match decide(field.path, self.has_members(*value)) {
            Prune::Keep => true,
            Prune::Drop => false,
            Prune::Inside => {
                path.clear();
                path.push_str(field.path);
                self.prune_inside(value, &mut path, &mut decide)
            }
        });
        self.parts.fields = fields;
    }

    /// Leaves out what the event has beside its fields; [`Extra::Time`] and [`Extra::Type`] stay all the same.
    pub fn leave_out(&mut self, extra: Extra) {
        if !extra.is_mandatory() {
            self.left_out |= extra.bit();
        }
    }

    /// The fields, to be changed: as they were set, a later one with the same path counts.
    pub fn fields_mut(&mut self) -> &mut Vec<(&'static Field, Value)> {
        &mut self.parts.fields
    }

    /// The text of a member's key.
    pub fn key<'a>(&'a self, key: &'a Key) -> &'a str {
        as_text(key.bytes_in(&self.parts.text))
    }

    /// All fields in the order they were set.
    pub fn fields(&self) -> &[(&'static Field, Value)] {
        &self.parts.fields
    }

    /// What stands in the event's `_id`: the same for the same packets, however often they are decoded.
    pub fn id(&self) -> EventId {
        EventId::of(self)
    }

    pub(crate) fn span(&self, span: Span) -> &str {
        as_text(self.span_bytes(span))
    }

    pub(crate) fn text_bytes(&self) -> &[u8] {
        &self.parts.text
    }

    pub(crate) fn span_bytes(&self, span: Span) -> &[u8] {
        self.parts.text.get(span.range()).unwrap_or_default()
    }

    fn has_members(&self, value: Value) -> bool {
        match value {
            Value::Object(_) => true,
            Value::List(list) => self.items(list).iter().any(|value| self.has_members(*value)),
            _ => false,
        }
    }

    /// Whether something is left.
    fn prune_inside(
        &mut self,
        value: &mut Value,
        path: &mut String,
        decide: &mut impl FnMut(&str, bool) -> Prune,
    ) -> bool {
        match value {
            Value::Object(Members(span)) => {
                let (length, mut kept) = (path.len(), 0);
                for at in span.range() {
                    let Some((key, mut value)) = self.parts.members.get(at).copied() else { break };
                    path.truncate(length);
                    path.push('.');
                    path.push_str(self.key(&key));
                    let stays = match decide(path, self.has_members(value)) {
                        Prune::Keep => true,
                        Prune::Drop => false,
                        Prune::Inside => self.prune_inside(&mut value, path, decide),
                    };
                    if stays && let Some(place) = self.parts.members.get_mut(span.start as usize + kept) {
                        *place = (key, value);
                        kept += 1;
                    }
                }
                path.truncate(length);
                span.length = kept as u32;
                kept > 0
            }
            Value::List(Items(span)) => {
                let mut kept = 0;
                for at in span.range() {
                    let Some(mut value) = self.parts.items.get(at).copied() else { break };
                    if self.prune_inside(&mut value, path, decide)
                        && let Some(place) = self.parts.items.get_mut(span.start as usize + kept)
                    {
                        *place = value;
                        kept += 1;
                    }
                }
                span.length = kept as u32;
                kept > 0
            }
            _ => true,
        }
    }
}

/// The events' texts are always UTF-8.
fn as_text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl Drop for Event {
    fn drop(&mut self) {
        std::mem::take(&mut self.parts).give_back();
    }
}
