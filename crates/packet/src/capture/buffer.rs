//! The window over the stream that records are parsed in. Grows only to the longest record or scan the formats allow.
//! Knows no format.

use std::io::{ErrorKind, Read};

use super::CaptureError;

/// Bytes read from the stream at once.
const READ_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Buffer<R> {
    input: R,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the stream of `bytes[0]`.
    base: u64,
    ended: bool,
    /// Why the stream could not be read further, until somebody needs what is not there.
    failure: Option<std::io::Error>,
}

impl<R: Read> Buffer<R> {
    pub fn new(input: R) -> Self {
        Self { input, bytes: vec![0; READ_BYTES], start: 0, end: 0, base: 0, ended: false, failure: None }
    }

    /// What has been read and not yet consumed.
    #[inline]
    pub fn window(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or(&[])
    }

    /// Offset in the stream of the window's first byte.
    pub const fn offset(&self) -> u64 {
        self.base + self.start as u64
    }

    /// The next `length` bytes as far as the stream has them, and whether it ends with them: the same however few bytes the
    /// stream gives at once.
    pub fn next(&mut self, length: usize) -> (&[u8], bool) {
        let more = self.look_ahead(length + 1);
        let window = self.window();
        (window.get(..length).unwrap_or(window), !more && self.ended)
    }

    #[inline]
    pub fn consume(&mut self, length: usize) {
        self.start = self.end.min(self.start.saturating_add(length));
    }

    /// The place of the window's first byte, for [`Buffer::marked`]; good until the next fill.
    #[inline]
    pub const fn mark(&self) -> usize {
        self.start
    }

    /// Bytes at a marked place, also when they are consumed by now.
    #[inline]
    pub fn marked(&self, at: usize, length: usize) -> &[u8] {
        self.bytes.get(at..at + length).unwrap_or(&[])
    }

    /// Makes the window at least `need` bytes long if the stream has as many; says whether it has.
    #[inline]
    pub fn fill(&mut self, need: usize) -> Result<bool, CaptureError> {
        if self.look_ahead(need) {
            return Ok(true);
        }
        let offset = self.base + self.end as u64;
        self.failure.take().map_or(Ok(false), |source| Err(CaptureError::Read { offset, source }))
    }

    /// The same without an error: what is there can still be given out where the stream fails behind it.
    #[inline]
    pub fn look_ahead(&mut self, need: usize) -> bool {
        self.end - self.start >= need || self.read(need)
    }

    #[cold]
    #[inline(never)]
    fn read(&mut self, need: usize) -> bool {
        if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.base += self.start as u64;
            self.end -= self.start;
            self.start = 0;
        }
        if need > self.bytes.len() {
            self.bytes.resize(need.next_multiple_of(READ_BYTES), 0);
        }
        while self.end < need && !self.ended && self.failure.is_none() {
            match self.input.read(&mut self.bytes[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(length) => self.end = self.bytes.len().min(self.end + length),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => self.failure = Some(error),
            }
        }
        self.end >= need
    }
}
