//! One entry of `[[analyzer.processors]]` as the configuration says it: a table with the name of one processor.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::condition::Condition;
use crate::{AddFields, AddTags, CopyFields, DropFields, IncludeFields, Rename, TruncateFields};

/// Takes whole events away.
#[derive(Debug, Clone, PartialEq, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub struct DropEvent {
    /// All that meet this. It must be said: without a condition no event would be left.
    pub when: Condition,
}

macro_rules! processors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// A processor and its options.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Processor {
            $($(#[$doc])* $variant($variant)),*
        }

        impl Processor {
            /// The names of all processors.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// Its name.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name),*
                }
            }

            /// Reads an entry.
            ///
            /// # Errors
            /// What is wrong with it.
            pub fn read<'de, A: MapAccess<'de>>(mut entry: A) -> Result<Self, A::Error> {
                let Some(name) = entry.next_key::<String>()? else {
                    let names = Self::NAMES.join(", ");
                    return Err(A::Error::custom(format_args!("no processor is named; write one of {names}")));
                };
                let processor = match name.as_str() {
                    $($name => Self::$variant(entry.next_value()?),)*
                    _ => return Err(A::Error::unknown_variant(&name, Self::NAMES)),
                };
                if let Some(second) = entry.next_key::<String>()? {
                    return Err(A::Error::custom(format_args!(
                        "`{second}` stands beside `{name}`; an entry has one processor: begin another [[analyzer.processors]] for it, or write it into the table of `{name}` if it is an option"
                    )));
                }
                Ok(processor)
            }
        }

        impl Serialize for Processor {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(1))?;
                match self {
                    $(Self::$variant(options) => map.serialize_entry($name, options)?),*
                }
                map.end()
            }
        }
    };
}

processors! {
    /// Takes whole events away.
    DropEvent = "drop_event";
    /// Takes fields away.
    DropFields = "drop_fields";
    /// Takes all other fields away.
    IncludeFields = "include_fields";
    /// Gives fields other names.
    Rename = "rename";
    /// Sets fields to the values of others.
    CopyFields = "copy_fields";
    /// Adds fields.
    AddFields = "add_fields";
    /// Adds labels.
    AddTags = "add_tags";
    /// Cuts texts short.
    TruncateFields = "truncate_fields";
}

impl Processor {
    /// Its condition.
    pub(crate) fn when(&self) -> Option<&Condition> {
        match self {
            Self::DropEvent(options) => Some(&options.when),
            Self::DropFields(options) => options.when.as_ref(),
            Self::IncludeFields(options) => options.when.as_ref(),
            Self::Rename(options) => options.when.as_ref(),
            Self::CopyFields(options) => options.when.as_ref(),
            Self::AddFields(options) => options.when.as_ref(),
            Self::AddTags(options) => options.when.as_ref(),
            Self::TruncateFields(options) => options.when.as_ref(),
        }
    }

    /// The fields that an event should have for it to do something.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match self {
            Self::DropFields(options) => options.fields.iter().filter_map(|field| field.path()).collect(),
            Self::IncludeFields(options) => options.fields.iter().filter_map(|field| field.path()).collect(),
            Self::Rename(options) => options.fields.iter().map(|given| given.from.as_str()).collect(),
            Self::CopyFields(options) => options.fields.iter().map(|given| given.from.as_str()).collect(),
            Self::TruncateFields(options) => options.fields.iter().map(String::as_str).collect(),
            Self::DropEvent(_) | Self::AddFields(_) | Self::AddTags(_) => Vec::new(),
        }
    }

    /// Whether it does nothing for want of fields. To drop none, or to include none beside those that always stay, makes sense, as in Packetbeat.
    pub(crate) fn lacks_fields(&self) -> bool {
        match self {
            Self::Rename(options) => options.fields.is_empty(),
            Self::CopyFields(options) => options.fields.is_empty(),
            Self::TruncateFields(options) => options.fields.is_empty(),
            Self::DropEvent(_)
            | Self::DropFields(_)
            | Self::IncludeFields(_)
            | Self::AddFields(_)
            | Self::AddTags(_) => false,
        }
    }
}

impl<'de> Deserialize<'de> for Processor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entry;
        impl<'de> Visitor<'de> for Entry {
            type Value = Processor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table with the name of a processor")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Processor, A::Error> {
                Processor::read(map)
            }
        }
        deserializer.deserialize_map(Entry)
    }
}
