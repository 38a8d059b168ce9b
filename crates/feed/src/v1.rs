//! Version 1: osmo-pcap's messages, byte for byte. Topics have no terminating NUL.

use packet::{Interface, Packet, pcapng};

/// In which file format packets are published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// pcap with microseconds.
    #[default]
    Pcap,
    /// pcapng blocks.
    Pcapng,
}

/// Topic of a source's packets.
pub fn data_topic(source: &str) -> String {
    format!("data.v1.{source}")
}

/// Topic of an event: `connect`, `disconnect` or `closingtracefile`.
pub fn event_topic(name: &str, source: &str) -> String {
    format!("event.v1.{name}.{source}")
}

/// The link header that goes with every packet of a source of ours: a pcap file header in host order, or a section header and
/// the interfaces.
pub fn link_header(format: Format, interfaces: &[Interface]) -> Vec<u8> {
    let mut out = Vec::new();
    match format {
        Format::Pcap => {
            let first = interfaces.first();
            out.extend_from_slice(&0xa1b2_c3d4u32.to_ne_bytes());
            out.extend_from_slice(&2u16.to_ne_bytes());
            out.extend_from_slice(&4u16.to_ne_bytes());
            out.extend_from_slice(&[0; 8]);
            out.extend_from_slice(&first.map_or(262_144, |interface| interface.snaplen).to_ne_bytes());
            out.extend_from_slice(&u32::from(first.map_or(1, |interface| interface.link_type.0)).to_ne_bytes());
        }
        Format::Pcapng => {
            pcapng::write_section_header(&mut out, "");
            interfaces.iter().for_each(|interface| pcapng::write_interface(&mut out, interface));
        }
    }
    out
}

/// Appends the record of a packet: the 16-byte record header in host order and the packet, or an enhanced packet block.
pub fn record(format: Format, packet: &Packet<'_>, out: &mut Vec<u8>) {
    match format {
        Format::Pcap => {
            out.extend_from_slice(&(packet.time.seconds() as u32).to_ne_bytes());
            out.extend_from_slice(&(packet.time.subsecond_nanos() / 1_000).to_ne_bytes());
            out.extend_from_slice(&(packet.data.len() as u32).to_ne_bytes());
            out.extend_from_slice(&packet.original_length.to_ne_bytes());
            out.extend_from_slice(packet.data);
        }
        Format::Pcapng => pcapng::write_enhanced_packet(out, packet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{LinkType, Timestamp};

    #[test]
    fn a_packet_of_214_bytes_makes_230_in_pcap() {
        let interface =
            Interface { name: "eth0".into(), link_type: LinkType::ETHERNET, snaplen: 9000, filter: String::new() };
        let header = link_header(Format::Pcap, std::slice::from_ref(&interface));
        assert_eq!(header.len(), 24);
        let packet =
            Packet { time: Timestamp::from_parts(7, 1_999), interface: 0, original_length: 300, data: &[1; 214] };
        let mut out = Vec::new();
        record(Format::Pcap, &packet, &mut out);
        assert_eq!(out.len(), 230);
        assert_eq!(out[4..8], 1u32.to_ne_bytes());
        assert_eq!(out[12..16], 300u32.to_ne_bytes());
    }
}
