//! What one side knows of the other's clock, from heartbeats.

use crate::{Message, Moment};
use packet::Timestamp;

/// The other side's clock.
#[derive(Debug, Default)]
pub(crate) struct PeerClock {
    /// What it showed, and when that was heard by this side's monotonic clock.
    heard: Option<(Timestamp, u64)>,
    offset_nanos: Option<i64>,
}

impl PeerClock {
    /// Takes a heartbeat. The echo is this side's clock when the heartbeat was sent, but for the way there; so the moment it
    /// was sent lies in the middle between echo and now, as far as both ways take equally long.
    pub(crate) fn heartbeat(&mut self, clock: Timestamp, echo: Timestamp, now: Moment) {
        self.heard = Some((clock, now.monotonic));
        if echo != Timestamp::ZERO {
            let middle = (i128::from(echo.nanos()) + i128::from(now.clock.nanos())) / 2;
            self.offset_nanos = i64::try_from(i128::from(clock.nanos()) - middle).ok();
        }
    }

    /// The heartbeat to send: with the other side's clock as it was heard, gone on since.
    pub(crate) fn answer(&self, now: Moment) -> Message<'static> {
        let echo = self.heard.map_or(Timestamp::ZERO, |(clock, at)| {
            Timestamp::from_nanos(clock.nanos().saturating_add(now.monotonic.saturating_sub(at)))
        });
        Message::Heartbeat { clock: now.clock, echo }
    }

    /// The other side's clock minus this side's.
    pub(crate) fn offset_nanos(&self) -> Option<i64> {
        self.offset_nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(monotonic: u64, clock: u64) -> Moment {
        Moment { monotonic, clock: Timestamp::from_nanos(clock) }
    }

    #[test]
    fn the_offset_does_not_depend_on_when_heartbeats_are_sent() {
        // The other side's clock is 5000 ahead, each way takes 10, and its heartbeat comes 700 after this side's.
        let (mut here, mut there) = (PeerClock::default(), PeerClock::default());
        there.heartbeat(Timestamp::from_nanos(1000), Timestamp::ZERO, moment(77, 6010));
        assert_eq!(there.offset_nanos(), None);
        let Message::Heartbeat { clock, echo } = there.answer(moment(777, 6710)) else { unreachable!() };
        here.heartbeat(clock, echo, moment(3, 1720));
        assert_eq!(here.offset_nanos(), Some(5000));
    }

    #[test]
    fn clocks_that_cannot_be_are_no_offset() {
        let mut here = PeerClock::default();
        here.heartbeat(Timestamp::from_nanos(u64::MAX), Timestamp::from_nanos(1), moment(3, 1));
        assert_eq!(here.offset_nanos(), None);
        assert!(matches!(here.answer(moment(9, 9)), Message::Heartbeat { echo, .. } if echo.nanos() == u64::MAX));
    }
}
