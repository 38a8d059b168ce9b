//! The data of a record: the text in `data`, and the members that Packetbeat gives some types beside it.

use super::message::{Record, name, read_name};
use super::names;
use event::{Event, Key, Value};
use packet::cursor::{Cursor, Cut};
use packet::time::PAIRS;
use packet::{Timestamp, base64};
use std::borrow::Cow;
use std::fmt::Write;
use std::net::IpAddr;

/// A record's data in text, and its further members.
#[derive(Debug, Default)]
pub(super) struct Data {
    pub(super) text: String,
    pub(super) members: Vec<(&'static str, Member)>,
}

#[derive(Debug)]
pub(super) enum Member {
    Text(Cow<'static, str>),
    /// A number that is told as a text.
    Digits(u64),
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
        if self.members.is_empty() {
            // The most that any type has.
            self.members.reserve_exact(8);
        }
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
        1 | 28 => Data::text(address_of(message, record).ok_or(Broken)?.to_string()),
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
                .with("key_tag", Member::Digits(tag.into()))
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
            Data::text(base64::text(signature))
                .with("type_covered", names::kind(covered))
                .with("algorithm", names::algorithm(algorithm))
                .with("labels", Member::Digits(labels.into()))
                .with("original_ttl", Member::Digits(ttl.into()))
                .with("expiration", day(expiration))
                .with("inception", day(inception))
                .with("key_tag", Member::Digits(tag.into()))
                .with("signer_name", signer)
        }
        47 => {
            let (next_name, at) = name_at(0)?;
            cursor.skip(at)?;
            Data::text(next_name).with("type_bits", bitmap(cursor.rest()))
        }
        48 | 25 | 60 => {
            let (flags, protocol, algorithm) = (cursor.be_u16()?, cursor.u8()?, cursor.u8()?);
            Data::text(base64::text(cursor.rest()))
                .with("flags", Member::Digits(flags.into()))
                .with("protocol", Member::Digits(protocol.into()))
                .with("algorithm", names::algorithm(algorithm))
        }
        50 | 51 => {
            let (hash, flags, iterations) = (cursor.u8()?, cursor.u8()?, cursor.be_u16()?);
            let length = usize::from(cursor.u8()?);
            let salt = hexadecimal(cursor.take(length)?);
            let mut data = Data::default()
                .with("hash", Member::Digits(hash.into()))
                .with("flags", Member::Digits(flags.into()))
                .with("iterations", Member::Digits(iterations.into()))
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

/// The address that a record gives.
pub(super) fn address_of(message: &[u8], record: &Record) -> Option<IpAddr> {
    let bytes = message.get(record.data.0..record.data.1)?;
    match record.kind {
        1 => bytes.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        28 => bytes.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => None,
    }
}

/// The record as an object: Packetbeat's members.
pub(super) fn object(event: &mut Event, message: &[u8], record: &Record, name_buffer: &mut Vec<u8>) -> Value {
    let data = Data::of(message, record);
    if read_name(message, record.name, name_buffer).is_err() || name_buffer.is_empty() {
        name_buffer.push(b'.');
    }
    let mut members = Vec::with_capacity(5 + data.members.len());
    let mut put = |key: &'static str, value: Value| members.push((Key::Static(key), value));
    put("name", event.bytes(name_buffer));
    put("type", names::value(event, names::kind(record.kind)));
    put("class", names::value(event, names::class(record.class)));
    put("data", event.text(&data.text));
    put("ttl", event.digits(record.ttl));
    for (key, member) in data.members {
        put(
            key,
            match member {
                Member::Text(text) => names::value(event, text),
                Member::Digits(number) => event.digits(number),
                Member::Number(number) => number.into(),
            },
        );
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
            Member::Digits(number) | Member::Number(number) => write!(out, "{key} {number}, "),
        };
    }
    out.push_str(&data.text);
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
    let mut text = Vec::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
    // Only ASCII is ever written into it.
    String::from_utf8(text).unwrap_or_default()
}

/// Base32 (RFC 4648 7) without padding, as NSEC3 has it (RFC 5155 3.3).
fn base32(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    let mut text = String::with_capacity(bytes.len() * 8 / 5 + 1);
    for five in bytes.chunks(5) {
        let word = five.iter().enumerate().fold(0u64, |word, (at, byte)| word | u64::from(*byte) << (32 - 8 * at));
        let digits = (five.len() * 8).div_ceil(5);
        text.extend((0..digits).map(|at| char::from(DIGITS[(word >> (35 - 5 * at)) as usize & 31])));
    }
    text
}

/// `20130207154924`.
fn day(seconds: u32) -> String {
    let (year, month, day, hour, minute, second) = Timestamp::from_parts(seconds.into(), 0).civil();
    let mut text = String::with_capacity(14);
    for part in [year / 100, year % 100, month, day, hour, minute, second] {
        text.extend(PAIRS[(part % 100) as usize].map(char::from));
    }
    text
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
