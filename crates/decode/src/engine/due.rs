//! When decoders want to be called, the earliest first. Most ask for the same time after each packet, so that they come in their
//! order: those stand in a queue, only the others in a heap.
//! Knows nothing of decoders; what is no longer wanted is passed over when its time comes.

use crate::flow::table::Handle;
use packet::Timestamp;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

type Moment = (Timestamp, Handle);

#[derive(Default)]
pub(super) struct Due {
    in_order: VecDeque<Moment>,
    others: BinaryHeap<Reverse<Moment>>,
}

impl Due {
    pub(super) fn push(&mut self, time: Timestamp, handle: Handle) {
        let moment = (time, handle);
        if self.in_order.back().is_none_or(|last| *last <= moment) {
            self.in_order.push_back(moment);
        } else {
            self.others.push(Reverse(moment));
        }
    }

    /// The earliest; of several at one time the one with the lowest handle.
    pub(super) fn first(&self) -> Option<Moment> {
        let other = self.others.peek().map(|Reverse(moment)| *moment);
        match (self.in_order.front().copied(), other) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Takes the earliest out if it is not later than `clock`.
    pub(super) fn pop_until(&mut self, clock: Timestamp) -> Option<Moment> {
        let first = self.first().filter(|(time, _)| *time <= clock)?;
        if self.in_order.front() == Some(&first) {
            self.in_order.pop_front();
        } else {
            self.others.pop();
        }
        Some(first)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn they_come_in_their_order(moments in proptest::collection::vec((0..50u64, 0..8u32), 0..60)) {
            let mut due = Due::default();
            for (time, slot) in &moments {
                due.push(Timestamp::from_nanos(*time), Handle::of_slot(*slot));
            }
            prop_assert_eq!(due.pop_until(Timestamp::ZERO).is_some(), moments.iter().any(|(time, _)| *time == 0));
            let mut left: Vec<_> = std::iter::from_fn(|| due.pop_until(Timestamp::MAX)).collect();
            prop_assert!(left.is_sorted() && due.first().is_none());
            left.extend((left.len()..moments.len()).map(|_| (Timestamp::ZERO, Handle::of_slot(0))));
            prop_assert_eq!(left.len(), moments.len());
        }
    }
}
