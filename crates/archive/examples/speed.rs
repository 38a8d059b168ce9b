//! What the archive costs per packet, and how large its index is: `cargo run --release -p tapline-archive --example speed -- FILE [DIR]`.
//! Reads a capture into batches in memory first, so that capturing and compressing do not count; prints nothing but figures.

use std::path::Path;
use std::time::{Duration, Instant};

use archive::{Archive, BatchIndex, Filter, Query, Writer, WriterOptions};
use packet::{
    Batch, BatchBuilder, BatchHeader, CaptureReader, Entry, Epoch, InterfaceSet, LinkType, SourceName, Timestamp,
};

struct Stored {
    header: BatchHeader,
    raw: Vec<u8>,
    frame: Vec<u8>,
}

type Failure = Box<dyn std::error::Error>;

fn batches(path: &str, source: &SourceName) -> Result<(Vec<Stored>, LinkType), Failure> {
    let file = std::fs::File::open(path)?;
    let mut reader = CaptureReader::new(std::io::BufReader::new(file))?;
    let mut builder = BatchBuilder::new(source.clone(), Epoch([1; 16]), 0);
    let mut encoder = zstd::bulk::Compressor::new(1)?;
    encoder.include_checksum(true)?;
    encoder.include_contentsize(true)?;
    let (mut stored, mut first) = (Vec::new(), 0);
    let mut seal = |builder: &mut BatchBuilder| -> Result<(), Failure> {
        let (header, raw) = builder.seal(stored.len() as u64, first, Vec::new());
        first += u64::from(header.packets);
        let frame = encoder.compress(&raw)?;
        stored.push(Stored { header, raw, frame });
        Ok(())
    };
    while let Some(mut packet) = reader.next()? {
        packet.interface = 0;
        builder.push(&packet);
        if builder.len() >= packet::batch::TARGET_BYTES {
            seal(&mut builder)?;
        }
    }
    seal(&mut builder)?;
    Ok((stored, reader.interfaces().first().map_or(LinkType::ETHERNET, |interface| interface.link_type)))
}

fn batch(stored: &Stored) -> Result<Batch<'_>, Failure> {
    match Entry::parse(&stored.raw)? {
        Entry::Batch(batch) => Ok(batch),
        Entry::Gap(_) => Err("no batch".into()),
    }
}

fn size(folder: &Path, ending: &str) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            bytes += size(&path, ending)?;
        } else if path.to_string_lossy().ends_with(ending) {
            bytes += path.metadata()?.len();
        }
    }
    Ok(bytes)
}

fn main() -> Result<(), Failure> {
    let path = std::env::args().nth(1).ok_or("give a capture file")?;
    let source: SourceName = "speed".parse()?;
    let (stored, link_type) = batches(&path, &source)?;
    let interface = packet::Interface { name: "eth0".into(), link_type, snaplen: 262_144, filter: String::new() };
    let set = InterfaceSet { number: 0, interfaces: vec![interface] };
    let packets: u64 = stored.iter().map(|stored| u64::from(stored.header.packets)).sum();
    let each = |what: &str, time: Duration| {
        println!("{what}: {:.3} us per packet", time.as_secs_f64() * 1e6 / packets.max(1) as f64);
    };
    println!("{packets} packets in {} batches", stored.len());
    for _ in 0..3 {
        let root = match std::env::args().nth(2) {
            Some(folder) => tempfile::tempdir_in(folder)?,
            None => tempfile::tempdir()?,
        };
        let begin = Instant::now();
        for stored in &stored {
            batch(stored)?.check(1, |_, _| {})?;
        }
        let plain = begin.elapsed();
        let mut occurs = BatchIndex::default();
        let begin = Instant::now();
        for stored in &stored {
            occurs.check(&batch(stored)?, &set)?;
        }
        each("check alone", plain);
        each("check and note what occurs", begin.elapsed());
        let (mut writer, _) = Writer::open(root.path(), WriterOptions::default())?;
        let (mut append, mut commit) = (Duration::ZERO, Duration::ZERO);
        for (n, stored) in stored.iter().enumerate() {
            occurs.check(&batch(stored)?, &set)?;
            let begin = Instant::now();
            writer.append(&stored.header, &set, &stored.frame, &stored.raw, &occurs, Timestamp::from_nanos(1))?;
            append += begin.elapsed();
            if n % 256 == 255 {
                let begin = Instant::now();
                writer.commit()?;
                commit += begin.elapsed();
            }
        }
        let begin = Instant::now();
        writer.close()?;
        each("append", append);
        each("commit", commit);
        each("close", begin.elapsed());
        let (segments, index) = (size(root.path(), ".zst")?, size(root.path(), ".idx")?);
        println!("segments {segments} bytes, index {index} bytes: {:.3} %", index as f64 * 100.0 / segments as f64);
        let archive = Archive::new(root.path());
        for filter in ["", "udp port 5060", "host 10.1.0.7", "host 10.99.0.1", "tcp[13] & 2 != 0"] {
            let begin = Instant::now();
            let mut result = archive.query(Query { filter: Filter::new(filter)?, ..Query::default() })?;
            let planned = begin.elapsed();
            let mut first = None;
            while result.next()?.is_some() {
                first.get_or_insert_with(|| begin.elapsed());
            }
            let progress = result.progress();
            let share = (progress.bytes_read + progress.index_bytes) as f64 * 100.0 / progress.archive_bytes as f64;
            println!(
                "grab {filter:?}: {} packets, {share:.2} % of the bytes read, planned in {planned:?}, first {first:?}, all {:?}",
                progress.packets_found,
                begin.elapsed()
            );
        }
        let begin = Instant::now();
        drop(Writer::open(root.path(), WriterOptions::default())?);
        println!("opened again in {:?}", begin.elapsed());
    }
    Ok(())
}
