//! The documents of streams and of RTCP compounds. Counts nothing: it writes what the stream and the compound say.

use event::{Event, Value, common};
use packet::Timestamp;

use super::fields;
use super::reports::RoundTrips;
use super::rtcp::{Compound, Report, Rtcp, VoipMetrics};
use super::stream::Summary;

/// What is known of where a stream belongs.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Belongs<'a> {
    /// The call.
    pub(crate) call_id: Option<&'a str>,
    /// The protocol that announced it.
    pub(crate) signalled_by: Option<&'a str>,
}

fn ssrc(event: &mut Event, ssrc: u32) -> Value {
    event.display(format_args!("0x{ssrc:08x}"))
}

/// Writes a stretch of a stream into its event.
pub(crate) fn write_stream(
    event: &mut Event,
    source: u32,
    previous: Option<u32>,
    summary: &Summary,
    belongs: Belongs<'_>,
    keys_shown: bool,
) {
    let value = ssrc(event, source);
    event.put(&fields::SSRC, value);
    if let Some(previous) = previous {
        let value = ssrc(event, previous);
        event.put(&fields::PREVIOUS_SSRC, value);
    }
    let counts = &summary.counts;
    event.put(&fields::FINAL, summary.whole);
    event.put(&fields::PAYLOAD_TYPE, summary.payload_type);
    if counts.types.count_ones() > 1 {
        let types = (0..128u8).filter(|kind| counts.types >> kind & 1 == 1);
        event.put_list(&fields::PAYLOAD_TYPES, types);
    }
    if let Some(codec) = &summary.codec {
        event.put_text(&fields::CODEC, &codec.name);
        if codec.clock_rate != 0 {
            event.put(&fields::CLOCK_RATE, codec.clock_rate);
        }
    }
    event.put(&fields::PACKETS, counts.packets);
    event.put(&fields::BYTES, counts.bytes);
    event.put(&fields::EXPECTED, summary.expected);
    event.put(&fields::LOST, summary.lost);
    event.put(&fields::DUPLICATES, counts.duplicates);
    event.put(&fields::OUT_OF_ORDER, counts.out_of_order);
    for (field, count) in [
        (&fields::LOST_BY_CAPTURE, counts.lost_by_capture),
        (&fields::SECOND_SIGHTS, counts.second_sights),
        (&fields::RESTARTS, counts.restarts),
        (&fields::STRAY, counts.stray),
    ] {
        if count > 0 {
            event.put(field, count);
        }
    }
    let spreads = &summary.spreads;
    if spreads.jitter.any {
        event.put(&fields::JITTER_MIN, rounded(spreads.jitter.min_ms));
        event.put(&fields::JITTER_MEAN, rounded(spreads.jitter.mean_ms));
        event.put(&fields::JITTER_MAX, rounded(spreads.jitter.max_ms));
    }
    if spreads.delta.any {
        event.put(&fields::DELTA_MEAN, rounded(spreads.delta.mean_ms));
        event.put(&fields::DELTA_MAX, rounded(spreads.delta.max_ms));
    }
    event.put(&fields::LOSS_PERCENT, rounded(summary.loss_percent()));
    event.put(&fields::LOSS_BURST, summary.losses.burst);
    event.put(&fields::LOSS_GAP, summary.losses.gap);
    event.put(&fields::LOSS_RUN_MAX, summary.losses.run_max);
    if let Some(quality) = summary.quality {
        event.put(&fields::R_FACTOR, (quality.r_factor * 100.0).round() / 100.0);
        event.put(&fields::MOS, (quality.mos * 100.0).round() / 100.0);
    }
    event.put(&fields::SILENCE, rounded(summary.silence_percent()));
    if let Some(keys) = summary.keys.text(keys_shown) {
        event.put_text(&fields::DTMF, &keys);
    }
    if let Some(call_id) = belongs.call_id {
        event.put_text(&fields::CALL_ID, call_id);
    }
    if let Some(protocol) = belongs.signalled_by {
        event.put_text(&fields::SIGNALLED_BY, protocol);
    }
    event.put(&common::STATUS, "OK");
    stretch(event, summary.start, summary.end);
    event.put(&common::EVENT_DATASET, "rtp");
    event.put(&common::NETWORK_PROTOCOL, "rtp");
    event.put(&common::SOURCE_PACKETS, counts.packets);
    event.put(&common::SOURCE_BYTES, counts.bytes);
}

fn stretch(event: &mut Event, start: Timestamp, end: Timestamp) {
    event.put(&common::EVENT_KIND, "metric");
    event.put(&common::EVENT_CATEGORY, Value::Words(&["network"]));
    event.put(&common::EVENT_TYPE, Value::Words(&["info", "connection"]));
    event.put(&common::EVENT_START, start);
    event.put(&common::EVENT_END, end);
    event.put(&common::EVENT_DURATION, end.since(start));
}

/// To a microsecond: beyond that the capture's clock says nothing.
fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn percent_of_256(value: u8) -> f64 {
    rounded(f64::from(value) * 100.0 / 256.0)
}

/// What an RTCP event needs beyond the compound.
pub(crate) struct Around<'a> {
    /// When the compound came.
    pub(crate) time: Timestamp,
    /// The clock of the media, where it is known.
    pub(crate) clock_rate: Option<u32>,
    /// Whether what follows the head is encrypted.
    pub(crate) encrypted: bool,
    /// The call.
    pub(crate) call_id: Option<&'a str>,
}

/// Writes a compound into its event.
pub(crate) fn write_compound(event: &mut Event, compound: &Compound<'_>, around: &Around<'_>, trips: &mut RoundTrips) {
    let mut kinds = Vec::with_capacity(compound.packets.len());
    let mut reports = Vec::new();
    let mut voip = Vec::new();
    let mut sender = None;
    for packet in &compound.packets {
        let (kind, source): (&'static str, Option<u32>) = match packet {
            Rtcp::Sender { ssrc, .. } => ("sr", Some(*ssrc)),
            Rtcp::Receiver { ssrc, .. } => ("rr", Some(*ssrc)),
            Rtcp::Description(_) => ("sdes", None),
            Rtcp::Bye { .. } => ("bye", None),
            Rtcp::Application { ssrc, .. } => ("app", Some(*ssrc)),
            Rtcp::Extended { ssrc, .. } => ("xr", Some(*ssrc)),
            Rtcp::Other { kind: 205 } => ("rtpfb", None),
            Rtcp::Other { kind: 206 } => ("psfb", None),
            Rtcp::Other { .. } => ("other", None),
        };
        kinds.push(kind);
        sender = sender.or(source);
        if around.encrypted {
            continue;
        }
        match packet {
            Rtcp::Sender { ssrc, info, reports: blocks } => {
                trips.sent(*ssrc, info.ntp, around.time);
                event.put(&fields::RTCP_SENDER_PACKETS, info.packets);
                event.put(&fields::RTCP_SENDER_BYTES, info.bytes);
                event.put(&fields::RTCP_SENDER_RTP_TIMESTAMP, info.rtp_timestamp);
                if let Some(time) = from_ntp(info.ntp) {
                    event.put(&fields::RTCP_SENDER_TIME, time);
                }
                reports.extend(blocks);
            }
            Rtcp::Receiver { reports: blocks, .. } => reports.extend(blocks),
            Rtcp::Description(names) => {
                if let Some((_, name)) = names.first() {
                    event.put_bytes(&fields::RTCP_CNAME, name);
                }
            }
            Rtcp::Bye { sources, reason } => {
                let sources: Vec<Value> = sources.iter().map(|source| ssrc(event, *source)).collect();
                event.put_list(&fields::RTCP_BYE, sources);
                if !reason.is_empty() {
                    event.put_bytes(&fields::RTCP_BYE_REASON, reason);
                }
            }
            Rtcp::Application { name, .. } => event.put_bytes(&fields::RTCP_APP_NAME, name),
            Rtcp::Extended { voip: blocks, .. } => voip.extend(blocks),
            Rtcp::Other { .. } => {}
        }
    }
    if let Some(sender) = sender {
        let value = ssrc(event, sender);
        event.put(&fields::RTCP_SSRC, value);
    }
    event.put_list(&fields::RTCP_PACKETS, kinds);
    if around.encrypted {
        event.put(&fields::RTCP_ENCRYPTED, true);
    }
    let mut end_to_end = None;
    let blocks: Vec<Value> = reports
        .into_iter()
        .map(|block| {
            let trip = trips.answered(sender.unwrap_or(0), block, around.time);
            end_to_end = end_to_end.or(trip.and_then(|_| trips.end_to_end(sender.unwrap_or(0), block.ssrc)));
            report(event, block, around.clock_rate, trip)
        })
        .collect();
    if !blocks.is_empty() {
        event.put_list(&fields::RTCP_REPORTS, blocks);
    }
    if let Some(trip_ms) = end_to_end {
        event.put(&fields::RTCP_ROUND_TRIP_MS, rounded(trip_ms));
    }
    let voip: Vec<Value> = voip.into_iter().map(|block| metrics(event, block)).collect();
    if !voip.is_empty() {
        event.put_list(&fields::RTCP_VOIP, voip);
    }
    if let Some(at) = compound.broken_at.filter(|_| !around.encrypted) {
        event.anomaly("rtcp.broken_compound", at as u64);
    }
    if let Some(call_id) = around.call_id {
        event.put_text(&fields::RTCP_CALL_ID, call_id);
    }
    event.put(&common::STATUS, "OK");
    stretch(event, around.time, around.time);
    event.put(&common::EVENT_DATASET, "rtcp");
    event.put(&common::NETWORK_PROTOCOL, "rtcp");
}

fn report(event: &mut Event, block: &Report, clock_rate: Option<u32>, trip_ms: Option<f64>) -> Value {
    let mut members: Vec<(&str, Value)> = vec![
        ("ssrc", ssrc(event, block.ssrc)),
        ("loss_percent", percent_of_256(block.fraction_lost).into()),
        ("lost", block.lost.into()),
        ("highest", block.highest.into()),
        ("jitter", block.jitter.into()),
    ];
    if let Some(clock_rate) = clock_rate.filter(|rate| *rate != 0) {
        let jitter_ms = f64::from(block.jitter) * 1000.0 / f64::from(clock_rate);
        members.push(("jitter_ms", rounded(jitter_ms).into()));
    }
    if let Some(trip_ms) = trip_ms {
        members.push(("round_trip_ms", rounded(trip_ms).into()));
    }
    event.object(members)
}

fn metrics(event: &mut Event, block: &VoipMetrics) -> Value {
    let mut members: Vec<(&str, Value)> = vec![
        ("ssrc", ssrc(event, block.ssrc)),
        ("loss_percent", percent_of_256(block.loss).into()),
        ("discard_percent", percent_of_256(block.discard).into()),
        ("burst_density_percent", percent_of_256(block.burst_density).into()),
        ("gap_density_percent", percent_of_256(block.gap_density).into()),
        ("burst_duration_ms", block.burst_duration_ms.into()),
        ("gap_duration_ms", block.gap_duration_ms.into()),
        ("round_trip_ms", block.round_trip_ms.into()),
        ("end_system_ms", block.end_system_ms.into()),
        ("jitter_buffer_ms", block.buffer_ms.into()),
    ];
    // 127 stands for a value that is not available.
    if block.r_factor != 127 {
        members.push(("r_factor", block.r_factor.into()));
    }
    for (name, value) in [("mos_lq", block.mos_lq), ("mos_cq", block.mos_cq)] {
        if value != 127 {
            members.push((name, (f64::from(value) / 10.0).into()));
        }
    }
    event.object(members)
}

/// The moment of an NTP time stamp, if it is one of this era and after 1970.
fn from_ntp(ntp: u64) -> Option<Timestamp> {
    let seconds = (ntp >> 32).checked_sub(2_208_988_800)?;
    let nanos = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    Some(Timestamp::from_parts(seconds, nanos))
}
