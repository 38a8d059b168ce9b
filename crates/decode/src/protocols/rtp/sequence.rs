//! Sequence numbers of one stream: what was expected, what came, what came twice, late or not at all (RFC 3550 A.1, A.3).
//! Knows no time except to tell a long loss from a sender that began anew, and keeps no packet.

/// How many sequence numbers behind the highest are remembered one by one.
pub(crate) const WINDOW: i64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;
/// A packet this many numbers behind the highest is given up when losses are sorted into bursts and gaps.
const GIVEN_UP: i64 = 64;
/// A larger jump ahead is a loss only if time agrees (MAX_DROPOUT of RFC 3550 A.1).
const JUMP_MAX: i64 = 3000;
/// Received packets in a row that end a burst (Gmin of RFC 3611 4.7.2).
const GAP_MIN: u32 = 16;

/// What a packet was to the sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The next, or the first of all.
    InOrder,
    /// Ahead of the next: so many numbers before it have not come.
    After { missing: u64 },
    /// Behind the highest, for the first time.
    Late,
    /// A number that had already come.
    Duplicate,
    /// Far from everything: counts as received, but not as any expected packet, until the next one says whether the
    /// sender began anew.
    Stray,
    /// The second packet of a sender that began anew; the stray before it was the first.
    Restart,
}

/// Losses, sorted as they become certain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Losses {
    /// Lost within bursts: stretches with fewer than 16 received packets between losses.
    pub(crate) burst: u64,
    /// Lost alone.
    pub(crate) gap: u64,
    /// The most packets lost in a row.
    pub(crate) run_max: u64,
    /// How many such runs there were.
    pub(crate) runs: u64,
}

/// The state of one sender's numbering. 200 bytes, whatever comes.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    started: bool,
    lowest: i64,
    highest: i64,
    /// Bit `n % 1024` stands for number `n`, of those in `(highest - 1024, highest]`.
    seen: [u64; WORDS],
    /// Expected in runs that a restart closed.
    expected_before: u64,
    distinct: u64,
    /// Where a restart would go on.
    candidate: Option<u16>,
    /// Numbers below this were sorted into losses.
    sorted_below: i64,
    received_in_row: u32,
    lost_in_row: u64,
    open_losses: u64,
    losses: Losses,
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            started: false,
            lowest: 0,
            highest: 0,
            seen: [0; WORDS],
            expected_before: 0,
            distinct: 0,
            candidate: None,
            sorted_below: 0,
            received_in_row: GAP_MIN,
            lost_in_row: 0,
            open_losses: 0,
            losses: Losses::default(),
        }
    }
}

impl Sequence {
    const fn slot(number: i64) -> (usize, u64) {
        let bit = (number & (WINDOW - 1)) as usize;
        (bit / 64, 1 << (bit % 64))
    }

    fn is_seen(&self, number: i64) -> bool {
        let (word, bit) = Self::slot(number);
        self.seen.get(word).is_some_and(|word| word & bit != 0)
    }

    fn mark(&mut self, number: i64) {
        let (word, bit) = Self::slot(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word |= bit;
        }
    }

    fn forget(&mut self, number: i64) {
        let (word, bit) = Self::slot(number);
        if let Some(word) = self.seen.get_mut(word) {
            *word &= !bit;
        }
    }

    fn begin(&mut self, number: u16) {
        // Room below for packets that belong before the first one seen.
        let number = 0x1_0000 + i64::from(number);
        self.started = true;
        self.lowest = number;
        self.highest = number;
        self.sorted_below = number;
        self.seen = [0; WORDS];
        self.mark(number);
        self.distinct += 1;
    }

    /// Takes in a packet. `plausible_loss` is asked when the number is thousands ahead: whether time since the last packet
    /// agrees with so long a loss.
    #[inline]
    pub(crate) fn receive(&mut self, number: u16, plausible_loss: impl FnOnce() -> bool) -> Place {
        if !self.started {
            self.begin(number);
            return Place::InOrder;
        }
        let step = i64::from(number.wrapping_sub(self.highest as u16) as i16);
        if step == 1 {
            self.candidate = None;
            self.advance(self.highest + 1);
            return Place::InOrder;
        }
        // Numbers are modulo 65,536: a jump of more than half of that looks like one back.
        let ahead = i64::from(number.wrapping_sub(self.highest as u16));
        if (1..=JUMP_MAX).contains(&ahead) || (step <= -WINDOW || step > JUMP_MAX) && plausible_loss() {
            self.candidate = None;
            let to = self.highest + ahead;
            self.advance(to);
            return Place::After { missing: (ahead - 1) as u64 };
        }
        if step <= 0 && step > -WINDOW {
            let extended = self.highest + step;
            if self.is_seen(extended) {
                return Place::Duplicate;
            }
            self.mark(extended);
            self.lowest = self.lowest.min(extended);
            self.sorted_below = self.sorted_below.max(self.lowest);
            self.distinct += 1;
            return Place::Late;
        }
        if self.candidate == Some(number) {
            self.finish();
            self.expected_before += (self.highest - self.lowest + 1) as u64;
            self.candidate = None;
            self.received_in_row = GAP_MIN;
            self.begin(number.wrapping_sub(1));
            self.advance(self.highest + 1);
            return Place::Restart;
        }
        self.candidate = Some(number.wrapping_add(1));
        Place::Stray
    }

    fn advance(&mut self, to: i64) {
        let from = self.highest + 1;
        if to - from >= WINDOW {
            self.sort_up_to(self.highest + 1);
            // Everything between was lost and is beyond the window.
            let lost = to - WINDOW - self.highest;
            self.lose(lost as u64);
            self.sorted_below = (self.highest + 1 + lost).max(self.sorted_below);
            self.seen = [0; WORDS];
        } else {
            for number in from..=to {
                self.forget(number);
            }
        }
        self.highest = to;
        self.mark(to);
        self.distinct += 1;
        self.sort_up_to(to - GIVEN_UP);
    }

    fn sort_up_to(&mut self, end: i64) {
        while self.sorted_below < end {
            let number = self.sorted_below;
            self.sorted_below += 1;
            if self.is_seen(number) {
                self.end_row();
                self.received_in_row = self.received_in_row.saturating_add(1);
            } else {
                self.lose(1);
            }
        }
    }

    fn lose(&mut self, count: u64) {
        if self.lost_in_row == 0 {
            if self.received_in_row >= GAP_MIN {
                self.close_stretch();
            }
            self.losses.runs += 1;
        }
        self.lost_in_row += count;
        self.open_losses += count;
        self.losses.run_max = self.losses.run_max.max(self.lost_in_row);
    }

    fn end_row(&mut self) {
        if self.lost_in_row != 0 {
            self.lost_in_row = 0;
            self.received_in_row = 0;
        }
    }

    /// A stretch of losses with few packets between them has ended: one loss alone belongs to the gap.
    fn close_stretch(&mut self) {
        match self.open_losses {
            0 => {}
            1 => self.losses.gap += 1,
            many => self.losses.burst += many,
        }
        self.open_losses = 0;
    }

    /// No more packets will come: what is missing is lost.
    pub(crate) fn finish(&mut self) {
        if self.started {
            self.sort_up_to(self.highest + 1);
            self.end_row();
        }
        self.close_stretch();
    }

    /// Highest minus lowest number plus one, over all runs of the sender.
    pub(crate) fn expected(&self) -> u64 {
        if self.started { self.expected_before + (self.highest - self.lowest + 1) as u64 } else { 0 }
    }

    /// How many of the expected packets came at least once.
    pub(crate) const fn distinct(&self) -> u64 {
        self.distinct
    }

    /// The losses that are certain so far, those of an open stretch counted as what they are now.
    pub(crate) fn losses(&self) -> Losses {
        let mut losses = self.losses;
        match self.open_losses {
            0 => {}
            1 => losses.gap += 1,
            many => losses.burst += many,
        }
        losses
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(numbers: impl IntoIterator<Item = u16>) -> (Sequence, Vec<Place>) {
        let mut sequence = Sequence::default();
        let places = numbers.into_iter().map(|number| sequence.receive(number, || false)).collect();
        sequence.finish();
        (sequence, places)
    }

    #[test]
    fn numbers_wrap_without_loss() {
        let (sequence, _) = run((0..500u16).map(|n| n.wrapping_add(65_400)));
        assert_eq!((sequence.expected(), sequence.distinct()), (500, 500));
    }

    #[test]
    fn a_first_packet_that_comes_late_was_expected() {
        let (sequence, places) = run([1, 0, 2, 3]);
        assert_eq!(
            places,
            [Place::InOrder, Place::Late, Place::After { missing: 0 }, Place::InOrder].map(|place| match place {
                Place::After { .. } => Place::InOrder,
                other => other,
            })
        );
        assert_eq!((sequence.expected(), sequence.distinct()), (4, 4));
    }

    #[test]
    fn duplicates_and_late_packets_are_no_loss() {
        let (sequence, places) = run([1, 2, 4, 3, 3, 5]);
        assert_eq!(places[2..5], [Place::After { missing: 1 }, Place::Late, Place::Duplicate]);
        assert_eq!((sequence.expected(), sequence.distinct()), (5, 5));
        assert_eq!(sequence.losses(), Losses::default());
    }

    #[test]
    fn a_sender_that_begins_anew_loses_nothing() {
        let (sequence, places) = run((100..200u16).chain(20_200..20_300));
        assert_eq!(places[100..102], [Place::Stray, Place::Restart]);
        assert_eq!((sequence.expected(), sequence.distinct()), (200, 200));
        assert_eq!(sequence.losses(), Losses::default());
    }

    #[test]
    fn a_loss_of_thousands_is_one_if_time_agrees() {
        let mut sequence = Sequence::default();
        sequence.receive(1, || false);
        assert_eq!(sequence.receive(40_001, || true), Place::After { missing: 39_999 });
        sequence.receive(40_002, || false);
        sequence.finish();
        assert_eq!((sequence.expected(), sequence.distinct()), (40_002, 3));
        assert_eq!(sequence.losses(), Losses { burst: 39_999, gap: 0, run_max: 39_999, runs: 1 });
    }

    #[test]
    fn a_stray_packet_changes_nothing() {
        let (sequence, places) = run([1, 2, 30_000, 3, 4]);
        assert_eq!(places[2], Place::Stray);
        assert_eq!((sequence.expected(), sequence.distinct()), (4, 4));
    }

    #[test]
    fn losses_are_of_bursts_or_alone() {
        let (sequence, _) = run((0..1000u16).filter(|n| *n != 500 && !(600..610).contains(n) && *n != 612));
        assert_eq!(sequence.losses(), Losses { burst: 11, gap: 1, run_max: 10, runs: 3 });
        assert_eq!(sequence.expected() - sequence.distinct(), 12);
    }

    proptest! {
        #[test]
        fn what_came_within_the_window_is_counted_exactly(
            drops in proptest::collection::btree_set(1u16..1999, 0..200),
            twice in proptest::collection::btree_set(1u16..1999, 0..50),
            start: u16,
        ) {
            let mut sequence = Sequence::default();
            let mut duplicates = 0;
            for n in 0..2000u16 {
                if drops.contains(&n) {
                    continue;
                }
                sequence.receive(start.wrapping_add(n), || false);
                if twice.contains(&n) {
                    duplicates += u32::from(sequence.receive(start.wrapping_add(n), || false) == Place::Duplicate);
                }
            }
            sequence.finish();
            prop_assert_eq!(sequence.expected() - sequence.distinct(), drops.len() as u64);
            prop_assert_eq!(duplicates as usize, twice.difference(&drops).count());
            let losses = sequence.losses();
            prop_assert_eq!(losses.burst + losses.gap, drops.len() as u64);
        }

        #[test]
        fn no_numbers_panic_and_no_more_came_than_were_expected(
            numbers in proptest::collection::vec((any::<u16>(), any::<bool>()), 0..500),
        ) {
            let mut sequence = Sequence::default();
            for (number, agrees) in numbers {
                sequence.receive(number, || agrees);
            }
            sequence.finish();
            prop_assert!(sequence.distinct() <= sequence.expected());
        }
    }
}
