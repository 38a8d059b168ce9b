//! Settings that were found good, and what was made of them without privileges, sockets or other machines. Looking for mistakes ends here;
//! starting goes on from here.

use crate::config::{Arguments, CollectorMode, Settings};
use crate::link::Destination;
use crate::{capture, tls};
use listen::Address;
use packet::SourceName;
use privilege::User;
use settings::Faults;
use std::path::Path;

const STATUS: &str =
    "the status asks nobody for a password, so it stays on this machine: write 127.0.0.1:PORT or unix:PATH";
/// Levels that zstd has.
const LEVELS: std::ops::RangeInclusive<i32> = -7..=19;
/// What libpcap takes for the kernel's buffer.
const BUFFER_MAX: u64 = i32::MAX as u64;

/// What the probe is to do.
#[derive(Debug)]
pub struct Plan {
    pub settings: Settings,
    pub user: User,
    pub source: SourceName,
    pub destinations: Vec<Destination>,
    /// Endpoints of our own that are named to be left out of a capture.
    pub named: Vec<Destination>,
    pub identity: Option<tls::Identity>,
    pub status: Option<Address>,
}

impl Plan {
    /// Judges the settings, which flags are part of; reads the files with keys that they name.
    pub fn new(settings: Settings, arguments: &Arguments) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let user = faults.note("probe.user", privilege::user(Some(&settings.user)));
        let source = faults.note("probe.name", source(&settings.name));
        if settings.interfaces.is_empty() == arguments.read.is_none() {
            faults.add("probe.interfaces", "give either interfaces with -i, or a capture file with -r");
        }
        if settings.collector.is_empty() {
            faults.add("probe.collector", "is empty: say where to send with --collector HOST:PORT or unix:PATH");
        }
        let encrypted = settings.tls.is_set();
        let allowed = encrypted || settings.allow_plaintext;
        let parse = |text: &String| Destination::parse(text, allowed);
        let destinations: Vec<_> =
            settings.collector.iter().filter_map(|text| faults.note("probe.collector", parse(text))).collect();
        if let (CollectorMode::All, Some(twice)) = (settings.collector_mode, repeated(&destinations)) {
            faults.add("probe.collector", format!("{twice} is given twice: leave out one"));
        }
        let named = settings.exclude.iter().chain(&arguments.exclude);
        let named = named.filter_map(|text| faults.note("probe.exclude", Destination::endpoint(text))).collect();
        let identity = encrypted.then(|| tls::Identity::load(&settings.tls)).transpose();
        let identity = identity.map_err(|error| faults.add(format!("probe.tls.{}", error.key), error.problem));
        let status = match settings.status.as_str() {
            "" => None,
            text => faults.note("probe.status", Address::parse("probe.status", text, Path::new(""), Some(STATUS))),
        };
        faults.note("probe.filter", capture::check_filter(&settings.filter));
        if !LEVELS.contains(&settings.compression_level) {
            let problem =
                format!("{} is no level: write {} to {}", settings.compression_level, LEVELS.start(), LEVELS.end());
            faults.add("probe.compression_level", problem);
        }
        if settings.buffer > BUFFER_MAX {
            faults.add("probe.buffer", format!("is too much: write at most {}MiB", BUFFER_MAX >> 20));
        }
        match (user, source, identity) {
            (Some(user), Some(source), Ok(identity)) if faults.is_empty() => {
                Ok(Self { settings, user, source, destinations, named, identity, status })
            }
            _ => Err(faults),
        }
    }
}

fn source(name: &str) -> Result<SourceName, packet::identity::SourceNameError> {
    match name {
        "" => Ok(SourceName::from_arbitrary(&rustix::system::uname().nodename().to_string_lossy())),
        name => name.parse(),
    }
}

/// A collector that would get everything twice: two connections of one source take each other's place.
fn repeated(destinations: &[Destination]) -> Option<&Destination> {
    let mut numbered = destinations.iter().enumerate();
    numbered.find(|(at, found)| destinations.iter().take(*at).any(|before| before == *found)).map(|(_, found)| found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings { collector: vec!["unix:/x".to_owned()], ..Settings::default() };
        settings.interfaces.push("lo".to_owned());
        change(&mut settings);
        Plan::new(settings, &Arguments::default()).map_or_else(|faults| faults.to_string(), |_| String::new())
    }

    #[test]
    fn what_cannot_be_is_named_with_its_key() {
        assert_eq!(said(|_| {}), "");
        for (key, change) in [
            ("probe.user: there is no user \"no such\"", (|s| s.user = "no such".to_owned()) as fn(&mut Settings)),
            ("probe.name: \"a b\"", |s| s.name = "a b".to_owned()),
            ("probe.interfaces: give", |s| s.interfaces.clear()),
            ("probe.collector: is empty", |s| s.collector.clear()),
            ("probe.collector: \"x\" is no", |s| s.collector = vec!["x".to_owned()]),
            ("probe.collector: \"192.0.2.1:7710\" is another machine", |s| {
                s.collector = vec!["192.0.2.1:7710".to_owned()]
            }),
            ("probe.exclude: \"unix:/x\"", |s| s.exclude = vec!["unix:/x".to_owned()]),
            ("probe.tls.key: is not set", |s| s.tls.certificate = "/x".into()),
            ("probe.status: \"0.0.0.0:1\" is reachable", |s| s.status = "0.0.0.0:1".to_owned()),
            ("probe.filter: \"prot udp\" is not understood", |s| s.filter = "prot udp".to_owned()),
            ("probe.compression_level: 20 ", |s| s.compression_level = 20),
            ("probe.buffer: is too much", |s| s.buffer = 1 << 31),
        ] {
            let said = said(change);
            assert!(said.starts_with(key) && said.lines().count() == 1, "{key}: {said}");
        }
    }

    #[test]
    fn a_collector_gets_everything_once() {
        let twice = |mode| said(|s| (s.collector, s.collector_mode) = (vec!["unix:/x".to_owned(); 2], mode));
        assert_eq!(twice(CollectorMode::Failover), "");
        assert!(twice(CollectorMode::All).contains("given twice"));
    }

    #[test]
    fn a_filter_must_fit_some_link_type_only() {
        assert_eq!(said(|s| s.filter = "wlan type mgt".to_owned()), "");
    }
}
