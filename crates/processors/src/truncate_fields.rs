//! `truncate_fields`: long texts cut short, never within a character. What was cut says so in `log.flags`.

use event::{Event, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::find::rest_below;
use crate::literal::check_path;
use crate::names::{Names, Target, append};

/// Cuts texts short.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TruncateFields {
    /// Which.
    pub fields: Vec<String>,
    /// So many bytes of UTF-8 stay at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<usize>,
    /// So many characters stay at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_characters: Option<usize>,
    /// Whether it is no error that an event does not have a field.
    #[serde(default)]
    pub ignore_missing: bool,
    /// Whether after an error the event stays as it was.
    #[serde(default)]
    pub fail_on_error: bool,
    /// Of which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// Ready.
#[derive(Debug)]
pub(crate) struct Truncation {
    fields: Vec<String>,
    limit: Limit,
    ignore_missing: bool,
    fail_on_error: bool,
    flags: Target,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Bytes(usize),
    Characters(usize),
}

impl Limit {
    /// Where a text is cut, if it is too long.
    fn end(self, text: &str) -> Option<usize> {
        match self {
            Self::Bytes(most) if text.len() <= most => None,
            Self::Bytes(most) => (0..=most).rev().find(|end| text.is_char_boundary(*end)),
            Self::Characters(most) if text.len() <= most => None,
            Self::Characters(most) => text.char_indices().nth(most).map(|(end, _)| end),
        }
    }
}

impl Truncation {
    pub(crate) fn new(truncate: &TruncateFields, names: &mut Names) -> Result<Self, String> {
        let limit = match (truncate.max_bytes, truncate.max_characters) {
            (Some(0), _) | (_, Some(0)) => return Err("0 would leave nothing; use `drop_fields`".to_owned()),
            (Some(most), None) => Limit::Bytes(most),
            (None, Some(most)) => Limit::Characters(most),
            _ => return Err("exactly one of `max_bytes` and `max_characters` must be given".to_owned()),
        };
        truncate.fields.iter().try_for_each(|path| check_path(path))?;
        Ok(Self {
            fields: truncate.fields.clone(),
            limit,
            ignore_missing: truncate.ignore_missing,
            fail_on_error: truncate.fail_on_error,
            flags: names.target("log.flags", Some(Kind::Keyword))?,
        })
    }

    pub(crate) fn apply(&self, event: &mut Event) {
        let mut was_cut = false;
        if !self.fail_on_error || self.fields.iter().all(|path| self.is_possible(event, path)) {
            for path in &self.fields {
                let found = event.fields().iter().enumerate().rev();
                let mut found =
                    found.filter_map(|(at, (field, value))| Some((at, rest_below(path, field.path)?, *value)));
                if let Some((at, rest, value)) = found.next()
                    && let Some(cut) = self.cut(value, rest, event)
                    && let Some((_, place)) = event.fields_mut().get_mut(at)
                {
                    *place = cut;
                    was_cut = true;
                }
            }
        }
        if was_cut {
            append(event, &self.flags, [Value::Static("truncated")]);
        }
    }

    /// What is left of a value of which something was cut.
    fn cut(&self, mut value: Value, rest: &str, event: &mut Event) -> Option<Value> {
        match value {
            Value::List(list) => {
                let mut was_cut = false;
                for at in 0..event.items(list).len() {
                    if let Some(item) = event.items(list).get(at).copied()
                        && let Some(cut) = self.cut(item, rest, event)
                        && let Some(place) = event.items_mut(list).get_mut(at)
                    {
                        *place = cut;
                        was_cut = true;
                    }
                }
                was_cut.then_some(value)
            }
            Value::Object(object) if !rest.is_empty() => {
                let mut was_cut = false;
                for at in 0..event.members(object).len() {
                    if let Some((key, member)) = event.members(object).get(at).copied()
                        && let Some(rest) = rest_below(rest, event.key(&key))
                        && let Some(cut) = self.cut(member, rest, event)
                        && let Some(place) = event.members_mut(object).get_mut(at)
                    {
                        place.1 = cut;
                        was_cut = true;
                    }
                }
                was_cut.then_some(value)
            }
            _ if !rest.is_empty() => None,
            Value::Words(words) => {
                words.iter().find(|word| self.limit.end(word).is_some())?;
                let list = event.list(words.iter().copied());
                self.cut(list, rest, event)
            }
            _ => {
                let end = self.limit.end(event.as_str(&value)?)?;
                value.cut(end);
                Some(value)
            }
        }
    }

    fn is_possible(&self, event: &Event, path: &str) -> bool {
        let found = event.fields().iter().rev().find_map(|(field, value)| Some((rest_below(path, field.path)?, value)));
        match found {
            None => self.ignore_missing,
            Some((rest, value)) => match is_text(value, rest, event) {
                None => self.ignore_missing,
                Some(is_text) => is_text,
            },
        }
    }
}

/// Whether there are only texts there; `None` if nothing is.
fn is_text(value: &Value, rest: &str, event: &Event) -> Option<bool> {
    let all = |found: &mut dyn Iterator<Item = bool>| found.reduce(|a, b| a && b);
    match value {
        Value::List(list) => all(&mut event.items(*list).iter().filter_map(|value| is_text(value, rest, event))),
        Value::Object(object) if !rest.is_empty() => all(&mut event
            .members(*object)
            .iter()
            .filter_map(|(key, value)| rest_below(rest, event.key(key)).and_then(|rest| is_text(value, rest, event)))),
        _ if !rest.is_empty() => None,
        Value::Static(_) | Value::Text(_) | Value::Words(_) => Some(true),
        _ => Some(false),
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, applied, refused};
    use serde_json::json;

    #[test]
    fn texts_are_cut_and_flagged() {
        let after = applied("truncate_fields = { fields = ['url.path', 'http.request.headers.host'], max_bytes = 4 }");
        assert_eq!(after["url"]["path"], "/sho");
        assert_eq!(after["http"]["request"]["headers"]["host"], "shop");
        assert_eq!(after["log"]["flags"], json!(["truncated"]));
        let after =
            applied("truncate_fields = { fields = ['dns.answers.name', 'event.category'], max_characters = 3 }");
        assert_eq!(after["dns"]["answers"], json!([{"name": "a.e", "ttl": 5}, {"name": "b.e"}]));
        assert_eq!(after["event"]["category"], json!(["net", "web"]));
    }

    #[test]
    fn no_character_is_cut_in_two() {
        for (limit, left) in [
            ("max_bytes = 1", ""),
            ("max_bytes = 2", "ä"),
            ("max_bytes = 3", "ä"),
            ("max_bytes = 8", "äöü"),
            ("max_bytes = 9", "äöü€"),
            ("max_characters = 1", "ä"),
            ("max_characters = 3", "äöü"),
        ] {
            let after = applied(&format!("truncate_fields = {{ fields = ['user.name'], {limit} }}"));
            assert_eq!(after["user"]["name"], left, "{limit}");
        }
        for whole in ["max_bytes = 10", "max_characters = 5", "max_characters = 400"] {
            let after = applied(&format!("truncate_fields = {{ fields = ['user.name'], {whole} }}"));
            assert_eq!(after["user"]["name"], "äöü€x");
            assert!(after.get("log").is_none());
        }
    }

    #[test]
    fn what_is_missing_or_no_text_stops_only_if_that_is_asked_for() {
        let before = testing::written(&testing::event());
        let list = |field: &str| format!("truncate_fields = {{ fields = ['url.path', '{field}'], max_bytes = 4");
        for field in ["request", "http.response.status_code", "source.ip", "http.request.headers.cookie", "@timestamp"]
        {
            assert_eq!(applied(&format!("{} }}", list(field)))["url"]["path"], "/sho");
            assert_eq!(applied(&format!("{}, fail_on_error = true }}", list(field))), before, "{field}");
        }
        let both = applied(&format!("{}, fail_on_error = true, ignore_missing = true }}", list("request")));
        assert_eq!(both["url"]["path"], "/sho");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (wrong, said) in [
            ("truncate_fields = { fields = ['a'] }", "exactly one of"),
            ("truncate_fields = { fields = ['a'], max_bytes = 1, max_characters = 1 }", "exactly one of"),
            ("truncate_fields = { fields = ['a'], max_bytes = 0 }", "use `drop_fields`"),
            ("truncate_fields = { fields = ['a'], max_bytes = -1 }", "invalid value"),
            ("truncate_fields = { fields = [], max_bytes = 1 }", "no field is named"),
            ("truncate_fields = { fields = ['a.'], max_bytes = 1 }", "`a.` is no name"),
        ] {
            let problem = refused(wrong);
            assert!(problem.contains(said), "{wrong}: {problem}");
        }
    }
}
