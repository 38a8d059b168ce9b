//! TCP (RFC 9293): the header and its options.
//! Puts no stream together.

use super::{TcpFlags, be16, be32, view};

view! {
    /// The fixed part of a TCP header.
    TcpHeader, 20
}

impl TcpHeader<'_> {
    /// Bytes of the header with its options, as it says; less than 20 makes no sense.
    pub const fn header_length(&self) -> usize {
        (self.head[12] >> 4) as usize * 4
    }

    /// The header's values, without options.
    pub fn values(&self) -> super::Tcp<'static> {
        super::Tcp {
            source_port: be16(self.head, 0),
            destination_port: be16(self.head, 2),
            sequence: be32(self.head, 4),
            acknowledgment: be32(self.head, 8),
            flags: TcpFlags(self.head[13]),
            window: be16(self.head, 14),
            options: &[],
        }
    }
}

/// The options of a TCP header: kind and value, without padding. Ends at the end-of-options or the first that is cut.
pub fn options(bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        while let [1, after @ ..] = rest {
            rest = after;
        }
        let [kind, length, ..] = *rest else { return None };
        if kind == 0 {
            return None;
        }
        let value = rest.get(2..usize::from(length))?;
        rest = rest.get(usize::from(length)..)?;
        Some((kind, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_walked_over_padding() {
        let bytes = [2, 4, 5, 0xb4, 1, 3, 3, 7, 4, 2, 0, 0];
        let seen: Vec<_> = options(&bytes).collect();
        assert_eq!(seen, [(2, &[5, 0xb4][..]), (3, &[7][..]), (4, &[][..])]);
        assert_eq!(options(&[8, 10, 1, 2]).count(), 0);
        assert_eq!(options(&[8, 0]).count(), 0);
    }
}
