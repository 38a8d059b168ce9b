//! A bounds-checked reader over bytes that somebody else wrote: every decoder of wire formats reads through it.
//! Knows no protocol and copies nothing; what it cannot give it answers with [`Cut`], never with a panic.

/// The bytes ended before what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes end at offset {offset}, {wanted} more are needed")]
pub struct Cut {
    /// Position where the reading stood.
    pub offset: usize,
    /// How many bytes were asked for there.
    pub wanted: usize,
}

/// A position in borrowed bytes. Positions count from the beginning of the outermost buffer, also in a cursor
/// that [`Cursor::sub`] made, so that an anomaly can be reported where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    at: usize,
}

macro_rules! integers {
    ($($(#[$doc:meta])* $name:ident: $type:ty = $from:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// [`Cut`] when fewer bytes are left.
        #[inline]
        pub fn $name(&mut self) -> Result<$type, Cut> {
            self.array().map(<$type>::$from)
        }
    )*};
}

impl<'a> Cursor<'a> {
    /// Begins at the start of `bytes`, position 0.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, at: 0 }
    }

    /// Begins at the start of `bytes`, which stand at `position` of something larger.
    pub const fn at(bytes: &'a [u8], position: usize) -> Self {
        Self { rest: bytes, at: position }
    }

    /// Position of the next byte.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// How many bytes are left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Whether nothing is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// What is left, without moving.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte without moving.
    pub fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// [`Cut`] when fewer are left; the position stays.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Cut> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Cut { offset: self.at, wanted: length })?;
        self.rest = rest;
        self.at += length;
        Ok(taken)
    }

    /// At most the next `length` bytes: what is there of them.
    #[inline]
    pub fn take_up_to(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        self.at += taken.len();
        taken
    }

    /// Everything that is left.
    pub fn take_rest(&mut self) -> &'a [u8] {
        self.take_up_to(self.rest.len())
    }

    /// The next `N` bytes as an array.
    ///
    /// # Errors
    /// [`Cut`] when fewer are left; the position stays.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Cut> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Cut { offset: self.at, wanted: N })?;
        self.rest = rest;
        self.at += N;
        Ok(*taken)
    }

    /// Moves over `length` bytes.
    ///
    /// # Errors
    /// [`Cut`] when fewer are left; the position stays.
    #[inline]
    pub fn skip(&mut self, length: usize) -> Result<(), Cut> {
        self.take(length).map(|_| ())
    }

    /// A cursor over the next `length` bytes that keeps counting positions from here; this one moves over them.
    ///
    /// # Errors
    /// [`Cut`] when fewer are left; the position stays.
    #[inline]
    pub fn sub(&mut self, length: usize) -> Result<Self, Cut> {
        let at = self.at;
        self.take(length).map(|bytes| Self { rest: bytes, at })
    }

    /// The bytes up to the first `end`, which is moved over but not part of them. `None`, and no move, when there is none.
    pub fn take_until(&mut self, end: u8) -> Option<&'a [u8]> {
        let length = self.rest.iter().position(|byte| *byte == end)?;
        let taken = self.take_up_to(length);
        self.take_up_to(1);
        Some(taken)
    }

    integers! {
        /// One byte.
        u8: u8 = from_be_bytes;
        /// One signed byte.
        i8: i8 = from_be_bytes;
        /// Two bytes, most significant first.
        be_u16: u16 = from_be_bytes;
        /// Four bytes, most significant first.
        be_u32: u32 = from_be_bytes;
        /// Eight bytes, most significant first.
        be_u64: u64 = from_be_bytes;
        /// Two bytes, most significant first, signed.
        be_i16: i16 = from_be_bytes;
        /// Four bytes, most significant first, signed.
        be_i32: i32 = from_be_bytes;
        /// Eight bytes, most significant first, signed.
        be_i64: i64 = from_be_bytes;
        /// Two bytes, least significant first.
        le_u16: u16 = from_le_bytes;
        /// Four bytes, least significant first.
        le_u32: u32 = from_le_bytes;
        /// Eight bytes, least significant first.
        le_u64: u64 = from_le_bytes;
        /// Four bytes, least significant first, signed.
        le_i32: i32 = from_le_bytes;
        /// Eight bytes, least significant first, signed.
        le_i64: i64 = from_le_bytes;
    }

    /// Three bytes, most significant first.
    ///
    /// # Errors
    /// [`Cut`] when fewer bytes are left.
    #[inline]
    pub fn be_u24(&mut self) -> Result<u32, Cut> {
        self.array().map(|[a, b, c]| u32::from_be_bytes([0, a, b, c]))
    }

    /// Three bytes, least significant first.
    ///
    /// # Errors
    /// [`Cut`] when fewer bytes are left.
    #[inline]
    pub fn le_u24(&mut self) -> Result<u32, Cut> {
        self.array().map(|[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_in_both_orders() {
        let mut cursor = Cursor::new(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(cursor.be_u16(), Ok(0x0102));
        assert_eq!(cursor.le_u16(), Ok(0x0403));
        assert_eq!(cursor.be_u24(), Ok(0x05_0607));
        assert_eq!(cursor.position(), 7);
        assert_eq!(cursor.be_u64(), Err(Cut { offset: 7, wanted: 8 }));
        assert_eq!(cursor.le_u32(), Ok(0x0b0a_0908));
        assert_eq!(cursor.rest(), [12]);
    }

    #[test]
    fn a_sub_cursor_keeps_the_outer_positions() {
        let mut cursor = Cursor::new(b"abcdef");
        cursor.skip(2).unwrap();
        let mut inner = cursor.sub(2).unwrap();
        assert_eq!(inner.u8(), Ok(b'c'));
        assert_eq!(inner.position(), 3);
        assert_eq!(inner.be_u16(), Err(Cut { offset: 3, wanted: 2 }));
        assert_eq!(cursor.take_rest(), b"ef");
        assert!(cursor.sub(1).is_err());
    }

    #[test]
    fn text_ends_at_its_terminator() {
        let mut cursor = Cursor::new(b"GET /\nrest");
        assert_eq!(cursor.take_until(b'\n'), Some(&b"GET /"[..]));
        assert_eq!(cursor.take_until(b'\n'), None);
        assert_eq!(cursor.rest(), b"rest");
    }
}
