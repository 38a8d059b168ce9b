//! HTTP/1.x messages (RFC 9112) of one direction out of bytes in order: head, body by length, by chunks or until the
//! end, whatever way the bytes are cut. Bodies are counted; only a bounded part is kept. Pairs nothing.

use crate::context::Seen;
use memchr::memchr;
use std::ops::Range;

/// Longest head.
const MOST_HEAD: usize = 256 * 1024;
/// Bytes that may pass without a message that can be understood.
const MOST_SKIPPED: usize = 64 * 1024;

/// What the first line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    Request { method: Range<usize>, target: Range<usize> },
    Response { status: u16, phrase: Range<usize> },
}

/// A message, or what of it has been seen.
#[derive(Debug, Clone)]
pub(super) struct Message {
    /// The head as it was sent, blank line included.
    pub(super) head: Vec<u8>,
    pub(super) start: Start,
    /// `1.0` or `1.1`.
    pub(super) minor_version: u8,
    headers: Vec<(Range<usize>, Range<usize>)>,
    pub(super) began: Seen,
    /// Bytes of the body that were seen, as sent.
    pub(super) body_bytes: u64,
    /// Bytes of the message that were seen.
    pub(super) bytes: u64,
    /// The first bytes of the body without chunk framing, if wanted.
    pub(super) body: Vec<u8>,
    /// Whether bytes of it are missing.
    pub(super) has_gap: bool,
    /// Whether it ended before its length said.
    pub(super) is_cut: bool,
}

impl Message {
    pub(super) fn text(&self, range: &Range<usize>) -> &[u8] {
        self.head.get(range.clone()).unwrap_or_default()
    }

    /// All headers in order: name and value.
    pub(super) fn headers(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.headers.iter().map(|(name, value)| (self.text(name), self.text(value)))
    }

    /// The first header with this name, in lower case.
    pub(super) fn header(&self, wanted: &str) -> Option<&[u8]> {
        self.headers().find(|(name, _)| name.eq_ignore_ascii_case(wanted.as_bytes())).map(|(_, value)| value)
    }

    /// Whether a header lists this word.
    pub(super) fn header_has(&self, name: &str, word: &str) -> bool {
        let lists = |value: &[u8]| {
            value.split(|byte| *byte == b',').any(|part| part.trim_ascii().eq_ignore_ascii_case(word.as_bytes()))
        };
        self.headers().any(|(one, value)| one.eq_ignore_ascii_case(name.as_bytes()) && lists(value))
    }

    pub(super) fn content_length(&self) -> Option<u64> {
        let value = self.header("content-length")?;
        std::str::from_utf8(value.split(|byte| *byte == b',').next()?.trim_ascii()).ok()?.parse().ok()
    }

    pub(super) fn method(&self) -> Option<&[u8]> {
        match &self.start {
            Start::Request { method, .. } => Some(self.text(method)),
            Start::Response { .. } => None,
        }
    }

    pub(super) fn status(&self) -> Option<u16> {
        match &self.start {
            Start::Request { .. } => None,
            Start::Response { status, .. } => Some(*status),
        }
    }

    /// Reads a whole head.
    fn parse(head: Vec<u8>, began: Seen) -> Option<Self> {
        let (line, mut at) = line_at(&head, 0)?;
        let (start, minor_version) = start_line(&head, line)?;
        let mut headers: Vec<(Range<usize>, Range<usize>)> = Vec::with_capacity(16);
        while let Some((line, next)) = line_at(&head, at) {
            at = next;
            let bytes = head.get(line.clone()).unwrap_or_default();
            if bytes.is_empty() {
                break;
            }
            if matches!(bytes.first(), Some(b' ' | b'\t')) {
                // Folded (obsolete): the value goes on.
                if let Some((_, value)) = headers.last_mut() {
                    value.end = line.end;
                }
                continue;
            }
            let Some(colon) = memchr(b':', bytes) else { continue };
            let name = trimmed(&head, line.start..line.start + colon);
            let value = trimmed(&head, line.start + colon + 1..line.end);
            headers.push((name, value));
        }
        let bytes = head.len() as u64;
        Some(Self {
            head,
            start,
            minor_version,
            headers,
            began,
            body_bytes: 0,
            bytes,
            body: Vec::new(),
            has_gap: false,
            is_cut: false,
        })
    }
}

fn trimmed(head: &[u8], range: Range<usize>) -> Range<usize> {
    let bytes = head.get(range.clone()).unwrap_or_default();
    let start = bytes.len() - bytes.trim_ascii_start().len();
    let end = bytes.trim_ascii_end().len();
    range.start + start.min(end)..range.start + end
}

/// The line at `at`, without its end, and where the next begins.
fn line_at(head: &[u8], at: usize) -> Option<(Range<usize>, usize)> {
    let length = memchr(b'\n', head.get(at..)?)?;
    let end = at + length;
    let text_end = if length > 0 && head.get(end - 1) == Some(&b'\r') { end - 1 } else { end };
    Some((at..text_end, end + 1))
}

fn start_line(head: &[u8], line: Range<usize>) -> Option<(Start, u8)> {
    let bytes = head.get(line.clone())?;
    if let Some(rest) = bytes.strip_prefix(b"HTTP/1.") {
        let minor = rest.first().filter(|digit| digit.is_ascii_digit())?;
        let status =
            std::str::from_utf8(rest.get(2..5)?).ok()?.parse().ok().filter(|status| (100..1000).contains(status))?;
        let phrase = trimmed(head, (line.start + 12).min(line.end)..line.end);
        return Some((Start::Response { status, phrase }, minor - b'0'));
    }
    let method = memchr(b' ', bytes).filter(|length| (1..=32).contains(length))?;
    if !bytes.get(..method)?.iter().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')) {
        return None;
    }
    let version = memchr::memrchr(b' ', bytes).filter(|at| *at > method)?;
    let minor = bytes.get(version + 1..)?.strip_prefix(b"HTTP/1.")?.first().filter(|digit| digit.is_ascii_digit())?;
    let target = trimmed(head, line.start + method + 1..line.start + version);
    Some((Start::Request { method: line.start..line.start + method, target }, minor - b'0'))
}

/// Whether bytes may be the beginning of a message: certainly, perhaps with more, or not.
pub(super) fn looks_like_start(bytes: &[u8]) -> Option<bool> {
    let bytes = skip_blank(bytes);
    if bytes.is_empty() {
        return None;
    }
    let prefix = &b"HTTP/1."[..bytes.len().min(7)];
    if bytes.starts_with(prefix) {
        return if bytes.len() >= 9 { Some(bytes.get(8) == Some(&b' ')) } else { None };
    }
    let line_end = memchr(b'\n', bytes);
    let line = bytes.get(..line_end.unwrap_or(bytes.len()))?;
    let method = line.iter().take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')).count();
    if method == 0 || method > 32 {
        return Some(false);
    }
    match line.get(method) {
        None => return if line_end.is_some() { Some(false) } else { None },
        Some(b' ') => {}
        Some(_) => return Some(false),
    }
    if line.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\r' | b'\t')) {
        return Some(false);
    }
    match line_end {
        Some(_) => Some(memchr::memmem::find(line, b" HTTP/1.").is_some()),
        None if bytes.len() > 8192 => Some(false),
        None => None,
    }
}

/// Blank lines before a message are allowed (RFC 9112 2.2).
fn skip_blank(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    bytes.get(blank.min(4)..).unwrap_or_default()
}

/// What the body's end is known by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyLength {
    None,
    Known(u64),
    Chunked,
    UntilClose,
}

#[derive(Debug)]
enum State {
    /// Between messages, or in a head.
    Head,
    Body(Box<Message>, u64),
    UntilClose(Box<Message>),
    /// In the line with a chunk's size.
    ChunkSize(Box<Message>, Vec<u8>),
    Chunk(Box<Message>, u64),
    /// The line end behind a chunk.
    ChunkEnd(Box<Message>, u8),
    Trailer(Box<Message>, Vec<u8>),
    /// What comes is not HTTP any more.
    Done,
}

/// What came of some bytes.
#[derive(Debug)]
pub(super) enum Step {
    /// A head was read: the caller says how long its body is with [`Reader::body`].
    Head(Box<Message>),
    /// A message is complete.
    Complete(Box<Message>),
    /// All bytes were used.
    More,
    /// This is no HTTP.
    NotHttp,
}

/// Reads the messages of one direction.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    head: Vec<u8>,
    began: Option<Seen>,
    skipped: usize,
    /// Whether anything was ever understood.
    pub(super) found: bool,
    /// After a hole: bytes are skipped until a message begins.
    searching: bool,
    /// Bytes of a body that are kept.
    pub(super) keep_body: usize,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
            began: None,
            skipped: 0,
            found: false,
            searching: false,
            keep_body: 0,
        }
    }

    /// The message in whose body the reader is.
    pub(super) fn current(&self) -> Option<&Message> {
        match &self.state {
            State::Body(message, _)
            | State::UntilClose(message)
            | State::ChunkSize(message, _)
            | State::Chunk(message, _)
            | State::ChunkEnd(message, _)
            | State::Trailer(message, _) => Some(message),
            State::Head | State::Done => None,
        }
    }

    /// Nothing that comes is HTTP any more.
    pub(super) fn stop(&mut self) {
        self.state = State::Done;
        self.head = Vec::new();
    }

    /// Says how the body of the message just begun ends. A message without one is complete at once.
    pub(super) fn body(&mut self, message: Box<Message>, length: BodyLength) -> Option<Box<Message>> {
        self.state = match length {
            BodyLength::None | BodyLength::Known(0) => {
                self.state = State::Head;
                return Some(message);
            }
            BodyLength::Known(length) => State::Body(message, length),
            BodyLength::Chunked => State::ChunkSize(message, Vec::new()),
            BodyLength::UntilClose => State::UntilClose(message),
        };
        None
    }

    fn take(message: &mut Message, bytes: &[u8], keep: usize) {
        message.bytes += bytes.len() as u64;
        message.body_bytes += bytes.len() as u64;
        let room = keep.saturating_sub(message.body.len()).min(bytes.len());
        message.body.extend_from_slice(&bytes[..room]);
    }

    /// Uses bytes from the front of `bytes` until something comes of them. `now` is the moment of the packet; where a head
    /// begins in it, `begin` gives the moment of the message.
    pub(super) fn step(&mut self, bytes: &mut &[u8], begin: &mut dyn FnMut() -> Seen) -> Step {
        loop {
            if bytes.is_empty() {
                return Step::More;
            }
            match std::mem::replace(&mut self.state, State::Head) {
                State::Head => match self.head_step(bytes, begin) {
                    Some(step) => return step,
                    None => continue,
                },
                State::Body(mut message, left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (now, rest) = bytes.split_at(length);
                    Self::take(&mut message, now, self.keep_body);
                    *bytes = rest;
                    if length as u64 == left {
                        return Step::Complete(message);
                    }
                    self.state = State::Body(message, left - length as u64);
                }
                State::UntilClose(mut message) => {
                    Self::take(&mut message, bytes, self.keep_body);
                    *bytes = &[];
                    self.state = State::UntilClose(message);
                }
                State::ChunkSize(mut message, mut line) => {
                    let used = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                    let (now, rest) = bytes.split_at(used);
                    line.extend_from_slice(now);
                    message.bytes += used as u64;
                    *bytes = rest;
                    if line.last() != Some(&b'\n') {
                        if line.len() > 8192 {
                            return self.broken(message);
                        }
                        self.state = State::ChunkSize(message, line);
                        continue;
                    }
                    match chunk_size(&line) {
                        Some(0) => self.state = State::Trailer(message, Vec::new()),
                        Some(size) => self.state = State::Chunk(message, size),
                        None => return self.broken(message),
                    }
                }
                State::Chunk(mut message, left) => {
                    let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (now, rest) = bytes.split_at(length);
                    Self::take(&mut message, now, self.keep_body);
                    *bytes = rest;
                    let left = left - length as u64;
                    self.state = if left == 0 { State::ChunkEnd(message, 0) } else { State::Chunk(message, left) };
                }
                State::ChunkEnd(mut message, seen) => {
                    let byte = bytes.first().copied().unwrap_or_default();
                    *bytes = bytes.get(1..).unwrap_or_default();
                    message.bytes += 1;
                    match (byte, seen) {
                        (b'\r', 0) => self.state = State::ChunkEnd(message, 1),
                        (b'\n', _) => self.state = State::ChunkSize(message, Vec::new()),
                        _ => return self.broken(message),
                    }
                }
                State::Trailer(mut message, mut line) => {
                    let used = memchr(b'\n', bytes).map_or(bytes.len(), |at| at + 1);
                    let (now, rest) = bytes.split_at(used);
                    line.extend_from_slice(now);
                    message.bytes += used as u64;
                    *bytes = rest;
                    match line.as_slice() {
                        b"\r\n" | b"\n" => return Step::Complete(message),
                        [.., b'\n'] => self.state = State::Trailer(message, Vec::new()),
                        _ if line.len() > 8192 => return self.broken(message),
                        _ => self.state = State::Trailer(message, line),
                    }
                }
                State::Done => {
                    *bytes = &[];
                    self.state = State::Done;
                    return Step::More;
                }
            }
        }
    }

    /// A body that cannot be followed: the message ends, and the next is looked for.
    fn broken(&mut self, mut message: Box<Message>) -> Step {
        message.is_cut = true;
        self.searching = true;
        Step::Complete(message)
    }

    fn head_step(&mut self, bytes: &mut &[u8], begin: &mut dyn FnMut() -> Seen) -> Option<Step> {
        if self.head.is_empty() {
            *bytes = skip_blank(bytes);
            if bytes.is_empty() {
                return Some(Step::More);
            }
            if looks_like_start(bytes) == Some(false) {
                // The beginning of a later packet may be the beginning of a message.
                self.skipped += bytes.len();
                *bytes = &[];
                let hopeless = !self.found && !self.searching && self.skipped > 0;
                return Some(if hopeless || self.skipped > MOST_SKIPPED { Step::NotHttp } else { Step::More });
            }
            self.began = Some(begin());
        }
        // The end of the head may lie across the old and the new bytes.
        let before = self.head.len();
        let from = before.saturating_sub(3);
        self.head.extend_from_slice(bytes);
        let Some(end) = head_end(&self.head, from) else {
            *bytes = &[];
            if self.head.len() > MOST_HEAD || looks_like_start(&self.head) == Some(false) {
                self.skipped += self.head.len();
                self.head.clear();
                return Some(if self.found { Step::More } else { Step::NotHttp });
            }
            return Some(Step::More);
        };
        *bytes = bytes.get(end - before..).unwrap_or_default();
        let mut head = std::mem::take(&mut self.head);
        head.truncate(end);
        let began = self.began.take()?;
        match Message::parse(head, began) {
            Some(message) => {
                self.found = true;
                self.searching = false;
                self.skipped = 0;
                Some(Step::Head(Box::new(message)))
            }
            None if self.found => None,
            None => Some(Step::NotHttp),
        }
    }

    /// Bytes will not come. Gives a message that ends by that.
    pub(super) fn gap(&mut self, length: u64) -> Option<Box<Message>> {
        match std::mem::replace(&mut self.state, State::Head) {
            State::Body(mut message, left) => {
                message.has_gap = true;
                if length < left {
                    self.state = State::Body(message, left - length);
                    return None;
                }
                self.searching |= length > left;
                Some(message)
            }
            State::Chunk(mut message, left) if length < left => {
                message.has_gap = true;
                self.state = State::Chunk(message, left - length);
                None
            }
            State::UntilClose(mut message) => {
                message.has_gap = true;
                self.state = State::UntilClose(message);
                None
            }
            State::Chunk(mut message, _)
            | State::ChunkSize(mut message, _)
            | State::ChunkEnd(mut message, _)
            | State::Trailer(mut message, _) => {
                message.has_gap = true;
                self.searching = true;
                Some(message)
            }
            State::Head => {
                self.head.clear();
                self.began = None;
                self.searching = true;
                None
            }
            State::Done => {
                self.state = State::Done;
                None
            }
        }
    }

    /// The side has ended. Gives the message that was under way; it is cut unless only the end was its end.
    pub(super) fn end(&mut self) -> Option<Box<Message>> {
        self.head.clear();
        match std::mem::replace(&mut self.state, State::Done) {
            State::UntilClose(message) => Some(message),
            State::Body(mut message, _)
            | State::ChunkSize(mut message, _)
            | State::Chunk(mut message, _)
            | State::ChunkEnd(mut message, _)
            | State::Trailer(mut message, _) => {
                message.is_cut = true;
                Some(message)
            }
            State::Head | State::Done => None,
        }
    }
}

/// Where the blank line that ends a head ends.
fn head_end(head: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        let line = at + memchr(b'\n', head.get(at..)?)?;
        match (head.get(line + 1), head.get(line + 2)) {
            (Some(b'\n'), _) => return Some(line + 2),
            (Some(b'\r'), Some(b'\n')) => return Some(line + 3),
            _ => at = line + 1,
        }
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let text = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if text.is_empty() || text.len() > 16 || !text.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(text).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Timestamp;
    use proptest::prelude::*;

    fn length_of(message: &Message) -> BodyLength {
        if message.header_has("transfer-encoding", "chunked") {
            BodyLength::Chunked
        } else {
            message.content_length().map_or(BodyLength::None, BodyLength::Known)
        }
    }

    /// Reads a stream cut at the given places; gives first line and body of each message.
    fn read(stream: &[u8], cuts: &[usize]) -> Vec<(String, String)> {
        let mut reader = Reader::new();
        reader.keep_body = 1000;
        let mut found = Vec::new();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (stream.len() + 1)).collect();
        places.push(stream.len());
        places.sort_unstable();
        let mut from = 0;
        let mut note = |message: &Message| {
            let line = message.head.split(|byte| *byte == b'\r').next().unwrap();
            found.push((
                String::from_utf8_lossy(line).into_owned(),
                String::from_utf8_lossy(&message.body).into_owned(),
            ));
        };
        let seen = Seen { time: Timestamp::ZERO, packet: 0, ordinal: 0 };
        for to in places {
            let mut bytes = &stream[from..to];
            from = to;
            loop {
                match reader.step(&mut bytes, &mut || seen) {
                    Step::Head(message) => {
                        let length = length_of(&message);
                        if let Some(message) = reader.body(message, length) {
                            note(&message);
                        }
                    }
                    Step::Complete(message) => note(&message),
                    Step::More | Step::NotHttp => break,
                }
            }
        }
        found
    }

    const STREAM: &[u8] =
        b"GET /a HTTP/1.1\r\nHost: x\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello\r\nPUT /c HTTP/1.1\r\n\
        Transfer-Encoding: chunked\r\n\r\n4;x=1\r\nwiki\r\n5\r\npedia\r\n0\r\nTrailer: y\r\n\r\nGET /d HTTP/1.0\n\n";

    #[test]
    fn messages_are_found_whatever_ends_their_bodies() {
        let text = |first: &str, body: &str| (first.to_owned(), body.to_owned());
        assert_eq!(
            read(STREAM, &[]),
            [
                text("GET /a HTTP/1.1", ""),
                text("POST /b HTTP/1.1", "hello"),
                text("PUT /c HTTP/1.1", "wikipedia"),
                ("GET /d HTTP/1.0\n\n".to_owned(), String::new())
            ]
        );
    }

    #[test]
    fn other_protocols_are_given_back() {
        let mut reader = Reader::new();
        let seen = Seen { time: Timestamp::ZERO, packet: 0, ordinal: 0 };
        for first in [&b"\x16\x03\x01\x02\x00\x01"[..], b"SSH-2.0-OpenSSH\r\n", b"220 mail ESMTP\r\n", b"GET /x\r\n"] {
            let mut bytes = first;
            assert!(matches!(reader.step(&mut bytes, &mut || seen), Step::NotHttp), "{first:?}");
            reader = Reader::new();
        }
    }

    proptest! {
        #[test]
        fn the_messages_do_not_depend_on_how_the_bytes_are_cut(cuts in proptest::collection::vec(any::<usize>(), 0..20)) {
            prop_assert_eq!(read(STREAM, &cuts), read(STREAM, &[]));
        }

        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), cuts in proptest::collection::vec(any::<usize>(), 0..5)) {
            let mut stream = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            stream.extend_from_slice(&bytes);
            read(&stream, &cuts);
            read(&bytes, &cuts);
        }
    }
}
