//! Joins file, environment and `--set` into one document whose every value knows where it came from, and deserialises a section of it.
//! Deliberately keeps going after an error: what is wrong is noted and taken out, and the rest is tried again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue, ValueDeserializer};

use crate::SECTIONS;
use crate::problem::{Place, Problem, suggestion};

/// More problems than this are not looked for.
const PROBLEMS_MAX: usize = 200;

/// The texts that make up the configuration, lowest precedence first. Each text gets a range of offsets of its own,
/// so that a span found anywhere in the joined document says which text it is from.
#[derive(Default)]
pub(crate) struct Sources {
    texts: Vec<Source>,
    end: usize,
}

struct Source {
    base: usize,
    text: String,
    origin: Origin,
}

enum Origin {
    File(PathBuf),
    Value(Place),
}

impl Sources {
    pub(crate) fn add_file(&mut self, path: &Path, text: String) {
        self.push(Origin::File(path.to_owned()), text);
    }

    /// A single value; text that is no TOML value and does not look like one is a string.
    pub(crate) fn add_value(&mut self, place: Place, path: &str, value: &str) {
        let as_toml = format!("{path} = {value}");
        let looks_like_toml = value.starts_with(['[', '{', '"', '\'']);
        let text = if !value.contains('\n') && (looks_like_toml || DeTable::parse(&as_toml).is_ok()) {
            as_toml
        } else {
            format!("{path} = {}", toml::Value::String(value.to_owned()))
        };
        self.push(Origin::Value(place), text);
    }

    fn push(&mut self, origin: Origin, text: String) {
        let base = self.end;
        self.end += text.len() + 1;
        self.texts.push(Source { base, text, origin });
    }

    /// Where the value of a key stands, dotted and with its section; if it is not said, where the innermost table around it begins
    /// that is smaller than the section.
    pub(crate) fn place_of(&self, key: &str) -> Option<Place> {
        let root = self.join(&mut Vec::new());
        let (section, mut rest) = key.split_once('.')?;
        let mut value = root.get(section)?;
        let mut found = None;
        while let DeValue::Table(table) = value.get_ref() {
            // Names of sources have dots: the longest key that fits is meant.
            let fits =
                |name: &str| rest.strip_prefix(name).is_some_and(|after| after.is_empty() || after.starts_with('.'));
            let longest =
                table.iter().filter(|(name, _)| fits(name.get_ref())).max_by_key(|(name, _)| name.get_ref().len());
            let Some((name, inner)) = longest else { break };
            found = self.place(name.span().start);
            rest = rest.get(name.get_ref().len() + 1..).unwrap_or_default();
            value = inner;
        }
        found
    }

    /// All texts as one table, those of higher precedence over the others; notes what is no TOML.
    fn join(&self, problems: &mut Vec<Problem>) -> DeTable<'_> {
        let mut root = DeTable::new();
        for source in &self.texts {
            let (table, errors) = DeTable::parse_recoverable(&source.text);
            for error in errors {
                let offset = error.span().map_or(0, |span| span.start);
                problems.push(Problem::new(source.place(offset), error.message()));
            }
            merge(&mut root, shift_table(table.into_inner(), source.base));
        }
        root
    }

    fn place(&self, offset: usize) -> Option<Place> {
        let source = self.texts.iter().rev().find(|source| source.base <= offset)?;
        Some(source.place(offset - source.base))
    }
}

impl Source {
    fn place(&self, offset: usize) -> Place {
        match &self.origin {
            Origin::File(path) => {
                let before = self.text.as_bytes().iter().take(offset);
                Place::File { path: path.clone(), line: 1 + before.filter(|byte| **byte == b'\n').count() }
            }
            Origin::Value(place) => place.clone(),
        }
    }
}

/// Deserialises `section` of the joined sources, noting everything that is wrong with it, with the file's syntax and with section names.
pub(crate) fn deserialize<T: DeserializeOwned>(
    section: &str,
    sources: &Sources,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let mut root = sources.join(problems);
    for (name, _) in root.iter() {
        let name_text: &str = name.get_ref();
        if !SECTIONS.contains(&name_text)
            && let Some(place) = sources.place(name.span().start)
        {
            let message = format!("unknown section `{name_text}`; {}", suggestion(name_text, SECTIONS));
            problems.push(Problem::new(place, message));
        }
    }
    let mut table = match root.remove(section) {
        Some(value) => value,
        None => Spanned::new(0..0, DeValue::Table(DeTable::new())),
    };
    let mut removed: Vec<Vec<Step>> = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let error = match T::deserialize(ValueDeserializer::from(table.clone())) {
            Ok(loaded) => return Some(loaded),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| table.span());
        let mut best = None;
        let mut path = Vec::new();
        find(&table, &span, &mut path, &mut best);
        let place = sources.place(span.start).unwrap_or_else(|| Place::Set(section.to_owned()));
        let written = best.as_ref().map(|found: &Found| as_written(&found.path, &removed)).unwrap_or_default();
        let at = dotted(section, &written);
        // What holds something that was taken out may be wrong only for the want of it.
        let is_consequence = removed.iter().any(|path| path.len() > written.len() && path.starts_with(&written));
        if !is_consequence {
            problems.push(Problem::new(place, explain(error.message(), &at)));
        }
        match best {
            Some(found) => {
                remove(&mut table, &found.path);
                removed.push(written);
            }
            None => return None,
        }
    }
    None
}

/// Puts serde's message into the words of a configuration and names the nearest known key.
fn explain(message: &str, at: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    for (lead, noun) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        if message.starts_with(lead)
            && let Some((wrong, known)) = quoted.split_first()
        {
            let subject = if noun == "key" {
                format!("unknown key `{at}`")
            } else {
                format!("{at}: `{wrong}` is no possible value")
            };
            return format!("{subject}; {}", suggestion(wrong, known));
        }
    }
    format!("{at}: {}", message.trim_end())
}

#[derive(Clone, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

struct Found {
    length: usize,
    path: Vec<Step>,
}

/// Finds the smallest, then deepest, element whose key or value is where the error is.
fn find(value: &Spanned<DeValue<'_>>, span: &Range<usize>, path: &mut Vec<Step>, best: &mut Option<Found>) {
    let mut offer = |candidate: Range<usize>, path: &[Step]| {
        let inside = candidate.start <= span.start && span.end <= candidate.end;
        let length = candidate.len();
        if inside
            && best.as_ref().is_none_or(|b| length < b.length || (length == b.length && path.len() > b.path.len()))
        {
            *best = Some(Found { length, path: path.to_vec() });
        }
    };
    match value.get_ref() {
        DeValue::Table(table) => {
            for (key, child) in table.iter() {
                path.push(Step::Key(key.get_ref().to_string()));
                offer(key.span(), path);
                offer(child.span(), path);
                path.pop();
            }
            for (key, child) in table.iter() {
                path.push(Step::Key(key.get_ref().to_string()));
                find(child, span, path, best);
                path.pop();
            }
        }
        DeValue::Array(array) => {
            for (index, child) in array.iter().enumerate() {
                path.push(Step::Index(index));
                offer(child.span(), path);
                path.pop();
            }
            for (index, child) in array.iter().enumerate() {
                path.push(Step::Index(index));
                find(child, span, path, best);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Where the element stood before others of its list were taken out.
fn as_written(path: &[Step], removed: &[Vec<Step>]) -> Vec<Step> {
    let mut written: Vec<Step> = Vec::with_capacity(path.len());
    for step in path {
        let mut step = step.clone();
        if let Step::Index(index) = &mut step {
            let taken_out = removed.iter().filter_map(|path| match path.split_last() {
                Some((Step::Index(index), list)) if list == written => Some(*index),
                _ => None,
            });
            let mut taken_out: Vec<usize> = taken_out.collect();
            taken_out.sort_unstable();
            for before in taken_out {
                *index += usize::from(before <= *index);
            }
        }
        written.push(step);
    }
    written
}

fn remove(value: &mut Spanned<DeValue<'_>>, path: &[Step]) {
    let Some((step, rest)) = path.split_first() else { return };
    match (value.get_mut(), step) {
        (DeValue::Table(table), Step::Key(key)) => {
            if rest.is_empty() {
                table.remove(key.as_str());
            } else if let Some(child) = table.get_mut(key.as_str()) {
                remove(child, rest);
            }
        }
        (DeValue::Array(array), Step::Index(index)) if *index < array.len() => {
            if rest.is_empty() {
                let all = std::mem::replace(array, DeArray::new());
                *array = all.into_iter().enumerate().filter(|(i, _)| i != index).map(|(_, element)| element).collect();
            } else if let Some(child) = array.get_mut(*index) {
                remove(child, rest);
            }
        }
        _ => {}
    }
}

fn dotted(section: &str, path: &[Step]) -> String {
    let mut out = section.to_owned();
    for step in path {
        match step {
            Step::Key(key) => {
                out.push('.');
                out.push_str(key);
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }
    out
}

/// Lays `over` onto `under`: tables are joined, everything else is replaced.
fn merge<'i>(under: &mut DeTable<'i>, over: DeTable<'i>) {
    for (key, value) in over {
        let merged = match (under.remove_entry(&key), value) {
            (Some((old_key, mut old)), value) if old.get_ref().is_table() && value.get_ref().is_table() => {
                if let (DeValue::Table(old), DeValue::Table(new)) = (old.get_mut(), value.into_inner()) {
                    merge(old, new);
                }
                (old_key, old)
            }
            (_, value) => (key, value),
        };
        under.insert(merged.0, merged.1);
    }
}

fn shift_table(table: DeTable<'_>, base: usize) -> DeTable<'_> {
    let mut shifted = DeTable::new();
    for (key, value) in table {
        shifted.insert(shift_key(key, base), shift_value(value, base));
    }
    shifted
}

fn shift_key(key: Spanned<DeString<'_>>, base: usize) -> Spanned<DeString<'_>> {
    let span = key.span();
    Spanned::new(span.start + base..span.end + base, key.into_inner())
}

fn shift_value(value: Spanned<DeValue<'_>>, base: usize) -> Spanned<DeValue<'_>> {
    let span = value.span();
    let inner = match value.into_inner() {
        DeValue::Table(table) => DeValue::Table(shift_table(table, base)),
        DeValue::Array(mut array) => {
            for element in array.iter_mut() {
                let taken = std::mem::replace(element, Spanned::new(0..0, DeValue::Boolean(false)));
                *element = shift_value(taken, base);
            }
            DeValue::Array(array)
        }
        other => other,
    };
    Spanned::new(span.start + base..span.end + base, inner)
}
