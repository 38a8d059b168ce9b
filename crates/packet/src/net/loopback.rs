//! BSD loopback headers (NULL, LOOP, ENC): an address family before the IP packet.
//! The family's number differs between systems and its byte order between machines; both are guessed from the value.

use super::ethernet::ethertype;

/// The EtherType that a loopback header's first four bytes stand for, in either byte order. `None` for families without IP.
pub fn ethertype_of(family: [u8; 4]) -> Option<u16> {
    let (little, big) = (u32::from_le_bytes(family), u32::from_be_bytes(family));
    match little.min(big) {
        2 => Some(ethertype::IPV4),
        // Linux 10, Windows 23, NetBSD and OpenBSD 24, FreeBSD 28, macOS 30.
        10 | 23 | 24 | 28 | 30 => Some(ethertype::IPV6),
        // Some programs write an EtherType there.
        other => u16::try_from(other).ok().filter(|value| *value > ethertype::LONGEST_LENGTH),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_are_known_in_both_orders() {
        assert_eq!(ethertype_of([2, 0, 0, 0]), Some(0x0800));
        assert_eq!(ethertype_of([0, 0, 0, 2]), Some(0x0800));
        assert_eq!(ethertype_of([30, 0, 0, 0]), Some(0x86dd));
        assert_eq!(ethertype_of([0, 0, 0, 24]), Some(0x86dd));
        assert_eq!(ethertype_of([0xff; 4]), None);
    }
}
