//! Writing what a query finds as one capture file: pcapng with the names of the interfaces, or pcap.
//! Appends to a buffer; where the bytes go is the caller's.

use crate::query::{Found, Origin};
use packet::pcap::{self, Precision};
use packet::pcapng;
use packet::{GapRecord, LinkType};
use std::collections::HashMap;

/// Snap length stated for every interface: tcpdump refuses a file whose interfaces differ in it.
const SNAPLEN: u32 = 262_144;
/// Gap records that are noted in a file.
const NOTES_MAX: usize = 1_000;

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DumpFormat {
    /// pcapng: nanoseconds, interface names, filters, sources, notes of what was lost.
    #[default]
    Pcapng,
    /// pcap with nanoseconds: one link type and no names.
    Pcap,
    /// pcap with microseconds, for programs that know nothing else.
    PcapMicroseconds,
}

impl DumpFormat {
    /// The usual ending of such a file.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::Pcapng => "pcapng",
            Self::Pcap | Self::PcapMicroseconds => "pcap",
        }
    }

    /// The media type of such a file.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Pcapng => "application/x-pcapng",
            Self::Pcap | Self::PcapMicroseconds => "application/vnd.tcpdump.pcap",
        }
    }
}

impl std::str::FromStr for DumpFormat {
    type Err = DumpError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "pcapng" => Ok(Self::Pcapng),
            "pcap" | "nsecpcap" => Ok(Self::Pcap),
            "pcap-us" => Ok(Self::PcapMicroseconds),
            _ => Err(DumpError::Format(text.chars().take(40).collect())),
        }
    }
}

/// What cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DumpError {
    /// A pcap file has one link type.
    #[error("the packets are of the link types {first} and {other}, and a classic pcap file holds one")]
    LinkTypes {
        /// Of the first packet.
        first: LinkType,
        /// Of another.
        other: LinkType,
    },
    /// No such format.
    #[error("`{0}` is no format: pcapng, pcap (nanoseconds) or pcap-us (microseconds)")]
    Format(String),
}

/// Writes packets as a capture file.
#[derive(Debug)]
pub struct Dump {
    format: DumpFormat,
    begun: bool,
    link_types: Vec<LinkType>,
    /// (origin, interface of its set) to the interface of the file.
    interfaces: HashMap<(usize, u32), u32>,
    written: u32,
}

impl Dump {
    /// A writer of nothing yet.
    pub fn new(format: DumpFormat) -> Self {
        Self { format, begun: false, link_types: Vec::new(), interfaces: HashMap::new(), written: 0 }
    }

    /// Appends a packet, and before it what the file needs to hold it.
    ///
    /// # Errors
    /// When the format cannot hold it; nothing was appended then.
    pub fn packet(&mut self, found: &Found<'_>, out: &mut Vec<u8>) -> Result<(), DumpError> {
        match self.format {
            DumpFormat::Pcapng => {
                self.begin_pcapng(out);
                let key = (found.origin.id, found.packet.interface);
                let interface = match self.interfaces.get(&key) {
                    Some(interface) => *interface,
                    None => {
                        let interface = self.written;
                        write_interface(found.origin, found.packet.interface, out);
                        let link_type = found.origin.set.link_type();
                        if !self.link_types.contains(&link_type) {
                            self.link_types.push(link_type);
                        }
                        self.interfaces.insert(key, interface);
                        self.written += 1;
                        interface
                    }
                };
                pcapng::write_enhanced_packet(out, &packet::Packet { interface, ..found.packet });
            }
            DumpFormat::Pcap | DumpFormat::PcapMicroseconds => {
                let precision = self.precision();
                let link_type = found.origin.set.link_type();
                match self.link_types.first() {
                    Some(first) if *first != link_type => {
                        return Err(DumpError::LinkTypes { first: *first, other: link_type });
                    }
                    Some(_) => {}
                    None => {
                        pcap::write_header(out, link_type, SNAPLEN, precision);
                        self.link_types.push(link_type);
                    }
                }
                pcap::write_packet(out, &found.packet, precision);
            }
        }
        Ok(())
    }

    /// Ends the file: notes what was lost (pcapng), and makes a valid file of nothing found.
    pub fn finish(&mut self, gaps: &[GapRecord], out: &mut Vec<u8>) {
        match self.format {
            DumpFormat::Pcapng => {
                self.begin_pcapng(out);
                self.note_gaps(gaps, out);
            }
            DumpFormat::Pcap | DumpFormat::PcapMicroseconds => {
                if self.link_types.is_empty() {
                    pcap::write_header(out, LinkType::ETHERNET, SNAPLEN, self.precision());
                }
            }
        }
    }

    /// The link types of what was written, each once.
    pub fn link_types(&self) -> &[LinkType] {
        &self.link_types
    }

    fn precision(&self) -> Precision {
        match self.format {
            DumpFormat::PcapMicroseconds => Precision::Microseconds,
            _ => Precision::Nanoseconds,
        }
    }

    fn begin_pcapng(&mut self, out: &mut Vec<u8>) {
        if !self.begun {
            pcapng::write_section_header(out, concat!("tapline ", env!("CARGO_PKG_VERSION")));
            self.begun = true;
        }
    }

    /// One interface statistics block with a comment per gap, which tshark and Wireshark show in the capture's properties.
    fn note_gaps(&self, gaps: &[GapRecord], out: &mut Vec<u8>) {
        if self.written == 0 {
            return;
        }
        for gap in gaps.iter().take(NOTES_MAX) {
            pcapng::write_block(out, pcapng::INTERFACE_STATISTICS, |out| {
                let nanos = gap.time_max.nanos();
                out.extend_from_slice(&0u32.to_le_bytes());
                out.extend_from_slice(&((nanos >> 32) as u32).to_le_bytes());
                out.extend_from_slice(&(nanos as u32).to_le_bytes());
                option(out, 1, note(gap).as_bytes());
                out.extend_from_slice(&[0; 4]);
            });
        }
    }
}

fn note(gap: &GapRecord) -> String {
    let time = |time: packet::Timestamp| {
        let mut text = Vec::new();
        time.write_rfc3339(&mut text);
        String::from_utf8(text).unwrap_or_default()
    };
    format!(
        "{}: {} packets lost at {} ({}), {} to {}",
        gap.name.source,
        gap.packets,
        gap.place.as_str(),
        gap.reason.as_str(),
        time(gap.time_min),
        time(gap.time_max)
    )
}

/// An interface description that also names the source, since a file may hold packets of several.
fn write_interface(origin: &Origin, number: u32, out: &mut Vec<u8>) {
    let interface = origin.set.interfaces.get(number as usize);
    pcapng::write_block(out, pcapng::INTERFACE_DESCRIPTION, |out| {
        out.extend_from_slice(&origin.set.link_type().0.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&SNAPLEN.to_le_bytes());
        if let Some(interface) = interface
            && !interface.name.is_empty()
        {
            option(out, 2, interface.name.as_bytes());
        }
        option(out, 3, format!("source {}", origin.source).as_bytes());
        option(out, 9, &[9]);
        if let Some(interface) = interface
            && !interface.filter.is_empty()
        {
            let mut filter = vec![0];
            filter.extend_from_slice(interface.filter.as_bytes());
            option(out, 11, &filter);
        }
        out.extend_from_slice(&[0; 4]);
    });
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..value.len().min(usize::from(u16::MAX))).unwrap_or(&[]);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.resize(out.len() + (value.len().wrapping_neg() & 3), 0);
}
