//! Where the writer appends: bytes with room ahead, and short pieces copied in steps of fixed size, which costs less than a
//! call and a look at the room for each. Knows what a JSON string is, nothing of events.

/// Room that is made at once.
const ROOM: usize = 1024;
/// Bytes of a text of any length that are copied at once.
const BLOCK: usize = 32;
/// A text of so many bytes fits into 16 with its quotes.
const SHORT: usize = 14;
const QUOTE: u128 = b'"' as u128;
const SPACES: u128 = u128::MAX / 255 * b' ' as u128;
/// What may be read behind a text given to [`Out::padded`].
pub(super) const PADDING: usize = BLOCK;

/// Writes from the beginning of `bytes`, which grow as needed and never shrink: what is behind `at` is room.
pub(super) struct Out<'o> {
    bytes: &'o mut Vec<u8>,
    at: usize,
}

impl<'o> Out<'o> {
    pub(super) fn new(bytes: &'o mut Vec<u8>) -> Self {
        Self { at: 0, bytes }
    }

    /// How much was written.
    pub(super) const fn length(&self) -> usize {
        self.at
    }

    #[cold]
    fn grow(&mut self, length: usize) {
        self.bytes.resize(self.at + length.max(ROOM), 0);
    }

    /// Appends the first `length` of these bytes.
    #[inline]
    pub(super) fn part<const N: usize>(&mut self, bytes: &[u8; N], length: usize) {
        if self.bytes.len() - self.at < N {
            self.grow(N);
        }
        if let Some(place) = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) {
            *place = *bytes;
            self.at += length.min(N);
        }
    }

    /// Appends the first `length` of these bytes, `first` in the place of the first of them.
    #[inline]
    pub(super) fn part_behind<const N: usize>(&mut self, first: u8, bytes: &[u8; N], length: usize) {
        let start = self.at;
        self.part(bytes, length);
        if let Some(place) = self.bytes.get_mut(start) {
            *place = first;
        }
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.part(&[byte], 1);
    }

    #[inline]
    pub(super) fn bytes<const N: usize>(&mut self, bytes: &[u8; N]) {
        self.part(bytes, N);
    }

    pub(super) fn slice(&mut self, bytes: &[u8]) {
        if self.bytes.len() - self.at < bytes.len() {
            self.grow(bytes.len());
        }
        if let Some(place) = self.bytes.get_mut(self.at..self.at + bytes.len()) {
            place.copy_from_slice(bytes);
            self.at += bytes.len();
        }
    }

    /// Appends `text[from..to]`; behind `to` there must be [`PADDING`] bytes more, which are read and do not count.
    #[inline]
    pub(super) fn padded(&mut self, text: &[u8], from: usize, to: usize) {
        let mut from = from;
        while from < to {
            let Some(block) = text.get(from..).and_then(<[u8]>::first_chunk::<BLOCK>) else { return };
            self.part(block, to - from);
            from += BLOCK;
        }
    }

    /// Appends a JSON string of a text in UTF-8. Control characters are escaped; everything else stands as it is, in UTF-8.
    #[inline]
    pub(super) fn string(&mut self, bytes: &[u8]) {
        let start = self.at;
        let is_clean = if bytes.len() <= SHORT { self.short(bytes) } else { self.long(bytes) };
        if !is_clean {
            self.at = start;
            self.escaped(bytes);
        }
    }

    /// Appends a string of at most [`SHORT`] bytes, quotes included, in one step. Says whether nothing in it must be escaped, which
    /// is nearly always so; else what it appended is wrong.
    #[inline]
    fn short(&mut self, bytes: &[u8]) -> bool {
        let length = bytes.len();
        // Two pieces that overlap where the length is no power of two, put into one word.
        let word = match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                u128::from(u64::from_le_bytes(*first)) | u128::from(u64::from_le_bytes(*last)) << (8 * (length - 8))
            }
            _ => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
                (Some(first), Some(last)) => {
                    let last = u64::from(u32::from_le_bytes(*last)) << (8 * (length - 4));
                    u128::from(u64::from(u32::from_le_bytes(*first)) | last)
                }
                _ => bytes.iter().rev().fold(0, |word, byte| word << 8 | u128::from(*byte)),
            },
        };
        // What is behind the text is no control character.
        let filled = word | SPACES << (8 * length);
        let quoted = word << 8 | QUOTE | QUOTE << (8 * (length + 1));
        self.part(&quoted.to_le_bytes(), length + 2);
        dirty(filled as u64) | dirty((filled >> 64) as u64) == 0
    }

    /// The same for more bytes, in steps of which the last overlaps.
    #[inline]
    fn long(&mut self, bytes: &[u8]) -> bool {
        let look = |step: &[u8; 16]| {
            let word = u128::from_le_bytes(*step);
            dirty(word as u64) | dirty((word >> 64) as u64)
        };
        self.byte(b'"');
        let (start, mut found) = (self.at, 0);
        for step in bytes.chunks_exact(16) {
            let Some(step) = step.first_chunk() else { return false };
            found |= look(step);
            self.part(step, 16);
        }
        match bytes.last_chunk() {
            Some(last) => {
                found |= look(last);
                self.at = start + bytes.len() - 16;
                self.part(last, 16);
            }
            None => {
                // 15 bytes
                let mut step = [b' '; 16];
                step[..bytes.len()].copy_from_slice(bytes);
                found |= look(&step);
                self.part(&step, bytes.len());
            }
        }
        self.byte(b'"');
        found == 0
    }

    #[cold]
    fn escaped(&mut self, bytes: &[u8]) {
        self.byte(b'"');
        let mut written = 0;
        for (at, &byte) in bytes.iter().enumerate().filter(|(_, byte)| is_escaped(**byte)) {
            self.slice(bytes.get(written..at).unwrap_or_default());
            written = at + 1;
            match byte {
                b'"' => self.bytes(b"\\\""),
                b'\\' => self.bytes(b"\\\\"),
                b'\n' => self.bytes(b"\\n"),
                b'\r' => self.bytes(b"\\r"),
                b'\t' => self.bytes(b"\\t"),
                _ => {
                    self.bytes(b"\\u00");
                    self.byte(b"0123456789abcdef"[usize::from(byte >> 4)]);
                    self.byte(b"0123456789abcdef"[usize::from(byte & 15)]);
                }
            }
        }
        self.slice(bytes.get(written..).unwrap_or_default());
        self.byte(b'"');
    }
}

const fn is_escaped(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\' || byte == 0x7f
}

/// Zero if none of these eight bytes must be escaped. A byte minus one has its top bit newly set only if it was 0.
#[inline]
const fn dirty(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let (quote, backslash, delete) = (word ^ (ONES * 0x22), word ^ (ONES * 0x5c), word ^ (ONES * 0x7f));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    let any = quote.wrapping_sub(ONES) & !quote
        | backslash.wrapping_sub(ONES) & !backslash
        | delete.wrapping_sub(ONES) & !delete
        | control;
    any & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A text as a JSON string behind so many other bytes.
    fn string(text: &str, before: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut out = Out::new(&mut bytes);
        for _ in 0..before {
            out.byte(b' ');
        }
        out.string(text.as_bytes());
        let length = out.length();
        bytes.truncate(length);
        assert!(bytes.drain(..before).all(|byte| byte == b' '));
        bytes
    }

    #[test]
    fn strings_are_escaped_wherever_it_stands_in_them() {
        for length in 0..50 {
            for at in 0..length {
                for bad in ['"', '\\', '\n', '\u{1}', '\u{7f}', '\u{1f}'] {
                    let mut text: Vec<char> = "ä xyz".chars().cycle().take(length).collect();
                    text[at] = bad;
                    let text: String = text.into_iter().collect();
                    let bytes = string(&text, 0);
                    assert!(!bytes.iter().any(|byte| *byte < 0x20 || *byte == 0x7f), "{text:?}");
                    assert_eq!(serde_json::from_slice::<String>(&bytes).unwrap(), text);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn strings_are_those_of_any_reader(text in "\\PC{0,40}[\\x00-\\x7f]{0,20}\\PC{0,40}", before in 0..9000usize) {
            prop_assert_eq!(serde_json::from_slice::<String>(&string(&text, before)).unwrap(), text);
        }

        #[test]
        fn padded_texts_are_copied_to_the_byte(from in 0..100usize, length in 0..100usize) {
            let text: Vec<u8> = (0..232).collect();
            let mut bytes = Vec::new();
            let mut out = Out::new(&mut bytes);
            out.padded(&text, from, from + length);
            let written = out.length();
            prop_assert_eq!(&bytes[..written], &text[from..from + length]);
        }
    }
}
