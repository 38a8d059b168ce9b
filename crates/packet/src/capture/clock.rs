//! From the time units of a capture file to nanoseconds.
//! Times before 1970 become the epoch itself, times beyond 2554 the latest that can be stated.

use crate::Timestamp;

/// What one unit of an interface's times is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// So many nanoseconds.
    Nanos(u64),
    /// So many units make a nanosecond.
    PerNano(u64),
    /// This power of two of units makes a second.
    Binary(u8),
}

/// The resolution and offset of an interface's times (if_tsresol, if_tsoffset).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    unit: Unit,
    offset_seconds: i64,
}

impl Clock {
    pub const MICROSECONDS: Self = Self { unit: Unit::Nanos(1_000), offset_seconds: 0 };

    /// From the option values; a resolution without the top bit is a power of ten, with it a power of two.
    pub const fn new(resolution: u8, offset_seconds: i64) -> Self {
        let exponent = resolution & 0x7f;
        let unit = if resolution & 0x80 != 0 {
            Unit::Binary(exponent)
        } else if exponent <= 9 {
            Unit::Nanos(10u64.pow(9 - exponent as u32))
        } else if exponent - 9 <= 19 {
            Unit::PerNano(10u64.pow(exponent as u32 - 9))
        } else {
            Unit::PerNano(u64::MAX)
        };
        Self { unit, offset_seconds }
    }

    #[inline]
    pub fn time(&self, units: u64) -> Timestamp {
        let nanos = match self.unit {
            Unit::Nanos(factor) => units.saturating_mul(factor),
            Unit::PerNano(divisor) => units / divisor,
            Unit::Binary(exponent) => {
                let nanos = (u128::from(units) * 1_000_000_000) >> exponent;
                u64::try_from(nanos).unwrap_or(u64::MAX)
            }
        };
        if self.offset_seconds == 0 {
            return Timestamp::from_nanos(nanos);
        }
        let offset = self.offset_seconds.unsigned_abs().saturating_mul(1_000_000_000);
        let time = Timestamp::from_nanos(nanos);
        if self.offset_seconds > 0 { time.plus_nanos(offset) } else { time.minus_nanos(offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_resolution_gives_nanoseconds() {
        let nanos = |resolution, offset, units| Clock::new(resolution, offset).time(units).nanos();
        assert_eq!(nanos(6, 0, 5), 5_000);
        assert_eq!(nanos(9, 0, 5), 5);
        assert_eq!(nanos(0, 0, 5), 5_000_000_000);
        assert_eq!(nanos(12, 0, 5_999), 5);
        assert_eq!(nanos(0x80 | 1, 0, 3), 1_500_000_000);
        assert_eq!(nanos(0x80 | 32, 0, 1 << 31), 500_000_000);
        assert_eq!(nanos(6, 2, 5), 2_000_005_000);
        assert_eq!(nanos(6, -2, 5), 0);
        for resolution in 0..=255 {
            nanos(resolution, i64::MIN, u64::MAX);
            nanos(resolution, i64::MAX, u64::MAX);
        }
    }
}
