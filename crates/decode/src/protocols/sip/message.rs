//! One SIP message (RFC 3261 7): start line, headers, body. Knows no transaction and no dialog, and reads no body.

use std::borrow::Cow;

/// Longest head that is waited for on a stream.
pub(crate) const HEAD_MAX: usize = 65_536;
const HEADERS_MAX: usize = 256;
const METHOD_MAX: usize = 32;
const VERSION: &[u8] = b"SIP/2.0";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start<'a> {
    /// Method and request URI.
    Request { method: Cow<'a, str>, uri: Cow<'a, str> },
    /// Status code and reason phrase.
    Response { code: u16, reason: Cow<'a, str> },
}

/// A message as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message<'a> {
    /// The first line.
    pub(crate) start: Start<'a>,
    /// Names in lower case and spelt out, values unfolded, in order.
    pub(crate) headers: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// The body as far as it is there.
    pub(crate) body: &'a [u8],
    /// The whole message.
    pub(crate) raw: &'a [u8],
    /// What was wrong and where.
    pub(crate) anomalies: Vec<(&'static str, usize)>,
}

/// What bytes turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Read<'a> {
    /// A message that takes up `raw.len()` bytes after `skipped` bytes of keep-alive.
    Message { message: Box<Message<'a>>, skipped: usize },
    /// The beginning of one: this many bytes of keep-alive before it can be let go.
    Incomplete { skipped: usize },
    /// Nothing of SIP.
    Foreign,
}

/// Whether bytes can be the first line of a message, as far as they go.
pub(crate) fn begins(bytes: &[u8]) -> bool {
    let line = match memchr::memchr(b'\n', bytes) {
        Some(end) => bytes.get(..end).unwrap_or(bytes),
        None => return begins_open(bytes),
    };
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    start(line).is_some()
}

/// Whether a line that has not ended can become a first line: everything that [`start`] takes passes, however it is cut.
fn may_become_start(line: &[u8]) -> bool {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let head = line.get(..VERSION.len()).unwrap_or(line);
    let method = line.split(|byte| *byte == b' ').next().unwrap_or(line);
    let is_request = || is_token(method) && method.len() <= METHOD_MAX && !line.iter().any(u8::is_ascii_control);
    line.len() <= HEAD_MAX && (VERSION.starts_with(head) || is_request())
}

/// Whether a line that has not ended begins as first lines usually do.
fn begins_open(line: &[u8]) -> bool {
    if line.len() > 4096 {
        return false;
    }
    let head = line.get(..VERSION.len().min(line.len())).unwrap_or(line);
    if VERSION.starts_with(head) {
        return true;
    }
    let method = line.split(|byte| *byte == b' ').next().unwrap_or(line);
    method.len() <= 20
        && !method.is_empty()
        && method.iter().all(|byte| byte.is_ascii_uppercase())
        && line.iter().all(|byte| !byte.is_ascii_control())
        && line.get(method.len() + 1..).is_none_or(|uri| has_scheme(uri, true))
}

fn has_scheme(uri: &[u8], open: bool) -> bool {
    [&b"sip:"[..], b"sips:", b"tel:", b"im:", b"pres:", b"urn:", b"cid:"].iter().any(|scheme| {
        let length = scheme.len().min(uri.len());
        uri.get(..length).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme.get(..length).unwrap_or(scheme)))
            && (open || uri.len() > scheme.len())
    })
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(byte))
}

fn start(line: &[u8]) -> Option<Start<'_>> {
    if let Some(rest) = line.strip_prefix(VERSION).and_then(|rest| rest.strip_prefix(b" ")) {
        let (code, reason) = match memchr::memchr(b' ', rest) {
            Some(space) => (rest.get(..space)?, rest.get(space + 1..)?),
            None => (rest, &b""[..]),
        };
        let code: u16 = std::str::from_utf8(code).ok()?.parse().ok()?;
        return (100..=699).contains(&code).then(|| Start::Response { code, reason: String::from_utf8_lossy(reason) });
    }
    if line.iter().any(u8::is_ascii_control) {
        return None;
    }
    let line = line.strip_suffix(VERSION)?.strip_suffix(b" ")?;
    let space = memchr::memchr(b' ', line)?;
    let (method, uri) = (line.get(..space)?, line.get(space + 1..)?);
    if !is_token(method) || method.len() > METHOD_MAX || uri.trim_ascii().is_empty() {
        return None;
    }
    // `GET sip:x SIP/2.0` is as good as it gets, but something before the colon has to be there.
    memchr::memchr(b':', uri)?;
    Some(Start::Request { method: String::from_utf8_lossy(method), uri: String::from_utf8_lossy(uri.trim_ascii()) })
}

/// Spells compact names out (IANA, SIP Parameters, Header Fields).
fn long_name(name: &str) -> Option<&'static str> {
    Some(match name {
        "a" => "accept-contact",
        "b" => "referred-by",
        "c" => "content-type",
        "d" => "request-disposition",
        "e" => "content-encoding",
        "f" => "from",
        "i" => "call-id",
        "j" => "reject-contact",
        "k" => "supported",
        "l" => "content-length",
        "m" => "contact",
        "n" => "identity-info",
        "o" => "event",
        "r" => "refer-to",
        "s" => "subject",
        "t" => "to",
        "u" => "allow-events",
        "v" => "via",
        "x" => "session-expires",
        "y" => "identity",
        _ => return None,
    })
}

fn lower(name: &[u8]) -> Cow<'_, str> {
    let name = String::from_utf8_lossy(name);
    let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) { name.to_ascii_lowercase().into() } else { name };
    match long_name(&name) {
        Some(long) => Cow::Borrowed(long),
        None => name,
    }
}

/// A line without its end, and where the next one begins. `None` if the line has no end.
fn line(bytes: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let rest = bytes.get(at..)?;
    let end = memchr::memchr(b'\n', rest)?;
    let line = rest.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), at + end + 1))
}

/// Reads the message at the beginning of `bytes`. On a stream (`whole` false) its body ends where Content-Length says; in
/// a datagram with the datagram at the latest.
pub(crate) fn read(bytes: &[u8], whole: bool) -> Read<'_> {
    let skipped = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
    let bytes = bytes.get(skipped..).unwrap_or(&[]);
    if bytes.is_empty() {
        return Read::Incomplete { skipped };
    }
    let Some((first, mut at)) = line(bytes, 0) else {
        let goes_on = if whole { begins_open(bytes) } else { may_become_start(bytes) };
        return if goes_on { Read::Incomplete { skipped } } else { Read::Foreign };
    };
    let Some(start) = start(first) else { return Read::Foreign };
    let mut message = Message { start, headers: Vec::with_capacity(16), body: &[], raw: bytes, anomalies: Vec::new() };
    loop {
        let Some((text, next)) = line(bytes, at) else {
            if !whole {
                return if bytes.len() > HEAD_MAX { Read::Foreign } else { Read::Incomplete { skipped } };
            }
            message.note("sip.head_cut", at);
            at = bytes.len();
            break;
        };
        if text.is_empty() {
            at = next;
            break;
        }
        message.header(text, at);
        at = next;
    }
    let rest = bytes.get(at..).unwrap_or(&[]);
    let length = match message.content_length() {
        Some(length) if whole => {
            if length > rest.len() {
                message.note("sip.body_cut", at);
            }
            length.min(rest.len())
        }
        Some(length) if length > rest.len() => return Read::Incomplete { skipped },
        Some(length) => length,
        None if whole => rest.len(),
        None => 0,
    };
    message.body = rest.get(..length).unwrap_or(rest);
    message.raw = bytes.get(..at + length).unwrap_or(bytes);
    Read::Message { message: Box::new(message), skipped }
}

/// How many bytes the message at the beginning of `bytes` takes up, once its head is there; `None` before. Lets a stream
/// know that it waits for a body of so many bytes.
pub(crate) fn length_wanted(bytes: &[u8]) -> Option<usize> {
    let head = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4)?;
    match read(bytes.get(..head)?, true) {
        Read::Message { message, skipped } => {
            Some((skipped + head).saturating_add(message.content_length().unwrap_or(0)))
        }
        _ => None,
    }
}

impl<'a> Message<'a> {
    fn note(&mut self, name: &'static str, at: usize) {
        if self.anomalies.len() < 8 {
            self.anomalies.push((name, at));
        }
    }

    fn header(&mut self, text: &'a [u8], at: usize) {
        if text.first().is_some_and(|byte| matches!(byte, b' ' | b'\t')) {
            // A folded line goes on with the value before (RFC 3261 7.3.1).
            match self.headers.last_mut() {
                Some((_, value)) => {
                    let more = String::from_utf8_lossy(text.trim_ascii());
                    if !more.is_empty() {
                        let value = value.to_mut();
                        value.push(' ');
                        value.push_str(&more);
                    }
                }
                None => self.note("sip.bad_header", at),
            }
            return;
        }
        let Some(colon) = memchr::memchr(b':', text) else {
            self.note("sip.bad_header", at);
            return;
        };
        let (name, value) = text.split_at(colon);
        let value = value.get(1..).unwrap_or(&[]).trim_ascii();
        if self.headers.len() >= HEADERS_MAX {
            if self.headers.len() == HEADERS_MAX {
                self.note("sip.too_many_headers", at);
            }
            return;
        }
        self.headers.push((lower(name.trim_ascii()), String::from_utf8_lossy(value)));
    }

    /// The values of a header, its name in lower case and spelt out.
    pub(crate) fn all<'m>(&'m self, name: &'static str) -> impl Iterator<Item = &'m str> {
        self.headers.iter().filter(move |(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// The first value of a header.
    pub(crate) fn first(&self, name: &'static str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| &**value)
    }

    /// What Content-Length says.
    pub(crate) fn content_length(&self) -> Option<usize> {
        self.first("content-length")?.trim().parse().ok()
    }

    /// Number and method of CSeq.
    pub(crate) fn cseq(&self) -> Option<(u32, &str)> {
        let (number, method) = self.first("cseq")?.split_once([' ', '\t'])?;
        Some((number.trim().parse().ok()?, method.trim()))
    }

    /// The description in its body, if it says it is one. Of several parts the first description counts.
    pub(crate) fn sdp(&self) -> Option<Cow<'a, str>> {
        let kind = self.first("content-type")?;
        if self.first("content-encoding").is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return None;
        }
        let media_type = kind.split(';').next().unwrap_or(kind).trim();
        if media_type.eq_ignore_ascii_case("application/sdp") {
            return Some(String::from_utf8_lossy(self.body));
        }
        if !media_type.get(..10).is_some_and(|begin| begin.eq_ignore_ascii_case("multipart/")) {
            return None;
        }
        // The part ends with its boundary; lines that SDP does not know are passed over anyway.
        let at = memchr::memmem::find(self.body, b"\r\nv=0")? + 2;
        let part = self.body.get(at..)?;
        let end = memchr::memmem::find(part, b"\r\n--").map_or(part.len(), |end| end + 2);
        Some(String::from_utf8_lossy(part.get(..end)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INVITE: &str = "INVITE sip:bob@b.example SIP/2.0\r\nv: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nf: <sip:a@a.example>;tag=1\r\n\
        Subject: a long\r\n  story\r\nt: <sip:bob@b.example>\r\ni: 1@192.0.2.1\r\nCSeq: 7 INVITE\r\nl: 4\r\n\r\nbody";

    fn message(bytes: &[u8], whole: bool) -> Message<'_> {
        match read(bytes, whole) {
            Read::Message { message, .. } => *message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn compact_and_folded_headers_are_spelt_out() {
        let message = message(INVITE.as_bytes(), true);
        assert_eq!(message.start, Start::Request { method: "INVITE".into(), uri: "sip:bob@b.example".into() });
        assert_eq!(message.first("via"), Some("SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1"));
        assert_eq!(message.first("subject"), Some("a long story"));
        assert_eq!((message.cseq(), message.body), (Some((7, "INVITE")), &b"body"[..]));
        assert_eq!(message.anomalies, []);
    }

    #[test]
    fn a_stream_holds_several_messages_and_keep_alives() {
        let two = format!("\r\n\r\n{INVITE}\r\n\r\nSIP/2.0 200 OK\r\nl: 0\r\n\r\n");
        let Read::Message { message, skipped: 4 } = read(two.as_bytes(), false) else { panic!() };
        let rest = &two.as_bytes()[4 + message.raw.len()..];
        let Read::Message { message, skipped: 4 } = read(rest, false) else { panic!() };
        assert_eq!(message.start, Start::Response { code: 200, reason: "OK".into() });
    }

    #[test]
    fn a_stream_waits_for_what_is_missing_and_a_datagram_does_not() {
        let cut = &INVITE.as_bytes()[..INVITE.len() - 2];
        assert_eq!(read(cut, false), Read::Incomplete { skipped: 0 });
        assert_eq!(length_wanted(cut), Some(INVITE.len()));
        let message = message(cut, true);
        assert_eq!((message.body, message.anomalies[0].0), (&b"bo"[..], "sip.body_cut"));
        assert_eq!(read(&INVITE.as_bytes()[..100], false), Read::Incomplete { skipped: 0 });
    }

    #[test]
    fn a_first_line_may_come_in_any_pieces() {
        for text in ["x-Y%1 foo:bar SIP/2.0\r\n\r\n", "SIP/2.0 200 OK\r\n\r\n", "INVITE sip:\u{e4} SIP/2.0\n\n"] {
            for cut in 1..text.len() - 2 {
                assert!(
                    matches!(read(&text.as_bytes()[..cut], false), Read::Incomplete { .. }),
                    "{text:?} cut at {cut}"
                );
            }
            assert!(matches!(read(text.as_bytes(), false), Read::Message { .. }), "{text:?}");
        }
        let text = "INVITE sip:a\u{1}b SIP/2.0\r\n\r\n";
        assert!((13..text.len()).all(|cut| read(&text.as_bytes()[..cut], false) == Read::Foreign));
    }

    #[test]
    fn a_length_that_cannot_be_is_waited_for_in_vain() {
        let text = format!("SIP/2.0 200 OK\r\nl: {}\r\n\r\nbody", usize::MAX);
        assert_eq!(read(text.as_bytes(), false), Read::Incomplete { skipped: 0 });
        assert_eq!(length_wanted(text.as_bytes()), Some(usize::MAX));
    }

    #[test]
    fn other_protocols_are_foreign() {
        for bytes in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], b"HTTP/1.1 200 OK\r\n\r\n", b"M-SEARCH * HTTP/1.1\r\n", b"\x16\x03\x01"]
        {
            assert_eq!(read(bytes, true), Read::Foreign, "{bytes:?}");
        }
        assert!(begins(b"SIP/2.") && begins(b"INVITE si") && !begins(b"EHLO mail.example"));
    }

    #[test]
    fn a_description_is_found_among_several_parts() {
        let text = "SIP/2.0 183 Progress\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\
            Content-Type: application/isup\r\n\r\n\x01\x02\r\n--x\r\nContent-Type: application/sdp\r\n\r\nv=0\r\ns=-\r\n--x--\r\n";
        assert_eq!(message(text.as_bytes(), true).sdp().as_deref(), Some("v=0\r\ns=-\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(text in "(INVITE sip:a SIP/2.0|SIP/2.0 200 OK|)\r\n([a-zA-Z:; \t]{0,20}\r?\n|l: [0-9]{1,12}\r\n){0,6}\r\n\\PC{0,20}", cut in 0usize..200, whole: bool) {
            let bytes = text.as_bytes();
            let bytes = &bytes[..cut.min(bytes.len())];
            if let Read::Message { message, .. } = read(bytes, whole) {
                let _ = (message.sdp(), message.cseq());
            }
            let _ = length_wanted(bytes);
        }
    }
}
