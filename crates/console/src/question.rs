//! Parameters of a question: their names, their values, and the filter, range and numbers that they are.

use std::collections::BTreeMap;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use packet::Timestamp;
use store::{Filter, Range};

use crate::answer::Refusal;
use crate::fields::Fields;

/// Words that are parameters of their own.
pub(crate) const FILTER: &[&str] = &["q", "type", "source", "status", "ip", "port", "call", "flow"];
/// The range of time.
pub(crate) const RANGE: &[&str] = &["since", "until"];
/// What is looked at when nothing is said.
const LAST: &str = "-15m";

/// What was said after the question mark.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said(BTreeMap<String, Vec<String>>);

impl<S: Sync> FromRequestParts<S> for Said {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|error| Refusal::bad(format!("the query string: {error}"), "escape blanks and signs with %"))?;
        let mut said = Self::default();
        for (name, value) in pairs.0 {
            said.0.entry(name).or_default().push(value);
        }
        Ok(said)
    }
}

impl Said {
    /// Refuses names that the question does not have.
    pub(crate) fn only(&self, known: &[&[&str]]) -> Result<(), Refusal> {
        let is_known = |name: &str| known.iter().any(|names| names.contains(&name));
        match self.0.keys().find(|name| !is_known(name)) {
            None => Ok(()),
            Some(name) => {
                let names: Vec<&str> = known.iter().flat_map(|names| names.iter().copied()).collect();
                Err(Refusal::bad(format!("`{name}` is no parameter here"), format!("there are {}", names.join(", "))))
            }
        }
    }

    /// The last value of a parameter; none where it is empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|values| values.last()).map(String::as_str).filter(|text| !text.is_empty())
    }

    /// A whole number within bounds.
    pub(crate) fn number(&self, name: &str, default: usize, most: usize) -> Result<usize, Refusal> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match text.parse() {
            Ok(number) if (1..=most).contains(&number) => Ok(number),
            _ => Err(Refusal::bad(format!("{name}={text} is no number from 1 to {most}"), "")),
        }
    }

    /// The filter.
    pub(crate) fn filter(&self, fields: &Fields) -> Result<Filter, Refusal> {
        let mut filter = Filter::parse(self.text("q").unwrap_or(""), &|name| fields.knows(name))?;
        for word in FILTER.iter().filter(|word| **word != "q") {
            for value in self.0.get(*word).into_iter().flatten() {
                filter.add(word, value)?;
            }
        }
        Ok(filter)
    }

    /// The range: by default the last 15 minutes.
    pub(crate) fn range(&self) -> Result<Range, Refusal> {
        self.range_or(LAST)
    }

    /// The range, with another beginning where none is said.
    pub(crate) fn range_or(&self, since: &str) -> Result<Range, Refusal> {
        let time = |name: &str, default: &str| {
            api::moment::parse_now(self.text(name).unwrap_or(default))
                .map_err(|error| Refusal::bad(format!("{name}: {error}"), ""))
        };
        let range = Range { since: time("since", since)?, until: time("until", "now")? };
        if range.since >= range.until {
            return Err(Refusal::bad("since is not before until: no event can be meant", "exchange them"));
        }
        Ok(range)
    }

    /// A point in time.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, Refusal> {
        let parse = |text| api::moment::parse_now(text).map_err(|error| Refusal::bad(format!("{name}: {error}"), ""));
        self.text(name).map(parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(query: &str) -> Said {
        let (mut parts, ()) = axum::http::Request::get(format!("/x?{query}")).body(()).unwrap().into_parts();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match std::pin::pin!(Said::from_request_parts(&mut parts, &())).as_mut().poll(&mut context) {
            std::task::Poll::Ready(said) => said.unwrap(),
            std::task::Poll::Pending => unreachable!("nothing is waited for"),
        }
    }

    #[test]
    fn numbers_and_times_out_of_bounds_are_refused_with_the_bounds() {
        assert_eq!(said("limit=7").number("limit", 50, 1000).unwrap(), 7);
        assert_eq!(said("limit=").number("limit", 50, 1000).unwrap(), 50);
        for wrong in ["0", "1001", "x", "-1"] {
            let error = said(&format!("limit={wrong}")).number("limit", 50, 1000).unwrap_err();
            assert!(error.error.contains("1 to 1000"), "{error:?}");
        }
        assert!(said("since=now&until=-1h").range().unwrap_err().error.contains("not before"));
        assert!(said("since=yesterday").range().unwrap_err().error.contains("RFC 3339"));
        let range = said("since=10&until=20.5").range().unwrap();
        assert_eq!((range.since.nanos(), range.until.nanos()), (10_000_000_000, 20_500_000_000));
    }

    #[test]
    fn unknown_parameters_and_words_are_named() {
        let fields = Fields::new(vec![crate::FieldFacts { name: "a.b", kind: "keyword", text: "", types: vec![] }]);
        assert!(said("bukets=7").only(&[FILTER, &["buckets"]]).unwrap_err().error.contains("`bukets`"));
        said("type=dns&q=x").only(&[FILTER]).unwrap();
        assert!(said("q=a.b:7&type=dns&type=http").filter(&fields).is_ok());
        assert!(said("q=ip:nonsense").filter(&fields).unwrap_err().error.contains("ip:nonsense"));
        assert!(said("port=x").filter(&fields).unwrap_err().error.contains("port:x"));
    }
}
