//! Which packets of an epoch are meant, by their numbers: `4-9,12`.

use std::ops::RangeInclusive;

/// Ranges that a list may have.
const RANGES_MAX: usize = 10_000;

/// Numbers of packets within an epoch, from 0, in the order of capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PacketNumbers {
    /// Sorted, apart from each other.
    ranges: Vec<RangeInclusive<u64>>,
}

/// What is no list of packet numbers.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no packets: write numbers and ranges such as 4-9,12")]
pub struct PacketNumbersError(String);

impl PacketNumbers {
    /// These ranges, in any order.
    pub fn new(ranges: impl IntoIterator<Item = RangeInclusive<u64>>) -> Self {
        let mut given: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        given.sort_unstable_by_key(|range| *range.start());
        let mut joined: Vec<RangeInclusive<u64>> = Vec::with_capacity(given.len());
        for range in given {
            match joined.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => joined.push(range),
            }
        }
        Self { ranges: joined }
    }

    /// Whether a number is among them.
    pub fn contains(&self, number: u64) -> bool {
        let at = self.ranges.partition_point(|range| *range.end() < number);
        self.ranges.get(at).is_some_and(|range| range.contains(&number))
    }

    /// Whether any of `count` numbers from `first` on is among them.
    pub(crate) fn touches(&self, first: u64, count: u64) -> bool {
        let at = self.ranges.partition_point(|range| *range.end() < first);
        count > 0 && self.ranges.get(at).is_some_and(|range| *range.start() <= first.saturating_add(count - 1))
    }
}

impl std::str::FromStr for PacketNumbers {
    type Err = PacketNumbersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || PacketNumbersError(text.chars().take(60).collect());
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            (first <= last).then_some(first..=last)
        };
        let parts: Vec<&str> = text.split(',').collect();
        if parts.len() > RANGES_MAX {
            return Err(wrong());
        }
        let ranges: Option<Vec<_>> = parts.into_iter().map(range).collect();
        Ok(Self::new(ranges.ok_or_else(wrong)?))
    }
}

impl std::fmt::Display for PacketNumbers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (place, range) in self.ranges.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            match range.start() == range.end() {
                true => write!(f, "{comma}{}", range.start())?,
                false => write!(f, "{comma}{}-{}", range.start(), range.end())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_joined_and_found() {
        let numbers: PacketNumbers = "12,4-9,8-10,20".parse().unwrap();
        assert_eq!(numbers.to_string(), "4-10,12,20");
        let found: Vec<u64> = (0..30).filter(|number| numbers.contains(*number)).collect();
        assert_eq!(found, [4, 5, 6, 7, 8, 9, 10, 12, 20]);
        assert!(numbers.touches(0, 5) && numbers.touches(11, 2) && numbers.touches(10, 1));
        assert!(!numbers.touches(0, 4) && !numbers.touches(13, 7) && !numbers.touches(21, u64::MAX));
        assert!(!numbers.touches(4, 0));
        assert_eq!(format!("0-{}", u64::MAX).parse::<PacketNumbers>().unwrap().ranges.len(), 1);
    }

    #[test]
    fn anything_else_says_what_to_write() {
        for text in ["", "a", "9-4", "1,,2", "-1", "1-2-3"] {
            assert!(text.parse::<PacketNumbers>().unwrap_err().to_string().contains("4-9,12"), "{text}");
        }
    }
}
