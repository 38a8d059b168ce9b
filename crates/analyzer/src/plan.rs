//! Settings that were found good, and what was made of them without opening a file, a socket or another machine. Looking for mistakes ends here;
//! starting goes on from here.

use std::sync::Arc;

use listen::Address;
use output::Prepared;
use privilege::User;
use settings::Faults;

use crate::collector::Endpoints;
use crate::decoder::Factory;
use crate::engine;
use crate::settings::Settings;

const STATUS: &str =
    "the status asks nobody for a password, so it stays on this machine: write 127.0.0.1:PORT or unix:PATH";
/// More workers than any machine has cores are a slip of the pen.
const WORKERS_MAX: usize = 1024;

/// What the analyzer is to do.
pub struct Plan {
    pub(crate) settings: Settings,
    pub(crate) user: User,
    pub(crate) decoders: Arc<dyn Factory>,
    pub(crate) endpoints: Endpoints,
    pub(crate) status: Option<Address>,
    pub(crate) outputs: Vec<Prepared>,
}

impl Plan {
    /// Judges the settings; reads the files with keys and passwords that they name.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn new(settings: Settings) -> Result<Self, Faults> {
        let (decoders, mut faults) = match engine::factory(&settings) {
            Ok(decoders) => (Some(decoders), Faults::default()),
            Err(faults) => (None, faults),
        };
        let user = faults.note("analyzer.user", privilege::user(Some(&settings.user)));
        let endpoints = Endpoints::new(&settings, &mut faults);
        let status = match settings.status.as_str() {
            "" => None,
            text => {
                let address = Address::parse("analyzer.status", text, &settings.data, Some(STATUS));
                faults.note("analyzer.status", address)
            }
        };
        if !settings.output.is_any_enabled() {
            let names = output::Settings::NAMES.join(", ");
            let problem =
                format!("none is enabled, so nobody would see the events: set enabled = true of one of {names}");
            faults.add("analyzer.output", problem);
        }
        let outputs = settings.output.prepare(&settings.fields()).unwrap_or_else(|wrong| {
            for error in wrong {
                faults.add(format!("analyzer.output.{}", error.output), error.message);
            }
            Vec::new()
        });
        if settings.workers > WORKERS_MAX {
            let problem = format!("{} are too many: write 1 to {WORKERS_MAX}, or 0 for one per core", settings.workers);
            faults.add("analyzer.workers", problem);
        }
        match (user, decoders) {
            (Some(user), Some(decoders)) if faults.is_empty() => {
                Ok(Self { settings, user, decoders, endpoints, status, outputs })
            }
            _ => Err(faults),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(change: impl FnOnce(&mut Settings)) -> String {
        let mut settings = Settings::default();
        change(&mut settings);
        Plan::new(settings).map_or_else(|faults| faults.to_string(), |_| String::new())
    }

    #[test]
    fn what_cannot_be_is_named_with_its_key() {
        assert_eq!(said(|_| {}), "");
        for (key, change) in [
            ("analyzer.user: there is no user \"no such\"", (|s| s.user = "no such".to_owned()) as fn(&mut Settings)),
            ("analyzer.status: \"0.0.0.0:1\" is reachable", |s| s.status = "0.0.0.0:1".to_owned()),
            ("analyzer.status: \"unix:\" is no address", |s| s.status = "unix:".to_owned()),
            ("analyzer.collector: \"x\" is no collector", |s| s.collector = "x".to_owned()),
            ("analyzer.feed: \"tcp://x\" is no endpoint", |s| s.feed = vec!["tcp://x".to_owned()]),
            ("analyzer.sources: \"a b\"", |s| s.sources = vec!["a b".to_owned()]),
            ("analyzer.curve.server: is not set", |s| s.curve.keys = "/x".into()),
            ("analyzer.curve.keys: is not set", |s| s.curve.server = "x".repeat(40)),
            ("analyzer.internal_networks: \"x\"", |s| s.internal_networks = vec!["x".to_owned()]),
            ("analyzer.output: none is enabled", |s| s.output.ndjson.enabled = false),
            ("analyzer.output.redis: hosts is empty", |s| {
                s.output.redis.enabled = true;
                s.output.redis.hosts.clear();
            }),
            ("analyzer.workers: 5000 are too many", |s| s.workers = 5000),
        ] {
            let said = said(change);
            assert!(said.starts_with(key) && said.lines().count() == 1, "{key}: {said}");
        }
    }

    #[test]
    fn nothing_is_made_or_bound_and_relative_paths_lie_below_the_data() {
        let data = tempfile::tempdir().unwrap();
        let place = data.path().join("data");
        let plan = Plan::new(Settings { data: place.clone(), ..Settings::default() })
            .unwrap_or_else(|faults| panic!("{faults}"));
        assert!(!place.exists());
        let status = plan.status.as_ref().and_then(|address| address.path());
        assert_eq!(status, Some(place.join("run/analyzer.sock").as_path()));
    }
}
