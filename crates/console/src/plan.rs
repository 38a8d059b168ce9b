//! Settings that were found good, and what was made of them without binding a socket or asking another program. Looking for mistakes ends here;
//! starting goes on from here.

use api::{Client, CollectorUrl};
use listen::Address;
use privilege::User;
use settings::Faults;

use crate::settings::Settings;

/// What the console is to do.
#[derive(Debug)]
pub struct Plan {
    pub(crate) settings: Settings,
    pub(crate) user: User,
    pub(crate) collector: Client,
    pub(crate) analyzer: Client,
    pub(crate) listen: Vec<Address>,
}

impl Plan {
    /// Judges the settings.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub fn new(settings: Settings) -> Result<Self, Faults> {
        let mut faults = Faults::default();
        let user = faults.note("console.user", privilege::user(Some(&settings.user)));
        let collector = faults.note("console.collector", settings.collector_url().parse().map(Client::new));
        let analyzer = settings.analyzer_url().parse::<CollectorUrl>();
        let wrong = |_| format!("{:?} is no analyzer: write unix:PATH or http://HOST:PORT", settings.analyzer_url());
        let analyzer = faults.note("console.analyzer", analyzer.map(Client::new).map_err(wrong));
        if settings.listen.is_empty() {
            faults.add(
                "console.listen",
                "is empty, so nobody could see anything: write for example [\"127.0.0.1:7714\"]",
            );
        }
        // Other machines may: who comes from there needs a token.
        let parse = |text: &String| Address::parse("console.listen", text, &settings.data, None);
        let listen = settings.listen.iter().filter_map(|text| faults.note("console.listen", parse(text))).collect();
        for name in settings.hosts.iter().filter(|name| !is_host(name)) {
            let problem = format!(
                "{name:?} is no name of a machine: write it as in \"tapline.example\", without scheme and port"
            );
            faults.add("console.hosts", problem);
        }
        match (user, collector, analyzer) {
            (Some(user), Some(collector), Some(analyzer)) if faults.is_empty() => {
                Ok(Self { settings, user, collector, analyzer, listen })
            }
            _ => Err(faults),
        }
    }
}

/// Whether a `Host` header can name it, which comes without the port and the brackets here.
fn is_host(name: &str) -> bool {
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    name.parse::<std::net::IpAddr>().is_ok() || (!name.is_empty() && name.bytes().all(is_name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_is_named_with_its_key() {
        let said = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            Plan::new(settings).map_or_else(|faults| faults.to_string(), |_| String::new())
        };
        assert_eq!(said(|_| {}), "");
        assert_eq!(said(|s| s.listen = vec!["0.0.0.0:7714".to_owned()]), "");
        assert_eq!(said(|s| s.hosts = ["tapline.example", "::1", "10.0.0.1"].map(str::to_owned).into()), "");
        for (key, change) in [
            ("console.user: there is no user \"no such\"", (|s| s.user = "no such".to_owned()) as fn(&mut Settings)),
            ("console.listen: is empty", |s| s.listen.clear()),
            ("console.listen: \"x\" is no address", |s| s.listen = vec!["x".to_owned()]),
            ("console.collector: \"x\" is no collector", |s| s.collector = "x".to_owned()),
            ("console.analyzer: \"x\" is no analyzer", |s| s.analyzer = "x".to_owned()),
            ("console.hosts: \"http://x\" is no name", |s| s.hosts = vec!["http://x".to_owned()]),
            ("console.hosts: \"x:80\" is no name", |s| s.hosts = vec!["x:80".to_owned()]),
        ] {
            let said = said(change);
            assert!(said.starts_with(key) && said.lines().count() == 1, "{key}: {said}");
        }
    }
}
