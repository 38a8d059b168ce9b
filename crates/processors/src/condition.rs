//! Conditions: something that is true of an event or not, in Packetbeat's words.
//! A condition knows no field tables: a field that an event does not have meets none but `not`.

use std::fmt;
use std::net::IpAddr;

use event::Event;
use regex::Regex;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::find::{self, Found};
use crate::literal::{Flat, Leaf, Literal, check_path};
use crate::network::Networks;
use crate::range::{self, Bound};

/// A condition, checked and ready. From the configuration it comes by `Deserialize`: a table with one word, such as
/// `{ equals = { "http.response.status_code" = 200 } }`.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Equals(Flat<Exact>),
    Contains(Flat<Part>),
    Regexp(Flat<Pattern>),
    Range { given: Flat<Bound>, fields: Vec<(String, Vec<Bound>)> },
    Network(Flat<Networks>),
    HasFields(Vec<String>),
    And(Vec<Condition>),
    Or(Vec<Condition>),
    Not(Box<Condition>),
}

const WORDS: &[&str] = &["equals", "contains", "regexp", "range", "network", "has_fields", "and", "or", "not"];

impl Condition {
    /// Whether it is so.
    pub fn matches(&self, event: &Event) -> bool {
        match &self.0 {
            Kind::Equals(fields) => {
                fields.0.iter().all(|(path, wanted)| find::any(event, path, |found| wanted.is(found)))
            }
            Kind::Contains(fields) => fields.0.iter().all(|(path, part)| {
                find::any(event, path, |found| found.as_text(|text| text.contains(part.0.as_str())))
            }),
            Kind::Regexp(fields) => fields
                .0
                .iter()
                .all(|(path, pattern)| find::any(event, path, |found| found.as_text(|text| pattern.0.is_match(text)))),
            Kind::Range { fields, .. } => fields.iter().all(|(path, bounds)| {
                find::any(event, path, |found| {
                    found.number().is_some_and(|number| bounds.iter().all(|bound| bound.admits(number)))
                })
            }),
            Kind::Network(fields) => fields.0.iter().all(|(path, networks)| {
                find::any(event, path, |found| address(found).is_some_and(|address| networks.contain(address)))
            }),
            Kind::HasFields(paths) => paths.iter().all(|path| find::is_there(event, path)),
            Kind::And(conditions) => conditions.iter().all(|condition| condition.matches(event)),
            Kind::Or(conditions) => conditions.iter().any(|condition| condition.matches(event)),
            Kind::Not(condition) => !condition.matches(event),
        }
    }

    /// The fields it asks for.
    pub fn fields(&self) -> Vec<&str> {
        match &self.0 {
            Kind::Equals(fields) => fields.0.iter().map(|(path, _)| path.as_str()).collect(),
            Kind::Contains(fields) => fields.0.iter().map(|(path, _)| path.as_str()).collect(),
            Kind::Regexp(fields) => fields.0.iter().map(|(path, _)| path.as_str()).collect(),
            Kind::Range { fields, .. } => fields.iter().map(|(path, _)| path.as_str()).collect(),
            Kind::Network(fields) => fields.0.iter().map(|(path, _)| path.as_str()).collect(),
            Kind::HasFields(paths) => paths.iter().map(String::as_str).collect(),
            Kind::And(conditions) | Kind::Or(conditions) => conditions.iter().flat_map(Self::fields).collect(),
            Kind::Not(condition) => condition.fields(),
        }
    }
}

fn address(found: Found<'_>) -> Option<IpAddr> {
    match found {
        Found::Ip(address) => Some(address),
        Found::Text(text) => text.parse().ok(),
        _ => None,
    }
}

/// The value of `equals`.
#[derive(Debug, Clone, PartialEq)]
enum Exact {
    Bool(bool),
    Number(i64),
    /// With the address that it is, if it is one: addresses have several forms.
    Text(String, Option<IpAddr>),
}

impl Exact {
    fn is(&self, found: Found<'_>) -> bool {
        match (self, found) {
            (Self::Bool(wanted), Found::Bool(truth)) => *wanted == truth,
            (Self::Number(wanted), Found::Unsigned(number)) => u64::try_from(*wanted) == Ok(number),
            (Self::Number(wanted), Found::Signed(number)) => *wanted == number,
            (Self::Number(wanted), Found::Float(number)) => *wanted as f64 == number,
            (Self::Text(_, wanted), Found::Ip(address)) => *wanted == Some(address),
            (Self::Text(wanted, _), found) => found.as_text(|text| text == wanted),
            _ => false,
        }
    }
}

impl Leaf for Exact {
    fn from_literal(path: &str, literal: Literal) -> Result<Self, String> {
        match literal {
            Literal::Bool(truth) => Ok(Self::Bool(truth)),
            Literal::Integer(number) => Ok(Self::Number(number)),
            Literal::Text(text) => {
                let address = text.parse().ok();
                Ok(Self::Text(text, address))
            }
            Literal::Float(_) => Err(format!("`{path}` cannot equal a fraction for sure; use `range`")),
            Literal::List(_) | Literal::Table(_) => {
                Err(format!("`{path}` is compared with one value; for several use `or`"))
            }
        }
    }

    fn to_literal(&self) -> Literal {
        match self {
            Self::Bool(truth) => Literal::Bool(*truth),
            Self::Number(number) => Literal::Integer(*number),
            Self::Text(text, _) => Literal::Text(text.clone()),
        }
    }
}

/// The value of `contains`.
#[derive(Debug, Clone, PartialEq)]
struct Part(String);

impl Leaf for Part {
    fn from_literal(path: &str, literal: Literal) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => Ok(Self(text)),
            other => Err(format!("`{path}` can contain a text, and this is {}", other.what())),
        }
    }

    fn to_literal(&self) -> Literal {
        Literal::Text(self.0.clone())
    }
}

/// A regular expression. Matching takes time linear in the text.
#[derive(Debug, Clone)]
pub(crate) struct Pattern(pub(crate) Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Pattern {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Regex::new(text).map(Self).map_err(|error| {
            let error = error.to_string();
            let reason = error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
            format!("`{text}` is no regular expression: {reason}")
        })
    }
}

impl Leaf for Pattern {
    fn from_literal(path: &str, literal: Literal) -> Result<Self, String> {
        match literal {
            Literal::Text(text) => Self::parse(&text),
            other => Err(format!("the regular expression for `{path}` is a text, and this is {}", other.what())),
        }
    }

    fn to_literal(&self) -> Literal {
        Literal::Text(self.0.as_str().to_owned())
    }
}

impl Serialize for Condition {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match &self.0 {
            Kind::Equals(fields) => map.serialize_entry("equals", fields)?,
            Kind::Contains(fields) => map.serialize_entry("contains", fields)?,
            Kind::Regexp(fields) => map.serialize_entry("regexp", fields)?,
            Kind::Range { given, .. } => map.serialize_entry("range", given)?,
            Kind::Network(fields) => map.serialize_entry("network", fields)?,
            Kind::HasFields(paths) => map.serialize_entry("has_fields", paths)?,
            Kind::And(conditions) => map.serialize_entry("and", conditions)?,
            Kind::Or(conditions) => map.serialize_entry("or", conditions)?,
            Kind::Not(condition) => map.serialize_entry("not", condition)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Condition {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneWord;
        impl<'de> Visitor<'de> for OneWord {
            type Value = Condition;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a condition: a table with one of {}", WORDS.join(", "))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Condition, A::Error> {
                let Some(word) = map.next_key::<String>()? else {
                    return Err(A::Error::custom(format_args!(
                        "the condition is empty; write one of {}",
                        WORDS.join(", ")
                    )));
                };
                let kind = match word.as_str() {
                    "equals" => Kind::Equals(map.next_value()?),
                    "contains" => Kind::Contains(map.next_value()?),
                    "regexp" => Kind::Regexp(map.next_value()?),
                    "range" => {
                        let given = map.next_value()?;
                        Kind::Range { fields: range::by_field(&given), given }
                    }
                    "network" => Kind::Network(map.next_value()?),
                    "has_fields" => Kind::HasFields(some(&word, map.next_value()?)?),
                    "and" => Kind::And(some(&word, map.next_value()?)?),
                    "or" => Kind::Or(some(&word, map.next_value()?)?),
                    "not" => Kind::Not(map.next_value()?),
                    _ => return Err(A::Error::unknown_variant(&word, WORDS)),
                };
                if let Kind::HasFields(paths) = &kind {
                    paths.iter().try_for_each(|path| check_path(path)).map_err(A::Error::custom)?;
                }
                if let Some(second) = map.next_key::<String>()? {
                    return Err(A::Error::custom(format_args!(
                        "`{word}` and `{second}` stand side by side; join them: and = [{{{word} = ...}}, {{{second} = ...}}]"
                    )));
                }
                Ok(Condition(kind))
            }
        }
        deserializer.deserialize_map(OneWord)
    }
}

fn some<T, E: Error>(word: &str, list: Vec<T>) -> Result<Vec<T>, E> {
    if list.is_empty() {
        Err(E::custom(format_args!("`{word}` has an empty list; name at least one")))
    } else {
        Ok(list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn is_met(condition: &str) -> bool {
        let condition: Condition =
            toml::from_str(condition).unwrap_or_else(|error| panic!("{condition}: {}", error.message()));
        let again: Condition = toml::from_str(&toml::to_string(&condition).unwrap()).unwrap();
        assert_eq!(condition, again);
        condition.matches(&testing::event())
    }

    fn problem(condition: &str) -> String {
        match toml::from_str::<Condition>(condition) {
            Ok(condition) => panic!("{condition:?}"),
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn every_condition_is_met_by_some_events_only() {
        for met in [
            "equals.type = 'http'",
            "equals.'http.response.status_code' = 404",
            "equals = { status = 'Error', 'source.ip' = '192.168.1.10' }",
            "equals.'destination.ip' = '2001:db8:0:0::1'",
            "equals.'flow.final' = true",
            "equals.tags = 'edge'",
            "equals.'dns.answers.name' = 'b.example'",
            "equals.'http.request.headers.host' = 'shop.example'",
            "equals.'observer.name' = 'web1'",
            "equals.'tapline.packet.first' = 3",
            "equals.'tapline.anomalies.name' = 'http.cut'",
            "equals.'source.mac' = '0A-00-27-00-00-FF'",
            "equals.'@timestamp' = '1970-01-01T00:00:01.000Z'",
            "contains.'url.path' = '/cart'",
            "contains.tags = 'dge'",
            "contains.'source.ip' = '168.1'",
            "contains.'event.category' = 'net'",
            "regexp.'url.path' = '^/shop/[a-z]+$'",
            "regexp.'tags' = '^e'",
            "range.'http.response.status_code.gte' = 404",
            "range.http.response.status_code = { gte = 400, lt = 500 }",
            "range.http.response.status_code.gt = 403.5",
            "range = { 'http.response.status_code.lte' = 404, 'x.load.lt' = 0.75 }",
            "network.'source.ip' = 'private'",
            "network = { source.ip = ['loopback', '192.168.0.0/16'], destination.ip = '2001:db8::/32' }",
            "network.'client.domain' = '10.0.0.0/8'",
            "has_fields = ['http.response', 'status', 'type', '@timestamp', 'dns.answers.name', 'tapline.source', 'tapline.anomalies']",
            "and = [{ has_fields = ['status'] }, { equals.type = 'http' }]",
            "or = [{ has_fields = ['nothing'] }, { equals.type = 'http' }]",
            "not.equals.type = 'dns'",
            "not.has_fields = ['nothing']",
            "not.range.'nothing.gt' = 1",
        ] {
            assert!(is_met(met), "{met}");
        }
        for not_met in [
            "equals.type = 'htt'",
            "equals.'http.response.status_code' = '404'",
            "equals.'http.response.status_code' = -1",
            "equals.'http.response' = 404",
            "equals.status = 1",
            "equals = { status = 'Error', type = 'dns' }",
            "equals.'flow.final' = false",
            "equals.nothing = false",
            "equals.'dns.answers' = 'b.example'",
            "contains.'http.response.status_code' = '40'",
            "contains.'url.path' = 'CART'",
            "regexp.'url.path' = '^cart'",
            "range.'http.response.status_code' = { gt = 404 }",
            "range.'http.response.status_code' = { gte = 400, lt = 404 }",
            "range.'status.gt' = 0",
            "range.'nothing.lt' = 5",
            "network.'source.ip' = 'public'",
            "network.'source.ip' = ['10.0.0.0/8', 'fd00::/8']",
            "network.'status' = '0.0.0.0/0'",
            "has_fields = ['status', 'nothing']",
            "has_fields = ['stat']",
            "has_fields = ['http.request.headers.cookie']",
            "and = [{ has_fields = ['nothing'] }, { equals.type = 'http' }]",
            "or = [{ has_fields = ['nothing'] }, { equals.type = 'dns' }]",
            "not.equals.type = 'http'",
        ] {
            assert!(!is_met(not_met), "{not_met}");
        }
    }

    #[test]
    fn what_cannot_be_a_condition_is_said() {
        for (wrong, said) in [
            ("", "the condition is empty"),
            ("equal.type = 'a'", "unknown variant `equal`"),
            ("equals = {}", "no field is named"),
            ("equals = 'http'", "a table of fields"),
            ("equals.x = 1.5", "use `range`"),
            ("equals.x = [1, 2]", "use `or`"),
            ("equals.'a..b' = 1", "`a..b` is no name of a field"),
            ("contains.x = 5", "this is a whole number"),
            ("regexp.x = '('", "`(` is no regular expression: unclosed group"),
            ("regexp.x = '(?=a)'", "is no regular expression: look-around"),
            ("regexp.x = true", "this is true or false"),
            ("range.x = 5", "write `x.gte`"),
            ("range.'x.ge' = 5", "ends in gt, gte, lt or lte"),
            ("range.gte = 5", "write `FIELD.gte`"),
            ("range.'x.gte' = '5'", "needs numbers, and this is a text"),
            ("range.'x.gte' = nan", "needs numbers"),
            ("network.x = 'intranet'", "`intranet` is no network"),
            ("network.x = '10.0.0.1'", "`10.0.0.1/32`"),
            ("network.x = 5", "are texts"),
            ("has_fields = []", "`has_fields` has an empty list"),
            ("has_fields = ['']", "`` is no name of a field"),
            ("and = []", "`and` has an empty list"),
            ("or = [{ not = {} }]", "the condition is empty"),
            ("equals.a = 1\ncontains.b = 'c'", "`contains` and `equals` stand side by side; join them"),
        ] {
            let problem = problem(wrong);
            assert!(problem.contains(said), "{wrong}: {problem}");
        }
    }

    #[test]
    fn a_condition_tells_its_fields() {
        let condition: Condition = toml::from_str(
            "and = [{ range = { 'a.gt' = 1, 'a.lt' = 2 } }, { not.or = [{ has_fields = ['b'] }, { network.c.d = 'public' }] }]",
        )
        .unwrap();
        assert_eq!(condition.fields(), ["a", "b", "c.d"]);
    }
}
