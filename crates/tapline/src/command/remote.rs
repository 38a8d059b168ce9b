//! Packets through a collector's API: the same selection as from the files, as a stream of bytes.

use std::io::Write;

use api::escape;
use archive::DumpFormat;

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
    for source in &query.sources {
        text.push_str(&format!("&source={}", escape(source.as_str())));
    }
    for (name, time) in [("since", query.since), ("until", query.until)] {
        if let Some(time) = time {
            text.push_str(&format!("&{name}={}", time.nanos()));
        }
    }
    Ok(text)
}

/// Streams an answer of the API to `out`; gives the bytes written.
fn stream(connect: &Connect, path: &str, out: &mut dyn Write) -> Result<u64, Failure> {
    let client = super::client(connect)?;
    super::runtime()?.block_on(async {
        let mut body = client.stream(path).await.map_err(Failure::failed)?;
        let mut written = 0;
        while let Some(bytes) = body.next().await.map_err(Failure::failed)? {
            out.write_all(&bytes).map_err(Failure::output)?;
            written += bytes.len() as u64;
            // Live packets must not wait for more of them.
            out.flush().map_err(Failure::output)?;
        }
        Ok(written)
    })
}

/// Grabs packets into `out`.
pub fn grab(connect: &Connect, selection: &Selection, format: DumpFormat, out: &mut dyn Write) -> Result<u64, Failure> {
    let path = format!("/api/v1/grab?{}&format={}", parameters(selection)?, format_name(format));
    stream(connect, &path, out)
}

/// Counts packets.
pub fn count(connect: &Connect, selection: &Selection) -> Result<u64, Failure> {
    let client = super::client(connect)?;
    let path = format!("/api/v1/grab?{}&count=true", parameters(selection)?);
    let answer: serde_json::Value = super::runtime()?.block_on(client.json(&path)).map_err(Failure::failed)?;
    answer["packets"].as_u64().ok_or_else(|| Failure::failed("the collector's answer has no number of packets"))
}

/// Live packets as a pcapng stream.
pub fn live(connect: &Connect, selection: &Selection, out: &mut dyn Write) -> Result<u64, Failure> {
    stream(connect, &format!("/api/v1/live?{}", parameters(selection)?), out)
}
