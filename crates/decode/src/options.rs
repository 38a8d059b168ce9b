//! Values of options in the forms that Packetbeat's users write them: 0/1 as booleans, ports as numbers, texts or ranges,
//! durations with units.

use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A boolean that may also be written 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Flag(pub bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Flag;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false, 0 or 1")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Flag, E> {
                Ok(Flag(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Flag, E> {
                match value {
                    0 => Ok(Flag(false)),
                    1 => Ok(Flag(true)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(value), &self)),
                }
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Flag, E> {
                self.visit_i64(i64::try_from(value).unwrap_or(-1))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Flag, E> {
                match value {
                    "true" | "1" | "yes" | "on" => Ok(Flag(true)),
                    "false" | "0" | "no" | "off" => Ok(Flag(false)),
                    _ => Err(E::invalid_value(de::Unexpected::Str(value), &self)),
                }
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Ports and ranges of ports: `[80, "8080", "8000-8010"]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ports(pub Vec<(u16, u16)>);

impl Ports {
    /// Single ports.
    pub fn of(ports: &[u16]) -> Self {
        Self(ports.iter().map(|port| (*port, *port)).collect())
    }
}

impl Serialize for Ports {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(
            self.0.iter().map(
                |(first, last)| {
                    if first == last { first.to_string() } else { format!("{first}-{last}") }
                },
            ),
        )
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum One {
            Number(u16),
            Text(String),
        }
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Some {
            Many(Vec<One>),
            Single(One),
        }
        let wrong = |text: &str| de::Error::custom(format!("{text:?} is neither a port nor a range of ports"));
        let list = match Some::deserialize(deserializer)? {
            Some::Many(list) => list,
            Some::Single(one) => vec![one],
        };
        let mut ports = Vec::new();
        for one in list {
            match one {
                One::Number(port) => ports.push((port, port)),
                One::Text(text) => {
                    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
                    let range = (first.trim().parse::<u16>(), last.trim().parse::<u16>());
                    match range {
                        (Ok(first), Ok(last)) if first <= last => ports.push((first, last)),
                        _ => return Err(wrong(&text)),
                    }
                }
            }
        }
        Ok(Self(ports))
    }
}

/// A duration in nanoseconds: `10s`, `250ms`, `1m30s`; a bare number is seconds. Negative ones switch things off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub i64);

impl Span {
    /// So many seconds.
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000_000)
    }

    /// Its length in nanoseconds; none for 0 and negative ones.
    pub fn nanos(self) -> Option<u64> {
        u64::try_from(self.0).ok().filter(|nanos| *nanos > 0)
    }

    fn parse(text: &str) -> Option<Self> {
        let (negative, mut rest) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut nanos: f64 = 0.0;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().ok()?;
            rest = &rest[digits..];
            let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let factor = match &rest[..unit] {
                "ns" => 1.0,
                "us" => 1e3,
                "ms" => 1e6,
                "s" | "" => 1e9,
                "m" => 60e9,
                "h" => 3600e9,
                "d" => 86_400e9,
                _ => return None,
            };
            nanos += number * factor;
            rest = &rest[unit..];
        }
        Some(Self(if negative { -(nanos as i64) } else { nanos as i64 }))
    }
}

impl Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (value, unit) = match self.0 {
            nanos if nanos % 1_000_000_000 == 0 => (nanos / 1_000_000_000, "s"),
            nanos if nanos % 1_000_000 == 0 => (nanos / 1_000_000, "ms"),
            nanos => (nanos, "ns"),
        };
        serializer.collect_str(&format_args!("{value}{unit}"))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Seconds(i64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Seconds(seconds) => seconds
                .checked_mul(1_000_000_000)
                .map(Self)
                .ok_or_else(|| de::Error::custom(format!("{seconds} seconds are too many"))),
            Either::Text(text) => Self::parse(&text).ok_or_else(|| {
                de::Error::custom(format!("{text:?} is no duration such as \"10s\", \"250ms\" or \"1m30s\""))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct All {
        flags: Vec<Flag>,
        ports: Ports,
        spans: Vec<Span>,
    }

    #[test]
    fn values_are_read_as_people_write_them() {
        let all: All = toml::from_str(
            "flags = [true, 0, 1, \"no\"]\nports = [80, \"8080\", \"8000-8010\"]\nspans = [\"10s\", \"-1s\", \"1m30s\", 2, \"250ms\"]",
        )
        .unwrap();
        assert_eq!(all.flags, [Flag(true), Flag(false), Flag(true), Flag(false)]);
        assert_eq!(all.ports.0, [(80, 80), (8080, 8080), (8000, 8010)]);
        assert_eq!(all.spans.iter().map(|s| s.0 / 1_000_000).collect::<Vec<_>>(), [10_000, -1_000, 90_000, 2_000, 250]);
        assert!(toml::from_str::<All>("flags = []\nports = [\"x\"]\nspans = []").is_err());
        assert!(toml::from_str::<All>("flags = []\nports = []\nspans = [\"ten\"]").is_err());
        assert!(toml::from_str::<All>("flags = []\nports = []\nspans = [9223372036854775807]").is_err());
    }
}
