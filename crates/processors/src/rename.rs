//! `rename` and `copy_fields`: values under other names. An object goes with everything below it.
//! Neither writes over what is there; into lists of objects neither reaches.

use event::{Anomaly, Event, Extra, ExtraValue, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::find::is_there;
use crate::literal::check_path;
use crate::names::{Names, Target, is_mandatory, overlap, remark};

/// Gives fields other names.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rename {
    /// Which, one after the other.
    pub fields: Vec<FromTo>,
    /// Whether it is no error that an event does not have a field.
    #[serde(default)]
    pub ignore_missing: bool,
    /// Whether after an error the event stays as it was, with a remark in `error.message`; else the other fields go on.
    #[serde(default = "yes")]
    pub fail_on_error: bool,
    /// Of which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// Sets fields to the values of others.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CopyFields {
    /// Which, one after the other.
    pub fields: Vec<FromTo>,
    /// Whether it is no error that an event does not have a field.
    #[serde(default)]
    pub ignore_missing: bool,
    /// Whether after an error the event stays as it was, with a remark in `error.message`; else the other fields go on.
    #[serde(default = "yes")]
    pub fail_on_error: bool,
    /// Of which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// From where to where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct FromTo {
    /// The field there is.
    pub from: String,
    /// Its new name.
    pub to: String,
}

const fn yes() -> bool {
    true
}

/// Either of the two, ready.
#[derive(Debug)]
pub(crate) struct Moves {
    name: &'static str,
    is_rename: bool,
    ignore_missing: bool,
    fail_on_error: bool,
    list: Vec<Move>,
}

#[derive(Debug)]
struct Move {
    given: FromTo,
    /// The field itself, or all fields below it.
    parts: Vec<(Source, Target)>,
}

#[derive(Debug)]
enum Source {
    Field(Target),
    Extra(Extra),
}

impl Moves {
    pub(crate) fn rename(rename: &Rename, names: &mut Names) -> Result<Self, String> {
        Self::new("rename", true, &rename.fields, (rename.ignore_missing, rename.fail_on_error), names)
    }

    pub(crate) fn copy(copy: &CopyFields, names: &mut Names) -> Result<Self, String> {
        Self::new("copy_fields", false, &copy.fields, (copy.ignore_missing, copy.fail_on_error), names)
    }

    fn new(
        name: &'static str,
        is_rename: bool,
        fields: &[FromTo],
        (ignore_missing, fail_on_error): (bool, bool),
        names: &mut Names,
    ) -> Result<Self, String> {
        let list = fields.iter().map(|given| Move::new(given, is_rename, names)).collect::<Result<_, _>>()?;
        Ok(Self { name, is_rename, ignore_missing, fail_on_error, list })
    }

    pub(crate) fn apply(&self, event: &mut Event) {
        // What a later failure brings back; before the first change there is nothing to keep.
        let mut before = None;
        let can_fail_later = self.fail_on_error && self.list.len() > 1;
        for next in &self.list {
            let problem = match next.problem(event) {
                Some(Problem::Missing) if self.ignore_missing => continue,
                Some(problem) => problem,
                None => {
                    if can_fail_later && before.is_none() {
                        before = Some(event.clone());
                    }
                    next.apply(event, self.is_rename);
                    continue;
                }
            };
            if self.fail_on_error {
                if let Some(before) = before {
                    *event = before;
                }
                let FromTo { from, to } = &next.given;
                match problem {
                    Problem::Missing => remark(event, format_args!("{}: there is no field {from}", self.name)),
                    Problem::Taken => {
                        remark(event, format_args!("{}: {to} is there already; drop or rename it first", self.name));
                    }
                }
                return;
            }
        }
    }
}

enum Problem {
    Missing,
    Taken,
}

impl Move {
    fn new(given: &FromTo, is_rename: bool, names: &mut Names) -> Result<Self, String> {
        let FromTo { from, to } = given;
        check_path(from)?;
        if is_rename && is_mandatory(from) {
            return Err(format!("`{from}` stays under its name in every event; use `copy_fields`"));
        }
        if overlap(from, to) {
            return Err(format!("`{to}` and `{from}` lie in each other; choose another name"));
        }
        let mut parts = Vec::new();
        if let Some((object, rest)) = names.object_around(from) {
            if object.kind == Kind::Objects {
                return Err(format!(
                    "`{}` is a list of objects, out of which nothing can be taken; choose `{0}` itself",
                    object.path
                ));
            }
            parts.push((Source::Field(Target::Member(object, rest.to_owned())), names.target(to, None)?));
        } else if let Some(field) = names.field(from) {
            parts.push((source(field), names.target(to, Some(field.kind))?));
        } else {
            for field in names.below(from).collect::<Vec<_>>() {
                // Members of listed objects go with the list.
                if names.object_around(field.path).is_none() {
                    let to = format!("{to}{}", field.path.get(from.len()..).unwrap_or_default());
                    parts.push((source(field), names.target(&to, Some(field.kind))?));
                }
            }
            if parts.is_empty() {
                // No event has such a field; the name may be wrong, but the other must be possible.
                names.target(to, None)?;
            }
        }
        Ok(Self { given: given.clone(), parts })
    }

    fn problem(&self, event: &Event) -> Option<Problem> {
        if !self.parts.iter().any(|(source, _)| source.is_there(event)) {
            return Some(Problem::Missing);
        }
        is_there(event, &self.given.to).then_some(Problem::Taken)
    }

    fn apply(&self, event: &mut Event, is_rename: bool) {
        for (source, target) in &self.parts {
            if let Some(value) = source.value(event, is_rename) {
                target.set(event, value);
            }
        }
    }
}

fn source(field: &'static event::Field) -> Source {
    match Extra::ALL.into_iter().find(|extra| std::ptr::eq(extra.field(), field)) {
        Some(extra) => Source::Extra(extra),
        None => Source::Field(Target::Field(field)),
    }
}

impl Source {
    fn is_there(&self, event: &Event) -> bool {
        match self {
            Self::Field(target) => target.get(event).is_some(),
            Self::Extra(extra) => extra.value(event).is_some() || event.get(extra.field()).is_some(),
        }
    }

    fn value(&self, event: &mut Event, is_taken: bool) -> Option<Value> {
        let extra = match self {
            Self::Field(target) if is_taken => return target.take(event),
            Self::Field(target) => return target.get(event),
            Self::Extra(extra) => *extra,
        };
        let own = Target::Field(extra.field());
        if let Some(set) = own.get(event) {
            if is_taken {
                own.take(event);
            }
            return Some(set);
        }
        let value = match extra.value(event)? {
            ExtraValue::Time(time) => Value::Time(time),
            ExtraValue::Number(number) => Value::Unsigned(number),
            ExtraValue::Bool(truth) => Value::Bool(truth),
            ExtraValue::Text(text) => {
                let text = text.to_owned();
                event.text(&text)
            }
            ExtraValue::Anomalies(list) => {
                let list = list.to_owned();
                let object = |one: &Anomaly| event.object([("name", one.name.into()), ("offset", one.offset.into())]);
                let objects: Vec<Value> = list.iter().map(object).collect();
                event.list(objects)
            }
        };
        if is_taken {
            event.leave_out(extra);
        }
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, applied, refused};
    use serde_json::{Value, json};

    fn before() -> Value {
        testing::written(&testing::event())
    }

    #[test]
    fn fields_are_renamed() {
        let after = applied(
            "rename.fields = [{ from = 'status', to = 'outcome.text' }, { from = 'http.response.status_code', to = 'outcome.code' }]",
        );
        assert_eq!(after["outcome"], json!({"text": "Error", "code": 404}));
        assert!(after.get("status").is_none() && after["http"].get("response").is_none(), "{after}");
    }

    #[test]
    fn objects_and_members_are_renamed() {
        let after = applied("rename.fields = [{ from = 'source', to = 'src' }]");
        assert_eq!(after["src"], before()["source"]);
        assert!(after.get("source").is_none());
        let after = applied("rename.fields = [{ from = 'http.request.headers.host', to = 'shop' }]");
        assert_eq!(after["shop"], "shop.example");
        assert_eq!(after["http"]["request"]["headers"], json!({"accept": "*/*"}));
        let after = applied("rename.fields = [{ from = 'status', to = 'http.request.headers.status' }]");
        assert_eq!(after["http"]["request"]["headers"]["status"], "Error");
        let after = applied("rename.fields = [{ from = 'dns.answers', to = 'answers' }]");
        assert_eq!(after["answers"], before()["dns"]["answers"]);
        let after = applied("rename.fields = [{ from = 'observer.name', to = 'host.name' }]");
        assert_eq!(after["host"]["name"], "web1");
        assert!(after.get("observer").is_none());
    }

    #[test]
    fn a_failure_leaves_the_event_as_it_was_with_a_remark() {
        let mut wanted = before();
        wanted["error"]["message"] = "rename: there is no field flow.id".into();
        let list = "fields = [{ from = 'status', to = 'outcome' }, { from = 'flow.id', to = 'flow_id' }]";
        assert_eq!(applied(&format!("[rename]\n{list}")), wanted);
        wanted["error"]["message"] = "rename: url.path is there already; drop or rename it first".into();
        let taken = "rename = { fields = [{ from = 'status', to = 'url.path' }], ignore_missing = true }";
        assert_eq!(applied(taken), wanted);

        for options in ["ignore_missing = true", "fail_on_error = false"] {
            let after = applied(&format!("[rename]\n{options}\n{list}"));
            assert_eq!(after["outcome"], "Error");
            assert!(after.get("error").is_none() && after.get("status").is_none());
        }
    }

    #[test]
    fn fields_are_copied() {
        let mut wanted = before();
        wanted["client_ip"] = wanted["source"]["ip"].clone();
        wanted["time"] = wanted["@timestamp"].clone();
        wanted["peer"] = json!({"ip": "2001:db8::1"});
        assert_eq!(
            applied(
                "copy_fields.fields = [{ from = 'source.ip', to = 'client_ip' }, { from = '@timestamp', to = 'time' }, { from = 'destination', to = 'peer' }]"
            ),
            wanted
        );
        let mut wanted = before();
        wanted["error"]["message"] = "copy_fields: status is there already; drop or rename it first".into();
        assert_eq!(applied("copy_fields.fields = [{ from = 'url.path', to = 'status' }]"), wanted);
        let skipped = "copy_fields = { fields = [{ from = 'url.path', to = 'status' }], fail_on_error = false }";
        assert_eq!(applied(skipped), before());
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        for (wrong, said) in [
            ("rename.fields = []", "no field is named"),
            ("rename.fields = [{ from = 'a' }]", "missing field `to`"),
            ("rename.fields = [{ from = 'a', to = 'b', with = 'c' }]", "unknown field `with`"),
            ("rename.fields = [{ from = 'type', to = 'kind' }]", "use `copy_fields`"),
            ("rename.fields = [{ from = 'status', to = '@timestamp' }]", "cannot be replaced"),
            ("copy_fields.fields = [{ from = 'status', to = '_id' }]", "cannot be replaced"),
            ("rename.fields = [{ from = 'status', to = 'status.text' }]", "lie in each other"),
            ("rename.fields = [{ from = 'status', to = 'url.path.x' }]", "`url.path` holds a value"),
            ("rename.fields = [{ from = 'status', to = 'http' }]", "`http` is an object"),
            ("rename.fields = [{ from = 'status', to = 'source.ip' }]", "`source.ip` holds an address"),
            ("rename.fields = [{ from = 'status', to = 'dns.answers.x' }]", "`dns.answers` is a list of objects"),
            ("rename.fields = [{ from = 'dns.answers.name', to = 'x' }]", "`dns.answers` is a list of objects"),
            ("rename.fields = [{ from = 'nothing', to = 'a..b' }]", "`a..b` is no name"),
            ("copy_fields = { fields = [{ from = 'a', to = 'b' }], ignore = true }", "unknown field `ignore`"),
        ] {
            let problem = refused(wrong);
            assert!(problem.contains(said), "{wrong}: {problem}");
        }
    }
}
