//! Files of the archive: segments, indexes and journals as a crash, a bad disk or somebody else may leave them.

use crate::capture::{damage, honest_batch, interface_set, name};
use crate::input::Input;
use archive::{Archive, Compression, Filter, Index, Query, Writer, WriterOptions};
use packet::{BatchName, DropPlace, DropReason, Epoch, GapRecord, Timestamp, pcapng};
use std::cell::RefCell;
use std::fs;
use std::path::Path;

/// A segment of records: a section, batches, gap records, or any bytes; then a few bytes are changed. Also whether it is
/// one that we could have written.
fn make_segment(input: &mut Input<'_>, compressed: bool) -> (Vec<u8>, bool) {
    let mut honest = true;
    let mut segment = Vec::new();
    let mut seq = 0;
    for _ in 0..input.byte() & 15 {
        let mut raw = Vec::new();
        match input.byte() & 7 {
            0 | 1 => {
                pcapng::write_section_header(&mut raw, "fuzz");
                interface_set(1).interfaces.iter().for_each(|interface| pcapng::write_interface(&mut raw, interface));
            }
            2 => raw = gap(seq, input).to_bytes(),
            3 => {
                raw = input.bytes().to_vec();
                honest = false;
            }
            4 => {
                // Several entries in one frame, as compaction leaves them.
                raw = honest_batch(input, seq);
                seq += 1;
                raw.extend(honest_batch(input, seq));
            }
            _ => raw = honest_batch(input, seq),
        }
        seq += 1;
        match zstd::bulk::compress(&raw, 1) {
            Ok(frame) if compressed => segment.extend(frame),
            _ => segment.extend(raw),
        }
    }
    let written = segment.clone();
    damage(input, &mut segment);
    honest &= written == segment;
    (segment, honest)
}

fn gap(seq: u64, input: &mut Input<'_>) -> GapRecord {
    GapRecord {
        name: BatchName { source: name(), epoch: Epoch([7; 16]), seq },
        last_seq: seq + u64::from(input.byte()),
        place: DropPlace::Spool,
        reason: DropReason::BufferFull,
        first_packet: input.long(),
        packets: input.long(),
        captured_bytes: 9,
        time_min: Timestamp::from_nanos(1),
        time_max: Timestamp::from_nanos(input.long()),
    }
}

fn seqs(index: &Index) -> Vec<u64> {
    index.batches.iter().map(|entry| entry.seq).collect()
}

fn survives(index: &Index) {
    let mut bytes = Vec::new();
    index.write(&mut bytes);
    assert_eq!(Index::parse(&bytes).as_ref(), Ok(index));
}

/// A segment's bytes into its index, as a whole and as a crash cuts them.
#[inline]
pub fn segment(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let compressed = choice & 1 == 0;
    let cut = usize::from(input.half());
    let (bytes, honest) =
        if choice & 2 == 0 { make_segment(&mut input, compressed) } else { (input.0.to_vec(), false) };
    let index = Index::of_segment(&bytes, compressed);
    for entry in &index.batches {
        assert!(entry.offset + u64::from(entry.length) <= bytes.len() as u64);
        assert!((entry.section as usize) < index.sections.len());
        assert!(entry.raw_length as usize <= packet::batch::MAX_BYTES);
    }
    survives(&index);
    let whole = seqs(&index);
    let part = seqs(&Index::of_segment(&bytes[..cut.min(bytes.len())], compressed));
    // Without frames a broken block that follows an entry is part of it.
    assert!(!(compressed || honest) || whole.starts_with(&part), "cut at {cut}: {part:?} is no beginning of {whole:?}");
}

/// An index file: as it is, or with a head and checksums that fit.
fn make_index(input: &mut Input<'_>) -> Vec<u8> {
    if input.byte() & 1 != 0 {
        return input.0.to_vec();
    }
    let mut file = b"TLIX\x01\0\0\0".to_vec();
    let counts = [u32::from(input.byte()), u32::from(input.byte() & 15)];
    for _ in 0..4 {
        file.extend_from_slice(&u64::from(input.byte()).to_le_bytes());
    }
    file.extend_from_slice(&u64::from(input.half()).to_le_bytes());
    let body = input.0;
    for word in [counts[0], counts[1], body.len() as u32] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&crc32fast::hash(&file).to_le_bytes());
    file.extend_from_slice(body);
    file.extend_from_slice(&crc32fast::hash(body).to_le_bytes());
    file
}

/// A journal of records with checksums that fit.
fn make_journal(input: &mut Input<'_>) -> Vec<u8> {
    let mut file = b"TLIXJ\x01\0\0".to_vec();
    while !input.is_empty() {
        let record = input.bytes();
        file.extend_from_slice(&(record.len() as u32).to_le_bytes());
        file.extend_from_slice(record);
        file.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
    }
    file
}

/// An index file.
#[inline]
pub fn index(data: &[u8]) {
    if let Ok(index) = Index::parse(&make_index(&mut Input(data))) {
        survives(&index);
        let _ = index.summary();
    }
}

thread_local! {
    static FOLDER: RefCell<Option<tempfile::TempDir>> = const { RefCell::new(None) };
    static FILTERS: Vec<Filter> = ["", "host 10.0.0.1", "net 10.0.0.0/8 and port 53", "tcp", "udp portrange 1-9000"]
        .into_iter()
        .map(|text| Filter::new(text).expect("a good filter"))
        .collect();
}

/// A folder in memory where there is one.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).expect("a folder for temporary files")
}

/// A source's folder with one segment and its index or journal: read, searched, then opened by a writer, and read again.
#[inline]
pub fn archive(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let (compressed, open) = (choice & 1 == 0, choice & 2 != 0);
    let (segment, _) = make_segment(&mut input, compressed);
    let other = match choice >> 2 & 3 {
        0 => None,
        1 => {
            // The index that belongs to it, in part damaged.
            let mut bytes = Vec::new();
            Index::of_segment(&segment, compressed).write(&mut bytes);
            damage(&mut input, &mut bytes);
            Some(bytes)
        }
        _ if open => Some(make_journal(&mut input)),
        _ => Some(make_index(&mut input)),
    };
    FOLDER.with_borrow_mut(|folder| {
        let root = folder.get_or_insert_with(scratch).path();
        let day = root.join("fuzz/2023-11-14");
        fs::create_dir_all(&day).expect("a folder");
        let ending = if open { ".part" } else { "" };
        let kind = if compressed { ".pcapng.zst" } else { ".pcapng" };
        fs::write(day.join(format!("221320{kind}{ending}")), &segment).expect("a file");
        if let Some(other) = other {
            fs::write(day.join(format!("221320.idx{ending}")), other).expect("a file");
        }
        look(root, segment.len());
        if choice & 16 != 0 {
            let options = WriterOptions {
                compression: if compressed { Compression::Zstd } else { Compression::None },
                ..WriterOptions::default()
            };
            if let Ok((writer, _)) = Writer::open(root, options) {
                drop(writer);
                let found = look(root, segment.len());
                let again = look(root, segment.len());
                assert_eq!(found, again);
            }
        }
        let _ = fs::remove_dir_all(root.join("fuzz"));
    });
}

fn look(root: &Path, bytes: usize) -> Vec<u64> {
    let archive = Archive::new(root);
    let mut found = Vec::new();
    for entry in archive.entries(&name(), Epoch([7; 16]), 0, u64::MAX).into_iter().flatten() {
        let Ok(stored) = entry else { break };
        assert!(stored.frame.len() <= bytes + 4096);
        found.push(stored.entry.seq);
        assert!(found.len() <= 4096, "more entries than the segment can hold");
    }
    let counts = FILTERS.with(|filters| {
        let count = |filter: &Filter| {
            let query = Query { filter: filter.clone(), ..Query::default() };
            archive.query(query).ok().and_then(|result| result.count().ok())
        };
        filters.iter().map(count).collect::<Vec<_>>()
    });
    if let [Some(all), rest @ ..] = counts.as_slice() {
        assert!(rest.iter().flatten().all(|count| count <= all));
    }
    found
}
