//! What comes over sockets: the uplink from both sides, osmo-pcap's frames, the feed and the API's stream of entries.

use crate::input::Input;
use api::EntryReader;
use feed::Message as FeedMessage;
use packet::{Epoch, Timestamp};
use uplink::osmo::{self, LinkHeader};
use uplink::{CollectorEvent, CollectorSession, Hello, MAJOR, MINOR, Moment, ProbeEvent, ProbeSession, frame, message};

fn moment(number: u64) -> Moment {
    Moment { monotonic: number * 1_000_000, clock: Timestamp::from_nanos(1_700_000_000_000_000_000 + number) }
}

/// What is written and read again is the same.
fn messages_survive(data: &[u8]) {
    let mut reader = frame::Reader::default();
    reader.push(data);
    while let Ok(Some(frame)) = reader.next_frame() {
        // Texts that are no UTF-8 grow, and very long ones are then cut.
        if frame.payload.len() > 16_384 {
            continue;
        }
        let Ok(read) = message::read(frame) else { continue };
        let mut written = Vec::new();
        read.write(&mut written);
        if written.is_empty() {
            continue;
        }
        let mut again = frame::Reader::default();
        again.push(&written);
        let frame = again.next_frame().expect("it was written by us").expect("whole");
        assert_eq!(message::read(frame).as_ref(), Ok(&read));
    }
}

fn collect(data: &[u8], step: usize) -> (Vec<CollectorEvent>, Option<uplink::Fault>) {
    let mut session = CollectorSession::new(moment(0));
    let mut events = Vec::new();
    for piece in data.chunks(step) {
        session.input(piece, moment(1));
        loop {
            match session.next_event(moment(1)) {
                Ok(None) => break,
                Ok(Some(event)) => {
                    if let CollectorEvent::Hello(hello) = &event {
                        session.welcome(hello.oldest_seq, hello.oldest_seq, 1 << 20, moment(1));
                    }
                    events.push(event);
                }
                Err(fault) => return (events, Some(fault)),
            }
        }
        assert!(session.pending() <= data.len());
        let _ = session.tick(moment(2));
    }
    (events, None)
}

/// A probe's bytes into the collector's session. The first byte says how many come at once.
#[inline]
pub fn uplink_collector(data: &[u8]) {
    let mut input = Input(data);
    let step = 1 + usize::from(input.byte());
    messages_survive(input.0);
    assert_eq!(collect(input.0, step), collect(input.0, usize::MAX), "pieces of {step} bytes give something else");
}

fn probe(data: &[u8], step: usize) -> (Vec<ProbeEvent>, Option<uplink::Fault>) {
    let hello = Hello {
        major: MAJOR,
        minor: MINOR,
        source: crate::capture::name(),
        epoch: Epoch([1; 16]),
        oldest_seq: 0,
        next_seq: 5,
        clock: Timestamp::ZERO,
        sets: vec![crate::capture::interface_set(1)],
    };
    let mut session = ProbeSession::new(hello, moment(0));
    let mut events = Vec::new();
    for piece in data.chunks(step) {
        if let Err(fault) = session.input(piece, moment(1), &mut events) {
            return (events, Some(fault));
        }
        let head = uplink::EntryHead { seq: 1, last_seq: 1, raw_length: 4 };
        if session.may_send(4) {
            session.send_entry(head, b"abcd", moment(1));
        }
        let _ = session.tick(moment(3_000));
    }
    (events, None)
}

/// A collector's bytes into the probe's session.
#[inline]
pub fn uplink_probe(data: &[u8]) {
    let mut input = Input(data);
    let step = 1 + usize::from(input.byte());
    messages_survive(input.0);
    assert_eq!(probe(input.0, step), probe(input.0, usize::MAX), "pieces of {step} bytes give something else");
}

type OsmoPacket = (u64, u32, u32, Vec<u8>);

fn client(data: &[u8], step: usize) -> (Vec<Result<OsmoPacket, uplink::Fault>>, bool) {
    let mut reader = osmo::Reader::default();
    let (mut packets, mut link) = (Vec::new(), None);
    for piece in data.chunks(step) {
        reader.push(piece);
        loop {
            match reader.next_frame() {
                Ok(None) => break,
                Ok(Some(osmo::Frame::LinkHeader(payload))) => match LinkHeader::read(payload) {
                    Ok(header) => {
                        assert!(!header.interfaces.is_empty());
                        link = Some(header);
                    }
                    Err(fault) => packets.push(Err(fault)),
                },
                Ok(Some(osmo::Frame::Data(payload))) => {
                    let Some(link) = &link else { continue };
                    packets.push(link.packet(payload).map(|packet| {
                        assert!(packet.data.len() <= payload.len());
                        assert!((packet.interface as usize) < link.interfaces.len());
                        (packet.time.nanos(), packet.interface, packet.original_length, packet.data.to_vec())
                    }));
                }
                Err(_) => return (packets, true),
            }
        }
        assert!(reader.pending() <= data.len());
    }
    (packets, false)
}

/// Bytes of an osmo-pcap client.
#[inline]
pub fn osmo(data: &[u8]) {
    let mut input = Input(data);
    let step = 1 + usize::from(input.byte());
    assert_eq!(client(input.0, step), client(input.0, usize::MAX), "pieces of {step} bytes give something else");
}

/// Parts of a message of the feed, each after its length; and the same bytes as the API's stream of entries.
#[inline]
pub fn feed(data: &[u8]) {
    let mut input = Input(data);
    let mut parts = Vec::new();
    for _ in 0..input.byte() & 7 {
        parts.push(input.bytes().to_vec());
    }
    if let FeedMessage::Entry(entry) = FeedMessage::read(parts) {
        let written = serde_json::to_vec(&entry.meta).expect("it can be written");
        assert_eq!(serde_json::from_slice::<api::EntryMeta>(&written).expect("it was written by us"), entry.meta);
        if let Ok(read) = analyzer::collector::read_entry(&entry.meta, &entry.frame) {
            assert!(read.seqs.start() <= read.seqs.end());
            assert!(entry.meta.encoding == "none" || read.raw.len() <= entry.meta.raw_length as usize);
            if let Ok(packet::Entry::Batch(batch)) = packet::Entry::parse(&read.raw) {
                let _ = batch.items().count();
            }
        }
        let mut stream = Vec::new();
        if api::write_entry(&mut stream, &entry.meta, &entry.frame).is_ok() {
            let mut reader = EntryReader::default();
            stream.chunks(7).for_each(|piece| reader.push(piece));
            assert_eq!(reader.next_entry(), Ok(Some(entry)));
            assert!(!reader.is_cut());
        }
    }
    let mut reader = EntryReader::default();
    reader.push(data);
    while let Ok(Some(_)) = reader.next_entry() {}
}
