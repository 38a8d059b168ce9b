//! Settings that were found good, and what was made of them without binding a socket or asking another machine. Looking for mistakes ends here;
//! starting goes on from here.

use crate::osmo::Names;
use crate::policy::Policies;
use crate::settings::{Curve, Settings, V1Format};
use crate::tls::Gate;
use archive::Rotation;
use feed::curve::ServerKeys;
use feed::{Endpoint, PublisherOptions};
use listen::{Address, AddressError};
use privilege::User;
use settings::Faults;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

const UPLINK: &str = "bind to 127.0.0.1, set collector.tls (see `tapline keys collector`), or collector.allow_plaintext = true if that is meant";
const OSMO: &str =
    "osmo-pcap's protocol has none: bind to 127.0.0.1, or set collector.allow_plaintext = true if that is meant";
const API: &str = "the API asks nobody for a password, so it stays on this machine: write 127.0.0.1:PORT or unix:PATH, and come from others through the \
    console, which lets in who has a token (console.listen, `tapline keys token`), or through `ssh -L`";
const FEED: &str = "bind to 127.0.0.1, set collector.curve (see `tapline keys subscriber`), or collector.allow_plaintext = true if that is meant";
const FEED_V1: &str =
    "the v1 feed is never encrypted: bind to 127.0.0.1, or set collector.allow_plaintext = true if that is meant";

/// What the collector is to do.
#[derive(Debug)]
pub struct Plan {
    pub(crate) settings: Settings,
    pub(crate) user: User,
    pub(crate) policies: Policies,
    pub(crate) names: Names,
    pub(crate) rotation: Rotation,
    pub(crate) uplinks: Vec<Address>,
    pub(crate) apis: Vec<Address>,
    pub(crate) osmo: Vec<Address>,
    pub(crate) gate: Option<Arc<Gate>>,
    pub(crate) feed: PublisherOptions,
}

impl Plan {
    /// Judges the settings; reads the files with keys that they name.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn new(settings: Settings) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let open = settings.allow_plaintext;
        let unless = |allowed: bool, advice: &'static str| (!allowed).then_some(advice);
        let user = faults.note("collector.user", privilege::user(Some(&settings.user)));
        let encrypted = settings.tls.is_set();
        let uplinks =
            addresses(&mut faults, "collector.listen", &settings, &settings.listen, unless(open || encrypted, UPLINK));
        let apis = addresses(&mut faults, "collector.api", &settings, &settings.api, Some(API));
        let listen = &settings.osmo_pcap.listen;
        let osmo = addresses(&mut faults, "collector.osmo_pcap.listen", &settings, listen, unless(open, OSMO));
        for address in osmo.iter().filter(|address| address.path().is_some()) {
            let problem = format!("\"{address}\": osmo-pcap is spoken over TCP only: write ADDRESS:PORT");
            faults.add("collector.osmo_pcap.listen", problem);
        }
        let gate = encrypted.then(|| Gate::load(&settings.tls)).transpose();
        let gate =
            gate.map_err(|error| faults.add(format!("collector.tls.{}", error.key), error.problem)).ok().flatten();
        let curve = curve(&mut faults, &settings.curve);
        let in_clear = settings.curve == Curve::default();
        let feed = endpoints(&mut faults, "collector.feed", &settings.feed, unless(open || !in_clear, FEED));
        let feed_v1 = endpoints(&mut faults, "collector.feed_v1", &settings.feed_v1, unless(open, FEED_V1));
        let policies = Policies::new(&settings.sources)
            .map_err(|(name, problem)| faults.add(format!("collector.sources.{name}"), problem));
        let names = names(&mut faults, &settings.osmo_pcap.sources);
        let zone = faults.note("collector.segment_zone", zone(&settings.segment_zone));
        if settings.connections == 0 {
            faults.add("collector.connections", "0 lets no probe in: write at least 1");
        }
        if settings.credit == 0 {
            faults.add("collector.credit", "0 lets no probe send anything: write for example 32MiB");
        }
        faults.note("collector.hook", hook(&settings.hook));
        match (user, policies, zone) {
            (Some(user), Ok(policies), Some(zone)) if faults.is_empty() => Ok(Self {
                user,
                policies,
                names,
                rotation: Rotation { seconds: settings.segment_time.as_secs(), zone },
                uplinks,
                apis,
                osmo,
                gate,
                feed: PublisherOptions {
                    endpoints: feed,
                    v1_endpoints: feed_v1,
                    v1_format: match settings.feed_v1_format {
                        V1Format::Pcap => feed::v1::Format::Pcap,
                        V1Format::Pcapng => feed::v1::Format::Pcapng,
                    },
                    queue_bytes: usize::try_from(settings.subscriber_queue).unwrap_or(usize::MAX),
                    curve,
                },
                settings,
            }),
            _ => Err(faults),
        }
    }
}

fn addresses(
    faults: &mut Faults,
    key: &'static str,
    settings: &Settings,
    texts: &[String],
    refusal: Option<&'static str>,
) -> Vec<Address> {
    let parse = |text: &String| -> Result<Address, AddressError> { Address::parse(key, text, &settings.data, refusal) };
    texts.iter().filter_map(|text| faults.note(key, parse(text))).collect()
}

fn endpoints(faults: &mut Faults, key: &str, texts: &[String], refusal: Option<&'static str>) -> Vec<Endpoint> {
    texts.iter().filter_map(|text| faults.note(key, Endpoint::to_publish(text, refusal))).collect()
}

fn curve(faults: &mut Faults, curve: &Curve) -> Option<ServerKeys> {
    if *curve == Curve::default() {
        return None;
    }
    for (name, path) in [("keys", &curve.keys), ("allow", &curve.allow)] {
        if path.as_os_str().is_empty() {
            let problem = "is not set: an encrypted feed needs keys and allow, as `tapline keys subscriber` makes them";
            faults.add(format!("collector.curve.{name}"), problem);
            return None;
        }
    }
    faults.note("collector.curve", ServerKeys::read(&curve.keys, &curve.allow))
}

/// A program named by its path must be there; where others are found is known when they are started.
fn hook(command: &[String]) -> Result<(), String> {
    match command.first() {
        Some(program) if program.is_empty() || (program.contains('/') && !Path::new(program).is_file()) => {
            Err(format!("{program:?} is no program: name one that exists, and its arguments after it"))
        }
        _ => Ok(()),
    }
}

fn zone(name: &str) -> Result<jiff::tz::TimeZone, String> {
    jiff::tz::TimeZone::get(name)
        .map_err(|error| format!("{name:?}: {error}; write UTC, or a name such as Europe/Vienna (package tzdata)"))
}

fn names(faults: &mut Faults, sources: &BTreeMap<String, String>) -> Names {
    let mut names = BTreeMap::new();
    for (address, name) in sources {
        let key = "collector.osmo_pcap.sources";
        let wrong = |_| format!("{address:?} is no IP address: write \"192.0.2.1\" = \"NAME\"");
        let address = faults.note(key, address.parse::<IpAddr>().map_err(wrong));
        let name = faults.note(key, name.parse::<packet::SourceName>());
        if let (Some(address), Some(name)) = (address, name) {
            names.insert(address.to_string(), name);
        }
    }
    Names(Arc::new(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        Plan::new(settings).map_or_else(|faults| faults.to_string(), |_| String::new())
    }

    fn list(text: &str) -> Vec<String> {
        vec![text.to_owned()]
    }

    #[test]
    fn what_cannot_be_is_named_with_its_key() {
        assert_eq!(said(|_| {}), "");
        assert_eq!(said(|s| s.hook = ["gzip", "-9"].map(str::to_owned).into()), "");
        for (key, change) in [
            ("collector.user: there is no user \"no such\"", (|s| s.user = "no such".to_owned()) as fn(&mut Settings)),
            ("collector.listen: \"x\" is no address", |s| s.listen = list("x")),
            ("collector.listen: \"0.0.0.0:7710\" is reachable", |s| s.listen = list("0.0.0.0:7710")),
            ("collector.osmo_pcap.listen: \"unix:/x\": osmo-pcap is spoken over TCP", |s| {
                s.osmo_pcap.listen = list("unix:/x")
            }),
            ("collector.osmo_pcap.listen: \"0.0.0.0:1\"", |s| s.osmo_pcap.listen = list("0.0.0.0:1")),
            ("collector.osmo_pcap.sources: \"x\" is no IP", |s| {
                s.osmo_pcap.sources = [("x".to_owned(), "y".to_owned())].into()
            }),
            ("collector.feed: \"x\" is no endpoint", |s| s.feed = list("x")),
            ("collector.feed_v1: \"tcp://*:1\"", |s| s.feed_v1 = list("tcp://*:1")),
            ("collector.tls.key: is not set", |s| s.tls.certificate = "/x".into()),
            ("collector.curve.keys: is not set", |s| s.curve.allow = "/x".into()),
            ("collector.curve: /no/keys: No such file", |s| {
                (s.curve.keys, s.curve.allow) = ("/no/keys".into(), "/no/list".into());
            }),
            ("collector.segment_zone: \"Mars\"", |s| s.segment_zone = "Mars".to_owned()),
            ("collector.sources.a b: ", |s| s.sources = [("a b".to_owned(), Default::default())].into()),
            ("collector.connections: 0 lets no probe in", |s| s.connections = 0),
            ("collector.credit: 0 lets no probe send", |s| s.credit = 0),
            ("collector.hook: \"/no/such\" is no program", |s| s.hook = list("/no/such")),
        ] {
            let said = said(change);
            assert!(said.starts_with(key) && said.lines().count() == 1, "{key}: {said}");
        }
    }

    #[test]
    fn the_outspoken_option_opens_all_but_the_api_and_the_advice_says_so() {
        let open = |settings: &mut Settings| {
            settings.allow_plaintext = true;
            (settings.listen, settings.feed) = (list("0.0.0.0:7710"), list("tcp://*:7711"));
            (settings.osmo_pcap.listen, settings.feed_v1) = (list("0.0.0.0:1"), list("tcp://*:7712"));
        };
        assert_eq!(said(open), "");
        let api = said(|settings| (open(settings), settings.api = list("0.0.0.0:7713")).1);
        assert!(api.starts_with("collector.api: \"0.0.0.0:7713\" is reachable"), "{api}");
        assert!(api.contains("console.listen") && !api.contains("allow_plaintext"), "{api}");
        let v1 = said(|settings| settings.feed_v1 = list("tcp://*:7712"));
        assert!(v1.contains("allow_plaintext") && !v1.contains("curve"), "{v1}");
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let said = said(|settings| {
            (settings.api, settings.user, settings.feed) = (list("x"), "no such".to_owned(), list("y"))
        });
        assert_eq!(said.lines().count(), 3, "{said}");
    }
}
