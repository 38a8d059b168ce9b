//! Decides, for every entry of the log that the feed brings, whether it is decoded, known already, or whether something is missing before it.
//! Pure: fetches nothing; the caller gets the missing range from the archive and then offers the entry again.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use packet::{Epoch, SourceName};

/// Epochs followed at most; the one that was quiet longest is forgotten.
const EPOCHS_MAX: usize = 10_000;

/// What to do with an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Decode it: it is the next one.
    Decode,
    /// It was decoded before: drop it.
    Known,
    /// These are missing before it.
    Missing(RangeInclusive<u64>),
}

/// Where decoding begins in an epoch that has no stored position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With what comes now; of a source that was followed before, an epoch that began meanwhile is decoded from its beginning.
    #[default]
    Now,
    /// With the oldest batch that the archive has.
    Oldest,
}

#[derive(Debug, Clone, Copy)]
struct Place {
    next_seq: u64,
    touched: u64,
}

/// The next sequence number per epoch.
#[derive(Debug)]
pub struct Follow {
    start: Start,
    epochs: HashMap<(SourceName, Epoch), Place>,
    sources: std::collections::HashSet<SourceName>,
    touch: u64,
}

impl Follow {
    /// Nothing followed yet.
    pub fn new(start: Start) -> Self {
        Self { start, epochs: HashMap::new(), sources: Default::default(), touch: 0 }
    }

    /// Goes on in an epoch at `next_seq`.
    pub fn resume(&mut self, source: &SourceName, epoch: Epoch, next_seq: u64) {
        self.sources.insert(source.clone());
        self.set(source, epoch, next_seq);
    }

    fn set(&mut self, source: &SourceName, epoch: Epoch, next_seq: u64) {
        self.touch += 1;
        if self.epochs.len() >= EPOCHS_MAX {
            let oldest = self.epochs.iter().min_by_key(|(_, place)| place.touched).map(|(key, _)| key.clone());
            if let Some(oldest) = oldest {
                self.epochs.remove(&oldest);
            }
        }
        self.epochs.insert((source.clone(), epoch), Place { next_seq, touched: self.touch });
    }

    /// The next sequence number wanted of an epoch, if it is followed.
    pub fn next_seq(&self, source: &SourceName, epoch: Epoch) -> Option<u64> {
        self.epochs.get(&(source.clone(), epoch)).map(|place| place.next_seq)
    }

    /// Where decoding would begin in an epoch that the archive has and that is not followed yet; `None` if it would wait for the feed.
    pub fn begin_at(&self, source: &SourceName) -> Option<u64> {
        (self.start == Start::Oldest || self.sources.contains(source)).then_some(0)
    }

    /// Looks at an entry that covers these sequence numbers (a gap record covers several).
    pub fn offer(&mut self, source: &SourceName, epoch: Epoch, seqs: RangeInclusive<u64>) -> Step {
        let next = match self.next_seq(source, epoch) {
            Some(next) => next,
            None => {
                let next = self.begin_at(source).unwrap_or(*seqs.start());
                self.resume(source, epoch, next);
                next
            }
        };
        if *seqs.end() < next {
            Step::Known
        } else if *seqs.start() > next {
            Step::Missing(next..=*seqs.start() - 1)
        } else {
            Step::Decode
        }
    }

    /// Notes that everything up to and with `last_seq` has been decoded (or is known to be nowhere).
    pub fn done(&mut self, source: &SourceName, epoch: Epoch, last_seq: u64) {
        let next = last_seq.saturating_add(1);
        if self.next_seq(source, epoch).is_none_or(|known| next > known) {
            self.set(source, epoch, next);
        }
    }

    /// The followed epochs and the next sequence number of each.
    pub fn iter(&self) -> impl Iterator<Item = (&SourceName, Epoch, u64)> {
        self.epochs.iter().map(|((source, epoch), place)| (source, *epoch, place.next_seq))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch([1; 16]);

    fn source() -> SourceName {
        SourceName::from_arbitrary("web1")
    }

    #[test]
    fn entries_in_order_are_decoded_once() {
        let mut follow = Follow::new(Start::Now);
        assert_eq!(follow.offer(&source(), EPOCH, 5..=5), Step::Decode);
        follow.done(&source(), EPOCH, 5);
        assert_eq!(follow.offer(&source(), EPOCH, 5..=5), Step::Known);
        assert_eq!(follow.offer(&source(), EPOCH, 6..=9), Step::Decode, "a gap record covers several");
        follow.done(&source(), EPOCH, 9);
        assert_eq!(follow.offer(&source(), EPOCH, 10..=10), Step::Decode);
    }

    #[test]
    fn what_the_feed_lost_is_asked_for() {
        let mut follow = Follow::new(Start::Now);
        follow.resume(&source(), EPOCH, 3);
        assert_eq!(follow.offer(&source(), EPOCH, 7..=7), Step::Missing(3..=6));
        follow.done(&source(), EPOCH, 6);
        assert_eq!(follow.offer(&source(), EPOCH, 7..=7), Step::Decode);
    }

    #[test]
    fn a_new_epoch_of_a_followed_source_is_decoded_from_its_beginning() {
        let mut follow = Follow::new(Start::Now);
        follow.resume(&source(), EPOCH, 3);
        assert_eq!(follow.offer(&source(), Epoch([2; 16]), 4..=4), Step::Missing(0..=3));
        let mut oldest = Follow::new(Start::Oldest);
        assert_eq!(oldest.offer(&source(), EPOCH, 4..=4), Step::Missing(0..=3));
    }
}
