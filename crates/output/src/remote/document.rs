//! Documents on their way to a service: each with its JSON and what is needed to address it.
//! One form in memory, in the spill on disk and in dead letters; knows no service.

use event::{Event, common};
use packet::Timestamp;

/// How every JSON begins: the id's 32 digits follow, then `",`.
const LEAD: &str = "{\"_id\":\"";
const ID_END: usize = LEAD.len() + 32;
/// Before each document: time, lengths of kind, key and JSON.
const HEAD: usize = 8 + 1 + 1 + 4;

/// One event as services get it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document<'a> {
    /// The event's `@timestamp`.
    pub time: Timestamp,
    /// Its `type`.
    pub kind: &'a str,
    /// What keeps events of one flow together: the Community ID, or empty.
    pub key: &'a str,
    /// The whole event, `_id` first, without line end.
    pub json: &'a str,
}

impl<'a> Document<'a> {
    /// The event's id: 32 hexadecimal digits.
    pub fn id(&self) -> &'a str {
        self.json.get(LEAD.len()..ID_END).unwrap_or_default()
    }

    /// The members of the event after `_id`, with the closing brace but without the opening one.
    pub fn members(&self) -> &'a str {
        self.json.get(ID_END + 2..).unwrap_or("}")
    }
}

/// Some documents, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Documents {
    bytes: Vec<u8>,
    count: u32,
}

/// Bytes that are no documents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl Documents {
    /// Adds an event whose JSON line, with or without its line end, is given.
    pub(crate) fn push_event(&mut self, event: &Event, line: &[u8]) {
        let key = event.get_str(&common::NETWORK_COMMUNITY_ID).unwrap_or_default();
        let json = line.strip_suffix(b"\n").unwrap_or(line);
        self.push_parts(event.time, event.event_type.as_bytes(), key.as_bytes(), json);
    }

    /// Adds a document.
    pub(crate) fn push(&mut self, document: &Document<'_>) {
        self.push_parts(document.time, document.kind.as_bytes(), document.key.as_bytes(), document.json.as_bytes());
    }

    fn push_parts(&mut self, time: Timestamp, kind: &[u8], key: &[u8], json: &[u8]) {
        // Types and Community IDs are short; what is not could only be cut, and is left out instead.
        let short = |text: &[u8]| u8::try_from(text.len()).unwrap_or(0);
        let (kind_length, key_length) = (short(kind), short(key));
        self.bytes.extend_from_slice(&time.nanos().to_le_bytes());
        self.bytes.extend_from_slice(&[kind_length, key_length]);
        self.bytes.extend_from_slice(&(json.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(kind.get(..kind_length.into()).unwrap_or_default());
        self.bytes.extend_from_slice(key.get(..key_length.into()).unwrap_or_default());
        self.bytes.extend_from_slice(json);
        self.count += 1;
    }

    /// Takes bytes that [`Documents::bytes`] gave; checked here, so that reading them cannot fail.
    pub(crate) fn from_bytes(bytes: Vec<u8>) -> Result<Self, Malformed> {
        let mut count = 0u32;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            rest = next(rest).ok_or(Malformed)?.1;
            count += 1;
        }
        Ok(Self { bytes, count })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.count as usize
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Document<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (document, after) = next(rest)?;
            rest = after;
            Some(document)
        })
    }
}

fn next(bytes: &[u8]) -> Option<(Document<'_>, &[u8])> {
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let (time, rest_of_head) = head.split_at_checked(8)?;
    let (lengths, json_length) = rest_of_head.split_at_checked(2)?;
    let (kind, rest) = rest.split_at_checked((*lengths.first()?).into())?;
    let (key, rest) = rest.split_at_checked((*lengths.get(1)?).into())?;
    let (json, rest) = rest.split_at_checked(u32::from_le_bytes(json_length.try_into().ok()?) as usize)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let time = Timestamp::from_nanos(u64::from_le_bytes(time.try_into().ok()?));
    Some((Document { time, kind: text(kind)?, key: text(key)?, json: text(json)? }, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{"_id":"0123456789abcdef0123456789abcdef","type":"dns","query":"é"}"#;

    #[test]
    fn documents_come_back_as_they_went() {
        let document = Document { time: Timestamp::from_nanos(7), kind: "dns", key: "1:abc=", json: JSON };
        assert_eq!(document.id(), "0123456789abcdef0123456789abcdef");
        assert_eq!(document.members(), r#""type":"dns","query":"é"}"#);
        let mut documents = Documents::default();
        documents.push(&document);
        documents.push(&Document { key: "", ..document });
        let again = Documents::from_bytes(documents.bytes().to_vec()).unwrap();
        assert_eq!(again, documents);
        let read: Vec<_> = again.iter().collect();
        assert_eq!((read.len(), read[0], read[1].key), (2, document, ""));
        for cut in 1..documents.bytes().len() {
            let part = Documents::from_bytes(documents.bytes()[..cut].to_vec());
            assert!(part.is_err() || part.is_ok_and(|part| part.len() == 1));
        }
    }
}
