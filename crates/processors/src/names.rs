//! The fields there can be: those of the tables, and those that processors before have made. Says where a value named by the
//! configuration goes, once, when the configuration is read. Knows no event.

use std::collections::BTreeMap;

use event::{Event, Extra, Field, Kind, Value, common};

use crate::find::is_below;
use crate::literal::check_path;

/// Names that differ more in length are not suggested for each other.
const SIMILAR_LENGTH: usize = 4;

/// The fields by their paths.
#[derive(Debug)]
pub(crate) struct Names {
    known: BTreeMap<&'static str, &'static Field>,
    made: Vec<&'static Field>,
}

/// Where a value goes.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Field(&'static Field),
    /// A member of an object whose keys come from packets.
    Member(&'static Field, String),
}

impl Names {
    /// Those of the field tables.
    pub(crate) fn new(fields: &[&'static Field]) -> Self {
        Self { known: fields.iter().map(|field| (field.path, *field)).collect(), made: Vec::new() }
    }

    /// Those that the configuration made.
    pub(crate) fn made(&self) -> &[&'static Field] {
        &self.made
    }

    /// Whether an event can have something at `path`.
    pub(crate) fn is_known(&self, path: &str) -> bool {
        self.known.contains_key(path) || self.below(path).next().is_some() || self.object_around(path).is_some()
    }

    /// What may have been meant by a path that no event has: one that differs in a step, or a similar one in the same object.
    pub(crate) fn nearest(&self, path: &str) -> Option<&'static str> {
        let differs_in_a_step = |known: &&str| {
            let mut differing = path.split('.').zip(known.split('.')).filter(|(wrong, known)| wrong != known);
            let (first, second) = (differing.next(), differing.next());
            known.matches('.').count() == path.matches('.').count()
                && second.is_none()
                && first.is_some_and(|(wrong, known)| settings::nearest(wrong, [known]).is_some())
        };
        let is_similar = |known: &&str| {
            known.split('.').next() == path.split('.').next() && known.len().abs_diff(path.len()) <= SIMILAR_LENGTH
        };
        settings::nearest(path, self.known.keys().copied().filter(differs_in_a_step))
            .or_else(|| settings::nearest(path, self.known.keys().copied().filter(is_similar)))
    }

    /// The fields below `path`, which is not one itself.
    pub(crate) fn below(&self, path: &str) -> impl Iterator<Item = &'static Field> {
        let start = format!("{path}.");
        let end = start.clone();
        let from_there = self.known.range(start_of(&self.known, &start)..);
        from_there.map(|(_, field)| *field).take_while(move |field| field.path.starts_with(end.as_str()))
    }

    /// The field at `path`.
    pub(crate) fn field(&self, path: &str) -> Option<&'static Field> {
        self.known.get(path).copied()
    }

    /// The field around `path` whose members come from packets or are listed, and what lies below it.
    pub(crate) fn object_around<'p>(&self, path: &'p str) -> Option<(&'static Field, &'p str)> {
        path.match_indices('.').find_map(|(dot, _)| {
            let field = self.field(path.get(..dot)?)?;
            matches!(field.kind, Kind::Object | Kind::Objects).then(|| (field, path.get(dot + 1..).unwrap_or_default()))
        })
    }

    /// Where a value of this kind goes that is to stand at `path`; makes a field if there is none. The kind is `None` if it
    /// cannot be told.
    ///
    /// # Errors
    /// Why nothing can stand there, and what to do.
    pub(crate) fn target(&mut self, path: &str, kind: Option<Kind>) -> Result<Target, String> {
        check_path(path)?;
        if is_mandatory(path) || path == "_id" {
            return Err(format!("every event has its own `{path}`, which cannot be replaced; choose another name"));
        }
        match self.object_around(path) {
            Some((field, rest)) if field.kind == Kind::Object => return Ok(Target::Member(field, rest.to_owned())),
            Some((field, _)) => {
                return Err(format!(
                    "`{0}` is a list of objects, and nothing can be put into them; choose a name outside `{0}`",
                    field.path
                ));
            }
            None => {}
        }
        if let Some(field) = self.field(path) {
            if kind.is_some_and(|kind| !fits(kind, field.kind)) {
                return Err(format!("`{path}` holds {}, which this is not; choose another name", what(field.kind)));
            }
            return Ok(Target::Field(field));
        }
        let mut parents = path.match_indices('.').filter_map(|(dot, _)| self.field(path.get(..dot)?));
        if let Some(parent) = parents.next_back() {
            return Err(format!("`{}` holds a value, so nothing can stand below it; choose another name", parent.path));
        }
        if let Some(below) = self.below(path).next() {
            return Err(format!(
                "`{path}` is an object, which holds `{}`; choose a name in it or another one",
                below.path
            ));
        }
        let Some(field) = Field::custom(path, kind.unwrap_or(Kind::Keyword)) else {
            return Err("too many fields were made up by configurations; start the program again".to_owned());
        };
        self.known.insert(field.path, field);
        self.made.push(field);
        Ok(Target::Field(field))
    }
}

/// The first key from `start` on: a range of a map of `&'static str` cannot be asked for by a shorter-lived text.
fn start_of(known: &BTreeMap<&'static str, &'static Field>, start: &str) -> &'static str {
    use std::ops::Bound;
    let after = known.range::<str, _>((Bound::Included(start), Bound::Unbounded)).next();
    // Nothing sorts behind U+10FFFF.
    after.map_or("\u{10ffff}\u{10ffff}", |(path, _)| *path)
}

/// Whether every event has it and keeps it.
pub(crate) fn is_mandatory(path: &str) -> bool {
    Extra::ALL.iter().any(|extra| extra.is_mandatory() && extra.field().path == path)
}

fn fits(kind: Kind, into: Kind) -> bool {
    match into {
        Kind::Keyword | Kind::Text => !matches!(kind, Kind::Object | Kind::Objects),
        Kind::Double => matches!(kind, Kind::Long | Kind::Double),
        _ => kind == into,
    }
}

pub(crate) fn what(kind: Kind) -> &'static str {
    match kind {
        Kind::Keyword | Kind::Text => "a text",
        Kind::Ip => "an address",
        Kind::Long => "a whole number",
        Kind::Double => "a number",
        Kind::Boolean => "true or false",
        Kind::Time => "a point in time",
        Kind::Object | Kind::Objects => "an object",
    }
}

impl Target {
    /// Its value in an event.
    pub(crate) fn get(&self, event: &Event) -> Option<Value> {
        match self {
            Self::Field(field) => event.get(field).copied(),
            Self::Member(field, member) => match event.get(field)? {
                Value::Object(object) => {
                    let mut members = event.members(*object).iter().rev();
                    members.find(|(key, _)| event.key(key) == member).map(|(_, value)| *value)
                }
                _ => None,
            },
        }
    }

    /// Takes its value out of an event.
    pub(crate) fn take(&self, event: &mut Event) -> Option<Value> {
        match self {
            Self::Field(field) => {
                let fields = event.fields_mut();
                let at = fields.iter().rposition(|(set, _)| std::ptr::eq(*set, *field))?;
                let (_, value) = fields.remove(at);
                event.remove(field);
                Some(value)
            }
            Self::Member(field, member) => {
                let Value::Object(object) = *event.get(field)? else { return None };
                let at = event.members(object).iter().rposition(|(key, _)| event.key(key) == member)?;
                let (without, value) = event.without_member(object, at)?;
                if let Some(place) = place_of(event, field) {
                    *place = without;
                }
                Some(value)
            }
        }
    }

    /// Sets its value in an event; what was there is gone.
    pub(crate) fn set(&self, event: &mut Event, value: Value) {
        match self {
            Self::Field(field) => {
                if let Some(extra) = Extra::ALL.iter().find(|extra| std::ptr::eq(extra.field(), *field)) {
                    event.leave_out(*extra);
                }
                match place_of(event, field) {
                    Some(place) => *place = value,
                    None => event.put(field, value),
                }
            }
            Self::Member(field, member) => {
                self.take(event);
                let member = (event.text_key(member), value);
                let object = match event.get(field) {
                    Some(Value::Object(object)) => event.with_member(*object, member),
                    _ => event.object([member]),
                };
                match place_of(event, field) {
                    Some(place) => *place = object,
                    None => event.put(field, object),
                }
            }
        }
    }
}

/// Where the value of a field stands that counts.
fn place_of<'e>(event: &'e mut Event, field: &'static Field) -> Option<&'e mut Value> {
    event.fields_mut().iter_mut().rev().find(|(set, _)| std::ptr::eq(*set, field)).map(|(_, value)| value)
}

/// Adds a remark to `error.message`, beside what a decoder said there.
pub(crate) fn remark(event: &mut Event, text: impl std::fmt::Display) {
    let text = event.display(text);
    append(event, &Target::Field(&common::ERROR_MESSAGE), [text]);
}

/// Appends values to a list, which a single value becomes.
pub(crate) fn append(event: &mut Event, target: &Target, more: impl IntoIterator<Item = Value>) {
    let mut values = match target.take(event) {
        None => Vec::new(),
        Some(Value::List(list)) => event.items(list).to_vec(),
        Some(Value::Words(words)) => words.iter().map(|word| Value::Static(word)).collect(),
        Some(value) => vec![value],
    };
    values.extend(more);
    let value = match values.as_slice() {
        [only] if is_single(target) => *only,
        all => event.list(all.iter().copied()),
    };
    target.set(event, value);
}

/// `error.message` is a list only where several things went wrong.
fn is_single(target: &Target) -> bool {
    matches!(target, Target::Field(field) if std::ptr::eq(*field, &common::ERROR_MESSAGE))
}

/// What every event has and may be without, of those whose path is meant.
pub(crate) fn extras_at(is_meant: impl Fn(&str) -> bool) -> Vec<Extra> {
    Extra::ALL.into_iter().filter(|extra| !extra.is_mandatory() && is_meant(extra.field().path)).collect()
}

/// Whether one path lies in the other, either way.
pub(crate) fn overlap(one: &str, other: &str) -> bool {
    is_below(one, other) || is_below(other, one)
}
