//! Packets through a collector's API: the same selection as from the files, as a stream of bytes.

use std::io::Write;

use api::escape;
use archive::DumpFormat;
use packet::{SourceName, pcapng};

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
    Ok(text)
}

/// Grabs packets into `out`; gives their number where the format tells it.
pub fn grab(
    connect: &Connect,
    selection: &Selection,
    format: DumpFormat,
    out: &mut dyn Write,
) -> Result<Option<u64>, Failure> {
    let path = format!("/api/v1/packets?{}&format={}", parameters(selection)?, format_name(format));
    let client = super::client(connect)?;
    super::runtime()?.block_on(async {
        let mut body = client.stream(&path).await.map_err(Failure::failed)?;
        let mut packets = PacketCount::default();
        while let Some(bytes) = body.next().await.map_err(Failure::failed)? {
            packets.see(&bytes);
            out.write_all(&bytes).map_err(Failure::output)?;
        }
        out.flush().map_err(Failure::output)?;
        Ok((format == DumpFormat::Pcapng).then_some(packets.count))
    })
}

/// Counts packets.
pub fn count(connect: &Connect, selection: &Selection) -> Result<u64, Failure> {
    let packets = grab(connect, selection, DumpFormat::Pcapng, &mut std::io::sink())?;
    Ok(packets.unwrap_or(0))
}

/// Counts the packets of a pcapng stream that comes in pieces.
#[derive(Default)]
struct PacketCount {
    count: u64,
    /// The first bytes of a block whose head is not yet whole.
    head: Vec<u8>,
    /// Bytes of the present block still to come.
    rest: usize,
}

/// Type and length of a block.
const HEAD_BYTES: usize = 8;

impl PacketCount {
    fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skip = self.rest.min(bytes.len());
            self.rest -= skip;
            bytes = bytes.get(skip..).unwrap_or_default();
            let take = (HEAD_BYTES - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(bytes.get(..take).unwrap_or_default());
            bytes = bytes.get(take..).unwrap_or_default();
            if let Ok(head) = <[u8; HEAD_BYTES]>::try_from(self.head.as_slice()) {
                let [a, b, c, d, e, f, g, h] = head;
                self.count += u64::from(u32::from_le_bytes([a, b, c, d]) == pcapng::ENHANCED_PACKET);
                self.rest = (u32::from_le_bytes([e, f, g, h]) as usize).saturating_sub(HEAD_BYTES);
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Packet, Timestamp};

    #[test]
    fn packets_are_counted_however_the_stream_is_cut() {
        let mut stream = Vec::new();
        pcapng::write_section_header(&mut stream, "test");
        for number in 0..5u8 {
            let data = vec![number; 40 + usize::from(number)];
            let packet =
                Packet { time: Timestamp::ZERO, interface: 0, original_length: data.len() as u32, data: &data };
            pcapng::write_enhanced_packet(&mut stream, &packet);
        }
        for piece in [1, 3, 7, 50, 1000] {
            let mut packets = PacketCount::default();
            stream.chunks(piece).for_each(|bytes| packets.see(bytes));
            assert_eq!(packets.count, 5, "in pieces of {piece}");
        }
    }
}
