//! `add_fields`: values of the configuration, the same in every event. What is there under their names is replaced.

use event::{Event, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::literal::{Flat, Literal};
use crate::names::{Names, Target, what};

/// Adds fields.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AddFields {
    /// The object they are put into; empty for the document itself.
    #[serde(default = "fields")]
    pub target: String,
    /// Names and values, nested or with dots.
    fields: Flat<Literal>,
    /// To which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

fn fields() -> String {
    "fields".to_owned()
}

/// Ready.
#[derive(Debug)]
pub(crate) struct Added(Vec<(Target, Constant)>);

/// A value without an event to keep its texts.
#[derive(Debug)]
enum Constant {
    Plain(Value),
    Text(String),
    List(Vec<Constant>),
    Table(Vec<(String, Constant)>),
}

impl Added {
    pub(crate) fn new(add: &AddFields, names: &mut Names) -> Result<Self, String> {
        let mut list = Vec::new();
        for (path, literal) in &add.fields.0 {
            let path = if add.target.is_empty() { path.clone() } else { format!("{}.{path}", add.target) };
            let known = names.field(&path).map(|field| field.kind);
            let value = constant(literal, known)
                .map_err(|is| format!("`{path}` holds {}, and this is {is}", known.map_or("something else", what)))?;
            list.push((names.target(&path, Some(known.unwrap_or_else(|| kind(literal))))?, value));
        }
        Ok(Self(list))
    }

    pub(crate) fn apply(&self, event: &mut Event) {
        for (target, constant) in &self.0 {
            let value = constant.value(event);
            target.set(event, value);
        }
    }
}

/// What a new field holds.
fn kind(literal: &Literal) -> Kind {
    match literal {
        Literal::Bool(_) => Kind::Boolean,
        Literal::Integer(_) => Kind::Long,
        Literal::Float(_) => Kind::Double,
        Literal::Text(_) => Kind::Keyword,
        Literal::List(values) => values.first().map_or(Kind::Keyword, kind),
        Literal::Table(_) => Kind::Object,
    }
}

/// The value, if it may stand in a field of this kind; else what it is.
fn constant(literal: &Literal, into: Option<Kind>) -> Result<Constant, &'static str> {
    let plain = |value: Value| Ok(Constant::Plain(value));
    match (literal, into) {
        (Literal::List(values), _) => {
            values.iter().map(|value| constant(value, into)).collect::<Result<_, _>>().map(Constant::List)
        }
        (Literal::Bool(truth), None | Some(Kind::Boolean)) => plain(Value::Bool(*truth)),
        (Literal::Integer(number), None | Some(Kind::Long | Kind::Double)) => plain(Value::Signed(*number)),
        (Literal::Float(number), None | Some(Kind::Double)) => plain(Value::Float(*number)),
        (Literal::Text(text), Some(Kind::Ip)) => text.parse().map(|ip| Constant::Plain(Value::Ip(ip))).or(Err("none")),
        (Literal::Text(text), None | Some(Kind::Keyword | Kind::Text)) => Ok(Constant::Text(text.clone())),
        (Literal::Table(members), None | Some(Kind::Objects | Kind::Object)) => members
            .iter()
            .map(|(key, value)| Ok((key.clone(), constant(value, None)?)))
            .collect::<Result<_, _>>()
            .map(Constant::Table),
        (other, _) => Err(other.what()),
    }
}

impl Constant {
    fn value(&self, event: &mut Event) -> Value {
        match self {
            Self::Plain(value) => *value,
            Self::Text(text) => event.text(text),
            Self::List(values) => {
                let values: Vec<Value> = values.iter().map(|value| value.value(event)).collect();
                event.list(values)
            }
            Self::Table(members) => {
                let mut object = Vec::with_capacity(members.len());
                for (key, value) in members {
                    let key = event.text_key(key);
                    object.push((key, value.value(event)));
                }
                event.object(object)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, applied, refused};
    use serde_json::json;

    #[test]
    fn fields_are_added_under_the_target() {
        let after = applied("add_fields.fields = { site = 'vienna', rack.row = 4, 'rack.share' = 0.5, spare = false }");
        assert_eq!(after["fields"], json!({"site": "vienna", "rack": {"row": 4, "share": 0.5}, "spare": false}));
        let after = applied("add_fields = { target = 'project', fields.names = ['a', 'b'], fields.at = 2026-01-02 }");
        assert_eq!(after["project"], json!({"names": ["a", "b"], "at": "2026-01-02"}));
        let after = applied("add_fields = { target = '', fields.list = [{ a = 1, b = { c = 'd' } }] }");
        assert_eq!(after["list"], json!([{"a": 1, "b": {"c": "d"}}]));
    }

    #[test]
    fn what_is_there_is_replaced() {
        let after = applied(
            "add_fields = { target = '', fields = { status = 'OK', observer.name = 'other', source.ip = '192.0.2.1', http.request.headers.host = 'h' } }",
        );
        assert_eq!(after["status"], "OK");
        assert_eq!(after["observer"]["name"], "other");
        assert_eq!(after["source"]["ip"], "192.0.2.1");
        assert_eq!(after["http"]["request"]["headers"], json!({"accept": "*/*", "host": "h"}));
        let before = testing::written(&testing::event());
        assert_eq!(applied("add_fields = { fields.a = 1, when.equals.type = 'dns' }"), before);
    }

    #[test]
    fn what_cannot_be_added_is_refused() {
        for (wrong, said) in [
            ("add_fields.target = 'x'", "missing field `fields`"),
            ("add_fields.fields = {}", "no field is named"),
            ("add_fields = { target = '', fields.type = 'x' }", "cannot be replaced"),
            ("add_fields = { target = 'status', fields.x = 1 }", "`status` holds a value"),
            ("add_fields = { target = '', fields.http = 1 }", "`http` is an object"),
            ("add_fields = { target = 'source', fields.ip = 'me' }", "`source.ip` holds an address, and this is none"),
            ("add_fields = { target = '', fields.status = 5 }", "`status` holds a text, and this is a whole number"),
            ("add_fields = { target = 'a.', fields.x = 1 }", "`a..x` is no name"),
            ("add_fields = { fields.x = 1, field.y = 2 }", "unknown field `field`"),
        ] {
            let problem = refused(wrong);
            assert!(problem.contains(said), "{wrong}: {problem}");
        }
    }
}
