//! What is known of one stream, a sender's packets from one address and port to another: the counts and figures of its
//! events. Makes no events and keeps no packet; its size does not depend on how long it lasts.

use packet::Timestamp;

use super::dtmf::Keys;
use super::header::Header;
use super::payload::{self, Codec, Role};
use super::quality::{self, Heard, Quality};
use super::sequence::{Losses, Place, Sequence};
use super::timing::{Spreads, Tick, Timing};
use crate::protocols::sdp::Mapping;

/// How many packets are remembered to tell a second sight from a duplicate.
const SIGHTS: usize = 16;
/// How long after the first sight a second one can come.
const SECOND_SIGHT_NS: u64 = 10_000_000;
/// A pause in the timestamps beyond this is a change of them, not silence.
const SILENCE_MAX_MS: f64 = 3_600_000.0;

/// Where and as which IP packet something was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Sight {
    /// IP identification.
    pub(crate) identification: u16,
    /// A digest of what differs from one interface to another: interface, link addresses, tunnels, time to live.
    pub(crate) place: u64,
}

/// A packet as it came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival<'a> {
    /// When.
    pub(crate) time: Timestamp,
    /// Its number within the epoch or file.
    pub(crate) number: u64,
    /// The UDP payload as captured.
    pub(crate) bytes: &'a [u8],
    /// Where it was seen.
    pub(crate) sight: Sight,
}

#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    time: Timestamp,
    place: u64,
    digest: u64,
    sequence: u16,
    identification: u16,
}

/// Counts over some time. Plain sums: the whole is the intervals added up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Counts {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) duplicates: u64,
    pub(crate) out_of_order: u64,
    pub(crate) second_sights: u64,
    pub(crate) restarts: u64,
    pub(crate) stray: u64,
    pub(crate) lost_by_capture: u64,
    /// Packets of any stream that our own capture lost.
    pub(crate) own_loss: u64,
    pub(crate) silence_ms: f64,
    /// Bit n: payload type n was seen.
    pub(crate) types: u128,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.second_sights += other.second_sights;
        self.restarts += other.restarts;
        self.stray += other.stray;
        self.lost_by_capture += other.lost_by_capture;
        self.own_loss += other.own_loss;
        self.silence_ms += other.silence_ms;
        self.types |= other.types;
    }
}

/// A stretch of a stream: where it lies and its jitter.
#[derive(Debug, Clone, Copy, Default)]
struct Stretch {
    start: Timestamp,
    end: Timestamp,
    first: u64,
    last: u64,
    spreads: Spreads,
}

/// What an event says of a stretch.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    /// The whole stream, or an interval.
    pub(crate) whole: bool,
    /// Time of the first packet.
    pub(crate) start: Timestamp,
    /// Time of the last.
    pub(crate) end: Timestamp,
    /// Number of the first packet.
    pub(crate) first: u64,
    /// Number of the last.
    pub(crate) last: u64,
    /// The counts.
    pub(crate) counts: Counts,
    /// Expected packets.
    pub(crate) expected: u64,
    /// Lost ones.
    pub(crate) lost: u64,
    /// How the losses lie.
    pub(crate) losses: Losses,
    /// Jitter and delta.
    pub(crate) spreads: Spreads,
    /// The payload type of most packets.
    pub(crate) payload_type: u8,
    /// Its codec.
    pub(crate) codec: Option<Codec>,
    /// The estimate, where the codec is one of speech.
    pub(crate) quality: Option<Quality>,
    /// Keys pressed so far.
    pub(crate) keys: Keys,
}

#[derive(Debug, Clone, Copy, Default)]
struct Sequenced {
    expected: u64,
    distinct: u64,
    losses: Losses,
}

impl Sequenced {
    fn of(sequence: &Sequence) -> Self {
        Self { expected: sequence.expected(), distinct: sequence.distinct(), losses: sequence.losses() }
    }
}

/// One stream.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    /// Its source.
    pub(crate) ssrc: u32,
    sequence: Sequence,
    timing: Timing,
    keys: Keys,
    codec_type: u8,
    codec: Option<Codec>,
    clock_rate: Option<u32>,
    /// The payload type that media came with, for events: telephone events and comfort noise do not name a stream.
    media_type: u8,
    media_codec: Option<Codec>,
    /// Whether the last packet's timestamp stood still because it was a telephone event.
    after_event: bool,
    /// The shortest step of the timestamps from one packet to the next, in milliseconds.
    packet_ms: f64,
    sights: [Seen; SIGHTS],
    next_sight: usize,
    counts: Counts,
    interval_counts: Counts,
    whole: Stretch,
    interval: Stretch,
    interval_base: Sequenced,
}

impl Stream {
    /// A stream that begins with a packet.
    pub(crate) fn new(header: &Header, time: Timestamp, number: u64) -> Self {
        let stretch = Stretch { start: time, end: time, first: number, last: number, spreads: Spreads::default() };
        Self {
            ssrc: header.ssrc,
            sequence: Sequence::default(),
            timing: Timing::default(),
            keys: Keys::default(),
            codec_type: u8::MAX,
            codec: None,
            clock_rate: None,
            media_type: header.payload_type,
            media_codec: None,
            after_event: false,
            packet_ms: 0.0,
            sights: [Seen::default(); SIGHTS],
            next_sight: 0,
            counts: Counts::default(),
            interval_counts: Counts::default(),
            whole: stretch,
            interval: stretch,
            interval_base: Sequenced::default(),
        }
    }

    /// Time of the last packet.
    pub(crate) const fn last_time(&self) -> Timestamp {
        self.whole.end
    }

    /// Time of the first packet.
    pub(crate) const fn first_time(&self) -> Timestamp {
        self.whole.start
    }

    /// When the interval that is open began.
    pub(crate) const fn interval_start(&self) -> Timestamp {
        self.interval.start
    }

    /// Whether anything came in the interval that is open.
    pub(crate) const fn interval_is_empty(&self) -> bool {
        self.interval_counts.packets == 0
    }

    /// Packets so far.
    pub(crate) const fn packets(&self) -> u64 {
        self.interval_counts.packets + self.counts.packets
    }

    /// What signalling says has changed: codecs are looked up anew.
    pub(crate) fn forget_codec(&mut self) {
        self.codec_type = u8::MAX;
    }

    #[cold]
    fn look_up(&mut self, payload_type: u8, signalled: &[Mapping]) {
        self.codec_type = payload_type;
        self.codec = Codec::of(payload_type, signalled);
        self.clock_rate = self.codec.as_ref().and_then(Codec::jitter_clock);
        let role = self.codec.as_ref().map(|codec| codec.role);
        let is_media = role.is_none_or(|role| role == Role::Media);
        let had_media = self.media_codec.as_ref().is_some_and(|codec| codec.role == Role::Media);
        // An unknown number beside a known codec (an event that nobody announced) does not rename the stream.
        if self.media_codec.is_none() && (role.is_some() || self.packets() == 0)
            || is_media && role.is_some()
            || is_media && !had_media
        {
            self.media_type = payload_type;
            self.media_codec.clone_from(&self.codec);
        }
    }

    /// Takes in a packet whose header was read.
    pub(crate) fn receive(&mut self, header: &Header, arrival: &Arrival<'_>, signalled: &[Mapping]) {
        if header.payload_type != self.codec_type {
            self.look_up(header.payload_type, signalled);
        }
        let tick = Tick {
            time: arrival.time,
            timestamp: header.timestamp,
            clock_rate: self.clock_rate,
            marker: header.marker,
            comfort_noise: payload::is_comfort_noise(header.payload_type)
                || self.codec.as_ref().is_some_and(|codec| codec.role == Role::ComfortNoise),
        };
        let seen = Seen {
            time: arrival.time,
            place: arrival.sight.place,
            digest: digest(header, arrival.bytes),
            sequence: header.sequence,
            identification: arrival.sight.identification,
        };
        let timing = &self.timing;
        let place = self.sequence.receive(header.sequence, || timing.agrees(&tick));
        if place == Place::Duplicate && self.is_second_sight(&seen) {
            self.interval_counts.second_sights += 1;
            self.reach(arrival);
            return;
        }
        if let Some(slot) = self.sights.get_mut(self.next_sight % SIGHTS) {
            *slot = seen;
        }
        self.next_sight = (self.next_sight + 1) % SIGHTS;
        let counts = &mut self.interval_counts;
        counts.packets += 1;
        counts.bytes += header.payload_length as u64;
        counts.types |= 1 << (header.payload_type & 0x7f);
        match place {
            Place::InOrder => {
                if let Some(nominal_ms) = self.timing.nominal_ms(&tick).filter(|_| self.is_sound() && !self.after_event)
                {
                    self.hear(nominal_ms);
                }
            }
            Place::After { .. } => {}
            Place::Late => counts.out_of_order += 1,
            Place::Duplicate => counts.duplicates += 1,
            Place::Stray => {
                counts.stray += 1;
                self.reach(arrival);
                return;
            }
            Place::Restart => {
                counts.restarts += 1;
                counts.stray = counts.stray.saturating_sub(1);
                self.timing.restart();
            }
        }
        self.timing.receive(&tick, &mut self.whole.spreads, &mut self.interval.spreads);
        self.after_event = match &self.codec {
            Some(codec) => codec.role == Role::Event,
            // Nobody said what the number means: four bytes of a key's code and duration are hardly anything else.
            None => header.payload_length == 4 && header.payload_type >= 96,
        };
        if self.after_event {
            self.keys.receive(header.timestamp, header.payload(arrival.bytes));
        }
        self.reach(arrival);
    }

    fn reach(&mut self, arrival: &Arrival<'_>) {
        for stretch in [&mut self.whole, &mut self.interval] {
            stretch.end = stretch.end.max(arrival.time);
            stretch.last = arrival.number;
        }
    }

    fn is_second_sight(&self, seen: &Seen) -> bool {
        self.sights.iter().any(|other| {
            other.sequence == seen.sequence
                && other.digest == seen.digest
                && other.identification == seen.identification
                && other.place != seen.place
                && seen.time.nanos().abs_diff(other.time.nanos()) <= SECOND_SIGHT_NS
        })
    }

    fn is_sound(&self) -> bool {
        self.clock_rate.is_some_and(|rate| rate != 90_000)
    }

    /// The sender's clock went on by so much from one packet to the next although none is missing.
    fn hear(&mut self, nominal_ms: f64) {
        if nominal_ms <= 0.0 || nominal_ms > SILENCE_MAX_MS {
            return;
        }
        if self.packet_ms == 0.0 || nominal_ms < self.packet_ms {
            self.packet_ms = nominal_ms;
        } else if nominal_ms > 1.5 * self.packet_ms {
            self.interval_counts.silence_ms += nominal_ms - self.packet_ms;
        }
    }

    /// Closes the interval that is open and opens one that begins at `start`. Of what it lost, up to `own_loss` packets may
    /// have been lost by our own capture.
    pub(crate) fn close_interval(&mut self, start: Timestamp, own_loss: u64) -> Summary {
        let now = Sequenced::of(&self.sequence);
        let base = self.interval_base;
        let losses = Losses {
            burst: now.losses.burst.saturating_sub(base.losses.burst),
            gap: now.losses.gap.saturating_sub(base.losses.gap),
            run_max: now.losses.run_max,
            runs: now.losses.runs.saturating_sub(base.losses.runs),
        };
        let lost =
            now.expected.saturating_sub(base.expected).saturating_sub(now.distinct.saturating_sub(base.distinct));
        self.interval_counts.lost_by_capture = lost.min(own_loss);
        self.interval_counts.own_loss = own_loss;
        let run_max = if losses.burst + losses.gap == 0 { 0 } else { losses.run_max };
        let summary = self.summary(
            false,
            &self.interval,
            self.interval_counts,
            now.expected.saturating_sub(base.expected),
            now.distinct.saturating_sub(base.distinct),
            Losses { run_max, ..losses },
        );
        self.counts.add(&self.interval_counts);
        self.interval_counts = Counts::default();
        self.interval_base = now;
        self.interval =
            Stretch { start, end: start, first: self.whole.last, last: self.whole.last, spreads: Spreads::within() };
        summary
    }

    /// Where the interval's first packet stands, once it has come.
    pub(crate) fn open_interval(&mut self, number: u64) {
        self.interval.first = number;
    }

    /// Ends the stream: the summary of its last interval, if it had packets, and of the whole.
    /// `own_loss` is what our own capture lost during the last interval, and during the whole: drops become known late, so
    /// the whole is not the sum.
    pub(crate) fn finish(&mut self, own_loss: (u64, u64)) -> (Option<Summary>, Summary) {
        self.sequence.finish();
        let last = (!self.interval_is_empty()).then(|| self.close_interval(self.whole.end, own_loss.0));
        let sequenced = Sequenced::of(&self.sequence);
        self.counts.own_loss = own_loss.1;
        self.counts.lost_by_capture = sequenced.expected.saturating_sub(sequenced.distinct).min(own_loss.1);
        let whole =
            self.summary(true, &self.whole, self.counts, sequenced.expected, sequenced.distinct, sequenced.losses);
        (last, whole)
    }

    fn summary(
        &self,
        whole: bool,
        stretch: &Stretch,
        counts: Counts,
        expected: u64,
        distinct: u64,
        losses: Losses,
    ) -> Summary {
        let lost = expected.saturating_sub(distinct);
        let heard = Heard {
            expected,
            lost: lost.saturating_sub(counts.lost_by_capture),
            runs: losses.runs,
            delay_ms: self.packet_ms + 2.0 * stretch.spreads.jitter.mean_ms,
        };
        Summary {
            whole,
            start: stretch.start,
            end: stretch.end,
            first: stretch.first,
            last: stretch.last,
            counts,
            expected,
            lost,
            losses,
            spreads: stretch.spreads,
            payload_type: self.media_type,
            quality: self.media_codec.as_ref().and_then(|codec| quality::estimate(&codec.name, heard)),
            codec: self.media_codec.clone(),
            keys: self.keys.clone(),
        }
    }
}

impl Summary {
    /// Lost packets that the network is to blame for, in percent of those expected.
    pub(crate) fn loss_percent(&self) -> f64 {
        if self.expected == 0 {
            return 0.0;
        }
        self.lost.saturating_sub(self.counts.lost_by_capture) as f64 * 100.0 / self.expected as f64
    }

    /// Percent of the time without sound.
    pub(crate) fn silence_percent(&self) -> f64 {
        let time_ms = self.end.since(self.start) as f64 / 1e6;
        if time_ms <= 0.0 { 0.0 } else { (self.counts.silence_ms * 100.0 / time_ms).min(100.0) }
    }
}

/// A digest of a packet beyond its sequence number: enough to tell a copy from another packet of the same number.
fn digest(header: &Header, bytes: &[u8]) -> u64 {
    let word =
        |at: usize| bytes.get(at..).and_then(<[u8]>::first_chunk::<8>).map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let mut digest = u64::from(header.timestamp) << 32 | header.payload_length as u64;
    for word in [word(header.payload_at), word(bytes.len().saturating_sub(8))] {
        digest = (digest ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sender {
        stream: Option<Stream>,
        number: u64,
    }

    impl Sender {
        fn send(&mut self, ms: f64, sequence: u16, timestamp: u32, payload_type: u8, sight: Sight) {
            let mut bytes = vec![0x80, payload_type];
            bytes.extend(sequence.to_be_bytes());
            bytes.extend(timestamp.to_be_bytes());
            bytes.extend([0, 0, 0, 9, 5, 0x0a, 0, 160]);
            let header = Header::parse(&bytes, bytes.len()).unwrap();
            let time = Timestamp::from_nanos(1_000_000_000 + (ms * 1e6) as u64);
            let stream = self.stream.get_or_insert_with(|| Stream::new(&header, time, 0));
            let arrival = Arrival { time, number: self.number, bytes: &bytes, sight };
            self.number += 1;
            let events = [Mapping {
                payload_type: 101,
                encoding: "telephone-event".into(),
                clock_rate: 8000,
                format: "".into(),
            }];
            stream.receive(&header, &arrival, &events);
        }

        fn whole(mut self) -> Summary {
            self.stream.as_mut().unwrap().finish((20, 20)).1
        }
    }

    fn sender() -> Sender {
        Sender { stream: None, number: 0 }
    }

    const HERE: Sight = Sight { identification: 7, place: 1 };

    #[test]
    fn a_quiet_stream_has_nothing_wrong() {
        let mut sender = sender();
        for n in 0..500u16 {
            sender.send(f64::from(n) * 20.0, n, u32::from(n) * 160, 8, HERE);
        }
        let whole = sender.whole();
        assert_eq!((whole.counts.packets, whole.expected, whole.lost, whole.counts.duplicates), (500, 500, 0, 0));
        assert_eq!(whole.spreads.jitter.max_ms, 0.0);
        assert_eq!(&*whole.codec.unwrap().name, "PCMA");
        assert!(whole.quality.unwrap().mos > 4.3);
        assert_eq!((whole.first, whole.last), (0, 499));
    }

    #[test]
    fn a_second_sight_is_not_a_duplicate() {
        let mut sender = sender();
        for n in 0..100u16 {
            let ms = f64::from(n) * 20.0;
            sender.send(ms, n, u32::from(n) * 160, 0, HERE);
            sender.send(ms + 0.02, n, u32::from(n) * 160, 0, Sight { place: 2, ..HERE });
            if n == 50 {
                sender.send(ms + 0.03, n, u32::from(n) * 160, 0, HERE);
            }
        }
        let whole = sender.whole();
        assert_eq!((whole.counts.packets, whole.counts.second_sights, whole.counts.duplicates), (101, 100, 1));
    }

    #[test]
    fn what_our_own_capture_lost_does_not_count_against_the_network() {
        let mut sender = sender();
        for n in (0..500u16).filter(|n| !(100..110).contains(n) && !(400..420).contains(n)) {
            sender.send(f64::from(n) * 20.0, n, u32::from(n) * 160, 0, HERE);
        }
        let whole = sender.whole();
        assert_eq!((whole.lost, whole.counts.lost_by_capture), (30, 20));
        assert_eq!(whole.loss_percent(), 2.0);
    }

    #[test]
    fn keys_and_comfort_noise_do_not_name_the_codec() {
        let mut sender = sender();
        sender.send(0.0, 0, 0, 8, HERE);
        sender.send(20.0, 1, 160, 101, HERE);
        sender.send(40.0, 2, 160, 101, HERE);
        sender.send(60.0, 3, 480, 13, HERE);
        let whole = sender.whole();
        assert_eq!((whole.payload_type, whole.keys.text(true).as_deref()), (8, Some("5")));
        assert_eq!(whole.counts.types, 1 << 8 | 1 << 101 | 1 << 13);
    }

    #[test]
    fn intervals_add_up_to_the_whole() {
        let mut sender = sender();
        let mut intervals = Vec::new();
        for n in (0..1500u16).filter(|n| n % 100 != 7) {
            if n % 500 == 0 && n > 0 {
                let stream = sender.stream.as_mut().unwrap();
                intervals.push(stream.close_interval(Timestamp::ZERO, 0));
                stream.open_interval(sender.number);
            }
            sender.send(f64::from(n) * 2.0, n, u32::from(n) * 16, 0, HERE);
        }
        let (last, whole) = sender.stream.unwrap().finish((0, 0));
        intervals.extend(last);
        assert_eq!(intervals.len(), 3);
        assert_eq!(intervals.iter().map(|interval| interval.counts.packets).sum::<u64>(), whole.counts.packets);
        assert_eq!(intervals.iter().map(|interval| interval.expected).sum::<u64>(), whole.expected);
        assert_eq!(intervals.iter().map(|interval| interval.lost).sum::<u64>(), 15);
        assert_eq!(intervals.iter().map(|interval| interval.losses.gap).sum::<u64>(), 15);
        assert_eq!((whole.lost, whole.losses.gap), (15, 15));
    }
}
