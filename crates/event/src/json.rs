//! Events as JSON objects: nested by the dots of their paths, keys in the order of the schema, one line each.

use crate::{Event, Key, Schema, Value, common};
use hashbrown::HashMap;
use std::net::IpAddr;

/// Writes events as JSON. Keeps its working memory from event to event.
#[derive(Debug)]
pub struct JsonWriter<'s> {
    schema: &'s Schema,
    ranks: Vec<u16>,
    /// Orders already found, by the ranks of the fields as they were put: events of one kind come in few shapes.
    orders: HashMap<Box<[u16]>, Box<Order>>,
}

/// Rank and index of each field, in the order in which they are written.
type Order = [(u16, u16)];

/// Shapes of events that are remembered; then it begins anew.
const ORDERS_MAX: usize = 1024;

impl<'s> JsonWriter<'s> {
    /// A writer for events whose fields stand in `schema`.
    pub fn new(schema: &'s Schema) -> Self {
        Self { schema, ranks: Vec::with_capacity(64), orders: HashMap::new() }
    }

    /// Appends the event to `out` as one JSON object without line end: `_id`, the fields, and under `tapline` where its
    /// packets are. A field that is not in the schema is left out (a test of the tables finds it).
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let extra = extra_fields(event);
        let all = |index: usize| match event.fields().get(index) {
            Some((field, value)) => Some((*field, value)),
            None => extra.get(index - event.fields().len()).map(|(field, value)| (*field, value)),
        };
        self.ranks.clear();
        self.ranks.extend((0..event.fields().len() + extra.len()).filter_map(all).map(|(field, _)| field.rank()));
        if !self.orders.contains_key(self.ranks.as_slice()) {
            if self.orders.len() >= ORDERS_MAX {
                self.orders.clear();
            }
            self.orders.insert(self.ranks.as_slice().into(), self.order());
        }
        let order = self.orders.get(self.ranks.as_slice()).map(Box::as_ref).unwrap_or_default();

        out.extend_from_slice(b"{\"_id\":\"");
        out.extend_from_slice(&event.id().digits());
        out.extend_from_slice(b"\",");
        let mut open: &[u16] = &[];
        for (at, &(rank, index)) in order.iter().enumerate() {
            if order.get(at + 1).is_some_and(|next| next.0 == rank) {
                continue;
            }
            let place = &self.schema.places[usize::from(rank)];
            let shared = open.iter().zip(&place.objects).take_while(|(a, b)| a == b).count();
            for _ in shared..open.len() {
                close(out, b'}');
            }
            for &object in &place.objects[shared..] {
                out.extend_from_slice(self.schema.object_keys[usize::from(object)].as_bytes());
            }
            open = &place.objects;
            out.extend_from_slice(place.key.as_bytes());
            if let Some((_, value)) = all(usize::from(index)) {
                write_value(event, value, out);
            }
            out.push(b',');
        }
        for _ in 0..=open.len() {
            close(out, b'}');
        }
        if out.last() == Some(&b',') {
            out.pop();
        }
    }

    /// Rank and place of the fields in the order of the schema, without those that are not in it.
    fn order(&self) -> Box<Order> {
        let ranks = self.ranks.iter().enumerate();
        let known = ranks.filter(|(_, rank)| usize::from(**rank) < self.schema.places.len());
        let mut order: Vec<_> = known.map(|(index, rank)| (*rank, index as u16)).collect();
        order.sort_unstable();
        order.into()
    }
}

/// Ends an object or list: the comma after its last member goes, one follows for its next sibling.
fn close(out: &mut Vec<u8>, bracket: u8) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(bracket);
    out.push(b',');
}

fn extra_fields(event: &Event) -> Vec<(&'static crate::Field, Value)> {
    let origin = &event.origin;
    let mut extra: Vec<(&'static crate::Field, Value)> = Vec::with_capacity(12);
    extra.push((&common::TIMESTAMP, event.time.into()));
    extra.push((&common::TYPE, event.event_type.into()));
    extra.push((&common::TAPLINE_FIRST_PACKET, origin.first_packet.into()));
    extra.push((&common::TAPLINE_LAST_PACKET, origin.last_packet.into()));
    if event.partial {
        extra.push((&common::TAPLINE_PARTIAL, true.into()));
    }
    if event.capture_loss > 0 {
        extra.push((&common::TAPLINE_CAPTURE_LOSS, event.capture_loss.into()));
    }
    if !event.anomalies.is_empty() {
        let list = event
            .anomalies
            .iter()
            .map(|anomaly| Value::object([("name", anomaly.name.into()), ("offset", anomaly.offset.into())]));
        extra.push((&common::TAPLINE_ANOMALIES, Value::list(list)));
    }
    extra.push((&common::TAPLINE_SOURCE, OBSERVER_NAME));
    extra.push((&common::TAPLINE_EPOCH, OBSERVER_EPOCH));
    extra.push((&common::OBSERVER_NAME, OBSERVER_NAME));
    if !origin.interface.is_empty() {
        extra.push((&common::OBSERVER_INTERFACE, OBSERVER_INTERFACE));
    }
    extra
}

// Texts that live in the origin, not in the event's buffer: stand-ins that `write_value` looks up.
const OBSERVER_NAME: Value = Value::Static("\u{0}name");
const OBSERVER_EPOCH: Value = Value::Static("\u{0}epoch");
const OBSERVER_INTERFACE: Value = Value::Static("\u{0}interface");

fn write_value(event: &Event, value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Unsigned(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Signed(number) => out.extend_from_slice(itoa::Buffer::new().format(*number).as_bytes()),
        Value::Float(number) if number.is_finite() => {
            out.extend_from_slice(ryu::Buffer::new().format_finite(*number).as_bytes());
        }
        Value::Float(_) => out.extend_from_slice(b"null"),
        Value::Static(text) => match *text {
            "\u{0}name" => write_string(&event.origin.observer.name, out),
            "\u{0}epoch" => write_string(&event.origin.observer.epoch, out),
            "\u{0}interface" => write_string(&event.origin.interface, out),
            text => write_string(text, out),
        },
        Value::Text(span) => write_string(event.span(*span), out),
        Value::Ip(address) => write_ip(*address, out),
        Value::Time(time) => {
            out.push(b'"');
            time.write_rfc3339(out);
            out.push(b'"');
        }
        Value::Mac(address) => write_mac(address, out),
        Value::List(values) => {
            out.push(b'[');
            for value in values {
                write_value(event, value, out);
                out.push(b',');
            }
            close(out, b']');
            out.pop();
        }
        Value::Object(members) => {
            out.push(b'{');
            for (key, value) in members {
                match key {
                    Key::Static(text) => write_string(text, out),
                    Key::Text(span) => write_string(event.span(*span), out),
                }
                out.push(b':');
                write_value(event, value, out);
                out.push(b',');
            }
            close(out, b'}');
            out.pop();
        }
    }
}

fn write_ip(address: IpAddr, out: &mut Vec<u8>) {
    out.push(b'"');
    match address {
        IpAddr::V4(address) => {
            for (at, octet) in address.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        IpAddr::V6(address) => {
            // Writing to a Vec cannot fail.
            let _ = std::io::Write::write_fmt(out, format_args!("{address}"));
        }
    }
    out.push(b'"');
}

fn write_mac(address: &[u8; 6], out: &mut Vec<u8>) {
    out.push(b'"');
    for (at, octet) in address.iter().enumerate() {
        if at > 0 {
            out.push(b'-');
        }
        out.push(b"0123456789ABCDEF"[usize::from(octet >> 4)]);
        out.push(b"0123456789ABCDEF"[usize::from(octet & 15)]);
    }
    out.push(b'"');
}

/// Appends a JSON string. Control characters are escaped; everything else stands as it is, in UTF-8.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' && byte != 0x7f {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
                out.push(b"0123456789abcdef"[usize::from(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Observer, Origin};
    use packet::Timestamp;
    use std::sync::{Arc, OnceLock};

    crate::fields! {
        /// Fields of the test.
        pub static TABLE;
        ID: Long = "dns.id", "Id.";
        NAME: Keyword = "dns.question.name", "Name.";
        ANSWERS: Objects = "dns.answers", "Answers.";
        ANSWER_NAME: Keyword = "dns.answers.name", "Name of an answer.";
        DNSX: Keyword = "dns-x", "Sorts between dns and dns.id as text, but is no part of dns.";
    }

    fn schema() -> &'static Schema {
        static SCHEMA: OnceLock<Schema> = OnceLock::new();
        SCHEMA.get_or_init(|| Schema::new(&[TABLE]).unwrap())
    }

    fn event() -> Event {
        let observer = Arc::new(Observer { name: "web1".into(), epoch: "00ff".into(), is_file: false });
        let origin = Origin { observer, interface: "eth0".into(), first_packet: 3, last_packet: 4 };
        Event::new("dns", Timestamp::from_parts(1, 0), origin)
    }

    fn written(event: &Event) -> serde_json::Value {
        let mut out = Vec::new();
        JsonWriter::new(schema()).write(event, &mut out);
        serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&out)))
    }

    #[test]
    fn fields_are_nested_by_their_dots_in_any_order() {
        let mut event = event();
        event.put_text(&NAME, "a\"b\\\n\u{1}\u{7f}ä");
        event.put(&common::SOURCE_IP, IpAddr::from([10, 0, 0, 1]));
        event.put_text(&DNSX, "x");
        event.put(&ID, 7u16);
        event.put(&ID, 8u16);
        let name = event.bytes(b"caf\xe9");
        event.put(&ANSWERS, vec![Value::object([("name", name)]), Value::Object(vec![])]);
        event.put(&common::SOURCE_MAC, [0x0a, 0, 0x27, 0, 0, 0xff]);
        event.anomaly("dns.cut", 12);
        let json = written(&event);
        assert_eq!(json["dns"]["id"], 8);
        assert_eq!(json["dns"]["question"]["name"], "a\"b\\\n\u{1}\u{7f}ä");
        assert_eq!(json["dns"]["answers"], serde_json::json!([{"name": "caf\u{fffd}"}, {}]));
        assert_eq!(json["dns-x"], "x");
        assert_eq!(json["source"], serde_json::json!({"ip": "10.0.0.1", "mac": "0A-00-27-00-00-FF"}));
        assert_eq!(json["@timestamp"], "1970-01-01T00:00:01.000Z");
        assert_eq!(json["tapline"]["packet"], serde_json::json!({"first": 3, "last": 4}));
        assert_eq!(json["tapline"]["anomalies"][0]["name"], "dns.cut");
        assert_eq!(json["observer"]["ingress"]["interface"]["name"], "eth0");
        assert_eq!(json["_id"], event.id().to_string());
    }

    #[test]
    fn tables_that_contradict_are_refused() {
        crate::fields! {
            /// Declares what `common` has.
            pub static TWICE;
            TWICE_TYPE: Keyword = "type", "Again.";
        }
        crate::fields! {
            /// A value with members.
            pub static BOTH;
            BOTH_VALUE: Keyword = "x", "A value.";
            BOTH_MEMBER: Keyword = "x.y", "Its member.";
        }
        assert_eq!(Schema::new(&[TWICE]).err(), Some(crate::SchemaError::Twice("type")));
        assert_eq!(Schema::new(&[BOTH]).err(), Some(crate::SchemaError::ValueAndObject("x")));
    }

    #[test]
    fn the_id_depends_on_what_the_event_describes() {
        let first = event();
        let mut other = event();
        other.put(&ID, 1u8);
        assert_eq!(first.id(), other.id());
        other.ordinal = 1;
        assert_ne!(first.id(), other.id());
    }
}
