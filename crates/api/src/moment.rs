//! Points in time as users write them: RFC 3339, a Unix time, or how long ago (`-15m`, `-2h`, `-1d`).
//! Knows no time zone but what RFC 3339 states: the same words mean the same packets everywhere.

use packet::Timestamp;

/// What was expected.
const EXPECTED: &str =
    "expected RFC 3339 (2026-11-23T14:00:00Z), a Unix time (1795442400.5) or how long ago (-15m, -2h, -1d, now)";

/// Parses a point in time; `now` is what `-15m` counts from.
///
/// # Errors
/// What was expected.
pub fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let wrong = || format!("`{text}` is no time: {EXPECTED}");
    if text == "now" {
        return Ok(now);
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = settings::duration::parse(ago).map_err(|_| wrong())?;
        let ago = u64::try_from(ago.as_nanos()).map_err(|_| wrong())?;
        return Ok(Timestamp::from_nanos(now.nanos().saturating_sub(ago)));
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return u64::try_from(time.as_nanosecond()).map(Timestamp::from_nanos).map_err(|_| wrong());
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.len() <= 20 && part.chars().all(|c| c.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return Err(wrong());
    }
    let nanos: u64 = format!("{fraction:0<9}").get(..9).and_then(|nine| nine.parse().ok()).ok_or_else(wrong)?;
    let seconds: u64 = seconds.parse().map_err(|_| wrong())?;
    let total = seconds.checked_mul(1_000_000_000).and_then(|whole| whole.checked_add(nanos)).ok_or_else(wrong)?;
    Ok(Timestamp::from_nanos(total))
}

/// Parses a point in time relative to the system's clock.
///
/// # Errors
/// What was expected.
pub fn parse_now(text: &str) -> Result<Timestamp, String> {
    parse(text, Timestamp::from_system(std::time::SystemTime::now()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: u64) {
        let now = Timestamp::from_nanos(1_000_000_000_000);
        assert_eq!(parse(text, now).unwrap().nanos(), expect, "{text}");
    }

    #[test]
    fn all_forms_are_read() {
        check("1970-01-01T00:00:01.5Z", 1_500_000_000);
        check("1970-01-01T01:00:01+01:00", 1_000_000_000);
        check("12", 12_000_000_000);
        check("12.000000001", 12_000_000_001);
        check("-15m", 100_000_000_000);
        check("-1d", 0);
        check("now", 1_000_000_000_000);
    }

    #[test]
    fn anything_else_says_what_is_expected() {
        for text in ["", "yesterday", "-", "-x", "1.2.3", "99999999999999999999", "1e9"] {
            let error = parse(text, Timestamp::from_nanos(0)).unwrap_err();
            assert!(error.contains("RFC 3339"), "{text}: {error}");
        }
    }
}
