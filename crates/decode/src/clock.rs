//! What time it is in a stream of packets: time-outs run on it, whatever a single packet claims.

use packet::Timestamp;

/// The time of a stream: that of its latest packet, unless a few packets claim to come from far ahead.
#[derive(Debug, Clone, Copy, Default)]
pub struct Clock {
    now: Timestamp,
    ahead: u32,
}

/// A packet so much later than all before it moves the clock only if others confirm it.
const AHEAD_NANOS: u64 = 600_000_000_000;
/// So many in a row, itself included.
const CONFIRMED_BY: u32 = 3;

impl Clock {
    /// A packet of this time has come.
    #[inline]
    pub fn see(&mut self, time: Timestamp) -> Timestamp {
        if time <= self.now {
            self.ahead = 0;
        } else if time.since(self.now) > AHEAD_NANOS && self.now > Timestamp::ZERO && self.ahead + 1 < CONFIRMED_BY {
            self.ahead += 1;
        } else {
            self.ahead = 0;
            self.now = time;
        }
        self.now
    }

    /// The time as it is known.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// It is this late by a clock that can be trusted.
    pub fn set(&mut self, time: Timestamp) -> Timestamp {
        self.now = self.now.max(time);
        self.now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_from_the_future_does_not_move_the_clock_but_several_do() {
        let seconds = |seconds| Timestamp::from_parts(seconds, 0);
        let mut clock = Clock::default();
        assert_eq!(clock.see(seconds(1_000)), seconds(1_000));
        assert_eq!(clock.see(seconds(9_000_000)), seconds(1_000));
        assert_eq!(clock.see(seconds(1_001)), seconds(1_001));
        for _ in 0..2 {
            assert_eq!(clock.see(seconds(5_000)), seconds(1_001));
        }
        assert_eq!(clock.see(seconds(5_000)), seconds(5_000), "a pause in the capture");
    }
}
