//! Values of fields. Texts, lists and objects live in the event's own buffers: a value is a few words to be copied, and an event
//! costs no allocation per field.

use packet::Timestamp;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// A piece of one of the event's buffers. Valid only with the event that made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub(crate) start: u32,
    pub(crate) length: u32,
}

impl Span {
    /// From `start` to the end of a buffer that has grown to `end`.
    pub(crate) const fn since(start: usize, end: usize) -> Self {
        Self { start: start as u32, length: (end - start) as u32 }
    }

    pub(crate) const fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.length as usize
    }
}

/// The values of a list: [`Event::items`](crate::Event::items) gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Items(pub(crate) Span);

/// The members of an object: [`Event::members`](crate::Event::members) gives them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Members(pub(crate) Span);

/// The value of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
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
    List(Items),
    /// Several texts known when the program was built.
    Words(&'static [&'static str]),
    /// A nested object, keys in the order given.
    Object(Members),
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
    pub(crate) fn bytes_in(self, text: &[u8]) -> &[u8] {
        match self {
            Self::Static(key) => key.as_bytes(),
            Self::Text(span) => text.get(span.range()).unwrap_or_default(),
        }
    }
}

impl Value {
    /// Of a text of the packets its last `length` bytes, which must begin where a character does. Anything else, or a shorter text,
    /// is given as it is.
    #[must_use]
    pub fn end(self, length: usize) -> Self {
        match self {
            Self::Text(Span { start, length: whole }) if length <= whole as usize => {
                Self::Text(Span { start: start + whole - length as u32, length: length as u32 })
            }
            other => other,
        }
    }

    /// Of a text its first `length` bytes, which must end where a character does. Anything else, or a shorter text, stays.
    pub fn cut(&mut self, length: usize) {
        match self {
            Self::Static(text) => *text = text.get(..length).unwrap_or(text),
            Self::Text(span) => span.length = span.length.min(u32::try_from(length).unwrap_or(u32::MAX)),
            _ => {}
        }
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
    &'static [&'static str] => |value| Self::Words(value);
}
