//! MPLS label stacks (RFC 3032) and what they carry: IP, or Ethernet with or without a control word (RFC 4448).
//! What a label means is not in the packet; the payload's kind is guessed from its first bytes.

/// Most labels in a stack that are read.
const LABELS_MAX: usize = 16;

/// What stands behind a label stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload {
    /// IPv4 or IPv6.
    Ip,
    /// An Ethernet frame.
    Ethernet,
    /// An Ethernet frame after four bytes of control word.
    ControlWord,
    /// Something else.
    Other,
}

/// Bytes of the label stack, or `None` when it has no bottom.
pub fn stack_length(bytes: &[u8]) -> Option<usize> {
    let labels = bytes.chunks_exact(4).take(LABELS_MAX);
    labels.enumerate().find(|(_, label)| label[2] & 1 == 1).map(|(i, _)| 4 * (i + 1))
}

/// Guesses what `bytes`, which follow a label stack, are.
pub fn payload(bytes: &[u8]) -> Payload {
    let ethertype_at = |at: usize| {
        bytes.get(at..at + 2).is_some_and(|two| {
            matches!(u16::from_be_bytes([two[0], two[1]]), 0x0800 | 0x0806 | 0x86dd | 0x8100 | 0x88a8 | 0x8847 | 0x8864)
        })
    };
    match bytes.first().map(|byte| byte >> 4) {
        Some(4) if ethertype_at(12) && bytes.first() != Some(&0x45) => Payload::Ethernet,
        Some(4 | 6) => Payload::Ip,
        Some(0) if ethertype_at(12) && !ethertype_at(16) => Payload::Ethernet,
        Some(0) => Payload::ControlWord,
        Some(1) => Payload::Other,
        Some(_) => Payload::Ethernet,
        None => Payload::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_ends_at_its_bottom() {
        assert_eq!(stack_length(&[0, 0, 0x10, 64, 0, 0, 0x21, 64, 0x45]), Some(8));
        assert_eq!(stack_length(&[0, 0, 0x10, 64, 0, 0, 0x20, 64]), None);
        assert_eq!(stack_length(&[0; 200]), None);
        assert_eq!(payload(&[0x45, 0]), Payload::Ip);
        assert_eq!(payload(&[0; 20]), Payload::ControlWord);
    }
}
