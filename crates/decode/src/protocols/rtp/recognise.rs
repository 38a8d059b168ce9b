//! Tells RTP by its content, where nobody announced it: packets of one source whose numbers and timestamps go on.
//! One packet never suffices: a quarter of all random bytes have version 2.

use super::header::Header;
use super::{payload, rtcp};

/// How many packets of a source in a row have to agree, after its first.
const STEPS: u8 = 2;
/// How many sources are followed until one of them is found to be one.
const CANDIDATES: usize = 8;
/// How many packets may pass without a decision: connectivity checks come in dozens before the first media.
const PATIENCE: u16 = 400;
/// How many packets that are neither media nor what goes with them may pass.
const FOREIGN_MAX: u16 = 24;
/// How far numbers may go ahead from one packet to the next while nothing is certain.
const STEP_MAX: u16 = 50;
/// The same for timestamps: some seconds of any clock.
const TICKS_MAX: u32 = 900_000;

/// What the packets of a flow look like so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// RTP or RTCP.
    Media,
    /// It may be.
    Undecided,
    /// It is something else.
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Candidate {
    up: bool,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload_type: u8,
    steps: u8,
}

/// The memory of a decision that is not made yet.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recogniser {
    candidates: Vec<Candidate>,
    packets: u16,
    foreign: u16,
}

impl Recogniser {
    /// Looks at the next packet of a flow; `up` tells the two directions apart.
    pub(crate) fn look(&mut self, up: bool, bytes: &[u8], wire_length: usize) -> Verdict {
        self.packets += 1;
        if self.packets > PATIENCE {
            return Verdict::Other;
        }
        match bytes.first() {
            // STUN, ZRTP, DTLS and TURN channels come before and between the packets of one flow (RFC 7983).
            Some(0..=3 | 16..=79) | None => return Verdict::Undecided,
            Some(128..=191) => {}
            Some(_) => return self.foreign(),
        }
        if Header::may_be_rtcp(bytes) && rtcp::recognise(bytes, wire_length) {
            return Verdict::Media;
        }
        let Ok(header) = Header::parse(bytes, wire_length) else { return self.foreign() };
        if payload::is_unassigned(header.payload_type) {
            return Verdict::Undecided; // perhaps encrypted RTCP
        }
        let known = self.candidates.iter_mut().find(|known| known.ssrc == header.ssrc && known.up == up);
        let Some(known) = known else {
            if self.candidates.len() >= CANDIDATES {
                return self.foreign();
            }
            let Header { ssrc, sequence, timestamp, payload_type, .. } = header;
            self.candidates.push(Candidate { up, ssrc, sequence, timestamp, payload_type, steps: 0 });
            return Verdict::Undecided;
        };
        let step = header.sequence.wrapping_sub(known.sequence);
        let ticks = header.timestamp.wrapping_sub(known.timestamp);
        if step == 0 && ticks == 0 {
            return Verdict::Undecided; // a copy
        }
        // Out of order, or further than that: neither for nor against.
        if (1..=STEP_MAX).contains(&step) {
            let same = header.payload_type == known.payload_type;
            known.steps = if ticks <= TICKS_MAX && (same || ticks <= 16_000) { known.steps + 1 } else { 0 };
            known.sequence = header.sequence;
            known.timestamp = header.timestamp;
            known.payload_type = header.payload_type;
        }
        if known.steps >= STEPS { Verdict::Media } else { Verdict::Undecided }
    }

    /// Something of another kind: a few of them may stand between media.
    fn foreign(&mut self) -> Verdict {
        self.foreign += 1;
        if self.foreign > FOREIGN_MAX { Verdict::Other } else { Verdict::Undecided }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(sequence: u16, timestamp: u32, ssrc: u32, payload_type: u8) -> Vec<u8> {
        let mut bytes = vec![0x80, payload_type];
        bytes.extend(sequence.to_be_bytes());
        bytes.extend(timestamp.to_be_bytes());
        bytes.extend(ssrc.to_be_bytes());
        bytes.extend([0x55; 20]);
        bytes
    }

    fn verdicts(packets: &[Vec<u8>]) -> Vec<Verdict> {
        let mut recogniser = Recogniser::default();
        packets.iter().map(|bytes| recogniser.look(true, bytes, bytes.len())).collect()
    }

    #[test]
    fn three_packets_of_one_source_are_rtp() {
        let packets = [packet(9, 0, 7, 96), packet(10, 960, 7, 96), packet(11, 1920, 7, 96)];
        assert_eq!(verdicts(&packets), [Verdict::Undecided, Verdict::Undecided, Verdict::Media]);
    }

    #[test]
    fn copies_and_stun_do_not_count() {
        let stun = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        let packets = [stun, packet(9, 0, 7, 0), packet(9, 0, 7, 0), packet(10, 160, 7, 0), packet(11, 320, 7, 0)];
        let verdicts = verdicts(&packets);
        assert_eq!(verdicts[3], Verdict::Undecided);
        assert_eq!(verdicts[4], Verdict::Media);
    }

    #[test]
    fn random_bytes_are_something_else() {
        let packets: Vec<Vec<u8>> = (0..40u32)
            .map(|n| packet((n as u16).wrapping_mul(9999), n.wrapping_mul(0x9e37_79b9), n * 77, 96))
            .collect();
        assert_eq!(verdicts(&packets).last(), Some(&Verdict::Other));
        let text = vec![b"SIP/2.0 200 OK".to_vec(); 24];
        assert_eq!(verdicts(&text).last(), Some(&Verdict::Undecided));
        let text = vec![b"key: value".to_vec(); 25];
        assert_eq!(verdicts(&text).last(), Some(&Verdict::Other));
    }
}
