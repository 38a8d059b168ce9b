//! Events as JSON objects: nested by the dots of their paths, keys in the order of the schema, one line each.

mod out;
mod words;

use crate::{Event, Extra, ExtraValue, Key, Schema, Value};
use hashbrown::HashMap;
use out::{Out, PADDING};
use packet::Timestamp;
use packet::time::{TimeText, four_digits};
use std::net::{IpAddr, Ipv4Addr};
use words::Words;

/// Writes events as JSON. Keeps its working memory from event to event.
#[derive(Debug)]
pub struct JsonWriter<'s> {
    schema: &'s Schema,
    /// What tells the present event's shape from others.
    key: Vec<u64>,
    /// Numbers of the shapes that were written lately, the last first: many events of one kind follow each other.
    recent: [usize; RECENT],
    /// Numbers of the shapes already found: events of one kind come in few.
    known: HashMap<Box<[u64]>, usize>,
    shapes: Vec<Shape>,
    /// Whether values that are known when the program is built are a part of the shape. Not where that makes too many shapes.
    with_constants: bool,
    times: TimeText,
    words: Words,
    line: Vec<u8>,
}

/// How events with the same fields, put in the same order, are written: everything but the values that differ.
#[derive(Debug, Default)]
struct Shape {
    /// What tells it from others.
    key: Box<[u64]>,
    /// What stands before each value, one after the other, and behind the last; then padding.
    text: Vec<u8>,
    /// In the order in which they are written: where the text before the value ends, and the place of the field.
    steps: Vec<(usize, usize)>,
    /// Where the text ends and the padding begins.
    end: usize,
}

/// So many shapes are looked at before they are looked for.
const RECENT: usize = 4;
/// Shapes of events that are remembered; then it begins anew, without constants in them.
const SHAPES_MAX: usize = 1024;
/// A line that was longer than this does not keep its memory.
const LINE_KEPT: usize = 256 * 1024;

impl<'s> JsonWriter<'s> {
    /// A writer for events whose fields stand in `schema`.
    pub fn new(schema: &'s Schema) -> Self {
        Self {
            schema,
            key: Vec::with_capacity(128),
            recent: [0; RECENT],
            known: HashMap::new(),
            shapes: Vec::new(),
            with_constants: true,
            times: TimeText::new(),
            words: Words::new(),
            line: Vec::new(),
        }
    }

    /// The event as one JSON object and a line end: `_id`, the fields, and under `tapline` where its packets are. A field that is
    /// neither in the schema nor made by the configuration is left out (a test of the tables finds it).
    pub fn write(&mut self, event: &Event) -> &[u8] {
        if self.line.len() > LINE_KEPT {
            self.line = Vec::new();
        }
        let (extras, extra_count) = extras_of(event);
        let extras = extras.get(..extra_count).unwrap_or_default();
        self.set_key(event, extras);
        let is_it = |number: &usize| self.shapes.get(*number).is_some_and(|shape| *shape.key == *self.key);
        match self.recent.iter().position(is_it) {
            Some(at) => self.recent.swap(0, at),
            None => {
                let number = match self.known.get(self.key.as_slice()) {
                    Some(number) => *number,
                    None => self.remember(event, extras),
                };
                self.recent.rotate_right(1);
                self.recent[0] = number;
            }
        }
        let Some(shape) = self.shapes.get(self.recent[0]) else { return &[] };

        let mut writing =
            Writing { event, out: Out::new(&mut self.line), times: &mut self.times, words: &mut self.words };
        writing.out.bytes(b"{\"_id\":\"");
        writing.out.bytes(&event.id().digits());
        writing.out.byte(b'"');
        let (text, mut at) = (shape.text.as_slice(), 0);
        for &(end, index) in &shape.steps {
            writing.out.padded(text, at, end);
            at = end;
            match event.fields().get(index) {
                Some((_, value)) => writing.value(value),
                None => {
                    if let Some(extra) = extras.get(index - event.fields().len()) {
                        writing.extra(*extra);
                    }
                }
            }
        }
        writing.out.padded(text, at, shape.end);
        let length = writing.out.length();
        self.line.get(..length).unwrap_or_default()
    }

    /// Two words each: type and number of fields; for each field, as they were put, its rank, and of a constant which it is, by where
    /// it lies in memory. Then what else the event has.
    fn set_key(&mut self, event: &Event, extras: &[Extra]) {
        let fields = event.fields();
        self.key.resize(2 * (1 + fields.len()) + extras.len(), 0);
        let mut places = self.key.chunks_exact_mut(2);
        if let Some(place) = places.next() {
            let event_type = if self.with_constants { event.event_type } else { "" };
            place.copy_from_slice(&[address(event_type.as_ptr()), long(event_type.len()) | long(fields.len()) << 32]);
        }
        for (place, (field, value)) in places.zip(fields) {
            let constant = if self.with_constants { constant(value) } else { None };
            let [what, which] = constant.unwrap_or_default();
            place.copy_from_slice(&[u64::from(field.rank()) | what, which]);
        }
        let begin = 2 * (1 + fields.len());
        for (place, extra) in self.key.iter_mut().skip(begin).zip(extras) {
            *place = u64::from(extra.field().rank());
        }
    }

    #[cold]
    fn remember(&mut self, event: &Event, extras: &[Extra]) -> usize {
        if self.shapes.len() >= SHAPES_MAX {
            self.shapes.clear();
            self.known.clear();
            self.with_constants = false;
            self.set_key(event, extras);
        }
        let number = self.shapes.len();
        let shape = Shape { key: self.key.as_slice().into(), ..self.shape(event, extras) };
        self.known.insert(shape.key.clone(), number);
        self.shapes.push(shape);
        number
    }

    /// The fields in the order of their paths, without those that are neither in the schema nor made by the configuration.
    fn shape(&mut self, event: &Event, extras: &[Extra]) -> Shape {
        let fields = event.fields().iter().map(|(field, _)| *field).chain(extras.iter().map(|extra| extra.field()));
        let known = fields.enumerate().filter(|(_, field)| field.is_custom() || self.schema.has(field));
        let mut order: Vec<_> = known.map(|(index, field)| (field.path, index)).collect();
        order.sort_unstable_by(|a, b| a.0.split('.').cmp(b.0.split('.')).then(a.1.cmp(&b.1)));
        let mut shape = Shape::default();
        let mut text = Vec::new();
        let mut writing = Writing { event, out: Out::new(&mut text), times: &mut self.times, words: &mut self.words };
        let mut open: Vec<&str> = Vec::new();
        for (at, &(path, index)) in order.iter().enumerate() {
            // Of a field set twice the last value counts.
            if order.get(at + 1).is_some_and(|next| next.0 == path) {
                continue;
            }
            let (objects, name) = path.rsplit_once('.').map_or((None, path), |(objects, name)| (Some(objects), name));
            let objects: Vec<&str> = objects.into_iter().flat_map(|objects| objects.split('.')).collect();
            let shared = open.iter().zip(&objects).take_while(|(a, b)| a == b).count();
            for _ in shared..open.len() {
                writing.out.byte(b'}');
            }
            writing.out.byte(b',');
            for object in objects.iter().skip(shared) {
                writing.out.string(object.as_bytes());
                writing.out.bytes(b":{");
            }
            writing.out.string(name.as_bytes());
            writing.out.byte(b':');
            let extra = index.checked_sub(event.fields().len()).and_then(|at| extras.get(at));
            match (event.fields().get(index), extra) {
                (Some((_, value)), _) if self.with_constants && constant(value).is_some() => writing.value(value),
                (None, Some(Extra::Type)) if self.with_constants => writing.extra(Extra::Type),
                _ => shape.steps.push((writing.out.length(), index)),
            }
            open = objects;
        }
        for _ in 0..open.len() + 1 {
            writing.out.byte(b'}');
        }
        writing.out.byte(b'\n');
        shape.end = writing.out.length();
        text.truncate(shape.end);
        text.extend([0; PADDING]);
        shape.text = text;
        shape
    }
}

/// Of a value that is known when the program is built, which it is: by where it lies in memory. The lowest 16 bits are free.
#[inline]
fn constant(value: &Value) -> Option<[u64; 2]> {
    match value {
        Value::Static(text) => Some([1 << 16 | long(text.len()) << 32, address(text.as_ptr())]),
        Value::Words(words) => Some([2 << 16 | long(words.len()) << 32, address(words.as_ptr())]),
        Value::Bool(truth) => Some([3 << 16, u64::from(*truth)]),
        _ => None,
    }
}

fn address<T>(place: *const T) -> u64 {
    long(place as usize)
}

const fn long(number: usize) -> u64 {
    number as u64
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

/// An event that is being written.
struct Writing<'w> {
    event: &'w Event,
    out: Out<'w>,
    times: &'w mut TimeText,
    words: &'w mut Words,
}

impl Writing<'_> {
    fn extra(&mut self, extra: Extra) {
        match extra.value(self.event) {
            Some(ExtraValue::Time(time)) => self.time(time),
            Some(ExtraValue::Text(text)) => self.out.string(text.as_bytes()),
            Some(ExtraValue::Number(number)) => self.number(number),
            Some(ExtraValue::Bool(truth)) => self.bool(truth),
            Some(ExtraValue::Anomalies(anomalies)) => self.list(anomalies, |writing, anomaly| {
                writing.out.bytes(b"{\"name\":");
                writing.out.string(anomaly.name.as_bytes());
                writing.out.bytes(b",\"offset\":");
                writing.number(anomaly.offset);
                writing.out.byte(b'}');
            }),
            // Only those that the event has are asked for.
            None => self.out.bytes(b"null"),
        }
    }

    fn value(&mut self, value: &Value) {
        let event = self.event;
        match value {
            Value::Bool(truth) => self.bool(*truth),
            Value::Unsigned(number) => self.number(*number),
            Value::Signed(number) => {
                if *number < 0 {
                    self.out.byte(b'-');
                }
                self.number(number.unsigned_abs());
            }
            Value::Float(number) if number.is_finite() => {
                self.out.slice(ryu::Buffer::new().format_finite(*number).as_bytes());
            }
            Value::Float(_) => self.out.bytes(b"null"),
            Value::Static(text) => self.word(text),
            Value::Text(span) => self.out.string(event.span_bytes(*span)),
            Value::Ip(address) => write_ip(*address, &mut self.out),
            Value::Time(time) => self.time(*time),
            Value::Mac(address) => write_mac(address, &mut self.out),
            Value::List(list) => self.list(event.items(*list), |writing, value| writing.value(value)),
            Value::Words(words) => self.list(words, |writing, word| writing.word(word)),
            Value::Object(object) => {
                let members = event.members(*object);
                if members.is_empty() {
                    self.out.byte(b'{');
                }
                let mut before = b'{';
                for (key, value) in members {
                    self.key(before, key);
                    self.value(value);
                    before = b',';
                }
                self.out.byte(b'}');
            }
        }
    }

    /// The key of a member, behind a brace or a comma.
    fn key(&mut self, before: u8, key: &Key) {
        if let Key::Static(word) = key
            && let Some(word) = self.words.get(word)
        {
            self.out.part_behind(before, &word.text, word.end);
        } else {
            self.out.byte(before);
            self.out.string(key.bytes_in(self.event.text_bytes()));
            self.out.byte(b':');
        }
    }

    fn word(&mut self, word: &'static str) {
        match self.words.get(word) {
            Some(word) => {
                // Without what stands around it.
                let [_, text @ ..] = &word.text;
                self.out.part(text, word.end - 2);
            }
            None => self.out.string(word.as_bytes()),
        }
    }

    fn list<T>(&mut self, values: &[T], write: impl Fn(&mut Self, &T)) {
        self.out.byte(b'[');
        for (at, value) in values.iter().enumerate() {
            if at > 0 {
                self.out.byte(b',');
            }
            write(self, value);
        }
        self.out.byte(b']');
    }

    fn bool(&mut self, truth: bool) {
        if truth { self.out.bytes(b"true") } else { self.out.bytes(b"false") }
    }

    #[inline]
    fn number(&mut self, number: u64) {
        match usize::try_from(number).ok().and_then(|number| OCTETS.get(number)) {
            Some(text) => self.out.part(text, 1 + usize::from(number >= 10) + usize::from(number >= 100)),
            None => self.long_number(number),
        }
    }

    fn long_number(&mut self, number: u64) {
        if let Ok(small) = u32::try_from(number)
            && small < 100_000_000
        {
            let (text, length) = eight_digits(small);
            self.out.part(&text, length);
            return;
        }
        let (text, from) = digits(number);
        if let Some(digits) = text.get(from..).and_then(<[u8]>::first_chunk::<DIGITS>) {
            self.out.part(digits, DIGITS - from);
        }
    }

    fn time(&mut self, time: Timestamp) {
        let (second, rest, length) = self.times.rfc3339(time);
        self.out.byte(b'"');
        self.out.bytes(second);
        self.out.part(&rest, length);
        self.out.byte(b'"');
    }
}

/// Digits of the longest number.
pub(crate) const DIGITS: usize = 20;

/// The digits of a number below 100,000,000 without leading zeros, and how many they are.
#[inline]
fn eight_digits(number: u32) -> ([u8; 8], usize) {
    if number < 10_000 {
        let missing = u32::from(number < 1000) + u32::from(number < 100) + u32::from(number < 10);
        let text = u64::from(four_digits(number) >> (8 * missing));
        return (text.to_le_bytes(), 4 - missing as usize);
    }
    let missing = u32::from(number < 10_000_000) + u32::from(number < 1_000_000) + u32::from(number < 100_000);
    let text =
        (u64::from(four_digits(number / 10_000)) | u64::from(four_digits(number % 10_000)) << 32) >> (8 * missing);
    (text.to_le_bytes(), 8 - missing as usize)
}

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

fn write_ip(address: IpAddr, out: &mut Out<'_>) {
    out.byte(b'"');
    match address {
        IpAddr::V4(address) => {
            let (text, length) = ipv4_text(address);
            out.part(&text, length);
        }
        IpAddr::V6(address) => {
            // There is room for the longest: 39 bytes, or 45 where the last four stand as an IPv4 address.
            let mut text = [0; 48];
            let mut rest = text.as_mut_slice();
            let _ = std::io::Write::write_fmt(&mut rest, format_args!("{address}"));
            let length = 48 - rest.len();
            out.part(&text, length);
        }
    }
    out.byte(b'"');
}

/// An IPv4 address as text, made within one word, and how many bytes of it count.
#[inline]
pub(crate) fn ipv4_text(address: Ipv4Addr) -> ([u8; 16], usize) {
    let (mut text, mut length) = (0, 0);
    for octet in address.octets() {
        text |= u128::from(u32::from_le_bytes(OCTETS[usize::from(octet)])) << (8 * length);
        length += 2 + usize::from(octet >= 10) + usize::from(octet >= 100);
    }
    (text.to_le_bytes(), length - 1)
}

/// The decimal digits of each byte and a dot behind them, then zeros.
static OCTETS: [[u8; 4]; 256] = {
    let mut texts = [[0; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        let mut from = if octet < 10 {
            2
        } else if octet < 100 {
            1
        } else {
            0
        };
        let mut at = 0;
        while from < 3 {
            texts[octet][at] = digits[from];
            from += 1;
            at += 1;
        }
        texts[octet][at] = b'.';
        octet += 1;
    }
    texts
};

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
    use crate::{Field, Kind, Observer, Origin, Prune, common};
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
        let mut writer = JsonWriter::new(schema());
        let line = writer.write(event);
        assert_eq!(line.last(), Some(&b'\n'));
        serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
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
        let answers = [event.object([("name", name)]), event.object([("", name); 0])];
        event.put_list(&ANSWERS, answers);
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
        let answers = [event.object([("name", name), ("ttl", 1u8.into())]), event.object([("ttl", 2u8.into())])];
        event.put_list(&ANSWERS, answers);
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
    fn numbers_and_addresses_are_those_that_any_program_prints() {
        let mut numbers: Vec<u64> =
            (0..20).flat_map(|power| (0..3).map(move |more| 10u64.pow(power) + more - 1)).collect();
        numbers.extend([0, 7, 42, 305, 1234, 99_999_999, 100_000_000, 123_456_789, u64::MAX]);
        for number in numbers {
            let mut event = event();
            event.put(&ID, number);
            let text = event.digits(number);
            event.put(&DNSX, text);
            let json = written(&event);
            assert_eq!(
                (json["dns"]["id"].as_u64(), json["dns-x"].as_str()),
                (Some(number), Some(&*number.to_string()))
            );
        }
        let mut addresses: Vec<IpAddr> = ["::", "::ffff:192.168.100.200", "1111:2222:3333:4444:5555:6666:7777:8888"]
            .map(|text| text.parse().unwrap())
            .into();
        addresses
            .extend((0..=255u8).flat_map(|octet| [[octet, 1, 22, octet], [9, octet, octet, 250]].map(IpAddr::from)));
        for address in addresses {
            let mut event = event();
            event.put(&common::CLIENT_IP, address);
            let text = event.address(address);
            event.put(&DNSX, text);
            let json = written(&event);
            let expect = address.to_string();
            assert_eq!(
                (json["client"]["ip"].as_str(), json["dns-x"].as_str()),
                (Some(expect.as_str()), Some(expect.as_str()))
            );
        }
    }

    #[test]
    fn words_that_share_a_place_are_told_apart() {
        // Many words, some of which begin another one where it lies.
        static TEXT: &str = "abcdefghijklmnopqrstuvwxyz\"abcdefghijklmnopqrstuvwxyz";
        let mut writer = JsonWriter::new(schema());
        for round in 0..3 {
            for (from, to) in (0..TEXT.len()).flat_map(|from| (from..=TEXT.len()).step_by(7).map(move |to| (from, to)))
            {
                let word: &'static str = &TEXT[from..to];
                let mut event = event();
                let object = event.object([(word, Value::Static(word)), ("other", Value::Bool(true))]);
                event.put_list(&ANSWERS, [object]);
                let json: serde_json::Value = serde_json::from_slice(writer.write(&event)).unwrap();
                assert_eq!(json["dns"]["answers"][0], serde_json::json!({word: word, "other": true}), "{round}");
            }
        }
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
