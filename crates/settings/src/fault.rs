//! What is wrong with values that could be read, as the program finds it that knows what they mean.
//! Deliberately knows keys only: where a key stands in file, environment or command line is the loader's.

use std::fmt;

use crate::document::Sources;
use crate::problem::{Place, Problem, Problems};

/// Collects what is wrong: all of it, not only the first.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults {
    list: Vec<Fault>,
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    key: String,
    problem: String,
}

impl Faults {
    /// Notes what is wrong with a key, dotted and with its section, and what to do.
    pub fn add(&mut self, key: impl Into<String>, problem: impl fmt::Display) {
        self.list.push(Fault { key: key.into(), problem: problem.to_string() });
    }

    /// The value, if it is good; otherwise notes why not.
    pub fn note<T>(&mut self, key: impl Into<String>, result: Result<T, impl fmt::Display>) -> Option<T> {
        result.map_err(|problem| self.add(key, problem)).ok()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// With the places of the keys.
    pub(crate) fn at(self, sources: &Sources) -> Problems {
        let located = self.list.into_iter().map(|fault| {
            match sources.place_of(&fault.key).unwrap_or(Place::Unsaid) {
                // A place that is the key itself says it already, and one beside it would say something else.
                place @ Place::Set(_) if place == Place::Set(fault.key.clone()) => Problem::new(place, fault.problem),
                Place::Set(path) if !fault.key.starts_with(&path) => Problem::new(Place::Unsaid, fault.to_string()),
                place => Problem::new(place, fault.to_string()),
            }
        });
        Problems::new(located.collect())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.list.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}
