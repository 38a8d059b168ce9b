//! Points in time as packets carry them: nanoseconds since the Unix epoch, UTC, without leap seconds.
//! Does not read any clock.

use std::fmt;

/// Nanoseconds since 1970-01-01T00:00:00Z. Covers every time a capture file can state until the year 2554.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The Unix epoch itself; also "no packet yet".
    pub const ZERO: Self = Self(0);
    /// The latest time that can be stated.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds since the Unix epoch.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// From seconds and nanoseconds; saturates at [`Timestamp::MAX`].
    pub const fn from_parts(seconds: u64, nanos: u64) -> Self {
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// From a system clock's reading; times before 1970 become [`Timestamp::ZERO`].
    pub fn from_system(time: std::time::SystemTime) -> Self {
        match time.duration_since(std::time::UNIX_EPOCH) {
            Ok(since) => Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)),
            Err(_) => Self::ZERO,
        }
    }

    /// Nanoseconds since the Unix epoch.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    pub const fn seconds(self) -> u64 {
        self.0 / 1_000_000_000
    }

    /// Nanoseconds within the second, 0 to 999,999,999.
    pub const fn subsecond_nanos(self) -> u32 {
        (self.0 % 1_000_000_000) as u32
    }

    /// Nanoseconds from `earlier` to `self`; 0 if `earlier` is later.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This time moved on by `nanos`; saturates.
    pub const fn plus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// This time moved back by `nanos`; saturates at the Unix epoch.
    pub const fn minus_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_sub(nanos))
    }

    /// Calendar date and time of day, UTC: year, month, day, hour, minute, second.
    pub const fn civil(self) -> (u32, u32, u32, u32, u32, u32) {
        let seconds = self.seconds();
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        // Days since 0000-03-01, then eras of 400 years (the proleptic Gregorian calendar repeats after 146,097 days).
        let z = days + 719_468;
        let (era, of_era) = (z / 146_097, z % 146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
        (
            year as u32,
            month as u32,
            day as u32,
            (of_day / 3_600) as u32,
            (of_day / 60 % 60) as u32,
            (of_day % 60) as u32,
        )
    }

    /// The time as RFC 3339 in UTC with 3, 6 or 9 decimals, the fewest that lose nothing: the text, and how long it is.
    pub fn rfc3339(self) -> ([u8; 30], usize) {
        let mut text = [0; 30];
        let (decimals, length) = decimals(self.subsecond_nanos());
        text[..SECOND].copy_from_slice(&self.second());
        text[SECOND..].copy_from_slice(&decimals[..30 - SECOND]);
        (text, SECOND + length)
    }

    /// The second as RFC 3339, up to the point before the decimals.
    fn second(self) -> [u8; SECOND] {
        let (year, month, day, hour, minute, second) = self.civil();
        let mut text = *b"0000-00-00T00:00:00.";
        let mut pair = |at: usize, value: u32| text[at..at + 2].copy_from_slice(&PAIRS[(value % 100) as usize]);
        pair(0, year / 100);
        pair(2, year);
        pair(5, month);
        pair(8, day);
        pair(11, hour);
        pair(14, minute);
        pair(17, second);
        text
    }

    /// Appends that.
    pub fn write_rfc3339(self, out: &mut Vec<u8>) {
        let (text, length) = self.rfc3339();
        out.extend_from_slice(text.get(..length).unwrap_or_default());
    }
}

/// Length of a time as text up to the point before the decimals.
const SECOND: usize = 20;

/// Times as text, one after the other: most lie within the second of the one before, whose text is kept.
#[derive(Debug, Clone)]
pub struct TimeText {
    /// The second that `text` tells.
    second: u64,
    text: [u8; SECOND],
}

impl Default for TimeText {
    fn default() -> Self {
        Self::new()
    }
}

impl TimeText {
    /// Of no time yet.
    pub const fn new() -> Self {
        Self { second: u64::MAX, text: [0; SECOND] }
    }

    /// What [`Timestamp::rfc3339`] gives, in two pieces: what is kept, and the rest with how long it is.
    #[inline]
    pub fn rfc3339(&mut self, time: Timestamp) -> (&[u8; SECOND], [u8; 16], usize) {
        if time.seconds() != self.second {
            self.second = time.seconds();
            self.text = time.second();
        }
        let (decimals, length) = decimals(time.subsecond_nanos());
        (&self.text, decimals, length)
    }
}

/// The fewest decimals of a second that lose nothing, three at least, and a Z behind them: all made within one word, and how many
/// bytes of it count.
#[inline]
fn decimals(nanos: u32) -> ([u8; 16], usize) {
    let digits = u128::from(four_digits(nanos / 100_000))
        | u128::from(four_digits(nanos / 10 % 10_000)) << 32
        | u128::from(b'0' + (nanos % 10) as u8) << 64;
    let length = match (nanos % 1_000_000, nanos % 1_000) {
        (0, _) => 3,
        (_, 0) => 6,
        _ => 9,
    };
    let text = digits & !(u128::MAX << (8 * length)) | u128::from(b'Z') << (8 * length);
    (text.to_le_bytes(), length + 1)
}

/// The decimal digits of a number below 10,000, as they lie in memory.
#[inline]
pub fn four_digits(number: u32) -> u32 {
    let pair = |number: u32| u32::from(u16::from_le_bytes(PAIRS[(number % 100) as usize]));
    pair(number / 100) | pair(number) << 16
}

/// The digits of 0 to 99: two at once, since a division costs more than a look into a table.
pub static PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[0; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + number as u8 / 10, b'0' + number as u8 % 10];
        number += 1;
    }
    pairs
};

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (text, length) = self.rfc3339();
        f.write_str(&String::from_utf8_lossy(text.get(..length).unwrap_or_default()))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_fewest_decimals_that_lose_nothing() {
        let at = |seconds, nanos| Timestamp::from_parts(seconds, nanos).to_string();
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(1_440_662_455, 638_957_000), "2015-08-27T08:00:55.638957Z");
        assert_eq!(at(1_440_662_455, 638_957_001), "2015-08-27T08:00:55.638957001Z");
        assert_eq!(at(951_782_400, 120_000_000), "2000-02-29T00:00:00.120Z");
        assert_eq!(at(4_102_444_800, 0), "2100-01-01T00:00:00.000Z");
    }

    #[test]
    fn a_kept_second_changes_nothing() {
        let mut kept = TimeText::new();
        for (seconds, nanos) in
            [(5, 1), (5, 20), (5, 120_000_000), (5, 999_999_999), (6, 0), (5, 638_957_000), (0, 0), (5, 123_456_789)]
        {
            let time = Timestamp::from_parts(seconds, nanos);
            let (second, rest, length) = kept.rfc3339(time);
            assert_eq!(String::from_utf8_lossy(&[second, &rest[..length]].concat()), time.to_string());
        }
    }
}
