//! Durations and sizes as people write them: `50ms`, `10s`, `1m`, `64MiB`; for `#[serde(with = "settings::duration")]` and `settings::size`.
//! Deliberately without calendar units: a month has no fixed length.

/// Reads and writes a [`std::time::Duration`]: a number with `ns`, `us`, `ms`, `s`, `m`, `h` or `d`, several in a row (`1m30s`); a bare number is seconds.
pub mod duration {
    use std::time::Duration;

    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    const UNITS: &[(&str, u64)] = &[
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
        ("d", 86_400_000_000_000),
    ];

    /// Parses a duration.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let wrong = || format!("`{text}` is no duration; write for example 50ms, 10s, 5m, 1h30m or 0s");
        let mut rest = text.trim();
        let mut total = Duration::ZERO;
        if rest.is_empty() {
            return Err(wrong());
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            let unit = unit.trim();
            let number: f64 = number.parse().map_err(|_| wrong())?;
            let nanos = match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, nanos)) => *nanos,
                None if unit.is_empty() && tail.is_empty() => 1_000_000_000,
                None => return Err(wrong()),
            };
            let part = Duration::try_from_secs_f64(number * nanos as f64 / 1e9).map_err(|_| wrong())?;
            total = total.checked_add(part).ok_or_else(wrong)?;
            rest = tail;
        }
        Ok(total)
    }

    /// Writes a duration with the largest unit that loses nothing.
    pub fn format(duration: Duration) -> String {
        let nanos = duration.as_nanos();
        if nanos == 0 {
            return "0s".to_owned();
        }
        for (unit, size) in UNITS.iter().rev().filter(|(unit, _)| unit.is_ascii() && *unit != "d") {
            if nanos % u128::from(*size) == 0 {
                return format!("{}{unit}", nanos / u128::from(*size));
            }
        }
        format!("{nanos}ns")
    }

    /// For `serde(with)`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*duration))
    }

    /// For `serde(with)`.
    ///
    /// # Errors
    /// When it is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Duration;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a duration such as \"10s\"")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                parse(text).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
                u64::try_from(seconds).map(Duration::from_secs).map_err(|_| E::custom("a duration cannot be negative"))
            }
            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
                Ok(Duration::from_secs(seconds))
            }
            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
                Duration::try_from_secs_f64(seconds).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// Reads and writes a number of bytes: `KiB`, `MiB`, `GiB`, `TiB` (1024), `kB`, `MB`, `GB`, `TB` (1000), `B` or nothing.
pub mod size {
    use serde::de::{Error, Visitor};
    use serde::{Deserializer, Serializer};

    const UNITS: &[(&str, u64)] = &[
        ("tib", 1 << 40),
        ("gib", 1 << 30),
        ("mib", 1 << 20),
        ("kib", 1 << 10),
        ("tb", 1_000_000_000_000),
        ("gb", 1_000_000_000),
        ("mb", 1_000_000),
        ("kb", 1_000),
        ("b", 1),
        ("", 1),
    ];

    /// Parses a size in bytes.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<u64, String> {
        let wrong = || format!("`{text}` is no size; write for example 64MiB, 2GB or 4096");
        let trimmed = text.trim();
        let digits = trimmed.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let number: u64 = number.replace('_', "").parse().map_err(|_| wrong())?;
        let unit = unit.trim().to_lowercase();
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        number.checked_mul(*bytes).ok_or_else(wrong)
    }

    /// Writes a size with the largest binary unit that loses nothing.
    pub fn format(bytes: u64) -> String {
        for (unit, size) in [("TiB", 1u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)] {
            if bytes > 0 && bytes % size == 0 {
                return format!("{}{unit}", bytes / size);
            }
        }
        format!("{bytes}B")
    }

    /// For `serde(with)`.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format(*bytes))
    }

    /// For `serde(with)`.
    ///
    /// # Errors
    /// When it is no size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = u64;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a size such as \"64MiB\" or a number of bytes")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
                parse(text).map_err(E::custom)
            }
            fn visit_i64<E: Error>(self, bytes: i64) -> Result<u64, E> {
                u64::try_from(bytes).map_err(|_| E::custom("a size cannot be negative"))
            }
            fn visit_u64<E: Error>(self, bytes: u64) -> Result<u64, E> {
                Ok(bytes)
            }
        }
        deserializer.deserialize_any(Text)
    }
}
