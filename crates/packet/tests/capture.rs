//! Facts about capture files built by hand, and that no bytes make the reader panic or run forever.
#![allow(clippy::unwrap_used)]

use std::io::Read;

use packet::capture::{Compression, Format};
use packet::pcap::Precision;
use packet::pcapng::InterfaceStatistics;
use packet::{CaptureError, CaptureReader, Interface, LinkType, Packet, Timestamp, pcap, pcapng};
use proptest::prelude::*;

/// A reader that gives one byte at a time, as a slow pipe may.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let length = 1.min(out.len());
        self.0.read(&mut out[..length])
    }
}

type Read1 = (u64, u32, u32, Vec<u8>);

fn all(bytes: impl Read) -> (Vec<Read1>, Option<String>, Vec<String>) {
    let mut reader = CaptureReader::new(bytes).unwrap();
    let (mut packets, mut error) = (Vec::new(), None);
    loop {
        match reader.next() {
            Ok(Some(packet)) => {
                packets.push((packet.time.nanos(), packet.interface, packet.original_length, packet.data.to_vec()));
            }
            Ok(None) => break,
            Err(problem) => error = Some(problem.to_string()),
        }
    }
    (packets, error, reader.warnings().iter().map(ToString::to_string).collect())
}

fn packets(count: u64) -> Vec<(Timestamp, Vec<u8>)> {
    (0..count)
        .map(|n| (Timestamp::from_parts(1_700_000_000 + n, 123_456_000), vec![n as u8 | 1; 60 + n as usize]))
        .collect()
}

fn pcap_file(count: u64, precision: Precision) -> Vec<u8> {
    let mut out = Vec::new();
    pcap::write_header(&mut out, LinkType::ETHERNET, 0, precision);
    for (time, data) in packets(count) {
        pcap::write_packet(&mut out, &Packet { time, interface: 0, original_length: 1000, data: &data }, precision);
    }
    out
}

/// The same file on a machine of the other byte order.
fn turned(file: &[u8]) -> Vec<u8> {
    let mut out = file.to_vec();
    let mut turn = |at: usize, length: usize| out[at..at + length].reverse();
    for (at, length) in [(0, 4), (4, 2), (6, 2), (8, 4), (12, 4), (16, 4), (20, 4)] {
        turn(at, length);
    }
    let mut at = 24;
    while at < file.len() {
        let captured = u32::from_ne_bytes(file[at + 8..at + 12].try_into().unwrap()) as usize;
        for word in 0..4 {
            turn(at + word * 4, 4);
        }
        at += 16 + captured;
    }
    out
}

#[test]
fn pcap_is_read_in_both_orders_and_resolutions() {
    for (precision, nanoseconds) in [(Precision::Microseconds, false), (Precision::Nanoseconds, true)] {
        let file = pcap_file(5, precision);
        for (file, big_endian) in
            [(file.clone(), cfg!(target_endian = "big")), (turned(&file), cfg!(target_endian = "little"))]
        {
            let reader = CaptureReader::new(&file[..]).unwrap();
            assert_eq!(reader.format(), Format::Pcap { big_endian, nanoseconds });
            let (read, error, warnings) = all(&file[..]);
            assert_eq!((error, warnings), (None, vec![]));
            let expected: Vec<Read1> =
                packets(5).into_iter().map(|(time, data)| (time.nanos(), 0, 1000, data)).collect();
            assert_eq!(read, expected);
            assert_eq!(all(Drops(&file)).0, expected);
        }
    }
}

#[test]
fn times_after_2038_are_not_negative() {
    let mut out = Vec::new();
    pcap::write_header(&mut out, LinkType::RAW, 0, Precision::Microseconds);
    let time = Timestamp::from_parts(4_000_000_000, 5_000);
    pcap::write_packet(
        &mut out,
        &Packet { time, interface: 0, original_length: 1, data: &[1] },
        Precision::Microseconds,
    );
    assert_eq!(all(&out[..]).0[0].0, time.nanos());
}

#[test]
fn a_lying_length_costs_nothing_else() {
    let file = pcap_file(20, Precision::Microseconds);
    let whole = all(&file[..]).0;
    // The record of packet 3 begins behind the header and packets of 60, 61 and 62 bytes.
    let at = 24 + 3 * 16 + 60 + 61 + 62;
    for lie in [0x7fff_ffffu32, 300, 10, u32::MAX] {
        let mut lying = file.clone();
        lying[at + 8..at + 12].copy_from_slice(&lie.to_ne_bytes());
        let (read, error, warnings) = all(&lying[..]);
        assert_eq!(error, None);
        assert!(warnings.len() <= 2 && !warnings.is_empty(), "{warnings:?}");
        for packet in whole.iter().filter(|packet| packet.3.len() != 63) {
            assert!(read.contains(packet), "{lie}: {} bytes, {warnings:?}", packet.3.len());
        }
    }
}

#[test]
fn a_hole_of_garbage_is_skipped_and_counted() {
    let file = pcap_file(20, Precision::Nanoseconds);
    let at = 24 + 3 * 16 + 60 + 61 + 62;
    let mut holed = file[..at].to_vec();
    holed.extend((0..1000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 | 0x80));
    holed.extend_from_slice(&file[at..]);
    let (read, error, warnings) = all(&holed[..]);
    assert_eq!((read.len(), error), (20, None));
    assert_eq!(
        warnings,
        [format!("at offset {at}: a record claims more bytes than any packet has; 1000 bytes skipped")]
    );
}

#[test]
fn damage_is_got_over_in_the_same_way_however_few_bytes_come_at_once() {
    for file in [pcap_file(5, Precision::Microseconds), pcapng_file()] {
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 0x15;
            if CaptureReader::new(&damaged[..]).is_ok() {
                assert_eq!(all(Drops(&damaged)), all(&damaged[..]), "byte {at}");
            }
        }
    }
}

#[test]
fn names_of_very_many_interfaces_do_not_fill_the_memory() {
    let mut file = Vec::new();
    pcapng::write_section_header(&mut file, "");
    let long = Interface { filter: "f".repeat(60_000), ..interface(&"n".repeat(60_000), LinkType::ETHERNET) };
    (0..300).for_each(|_| pcapng::write_interface(&mut file, &long));
    for number in [7, 299, 7] {
        let statistics = InterfaceStatistics { interface: number, received: 5, ..InterfaceStatistics::default() };
        pcapng::write_interface_statistics(&mut file, &statistics);
    }
    let mut reader = CaptureReader::new(&file[..]).unwrap();
    assert!(reader.next().unwrap().is_none());
    let kept: usize = reader.interfaces().iter().map(|interface| interface.name.len() + interface.filter.len()).sum();
    assert_eq!((reader.interfaces().len(), kept), (300, 139 * 120_000));
    assert_eq!(reader.statistics().iter().map(|one| one.interface).collect::<Vec<_>>(), [7, 299]);
}

#[test]
fn a_cut_file_gives_everything_before_the_cut() {
    let file = pcap_file(3, Precision::Microseconds);
    for cut in 24..file.len() {
        let (read, error, _) = all(&file[..cut]);
        let whole = [100, 177, 255].iter().filter(|end| **end <= cut).count();
        assert_eq!(read.len(), whole, "{cut}");
        assert_eq!(error.is_some(), ![24, 100, 177, 255].contains(&cut), "{cut}");
    }
    let (_, error, _) = all(&file[..120]);
    assert_eq!(error.unwrap(), "damaged at offset 100: the file ends within a packet");
}

fn interface(name: &str, link_type: LinkType) -> Interface {
    Interface { name: name.into(), link_type, snaplen: 0, filter: "tcp".into() }
}

fn pcapng_file() -> Vec<u8> {
    let mut out = Vec::new();
    for section in 0..2u32 {
        pcapng::write_section_header(&mut out, "test");
        pcapng::write_interface(&mut out, &interface("eth0", LinkType::ETHERNET));
        pcapng::write_interface(&mut out, &interface("tun0", LinkType::RAW));
        pcapng::write_block(&mut out, 0x8000_7777, |out| out.extend_from_slice(b"ours"));
        for number in 0..4u32 {
            let data = vec![7; 10 + number as usize];
            let time = Timestamp::from_nanos(1_700_000_000_000_000_001 + u64::from(section * 10 + number));
            pcapng::write_enhanced_packet(
                &mut out,
                &Packet { time, interface: number % 2, original_length: 99, data: &data },
            );
        }
        let statistics =
            pcapng::InterfaceStatistics { interface: 1, received: 4, dropped_by_kernel: 1, ..Default::default() };
        pcapng::write_interface_statistics(&mut out, &statistics);
    }
    out
}

#[test]
fn interfaces_of_all_sections_keep_numbers_of_their_own() {
    let file = pcapng_file();
    let mut reader = CaptureReader::new(&file[..]).unwrap();
    let mut seen = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        seen.push((packet.interface, packet.data.len(), packet.time.nanos() % 100));
    }
    assert_eq!(
        seen,
        [(0, 10, 1), (1, 11, 2), (0, 12, 3), (1, 13, 4), (2, 10, 11), (3, 11, 12), (2, 12, 13), (3, 13, 14)]
    );
    assert_eq!(reader.interfaces()[3], interface("tun0", LinkType::RAW));
    assert_eq!(
        reader.statistics().iter().map(|s| (s.interface, s.dropped_by_kernel)).collect::<Vec<_>>(),
        [(1, 1), (3, 1)]
    );
    assert_eq!(all(Drops(&file)), all(&file[..]));
}

/// A block in big-endian order.
fn big_block(out: &mut Vec<u8>, kind: u32, body: &[u8]) {
    let length = 12 + body.len() as u32;
    for part in [&kind.to_be_bytes()[..], &length.to_be_bytes(), body, &length.to_be_bytes()] {
        out.extend_from_slice(part);
    }
}

#[test]
fn a_big_endian_section_with_odd_resolutions_and_old_packet_blocks_is_read() {
    let mut out = Vec::new();
    big_block(&mut out, 0x0a0d_0d0a, &[0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]);
    // Link type 1, snap length 6, resolution 2^-10, offset 100 s.
    let mut description = vec![0, 1, 0, 0, 0, 0, 0, 6];
    description.extend([0, 9, 0, 1, 0x8a, 0, 0, 0, 0, 14, 0, 8, 0, 0, 0, 0, 0, 0, 0, 100, 0, 0, 0, 0]);
    big_block(&mut out, 1, &description);
    // Obsolete packet block: interface 0, 3 drops, time 1536 units (1.5 s), 2 of 9 bytes.
    big_block(&mut out, 2, &[0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 2, 0, 0, 0, 9, 5, 6, 0, 0]);
    // Simple packet block of 9 bytes on the wire: 6 by the snap length.
    big_block(&mut out, 3, &[0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 0, 0]);
    let (read, error, warnings) = all(&out[..]);
    assert_eq!((error, warnings), (None, vec![]));
    assert_eq!(read, [(101_500_000_000, 0, 9, vec![5, 6]), (101_500_000_000, 0, 9, vec![1, 2, 3, 4, 5, 6])]);
}

#[test]
fn what_is_no_capture_is_refused_with_a_reason() {
    let why = |bytes: &[u8]| CaptureReader::new(bytes).unwrap_err();
    assert!(matches!(why(b""), CaptureError::Empty));
    assert!(matches!(why(&[0x1f, 0x8b, 8, 0]), CaptureError::Compressed(Compression::Gzip)));
    assert!(matches!(why(&[0x28, 0xb5, 0x2f, 0xfd]), CaptureError::Compressed(Compression::Zstd)));
    assert!(why(b"snoop\0\0\0").to_string().contains("editcap"));
    assert!(why(b"{\"a\": 1}").to_string().contains("text"));
}

#[test]
fn a_failing_medium_is_told_from_a_damaged_file() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("the disk is gone"))
        }
    }
    let file = pcap_file(2, Precision::Microseconds);
    let mut reader = CaptureReader::new(file.chain(Failing)).unwrap();
    assert!(reader.next().unwrap().is_some());
    assert!(reader.next().unwrap().is_some());
    assert!(matches!(reader.next(), Err(CaptureError::Read { .. })));
    assert!(reader.next().unwrap().is_none());
}

fn drain(bytes: &[u8]) -> usize {
    let Ok(mut reader) = CaptureReader::new(bytes) else { return 0 };
    let mut count = 0;
    loop {
        match reader.next() {
            Ok(Some(packet)) => {
                assert!(packet.data.len() <= bytes.len());
                let interface = packet.interface as usize;
                count += 1;
                assert!(interface < reader.interfaces().len());
            }
            Ok(None) => return count,
            Err(_) => assert!(reader.next().unwrap().is_none()),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_damage_makes_it_panic(
        ng: bool,
        hits in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..20),
        cut: u16,
        tail in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = if ng { pcapng_file() } else { pcap_file(10, Precision::Microseconds) };
        let whole = bytes.len();
        for (at, value) in hits {
            bytes[4 + usize::from(at) % (whole - 4)] = value;
        }
        bytes.truncate(whole.min(usize::from(cut) % (whole * 2)));
        bytes.extend(tail);
        prop_assert!(drain(&bytes) <= bytes.len());
    }

    #[test]
    fn no_bytes_make_it_panic(magic in 0usize..5, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let start: [&[u8]; 5] = [
            &[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0],
            &[0xa1, 0xb2, 0xcd, 0x34],
            &[0x0a, 0x0d, 0x0d, 0x0a, 28, 0, 0, 0, 0x4d, 0x3c, 0x2b, 0x1a],
            &[0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d],
            &[],
        ];
        drain(&[start[magic], &bytes].concat());
    }
}
