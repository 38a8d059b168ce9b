//! What occurs in one batch: the addresses, ports and protocols that a filter could see in its packets. Filled by the walk
//! that checks the batch. What a tunnel carries inside is not listed: filters do not look there.

use super::{IndexError, varint};
use packet::batch::{Batch, BatchError, Item};
use packet::cursor::Cursor;
use packet::net::{self, Anomaly, Dissected, Follow, Transport};
use packet::pcapng::InterfaceStatistics;
use packet::{FlowKey, InterfaceSet, LinkType, Packet};
use std::net::IpAddr;

/// Flows that are remembered within a batch, in pairs of places.
const FLOWS: usize = 1024;

/// What the collector's checking walk notes of one batch.
#[derive(Debug, Clone)]
pub struct BatchIndex {
    v4: Vec<u32>,
    v6: Vec<u128>,
    /// One bit per port.
    ports: Box<[u64; 1024]>,
    protocols: [u64; 4],
    unclear: bool,
    sealed: bool,
    statistics: Vec<InterfaceStatistics>,
    /// Flows that were noted already. Compared whole, so that nobody can hide behind a forged hash.
    flows: Box<[Option<FlowKey>; FLOWS]>,
}

impl Default for BatchIndex {
    fn default() -> Self {
        Self {
            v4: Vec::new(),
            v6: Vec::new(),
            ports: Box::new([0; 1024]),
            protocols: [0; 4],
            unclear: false,
            sealed: true,
            statistics: Vec::new(),
            flows: Box::new([None; FLOWS]),
        }
    }
}

impl BatchIndex {
    /// Empties it for the next batch, keeping its memory.
    pub fn clear(&mut self) {
        self.v4.clear();
        self.v6.clear();
        self.ports.fill(0);
        self.protocols = [0; 4];
        self.unclear = false;
        self.sealed = true;
        self.statistics.clear();
        self.flows.fill(None);
    }

    /// Checks a batch whole ([`Batch::check`]) and notes what occurs in it: the one walk of a receiver. What was noted before is
    /// forgotten.
    ///
    /// # Errors
    /// When the batch is not as its opening block says; what is noted then means nothing.
    pub fn check(&mut self, batch: &Batch<'_>, set: &InterfaceSet) -> Result<(), BatchError> {
        self.clear();
        let link_type = set.link_type();
        batch.check(set.interfaces.len(), |_, packet| self.add_packet(link_type, packet))?;
        for item in batch.items() {
            if let Item::Statistics(statistics) = item? {
                self.add_statistics(statistics);
            }
        }
        self.seal();
        Ok(())
    }

    /// Notes a packet.
    #[inline]
    pub fn add_packet(&mut self, link_type: LinkType, packet: &Packet<'_>) {
        // A filter sees the outermost addresses and ports: only IP directly in IP is walked into, where both have addresses.
        let dissected = net::dissect_following(link_type, packet.data, packet.original_length, Follow::IpInIp);
        let plain = dissected.tunnels.is_empty() && dissected.anomalies.is_empty();
        if plain
            && let Some((key, _)) = dissected.flow_key()
            && self.is_known(key)
            && !matches!(dissected.transport, Transport::Fragment)
        {
            return;
        }
        self.add_dissected(link_type, &dissected);
    }

    /// Whether the flow was noted before; notes it.
    #[inline]
    fn is_known(&mut self, key: FlowKey) -> bool {
        let hash = key.hash64();
        let pair = (hash >> 32) as usize % (FLOWS / 2) * 2;
        let Some([first, second]) = self.flows.get_mut(pair..).and_then(|rest| rest.first_chunk_mut()) else {
            return false;
        };
        if *first == Some(key) || *second == Some(key) {
            return true;
        }
        if first.is_none() || second.is_some() && hash & 1 == 0 {
            *first = Some(key);
        } else {
            *second = Some(key);
        }
        false
    }

    fn add_dissected(&mut self, link_type: LinkType, dissected: &Dissected<'_>) {
        self.sealed = false;
        for tunnel in dissected.tunnels.iter() {
            self.add_address(tunnel.source);
            self.add_address(tunnel.destination);
        }
        match &dissected.network {
            Some(network) => {
                self.add_address(network.source);
                self.add_address(network.destination);
                self.add_protocol(network.protocol);
                match (dissected.transport.ports(), network.fragment, network.payload) {
                    (Some((source, destination)), ..) => {
                        self.add_port(source);
                        self.add_port(destination);
                    }
                    // The first fragment has the ports, and a filter sees them.
                    (None, Some(fragment), [a, b, c, d, ..]) if fragment.offset == 0 => {
                        self.add_port(u16::from_be_bytes([*a, *b]));
                        self.add_port(u16::from_be_bytes([*c, *d]));
                    }
                    _ => {}
                }
            }
            None => self.add_other(link_type, dissected),
        }
        let odd = |noted: net::Noted| !matches!(noted.anomaly, Anomaly::Truncated | Anomaly::CapturedBeyondWire);
        self.unclear |= dissected.anomalies.iter().any(odd);
    }

    fn add_other(&mut self, link_type: LinkType, dissected: &Dissected<'_>) {
        match dissected.link.ethertype {
            // A filter for a host finds ARP that speaks of it.
            0x0806 | 0x8035 => match net::arp::Arp::new(dissected.payload) {
                Some(arp) if arp.is_ipv4_over_ethernet() => {
                    self.add_address(arp.sender().1.into());
                    self.add_address(arp.target().into());
                }
                _ => self.unclear = true,
            },
            // 802.3 with LLC, such as STP: no filter for an address or a port takes it for IP.
            0 if link_type == LinkType::ETHERNET => {}
            0 | 0x0800 | 0x86dd => self.unclear = true,
            _ => {}
        }
    }

    /// Notes an address.
    pub fn add_address(&mut self, address: IpAddr) {
        self.sealed = false;
        match address {
            IpAddr::V4(address) => self.v4.push(address.to_bits()),
            IpAddr::V6(address) => self.v6.push(address.to_bits()),
        }
    }

    fn add_port(&mut self, port: u16) {
        if let Some(word) = self.ports.get_mut(usize::from(port >> 6)) {
            *word |= 1 << (port & 63);
        }
    }

    fn add_protocol(&mut self, protocol: u8) {
        if let Some(word) = self.protocols.get_mut(usize::from(protocol >> 6)) {
            *word |= 1 << (protocol & 63);
        }
    }

    /// Notes counters of an interface that stand in the batch.
    pub fn add_statistics(&mut self, statistics: InterfaceStatistics) {
        self.statistics.push(statistics);
    }

    /// Puts what was noted in order, once everything was. The writer does it where it was forgotten.
    pub fn seal(&mut self) {
        if !self.sealed {
            self.v4.sort_unstable();
            self.v4.dedup();
            self.v6.sort_unstable();
            self.v6.dedup();
            self.sealed = true;
        }
    }

    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The counters noted.
    pub fn statistics(&self) -> &[InterfaceStatistics] {
        &self.statistics
    }

    pub(super) fn is_unclear(&self) -> bool {
        self.unclear
    }

    pub(super) fn v4(&self) -> &[u32] {
        &self.v4
    }

    pub(super) fn v6(&self) -> &[u128] {
        &self.v6
    }

    pub(super) fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        bits(self.ports.as_slice()).map(|bit| bit as u16)
    }

    pub(super) fn protocols(&self) -> impl Iterator<Item = u8> + '_ {
        bits(&self.protocols).map(|bit| bit as u8)
    }

    /// Appends it as part of a record of the journal beside an open segment.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.unclear));
        varint::write(out, self.v4.len() as u64);
        self.v4.iter().for_each(|address| out.extend_from_slice(&address.to_be_bytes()));
        varint::write(out, self.v6.len() as u64);
        self.v6.iter().for_each(|address| out.extend_from_slice(&address.to_be_bytes()));
        varint::write(out, self.ports().count() as u64);
        self.ports().for_each(|port| out.extend_from_slice(&port.to_be_bytes()));
        varint::write(out, self.protocols().count() as u64);
        out.extend(self.protocols());
    }

    /// Reads what [`BatchIndex::write`] wrote.
    pub(crate) fn read(cursor: &mut Cursor<'_>) -> Result<Self, IndexError> {
        let mut occurs = Self { unclear: cursor.u8()? != 0, ..Self::default() };
        for _ in 0..varint::read(cursor)? {
            occurs.v4.push(cursor.be_u32()?);
        }
        for _ in 0..varint::read(cursor)? {
            occurs.v6.push(u128::from_be_bytes(cursor.array()?));
        }
        for _ in 0..varint::read(cursor)? {
            occurs.add_port(cursor.be_u16()?);
        }
        for _ in 0..varint::read(cursor)? {
            occurs.add_protocol(cursor.u8()?);
        }
        Ok(occurs)
    }
}

fn bits(words: &[u64]) -> impl Iterator<Item = usize> + '_ {
    words.iter().enumerate().flat_map(|(at, word)| {
        let mut rest = *word;
        std::iter::from_fn(move || {
            let bit = rest.trailing_zeros() as usize;
            let more = rest != 0;
            rest &= rest.wrapping_sub(1);
            more.then_some(at * 64 + bit)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{occurs, udp};
    use super::*;

    #[test]
    fn what_occurs_survives_the_journal() {
        let occurs = occurs(&[udp([10, 0, 0, 1], [10, 0, 0, 2], (5060, 65_535), 0), vec![1; 14]]);
        let mut bytes = Vec::new();
        occurs.write(&mut bytes);
        let read = BatchIndex::read(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!((read.v4(), read.is_unclear()), (occurs.v4(), occurs.is_unclear()));
        assert_eq!(read.v4(), [0x0a00_0001, 0x0a00_0002]);
        assert_eq!(read.ports().collect::<Vec<_>>(), [5060, 65_535]);
        assert_eq!(read.protocols().collect::<Vec<_>>(), [17]);
        for cut in 0..bytes.len() {
            assert!(BatchIndex::read(&mut Cursor::new(&bytes[..cut])).is_err());
        }
    }

    #[test]
    fn a_tunnel_is_listed_under_what_a_filter_sees() {
        // VXLAN: UDP to 4789 with a frame inside; only the outer addresses count.
        let mut outer = udp([10, 9, 0, 1], [10, 9, 0, 2], (40_000, 4789), 0);
        outer.truncate(42);
        outer.extend([8, 0, 0, 0, 0, 0, 1, 0]);
        outer.extend(udp([192, 168, 0, 1], [192, 168, 0, 2], (1, 2), 0));
        let length = (outer.len() - 14) as u16;
        outer[16..18].copy_from_slice(&length.to_be_bytes());
        outer[38..40].copy_from_slice(&(length - 20).to_be_bytes());
        let occurs = occurs(&[outer]);
        assert_eq!(occurs.v4(), [0x0a09_0001, 0x0a09_0002]);
        assert_eq!(occurs.ports().collect::<Vec<_>>(), [4789, 40_000]);
        assert!(!occurs.is_unclear());
    }
}
