//! How long reading, dissecting and hashing take per packet: `cargo run --release -p tapline-packet --example speed -- FILE`.
//! Reads the file into memory first, so that the disk does not count; nothing is printed but the figures.

use std::hint::black_box;
use std::io::Cursor;
use std::time::{Duration, Instant};

use packet::CaptureReader;
use packet::net::dissect;

fn pass(
    file: &[u8],
    mut each: impl FnMut(packet::LinkType, &[u8], u32),
) -> Result<(u64, Duration), packet::CaptureError> {
    let begin = Instant::now();
    let mut reader = CaptureReader::new(Cursor::new(file))?;
    let mut packets = 0;
    let mut link_type = packet::LinkType::ETHERNET;
    while let Some(packet) = reader.next()? {
        each(link_type, packet.data, packet.original_length);
        packets += 1;
        if packets == 1 {
            link_type = reader.interfaces().first().map_or(link_type, |interface| interface.link_type);
        }
    }
    Ok((packets, begin.elapsed()))
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("give a capture file")?;
    let file = std::fs::read(path)?;
    let report = |what: &str, (packets, time): (u64, Duration)| {
        println!("{what}: {packets} packets, {:.1} ns each", time.as_nanos() as f64 / packets.max(1) as f64);
    };
    for _ in 0..3 {
        report(
            "read",
            pass(&file, |_, data, _| {
                black_box(data);
            })?,
        );
        report(
            "read, dissect",
            pass(&file, |link, data, length| {
                black_box(dissect(link, data, length));
            })?,
        );
        report(
            "read, dissect, key, hash",
            pass(&file, |link, data, length| {
                black_box(dissect(link, data, length).flow_key().map(|(key, _)| key.hash64()));
            })?,
        );
        report(
            "read, dissect, Community ID",
            pass(&file, |link, data, length| {
                black_box(dissect(link, data, length).community_id());
            })?,
        );
    }
    Ok(())
}
