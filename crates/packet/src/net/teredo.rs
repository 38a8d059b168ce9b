//! Teredo (RFC 4380): IPv6 in UDP.
//! Authentication and origin indications are skipped.

/// The port of Teredo servers and relays.
pub const PORT: u16 = 3544;

/// Bytes before the IPv6 packet in a Teredo message. `None` where no IPv6 header follows whose length fits exactly.
pub fn header_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    if let [0, 1, client, authentication, ..] = *bytes {
        at += 13 + usize::from(client) + usize::from(authentication);
    }
    if bytes.get(at..)?.starts_with(&[0, 0]) {
        at += 8;
    }
    let packet = bytes.get(at..)?;
    let [0x60..=0x6f, _, _, _, high, low, ..] = *packet else { return None };
    (packet.len() == 40 + usize::from(u16::from_be_bytes([high, low]))).then_some(at)
}
