//! What the configuration does to every event before it is written: labels (`tags`) and fields taken away (`processors`).
//! Deliberately small: whoever wants more has it in Elasticsearch's pipelines; the names are Packetbeat's.

use event::{Event, Value, common};

/// One entry of `analyzer.processors`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Processor {
    /// Takes fields away.
    DropFields(DropFields),
}

/// Which fields.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct DropFields {
    /// Dotted paths; a path takes everything below it along. `@timestamp` and `type` stay.
    pub fields: Vec<String>,
    /// For configurations made for Packetbeat: a field that an event does not have is never an error here.
    #[serde(default)]
    pub ignore_missing: bool,
}

/// Tags and processors, ready to be applied.
#[derive(Debug, Clone, Default)]
pub struct Processors {
    tags: Vec<String>,
    dropped: Vec<String>,
}

impl Processors {
    /// From the configuration.
    pub fn new(tags: &[String], processors: &[Processor]) -> Self {
        let dropped = processors.iter().flat_map(|Processor::DropFields(drop)| drop.fields.iter().cloned()).collect();
        Self { tags: tags.to_vec(), dropped }
    }

    /// Applies them to an event.
    pub fn apply(&self, event: &mut Event) {
        if !self.tags.is_empty() {
            let tags: Vec<Value> = self.tags.iter().map(|tag| event.text(tag)).collect();
            event.put(&common::TAGS, tags);
        }
        if !self.dropped.is_empty() {
            event.retain(|path| !self.dropped.iter().any(|dropped| is_below(path, dropped)));
        }
    }
}

fn is_below(path: &str, dropped: &str) -> bool {
    path.strip_prefix(dropped).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use event::{Key, Observer, Origin};

    #[test]
    fn tags_are_put_and_fields_dropped_with_what_is_below_them() {
        let processors: Vec<Processor> =
            serde_json::from_str(r#"[{"drop_fields": {"fields": ["server", "method.x", "status"]}}]"#).unwrap();
        let observer = Arc::new(Observer { name: "f".into(), epoch: "e".into(), is_file: true });
        let origin = Origin { observer, interface: "".into(), first_packet: 0, last_packet: 1 };
        let mut event = Event::new("http", packet::Timestamp::ZERO, origin);
        event.put(&common::STATUS, "OK");
        event.put(&common::SERVER_PORT, 80u16);
        let Value::Text(key) = event.text("x") else { panic!("a text") };
        event.put(&common::METHOD, Value::Object(vec![(Key::Text(key), 1u8.into()), (Key::Static("y"), 2u8.into())]));
        Processors::new(&["a".to_owned(), "b".to_owned()], &processors).apply(&mut event);
        assert!(event.get(&common::STATUS).is_none() && event.get(&common::SERVER_PORT).is_none());
        assert!(matches!(event.get(&common::METHOD), Some(Value::Object(members)) if members.len() == 1));
        assert!(matches!(event.get(&common::TAGS), Some(Value::List(tags)) if tags.len() == 2));
    }
}
