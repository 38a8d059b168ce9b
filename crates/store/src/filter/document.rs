//! The part of a filter that only documents answer: text anywhere in them, and values of fields.

use memchr::memmem::Finder;
use serde_json::Value;

use super::{Filter, Sides};
use crate::documents::Block;

/// A text as it stands in a document's JSON, in lower case.
#[derive(Debug)]
pub(crate) struct Needle {
    finder: Finder<'static>,
    /// Whether the documents' letters beyond ASCII have to be made small as well.
    is_wide: bool,
}

impl Needle {
    fn new(text: &str) -> Self {
        let lower = escaped(&text.to_lowercase());
        Self { is_wide: !lower.is_ascii(), finder: Finder::new(&lower).into_owned() }
    }

    fn is_in(&self, block: &Block, row: i64) -> bool {
        if self.is_wide {
            let line = block.line(row).unwrap_or_default();
            return self.finder.find(String::from_utf8_lossy(line).to_lowercase().as_bytes()).is_some();
        }
        block.lower_line(row).is_some_and(|line| self.finder.find(line).is_some())
    }
}

/// As the event's JSON writer escapes it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\u00{:02x}", c as u32)),
            c => out.push(c),
        }
    }
    out
}

/// What has to occur in a document; none if that cannot be told, as with fractions, which may be written in several ways.
fn hints(values: &[String]) -> Option<Vec<Finder<'static>>> {
    let is_plain = |value: &String| value.parse::<i64>().is_ok() || value.parse::<f64>().is_err();
    let hint = |value: &String| Finder::new(&escaped(value)).into_owned();
    (!values.is_empty() && values.iter().all(is_plain)).then(|| values.iter().map(hint).collect())
}

/// Tests documents.
#[derive(Debug)]
pub(crate) struct DocumentTest {
    texts: Vec<Needle>,
    not_texts: Vec<Needle>,
    fields: Vec<(Vec<String>, Sides<String>)>,
    /// Of each field one of these stands in the document as it is.
    hints: Vec<Vec<Finder<'static>>>,
}

impl DocumentTest {
    /// None if no document has to be read.
    pub(crate) fn new(filter: &Filter) -> Option<Self> {
        filter.needs_documents().then(|| Self {
            texts: filter.texts.iter().map(|text| Needle::new(text)).collect(),
            not_texts: filter.not_texts.iter().map(|text| Needle::new(text)).collect(),
            fields: filter.fields.iter().map(|(name, sides)| (path(name), sides.clone())).collect(),
            hints: filter.fields.iter().filter_map(|(_, sides)| hints(&sides.any)).collect(),
        })
    }

    /// Whether the document of a row fits.
    pub(crate) fn fits(&self, block: &Block, row: i64) -> bool {
        if !self.texts.iter().all(|text| text.is_in(block, row))
            || self.not_texts.iter().any(|text| text.is_in(block, row))
        {
            return false;
        }
        if self.fields.is_empty() {
            return true;
        }
        // Reading a document as JSON costs ten times as much as looking whether the value occurs in it at all.
        let line = block.line(row).unwrap_or_default();
        if !self.hints.iter().all(|any| any.iter().any(|hint| hint.find(line).is_some())) {
            return false;
        }
        let Some(document) = value(block, row) else { return false };
        self.fields.iter().all(|(path, sides)| {
            let has = |wanted: &String| {
                let mut found = false;
                each_value(&document, path, &mut |value| found |= value == wanted.as_str());
                found
            };
            (sides.any.is_empty() || sides.any.iter().any(has)) && !sides.none.iter().any(has)
        })
    }
}

/// A dotted name as path.
pub(crate) fn path(name: &str) -> Vec<String> {
    name.split('.').map(str::to_owned).collect()
}

/// The document of a row, parsed; without id.
pub(crate) fn value(block: &Block, row: i64) -> Option<Value> {
    let line = block.line(row)?;
    let mut whole = Vec::with_capacity(line.len() + 1);
    whole.push(b'{');
    whole.extend_from_slice(line);
    serde_json::from_slice(&whole).ok()
}

/// Gives out every value that stands at a path, as text; lists are looked into. A name may have dots in the document, too (keys from
/// packets, such as header names).
pub(crate) fn each_value(value: &Value, path: &[String], out: &mut dyn FnMut(&str)) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| each_value(value, path, out)),
        Value::Object(members) => {
            for length in 1..=path.len() {
                let (head, rest) = path.split_at(length);
                let member = if length == 1 {
                    head.first().and_then(|key| members.get(key))
                } else {
                    members.get(&head.join("."))
                };
                if let Some(member) = member {
                    each_value(member, rest, out);
                }
            }
        }
        _ if !path.is_empty() => {}
        Value::String(text) => out(text),
        Value::Null => {}
        other => out(&other.to_string()),
    }
}
