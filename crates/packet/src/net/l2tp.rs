//! L2TPv2 data messages over UDP (RFC 2661): PPP in a tunnel.
//! Control messages remain payload.

use crate::Cursor;

/// The port of L2TP.
pub const PORT: u16 = 1701;

/// Tunnel and session of a data message (the tunnel in the upper half), and the bytes before its PPP frame. `None` for control
/// messages, other versions, and what is cut.
pub fn data_message(bytes: &[u8]) -> Option<(u32, usize)> {
    let mut cursor = Cursor::new(bytes);
    let flags = cursor.be_u16().ok()?;
    if flags & 0x8000 != 0 || flags & 0x000f != 2 {
        return None;
    }
    if flags & 0x4000 != 0 {
        cursor.skip(2).ok()?;
    }
    let ids = cursor.be_u32().ok()?;
    if flags & 0x0800 != 0 {
        cursor.skip(4).ok()?;
    }
    if flags & 0x0200 != 0 {
        let offset = cursor.be_u16().ok()?;
        cursor.skip(usize::from(offset)).ok()?;
    }
    Some((ids, cursor.position()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_the_flags() {
        assert_eq!(data_message(&[0x00, 0x02, 0, 1, 0, 2, 0xff, 0x03]), Some((0x0001_0002, 6)));
        assert_eq!(data_message(&[0x40, 0x02, 0, 9, 0, 1, 0, 2]), Some((0x0001_0002, 8)));
        assert_eq!(data_message(&[0xc8, 0x02, 0, 9, 0, 1, 0, 2]), None);
    }
}
