//! Version 2: topics and parts. A data message is topic, meta part (JSON) and the entry as stored; an event message is
//! topic and JSON.

/// Topic of a source's entries. The closing `/`, which no source name holds, names one source exactly.
pub fn data_topic(source: &str) -> String {
    format!("data.v2.{source}/")
}

/// Topic of an event about a source.
pub fn event_topic(name: &str, source: &str) -> String {
    format!("event.v2.{name}.{source}/")
}
