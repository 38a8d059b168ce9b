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
    if let Some(epoch) = query.epoch {
        text.push_str(&format!("&epoch={epoch}"));
    }
    if let Some(numbers) = query.numbers {
        text.push_str(&format!("&packets={numbers}"));
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
        let mut packets = pcapng::PacketCount::default();
        while let Some(bytes) = body.next().await.map_err(Failure::failed)? {
            packets.see(&bytes);
            out.write_all(&bytes).map_err(Failure::output)?;
        }
        out.flush().map_err(Failure::output)?;
        Ok((format == DumpFormat::Pcapng).then_some(packets.count()))
    })
}

/// Counts packets.
pub fn count(connect: &Connect, selection: &Selection) -> Result<u64, Failure> {
    let packets = grab(connect, selection, DumpFormat::Pcapng, &mut std::io::sink())?;
    Ok(packets.unwrap_or(0))
}
