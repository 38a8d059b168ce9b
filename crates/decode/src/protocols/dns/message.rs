//! DNS messages (RFC 1035) as values: header, questions, records. Names are followed through compression with bounds;
//! what is broken ends the message where it stands and is noted.

use packet::cursor::Cursor;
use smallvec::SmallVec;

/// Most records of one section that are read.
const MOST_RECORDS: u16 = 4096;
/// Most pointers of one name.
const MOST_POINTERS: usize = 32;
/// Bytes of the shortest record: the root, type, class, time to live, length.
const RECORD_LEAST: usize = 11;

/// A whole message, or what of it could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message {
    pub(super) id: u16,
    pub(super) flags: u16,
    /// Nearly always one.
    pub(super) questions: SmallVec<[Question; 1]>,
    /// Of all sections, one after the other.
    records: Vec<Record>,
    /// Where among them answers, authorities and additionals end.
    ends: [usize; 3],
    pub(super) opt: Option<Opt>,
    /// What was wrong, and where.
    pub(super) anomaly: Option<(&'static str, usize)>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Question {
    pub(super) name: String,
    pub(super) kind: u16,
    pub(super) class: u16,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Record {
    /// Where its name begins in the message.
    pub(super) name: usize,
    pub(super) kind: u16,
    pub(super) class: u16,
    pub(super) ttl: u32,
    /// Where its data stand in the message.
    pub(super) data: (usize, usize),
}

/// EDNS (RFC 6891).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opt {
    pub(super) udp_size: u16,
    pub(super) extended_code: u8,
    pub(super) version: u8,
    pub(super) dnssec_ok: bool,
}

impl Message {
    pub(super) const fn is_response(&self) -> bool {
        self.flags & 0x8000 != 0
    }

    pub(super) const fn opcode(&self) -> u8 {
        (self.flags >> 11) as u8 & 15
    }

    /// The response code, with EDNS's upper bits.
    pub(super) fn code(&self) -> u16 {
        (self.flags & 15) | self.opt.map_or(0, |opt| u16::from(opt.extended_code) << 4)
    }

    /// Answers, authorities, additionals.
    pub(super) fn sections(&self) -> [&[Record]; 3] {
        let [answers, authorities, additionals] = self.ends;
        let records = |from, to| self.records.get(from..to).unwrap_or_default();
        [records(0, answers), records(answers, authorities), records(authorities, additionals)]
    }

    /// Reads a message. None if it is shorter than a header or does not look like DNS at all.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let mut word = || cursor.be_u16().ok();
        let (id, flags) = (word()?, word()?);
        let counts = [word()?, word()?, word()?, word()?];
        let mut message = Self { id, flags, ..Self::default() };
        if let Err(anomaly) = message.read_body(bytes, counts) {
            message.anomaly = Some(anomaly);
        }
        Some(message)
    }

    fn read_body(&mut self, bytes: &[u8], counts: [u16; 4]) -> Result<(), (&'static str, usize)> {
        let mut at = 12;
        let mut names = Skipping { buffer: Vec::new(), readable: None };
        for _ in 0..counts[0].min(64) {
            let (name, next) = name(bytes, at)?;
            // Most records are about the name that is asked for.
            names.readable.get_or_insert([POINTER, 12]);
            let mut cursor = Cursor::at(bytes.get(next..).unwrap_or_default(), next);
            let cut = ("dns.cut", next);
            let (kind, class) = (cursor.be_u16().map_err(|_| cut)?, cursor.be_u16().map_err(|_| cut)?);
            self.questions.push(Question { name, kind, class });
            at = cursor.position();
        }
        let [_, counts @ ..] = counts.map(|count| count.min(MOST_RECORDS));
        let room = bytes.len().saturating_sub(at) / RECORD_LEAST;
        self.records.reserve_exact(room.min(counts.into_iter().map(usize::from).sum()));
        for (section, count) in counts.into_iter().enumerate() {
            for _ in 0..count {
                at = self.read_record(bytes, at, section, &mut names)?;
            }
        }
        Ok(())
    }

    fn read_record(
        &mut self,
        bytes: &[u8],
        at: usize,
        section: usize,
        names: &mut Skipping,
    ) -> Result<usize, (&'static str, usize)> {
        // Only whether it can be read, and where it ends: it is read again where it is wanted.
        let next = names.skip(bytes, at)?;
        let cut = ("dns.cut", next);
        let mut cursor = Cursor::at(bytes.get(next..).unwrap_or_default(), next);
        let (kind, class) = (cursor.be_u16().map_err(|_| cut)?, cursor.be_u16().map_err(|_| cut)?);
        let ttl = cursor.be_u32().map_err(|_| cut)?;
        let length = usize::from(cursor.be_u16().map_err(|_| cut)?);
        let start = cursor.position();
        cursor.skip(length).map_err(|_| ("dns.cut", start))?;
        if kind == 41 {
            self.opt = Some(Opt {
                udp_size: class,
                extended_code: (ttl >> 24) as u8,
                version: (ttl >> 16) as u8,
                dnssec_ok: ttl & 0x8000 != 0,
            });
        } else {
            self.records.push(Record { name: at, kind, class, ttl, data: (start, start + length) });
            self.ends.iter_mut().skip(section).for_each(|end| *end = self.records.len());
        }
        Ok(start + length)
    }
}

/// Finds where names end that need not be kept, and whether they can be read.
struct Skipping {
    buffer: Vec<u8>,
    /// A pointer to a name that could be read.
    readable: Option<[u8; 2]>,
}

impl Skipping {
    fn skip(&mut self, bytes: &[u8], at: usize) -> Result<usize, (&'static str, usize)> {
        let pointer = bytes.get(at..).and_then(<[u8]>::first_chunk).filter(|bytes| is_pointer(**bytes));
        if pointer.is_some() && pointer == self.readable.as_ref() {
            return Ok(at + 2);
        }
        self.buffer.clear();
        let next = append_name(bytes, at, &mut self.buffer)?;
        if let Some(pointer) = pointer {
            self.readable = Some(*pointer);
        }
        Ok(next)
    }
}

/// The upper bits of the first byte of a pointer.
const POINTER: u8 = 0xc0;

/// Whether a name that begins so is a pointer to where it stands.
pub(super) const fn is_pointer(bytes: [u8; 2]) -> bool {
    bytes[0] >= POINTER
}

/// Reads a name at `at`; gives it without the final dot (the root is empty), and where it ends.
pub(super) fn name(bytes: &[u8], at: usize) -> Result<(String, usize), (&'static str, usize)> {
    // Most names need no more than this; growing in steps costs as much as reading them.
    let mut text = Vec::with_capacity(48);
    let end = append_name(bytes, at, &mut text)?;
    // Only ASCII is ever written into it.
    Ok((String::from_utf8(text).unwrap_or_default(), end))
}

/// The same behind what stands in `text`; gives where the name ends.
pub(super) fn append_name(bytes: &[u8], at: usize, text: &mut Vec<u8>) -> Result<usize, (&'static str, usize)> {
    let begin = text.len();
    let (mut here, mut end, mut pointers) = (at, None, 0);
    loop {
        let length = *bytes.get(here).ok_or(("dns.cut", here))?;
        match length {
            0 => return Ok(end.unwrap_or(here + 1)),
            1..=63 => {
                let label = bytes.get(here + 1..here + 1 + usize::from(length)).ok_or(("dns.cut", here))?;
                if text.len() - begin + label.len() > 1024 {
                    return Err(("dns.name_too_long", here));
                }
                if text.len() > begin {
                    text.push(b'.');
                }
                push_label(text, label);
                here += 1 + usize::from(length);
            }
            POINTER.. => {
                let low = *bytes.get(here + 1).ok_or(("dns.cut", here))?;
                pointers += 1;
                let target = usize::from(length & 63) << 8 | usize::from(low);
                if pointers > MOST_POINTERS || target >= here {
                    return Err(("dns.name_loop", here));
                }
                end.get_or_insert(here + 2);
                here = target;
            }
            _ => return Err(("dns.bad_label", here)),
        }
    }
}

/// Master-file form (RFC 1035 5.1): dots and backslashes within a label are escaped, unprintable bytes are `\DDD`.
fn push_label(text: &mut Vec<u8>, label: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, 0x21..=0x7e) && !matches!(byte, b'.' | b'\\' | b'"');
    if label.iter().all(is_plain) {
        text.extend_from_slice(label);
        return;
    }
    for &byte in label {
        match byte {
            b'.' | b'\\' | b'"' => text.extend_from_slice(&[b'\\', byte]),
            0x21..=0x7e => text.push(byte),
            _ => {
                text.push(b'\\');
                text.extend([byte / 100, byte / 10 % 10, byte % 10].map(|digit| b'0' + digit));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_follow_pointers_but_not_in_circles() {
        let bytes = b"\x03www\x07example\x03org\0\x04mail\xc0\x04\xc0\x11\xc0\x17";
        assert_eq!(name(bytes, 0), Ok(("www.example.org".into(), 17)));
        assert_eq!(name(bytes, 17), Ok(("mail.example.org".into(), 24)));
        assert_eq!(name(bytes, 24), Ok(("mail.example.org".into(), 26)));
        assert_eq!(name(b"\xc0\x00", 0), Err(("dns.name_loop", 0)));
        assert_eq!(name(b"\x02a.\x01\x07\0", 0), Ok(("a\\..\\007".into(), 6)));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Message::parse(&bytes);
        }
    }
}
