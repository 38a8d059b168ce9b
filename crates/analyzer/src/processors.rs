//! What the configuration does to every event before it is written: labels (`tags`), fields and events taken away (`processors`).
//! Deliberately small: whoever wants more has it in Elasticsearch's pipelines; names and conditions are Packetbeat's.

use std::collections::BTreeMap;

use event::{Event, Value, common};

/// One entry of `analyzer.processors`.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Processor {
    /// Takes fields away.
    DropFields(DropFields),
    /// Takes whole events away.
    DropEvent(DropEvent),
}

/// Which fields.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct DropFields {
    /// Dotted paths; a path takes everything below it along. `@timestamp` and `type` stay.
    pub fields: Vec<String>,
    /// Of which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
    /// For configurations made for Packetbeat: a field that an event does not have is never an error here.
    #[serde(default)]
    pub ignore_missing: bool,
}

/// Which events.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct DropEvent {
    /// All that meet this.
    pub when: Condition,
}

/// Something that is true of an event or not.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Condition {
    /// All these fields have exactly these values.
    Equals(BTreeMap<String, Literal>),
    /// All these fields contain these texts.
    Contains(BTreeMap<String, String>),
    /// All these fields are there.
    HasFields(Vec<String>),
    /// It is not so.
    Not(Box<Condition>),
    /// All of them.
    And(Vec<Condition>),
    /// One of them.
    Or(Vec<Condition>),
}

/// A value to compare with.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(untagged)]
pub enum Literal {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text or an address.
    Text(String),
}

impl Condition {
    fn is_met(&self, event: &Event) -> bool {
        match self {
            Self::Equals(wanted) => wanted.iter().all(|(path, literal)| equals(event, path, literal)),
            Self::Contains(wanted) => {
                wanted.iter().all(|(path, part)| text_at(event, path).is_some_and(|text| text.contains(part.as_str())))
            }
            Self::HasFields(paths) => paths.iter().all(|path| path == "type" || value_at(event, path).is_some()),
            Self::Not(condition) => !condition.is_met(event),
            Self::And(conditions) => conditions.iter().all(|condition| condition.is_met(event)),
            Self::Or(conditions) => conditions.iter().any(|condition| condition.is_met(event)),
        }
    }
}

fn value_at<'e>(event: &'e Event, path: &str) -> Option<&'e Value> {
    event.fields().iter().rev().find(|(field, _)| field.path == path).map(|(_, value)| value)
}

fn text_at<'e>(event: &'e Event, path: &str) -> Option<&'e str> {
    if path == common::TYPE.path {
        return Some(event.event_type);
    }
    event.as_str(value_at(event, path)?)
}

fn equals(event: &Event, path: &str, literal: &Literal) -> bool {
    match literal {
        Literal::Text(wanted) => match text_at(event, path) {
            Some(text) => text == wanted,
            None => matches!(value_at(event, path), Some(Value::Ip(ip)) if ip.to_string() == *wanted),
        },
        Literal::Number(wanted) => match value_at(event, path) {
            Some(Value::Unsigned(number)) => u64::try_from(*wanted) == Ok(*number),
            Some(Value::Signed(number)) => number == wanted,
            _ => false,
        },
        Literal::Bool(wanted) => value_at(event, path) == Some(&Value::Bool(*wanted)),
    }
}

/// Tags and processors, ready to be applied.
#[derive(Debug, Clone, Default)]
pub struct Processors {
    tags: Vec<String>,
    list: Vec<Processor>,
}

impl Processors {
    /// From the configuration.
    pub fn new(tags: &[String], processors: &[Processor]) -> Self {
        Self { tags: tags.to_vec(), list: processors.to_vec() }
    }

    /// Applies them to an event; false drops it.
    pub fn apply(&self, event: &mut Event) -> bool {
        if !self.tags.is_empty() {
            let tags: Vec<Value> = self.tags.iter().map(|tag| event.text(tag)).collect();
            event.put(&common::TAGS, tags);
        }
        for processor in &self.list {
            match processor {
                Processor::DropEvent(drop) if drop.when.is_met(event) => return false,
                Processor::DropEvent(_) => {}
                Processor::DropFields(drop) => {
                    if drop.when.as_ref().is_none_or(|when| when.is_met(event)) {
                        event.retain(|path| !drop.fields.iter().any(|dropped| is_below(path, dropped)));
                    }
                }
            }
        }
        true
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

    fn event() -> Event {
        let observer = Arc::new(Observer { name: "f".into(), epoch: "e".into(), is_file: true });
        let origin = Origin { observer, interface: "".into(), first_packet: 0, last_packet: 1 };
        let mut event = Event::new("http", packet::Timestamp::ZERO, origin);
        event.put(&common::STATUS, "OK");
        event.put(&common::SERVER_PORT, 80u16);
        event
    }

    fn processors(json: &str) -> Vec<Processor> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn tags_are_put_and_fields_dropped_with_what_is_below_them() {
        let mut event = event();
        let Value::Text(key) = event.text("x") else { panic!("a text") };
        event.put(&common::METHOD, Value::Object(vec![(Key::Text(key), 1u8.into()), (Key::Static("y"), 2u8.into())]));
        let drop = processors(r#"[{"drop_fields": {"fields": ["server", "method.x", "status"]}}]"#);
        assert!(Processors::new(&["a".to_owned(), "b".to_owned()], &drop).apply(&mut event));
        assert!(event.get(&common::STATUS).is_none() && event.get(&common::SERVER_PORT).is_none());
        assert!(matches!(event.get(&common::METHOD), Some(Value::Object(members)) if members.len() == 1));
        assert!(matches!(event.get(&common::TAGS), Some(Value::List(tags)) if tags.len() == 2));
    }

    #[test]
    fn events_are_dropped_by_condition() {
        let drops = |condition: &str| {
            let drop = processors(&format!(r#"[{{"drop_event": {{"when": {condition}}}}}]"#));
            !Processors::new(&[], &drop).apply(&mut event())
        };
        assert!(drops(r#"{"not": {"equals": {"type": "flow"}}}"#));
        assert!(!drops(r#"{"not": {"equals": {"type": "http"}}}"#));
        assert!(drops(r#"{"and": [{"equals": {"server.port": 80}}, {"has_fields": ["status"]}]}"#));
        assert!(!drops(r#"{"or": [{"equals": {"server.port": 81}}, {"contains": {"status": "err"}}]}"#));
    }
}
