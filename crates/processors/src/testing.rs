//! An event with every kind of value, and processors from TOML, for the tests.

use std::sync::{Arc, OnceLock};

use event::{Event, JsonWriter, Key, Observer, Origin, Schema, common};

use crate::Processors;

event::fields! {
    /// Fields of the tests.
    pub static TABLE;
    STATUS_CODE: Long = "http.response.status_code", "Status.";
    HEADERS: Object = "http.request.headers", "Headers.";
    URL_PATH: Keyword = "url.path", "Path.";
    ANSWERS: Objects = "dns.answers", "Answers.";
    ANSWER_NAME: Keyword = "dns.answers.name", "Name.";
    ANSWER_TTL: Long = "dns.answers.ttl", "Time to live.";
    FLOW_ID: Keyword = "flow.id", "Flow.";
    FLOW_FINAL: Boolean = "flow.final", "Whether it is over.";
    LOAD: Double = "x.load", "A fraction.";
}

fn schema() -> &'static Schema {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    SCHEMA.get_or_init(|| Schema::new(&[TABLE]).unwrap())
}

pub(crate) fn event() -> Event {
    schema();
    let observer = Arc::new(Observer { name: "web1".into(), epoch: "00ff".into(), is_file: false });
    let origin = Origin { observer, interface: "".into(), first_packet: 3, last_packet: 4 };
    let mut event = Event::new("http", packet::Timestamp::from_parts(1, 0), origin);
    event.put(&common::STATUS, "OK");
    event.put(&common::STATUS, "Error");
    event.put(&STATUS_CODE, 404u16);
    event.put_text(&URL_PATH, "/shop/cart");
    event.put(&common::SOURCE_IP, std::net::IpAddr::from([192, 168, 1, 10]));
    event.put(&common::SOURCE_MAC, [0x0a, 0, 0x27, 0, 0, 0xff]);
    event.put(&common::DESTINATION_IP, "2001:db8::1".parse::<std::net::IpAddr>().unwrap());
    event.put_text(&common::CLIENT_DOMAIN, "10.0.0.7");
    event.put_text(&common::USER_NAME, "äöü€x");
    event.put(&common::EVENT_CATEGORY, &["network", "web"] as &[&str]);
    let (host, shop) = (event.text_key("host"), event.text("shop.example"));
    let headers = event.object([(host, shop), (Key::Static("accept"), "*/*".into())]);
    event.put(&HEADERS, headers);
    let (a, b) = (event.text("a.example"), event.text("b.example"));
    let answers = [event.object([("name", a), ("ttl", 5u8.into())]), event.object([("name", b)])];
    event.put_list(&ANSWERS, answers);
    event.put(&FLOW_FINAL, true);
    event.put(&LOAD, 0.5);
    let tag = event.text("edge");
    event.put_list(&common::TAGS, [tag]);
    event.anomaly("http.cut", 7);
    event
}

pub(crate) fn written(event: &Event) -> serde_json::Value {
    let mut writer = JsonWriter::new(schema());
    let line = writer.write(event);
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

/// From a file with `[[processors]]`.
pub(crate) fn processors(text: &str) -> Result<Processors, String> {
    struct Whole(Processors);
    impl<'de> serde::Deserialize<'de> for Whole {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            Processors::deserialize(schema().fields(), deserializer).map(Whole)
        }
    }
    #[derive(serde::Deserialize)]
    struct File {
        processors: Whole,
    }
    let file: File = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    // What is written down again is the same.
    let again = toml::to_string(&std::collections::BTreeMap::from([("processors", &file.processors.0)])).unwrap();
    let again: File = toml::from_str(&again).unwrap_or_else(|error| panic!("{error}: {again}"));
    assert_eq!(again.processors.0, file.processors.0);
    Ok(file.processors.0)
}

/// The document after one processor.
pub(crate) fn applied(entry: &str) -> serde_json::Value {
    let all = processors(&in_entry(entry)).unwrap_or_else(|problem| panic!("{entry}: {problem}"));
    let mut event = event();
    assert!(all.apply(&mut event), "{entry} drops the event");
    written(&event)
}

/// What is said of a processor that cannot be.
pub(crate) fn refused(entry: &str) -> String {
    match processors(&in_entry(entry)) {
        Ok(_) => panic!("{entry} is taken"),
        Err(problem) => problem,
    }
}

fn in_entry(entry: &str) -> String {
    // A table's heading is below the entry's.
    let entry = entry.strip_prefix('[').map_or(entry.to_owned(), |rest| format!("[processors.{rest}"));
    format!("[[processors]]\n{entry}\n")
}
