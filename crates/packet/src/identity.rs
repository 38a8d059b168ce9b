//! Names of what is collected: the source, the epoch of a probe's run, and the batch.
//! Does not decide which names are allowed to connect; that is the collector's.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// A capture point's name: `[A-Za-z0-9][A-Za-z0-9_.-]{0,63}`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceName(Arc<str>);

/// Why a text is no source name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a source name: it takes 1 to 64 letters, digits, '_', '.' or '-', the first a letter or a digit")]
pub struct SourceNameError(String);

impl SourceName {
    /// The longest name, in bytes.
    pub const MAX_LENGTH: usize = 64;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The nearest valid name to an arbitrary text (a host name, an address): other characters become '-'.
    pub fn from_arbitrary(text: &str) -> Self {
        let mut name: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-') { c } else { '-' })
            .skip_while(|c| !c.is_ascii_alphanumeric())
            .take(Self::MAX_LENGTH)
            .collect();
        if name.is_empty() {
            name.push_str("unnamed");
        }
        Self(name.into())
    }
}

impl FromStr for SourceName {
    type Err = SourceNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = text.as_bytes();
        let valid = bytes.len() <= Self::MAX_LENGTH
            && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if valid { Ok(Self(text.into())) } else { Err(SourceNameError(text.chars().take(80).collect())) }
    }
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One run of a probe: 128 random bits, only ever compared for equality. Shown as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub [u8; 16]);

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Epoch {
    type Err = EpochError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut epoch = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(EpochError);
        }
        for (byte, digits) in epoch.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digits = std::str::from_utf8(digits).map_err(|_| EpochError)?;
            *byte = u8::from_str_radix(digits, 16).map_err(|_| EpochError)?;
        }
        Ok(Self(epoch))
    }
}

/// The text is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an epoch is 32 hexadecimal digits")]
pub struct EpochError;

/// What a batch is known by everywhere: who captured it, in which run, and its place in that run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchName {
    /// The capture point.
    pub source: SourceName,
    /// The run of the probe.
    pub epoch: Epoch,
    /// Place in the run, from 0, without holes.
    pub seq: u64,
}

impl fmt::Display for BatchName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.source, self.epoch, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_names_are_checked() {
        for good in ["a", "web1", "0", "gw-2.example_net", &"x".repeat(64)] {
            assert_eq!(good.parse::<SourceName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", ".a", "a/b", "a b", "ä", &"x".repeat(65)] {
            assert!(bad.parse::<SourceName>().is_err(), "{bad}");
        }
        assert_eq!(SourceName::from_arbitrary("::1").as_str(), "1");
        assert_eq!(SourceName::from_arbitrary("///").as_str(), "unnamed");
    }

    #[test]
    fn epochs_survive_their_text() {
        let epoch = Epoch([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(epoch.to_string().parse(), Ok(epoch));
        assert_eq!("00".parse::<Epoch>(), Err(EpochError));
        assert!("+0".repeat(16).parse::<Epoch>().is_ok());
    }
}
