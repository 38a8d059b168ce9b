//! How long to wait before connecting again: exponential, bounded, with jitter. Randomness is a parameter.

/// First wait, in milliseconds.
pub const FIRST_MS: u64 = 100;
/// Longest wait, in milliseconds.
pub const LONGEST_MS: u64 = 10_000;

/// The wait before attempt number `attempt` (from 0) in milliseconds, spread by `random` over half of it, so that many
/// probes do not come back at the same moment.
pub fn wait_ms(attempt: u32, random: u64) -> u64 {
    let full = FIRST_MS.checked_shl(attempt.min(16)).unwrap_or(LONGEST_MS).min(LONGEST_MS);
    full / 2 + random % (full / 2 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_stay_bounded_and_spread() {
        assert!((50..=100).contains(&wait_ms(0, 12345)));
        assert!((400..=800).contains(&wait_ms(3, 9)));
        for attempt in [10, 31, 32, 64, u32::MAX] {
            assert!((LONGEST_MS / 2..=LONGEST_MS).contains(&wait_ms(attempt, u64::MAX)));
        }
        assert_ne!(wait_ms(5, 1), wait_ms(5, 2));
    }
}
