//! The way out of the engine: events one by one, and the order of those that the end of input ends.
//! Renders and keeps nothing.

use event::{Event, Place};
use packet::Timestamp;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Takes events as they are given out, one by one: a hundred thousand flows may end at once.
pub trait Emit {
    /// An event; `completed` tells whether the present packet completed it, else it ended by time-out or end of input.
    fn event(&mut self, event: Event, completed: bool);
}

/// Events collected in the order they were given out.
#[derive(Debug, Default)]
pub struct Output {
    /// The events; true for those that the packet completed.
    pub events: Vec<(Event, bool)>,
}

impl Emit for Output {
    fn event(&mut self, event: Event, completed: bool) {
        self.events.push((event, completed));
    }
}

/// Holds events back until no earlier one can come.
pub(super) struct InOrder<'o> {
    waiting: BinaryHeap<Reverse<ByPlace>>,
    out: &'o mut dyn Emit,
}

struct ByPlace(Place, Event);

impl Ord for ByPlace {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for ByPlace {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ByPlace {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for ByPlace {}

impl<'o> InOrder<'o> {
    pub(super) fn new(out: &'o mut dyn Emit) -> Self {
        Self { waiting: BinaryHeap::new(), out }
    }

    /// Takes the report of a flow, behind its other events; `next` is when the next flow begins.
    pub(super) fn last_of_flow(&mut self, report: Event, next: Timestamp) {
        // Most flows have no other event: then nothing need be put into order.
        if self.waiting.is_empty() && Place::start_of(&report) < next {
            self.out.event(report, false);
        } else {
            self.event(report, false);
        }
    }

    /// Gives out what begins before `moment`; at [`Timestamp::MAX`] everything.
    pub(super) fn release(&mut self, moment: Timestamp) {
        while self.waiting.peek().is_some_and(|Reverse(next)| next.0.start < moment || moment == Timestamp::MAX)
            && let Some(Reverse(next)) = self.waiting.pop()
        {
            self.out.event(next.1, false);
        }
    }
}

impl Emit for InOrder<'_> {
    fn event(&mut self, event: Event, _: bool) {
        self.waiting.push(Reverse(ByPlace(Place::of(&event), event)));
    }
}
