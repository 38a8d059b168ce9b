//! `tapline keys init|probe|collector|revoke|list`: certificates of probes and collectors.

use std::path::PathBuf;

use ::keys::{Authority, KeysError, Made};

use super::subscriber;
use crate::failure::{Failure, print};
use crate::place;

/// Where the authority is.
#[derive(clap::Args)]
pub(super) struct Place {
    /// Directory of the authority [default: keys/ in the data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Data directory
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
}

impl Place {
    pub(super) fn directory(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| place::data_directory(self.data.as_deref()).join("keys"))
    }

    fn open(&self) -> Result<Authority, Failure> {
        Authority::open(&self.directory()).map_err(failure)
    }
}

fn failure(error: KeysError) -> Failure {
    match error {
        KeysError::Name(text) => Failure::usage(text),
        other => Failure::failed(other),
    }
}

/// Make the authority that vouches for probes and collectors
#[derive(clap::Args)]
pub(super) struct Init {
    #[command(flatten)]
    place: Place,
}

/// Make a certificate for the probe of a source
#[derive(clap::Args)]
pub(super) struct Probe {
    /// Name of the source
    #[arg(value_name = "SOURCE")]
    name: String,
    /// Days that it is good for
    #[arg(long, value_name = "DAYS", default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    place: Place,
}

/// Make a certificate for a collector
#[derive(clap::Args)]
pub(super) struct Collector {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    /// Host name or address at which probes reach it; may be given several times [default: the name]
    #[arg(long = "address", value_name = "HOST")]
    addresses: Vec<String>,
    /// Days that it is good for
    #[arg(long, value_name = "DAYS", default_value_t = 397, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    #[command(flatten)]
    place: Place,
}

/// Make the certificates of this name worthless, for collectors that are running too
#[derive(clap::Args)]
pub(super) struct Revoke {
    /// Name of the source or collector
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Place,
}

/// List the certificates that were made here
#[derive(clap::Args)]
pub(super) struct List {
    #[command(flatten)]
    place: Place,
}

impl Init {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let directory = self.place.directory();
        let authority = Authority::init(&directory).map_err(failure)?;
        eprintln!("tapline: keep ca-key.pem to yourself: whoever has it can make probes");
        print(&format!("{}\n", authority.ca().display()))
    }
}

/// What to write into the configuration of `section`.
fn configuration(section: &str, made: &Made, revoked: Option<PathBuf>) -> String {
    let line = |name: &str, path: &PathBuf| format!("{name} = {:?}\n", path.display().to_string());
    let mut text = format!("[{section}.tls]\n");
    text += &line("certificate", &made.certificate);
    text += &line("key", &made.key);
    text += &line("ca", &made.ca);
    if let Some(revoked) = revoked {
        text += &line("revoked", &revoked);
    }
    text
}

impl Probe {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let made = self.place.open()?.probe(&self.name, self.days).map_err(failure)?;
        eprintln!(
            "tapline: copy these three files to the probe's machine, over a connection that you trust, and name them there:"
        );
        print(&configuration("probe", &made, None))
    }
}

impl Collector {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let authority = self.place.open()?;
        let addresses = if self.addresses.is_empty() { vec![self.name.clone()] } else { self.addresses.clone() };
        let made = authority.collector(&self.name, &addresses, self.days).map_err(failure)?;
        super::give(&made.key);
        print(&configuration("collector", &made, Some(authority.revoked())))
    }
}

impl Revoke {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let directory = self.place.directory();
        let subscriber = subscriber::revoke(&directory, &self.name)?;
        let certificates = match Authority::open(&directory) {
            Ok(authority) => authority.revoke(&self.name).map_err(failure)?,
            Err(KeysError::NoAuthority(_)) if subscriber => 0,
            Err(error) => return Err(failure(error)),
        };
        if !subscriber && certificates == 0 {
            let text = format!("nothing that is good bears the name {}; see tapline keys list", self.name);
            return Err(Failure::failed(text));
        }
        if certificates > 0 {
            eprintln!(
                "tapline: {certificates} revoked; a collector whose `revoked` names this list honours it within a second"
            );
        }
        if subscriber {
            eprintln!("tapline: the subscriber is off the list; a connection that it has lasts until it breaks");
        }
        Ok(())
    }
}

impl List {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let day = |seconds: i64| {
            jiff::Timestamp::from_second(seconds).map(|time| time.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
        };
        let mut text = format!("{:<10} {:<32} {:<12} {:<12} revoked\n", "for", "name", "made", "expires");
        for one in self.place.open()?.issued().map_err(failure)? {
            let revoked = one.revoked.map(day).unwrap_or_default();
            let line = format!(
                "{:<10} {:<32} {:<12} {:<12} {revoked}",
                one.kind.as_str(),
                one.name,
                day(one.made),
                day(one.expires)
            );
            text += line.trim_end();
            text.push('\n');
        }
        print(&text)
    }
}
