//! Finds out which keys a settings structure has, by asking its `Deserialize` implementation.
//! Deliberately needs no derive of its own: what serde would accept is what is found.

use std::cell::Cell;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

/// Nested deeper than this is not looked at.
const DEPTH_MAX: usize = 12;

/// What stands at a path of a settings structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A table with these keys.
    Struct(&'static [&'static str]),
    /// A table with free keys.
    Map,
    /// A list.
    List,
    /// A plain value, or something that cannot be looked into.
    Value,
}

/// What stands at `path` below `T`; `[]` as a step looks into a list or a table with free keys. `None` if there is no such path.
pub fn shape<T: DeserializeOwned>(path: &[&str]) -> Option<Shape> {
    let found = Cell::new(None);
    let _ = T::deserialize(Asker { path, found: &found });
    found.get()
}

/// The dotted paths of all values below `T`, in the order of declaration; `[]` stands for the elements of a list of tables.
pub fn keys<T: DeserializeOwned>() -> Vec<String> {
    let mut out = Vec::new();
    let mut path = Vec::new();
    collect::<T>(&mut path, &mut out);
    out
}

fn collect<T: DeserializeOwned>(path: &mut Vec<&'static str>, out: &mut Vec<String>) {
    match shape::<T>(path) {
        Some(Shape::Struct(fields)) if path.len() < DEPTH_MAX => {
            for field in fields {
                path.push(field);
                collect::<T>(path, out);
                path.pop();
            }
        }
        Some(Shape::List | Shape::Map) if path.len() < DEPTH_MAX => {
            path.push("[]");
            let inner = shape::<T>(path);
            if matches!(inner, Some(Shape::Struct(_))) {
                collect::<T>(path, out);
                path.pop();
            } else {
                path.pop();
                out.push(path.join(".").replace(".[]", "[]"));
            }
        }
        _ => out.push(path.join(".").replace(".[]", "[]")),
    }
}

struct Asker<'a> {
    path: &'a [&'a str],
    found: &'a Cell<Option<Shape>>,
}

/// Ends the questioning; carries nothing, the answer stands in the cell.
#[derive(Debug)]
struct Asked;

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("asked")
    }
}

impl std::error::Error for Asked {}

impl serde::de::Error for Asked {
    fn custom<M: fmt::Display>(_: M) -> Self {
        Asked
    }
}

impl<'a> Asker<'a> {
    fn answer(&self, shape: Shape) -> Asked {
        if self.path.is_empty() {
            self.found.set(Some(shape));
        }
        Asked
    }

    fn below(&self) -> Option<(&'a str, Asker<'a>)> {
        let (first, rest) = self.path.split_first()?;
        Some((first, Asker { path: rest, found: self.found }))
    }
}

impl<'de> Deserializer<'de> for Asker<'_> {
    type Error = Asked;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Asked> {
        Err(self.answer(Shape::Value))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Asked> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Asked> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Asked> {
        match self.below() {
            None => Err(self.answer(Shape::Struct(fields))),
            Some((key, value)) if fields.contains(&key) => {
                visitor.visit_map(One { key: Some(key), value: Some(value) })
            }
            Some(_) => Err(Asked),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Asked> {
        match self.below() {
            None => Err(self.answer(Shape::Map)),
            Some((key, value)) => visitor.visit_map(One { key: Some(key), value: Some(value) }),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Asked> {
        match self.below() {
            None => Err(self.answer(Shape::List)),
            Some(("[]", value)) => visitor.visit_seq(One { key: None, value: Some(value) }),
            Some(_) => Err(Asked),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        unit unit_struct tuple tuple_struct enum identifier ignored_any
    }
}

struct One<'a> {
    key: Option<&'a str>,
    value: Option<Asker<'a>>,
}

impl<'de> MapAccess<'de> for One<'_> {
    type Error = Asked;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Asked> {
        match self.key.take() {
            Some(key) => seed.deserialize(StrDeserializer::new(key)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Asked> {
        seed.deserialize(self.value.take().ok_or(Asked)?)
    }
}

impl<'de> SeqAccess<'de> for One<'_> {
    type Error = Asked;

    fn next_element_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<Option<V::Value>, Asked> {
        match self.value.take() {
            Some(value) => seed.deserialize(value).map(Some),
            None => Ok(None),
        }
    }
}
