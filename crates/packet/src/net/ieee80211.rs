//! IEEE 802.11 data frames, and the radio headers that captures put before them (radiotap, Prism, AVS).
//! Management, control and protected frames remain payload; of an aggregate (A-MSDU) nothing is read.

use super::{Mac, view};

view! {
    /// The part that every data frame has.
    DataFrame, 24
}

impl DataFrame<'_> {
    /// Whether it is an unprotected data frame that carries something.
    pub const fn has_data(&self) -> bool {
        let data = self.head[0] & 0x0c == 0x08;
        let null = self.head[0] & 0x40 != 0;
        let protected = self.head[1] & 0x40 != 0;
        data && !null && !protected
    }

    /// Bytes of the whole header: with the fourth address, QoS and HT control where the frame has them.
    pub const fn header_length(&self) -> usize {
        let four_addresses = self.head[1] & 0x03 == 0x03;
        let qos = self.head[0] & 0x80 != 0;
        let order = self.head[1] & 0x80 != 0;
        24 + if four_addresses { 6 } else { 0 } + if qos { 2 } else { 0 } + if qos && order { 4 } else { 0 }
    }

    /// Whether it is an aggregate of several (A-MSDU).
    pub fn is_aggregate(&self) -> bool {
        let qos = self.head[0] & 0x80 != 0;
        let at = if self.head[1] & 0x03 == 0x03 { 6 } else { 0 };
        qos && self.rest.get(at).is_some_and(|control| control & 0x80 != 0)
    }

    fn address(&self, number: usize) -> Mac {
        let mut mac = [0; 6];
        let at = [4, 10, 16][number];
        mac.copy_from_slice(&self.head[at..at + 6]);
        Mac(mac)
    }

    /// Final destination and original source (the fourth address is not read).
    pub fn ends(&self) -> (Mac, Mac) {
        match self.head[1] & 0x03 {
            0 => (self.address(0), self.address(1)),
            1 => (self.address(2), self.address(1)),
            2 => (self.address(0), self.address(2)),
            _ => (self.address(2), self.address(1)),
        }
    }
}

/// Length of a radiotap header and whether the 802.11 header behind it is padded to four bytes.
pub fn radiotap(bytes: &[u8]) -> Option<(usize, bool)> {
    let [0, _, low, high, ..] = *bytes else { return None };
    let length = usize::from(u16::from_le_bytes([low, high]));
    let header = bytes.get(..length)?;
    let word = |at: usize| header.get(at..at + 4).and_then(|w| w.first_chunk().copied()).map(u32::from_le_bytes);
    let present = word(4)?;
    let mut at = 8;
    let mut last = present;
    // Further presence words follow while bit 31 is set.
    while last & 0x8000_0000 != 0 {
        last = word(at)?;
        at += 4;
    }
    if present & 1 != 0 {
        at = at.next_multiple_of(8) + 8; // TSFT
    }
    let flags = if present & 2 != 0 { header.get(at).copied().unwrap_or(0) } else { 0 };
    Some((length, flags & 0x20 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_qos_frame_from_an_access_point_has_26_bytes_of_header() {
        let mut frame = [0; 32];
        frame[0] = 0x88;
        frame[1] = 0x02;
        frame[4..10].fill(1);
        frame[10..16].fill(2);
        frame[16..22].fill(3);
        let view = DataFrame::new(&frame).unwrap();
        assert!(view.has_data() && !view.is_aggregate());
        assert_eq!(view.header_length(), 26);
        assert_eq!(view.ends(), (Mac([1; 6]), Mac([3; 6])));
    }

    #[test]
    fn radiotap_gives_its_length() {
        assert_eq!(radiotap(&[0, 0, 8, 0, 0, 0, 0, 0]), Some((8, false)));
        assert_eq!(radiotap(&[0, 0, 9, 0, 2, 0, 0, 0, 0x20]), Some((9, true)));
        assert_eq!(radiotap(&[0, 0, 200, 0, 0, 0, 0, 0]), None);
    }
}
