//! IP reassembly by full key (addresses, protocol, identification), bounded in bytes and time. First wins where fragments
//! overlap; a datagram that a bound cut off is counted.

use packet::Timestamp;
use packet::net::{Fragment, Network};
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// How long fragments wait for the others, in nanoseconds (RFC 8200: 60 s; Linux: 30 s).
const WAIT_NANOS: u64 = 30_000_000_000;
/// Most fragments of one datagram.
const MOST_PIECES: usize = 512;
/// What a piece costs beside its bytes: many small ones must not cost more than the bound says.
const PIECE_BYTES: usize = 128;
/// Longest datagram.
const LONGEST: usize = 65_535;

type Key = (IpAddr, IpAddr, u8, u32);

#[derive(Debug, Default)]
struct Waiting {
    pieces: Vec<(u32, Vec<u8>)>,
    /// Bytes of the pieces with what keeping them costs.
    bytes: usize,
    payload_bytes: usize,
    packets: u64,
    wire_bytes: u64,
    total: Option<u32>,
    since: Timestamp,
    serial: u64,
}

/// What fragments gave when all had come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Whole {
    /// The payload of the datagram.
    pub(crate) payload: Vec<u8>,
    /// How many fragments there were, those that came twice included.
    pub(crate) packets: u64,
    /// Their frames' bytes on the wire.
    pub(crate) wire_bytes: u64,
}

/// Datagrams of which fragments are missing.
#[derive(Debug, Default)]
pub(crate) struct Fragments {
    table: HashMap<Key, Waiting, ahash::RandomState>,
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    serial: u64,
    /// Datagrams given up: too old, too many, or a bound was reached.
    pub(crate) given_up: u64,
}

impl Fragments {
    /// Takes a fragment; gives the whole payload when it was the last one missing.
    pub(crate) fn add(
        &mut self,
        network: &Network<'_>,
        fragment: Fragment,
        frame_bytes: u32,
        now: Timestamp,
        limit_bytes: usize,
    ) -> Option<Whole> {
        self.drop_old(now, limit_bytes);
        let end = fragment.offset as usize + network.payload.len();
        if network.payload.is_empty() || end > LONGEST || network.payload.len() < network.payload_wire as usize {
            // Nothing to put together: beyond what a datagram can be, or cut by the capture.
            self.given_up += 1;
            return None;
        }
        let key = (network.source, network.destination, network.protocol, fragment.id);
        let serial = &mut self.serial;
        let order = &mut self.order;
        let waiting = self.table.entry(key).or_insert_with(|| {
            *serial += 1;
            order.push_back((key, *serial));
            Waiting { since: now, serial: *serial, ..Waiting::default() }
        });
        if waiting.pieces.len() >= MOST_PIECES {
            self.remove(&key, true);
            return None;
        }
        if !fragment.more {
            waiting.total = Some(waiting.total.unwrap_or(end as u32));
        }
        let at = waiting.pieces.partition_point(|(offset, _)| *offset <= fragment.offset);
        waiting.pieces.insert(at, (fragment.offset, network.payload.to_vec()));
        waiting.payload_bytes += network.payload.len();
        waiting.packets += 1;
        waiting.wire_bytes += u64::from(frame_bytes);
        let cost = network.payload.len() + PIECE_BYTES;
        waiting.bytes += cost;
        self.bytes += cost;
        let total = waiting.total? as usize;
        if waiting.payload_bytes < total {
            return None;
        }
        let mut whole: Vec<u8> = Vec::with_capacity(total);
        for (offset, piece) in &waiting.pieces {
            let offset = *offset as usize;
            if offset > whole.len() {
                return None;
            }
            let fresh = piece.get(whole.len() - offset..).unwrap_or_default();
            whole.extend_from_slice(fresh);
        }
        if whole.len() < total {
            return None;
        }
        whole.truncate(total);
        let (packets, wire_bytes) = (waiting.packets, waiting.wire_bytes);
        self.remove(&key, false);
        Some(Whole { payload: whole, packets, wire_bytes })
    }

    fn remove(&mut self, key: &Key, given_up: bool) {
        if let Some(waiting) = self.table.remove(key) {
            self.bytes -= waiting.bytes;
            self.given_up += u64::from(given_up);
        }
    }

    fn drop_old(&mut self, now: Timestamp, limit_bytes: usize) {
        while let Some((key, serial)) = self.order.front().copied() {
            let live = self.table.get(&key).filter(|waiting| waiting.serial == serial).map(|waiting| waiting.since);
            match live {
                None => {}
                Some(since) if now.since(since) > WAIT_NANOS || self.bytes > limit_bytes => self.remove(&key, true),
                Some(_) => break,
            }
            self.order.pop_front();
        }
        // Those that were put together leave their places in the order behind the oldest that waits.
        if self.order.len() > 2 * self.table.len() + 1024 {
            let table = &self.table;
            self.order.retain(|(key, serial)| table.get(key).is_some_and(|waiting| waiting.serial == *serial));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(payload: &[u8], id: u32) -> (Network<'_>, u32) {
        let address = IpAddr::from([10, 0, 0, 1]);
        let network = Network {
            source: address,
            destination: address,
            protocol: 17,
            ttl: 64,
            tos: 0,
            identification: 0,
            fragment: None,
            offset: 0,
            wire_length: 0,
            payload,
            payload_wire: payload.len() as u32,
        };
        (network, id)
    }

    fn add(fragments: &mut Fragments, id: u32, offset: u32, payload: &[u8], more: bool, at: u64) -> Option<Vec<u8>> {
        let (network, id) = network(payload, id);
        let time = Timestamp::from_parts(at, 0);
        fragments.add(&network, Fragment { id, offset, more }, 60, time, 2000).map(|whole| whole.payload)
    }

    #[test]
    fn fragments_meet_in_any_order_and_the_first_wins() {
        let mut fragments = Fragments::default();
        assert_eq!(add(&mut fragments, 1, 16, b"ZZ", false, 0), None);
        assert_eq!(add(&mut fragments, 2, 0, b"other id", true, 0), None);
        assert_eq!(add(&mut fragments, 1, 8, b"BBBBBBBB", true, 0), None);
        assert_eq!(add(&mut fragments, 1, 0, b"AAAAAAAAXX", true, 0).as_deref(), Some(&b"AAAAAAAAXXBBBBBBZZ"[..]));
        assert_eq!(fragments.bytes, 8 + PIECE_BYTES);
    }

    #[test]
    fn what_waits_too_long_or_is_too_much_is_given_up() {
        let mut fragments = Fragments::default();
        add(&mut fragments, 1, 8, b"late", false, 0);
        assert_eq!(add(&mut fragments, 1, 0, b"AAAAAAAA", true, 31), None);
        assert_eq!(fragments.given_up, 1);
        for id in 10..300 {
            add(&mut fragments, id, 8, b"01234567", true, 31);
        }
        assert!(fragments.bytes <= 2200, "{}", fragments.bytes);
        assert!(fragments.given_up > 100);
    }
}
