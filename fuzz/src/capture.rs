//! Capture files, packets and batches.

use crate::input::Input;
use archive::BatchIndex;
use packet::batch::{BatchBuilder, Item, MAX_BYTES, MAX_PACKET_BYTES};
use packet::capture::Compression;
use packet::net::{self, Dissected, Follow};
use packet::pcapng::{self, InterfaceStatistics};
use packet::{
    Batch, BatchName, CaptureReader, Entry, Epoch, Interface, InterfaceSet, LinkType, Packet, SourceName, Timestamp,
};
use std::io::{Read, Write};
use uplink::EntryHead;

/// Gives a reader so many bytes at once.
struct Slowly<'a>(&'a [u8], usize);

impl Read for Slowly<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.1.min(self.0.len()).min(buffer.len());
        let (taken, rest) = self.0.split_at(length);
        buffer[..length].copy_from_slice(taken);
        self.0 = rest;
        Ok(length)
    }
}

#[derive(Debug, PartialEq)]
struct Seen {
    packets: Vec<(u64, u32, u32, Vec<u8>)>,
    interfaces: usize,
    warnings: u64,
    error: Option<String>,
}

fn read(input: impl Read, length: usize) -> Option<Seen> {
    let mut reader = CaptureReader::new(input).ok()?;
    let mut seen = Seen { packets: Vec::new(), interfaces: 0, warnings: 0, error: None };
    loop {
        match reader.next() {
            Ok(Some(packet)) => {
                assert!(packet.data.len() <= length);
                let Packet { time, interface, original_length, data } = packet;
                seen.packets.push((time.nanos(), interface, original_length, data.to_vec()));
                assert!((interface as usize) < reader.interfaces().len());
            }
            Ok(None) => break,
            Err(error) => seen.error = Some(error.to_string()),
        }
    }
    assert!(reader.next().is_ok_and(|packet| packet.is_none()), "after the end there is nothing");
    assert!(reader.position() <= length as u64);
    seen.interfaces = reader.interfaces().len();
    seen.warnings = reader.warning_count();
    Some(seen)
}

/// A capture file, compressed or not. The first byte says how many bytes the reader gets at once.
#[inline]
pub fn capture(data: &[u8]) {
    let mut input = Input(data);
    let step = usize::from(input.byte()).pow(2) + 1;
    let file = input.0;
    if Compression::detect(file).is_some() {
        let mut stored = crate::text::file(file);
        if let Ok(opened) = analyzer::capture_file::open(stored.path()) {
            let mut content = Vec::new();
            let _ = opened.input.take(8 << 20).read_to_end(&mut content);
            read(&content[..], content.len());
        }
        let _ = stored.flush();
        return;
    }
    let at_once = read(file, file.len());
    let slowly = read(Slowly(file, step), file.len());
    assert!(slowly == at_once, "the file reads otherwise in pieces of {step} bytes");
}

fn check(dissected: &Dissected<'_>, data: &[u8]) {
    let payload = dissected.payload;
    assert!(payload.len() <= data.len() && payload.len() <= dissected.payload_wire as usize);
    if let Some(network) = &dissected.network {
        assert!(network.payload.len() <= network.payload_wire as usize);
        assert_eq!(network.source.is_ipv4(), network.version() == 4);
    }
    let from_flow = dissected.flow_key().map(|(key, direction)| key.endpoints(direction));
    assert_eq!(from_flow.is_some(), dissected.flow_key().is_some());
    assert!(dissected.community_id().is_none_or(|id| id.text().starts_with(b"1:")));
    let _ = format!("{:?}", dissected.anomalies.iter().collect::<Vec<_>>());
}

/// Link type, bytes cut by the capture, then a packet.
#[inline]
pub fn dissect(data: &[u8]) {
    let mut input = Input(data);
    let (link_type, cut) = (LinkType(input.half()), input.byte());
    let data = input.0;
    let length = data.len() as u32 + u32::from(cut);
    let all = net::dissect(link_type, data, length);
    check(&all, data);
    check(&net::dissect_following(link_type, data, length, Follow::IpInIp), data);
    check(&net::dissect_network(data, length), data);
    check(&net::dissect_reassembled(&all, data, Follow::All), data);
    let packet = Packet { time: Timestamp::ZERO, interface: 0, original_length: length, data };
    BatchIndex::default().add_packet(link_type, &packet);
}

pub(crate) fn name() -> SourceName {
    "fuzz".parse().expect("a good name")
}

pub(crate) fn interface_set(link_type: u16) -> InterfaceSet {
    let interface = |name: &str| Interface {
        name: name.into(),
        link_type: LinkType(link_type),
        snaplen: 65_535,
        filter: String::new(),
    };
    InterfaceSet { number: 0, interfaces: vec![interface("a"), interface("b")] }
}

/// An honest batch of records: interface or statistics, time, bytes cut, data.
pub(crate) fn honest_batch(input: &mut Input<'_>, seq: u64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(name(), Epoch([7; 16]), 0);
    for _ in 0..input.byte() & 15 {
        let head = input.byte();
        let time = Timestamp::from_nanos(u64::from(input.word()) << (head >> 4));
        let interface = u32::from(head & 1);
        if head & 2 != 0 {
            let received = input.half().into();
            builder.push_statistics(&InterfaceStatistics { interface, time, received, ..Default::default() });
            continue;
        }
        let data = input.bytes();
        let original_length = data.len() as u32 + u32::from(head >> 2 & 3);
        builder.push(&Packet { time, interface, original_length, data });
    }
    builder.seal(seq, seq * 16, Vec::new()).1
}

/// Changes a few bytes: as many as the first byte says.
pub(crate) fn damage(input: &mut Input<'_>, bytes: &mut [u8]) {
    for _ in 0..input.byte() & 7 {
        let (at, with) = (usize::from(input.half()), input.byte());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= with;
        }
    }
}

fn check_batch(batch: &Batch<'_>) {
    let mut bytes = 0;
    let set = interface_set(1);
    let checked = batch.check(set.interfaces.len(), |_, packet| bytes += packet.data.len() as u64);
    assert_eq!(BatchIndex::default().check(batch, &set).is_ok(), checked.is_ok());
    if checked.is_err() {
        return;
    }
    assert_eq!(bytes, batch.header.captured_bytes);
    let name = &batch.header.name;
    let mut builder = BatchBuilder::new(name.source.clone(), name.epoch, batch.header.interface_set);
    for item in batch.items() {
        match item.expect("it was checked") {
            Item::Packet(packet) => {
                assert!(packet.data.len() <= MAX_PACKET_BYTES);
                builder.push(&packet);
            }
            Item::Statistics(statistics) => builder.push_statistics(&statistics),
        }
    }
    let (header, again) = builder.seal(name.seq, batch.header.first_packet, Vec::new());
    assert_eq!(header, batch.header);
    let Ok(Entry::Batch(read)) = Entry::parse(&again) else { panic!("a batch that was written is none") };
    assert_eq!(read.header, header);
    assert!(read.items().eq(batch.items()), "what was written reads otherwise");
}

/// An entry of the log, as it is, honestly made and then damaged, or compressed and as the collector receives it.
#[inline]
pub fn batch(data: &[u8]) {
    let mut input = Input(data);
    let choice = input.byte();
    let mut raw = if choice & 1 == 0 { honest_batch(&mut input, 3) } else { Vec::new() };
    damage(&mut input, &mut raw);
    if choice & 1 != 0 {
        raw = input.0.to_vec();
    }
    for block in pcapng::Blocks::new(&raw).flatten() {
        let _ = (pcapng::read_interface(block.body), pcapng::read_interface_statistics(block.body));
    }
    let parsed = Entry::parse(&raw);
    match &parsed {
        Ok(Entry::Batch(batch)) => check_batch(batch),
        Ok(Entry::Gap(gap)) => {
            let again = gap.to_bytes();
            assert!(matches!(Entry::parse(&again), Ok(Entry::Gap(read)) if read == *gap));
        }
        Err(_) => {}
    }
    let BatchName { source, epoch, seq } = match &parsed {
        Ok(Entry::Batch(batch)) => batch.header.name.clone(),
        Ok(Entry::Gap(gap)) => gap.name.clone(),
        Err(_) => BatchName { source: name(), epoch: Epoch([7; 16]), seq: 3 },
    };
    let last_seq = if let Ok(Entry::Gap(gap)) = &parsed { gap.last_seq } else { seq };
    let set = interface_set(1);
    // The frame is what was made of the entry, or the bytes themselves.
    let frame = if choice & 2 == 0 { zstd::bulk::compress(&raw, 1).unwrap_or_default() } else { raw.clone() };
    for raw_length in [raw.len(), raw.len() + 1, usize::from(choice) << 12] {
        let head = EntryHead { seq, last_seq, raw_length: raw_length.min(MAX_BYTES) as u32 };
        if let Ok((_, taken)) = collector::check_entry(&source, epoch, &head, &frame, |_| Some(&set)) {
            assert_eq!(taken.len(), raw_length);
            assert!(choice & 2 != 0 || taken == raw);
        }
    }
}
