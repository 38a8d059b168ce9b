//! The filter: which events are meant, in the words of `docs/api.md`.
//! Only understands and holds it; `sql.rs` and `document.rs` apply it.

mod document;
mod parse;
mod sql;

use std::net::Ipv6Addr;

pub(crate) use document::{DocumentTest, each_value, path, value};
pub(crate) use sql::{Condition, Names, by_names, condition};

/// The words with a meaning of their own: those of events' columns. Any field of the event reference is one too.
pub const WORDS: &[&str] = &["type", "source", "status", "ip", "port", "flow", "call"];

/// Words that all have to hold. Made by [`Filter::parse`]; the empty one fits every event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    pub(crate) types: Sides<String>,
    pub(crate) sources: Sides<String>,
    pub(crate) statuses: Sides<String>,
    pub(crate) ips: Sides<Network>,
    pub(crate) ports: Sides<u16>,
    pub(crate) flows: Sides<String>,
    pub(crate) calls: Sides<String>,
    /// All of them have to occur.
    pub(crate) texts: Vec<String>,
    /// None of them may occur.
    pub(crate) not_texts: Vec<String>,
    /// By name of the field.
    pub(crate) fields: Vec<(String, Sides<String>)>,
}

/// Values of one word: one of `any` has to hold unless it is empty, and none of `none`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sides<T> {
    pub(crate) any: Vec<T>,
    pub(crate) none: Vec<T>,
}

impl<T> Default for Sides<T> {
    fn default() -> Self {
        Self { any: Vec::new(), none: Vec::new() }
    }
}

impl<T> Sides<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    fn add(&mut self, value: T, excludes: bool) {
        if excludes { self.none.push(value) } else { self.any.push(value) }
    }
}

/// Addresses from `first` to `last`, IPv4 as mapped into IPv6: how they stand in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) first: Ipv6Addr,
    pub(crate) last: Ipv6Addr,
}

/// A word that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}`: {reason}")]
pub struct FilterError {
    /// The word as it was given.
    pub word: String,
    /// Why.
    pub reason: String,
    /// What to do.
    pub hint: String,
}

impl Filter {
    /// Whether roll-ups can answer it: no words but type, source and status.
    pub(crate) fn is_by_names(&self) -> bool {
        self.ips.is_empty()
            && self.ports.is_empty()
            && self.flows.is_empty()
            && self.calls.is_empty()
            && !self.needs_documents()
    }

    /// Whether documents have to be read to apply it.
    pub(crate) fn needs_documents(&self) -> bool {
        !(self.texts.is_empty() && self.not_texts.is_empty() && self.fields.is_empty())
    }

    /// Whether it fits every event.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
