//! The data of a record: the text in `data`, and the members that Packetbeat gives some types beside it.

use super::message::{Record, name};
use super::names;
use event::{Event, Key, Value};
use packet::Timestamp;
use packet::cursor::{Cursor, Cut};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

/// A record's data in text, and its further members.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) text: String,
    pub(super) members: Vec<(&'static str, Member)>,
    pub(super) address: Option<IpAddr>,
}

#[derive(Debug)]
pub(super) enum Member {
    Text(Cow<'static, str>),
    Number(u64),
}

impl From<Cut> for Broken {
    fn from(_: Cut) -> Self {
        Self
    }
}

impl From<(&'static str, usize)> for Broken {
    fn from(_: (&'static str, usize)) -> Self {
        Self
    }
}

/// Data that do not fit their type.
struct Broken;

impl Data {
    /// Reads a record's data; what does not fit its type is given as hexadecimal digits.
    pub(super) fn of(message: &[u8], record: &Record) -> Self {
        let bytes = message.get(record.data.0..record.data.1).unwrap_or_default();
        read(message, record, bytes).unwrap_or_else(|_| Self { text: hexadecimal(bytes), ..Self::default() })
    }

    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    fn with(mut self, key: &'static str, value: impl Into<Member>) -> Self {
        self.members.push((key, value.into()));
        self
    }
}

impl From<String> for Member {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Cow<'static, str>> for Member {
    fn from(text: Cow<'static, str>) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Member {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<u16> for Member {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

fn read(message: &[u8], record: &Record, bytes: &[u8]) -> Result<Data, Broken> {
    let mut cursor = Cursor::new(bytes);
    let name_at =
        |offset: usize| name(message, record.data.0 + offset).map(|(text, next)| (text, next - record.data.0));
    Ok(match record.kind {
        1 => address(IpAddr::from(cursor.array::<4>()?)),
        28 => address(IpAddr::from(cursor.array::<16>()?)),
        2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => Data::text(name_at(0)?.0),
        6 => {
            let (primary, next) = name_at(0)?;
            let (mailbox, next) = name_at(next)?;
            cursor.skip(next)?;
            Data::text(primary)
                .with("rname", mailbox)
                .with("serial", cursor.be_u32()?)
                .with("refresh", cursor.be_u32()?)
                .with("retry", cursor.be_u32()?)
                .with("expire", cursor.be_u32()?)
                .with("minimum", cursor.be_u32()?)
        }
        15 => Data::text(name_at(2)?.0).with("preference", cursor.be_u16()?),
        16 | 99 => {
            let mut text = String::new();
            while !cursor.is_empty() {
                let length = usize::from(cursor.u8()?);
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&String::from_utf8_lossy(cursor.take(length)?));
            }
            Data::text(text)
        }
        33 => {
            let target = name_at(6)?.0;
            Data::text(target)
                .with("priority", cursor.be_u16()?)
                .with("weight", cursor.be_u16()?)
                .with("port", cursor.be_u16()?)
        }
        35 => {
            let (order, preference) = (cursor.be_u16()?, cursor.be_u16()?);
            let mut texts = Vec::new();
            for _ in 0..3 {
                let length = usize::from(cursor.u8()?);
                texts.push(String::from_utf8_lossy(cursor.take(length)?).into_owned());
            }
            let replacement = name_at(cursor.position())?.0;
            Data::text(format!("{order} {preference} {} {replacement}", texts.join(" ")))
        }
        43 | 59 | 32769 => {
            let (tag, algorithm, digest) = (cursor.be_u16()?, cursor.u8()?, cursor.u8()?);
            Data::text(hexadecimal(cursor.rest()))
                .with("key_tag", tag.to_string())
                .with("algorithm", names::algorithm(algorithm))
                .with("digest_type", names::digest(digest))
        }
        46 | 24 => {
            let covered = cursor.be_u16()?;
            let (algorithm, labels) = (cursor.u8()?, cursor.u8()?);
            let (ttl, expiration, inception) = (cursor.be_u32()?, cursor.be_u32()?, cursor.be_u32()?);
            let tag = cursor.be_u16()?;
            let (signer, next) = name_at(cursor.position())?;
            let signature = bytes.get(next..).ok_or(Broken)?;
            Data::text(base64(signature))
                .with("type_covered", names::kind(covered))
                .with("algorithm", names::algorithm(algorithm))
                .with("labels", labels.to_string())
                .with("original_ttl", ttl.to_string())
                .with("expiration", day(expiration))
                .with("inception", day(inception))
                .with("key_tag", tag.to_string())
                .with("signer_name", signer)
        }
        47 => {
            let (next_name, at) = name_at(0)?;
            cursor.skip(at)?;
            Data::text(next_name).with("type_bits", bitmap(cursor.rest()))
        }
        48 | 25 | 60 => {
            let (flags, protocol, algorithm) = (cursor.be_u16()?, cursor.u8()?, cursor.u8()?);
            Data::text(base64(cursor.rest()))
                .with("flags", flags.to_string())
                .with("protocol", protocol.to_string())
                .with("algorithm", names::algorithm(algorithm))
        }
        50 | 51 => {
            let (hash, flags, iterations) = (cursor.u8()?, cursor.u8()?, cursor.be_u16()?);
            let length = usize::from(cursor.u8()?);
            let salt = hexadecimal(cursor.take(length)?);
            let mut data = Data::default()
                .with("hash", hash.to_string())
                .with("flags", flags.to_string())
                .with("iterations", iterations.to_string())
                .with("salt", salt);
            if record.kind == 50 {
                let length = usize::from(cursor.u8()?);
                data.text = base32(cursor.take(length)?);
                data = data.with("type_bits", bitmap(cursor.rest()));
            }
            data
        }
        52 => {
            let (usage, selector, matching) = (cursor.u8()?, cursor.u8()?, cursor.u8()?);
            Data::text(format!("{usage} {selector} {matching} {}", hexadecimal(cursor.rest())))
        }
        257 => {
            let flags = cursor.u8()?;
            let length = usize::from(cursor.u8()?);
            let tag = String::from_utf8_lossy(cursor.take(length)?).into_owned();
            Data::text(format!("{flags} {tag} \"{}\"", String::from_utf8_lossy(cursor.rest())))
        }
        _ => Data::text(hexadecimal(bytes)),
    })
}

fn address(address: IpAddr) -> Data {
    Data { text: address.to_string(), members: Vec::new(), address: Some(address) }
}

/// The record as an object: Packetbeat's members.
pub(super) fn object(event: &mut Event, record: &Record, data: &Data) -> Value {
    let mut members = Vec::with_capacity(5 + data.members.len());
    let mut text = |key: &'static str, text: &str| {
        let value = event.text(text);
        members.push((Key::Static(key), value));
    };
    text("name", if record.name.is_empty() { "." } else { &record.name });
    text("type", &names::kind(record.kind));
    text("class", &names::class(record.class));
    text("data", &data.text);
    text("ttl", &record.ttl.to_string());
    for (key, member) in &data.members {
        let value = match member {
            Member::Text(text) => event.text(text),
            Member::Number(number) => (*number).into(),
        };
        members.push((Key::Static(key), value));
    }
    Value::Object(members)
}

/// As Packetbeat prints a record in the text of a response: `key value, key value, data`.
pub(super) fn describe(data: &Data, out: &mut String) {
    for (key, member) in
        data.members.iter().filter(|(key, _)| matches!(*key, "rname" | "preference" | "priority" | "weight" | "port"))
    {
        let _ = match member {
            Member::Text(text) => write!(out, "{key} {text}, "),
            Member::Number(number) => write!(out, "{key} {number}, "),
        };
    }
    out.push_str(&data.text);
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from(b"0123456789ABCDEF"[usize::from(nibble)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    encode(bytes, 6, 4, DIGITS)
}

fn base32(bytes: &[u8]) -> String {
    encode(bytes, 5, 1, b"0123456789ABCDEFGHIJKLMNOPQRSTUV")
}

/// Digits of `bits` bits each, filled up with `=` to a multiple of `group`.
fn encode(bytes: &[u8], bits: u32, group: usize, digits: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 8 / bits as usize + group);
    let (mut word, mut have) = (0u32, 0);
    let mask = (1u32 << bits) - 1;
    for &byte in bytes {
        word = word << 8 | u32::from(byte);
        have += 8;
        while have >= bits {
            have -= bits;
            text.push(char::from(digits[(word >> have & mask) as usize]));
        }
        word &= (1 << have) - 1;
    }
    if have > 0 {
        text.push(char::from(digits[(word << (bits - have) & mask) as usize]));
    }
    while text.len() % group != 0 {
        text.push('=');
    }
    text
}

/// `20130207154924`.
fn day(seconds: u32) -> String {
    let (year, month, day, hour, minute, second) = Timestamp::from_parts(seconds.into(), 0).civil();
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// The types that a bitmap names (RFC 4034 4.1.2).
fn bitmap(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut rest = bytes;
    while let [window, length, more @ ..] = rest {
        let Some((bits, next)) = more.split_at_checked(usize::from(*length)) else { break };
        for (at, byte) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & 0x80 >> bit != 0) {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&names::kind(u16::from(*window) << 8 | (at as u16 * 8 + bit)));
            }
        }
        rest = next;
    }
    text
}
