//! GTP-U (TS 29.281): user data of mobile networks.
//! Only user data (G-PDU) is a tunnel here; echo, error indication and the like remain payload for the GTP decoder.

use super::{be16, be32, view};

/// The port of GTP-U.
pub const PORT: u16 = 2152;

view! {
    /// The fixed part of a GTP-U header.
    GtpU, 8
}

impl GtpU<'_> {
    /// Whether it is version 1 of GTP (not GTP') and carries user data.
    pub const fn is_user_data(&self) -> bool {
        self.head[0] >> 4 == 3 && self.head[1] == 255
    }

    /// Bytes that follow the fixed part, as it says.
    pub fn length(&self) -> u16 {
        be16(self.head, 2)
    }

    /// The tunnel endpoint identifier.
    pub fn endpoint(&self) -> u32 {
        be32(self.head, 4)
    }

    /// Bytes of the header with its optional part and extension headers. `None` when it is cut or an extension has no length.
    pub fn header_length(&self) -> Option<usize> {
        if self.head[0] & 7 == 0 {
            return Some(8);
        }
        let mut length = 12;
        let mut next = if self.head[0] & 4 != 0 { *self.rest.get(3)? } else { 0 };
        while next != 0 {
            let units = usize::from(*self.rest.get(length - 8)?);
            if units == 0 {
                return None;
            }
            length += units * 4;
            next = *self.rest.get(length - 9)?;
        }
        Some(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_follows_flags_and_extensions() {
        let measure = |bytes: &[u8]| GtpU::new(bytes).and_then(|view| view.header_length());
        assert_eq!(measure(&[0x30, 255, 0, 0, 0, 0, 0, 1]), Some(8));
        assert_eq!(measure(&[0x32, 255, 0, 4, 0, 0, 0, 1, 0, 7, 0, 0]), Some(12));
        // The PDU session container of 5G (0x85), one unit.
        assert_eq!(measure(&[0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0x10, 9, 0]), Some(16));
        assert_eq!(measure(&[0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0x85, 0, 0x10, 9, 0]), None);
        assert_eq!(measure(&[0x34, 255, 0, 8, 0, 0, 0, 1, 0, 0, 0]), None);
    }
}
