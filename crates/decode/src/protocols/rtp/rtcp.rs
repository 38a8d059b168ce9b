//! RTCP packets (RFC 3550 6, RFC 3611) out of a compound: reports, descriptions, goodbyes. Keeps no state.

use packet::{Cursor, Cut};

/// How many report blocks, chunks or extended blocks of one packet are read.
const ITEMS_MAX: usize = 31;

/// What one receiver says of one sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Report {
    /// The sender reported on.
    pub(crate) ssrc: u32,
    /// Lost since the last report, in 256ths.
    pub(crate) fraction_lost: u8,
    /// Lost since the beginning; negative with duplicates.
    pub(crate) lost: i32,
    /// Extended highest sequence number received.
    pub(crate) highest: u32,
    /// Interarrival jitter in ticks of the payload's clock.
    pub(crate) jitter: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 for none.
    pub(crate) last_sr: u32,
    /// Time since then in 65,536ths of a second.
    pub(crate) delay: u32,
}

/// What a sender says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SenderInfo {
    /// NTP time of the report.
    pub(crate) ntp: u64,
    /// The same moment in RTP time.
    pub(crate) rtp_timestamp: u32,
    /// Packets sent.
    pub(crate) packets: u32,
    /// Payload bytes sent.
    pub(crate) bytes: u32,
}

/// VoIP metrics of RFC 3611 4.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct VoipMetrics {
    /// The sender reported on.
    pub(crate) ssrc: u32,
    /// Lost, in 256ths.
    pub(crate) loss: u8,
    /// Discarded for coming too late, in 256ths.
    pub(crate) discard: u8,
    /// Lost or discarded within bursts, in 256ths.
    pub(crate) burst_density: u8,
    /// The same within gaps.
    pub(crate) gap_density: u8,
    /// Mean length of bursts in milliseconds.
    pub(crate) burst_duration_ms: u16,
    /// Mean length of gaps.
    pub(crate) gap_duration_ms: u16,
    /// Round trip.
    pub(crate) round_trip_ms: u16,
    /// Delay within the end system.
    pub(crate) end_system_ms: u16,
    /// R-factor; 127 for unknown.
    pub(crate) r_factor: u8,
    /// MOS of listening times ten; 127 for unknown.
    pub(crate) mos_lq: u8,
    /// MOS of a conversation times ten; 127 for unknown.
    pub(crate) mos_cq: u8,
    /// Nominal delay of the jitter buffer.
    pub(crate) buffer_ms: u16,
}

/// One packet of a compound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rtcp<'a> {
    /// Sender report.
    Sender { ssrc: u32, info: SenderInfo, reports: Vec<Report> },
    /// Receiver report.
    Receiver { ssrc: u32, reports: Vec<Report> },
    /// Source description: canonical names by source.
    Description(Vec<(u32, &'a [u8])>),
    /// Goodbye.
    Bye { sources: Vec<u32>, reason: &'a [u8] },
    /// Application-defined.
    Application { ssrc: u32, name: [u8; 4] },
    /// Extended report.
    Extended { ssrc: u32, voip: Vec<VoipMetrics>, reference_time: Option<u64>, delays: Vec<(u32, u32, u32)> },
    /// Anything else, such as feedback.
    Other { kind: u8 },
}

/// A compound as far as it makes sense.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Compound<'a> {
    /// Its packets.
    pub(crate) packets: Vec<Rtcp<'a>>,
    /// Offset where sense ended, if it did.
    pub(crate) broken_at: Option<usize>,
}

/// Whether bytes look like the start of a compound: version, a first packet that may be first, lengths that add up.
pub(crate) fn recognise(bytes: &[u8], wire_length: usize) -> bool {
    let mut cursor = Cursor::new(bytes);
    let mut first = true;
    let mut at = 0usize;
    while at < wire_length {
        let Ok([head, kind, high, low]) = cursor.array::<4>() else {
            // Cut by the snapshot length after at least one whole head.
            return !first && bytes.len() < wire_length;
        };
        if head >> 6 != 2 || !matches!(kind, 192..=213) || first && !matches!(kind, 200 | 201 | 205 | 206 | 207) {
            return false;
        }
        let length = 4 * usize::from(u16::from_be_bytes([high, low]));
        if first && matches!(kind, 200 | 201) && length < if kind == 200 { 24 } else { 4 } + 24 * usize::from(head & 31)
        {
            return false;
        }
        first = false;
        at += 4 + length;
        // What follows the last packet may be the index and tag of SRTCP.
        if at > wire_length {
            return false;
        }
        if cursor.skip(length).is_err() {
            return bytes.len() < wire_length;
        }
        if cursor.peek().is_some_and(|next| next >> 6 != 2) {
            return true;
        }
    }
    !first
}

impl<'a> Compound<'a> {
    /// Reads a compound.
    pub(crate) fn parse(bytes: &'a [u8]) -> Self {
        let mut compound = Self::default();
        let mut cursor = Cursor::new(bytes);
        while !cursor.is_empty() && compound.packets.len() < ITEMS_MAX {
            let at = cursor.position();
            match one(&mut cursor) {
                Ok(packet) => compound.packets.push(packet),
                Err(_) => {
                    compound.broken_at = Some(at);
                    break;
                }
            }
        }
        compound
    }
}

fn one<'a>(cursor: &mut Cursor<'a>) -> Result<Rtcp<'a>, Cut> {
    let bad = Cut { offset: cursor.position(), wanted: 4 };
    let [head, kind, high, low] = cursor.array()?;
    if head >> 6 != 2 || !(192..=223).contains(&kind) {
        return Err(bad);
    }
    let count = usize::from(head & 31);
    let mut body = cursor.sub(4 * usize::from(u16::from_be_bytes([high, low])))?;
    Ok(match kind {
        200 => Rtcp::Sender {
            ssrc: body.be_u32()?,
            info: SenderInfo {
                ntp: body.be_u64()?,
                rtp_timestamp: body.be_u32()?,
                packets: body.be_u32()?,
                bytes: body.be_u32()?,
            },
            reports: reports(&mut body, count)?,
        },
        201 => Rtcp::Receiver { ssrc: body.be_u32()?, reports: reports(&mut body, count)? },
        202 => {
            let mut names = Vec::new();
            for _ in 0..count {
                let source = body.be_u32()?;
                while let Some(item) = body.peek() {
                    if item == 0 {
                        // Padding to the next word, at least one byte of it.
                        let padding = 4 - (body.position() % 4);
                        body.take_up_to(padding);
                        break;
                    }
                    body.skip(1)?;
                    let length = usize::from(body.u8()?);
                    let text = body.take(length)?;
                    if item == 1 {
                        names.push((source, text));
                    }
                }
            }
            Rtcp::Description(names)
        }
        203 => {
            let mut sources = Vec::new();
            for _ in 0..count {
                sources.push(body.be_u32()?);
            }
            let reason = match body.u8() {
                Ok(length) => body.take_up_to(length.into()),
                Err(_) => &[],
            };
            Rtcp::Bye { sources, reason }
        }
        204 => Rtcp::Application { ssrc: body.be_u32()?, name: body.array()? },
        207 => extended(&mut body)?,
        _ => Rtcp::Other { kind },
    })
}

fn reports(body: &mut Cursor<'_>, count: usize) -> Result<Vec<Report>, Cut> {
    let mut reports = Vec::with_capacity(count);
    for _ in 0..count {
        let ssrc = body.be_u32()?;
        let lost = body.be_u32()?;
        reports.push(Report {
            ssrc,
            fraction_lost: (lost >> 24) as u8,
            lost: ((lost << 8) as i32) >> 8,
            highest: body.be_u32()?,
            jitter: body.be_u32()?,
            last_sr: body.be_u32()?,
            delay: body.be_u32()?,
        });
    }
    Ok(reports)
}

fn extended<'a>(body: &mut Cursor<'a>) -> Result<Rtcp<'a>, Cut> {
    let ssrc = body.be_u32()?;
    let (mut voip, mut reference_time, mut delays) = (Vec::new(), None, Vec::new());
    while !body.is_empty() && voip.len() + delays.len() < ITEMS_MAX {
        let [kind, _, high, low] = body.array()?;
        let mut block = body.sub(4 * usize::from(u16::from_be_bytes([high, low])))?;
        match kind {
            4 => reference_time = Some(block.be_u64()?),
            5 => {
                while block.remaining() >= 12 {
                    delays.push((block.be_u32()?, block.be_u32()?, block.be_u32()?));
                }
            }
            7 => {
                let ssrc = block.be_u32()?;
                let [loss, discard, burst_density, gap_density] = block.array()?;
                let (burst_duration_ms, gap_duration_ms) = (block.be_u16()?, block.be_u16()?);
                let (round_trip_ms, end_system_ms) = (block.be_u16()?, block.be_u16()?);
                // Signal level, noise level, residual echo, Gmin.
                block.skip(4)?;
                let [r_factor, _external, mos_lq, mos_cq] = block.array()?;
                block.skip(2)?;
                voip.push(VoipMetrics {
                    ssrc,
                    loss,
                    discard,
                    burst_density,
                    gap_density,
                    burst_duration_ms,
                    gap_duration_ms,
                    round_trip_ms,
                    end_system_ms,
                    r_factor,
                    mos_lq,
                    mos_cq,
                    buffer_ms: block.be_u16()?,
                });
            }
            _ => {}
        }
    }
    Ok(Rtcp::Extended { ssrc, voip, reference_time, delays })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A sender report with one block, a description and a goodbye.
    fn compound() -> Vec<u8> {
        let mut bytes = vec![0x81, 200, 0, 12, 0, 0, 0, 1];
        bytes.extend(0xe000_0000_8000_0000_u64.to_be_bytes());
        for word in [1600u32, 10, 1600] {
            bytes.extend(word.to_be_bytes());
        }
        for word in [2u32, 0x40ff_fffe, 0x0001_0005, 80, 0x0000_8000, 0x0001_0000] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([0x81, 202, 0, 3, 0, 0, 0, 1, 1, 3, b'a', b'@', b'b', 0, 0, 0]);
        bytes.extend([0x81, 203, 0, 2, 0, 0, 0, 1, 2, b'b', b'y', 0]);
        bytes
    }

    #[test]
    fn a_compound_is_read_whole() {
        let bytes = compound();
        assert!(recognise(&bytes, bytes.len()));
        let compound = Compound::parse(&bytes);
        assert_eq!(compound.broken_at, None);
        let [Rtcp::Sender { ssrc: 1, info, reports }, Rtcp::Description(names), Rtcp::Bye { sources, reason }] =
            &compound.packets[..]
        else {
            panic!("{compound:?}")
        };
        assert_eq!((info.packets, info.bytes), (10, 1600));
        assert_eq!((reports[0].ssrc, reports[0].fraction_lost, reports[0].lost, reports[0].jitter), (2, 0x40, -2, 80));
        assert_eq!(names[..], [(1, &b"a@b"[..])]);
        assert_eq!((&sources[..], *reason), (&[1][..], &b"by"[..]));
    }

    #[test]
    fn what_breaks_off_keeps_what_came_before() {
        let bytes = compound();
        let cut = Compound::parse(&bytes[..60]);
        assert_eq!((cut.packets.len(), cut.broken_at), (1, Some(52)));
    }

    #[test]
    fn rtp_is_not_taken_for_rtcp() {
        let mut rtp = vec![0x80, 0x80, 0, 1];
        rtp.resize(172, 0);
        assert!(!recognise(&rtp, rtp.len()));
        // A marker and payload type 72 look like a sender report, but the length does not agree.
        rtp[1] = 200;
        assert!(!recognise(&rtp, rtp.len()));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 4..120), kind in 199u8..=208, words in 0u8..30) {
            bytes[0] = 0x80 | bytes[0] & 0x3f;
            bytes[1] = kind;
            bytes[2] = 0;
            bytes[3] = words;
            let _ = recognise(&bytes, bytes.len());
            let _ = Compound::parse(&bytes);
        }
    }
}
