//! Values as they stand in a configuration, and tables of them by dotted path: `a.b = 1`, `"a.b" = 1` and `a = { b = 1 }` are one.
//! What a value may be is said by whoever reads it, while it is read, so that a mistake is named with its line.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// TOML's dates and times come as a table with this one key.
const DATE_TIME: &str = "$__toml_private_datetime";

/// A value of the configuration.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    /// True or false.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// A number.
    Float(f64),
    /// A text.
    Text(String),
    /// Several.
    List(Vec<Literal>),
    /// A table within a list.
    Table(Vec<(String, Literal)>),
}

impl Literal {
    /// What it is, for messages.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            Self::Bool(_) => "true or false",
            Self::Integer(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
        }
    }
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Integer(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(values) => serializer.collect_seq(values),
            Self::Table(members) => serializer.collect_map(members.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Literal;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }
            fn visit_bool<E: Error>(self, truth: bool) -> Result<Literal, E> {
                Ok(Literal::Bool(truth))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Literal, E> {
                Ok(Literal::Integer(number))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Literal, E> {
                Ok(i64::try_from(number).map_or(Literal::Float(number as f64), Literal::Integer))
            }
            fn visit_f64<E: Error>(self, number: f64) -> Result<Literal, E> {
                Ok(Literal::Float(number))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Literal, E> {
                Ok(Literal::Text(text.to_owned()))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Literal, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(Literal::List(values))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Literal, A::Error> {
                let mut members = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if key == DATE_TIME {
                        return map.next_value().map(Literal::Text);
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(Literal::Table(members))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// What the values of a table are made into.
pub(crate) trait Leaf: Sized {
    /// From the configuration's value.
    ///
    /// # Errors
    /// Why it cannot be one, and what to do.
    fn from_literal(path: &str, literal: Literal) -> Result<Self, String>;

    /// The configuration's value.
    fn to_literal(&self) -> Literal;
}

impl Leaf for Literal {
    fn from_literal(_: &str, literal: Literal) -> Result<Self, String> {
        Ok(literal)
    }
    fn to_literal(&self) -> Literal {
        self.clone()
    }
}

/// A table by dotted paths; never empty.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Flat<T>(pub(crate) Vec<(String, T)>);

impl<T: Leaf> Serialize for Flat<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (path, leaf) in &self.0 {
            map.serialize_entry(path, &leaf.to_literal())?;
        }
        map.end()
    }
}

impl<'de, T: Leaf> Deserialize<'de> for Flat<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Table<T>(PhantomData<T>);
        impl<'de, T: Leaf> Visitor<'de> for Table<T> {
            type Value = Flat<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of fields")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Flat<T>, A::Error> {
                let mut out = Vec::new();
                below(String::new(), &mut out, map)?;
                if out.is_empty() {
                    return Err(A::Error::custom("no field is named"));
                }
                Ok(Flat(out))
            }
        }
        deserializer.deserialize_map(Table(PhantomData))
    }
}

/// Everything in a table that stands at `path`.
fn below<'de, T: Leaf, A: MapAccess<'de>>(
    path: String,
    out: &mut Vec<(String, T)>,
    mut map: A,
) -> Result<(), A::Error> {
    while let Some(key) = map.next_key::<String>()? {
        if key == DATE_TIME {
            let text: String = map.next_value()?;
            out.push((path.clone(), T::from_literal(&path, Literal::Text(text)).map_err(A::Error::custom)?));
            return Ok(());
        }
        let path = if path.is_empty() { key } else { format!("{path}.{key}") };
        check_path(&path).map_err(A::Error::custom)?;
        map.next_value_seed(At { path, out })?;
    }
    Ok(())
}

/// A path is names with a dot between each two.
pub(crate) fn check_path(path: &str) -> Result<(), String> {
    if path.split('.').any(str::is_empty) {
        return Err(format!("`{path}` is no name of a field; names look like `http.response.status_code`"));
    }
    Ok(())
}

struct At<'o, T> {
    path: String,
    out: &'o mut Vec<(String, T)>,
}

impl<T: Leaf> At<'_, T> {
    fn leaf<E: Error>(self, literal: Literal) -> Result<(), E> {
        let leaf = T::from_literal(&self.path, literal).map_err(E::custom)?;
        self.out.push((self.path, leaf));
        Ok(())
    }
}

impl<'de, T: Leaf> DeserializeSeed<'de> for At<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Leaf> Visitor<'de> for At<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for `{}`", self.path)
    }
    fn visit_bool<E: Error>(self, truth: bool) -> Result<(), E> {
        self.leaf(Literal::Bool(truth))
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.leaf(Literal::Integer(number))
    }
    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.leaf(i64::try_from(number).map_or(Literal::Float(number as f64), Literal::Integer))
    }
    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.leaf(Literal::Float(number))
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.leaf(Literal::Text(text.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element()? {
            values.push(value);
        }
        self.leaf(Literal::List(values))
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        below(self.path, self.out, map)
    }
}
