//! Numbers of variable length: seven bits per byte, the lowest first, the highest bit set on all but the last byte.

use super::IndexError;
use packet::cursor::Cursor;

pub(super) fn write(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<u64, IndexError> {
    let mut value = 0u64;
    for shift in 0..10 {
        let byte = cursor.u8()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 9 && bits > 1 {
            break;
        }
        value |= bits << (7 * shift);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(IndexError::Damaged("a number that is too long"))
}

pub(super) fn read_u32(cursor: &mut Cursor<'_>) -> Result<u32, IndexError> {
    u32::try_from(read(cursor)?).map_err(|_| IndexError::Damaged("a number that is too large"))
}

/// A difference, with small ones of either sign in few bytes (zigzag).
pub(super) fn write_difference(out: &mut Vec<u8>, from: u64, to: u64) {
    let difference = to.wrapping_sub(from) as i64;
    write(out, (difference << 1 ^ difference >> 63) as u64);
}

pub(super) fn read_difference(cursor: &mut Cursor<'_>, from: u64) -> Result<u64, IndexError> {
    let value = read(cursor)?;
    Ok(from.wrapping_add(value >> 1 ^ (value & 1).wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_survive(value: u64, from: u64) {
            let mut out = Vec::new();
            write(&mut out, value);
            write_difference(&mut out, from, value);
            let mut cursor = Cursor::new(&out);
            prop_assert_eq!(read(&mut cursor), Ok(value));
            prop_assert_eq!(read_difference(&mut cursor, from), Ok(value));
            prop_assert!(cursor.is_empty());
        }
    }

    #[test]
    fn a_number_of_more_than_64_bits_is_refused() {
        assert!(read(&mut Cursor::new(&[0xff; 11])).is_err());
        assert!(read(&mut Cursor::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2])).is_err());
    }
}
