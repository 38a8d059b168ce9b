//! Values of an event by dotted path: fields, members of objects and of lists of objects, and what every event has beside its fields.
//! Compares paths as text; changes nothing.

use std::net::IpAddr;

use event::{Event, Extra, ExtraValue, Value};
use packet::Timestamp;

/// A single value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Found<'e> {
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'e str),
    Ip(IpAddr),
    Time(Timestamp),
    Mac([u8; 6]),
}

impl Found<'_> {
    /// As a number, if it is one.
    pub(crate) fn number(self) -> Option<f64> {
        match self {
            Self::Unsigned(number) => Some(number as f64),
            Self::Signed(number) => Some(number as f64),
            Self::Float(number) => Some(number),
            _ => None,
        }
    }

    /// Shows `test` what stands in the document as a text; anything else fails it.
    pub(crate) fn as_text(self, test: impl FnOnce(&str) -> bool) -> bool {
        match self {
            Self::Text(text) => test(text),
            Self::Ip(address) => test(&address.to_string()),
            Self::Time(time) => {
                let mut text = Vec::with_capacity(32);
                time.write_rfc3339(&mut text);
                test(&String::from_utf8_lossy(&text))
            }
            Self::Mac([a, b, c, d, e, f]) => test(&format!("{a:02X}-{b:02X}-{c:02X}-{d:02X}-{e:02X}-{f:02X}")),
            Self::Bool(_) | Self::Unsigned(_) | Self::Signed(_) | Self::Float(_) => false,
        }
    }
}

/// What of `path` lies below `base`: nothing left if they are the same, `None` if it does not lie there.
pub(crate) fn rest_below<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('.') }
}

/// Whether `path` is `base` or lies below it.
pub(crate) fn is_below(path: &str, base: &str) -> bool {
    rest_below(path, base).is_some()
}

/// Whether a value at `path` passes the test. Of a list one must.
pub(crate) fn any(event: &Event, path: &str, mut test: impl FnMut(Found<'_>) -> bool) -> bool {
    for (field, value) in event.fields().iter().rev() {
        if let Some(rest) = rest_below(path, field.path) {
            return any_in(event, value, rest, &mut test);
        }
    }
    for extra in Extra::ALL {
        let Some(rest) = rest_below(path, extra.field().path) else { continue };
        return match (extra.value(event), rest) {
            (Some(ExtraValue::Time(time)), "") => test(Found::Time(time)),
            (Some(ExtraValue::Text(text)), "") => test(Found::Text(text)),
            (Some(ExtraValue::Number(number)), "") => test(Found::Unsigned(number)),
            (Some(ExtraValue::Bool(truth)), "") => test(Found::Bool(truth)),
            (Some(ExtraValue::Anomalies(list)), "name") => list.iter().any(|anomaly| test(Found::Text(anomaly.name))),
            (Some(ExtraValue::Anomalies(list)), "offset") => {
                list.iter().any(|anomaly| test(Found::Unsigned(anomaly.offset)))
            }
            _ => false,
        };
    }
    false
}

fn any_in(event: &Event, value: &Value, rest: &str, test: &mut impl FnMut(Found<'_>) -> bool) -> bool {
    match value {
        Value::List(list) => event.items(*list).iter().any(|value| any_in(event, value, rest, test)),
        Value::Object(object) if !rest.is_empty() => event
            .members(*object)
            .iter()
            .any(|(key, value)| rest_below(rest, event.key(key)).is_some_and(|rest| any_in(event, value, rest, test))),
        _ if !rest.is_empty() => false,
        Value::Bool(truth) => test(Found::Bool(*truth)),
        Value::Unsigned(number) => test(Found::Unsigned(*number)),
        Value::Signed(number) => test(Found::Signed(*number)),
        Value::Float(number) => test(Found::Float(*number)),
        Value::Static(text) => test(Found::Text(text)),
        Value::Text(_) => event.as_str(value).is_some_and(|text| test(Found::Text(text))),
        Value::Ip(address) => test(Found::Ip(*address)),
        Value::Time(time) => test(Found::Time(*time)),
        Value::Mac(address) => test(Found::Mac(*address)),
        Value::Words(words) => words.iter().any(|word| test(Found::Text(word))),
        Value::Object(_) => false,
    }
}

/// Whether the event has something at `path`, be it an object.
pub(crate) fn is_there(event: &Event, path: &str) -> bool {
    let in_fields = event.fields().iter().any(|(field, value)| match rest_below(path, field.path) {
        Some(rest) => is_in(event, value, rest),
        None => is_below(field.path, path),
    });
    in_fields
        || Extra::ALL.iter().any(|extra| {
            let own = extra.field().path;
            let is_member = matches!(rest_below(path, own), Some("name" | "offset")) && *extra == Extra::Anomalies;
            (is_member || is_below(own, path)) && extra.value(event).is_some()
        })
}

fn is_in(event: &Event, value: &Value, rest: &str) -> bool {
    match value {
        _ if rest.is_empty() => true,
        Value::List(list) => event.items(*list).iter().any(|value| is_in(event, value, rest)),
        Value::Object(object) => event
            .members(*object)
            .iter()
            .any(|(key, value)| rest_below(rest, event.key(key)).is_some_and(|rest| is_in(event, value, rest))),
        _ => false,
    }
}
