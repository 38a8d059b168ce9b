//! Values of fields. Texts live in the event's own buffer, so that an event costs a few allocations, not one per field.

use packet::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A piece of the event's text buffer. Valid only with the event that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

/// The value of a field.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// True or false.
    Bool(bool),
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number.
    Signed(i64),
    /// A number. Infinite and undefined ones become null.
    Float(f64),
    /// A text known when the program was built.
    Static(&'static str),
    /// A text kept in the event.
    Text(Span),
    /// An address.
    Ip(IpAddr),
    /// A point in time.
    Time(Timestamp),
    /// An Ethernet address, printed as `0A-00-27-00-00-00` (RFC 7042, as ECS asks).
    Mac([u8; 6]),
    /// Several values.
    List(Vec<Value>),
    /// Several texts known when the program was built.
    Words(&'static [&'static str]),
    /// A nested object, keys in the order given.
    Object(Vec<(Key, Value)>),
}

/// The key of a member of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Known when the program was built.
    Static(&'static str),
    /// From the packets: the span of a [`Value::Text`].
    Text(Span),
}

impl From<&'static str> for Key {
    fn from(text: &'static str) -> Self {
        Self::Static(text)
    }
}

impl Key {
    pub(crate) fn text_in(self, text: &str) -> &str {
        match self {
            Self::Static(key) => key,
            Self::Text(span) => {
                let start = span.start as usize;
                text.get(start..start + span.length as usize).unwrap_or_default()
            }
        }
    }
}

impl Value {
    /// Of a text its first `length` bytes, which must end where a character does. Anything else, or a shorter text, stays.
    pub fn cut(&mut self, length: usize) {
        match self {
            Self::Static(text) => *text = text.get(..length).unwrap_or(text),
            Self::Text(span) => span.length = span.length.min(u32::try_from(length).unwrap_or(u32::MAX)),
            _ => {}
        }
    }

    /// An object of members with fixed names.
    pub fn object<const N: usize>(members: [(&'static str, Value); N]) -> Self {
        Self::Object(members.into_iter().map(|(key, value)| (Key::Static(key), value)).collect())
    }

    /// A list.
    pub fn list(values: impl IntoIterator<Item = impl Into<Value>>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $to:expr;)*) => {
        $(impl From<$from> for Value {
            #[inline]
            fn from($value: $from) -> Self {
                $to
            }
        })*
    };
}

from! {
    bool => |value| Self::Bool(value);
    u8 => |value| Self::Unsigned(value.into());
    u16 => |value| Self::Unsigned(value.into());
    u32 => |value| Self::Unsigned(value.into());
    u64 => |value| Self::Unsigned(value);
    usize => |value| Self::Unsigned(value as u64);
    i32 => |value| Self::Signed(value.into());
    i64 => |value| Self::Signed(value);
    f64 => |value| Self::Float(value);
    &'static str => |value| Self::Static(value);
    IpAddr => |value| Self::Ip(value);
    Ipv4Addr => |value| Self::Ip(value.into());
    Ipv6Addr => |value| Self::Ip(value.into());
    Timestamp => |value| Self::Time(value);
    [u8; 6] => |value| Self::Mac(value);
    Vec<Value> => |value| Self::List(value);
    &'static [&'static str] => |value| Self::Words(value);
}
