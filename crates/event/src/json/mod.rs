//! Events as JSON objects: nested by the dots of their paths, keys in the order of the schema, one line each.

mod out;

use crate::{Event, Extra, ExtraValue, Field, Key, Schema, Value};
use hashbrown::HashMap;
use out::{Out, PADDING};
use std::net::IpAddr;

/// Writes events as JSON. Keeps its working memory from event to event.
#[derive(Debug)]
pub struct JsonWriter<'s> {
    schema: &'s Schema,
    ranks: Vec<u16>,
    /// Numbers of the shapes already found, by the ranks of the fields as they were put: events of one kind come in few shapes.
    known: HashMap<Box<[u16]>, usize>,
    shapes: Vec<Shape>,
}

/// How events with the same fields, put in the same order, are written: everything but the values.
#[derive(Debug, Default)]
struct Shape {
    /// What stands before each value, one after the other, and behind the last; then padding.
    text: Vec<u8>,
    /// In the order in which they are written: where the text before the value ends, and the place of the field.
    steps: Vec<(usize, usize)>,
    /// Where the text ends and the padding begins.
    end: usize,
}

/// Shapes of events that are remembered; then it begins anew.
const SHAPES_MAX: usize = 1024;

impl<'s> JsonWriter<'s> {
    /// A writer for events whose fields stand in `schema`.
    pub fn new(schema: &'s Schema) -> Self {
        Self { schema, ranks: Vec::with_capacity(64), known: HashMap::new(), shapes: Vec::new() }
    }

    /// Appends the event to `out` as one JSON object without line end: `_id`, the fields, and under `tapline` where its
    /// packets are. A field that is neither in the schema nor made by the configuration is left out (a test of the tables finds it).
    pub fn write(&mut self, event: &Event, out: &mut Vec<u8>) {
        let (extras, extra_count) = extras_of(event);
        let extras = extras.get(..extra_count).unwrap_or_default();
        self.ranks.clear();
        self.ranks.extend(event.fields().iter().map(|(field, _)| field.rank()));
        self.ranks.extend(extras.iter().map(|extra| extra.field().rank()));
        let number = match self.known.get(self.ranks.as_slice()) {
            Some(number) => *number,
            None => self.remember(event, extras),
        };
        let Some(shape) = self.shapes.get(number) else { return };

        let mut out = Out::new(out);
        out.bytes(b"{\"_id\":\"");
        out.bytes(&event.id().digits());
        out.byte(b'"');
        let (text, mut at) = (shape.text.as_slice(), 0);
        for &(end, index) in &shape.steps {
            out.padded(text, at, end);
            at = end;
            match event.fields().get(index) {
                Some((_, value)) => write_value(event, value, &mut out),
                None => {
                    if let Some(extra) = extras.get(index - event.fields().len()) {
                        write_extra(*extra, event, &mut out);
                    }
                }
            }
        }
        out.padded(text, at, shape.end);
        out.end();
    }

    #[cold]
    fn remember(&mut self, event: &Event, extras: &[Extra]) -> usize {
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
            self.known.clear();
        }
        let fields = event.fields().iter().map(|(field, _)| *field).chain(extras.iter().map(|extra| extra.field()));
        let number = self.shapes.len();
        self.shapes.push(shape(self.schema, fields));
        self.known.insert(self.ranks.as_slice().into(), number);
        number
    }
}

/// The fields in the order of their paths, without those that are neither in the schema nor made by the configuration.
fn shape(schema: &Schema, fields: impl Iterator<Item = &'static Field>) -> Shape {
    let known = fields.enumerate().filter(|(_, field)| field.is_custom() || schema.has(field));
    let mut order: Vec<_> = known.map(|(index, field)| (field.path, index)).collect();
    order.sort_unstable_by(|a, b| a.0.split('.').cmp(b.0.split('.')).then(a.1.cmp(&b.1)));
    let mut shape = Shape::default();
    let mut text = Vec::new();
    let mut open: Vec<&str> = Vec::new();
    for (at, &(path, index)) in order.iter().enumerate() {
        // Of a field set twice the last value counts.
        if order.get(at + 1).is_some_and(|next| next.0 == path) {
            continue;
        }
        let (objects, name) = path.rsplit_once('.').map_or((None, path), |(objects, name)| (Some(objects), name));
        let objects: Vec<&str> = objects.into_iter().flat_map(|objects| objects.split('.')).collect();
        let shared = open.iter().zip(&objects).take_while(|(a, b)| a == b).count();
        text.extend(std::iter::repeat_n(b'}', open.len() - shared));
        text.push(b',');
        let mut out = Out::new(&mut text);
        for object in objects.iter().skip(shared) {
            out.string(object);
            out.bytes(b":{");
        }
        out.string(name);
        out.byte(b':');
        out.end();
        shape.steps.push((text.len(), index));
        open = objects;
    }
    text.extend(std::iter::repeat_n(b'}', open.len() + 1));
    shape.end = text.len();
    text.extend([0; PADDING]);
    shape.text = text;
    shape
}

/// Those of this event, and how many there are.
fn extras_of(event: &Event) -> ([Extra; 11], usize) {
    use Extra::*;
    let mut list = [Time, Type, FirstPacket, LastPacket, Source, Epoch, Name, Time, Time, Time, Time];
    let mut count = 7;
    for (extra, is_there) in [
        (Interface, !event.origin.interface.is_empty()),
        (Partial, event.partial),
        (CaptureLoss, event.capture_loss > 0),
        (Anomalies, !event.anomalies.is_empty()),
    ] {
        if is_there {
            list[count] = extra;
            count += 1;
        }
    }
    if event.left_out != 0 {
        let mut kept = 0;
        for at in 0..count {
            if event.left_out & list[at].bit() == 0 {
                list[kept] = list[at];
                kept += 1;
            }
        }
        count = kept;
    }
    (list, count)
}

fn write_extra(extra: Extra, event: &Event, out: &mut Out<'_>) {
    match extra.value(event) {
        Some(ExtraValue::Time(time)) => write_time(time, out),
        Some(ExtraValue::Text(text)) => out.string(text),
        Some(ExtraValue::Number(number)) => write_number(number, out),
        Some(ExtraValue::Bool(truth)) => write_bool(truth, out),
        Some(ExtraValue::Anomalies(anomalies)) => write_list(anomalies, out, |anomaly, out| {
            out.bytes(b"{\"name\":");
            out.string(anomaly.name);
            out.bytes(b",\"offset\":");
            write_number(anomaly.offset, out);
            out.byte(b'}');
        }),
        // Only those that the event has are asked for.
        None => out.bytes(b"null"),
    }
}

fn write_value(event: &Event, value: &Value, out: &mut Out<'_>) {
    match value {
        Value::Bool(truth) => write_bool(*truth, out),
        Value::Unsigned(number) => write_number(*number, out),
        Value::Signed(number) => {
            if *number < 0 {
                out.byte(b'-');
            }
            write_number(number.unsigned_abs(), out);
        }
        Value::Float(number) if number.is_finite() => {
            out.slice(ryu::Buffer::new().format_finite(*number).as_bytes());
        }
        Value::Float(_) => out.bytes(b"null"),
        Value::Static(text) => out.string(text),
        Value::Text(span) => out.string(event.span(*span)),
        Value::Ip(address) => write_ip(*address, out),
        Value::Time(time) => write_time(*time, out),
        Value::Mac(address) => write_mac(address, out),
        Value::List(values) => write_list(values, out, |value, out| write_value(event, value, out)),
        Value::Words(words) => write_list(words, out, |word, out| out.string(word)),
        Value::Object(members) => {
            out.byte(b'{');
            for (at, (key, value)) in members.iter().enumerate() {
                if at > 0 {
                    out.byte(b',');
                }
                match key {
                    Key::Static(text) => out.string(text),
                    Key::Text(span) => out.string(event.span(*span)),
                }
                out.byte(b':');
                write_value(event, value, out);
            }
            out.byte(b'}');
        }
    }
}

fn write_list<T>(values: &[T], out: &mut Out<'_>, write: impl Fn(&T, &mut Out<'_>)) {
    out.byte(b'[');
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            out.byte(b',');
        }
        write(value, out);
    }
    out.byte(b']');
}

fn write_bool(truth: bool, out: &mut Out<'_>) {
    if truth { out.bytes(b"true") } else { out.bytes(b"false") }
}

fn write_number(number: u64, out: &mut Out<'_>) {
    let (text, from) = digits(number);
    if let Some(digits) = text.get(from..).and_then(<[u8]>::first_chunk::<DIGITS>) {
        out.part(digits, DIGITS - from);
    }
}

/// Digits of the longest number.
pub(crate) const DIGITS: usize = 20;

/// The digits of a number, and from where to [`DIGITS`] they stand. Behind them there is as much again, so that a part of fixed
/// size begins anywhere within them.
pub(crate) fn digits(mut number: u64) -> ([u8; 2 * DIGITS], usize) {
    let mut text = [0; 2 * DIGITS];
    let mut at = DIGITS;
    while number >= 100 {
        at -= 2;
        text[at..at + 2].copy_from_slice(&packet::time::PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    at -= 2;
    text[at..at + 2].copy_from_slice(&packet::time::PAIRS[number as usize]);
    (text, at + usize::from(number < 10))
}

fn write_time(time: packet::Timestamp, out: &mut Out<'_>) {
    let (text, length) = time.rfc3339();
    out.byte(b'"');
    out.part(&text, length);
    out.byte(b'"');
}

fn write_ip(address: IpAddr, out: &mut Out<'_>) {
    match address {
        IpAddr::V4(address) => {
            let mut text = [b'"'; 17];
            let mut length = 1;
            for octet in address.octets() {
                for (digit, from) in [(octet / 100, 100), (octet / 10 % 10, 10), (octet % 10, 0)] {
                    text[length] = b'0' + digit;
                    length += usize::from(octet >= from);
                }
                text[length] = b'.';
                length += 1;
            }
            text[length - 1] = b'"';
            out.part(&text, length);
        }
        IpAddr::V6(address) => {
            let mut text = std::io::Cursor::new([0; 64]);
            // The longest address has 39 characters.
            let _ = std::io::Write::write_fmt(&mut text, format_args!("\"{address}\""));
            let length = text.position() as usize;
            out.part(text.get_ref(), length);
        }
    }
}

fn write_mac(address: &[u8; 6], out: &mut Out<'_>) {
    let mut text = *b"\"00-00-00-00-00-00\"";
    for (places, octet) in text[1..].chunks_mut(3).zip(address) {
        places[0] = b"0123456789ABCDEF"[usize::from(octet >> 4)];
        places[1] = b"0123456789ABCDEF"[usize::from(octet & 15)];
    }
    out.bytes(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Observer, Origin, Prune, common};
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
    fn fields_of_the_configuration_stand_among_those_of_the_schema() {
        let mut event = event();
        let (inside, alone) =
            (Field::custom("dns.id2", Kind::Long).unwrap(), Field::custom("a\"b.c", Kind::Keyword).unwrap());
        assert!(std::ptr::eq(inside, Field::custom("dns.id2", Kind::Long).unwrap()));
        event.put(inside, 2u8);
        event.put(&ID, 1u8);
        event.put_text(&NAME, "n");
        event.put(alone, "d");
        let json = written(&event);
        assert_eq!(json["dns"], serde_json::json!({"id": 1, "id2": 2, "question": {"name": "n"}}));
        assert_eq!(json["a\"b"]["c"], "d");
        let mut other = self::event();
        other.put(alone, "e");
        assert_eq!(written(&other)["a\"b"]["c"], "e");
    }

    #[test]
    fn what_is_left_out_is_not_written_and_may_be_set_instead() {
        let mut event = event();
        let id = event.id().to_string();
        for extra in Extra::ALL {
            event.leave_out(extra);
        }
        assert_eq!(
            written(&event),
            serde_json::json!({"_id": id, "@timestamp": "1970-01-01T00:00:01.000Z", "type": "dns"})
        );
        event.put(&common::OBSERVER_NAME, "other");
        assert_eq!(written(&event)["observer"]["name"], "other");
    }

    #[test]
    fn members_are_pruned_in_objects_and_lists_and_empty_objects_go() {
        let mut event = event();
        let name = event.text("n");
        event.put(
            &ANSWERS,
            vec![Value::object([("name", name), ("ttl", 1u8.into())]), Value::object([("ttl", 2u8.into())])],
        );
        event.put(&ID, 1u8);
        event.prune(|path, _| match path {
            "dns.answers.ttl" | "dns.id" => Prune::Drop,
            "dns.answers" => Prune::Inside,
            _ => Prune::Keep,
        });
        assert_eq!(written(&event)["dns"], serde_json::json!({"answers": [{"name": "n"}]}));
        event.prune(|path, _| if path == "dns.answers" { Prune::Inside } else { Prune::Drop });
        assert!(event.fields().is_empty());
    }

    #[test]
    fn an_event_knows_nothing_of_those_whose_memory_it_has() {
        let mut first = event();
        first.put_text(&NAME, "secret");
        first.put(&ID, 7u16);
        drop(first);
        let json = written(&event());
        assert!(json.get("dns").is_none(), "{json}");
        assert!(event().fields().is_empty());
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
