//! What is kept of a connection that has no bytes, or whose bytes nobody wants: enough to see that its ports are used for another
//! one, and where its bytes will begin.

use super::{Connection, distance};
use crate::decoder::Side;
use packet::net::Tcp;

/// A connection's new SYN so far from where it stood begins another one.
const FAR: u32 = 1 << 20;

/// Both directions, in few bytes: most flows of most networks are connections that nobody decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Trail {
    /// Sequence number behind the furthest byte of each side, where [`Trail::NEXT`] is set: behind the first packet.
    next: [u32; 2],
    /// Sequence number of the first byte after the SYN, where [`Trail::BEGAN`] is set: the beginning was seen.
    began_at: [u32; 2],
    flags: u8,
}

impl Trail {
    // Of the first side; of the second the next bit.
    const NEXT: u8 = 1;
    const BEGAN: u8 = 4;
    /// It has said that it is done.
    const FINISHED: u8 = 16;
    /// Of both sides: it was broken off.
    const RESET: u8 = 64;

    fn has(&self, flag: u8, side: Side) -> bool {
        self.flags & flag << side.index() != 0
    }

    /// Sequence number behind the furthest byte of a side.
    pub(super) fn next(&self, side: Side) -> Option<u32> {
        self.has(Self::NEXT, side).then_some(self.next[side.index()])
    }

    /// Sequence number of a side's first byte, where its SYN was seen.
    pub(super) fn began_at(&self, side: Side) -> Option<u32> {
        self.has(Self::BEGAN, side).then_some(self.began_at[side.index()])
    }

    /// Whether it was broken off.
    pub(super) fn is_reset(&self) -> bool {
        self.flags & Self::RESET != 0
    }

    /// Whether a segment begins where its side stands: nothing is missing before it, and nothing of it has come before.
    pub(crate) fn goes_on_with(&self, side: Side, tcp: &Tcp<'_>) -> bool {
        self.next(side).is_none_or(|next| next == tcp.sequence.wrapping_add(tcp.flags.syn().into()))
    }

    /// Takes a segment that had `wire` bytes of payload.
    #[inline]
    pub(crate) fn segment(&mut self, side: Side, tcp: &Tcp<'_>, wire: u32) {
        let (at, known) = (side.index(), self.has(Self::NEXT, side));
        let first = tcp.sequence.wrapping_add(tcp.flags.syn().into());
        if tcp.flags.syn() && !known {
            self.began_at[at] = first;
            self.flags |= Self::BEGAN << at;
        }
        let behind = first.wrapping_add(wire);
        // A mere acknowledgment says only where a side begins, not that it has come further: bytes may be missing before it.
        let is_further =
            if known { wire > 0 && distance(behind, self.next[at]) > 0 } else { wire > 0 || !tcp.flags.rst() };
        if is_further {
            self.next[at] = behind;
            self.flags |= Self::NEXT << at;
        }
        if tcp.flags.fin() {
            self.flags |= Self::FINISHED << at;
        }
        if tcp.flags.rst() {
            self.flags |= Self::RESET;
        }
    }

    /// Whether a SYN of a new connection came although this one has data: the ports are used again.
    pub(crate) fn is_reused_by(&self, side: Side, tcp: &Tcp<'_>) -> bool {
        if !tcp.flags.syn() || tcp.flags.ack() {
            return false;
        }
        let first = tcp.sequence.wrapping_add(1);
        if self.began_at(side) == Some(first) {
            // The same SYN again: sent again, or seen again.
            return false;
        }
        let ended = self.is_reset() || self.has(Self::FINISHED, side);
        match self.next(side) {
            Some(next) => ended || distance(first, next).unsigned_abs() > FAR,
            None => ended && self.next(side.other()).is_some(),
        }
    }
}

impl From<&Connection> for Trail {
    fn from(connection: &Connection) -> Self {
        let mut trail = Self { flags: if connection.reset { Self::RESET } else { 0 }, ..Self::default() };
        for (at, half) in connection.halves.iter().enumerate() {
            trail.next[at] = half.next.unwrap_or(0);
            trail.began_at[at] = half.began_at.unwrap_or(0);
            for (is_set, flag) in [
                (half.next.is_some(), Self::NEXT),
                (half.began_at.is_some(), Self::BEGAN),
                (half.finished, Self::FINISHED),
            ] {
                trail.flags |= if is_set { flag << at } else { 0 };
            }
        }
        trail
    }
}

#[cfg(test)]
mod tests {
    use super::super::Piece;
    use super::*;
    use packet::net::TcpFlags;
    use proptest::prelude::*;

    const FIN: u8 = TcpFlags::FIN;
    const SYN: u8 = TcpFlags::SYN;
    const ACK: u8 = TcpFlags::ACK;

    fn tcp(sequence: u32, flags: u8) -> Tcp<'static> {
        let flags = TcpFlags(flags);
        Tcp { source_port: 1, destination_port: 2, sequence, acknowledgment: 0, flags, window: 0, options: &[] }
    }

    #[test]
    fn a_new_connection_on_the_same_ports_is_told_apart() {
        let mut trail = Trail::default();
        trail.segment(Side::First, &tcp(10, SYN), 0);
        trail.segment(Side::First, &tcp(11, ACK), 3);
        let reused = |trail: &Trail, side, sequence, flags| trail.is_reused_by(side, &tcp(sequence, flags));
        assert!(!reused(&trail, Side::First, 10, SYN), "sent again");
        assert!(!reused(&trail, Side::First, 90_000, SYN), "near, and nobody is done");
        assert!(reused(&trail, Side::First, 9_000_000, SYN));
        assert!(!reused(&trail, Side::First, 9_000_000, SYN | ACK));
        assert!(!reused(&trail, Side::Second, 9_000_000, SYN), "both begin at once");
        trail.segment(Side::First, &tcp(14, FIN | ACK), 0);
        assert!(reused(&trail, Side::First, 90_000, SYN));
        assert!(!reused(&trail, Side::Second, 90_000, SYN), "this side is not done");
        trail.segment(Side::Second, &tcp(0, TcpFlags::RST), 0);
        assert!(reused(&trail, Side::Second, 90_000, SYN));
    }

    #[test]
    fn a_connection_goes_on_where_its_trail_stands() {
        let mut trail = Trail::default();
        let knocks = [
            (Side::First, tcp(u32::MAX, SYN)),
            (Side::Second, tcp(7, SYN | ACK)),
            (Side::First, tcp(0, ACK)),
            (Side::Second, tcp(8, TcpFlags::RST | ACK)),
        ];
        for (side, segment) in knocks {
            trail.segment(side, &segment, 0);
            assert_eq!(Trail::from(&*Connection::after(&trail)), trail);
        }
        let mut connection = Connection::after(&trail);
        assert!(connection.from_start(Side::First) && connection.from_start(Side::Second) && connection.is_over());
        let mut pieces = Vec::new();
        connection.segment(Side::First, &tcp(2, ACK), b"c", 0, 100, &mut pieces);
        connection.segment(Side::First, &tcp(0, ACK), b"ab", 0, 100, &mut pieces);
        assert_eq!(pieces, [Piece::Fresh(0, 2), Piece::Held(b"c".to_vec())]);
    }

    proptest! {
        /// A segment that begins where its side stands is handed out whole and at once; no other is.
        #[test]
        fn what_goes_on_is_handed_out_whole(start: u32, ahead in -3i32..3, syn: bool, seen: (bool, bool), length in 1usize..=8) {
            let mut trail = Trail::default();
            if seen.0 {
                trail.segment(Side::First, &tcp(start.wrapping_sub(1), SYN), 0);
            }
            if seen.1 {
                trail.segment(Side::Second, &tcp(start.rotate_left(9), ACK), 0);
            }
            let first = start.wrapping_add_signed(ahead);
            let segment = if syn { tcp(first.wrapping_sub(1), SYN) } else { tcp(first, ACK) };
            let mut pieces = Vec::new();
            Connection::after(&trail).segment(Side::First, &segment, &[0; 8][..length], 0, 100, &mut pieces);
            prop_assert_eq!(trail.goes_on_with(Side::First, &segment), pieces == [Piece::Fresh(0, length)]);
        }

        /// What a trail says is what the connection would, where nothing is lost.
        #[test]
        fn a_trail_says_what_the_connection_would(
            start: u32,
            pieces in proptest::collection::vec((any::<bool>(), 0u32..2000), 0..20),
            cut in 0usize..20,
            ends: (bool, bool),
            last: (bool, u32),
        ) {
            let mut connection = Connection::default();
            let mut trail = Trail::default();
            let mut next = [start, start.rotate_left(9)];
            let mut add = |at: usize, second: bool, flags: u8, length: u32| {
                let side = if second { Side::Second } else { Side::First };
                let segment = tcp(next[side.index()], flags);
                next[side.index()] = segment.sequence.wrapping_add(length + u32::from(flags & SYN != 0));
                connection.segment(side, &segment, &[], length, 0, &mut Vec::new());
                if at < cut {
                    trail = Trail::from(&connection);
                } else {
                    trail.segment(side, &segment, length);
                }
            };
            add(0, false, SYN, 0);
            add(1, true, SYN | ACK, 0);
            for (at, (second, length)) in pieces.iter().enumerate() {
                add(at + 2, *second, ACK, *length);
            }
            for (second, is_done) in [(false, ends.0), (true, ends.1)] {
                if is_done {
                    add(30, second, FIN | ACK, 0);
                }
            }
            prop_assert_eq!(trail, Trail::from(&connection));
            let side = if last.0 { Side::Second } else { Side::First };
            let syn = tcp(last.1, SYN);
            prop_assert_eq!(trail.is_reused_by(side, &syn), connection.is_reused_by(side, &syn));
        }
    }
}
