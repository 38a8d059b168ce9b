//! GRE (RFC 2784, 2890, the routing of RFC 1701) and its version 1 of PPTP (RFC 2637).
//! Checksums and sequence numbers are skipped.

use super::{be16, view};
use crate::Cursor;

view! {
    /// The fixed part of a GRE header.
    Gre, 4
}

impl Gre<'_> {
    /// 0, or 1 for PPTP.
    pub fn version(&self) -> u8 {
        self.head[1] & 7
    }

    /// EtherType of the payload.
    pub fn ethertype(&self) -> u16 {
        be16(self.head, 2)
    }

    /// Whether a sequence number is there, which tells ERSPAN type II from type I.
    pub fn has_sequence(&self) -> bool {
        self.head[0] & 0x10 != 0
    }

    /// Length in bytes of the whole header, and the key (PPTP: the call), 0 where there is none. `None` when it is cut.
    pub fn length_and_key(&self) -> Option<(usize, u32)> {
        let flags = self.head[0];
        let mut rest = Cursor::at(self.rest, Self::LENGTH);
        if flags & 0xc0 != 0 {
            rest.skip(4).ok()?; // checksum and offset
        }
        let mut key = 0;
        if flags & 0x20 != 0 {
            key = rest.be_u32().ok()?;
        }
        if flags & 0x10 != 0 {
            rest.skip(4).ok()?;
        }
        if self.version() == 1 && self.head[1] & 0x80 != 0 {
            rest.skip(4).ok()?; // acknowledgment
        }
        if self.version() == 1 {
            key &= 0xffff; // the other half is the payload's length
        }
        if flags & 0x40 != 0 {
            loop {
                let family = rest.be_u16().ok()?;
                rest.skip(1).ok()?;
                let length = rest.u8().ok()?;
                rest.skip(usize::from(length)).ok()?;
                if (family, length) == (0, 0) {
                    break;
                }
            }
        }
        Some((rest.position(), key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_the_flags() {
        let measure = |bytes: &[u8]| Gre::new(bytes).and_then(|view| view.length_and_key());
        assert_eq!(measure(&[0, 0, 8, 0]), Some((4, 0)));
        assert_eq!(measure(&[0x20, 0, 8, 0, 0, 0, 0, 9]), Some((8, 9)));
        assert_eq!(measure(&[0xb0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1]), Some((16, 9)));
        assert_eq!(measure(&[0x30, 0x81, 0x88, 0x0b, 0, 5, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1]), Some((16, 9)));
        assert_eq!(measure(&[0x20, 0, 8, 0, 0, 0, 0]), None);
    }
}
