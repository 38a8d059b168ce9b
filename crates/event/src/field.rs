//! Fields and their tables. A schema is all tables together: it fixes the order of fields in JSON and finds mistakes.

use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};

/// What a field holds; the Elasticsearch type follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A text that is searched and grouped as a whole (`keyword`).
    Keyword,
    /// A text that is searched by its words (`text`).
    Text,
    /// An address (`ip`).
    Ip,
    /// A whole number (`long`).
    Long,
    /// A number (`double`).
    Double,
    /// True or false (`boolean`).
    Boolean,
    /// A point in time (`date_nanos`).
    Time,
    /// An object whose keys come from the packets (`object`, members as keywords).
    Object,
    /// One or several objects whose members stand in the table with longer paths.
    Objects,
}

/// One field: its path in the document, what it holds and what it means. Made by [`crate::fields!`].
#[derive(Debug)]
pub struct Field {
    /// Dotted path, such as `dns.question.name`.
    pub path: &'static str,
    /// What it holds (or what each holds, where there are several).
    pub kind: Kind,
    /// One sentence for the reference.
    pub meaning: &'static str,
    rank: AtomicU16,
}

const UNRANKED: u16 = u16::MAX;
/// Fields of the configuration have ranks from here on.
const CUSTOM: u16 = 0x8000;
/// As many there may be in the life of a process.
const CUSTOM_MAX: usize = 0x4000;

/// The fields that configurations made. They stay, as those of the tables do; each path and kind is there once.
static CUSTOM_FIELDS: Mutex<Vec<&'static Field>> = Mutex::new(Vec::new());

impl Field {
    /// Used by [`crate::fields!`].
    pub const fn new(path: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self { path, kind, meaning, rank: AtomicU16::new(UNRANKED) }
    }

    /// A field that stands in no table because the configuration made it up: the same for the same path and kind. Its place
    /// among the others follows from its path. `None` when a process has made thousands of them.
    pub fn custom(path: &str, kind: Kind) -> Option<&'static Self> {
        let mut made = CUSTOM_FIELDS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = made.iter().find(|field| field.path == path && field.kind == kind) {
            return Some(known);
        }
        if made.len() >= CUSTOM_MAX {
            return None;
        }
        let rank = AtomicU16::new(CUSTOM + made.len() as u16);
        let path = Box::leak(path.to_owned().into_boxed_str());
        let field: &'static Self =
            Box::leak(Box::new(Self { path, kind, meaning: "Made by the configuration.", rank }));
        made.push(field);
        Some(field)
    }

    /// Whether the configuration made it.
    pub(crate) fn is_custom(&self) -> bool {
        (CUSTOM..UNRANKED).contains(&self.rank())
    }

    #[inline]
    pub(crate) fn rank(&self) -> u16 {
        self.rank.load(Ordering::Relaxed)
    }
}

/// Declares fields and their table:
///
/// ```
/// event::fields! {
///     /// Fields of the example protocol.
///     pub static TABLE;
///     NAME: Keyword = "example.name", "The name asked for.";
///     COUNT: Long = "example.count", "How many there were.";
/// }
/// assert_eq!(TABLE.len(), 2);
/// ```
#[macro_export]
macro_rules! fields {
    ($(#[$attribute:meta])* pub static $table:ident; $($name:ident: $kind:ident = $path:literal, $meaning:literal;)*) => {
        $(
            #[doc = concat!("`", $path, "`: ", $meaning)]
            pub static $name: $crate::Field = $crate::Field::new($path, $crate::Kind::$kind, $meaning);
        )*
        $(#[$attribute])*
        pub static $table: &[&$crate::Field] = &[$(&$name),*];
    };
}

/// A mistake in the field tables: always our own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SchemaError {
    /// Two tables declare the same path.
    Twice(&'static str),
    /// A path is a value here and an object there.
    ValueAndObject(&'static str),
}

impl std::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Twice(path) => write!(f, "field {path} is declared twice"),
            Self::ValueAndObject(path) => write!(f, "field {path} is declared as a value, but others lie below it"),
        }
    }
}

impl std::error::Error for SchemaError {}

/// All fields that may stand in an event, in the order of their paths.
#[derive(Debug)]
pub struct Schema {
    fields: Vec<&'static Field>,
}

impl Schema {
    /// Joins the tables, [`crate::common::TABLE`] included, and fixes the order of fields. A process has one schema: a
    /// second one with other tables would change the order under the first.
    ///
    /// # Errors
    /// A path that is declared twice, or as a value and as an object.
    pub fn new(tables: &[&[&'static Field]]) -> Result<Self, SchemaError> {
        let mut fields: Vec<&'static Field> =
            crate::common::TABLE.iter().chain(tables.iter().copied().flatten()).copied().collect();
        fields.sort_by(|a, b| a.path.split('.').cmp(b.path.split('.')));
        for pair in fields.windows(2) {
            if pair[0].path == pair[1].path {
                return Err(SchemaError::Twice(pair[0].path));
            }
            let below = pair[1].path.strip_prefix(pair[0].path).is_some_and(|rest| rest.starts_with('.'));
            if below && !matches!(pair[0].kind, Kind::Objects | Kind::Object) {
                return Err(SchemaError::ValueAndObject(pair[0].path));
            }
        }
        for (rank, field) in fields.iter().enumerate() {
            field.rank.store(rank as u16, Ordering::Relaxed);
        }
        Ok(Self { fields })
    }

    /// Whether a field stands in one of its tables.
    pub(crate) fn has(&self, field: &'static Field) -> bool {
        self.fields.get(usize::from(field.rank())).is_some_and(|known| std::ptr::eq(*known, field))
    }

    /// All fields in the order of their paths.
    pub fn fields(&self) -> &[&'static Field] {
        &self.fields
    }
}
