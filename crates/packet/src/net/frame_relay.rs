//! Frame relay: the Q.922 address, then RFC 2427 (control and NLPID) or Cisco's EtherType.
//! Fragments (FRF.12) and link management remain payload.

use super::ethernet::ethertype;

/// The EtherType (or `None` for a SNAP header) that follows a frame relay header, and the header's length in bytes.
pub fn header(bytes: &[u8]) -> Option<(Option<u16>, usize)> {
    // The last byte of the address has its lowest bit set; two to four bytes.
    let address = 1 + bytes.iter().take(4).position(|byte| byte & 1 == 1)?;
    match *bytes.get(address..)? {
        [0x03, 0xcc, ..] => Some((Some(ethertype::IPV4), address + 2)),
        [0x03, 0x8e, ..] => Some((Some(ethertype::IPV6), address + 2)),
        [0x03, 0x80, ..] => Some((None, address + 2)),
        [0x03, 0x00, 0x80, ..] => Some((None, address + 3)),
        [high, low, ..] if high != 0x03 => Some((Some(u16::from_be_bytes([high, low])), address + 2)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_encapsulations_are_read() {
        assert_eq!(header(&[0x18, 0x41, 0x03, 0xcc, 0x45]), Some((Some(0x0800), 4)));
        assert_eq!(header(&[0x18, 0x41, 0x08, 0x00, 0x45]), Some((Some(0x0800), 4)));
        assert_eq!(header(&[0x18, 0x41, 0x03, 0x00, 0x80, 0, 0, 0, 8, 0]), Some((None, 5)));
        assert_eq!(header(&[0x18, 0x40, 0x40, 0x40, 0x40]), None);
    }
}
