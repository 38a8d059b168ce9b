//! Interarrival jitter (RFC 3550 A.8) and the time between packets, counted as `tshark -z rtp,streams` counts them so that
//! the figures can be compared. Knows nothing of sequence numbers.

use packet::Timestamp;

/// The least, the mean and the greatest of something in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Spread {
    /// The least; meaningless while `any` is false.
    pub(crate) min_ms: f64,
    /// The mean over the packets.
    pub(crate) mean_ms: f64,
    /// The greatest.
    pub(crate) max_ms: f64,
    /// Whether anything was counted.
    pub(crate) any: bool,
}

impl Spread {
    /// Takes in a value; `weight` is one over how many packets came before. Packets that give no value leave the mean where
    /// it is but count in the weight of the next one: that is how the figures to compare with are made.
    #[inline]
    fn add(&mut self, value_ms: f64, weight: f64) {
        self.min_ms = if self.any { self.min_ms.min(value_ms) } else { value_ms };
        self.max_ms = self.max_ms.max(value_ms);
        self.mean_ms += (value_ms - self.mean_ms) * weight;
        self.any = true;
    }
}

/// Jitter and delta over some time.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Spreads {
    /// The smoothed jitter.
    pub(crate) jitter: Spread,
    /// The time between one packet and the next.
    pub(crate) delta: Spread,
    /// Packets so far; in a stretch that begins within a stream one more, for the packet before it.
    packets: u64,
}

impl Spreads {
    /// Of a stretch that begins within a stream: its first packet has a delta too.
    pub(crate) fn within() -> Self {
        Self { packets: 1, ..Self::default() }
    }

    #[inline]
    fn take(&mut self, sample: &Sample) {
        let weight = 1.0 / self.packets.max(1) as f64;
        self.packets += 1;
        if let Some(delta_ms) = sample.delta_ms {
            self.delta.add(delta_ms, weight);
        }
        if let Some(jitter_ms) = sample.jitter_ms {
            self.jitter.add(jitter_ms, weight);
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    delta_ms: Option<f64>,
    jitter_ms: Option<f64>,
}

/// What is remembered from one packet to the next.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timing {
    started: bool,
    time: Timestamp,
    /// The timestamp, extended beyond 32 bits, of the last packet.
    timestamp: i64,
    /// The same of the last packet that had a clock.
    timed: i64,
    first: i64,
    jitter_ms: f64,
    after_comfort_noise: bool,
}

/// One packet as timing sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tick {
    /// When it came.
    pub(crate) time: Timestamp,
    /// Its RTP timestamp.
    pub(crate) timestamp: u32,
    /// Ticks per second of its payload's clock, where jitter can be measured.
    pub(crate) clock_rate: Option<u32>,
    /// Its marker.
    pub(crate) marker: bool,
    /// Whether it carries comfort noise.
    pub(crate) comfort_noise: bool,
}

const fn milliseconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.nanos().wrapping_sub(from.nanos()) as i64 as f64 / 1e6
}

impl Timing {
    /// Takes in a packet and counts it in both `whole` and `interval`.
    #[inline]
    pub(crate) fn receive(&mut self, tick: &Tick, whole: &mut Spreads, interval: &mut Spreads) {
        let sample = self.sample(tick);
        whole.take(&sample);
        interval.take(&sample);
    }

    #[inline]
    fn sample(&mut self, tick: &Tick) -> Sample {
        if !self.started {
            self.started = true;
            self.time = tick.time;
            self.timestamp = i64::from(tick.timestamp);
            self.first = self.timestamp;
            self.timed = self.timestamp;
            self.after_comfort_noise = tick.comfort_noise;
            return Sample::default();
        }
        self.timestamp += i64::from(tick.timestamp.wrapping_sub(self.timestamp as u32) as i32);
        let silent = tick.marker || tick.comfort_noise || self.after_comfort_noise;
        self.after_comfort_noise = tick.comfort_noise;
        if self.timestamp < self.first {
            // From before the first packet: there is nothing to measure it against.
            return Sample::default();
        }
        let delta_ms = milliseconds_between(self.time, tick.time);
        self.time = tick.time;
        let mut sample = Sample::default();
        if let Some(clock_rate) = tick.clock_rate {
            let nominal_ms = (self.timestamp - self.timed) as f64 * 1000.0 / f64::from(clock_rate);
            self.jitter_ms += ((delta_ms - nominal_ms).abs() - self.jitter_ms) / 16.0;
            self.timed = self.timestamp;
            sample.jitter_ms = (!silent).then_some(self.jitter_ms);
        }
        sample.delta_ms = (!silent).then_some(delta_ms);
        sample
    }

    /// A sender that began anew: nothing before can be measured against.
    pub(crate) fn restart(&mut self) {
        self.started = false;
    }

    /// Whether a packet's timestamp went on, since the last packet, about as long as time did.
    pub(crate) fn agrees(&self, tick: &Tick) -> bool {
        let Some(clock_rate) = tick.clock_rate else { return false };
        let elapsed_ms = milliseconds_between(self.time, tick.time);
        let ticks = i64::from(tick.timestamp.wrapping_sub(self.timestamp as u32) as i32);
        let nominal_ms = ticks as f64 * 1000.0 / f64::from(clock_rate);
        (elapsed_ms - nominal_ms).abs() <= 100.0 + 0.1 * elapsed_ms.abs()
    }

    /// Milliseconds between the last packet's timestamp and this one's, by its clock.
    pub(crate) fn nominal_ms(&self, tick: &Tick) -> Option<f64> {
        let clock_rate = tick.clock_rate.filter(|_| self.started)?;
        let ticks = i64::from(tick.timestamp.wrapping_sub(self.timestamp as u32) as i32);
        Some(ticks as f64 * 1000.0 / f64::from(clock_rate))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spreads(packets: &[(f64, u32, bool, bool)]) -> Spreads {
        let (mut timing, mut whole, mut interval) = (Timing::default(), Spreads::default(), Spreads::default());
        for (ms, timestamp, marker, comfort_noise) in packets.iter().copied() {
            let time = Timestamp::from_nanos(1_000_000_000 + (ms * 1e6) as u64);
            let tick = Tick { time, timestamp, clock_rate: Some(8000), marker, comfort_noise };
            timing.receive(&tick, &mut whole, &mut interval);
        }
        whole
    }

    #[test]
    fn jitter_is_a_sixteenth_of_each_deviation() {
        let spreads = spreads(&[(0.0, 0, true, false), (20.0, 160, false, false), (56.0, 320, false, false)]);
        assert_eq!((spreads.jitter.min_ms, spreads.jitter.max_ms), (0.0, 1.0));
        assert_eq!(spreads.jitter.mean_ms, 0.5);
        assert_eq!((spreads.delta.mean_ms, spreads.delta.max_ms), (28.0, 36.0));
    }

    #[test]
    fn timestamps_wrap() {
        let spreads = spreads(&[(0.0, u32::MAX - 79, false, false), (20.0, 80, false, false)]);
        assert_eq!(spreads.jitter.max_ms, 0.0);
    }

    #[test]
    fn markers_and_comfort_noise_move_the_state_but_not_the_figures() {
        let spreads = spreads(&[
            (0.0, 0, false, false),
            (100.0, 160, true, false),  // 80 ms late, J = 5, not counted
            (120.0, 320, false, true),  // comfort noise
            (140.0, 480, false, false), // after it
            (160.0, 640, false, false), // J = 5 * (15/16)^3
        ]);
        let expected = 5.0 * (15.0f64 / 16.0).powi(3);
        assert!((spreads.jitter.min_ms - expected).abs() < 1e-9);
        assert_eq!(spreads.delta.max_ms, 20.0);
    }

    #[test]
    fn a_packet_from_before_the_first_is_not_measured() {
        let spreads = spreads(&[(0.0, 160, false, false), (1.0, 0, false, false), (20.0, 320, false, false)]);
        assert_eq!((spreads.jitter.max_ms, spreads.delta.max_ms), (0.0, 20.0));
    }
}
