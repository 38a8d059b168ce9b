//! The index of a segment: where its batches are, and which addresses, ports and protocols occur in which of them.
//! An address or port that is not listed for a batch does not occur there in a way that a filter could see; batches with
//! packets that could not be understood are always candidates. Decides nothing about a packet.

mod entry;
mod file;
mod occurs;
mod postings;
mod varint;

pub use entry::{BatchEntry, Section};
pub use file::{IndexError, Summary};
pub use occurs::BatchIndex;

pub(crate) use file::{HEADER_BYTES, read_summary};

use postings::Runs;
use roaring::RoaringBitmap;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

/// Most addresses listed for one segment; batches that bring more are candidates for every address.
const ADDRESSES_MAX: usize = 262_144;

/// The index of one segment in memory.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Index {
    /// Its sections in the order of the file.
    pub sections: Vec<Section>,
    /// Its entries in the order of the file.
    pub batches: Vec<BatchEntry>,
    v4: HashMap<u32, Runs, ahash::RandomState>,
    v6: HashMap<u128, Runs, ahash::RandomState>,
    ports: HashMap<u16, Runs, ahash::RandomState>,
    protocols: BTreeMap<u8, Runs>,
    /// Batches in which anything may occur.
    unclear: Runs,
}

impl Index {
    /// Adds an entry with what occurs in it (nothing, for a gap record).
    pub fn push(&mut self, entry: BatchEntry, occurs: Option<&BatchIndex>) {
        let number = self.batches.len() as u32;
        self.batches.push(entry);
        let Some(occurs) = occurs else { return };
        let mut unclear = occurs.is_unclear();
        let mut room = ADDRESSES_MAX.saturating_sub(self.v4.len() + self.v6.len());
        for address in occurs.v4() {
            unclear |= !note(&mut self.v4, *address, number, &mut room);
        }
        for address in occurs.v6() {
            unclear |= !note(&mut self.v6, *address, number, &mut room);
        }
        for port in occurs.ports() {
            self.ports.entry(port).or_default().push(number);
        }
        for protocol in occurs.protocols() {
            self.protocols.entry(protocol).or_default().push(number);
        }
        if unclear {
            self.unclear.push(number);
        }
    }

    /// Forgets the sections and entries behind the first so many.
    pub(crate) fn truncate(&mut self, sections: usize, batches: usize) {
        self.sections.truncate(sections);
        self.batches.truncate(batches);
        let limit = batches as u32;
        self.v4.retain(|_, runs| runs.truncate(limit));
        self.v6.retain(|_, runs| runs.truncate(limit));
        self.ports.retain(|_, runs| runs.truncate(limit));
        self.protocols.retain(|_, runs| runs.truncate(limit));
        self.unclear.truncate(limit);
    }

    /// Frees the postings; sections and entries stay.
    pub(crate) fn forget_postings(&mut self) {
        let Self { sections, batches, .. } = std::mem::take(self);
        (self.sections, self.batches) = (sections, batches);
    }

    /// All batches (gap records are none).
    pub(crate) fn all(&self) -> RoaringBitmap {
        (0u32..).zip(&self.batches).filter(|(_, entry)| !entry.is_gap()).map(|(number, _)| number).collect()
    }

    /// Batches in which an address of the range occurs.
    pub(crate) fn with_address(&self, first: IpAddr, last: IpAddr) -> RoaringBitmap {
        let mut found = self.unclear();
        match (first, last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => collect(&self.v4, first.to_bits(), last.to_bits(), &mut found),
            (IpAddr::V6(first), IpAddr::V6(last)) => collect(&self.v6, first.to_bits(), last.to_bits(), &mut found),
            _ => return self.all(),
        }
        found
    }

    /// Batches in which a port of the range occurs.
    pub(crate) fn with_port(&self, first: u16, last: u16) -> RoaringBitmap {
        let mut found = self.unclear();
        collect(&self.ports, first, last, &mut found);
        found
    }

    /// Batches in which a protocol occurs.
    pub(crate) fn with_protocol(&self, protocol: u8) -> RoaringBitmap {
        let mut found = self.unclear();
        if let Some(runs) = self.protocols.get(&protocol) {
            runs.add_to(&mut found);
        }
        found
    }

    fn unclear(&self) -> RoaringBitmap {
        let mut found = RoaringBitmap::new();
        self.unclear.add_to(&mut found);
        found
    }
}

/// Whether the key had room.
fn note<K: Eq + std::hash::Hash>(
    map: &mut HashMap<K, Runs, ahash::RandomState>,
    key: K,
    number: u32,
    room: &mut usize,
) -> bool {
    if *room > 0 {
        let before = map.len();
        map.entry(key).or_default().push(number);
        *room -= map.len() - before;
        return true;
    }
    map.get_mut(&key).map(|runs| runs.push(number)).is_some()
}

fn collect<K: Eq + std::hash::Hash + Ord>(
    map: &HashMap<K, Runs, ahash::RandomState>,
    first: K,
    last: K,
    found: &mut RoaringBitmap,
) {
    if first == last {
        if let Some(runs) = map.get(&first) {
            runs.add_to(found);
        }
        return;
    }
    map.iter().filter(|(key, _)| **key >= first && **key <= last).for_each(|(_, runs)| runs.add_to(found));
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::net::dissect;
    use packet::{LinkType, Packet, Timestamp};

    pub(super) fn entry(seq: u64) -> BatchEntry {
        BatchEntry {
            offset: 60 + seq * 100,
            length: 100,
            raw_length: 300,
            section: 0,
            seq,
            last_seq: seq,
            first_packet: seq * 10,
            packets: 10,
            captured_bytes: 1_000,
            time_min: Timestamp::from_nanos(1 + seq * 7),
            time_max: Timestamp::from_nanos(1 + seq * 7 + 5),
            gap: 0,
        }
    }

    /// A UDP packet on Ethernet.
    pub(super) fn udp(source: [u8; 4], destination: [u8; 4], ports: (u16, u16), fragment: u16) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 32, 0, 0]);
        frame.extend(fragment.to_be_bytes());
        frame.extend([64, 17, 0, 0]);
        frame.extend(source);
        frame.extend(destination);
        frame.extend(ports.0.to_be_bytes());
        frame.extend(ports.1.to_be_bytes());
        frame.extend([0, 12, 0, 0, 1, 2, 3, 4]);
        frame
    }

    pub(super) fn occurs(frames: &[Vec<u8>]) -> BatchIndex {
        let mut occurs = BatchIndex::default();
        for data in frames {
            let packet = Packet { time: Timestamp::ZERO, interface: 0, original_length: data.len() as u32, data };
            occurs.add_packet(LinkType::ETHERNET, &packet);
        }
        occurs.seal();
        occurs
    }

    pub(super) fn sample() -> Index {
        let mut index = Index::default();
        index.sections.push(Section {
            offset: 0,
            length: 60,
            raw_length: 100,
            epoch: packet::Epoch([3; 16]),
            interface_set: 0,
        });
        for seq in 0..50 {
            let frame = udp([10, 0, 0, (seq % 5) as u8], [10, 1, 0, 0], (5060, 20_000 + seq as u16), 0);
            let mut frames = vec![frame.clone(), frame];
            if seq == 7 {
                frames.push(vec![0; 15]);
                frames.last_mut().unwrap()[12] = 8;
            }
            index.push(entry(seq), Some(&occurs(&frames)));
        }
        index
    }

    #[test]
    fn an_index_answers() {
        let index = sample();
        let host = IpAddr::from([10, 0, 0, 2]);
        let numbers = |found: RoaringBitmap| found.iter().collect::<Vec<_>>();
        assert_eq!(numbers(index.with_address(host, host)), [2, 7, 12, 17, 22, 27, 32, 37, 42, 47]);
        let net = index.with_address([10, 0, 0, 0].into(), [10, 0, 0, 255].into());
        assert_eq!(net.len(), 50);
        assert_eq!(numbers(index.with_port(20_003, 20_004)), [3, 4, 7], "7 holds a packet that could not be read");
        assert_eq!(index.with_port(5060, 5060).len(), 50);
        assert_eq!(numbers(index.with_protocol(6)), [7]);
        assert_eq!(index.with_protocol(17).len(), 50);
    }

    #[test]
    fn an_index_can_be_cut_back() {
        let mut index = sample();
        let whole = index.clone();
        for seq in 50..60 {
            let frame = udp([10, 0, 0, (seq % 7) as u8], [10, 1, 0, 0], (5060, 30_000 + seq as u16), 0);
            index.push(entry(seq), Some(&occurs(&[frame])));
        }
        assert_ne!(index, whole);
        index.truncate(1, 50);
        assert_eq!(index, whole);
    }

    #[test]
    fn the_first_fragment_is_listed_under_its_ports() {
        let first = udp([10, 0, 0, 1], [10, 0, 0, 2], (1000, 53), 0x2000);
        assert!(dissect(LinkType::ETHERNET, &first, 46).transport.ports().is_none());
        assert_eq!(occurs(&[first]).ports().collect::<Vec<_>>(), [53, 1000]);
        let second = udp([10, 0, 0, 1], [10, 0, 0, 2], (1000, 53), 0x0010);
        assert_eq!(occurs(&[second]).ports().count(), 0);
    }

    #[test]
    fn spanning_tree_does_not_make_a_batch_unclear() {
        let mut stp = vec![0; 60];
        stp[..14].copy_from_slice(&[1, 0x80, 0xc2, 0, 0, 0, 0, 1, 2, 3, 4, 5, 0, 39]);
        stp[14..17].copy_from_slice(&[0x42, 0x42, 3]);
        assert!(!occurs(&[stp]).is_unclear());
    }

    #[test]
    fn addresses_are_bounded() {
        let mut index = Index::default();
        for batch in 0..300u32 {
            let mut occurs = BatchIndex::default();
            for n in 0..1000u32 {
                occurs.add_address((batch * 1000 + n).to_be_bytes().into());
            }
            occurs.seal();
            index.push(entry(batch.into()), Some(&occurs));
        }
        assert_eq!(index.v4.len(), ADDRESSES_MAX);
        let late = IpAddr::from(299_999u32.to_be_bytes());
        assert!(index.with_address(late, late).contains(299), "still found");
        let early = IpAddr::from(5u32.to_be_bytes());
        assert!(!index.with_address(early, early).contains(100));
    }
}
