//! Packets through a collector's API: the same selection as from the files, as a stream of bytes.

use std::io::{self, Read, Write};

use api::{Body, Client, ClientError, SourcesAnswer, escape};
use archive::{DumpError, DumpFormat};
use packet::capture::CaptureReader;
use packet::pcap::{self, Precision};
use packet::{LinkType, SourceName, pcapng};
use tokio::runtime::Runtime;

use super::selection::Selection;
use crate::failure::Failure;

/// The selection as a query string.
fn parameters(selection: &Selection) -> Result<String, Failure> {
    let query = selection.query()?;
    let mut text = format!("query={}", escape(&selection.expression()));
    if !query.sources.is_empty() {
        let names: Vec<&str> = query.sources.iter().map(SourceName::as_str).collect();
        text.push_str(&format!("&source={}", escape(&names.join(","))));
    }
    for (name, time) in [("since", query.since), ("until", query.until)] {
        if let Some(time) = time {
            text.push_str(&format!("&{name}={}", time.nanos()));
        }
    }
    if let Some(epoch) = query.epoch {
        text.push_str(&format!("&epoch={epoch}"));
    }
    if let Some(numbers) = query.numbers {
        text.push_str(&format!("&packets={numbers}"));
    }
    Ok(text)
}

/// Grabs packets into `out`; gives their number and their link types.
pub fn grab(
    client: &Client,
    selection: &Selection,
    format: DumpFormat,
    out: &mut dyn Write,
) -> Result<(u64, Vec<LinkType>), Failure> {
    let path = format!("/api/v1/packets?{}", parameters(selection)?);
    let runtime = super::runtime()?;
    let body = runtime.block_on(client.stream(&path))?;
    let mut answer = Answer { runtime, body, piece: Vec::new(), at: 0 };
    match format {
        DumpFormat::Pcapng => {
            let mut blocks = pcapng::PacketCount::default();
            while answer.fill()? {
                blocks.see(&answer.piece);
                out.write_all(&answer.piece).map_err(Failure::output)?;
            }
            out.flush().map_err(Failure::output)?;
            Ok((blocks.count(), blocks.link_types().to_vec()))
        }
        DumpFormat::Pcap => to_pcap(answer, Precision::Nanoseconds, out),
        DumpFormat::PcapMicroseconds => to_pcap(answer, Precision::Microseconds, out),
    }
}

/// Writes a pcapng stream as a classic pcap file. Done here, so that what that format cannot hold is said in words: an answer that has begun can only
/// break off.
fn to_pcap(input: impl Read, precision: Precision, out: &mut dyn Write) -> Result<(u64, Vec<LinkType>), Failure> {
    const BUFFER_BYTES: usize = 256 * 1024;
    let mut reader = CaptureReader::new(input).map_err(Failure::failed)?;
    let mut known: Option<LinkType> = None;
    let (mut buffer, mut record, mut packets) = (Vec::new(), Vec::new(), 0);
    while let Some(packet) = reader.next().map_err(Failure::failed)? {
        let interface = packet.interface as usize;
        record.clear();
        pcap::write_packet(&mut record, &packet, precision);
        let link_type = reader.interfaces().get(interface).map_or(LinkType::ETHERNET, |one| one.link_type);
        match known {
            Some(first) if first != link_type => {
                return Err(super::grab::cannot_hold(&DumpError::LinkTypes { first, other: link_type }));
            }
            Some(_) => {}
            None => pcap::write_header(&mut buffer, link_type, 0, precision),
        }
        known = Some(link_type);
        buffer.extend_from_slice(&record);
        packets += 1;
        if buffer.len() >= BUFFER_BYTES {
            out.write_all(&buffer).map_err(Failure::output)?;
            buffer.clear();
        }
    }
    if known.is_none() {
        pcap::write_header(&mut buffer, LinkType::ETHERNET, 0, precision);
    }
    out.write_all(&buffer).and_then(|()| out.flush()).map_err(Failure::output)?;
    Ok((packets, known.into_iter().collect()))
}

/// The body of an answer, to read from.
struct Answer {
    runtime: Runtime,
    body: Body,
    piece: Vec<u8>,
    /// How much of the piece is read.
    at: usize,
}

impl Answer {
    /// Takes the next piece; false at the end.
    fn fill(&mut self) -> Result<bool, ClientError> {
        let piece = self.runtime.block_on(self.body.next())?;
        self.at = 0;
        self.piece.clear();
        self.piece.extend_from_slice(piece.as_deref().unwrap_or_default());
        Ok(piece.is_some())
    }
}

impl Read for Answer {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at >= self.piece.len() {
            if !self.fill().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let length = self.piece.get(self.at..).unwrap_or_default().read(out)?;
        self.at += length;
        Ok(length)
    }
}

/// Counts packets.
pub fn count(client: &Client, selection: &Selection) -> Result<u64, Failure> {
    grab(client, selection, DumpFormat::Pcapng, &mut io::sink()).map(|(packets, _)| packets)
}

/// The names of the sources that the collector knows or its archive holds.
pub fn sources(client: &Client) -> Result<Vec<String>, Failure> {
    let answer: SourcesAnswer = super::runtime()?.block_on(client.json("/api/v1/sources"))?;
    Ok(answer.sources.into_iter().map(|row| row.name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Interface, Packet, Timestamp};

    fn stream(link_types: &[LinkType]) -> Vec<u8> {
        let mut out = Vec::new();
        pcapng::write_section_header(&mut out, "test");
        for (number, link_type) in (0..).zip(link_types) {
            let interface = Interface { name: String::new(), link_type: *link_type, snaplen: 0, filter: String::new() };
            pcapng::write_interface(&mut out, &interface);
            let data = [7; 60];
            let packet = Packet {
                time: Timestamp::from_nanos(1_000_000_001),
                interface: number,
                original_length: 90,
                data: &data,
            };
            pcapng::write_enhanced_packet(&mut out, &packet);
        }
        out
    }

    /// How many packets of which link types were written, and the file.
    fn converted(link_types: &[LinkType]) -> Result<(u64, usize, Vec<u8>), Failure> {
        let mut out = Vec::new();
        let (packets, found) = to_pcap(stream(link_types).as_slice(), Precision::Nanoseconds, &mut out)?;
        Ok((packets, found.len(), out))
    }

    #[test]
    fn packets_of_one_link_type_become_a_classic_pcap_file() {
        let (packets, kinds, file) = converted(&[LinkType::LINUX_SLL2, LinkType::LINUX_SLL2]).unwrap();
        assert_eq!((packets, kinds), (2, 1));
        let mut reader = CaptureReader::new(file.as_slice()).unwrap();
        let packet = reader.next().unwrap().unwrap();
        let time = Timestamp::from_nanos(1_000_000_001);
        assert_eq!((packet.time, packet.original_length, packet.data.len()), (time, 90, 60));
        assert_eq!(reader.interfaces()[0].link_type, LinkType::LINUX_SLL2);
    }

    #[test]
    fn two_link_types_are_refused_with_what_to_do_and_nothing_is_a_file_of_nothing() {
        let Err(Failure::Failed(text)) = converted(&[LinkType::ETHERNET, LinkType::LINUX_SLL2]) else {
            panic!("it was written")
        };
        assert!(["ETHERNET", "LINUX_SLL2", "-F", "--source"].iter().all(|word| text.contains(word)), "{text}");
        let (packets, _, file) = converted(&[]).unwrap();
        assert_eq!((packets, file.len()), (0, pcap::HEADER_BYTES));
    }
}
