//! Round trips out of sender reports and the receiver reports that answer them (RFC 3550 6.4.1), as seen from the place of
//! capture between the two ends. Keeps the last few sender reports of each source and no more.

use packet::Timestamp;

use super::rtcp::Report;

const SOURCES: usize = 8;
const REPORTS: usize = 4;
/// A longer round trip is a clock that jumped.
const TRIP_MAX_MS: f64 = 60_000.0;

#[derive(Debug, Clone, Copy)]
struct Source {
    ssrc: u32,
    /// Middle 32 bits of the NTP time, and when the report passed.
    sent: [(u32, Timestamp); REPORTS],
    next: usize,
    /// The last round trip from here to whoever receives this source and back.
    trip_ms: Option<f64>,
}

/// The sender reports seen and what was measured with them.
#[derive(Debug, Clone, Default)]
pub(crate) struct RoundTrips {
    sources: Vec<Source>,
}

impl RoundTrips {
    /// A sender report of `ssrc` passed.
    pub(crate) fn sent(&mut self, ssrc: u32, ntp: u64, time: Timestamp) {
        let middle = (ntp >> 16) as u32;
        let known = self.sources.iter().position(|source| source.ssrc == ssrc);
        let place = known.unwrap_or_else(|| {
            if self.sources.len() >= SOURCES {
                self.sources.remove(0);
            }
            self.sources.push(Source { ssrc, sent: [(0, Timestamp::ZERO); REPORTS], next: 0, trip_ms: None });
            self.sources.len() - 1
        });
        if let Some(source) = self.sources.get_mut(place) {
            if let Some(slot) = source.sent.get_mut(source.next) {
                *slot = (middle, time);
            }
            source.next = (source.next + 1) % REPORTS;
        }
    }

    /// A report by `_by` passed: the round trip from here to its sender and back, in milliseconds.
    pub(crate) fn answered(&mut self, _by: u32, report: &Report, time: Timestamp) -> Option<f64> {
        if report.last_sr == 0 {
            return None;
        }
        let source = self.sources.iter_mut().find(|source| source.ssrc == report.ssrc)?;
        let (_, sent) = source.sent.iter().find(|(middle, _)| *middle == report.last_sr)?;
        let held_ms = f64::from(report.delay) * 1000.0 / 65_536.0;
        let trip_ms = time.since(*sent) as f64 / 1e6 - held_ms;
        // The far end's clock counts in steps; a little below nothing is nothing.
        if !(-10.0..TRIP_MAX_MS).contains(&trip_ms) {
            return None;
        }
        source.trip_ms = Some(trip_ms.max(0.0));
        source.trip_ms
    }

    /// The round trips to both ends added, once both are known.
    pub(crate) fn end_to_end(&self, one: u32, other: u32) -> Option<f64> {
        let trip = |ssrc| self.sources.iter().find(|source| source.ssrc == ssrc)?.trip_ms;
        (one != other).then_some(())?;
        Some(trip(one)? + trip(other)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_nanos(1_000_000_000_000 + ms * 1_000_000)
    }

    fn report(ssrc: u32, last_sr: u32, delay_ms: u32) -> Report {
        Report { ssrc, fraction_lost: 0, lost: 0, highest: 0, jitter: 0, last_sr, delay: delay_ms * 65_536 / 1000 }
    }

    #[test]
    fn the_trips_to_both_ends_make_the_whole() {
        let mut trips = RoundTrips::default();
        trips.sent(1, 0x0000_1111_2222_0000, at(0));
        // 2 answers 500 ms after it got it; 30 ms there and back.
        assert_eq!(trips.answered(2, &report(1, 0x1111_2222, 500), at(530)).map(f64::round), Some(30.0));
        assert_eq!(trips.end_to_end(2, 1), None);
        trips.sent(2, 0x0000_3333_4444_0000, at(600));
        assert_eq!(trips.answered(1, &report(2, 0x3333_4444, 100), at(712)).map(f64::round), Some(12.0));
        assert_eq!(trips.end_to_end(1, 2).map(f64::round), Some(42.0));
    }

    #[test]
    fn a_report_on_nothing_seen_gives_no_trip() {
        let mut trips = RoundTrips::default();
        assert_eq!(trips.answered(2, &report(1, 0x1111_2222, 500), at(530)), None);
        trips.sent(1, 0x0000_1111_2222_0000, at(0));
        assert_eq!(trips.answered(2, &report(1, 0x1111_2222, 5000), at(530)), None);
        for n in 0..100 {
            trips.sent(n, 1, at(0));
        }
        assert!(trips.sources.len() <= SOURCES);
    }
}
