//! The data of a record: the text in `data`, and the members that Packetbeat gives some types beside it.

use super::message::{Record, append_name, is_pointer};
use super::names;
use event::{Event, Key, Members, Value};
use packet::cursor::{Cursor, Cut};
use packet::time::PAIRS;
use packet::{Timestamp, base64};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::ops::Range;

/// A record's data in text, and its further members. Keeps its memory from record to record.
#[derive(Debug)]
pub(super) struct Data {
    text: Member,
    members: Vec<(&'static str, Member)>,
    /// Where [`Member::Text`] lies.
    buffer: Vec<u8>,
}

#[derive(Debug, Clone)]
enum Member {
    /// A part of the buffer.
    Text(Range<usize>),
    Static(&'static str),
    Address(IpAddr),
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
    pub(super) fn new() -> Self {
        // Enough for nearly all: growing in steps costs more than reading the data.
        Self { text: Member::Static(""), members: Vec::with_capacity(8), buffer: Vec::with_capacity(256) }
    }

    /// Reads a record's data; what does not fit its type is given as hexadecimal digits.
    pub(super) fn read(&mut self, message: &[u8], record: &Record) {
        self.clear();
        if self.read_as(record.kind, message, record).is_err() {
            self.clear();
            let bytes = message.get(record.data.0..record.data.1).unwrap_or_default();
            self.text = self.written(|out| hexadecimal(bytes, out));
        }
    }

    fn clear(&mut self) {
        self.text = Member::Static("");
        self.members.clear();
        self.buffer.clear();
    }

    fn written(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Member {
        let start = self.buffer.len();
        write(&mut self.buffer);
        Member::Text(start..self.buffer.len())
    }

    fn with(&mut self, key: &'static str, value: impl Into<Member>) {
        self.members.push((key, value.into()));
    }

    fn with_text(&mut self, key: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        let text = self.written(write);
        self.members.push((key, text));
    }

    /// The name at this place in the data, and where it ends in them.
    fn name(&mut self, message: &[u8], record: &Record, offset: usize) -> Result<(Member, usize), Broken> {
        let start = self.buffer.len();
        let next = append_name(message, record.data.0 + offset, &mut self.buffer)?;
        Ok((Member::Text(start..self.buffer.len()), next - record.data.0))
    }

    fn read_as(&mut self, kind: u16, message: &[u8], record: &Record) -> Result<(), Broken> {
        let bytes = message.get(record.data.0..record.data.1).unwrap_or_default();
        let mut cursor = Cursor::new(bytes);
        match kind {
            1 | 28 => self.text = Member::Address(address_of(message, record).ok_or(Broken)?),
            2 | 3 | 4 | 5 | 7 | 8 | 9 | 12 | 39 => self.text = self.name(message, record, 0)?.0,
            6 => {
                let (primary, next) = self.name(message, record, 0)?;
                let (mailbox, next) = self.name(message, record, next)?;
                cursor.skip(next)?;
                self.text = primary;
                self.with("rname", mailbox);
                for key in ["serial", "refresh", "retry", "expire", "minimum"] {
                    self.with(key, cursor.be_u32()?);
                }
            }
            15 => {
                self.text = self.name(message, record, 2)?.0;
                self.with("preference", cursor.be_u16()?);
            }
            16 | 99 => {
                let start = self.buffer.len();
                while !cursor.is_empty() {
                    let length = usize::from(cursor.u8()?);
                    if self.buffer.len() > start {
                        self.buffer.push(b' ');
                    }
                    self.buffer.extend_from_slice(cursor.take(length)?);
                }
                self.text = Member::Text(start..self.buffer.len());
            }
            33 => {
                self.text = self.name(message, record, 6)?.0;
                for key in ["priority", "weight", "port"] {
                    self.with(key, cursor.be_u16()?);
                }
            }
            35 => {
                let start = self.buffer.len();
                for _ in 0..2 {
                    let number = cursor.be_u16()?;
                    decimal(number.into(), &mut self.buffer);
                    self.buffer.push(b' ');
                }
                for _ in 0..3 {
                    let length = usize::from(cursor.u8()?);
                    self.buffer.extend_from_slice(cursor.take(length)?);
                    self.buffer.push(b' ');
                }
                self.name(message, record, cursor.position())?;
                self.text = Member::Text(start..self.buffer.len());
            }
            43 | 59 | 32769 => {
                let (tag, algorithm, digest) = (cursor.be_u16()?, cursor.u8()?, cursor.u8()?);
                self.text = self.written(|out| hexadecimal(cursor.rest(), out));
                self.with("key_tag", Member::Digits(tag.into()));
                self.with("algorithm", named(names::algorithm(algorithm), algorithm));
                self.with("digest_type", named(names::digest(digest), digest));
            }
            46 | 24 => {
                let covered = cursor.be_u16()?;
                let (algorithm, labels) = (cursor.u8()?, cursor.u8()?);
                let (ttl, expiration, inception) = (cursor.be_u32()?, cursor.be_u32()?, cursor.be_u32()?);
                let tag = cursor.be_u16()?;
                let (signer, next) = self.name(message, record, cursor.position())?;
                let signature = bytes.get(next..).ok_or(Broken)?;
                self.text = self.written(|out| base64::append(signature, out));
                self.with_text("type_covered", |out| out.extend_from_slice(names::kind(covered).as_bytes()));
                self.with("algorithm", named(names::algorithm(algorithm), algorithm));
                self.with("labels", Member::Digits(labels.into()));
                self.with("original_ttl", Member::Digits(ttl.into()));
                self.with_text("expiration", |out| day(expiration, out));
                self.with_text("inception", |out| day(inception, out));
                self.with("key_tag", Member::Digits(tag.into()));
                self.with("signer_name", signer);
            }
            47 => {
                let (next_name, at) = self.name(message, record, 0)?;
                cursor.skip(at)?;
                self.text = next_name;
                self.with_text("type_bits", |out| bitmap(cursor.rest(), out));
            }
            48 | 25 | 60 => {
                let (flags, protocol, algorithm) = (cursor.be_u16()?, cursor.u8()?, cursor.u8()?);
                self.text = self.written(|out| base64::append(cursor.rest(), out));
                self.with("flags", Member::Digits(flags.into()));
                self.with("protocol", Member::Digits(protocol.into()));
                self.with("algorithm", named(names::algorithm(algorithm), algorithm));
            }
            50 | 51 => {
                let (hash, flags, iterations) = (cursor.u8()?, cursor.u8()?, cursor.be_u16()?);
                let length = usize::from(cursor.u8()?);
                let salt = cursor.take(length)?;
                self.with("hash", Member::Digits(hash.into()));
                self.with("flags", Member::Digits(flags.into()));
                self.with("iterations", Member::Digits(iterations.into()));
                self.with_text("salt", |out| hexadecimal(salt, out));
                if kind == 50 {
                    let length = usize::from(cursor.u8()?);
                    let next = cursor.take(length)?;
                    self.text = self.written(|out| base32(next, out));
                    self.with_text("type_bits", |out| bitmap(cursor.rest(), out));
                }
            }
            52 => {
                let start = self.buffer.len();
                for _ in 0..3 {
                    let number = cursor.u8()?;
                    decimal(number.into(), &mut self.buffer);
                    self.buffer.push(b' ');
                }
                hexadecimal(cursor.rest(), &mut self.buffer);
                self.text = Member::Text(start..self.buffer.len());
            }
            257 => {
                let flags = cursor.u8()?;
                let length = usize::from(cursor.u8()?);
                let tag = cursor.take(length)?;
                self.text = self.written(|out| {
                    decimal(flags.into(), out);
                    for part in [b" ", tag, b" \"", cursor.rest(), b"\""] {
                        out.extend_from_slice(part);
                    }
                });
            }
            _ => self.text = self.written(|out| hexadecimal(bytes, out)),
        }
        Ok(())
    }

    #[inline]
    fn value(&self, member: &Member, event: &mut Event) -> Value {
        match member {
            Member::Text(range) => event.bytes(self.buffer.get(range.clone()).unwrap_or_default()),
            Member::Static(text) => (*text).into(),
            Member::Address(address) => event.address(*address),
            Member::Digits(number) => event.digits(*number),
            Member::Number(number) => (*number).into(),
        }
    }

    fn describe_member(&self, member: &Member, out: &mut String) {
        // Writing into a String does not fail.
        let _ = match member {
            Member::Text(range) => {
                out.push_str(&String::from_utf8_lossy(self.buffer.get(range.clone()).unwrap_or_default()));
                Ok(())
            }
            Member::Static(text) => write!(out, "{text}"),
            Member::Address(address) => write!(out, "{address}"),
            Member::Digits(number) | Member::Number(number) => write!(out, "{number}"),
        };
    }

    /// As Packetbeat prints a record in the text of a response: `key value, key value, data`.
    pub(super) fn describe(&self, out: &mut String) {
        for (key, member) in &self.members {
            if matches!(*key, "rname" | "preference" | "priority" | "weight" | "port") {
                out.push_str(key);
                out.push(' ');
                self.describe_member(member, out);
                out.push_str(", ");
            }
        }
        self.describe_member(&self.text, out);
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

/// A number's name, or its digits.
fn named(name: Option<&'static str>, number: u8) -> Member {
    name.map_or(Member::Digits(number.into()), Member::Static)
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

/// Puts records into events. Keeps its memory, and the name of the record before: most have the same.
pub(super) struct Records {
    data: Data,
    members: Vec<(Key, Value)>,
    name: Vec<u8>,
    /// The last name that is only a pointer.
    pointer: Option<([u8; 2], Value)>,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { data: Data::new(), members: Vec::with_capacity(13), name: Vec::with_capacity(48), pointer: None }
    }

    /// Another message begins.
    pub(super) fn begin(&mut self) {
        self.pointer = None;
    }

    /// The record as an object: Packetbeat's members.
    pub(super) fn object(&mut self, event: &mut Event, message: &[u8], record: &Record) -> Members {
        self.data.read(message, record);
        let mut members = std::mem::take(&mut self.members);
        members.clear();
        let mut put = |key: &'static str, value: Value| members.push((Key::Static(key), value));
        put("name", self.name(event, message, record));
        put("type", names::value(event, names::kind(record.kind)));
        put("class", names::value(event, names::class(record.class)));
        put("data", self.data.value(&self.data.text, event));
        put("ttl", event.digits(record.ttl));
        for (key, member) in &self.data.members {
            put(key, self.data.value(member, event));
        }
        let object = event.members_of(members.iter().copied());
        self.members = members;
        object
    }

    #[inline]
    fn name(&mut self, event: &mut Event, message: &[u8], record: &Record) -> Value {
        let pointer = message.get(record.name..).and_then(<[u8]>::first_chunk).filter(|bytes| is_pointer(**bytes));
        if let (Some(bytes), Some((known, value))) = (pointer, self.pointer)
            && *bytes == known
        {
            return value;
        }
        self.name.clear();
        if append_name(message, record.name, &mut self.name).is_err() || self.name.is_empty() {
            self.name.clear();
            self.name.push(b'.');
        }
        let value = event.bytes(&self.name);
        self.pointer = pointer.map(|bytes| (*bytes, value));
        value
    }
}

fn decimal(number: u64, out: &mut Vec<u8>) {
    // Writing into memory does not fail.
    let _ = write!(out, "{number}");
}

fn hexadecimal(bytes: &[u8], out: &mut Vec<u8>) {
    let digit = |nibble: u8| b"0123456789ABCDEF"[usize::from(nibble)];
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.extend_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
    }
}

/// Base32 (RFC 4648 7) without padding, as NSEC3 has it (RFC 5155 3.3).
fn base32(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHIJKLMNOPQRSTUV";
    for five in bytes.chunks(5) {
        let word = five.iter().enumerate().fold(0u64, |word, (at, byte)| word | u64::from(*byte) << (32 - 8 * at));
        let digits = (five.len() * 8).div_ceil(5);
        out.extend((0..digits).map(|at| DIGITS[(word >> (35 - 5 * at)) as usize & 31]));
    }
}

/// `20130207154924`.
fn day(seconds: u32, out: &mut Vec<u8>) {
    let (year, month, day, hour, minute, second) = Timestamp::from_parts(seconds.into(), 0).civil();
    for part in [year / 100, year % 100, month, day, hour, minute, second] {
        out.extend_from_slice(&PAIRS[(part % 100) as usize]);
    }
}

/// The types that a bitmap names (RFC 4034 4.1.2).
fn bitmap(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    let mut rest = bytes;
    while let [window, length, more @ ..] = rest {
        let Some((bits, next)) = more.split_at_checked(usize::from(*length)) else { break };
        for (at, byte) in bits.iter().enumerate() {
            for bit in (0..8).filter(|bit| byte & 0x80 >> bit != 0) {
                if out.len() > start {
                    out.push(b' ');
                }
                out.extend_from_slice(names::kind(u16::from(*window) << 8 | (at as u16 * 8 + bit)).as_bytes());
            }
        }
        rest = next;
    }
}
