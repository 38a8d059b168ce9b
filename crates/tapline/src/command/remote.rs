//! Packets through a collector's API: the same selection as from the files, as a stream of bytes.

use std::io::Write;

use api::{SourcesAnswer, escape};
use archive::DumpFormat;
use packet::{SourceName, pcap, pcapng};

use super::selection::Selection;
use crate::failure::Failure;
use crate::place::Connect;

/// The name of a format in the API.
fn format_name(format: DumpFormat) -> &'static str {
    match format {
        DumpFormat::Pcapng => "pcapng",
        DumpFormat::Pcap => "pcap",
        DumpFormat::PcapMicroseconds => "pcap-us",
    }
}

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

/// Grabs packets into `out`; gives their number.
pub fn grab(connect: &Connect, selection: &Selection, format: DumpFormat, out: &mut dyn Write) -> Result<u64, Failure> {
    let path = format!("/api/v1/packets?{}&format={}", parameters(selection)?, format_name(format));
    let client = super::client(connect)?;
    super::runtime()?.block_on(async {
        let mut body = client.stream(&path).await.map_err(Failure::failed)?;
        let mut blocks = pcapng::PacketCount::default();
        let mut records = RecordCount::default();
        while let Some(bytes) = body.next().await.map_err(Failure::failed)? {
            match format {
                DumpFormat::Pcapng => blocks.see(&bytes),
                DumpFormat::Pcap | DumpFormat::PcapMicroseconds => records.see(&bytes),
            }
            out.write_all(&bytes).map_err(Failure::output)?;
        }
        out.flush().map_err(Failure::output)?;
        // Only one of the two has seen anything.
        Ok(blocks.count() + records.count)
    })
}

/// Counts packets.
pub fn count(connect: &Connect, selection: &Selection) -> Result<u64, Failure> {
    grab(connect, selection, DumpFormat::Pcapng, &mut std::io::sink())
}

/// The names of the sources that the collector knows or its archive holds.
pub fn sources(connect: &Connect) -> Result<Vec<String>, Failure> {
    let client = super::client(connect)?;
    let answer: SourcesAnswer = super::runtime()?.block_on(client.json("/api/v1/sources")).map_err(Failure::failed)?;
    Ok(answer.sources.into_iter().map(|row| row.name).collect())
}

/// Counts the packets of a pcap stream that comes in pieces.
#[derive(Debug, Default)]
struct RecordCount {
    count: u64,
    /// Whether the numbers are big endian; none before the file's header is whole.
    big_endian: Option<bool>,
    /// The first bytes of a header that is not yet whole.
    head: Vec<u8>,
    /// Bytes of the present packet still to come.
    rest: usize,
}

impl RecordCount {
    /// Takes the next piece.
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skip = self.rest.min(bytes.len());
            self.rest -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            let whole = if self.big_endian.is_some() { pcap::RECORD_HEADER_BYTES } else { pcap::HEADER_BYTES };
            let take = (whole - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(bytes.get(..take).unwrap_or_default());
            bytes = bytes.get(take..).unwrap_or_default();
            if self.head.len() < whole {
                continue;
            }
            match (self.big_endian, self.head.get(8..).and_then(|rest| rest.first_chunk())) {
                (Some(big_endian), Some(length)) => {
                    self.count += 1;
                    self.rest =
                        if big_endian { u32::from_be_bytes(*length) } else { u32::from_le_bytes(*length) } as usize;
                }
                // Both magics begin with the same byte.
                _ => self.big_endian = Some(self.head.first() == pcap::MAGIC_NANOSECONDS.to_be_bytes().first()),
            }
            self.head.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{LinkType, Packet, Timestamp, pcap::Precision};

    #[test]
    fn packets_of_a_pcap_are_counted_whatever_the_pieces() {
        let mut file = Vec::new();
        pcap::write_header(&mut file, LinkType::ETHERNET, 0, Precision::Nanoseconds);
        for length in [0, 1, 100] {
            let data = vec![7; length];
            let packet = Packet { time: Timestamp::ZERO, interface: 0, original_length: 100, data: &data };
            pcap::write_packet(&mut file, &packet, Precision::Nanoseconds);
        }
        for size in [1, 7, file.len()] {
            let mut records = RecordCount::default();
            file.chunks(size).for_each(|piece| records.see(piece));
            assert_eq!(records.count, 3, "in pieces of {size}");
        }
    }
}
