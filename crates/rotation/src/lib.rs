//! When files are closed by the clock, segments and files of events alike: at multiples of a time of the day, in UTC or a named zone, also
//! where the clock of the zone is set forward or back. Reads no clock and closes nothing itself.
#![forbid(unsafe_code)]

use packet::Timestamp;

/// At which times of the day files are closed.
#[derive(Debug, Clone)]
pub struct Rotation {
    /// At every multiple of this many seconds of the day; 0 for never.
    pub seconds: u64,
    /// Whose day.
    pub zone: jiff::tz::TimeZone,
}

/// A stretch of time between two such moments; to be compared, nothing else. The hour that the clock of a zone goes through twice is two of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Seconds of Unix time at midnight, by the zone's clock.
    day: i64,
    number: i64,
    offset: i32,
}

impl Rotation {
    /// In UTC.
    pub fn utc(seconds: u64) -> Self {
        Self { seconds, zone: jiff::tz::TimeZone::UTC }
    }

    /// Where a moment lies; all lie in one if there is no rotation.
    pub fn slot(&self, time: Timestamp) -> Slot {
        let Some(length) = i64::try_from(self.seconds).ok().filter(|seconds| *seconds > 0) else {
            return Slot { day: 0, number: 0, offset: 0 };
        };
        const DAY: i64 = 86_400;
        let seconds = i64::try_from(time.seconds()).unwrap_or(i64::MAX);
        let offset = jiff::Timestamp::from_second(seconds).map_or(0, |moment| self.zone.to_offset(moment).seconds());
        let local = seconds.saturating_add(offset.into());
        if length >= DAY {
            // Whole days and more are counted from 1970.
            return Slot { day: 0, number: local.div_euclid(length), offset: 0 };
        }
        Slot { day: local.div_euclid(DAY), number: local.rem_euclid(DAY) / length, offset }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(rotation: &Rotation, from: u64, to: u64, step: u64) -> usize {
        let mut count = 0;
        let mut last = None;
        for seconds in (from..to).step_by(step as usize) {
            let slot = rotation.slot(Timestamp::from_parts(seconds, 0));
            count += usize::from(last.replace(slot) != Some(slot));
        }
        count
    }

    #[test]
    fn hours_and_days_begin_where_the_zone_has_them() {
        let zone = jiff::tz::TimeZone::get("Asia/Kolkata").unwrap();
        let hourly = Rotation { seconds: 3600, zone: zone.clone() };
        let slot = |rotation: &Rotation, seconds| rotation.slot(Timestamp::from_parts(seconds, 0));
        // Half past, in UTC.
        assert_ne!(
            slot(&hourly, 1_700_000_000 / 3600 * 3600 + 1799),
            slot(&hourly, 1_700_000_000 / 3600 * 3600 + 1800)
        );
        assert_eq!(slot(&hourly, 1_700_000_000 / 3600 * 3600 - 1), slot(&hourly, 1_700_000_000 / 3600 * 3600));
        let daily = Rotation { seconds: 86_400, zone };
        assert_eq!(slots(&daily, 1_700_000_000, 1_700_000_000 + 10 * 86_400, 600), 11);
        assert_eq!(slots(&Rotation::utc(0), 0, 4_000_000_000, 100_000_000), 1);
    }

    #[test]
    fn the_days_on_which_the_clock_is_set_have_23_and_25_hours() {
        let zone = jiff::tz::TimeZone::get("Europe/Vienna").unwrap();
        let hourly = Rotation { seconds: 3600, zone: zone.clone() };
        let midnight = |text: &str| {
            let date: jiff::civil::Date = text.parse().unwrap();
            date.to_zoned(zone.clone()).unwrap().timestamp().as_second() as u64
        };
        for (day, next, hours) in
            [("2026-03-29", "2026-03-30", 23), ("2026-10-25", "2026-10-26", 25), ("2026-06-01", "2026-06-02", 24)]
        {
            assert_eq!(slots(&hourly, midnight(day), midnight(next), 60), hours, "{day}");
        }
        let daily = Rotation { seconds: 86_400, zone: zone.clone() };
        assert_eq!(slots(&daily, midnight("2026-03-28"), midnight("2026-03-31"), 60), 3);
        let quarters = Rotation { seconds: 21_600, zone: zone.clone() };
        assert_eq!(slots(&quarters, midnight("2026-10-24"), midnight("2026-10-25"), 60), 4);
    }
}
