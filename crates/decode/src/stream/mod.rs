//! TCP streams in order: reordering, retransmission, overlap, loss and wrap-around of one connection, both sides.
//! Knows no protocol: what comes out are runs of bytes and gaps, in the order of the sequence numbers.
//!
//! A hole is waited for until its bytes come, until the other side acknowledges what lies behind it (then it arrived
//! there and was lost by our capture only), or until a bound is reached; then it is told as a gap.

mod trail;

pub(crate) use trail::Trail;

use crate::decoder::Side;
use packet::net::Tcp;
use std::collections::VecDeque;

/// What a segment led to, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Bytes of the present segment: from, to within its payload.
    Fresh(usize, usize),
    /// Bytes that waited.
    Held(Vec<u8>),
    /// Bytes that will not come.
    Gap(u64),
}

/// Why a segment had something odd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oddity {
    /// It repeats bytes with other content; the first were kept.
    OverlapDiffers,
}

/// What a held segment costs beside its bytes: many small ones must not cost more than the bound says.
const OVERHEAD_BYTES: usize = 64;

/// One direction of a connection.
#[derive(Debug)]
struct Half {
    /// Sequence number of the next byte to hand out; none before the first packet.
    next: Option<u32>,
    /// Only where segments have come early.
    early: Option<Box<Early>>,
    /// What was handed out last, only where bytes are wanted.
    recent: Option<Box<Recent>>,
    finished: bool,
    /// Sequence number of the FIN.
    fin_at: Option<u32>,
    /// Sequence number of the first byte after its SYN; none where the beginning was not seen.
    began_at: Option<u32>,
}

/// Segments that came before what precedes them.
#[derive(Debug, Default)]
struct Early {
    /// In the order of their sequence numbers, without overlaps.
    held: VecDeque<(u32, Vec<u8>)>,
    bytes: usize,
}

/// Digests of the last segments that were handed out: whoever repeats one of them whole with other content is found out.
#[derive(Debug, Default)]
struct Recent {
    segments: [(u32, u32, u64); 4],
    next: usize,
}

impl Recent {
    fn note(&mut self, sequence: u32, bytes: &[u8]) {
        self.segments[self.next % 4] = (sequence, bytes.len() as u32, digest(bytes));
        self.next = (self.next + 1) % 4;
    }

    fn differs(&self, sequence: u32, bytes: &[u8]) -> bool {
        self.segments.iter().any(|(at, length, known)| {
            let ahead = distance(*at, sequence);
            let part = usize::try_from(ahead).ok().and_then(|from| bytes.get(from..from + *length as usize));
            *length > 0 && part.is_some_and(|part| digest(part) != *known)
        })
    }
}

fn digest(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    let mut chunks = bytes.chunks_exact(8);
    let mut mix = |word: u64| {
        let product = u128::from(sum ^ word) * 0x9e37_79b9_7f4a_7c15;
        sum = (product >> 64) as u64 ^ product as u64;
    };
    for chunk in &mut chunks {
        mix(u64::from_le_bytes(chunk.try_into().unwrap_or_default()));
    }
    mix(chunks.remainder().iter().fold(1, |word, byte| word << 8 | u64::from(*byte)));
    sum
}

/// Signed distance from `b` to `a` on the circle of sequence numbers.
fn distance(a: u32, b: u32) -> i32 {
    a.wrapping_sub(b) as i32
}

impl Half {
    const NEW: Self = Self { next: None, early: None, recent: None, finished: false, fin_at: None, began_at: None };

    fn held_bytes(&self) -> usize {
        self.early.as_ref().map_or(0, |early| early.bytes)
    }

    fn first_held(&self) -> Option<u32> {
        self.early.as_ref().and_then(|early| early.held.front()).map(|(sequence, _)| *sequence)
    }

    /// Hands out what waited and follows without a hole now.
    fn release(&mut self, pieces: &mut Vec<Piece>) {
        let (Some(mut next), Some(early)) = (self.next, &mut self.early) else { return };
        while let Some((sequence, _)) = early.held.front() {
            let ahead = distance(*sequence, next);
            if ahead > 0 {
                break;
            }
            let Some((sequence, bytes)) = early.held.pop_front() else { break };
            early.bytes -= bytes.len() + OVERHEAD_BYTES;
            let known = distance(next, sequence) as usize;
            if known < bytes.len() {
                next = sequence.wrapping_add(bytes.len() as u32);
                pieces.push(Piece::Held(if known == 0 { bytes } else { bytes[known..].to_vec() }));
            }
        }
        self.next = Some(next);
        if early.held.is_empty() {
            self.early = None;
        }
    }

    /// Gives up waiting for what lies before the first held segment, or before `up_to`.
    fn skip(&mut self, up_to: Option<u32>, pieces: &mut Vec<Piece>) {
        let Some(next) = self.next else { return };
        let target = match (self.first_held(), up_to) {
            (Some(held), Some(limit)) => {
                if distance(held, limit) < 0 {
                    held
                } else {
                    limit
                }
            }
            (Some(held), None) => held,
            (None, Some(limit)) => limit,
            (None, None) => return,
        };
        let length = distance(target, next);
        if length > 0 {
            pieces.push(Piece::Gap(length as u64));
            self.next = Some(target);
        }
        self.release(pieces);
    }
}

impl Early {
    fn hold(&mut self, sequence: u32, bytes: &[u8]) {
        let mut start = sequence;
        let mut rest = bytes;
        let ends_before = |(at, held): &(u32, Vec<u8>)| distance(at.wrapping_add(held.len() as u32), sequence) <= 0;
        let mut at = self.held.partition_point(ends_before);
        while !rest.is_empty() {
            let Some((held_at, held)) = self.held.get(at) else {
                self.insert(at, start, rest);
                return;
            };
            let before = distance(*held_at, start);
            if before > 0 {
                let (fresh, others) = rest.split_at(rest.len().min(before as usize));
                self.insert(at, start, fresh);
                start = start.wrapping_add(fresh.len() as u32);
                rest = others;
            } else {
                let covered = distance(held_at.wrapping_add(held.len() as u32), start);
                if covered > 0 {
                    let length = rest.len().min(covered as usize);
                    start = start.wrapping_add(length as u32);
                    rest = &rest[length..];
                }
            }
            at += 1;
        }
    }

    fn insert(&mut self, at: usize, sequence: u32, bytes: &[u8]) {
        self.bytes += bytes.len() + OVERHEAD_BYTES;
        self.held.insert(at, (sequence, bytes.to_vec()));
    }

    fn differs(&self, sequence: u32, payload: &[u8]) -> bool {
        self.held.iter().any(|(held_at, held)| {
            let ahead = distance(*held_at, sequence);
            let (skip_new, skip_held) =
                if ahead >= 0 { (ahead as usize, 0) } else { (0, ahead.unsigned_abs() as usize) };
            let (new, held) = (payload.get(skip_new..).unwrap_or_default(), held.get(skip_held..).unwrap_or_default());
            new.iter().zip(held).any(|(a, b)| a != b)
        })
    }
}

/// Both directions of a connection.
#[derive(Debug)]
pub struct Connection {
    halves: [Half; 2],
    /// Whether it was broken off.
    pub reset: bool,
}

impl Default for Connection {
    fn default() -> Self {
        /// As a constant it is copied from where nobody has written to a moment ago.
        const NEW: Connection = Connection { halves: [Half::NEW, Half::NEW], reset: false };
        NEW
    }
}

impl Connection {
    /// A new one that goes on behind a trail without bytes. Filled in where it lies: see docs/decisions/0013.
    pub(crate) fn after(trail: &Trail) -> Box<Self> {
        let mut connection = Box::<Self>::default();
        for (half, side) in connection.halves.iter_mut().zip([Side::First, Side::Second]) {
            (half.next, half.began_at) = (trail.next(side), trail.began_at(side));
        }
        connection.reset = trail.is_reset();
        connection
    }

    /// Bytes that wait for what comes before them.
    pub fn held_bytes(&self) -> usize {
        self.halves[0].held_bytes() + self.halves[1].held_bytes()
    }

    /// Whether a SYN of a new connection came although this one has data: the ports are used again.
    pub fn is_reused_by(&self, side: Side, tcp: &Tcp<'_>) -> bool {
        tcp.flags.syn() && Trail::from(self).is_reused_by(side, tcp)
    }

    /// Whether both sides have said that they are done, or one broke it off.
    pub fn is_over(&self) -> bool {
        self.reset || self.halves.iter().all(|half| half.finished)
    }

    /// Whether the beginning of this side was seen.
    pub fn from_start(&self, side: Side) -> bool {
        self.halves[side.index()].began_at.is_some()
    }

    /// Takes a segment and says what it led to for its own side. `missing` is how many bytes of the payload were not
    /// captured; `limit` bounds what may wait. First [`Connection::acknowledge`], then this.
    pub fn segment(
        &mut self,
        side: Side,
        tcp: &Tcp<'_>,
        payload: &[u8],
        missing: u32,
        limit: usize,
        pieces: &mut Vec<Piece>,
    ) -> Option<Oddity> {
        let half = &mut self.halves[side.index()];
        let mut sequence = tcp.sequence;
        if tcp.flags.syn() {
            sequence = sequence.wrapping_add(1);
            if half.next.is_none() {
                half.began_at = Some(sequence);
            }
            half.next.get_or_insert(sequence);
        }
        let wire = payload.len() as u32 + missing;
        if wire == 0 && !tcp.flags.fin() {
            if half.next.is_none() && !tcp.flags.rst() {
                half.next = Some(sequence);
            }
            return None;
        }
        let next = *half.next.get_or_insert(sequence);
        let mut oddity = None;
        let ahead = distance(sequence, next);
        if wire > 0 {
            oddity = half.differs(sequence, payload);
            if ahead > 0 {
                if !payload.is_empty() {
                    half.early.get_or_insert_default().hold(sequence, payload);
                }
                if half.held_bytes() > limit {
                    half.skip(None, pieces);
                }
            } else {
                let known = (-i64::from(ahead)) as u64;
                if known < u64::from(wire) {
                    let known = known as usize;
                    let mut end = next;
                    if known < payload.len() {
                        pieces.push(Piece::Fresh(known, payload.len()));
                        half.recent.get_or_insert_default().note(sequence, payload);
                        end = sequence.wrapping_add(payload.len() as u32);
                    }
                    let whole_end = sequence.wrapping_add(wire);
                    if distance(whole_end, end) > 0 {
                        // Cut by the capture: these bytes were on the wire and cannot be had.
                        pieces.push(Piece::Gap(distance(whole_end, end) as u64));
                        end = whole_end;
                    }
                    half.next = Some(end);
                    half.release(pieces);
                }
            }
        }
        if tcp.flags.fin() {
            half.fin_at = Some(sequence.wrapping_add(wire));
        }
        half.note_fin();
        oddity
    }

    /// The other side acknowledged: what `side` sent before that arrived there, so a hole before it will not be filled.
    pub fn acknowledge(&mut self, side: Side, tcp: &Tcp<'_>, pieces: &mut Vec<Piece>) {
        if !tcp.flags.ack() {
            return;
        }
        let half = &mut self.halves[side.other().index()];
        // Only when all of the hole was acknowledged: capture order may differ from the order on the wire by a little.
        if let (Some(held), Some(next)) = (half.first_held(), half.next)
            && distance(tcp.acknowledgment, held) > 0
            && distance(held, next) > 0
        {
            half.skip(None, pieces);
            half.note_fin();
        }
    }

    /// Gives up all waiting of one side.
    pub fn flush(&mut self, side: Side, pieces: &mut Vec<Piece>) {
        let half = &mut self.halves[side.index()];
        while half.early.is_some() {
            half.skip(None, pieces);
        }
        half.note_fin();
    }

    /// Whether this side has said that it is done and everything before that was handed out.
    pub fn is_finished(&self, side: Side) -> bool {
        self.halves[side.index()].finished
    }
}

impl Half {
    fn note_fin(&mut self) {
        if let (Some(fin), Some(next)) = (self.fin_at, self.next)
            && distance(next, fin) >= 0
        {
            self.finished = true;
        }
    }

    /// Whether what is held, or was handed out a moment ago, says something else than this segment about the same bytes.
    fn differs(&self, sequence: u32, payload: &[u8]) -> Option<Oddity> {
        let held = self.early.as_ref().is_some_and(|early| early.differs(sequence, payload));
        let handed_out = self.next.is_some_and(|next| distance(next, sequence) > 0)
            && self.recent.as_ref().is_some_and(|recent| recent.differs(sequence, payload));
        (held || handed_out).then_some(Oddity::OverlapDiffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::net::TcpFlags;
    use proptest::prelude::*;

    fn tcp(sequence: u32, acknowledgment: u32, flags: u8) -> Tcp<'static> {
        Tcp {
            source_port: 1,
            destination_port: 2,
            sequence,
            acknowledgment,
            flags: TcpFlags(flags),
            window: 0,
            options: &[],
        }
    }

    /// Feeds segments of one side and gives what comes out: text for bytes, `[n]` for gaps.
    fn feed(connection: &mut Connection, segments: &[(u32, &[u8], u8)]) -> String {
        let mut out = String::new();
        for (sequence, payload, flags) in segments {
            let mut pieces = Vec::new();
            connection.segment(Side::First, &tcp(*sequence, 0, *flags), payload, 0, 1000, &mut pieces);
            out.push_str(&text(&pieces, payload));
        }
        out
    }

    fn text(pieces: &[Piece], payload: &[u8]) -> String {
        pieces
            .iter()
            .map(|piece| match piece {
                Piece::Fresh(from, to) => String::from_utf8_lossy(&payload[*from..*to]).into_owned(),
                Piece::Held(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                Piece::Gap(length) => format!("[{length}]"),
            })
            .collect()
    }

    #[test]
    fn segments_come_out_in_order_across_the_wrap() {
        let start = u32::MAX - 3;
        let mut connection = Connection::default();
        let out = feed(
            &mut connection,
            &[
                (start, b"", 2),
                (start.wrapping_add(5), b"efgh", 16),
                (start.wrapping_add(1), b"abcd", 16),
                (start.wrapping_add(9), b"i", 17),
            ],
        );
        assert_eq!(out, "abcdefghi");
        assert!(connection.is_finished(Side::First));
    }

    #[test]
    fn retransmissions_and_overlaps_add_nothing_and_the_first_wins() {
        let mut connection = Connection::default();
        let out = feed(
            &mut connection,
            &[
                (100, b"abc", 16),
                (100, b"XYZ", 16),
                (101, b"QQd", 16),
                (107, b"hij", 16),
                (105, b"ZZZZZZk", 16),
                (104, b"e", 16),
            ],
        );
        assert_eq!(out, "abcdeZZhijZk");
    }

    #[test]
    fn other_content_for_the_same_bytes_is_noticed() {
        let mut connection = Connection::default();
        let mut pieces = Vec::new();
        let mut add = |sequence: u32, payload: &[u8]| {
            connection.segment(Side::First, &tcp(sequence, 0, 16), payload, 0, 1000, &mut pieces)
        };
        assert_eq!(add(100, b"abcdef"), None);
        assert_eq!(add(100, b"abcdef"), None);
        assert_eq!(add(98, b"yyabcXefgh"), Some(Oddity::OverlapDiffers));
        assert_eq!(add(116, b"late"), None);
        assert_eq!(add(117, b"ate"), None);
        assert_eq!(add(117, b"tee"), Some(Oddity::OverlapDiffers));
    }

    #[test]
    fn a_hole_is_a_gap_once_it_was_acknowledged_or_a_bound_is_reached() {
        let mut connection = Connection::default();
        assert_eq!(feed(&mut connection, &[(1, b"a", 16), (5, b"e", 16)]), "a");
        let mut pieces = Vec::new();
        connection.acknowledge(Side::Second, &tcp(0, 3, 16), &mut pieces);
        assert_eq!(text(&pieces, b""), "");
        connection.acknowledge(Side::Second, &tcp(0, 6, 16), &mut pieces);
        assert_eq!(text(&pieces, b""), "[3]e");
        assert_eq!(feed(&mut connection, &[(100, &[b'x'; 940], 16)]), format!("[94]{}", "x".repeat(940)));
    }

    #[test]
    fn a_new_connection_on_the_same_ports_is_told_apart() {
        let mut connection = Connection::default();
        feed(&mut connection, &[(10, b"", 2), (11, b"abc", 17)]);
        assert!(!connection.is_reused_by(Side::First, &tcp(10, 0, 16)));
        assert!(!connection.is_reused_by(Side::First, &tcp(10, 0, 2)));
        assert!(connection.is_reused_by(Side::First, &tcp(90_000, 0, 2)));
    }

    proptest! {
        #[test]
        fn any_order_of_pieces_gives_the_same_bytes(start: u32, order in proptest::collection::vec((0usize..60, 1usize..20), 1..60)) {
            let whole: Vec<u8> = (0..64).collect();
            let mut connection = Connection::default();
            let mut out = Vec::new();
            let mut covered = [false; 64];
            let mut feed = |connection: &mut Connection, from: usize, to: usize| {
                let mut pieces = Vec::new();
                let payload = &whole[from..to];
                connection.segment(Side::First, &tcp(start.wrapping_add(from as u32), 0, 16), payload, 0, 100_000, &mut pieces);
                for piece in pieces {
                    match piece {
                        Piece::Fresh(a, b) => out.extend_from_slice(&payload[a..b]),
                        Piece::Held(bytes) => out.extend_from_slice(&bytes),
                        Piece::Gap(_) => panic!("a gap"),
                    }
                }
            };
            feed(&mut connection, 0, 1);
            covered[0] = true;
            for (from, length) in order {
                let to = (from + length).min(64);
                feed(&mut connection, from, to);
                covered[from..to].fill(true);
            }
            let contiguous = covered.iter().take_while(|c| **c).count();
            prop_assert_eq!(&out[..], &whole[..contiguous]);
        }
    }
}
