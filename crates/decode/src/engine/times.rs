//! What happens as packet time goes on: decoders' deadlines, reports of flows, and the ends of those that are silent.
//! Reads no clock.

use super::{Emit, Engine, Slot, schedule};
use crate::config::Profile;
use crate::context::Context;
use crate::flow::report::{self, Reports};
use crate::flow::table::{Handle, List};
use event::Event;
use packet::Timestamp;

/// How long a connection that may go on is kept after its flow has ended for want of packets, in nanoseconds.
const PARKED_NANOS: u64 = 600_000_000_000;
/// How long after its last packet a closed connection is remembered: twice the longest life of a segment is usual (RFC 9293 3.6.1).
const CLOSED_NANOS: u64 = 120_000_000_000;
/// So many periods without a packet are worth looking for the next that matters.
const FAR_PERIODS: u64 = 100;

impl Engine {
    /// Gives out what timed out until `clock`.
    #[inline]
    pub fn advance(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        // Also while the clock stands still: in a capture whose times jump, what began late may be due at once.
        let clock = clock.max(self.clock);
        if clock < self.quiet_until {
            self.clock = clock;
        } else {
            self.time_out(clock, out);
        }
    }

    fn time_out(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        while let Some((due, handle)) = self.due.pop_until(clock) {
            self.expire(handle, due, clock, out);
        }
        if clock == self.clock {
            return;
        }
        self.clock = clock;
        self.report_periods(clock, out);
        self.end_silent(clock, out);
        for list in [List::Parked, List::Closed] {
            while let Some(handle) = self.table.oldest(list)
                && self.has_ended(handle, clock)
            {
                self.end_flow(handle, out);
            }
        }
        self.quiet_until = self.next_moment(clock);
    }

    /// Before which moment neither a decoder, nor a report, nor the end of a flow can be due. A flow whose packets are older than
    /// the clock may be over before; that is seen with its next packet or at this moment, and changes none of its events.
    fn next_moment(&mut self, clock: Timestamp) -> Timestamp {
        let mut moment = clock.plus_nanos(self.flow_timeout());
        if let Some((due, _)) = self.due.first() {
            moment = moment.min(due);
        }
        if let Some(period) = self.next_period {
            moment = moment.min(period);
        }
        for list in [List::Active, List::Parked, List::Closed] {
            let limit = self.silence_limit(list);
            if let Some(flow) = self.table.oldest(list).and_then(|handle| self.table.get_mut(handle)) {
                moment = moment.min(flow.info.last.0.plus_nanos(limit));
            }
        }
        moment
    }

    fn flow_timeout(&self) -> u64 {
        self.flows_config.timeout.nanos().unwrap_or(30_000_000_000)
    }

    /// How long a flow of a list may be silent, in nanoseconds.
    fn silence_limit(&self, list: List) -> u64 {
        match list {
            List::Active => self.flow_timeout(),
            List::Parked => PARKED_NANOS,
            List::Closed => CLOSED_NANOS,
        }
    }

    /// Whether a flow has been silent for longer than its list allows.
    #[inline]
    pub(super) fn has_ended(&self, handle: Handle, clock: Timestamp) -> bool {
        let Some((flow, list)) = self.table.get_with_list(handle) else { return false };
        clock.since(flow.info.last.0) > self.silence_limit(list)
    }

    /// Ends the flows that have been silent for too long at `clock`.
    fn end_silent(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        while let Some(handle) = self.table.oldest(List::Active)
            && self.has_ended(handle, clock)
        {
            self.silent(handle, out);
        }
    }

    fn expire(&mut self, handle: Handle, due: Timestamp, clock: Timestamp, out: &mut dyn Emit) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        if flow.deadline != due {
            return;
        }
        flow.deadline = Timestamp::MAX;
        let packet = flow.newest();
        if let Slot::Decoder(decoder, _) = &mut flow.slot
            && decoder.deadline().is_some_and(|deadline| deadline <= clock)
        {
            let mut context =
                Context { flow: &mut flow.info, packet, common: &mut self.common, out, completing: false };
            // The deadline itself is the moment, however late the clock comes: the same for any number of workers.
            decoder.expire(&mut context, due);
        }
        schedule(flow, handle, &mut self.due, &mut self.quiet_until);
    }

    /// A flow has been silent for too long: it ends, but a connection that may go on is kept for its decoder.
    pub(super) fn silent(&mut self, handle: Handle, out: &mut dyn Emit) {
        let Some(flow) = self.table.get_mut(handle) else { return };
        let Some(connection) = flow.connection.as_ref().filter(|_| matches!(flow.slot, Slot::Decoder(..))) else {
            self.end_flow(handle, out);
            return;
        };
        let list = if connection.is_over() { List::Closed } else { List::Parked };
        if let Some(report) = self.final_report(handle) {
            out.event(report, false);
        }
        self.table.touch(handle, list);
    }

    /// The last report of a flow, unless it has had it.
    pub(super) fn final_report(&mut self, handle: Handle) -> Option<Event> {
        if !self.flows_config.enabled.0 || self.table.list(handle) != List::Active {
            return None;
        }
        let packetbeat = self.common.profile == Profile::Packetbeat;
        let flow = self.table.get_mut(handle)?;
        let mut event = report::event(&flow.info, &self.common.observer, flow.reports.given, true, packetbeat);
        event.capture_loss = self.common.losses_between(&flow.info);
        Some(event)
    }

    /// Reports at every whole number of periods since 1970, each at its own moment however late the clock comes: so that the
    /// reports are the same for any number of workers, of which each sees the clock only with packets of its own.
    fn report_periods(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        let Some(period) = self.flows_config.period.nanos().filter(|_| self.flows_config.enabled.0) else { return };
        let after =
            |time: Timestamp| Timestamp::from_nanos((time.nanos() / period).saturating_add(1).saturating_mul(period));
        let mut next = *self.next_period.get_or_insert(after(clock));
        while next <= clock {
            if self.table.oldest(List::Active).is_none() {
                next = after(clock);
                break;
            }
            self.end_silent(next, out);
            self.report_period(next, period, out);
            let following = next.plus_nanos(period);
            let far = clock.since(following) / period > FAR_PERIODS;
            next = if far { following.max(after(self.next_change(next, period)).min(after(clock))) } else { following };
        }
        self.next_period = Some(next);
    }

    /// Before which moment nothing can become due for a report or end, as far as the active flows go: in a capture whose times
    /// jump by years, the periods between need not be walked through one by one.
    fn next_change(&mut self, now: Timestamp, period: u64) -> Timestamp {
        let timeout = self.flow_timeout();
        let mut earliest = Timestamp::from_nanos(u64::MAX / 2);
        let mut following = self.table.oldest(List::Active);
        while let Some(handle) = following {
            following = self.table.newer(handle);
            let Some(flow) = self.table.get_mut(handle) else { continue };
            let due = flow.info.began.time.plus_nanos(period);
            let change = if due > now { due } else { flow.info.last.0.plus_nanos(timeout) };
            // One period early, since what is due within a period is reported at its end.
            earliest = earliest.min(Timestamp::from_nanos(change.nanos().saturating_sub(2 * period)));
        }
        earliest
    }

    fn report_period(&mut self, clock: Timestamp, period: u64, out: &mut dyn Emit) {
        let packetbeat = self.common.profile == Profile::Packetbeat;
        let observer = self.common.observer.clone();
        let mut following = self.table.oldest(List::Active);
        while let Some(handle) = following {
            following = self.table.newer(handle);
            let Some(flow) = self.table.get_mut(handle) else { continue };
            let last = flow.info.last();
            // A flow is reported only once it has lasted a period, and only if something has come since.
            if flow.reports.at == last.packet && flow.reports.given > 0 || clock.since(flow.info.began.time) < period {
                continue;
            }
            let event = report::event(&flow.info, &observer, flow.reports.given, false, packetbeat);
            flow.reports = Reports { given: flow.reports.given + 1, at: last.packet };
            out.event(event, false);
        }
    }
}
