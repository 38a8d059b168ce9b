//! `tapline keys`: what lets others in.

use std::path::PathBuf;

use ::keys::{Authority, KeysError, Made};
use console::tokens;

use crate::failure::{Failure, print};
use crate::place;

/// Make and manage what lets others in
#[derive(clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Init(Init),
    Probe(Probe),
    Collector(Collector),
    Revoke(Revoke),
    List(List),
    Token(Token),
}

/// Where the authority is.
#[derive(clap::Args)]
struct Place {
    /// Directory of the authority [default: keys/ in the data directory]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Data directory
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
}

impl Place {
    fn directory(&self) -> PathBuf {
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
struct Init {
    #[command(flatten)]
    place: Place,
}

/// Make a certificate for the probe of a source
#[derive(clap::Args)]
struct Probe {
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
struct Collector {
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
struct Revoke {
    /// Name of the source or collector
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Place,
}

/// List the certificates that were made here
#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    place: Place,
}

impl Init {
    fn run(&self) -> Result<(), Failure> {
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
    fn run(&self) -> Result<(), Failure> {
        let made = self.place.open()?.probe(&self.name, self.days).map_err(failure)?;
        eprintln!(
            "tapline: copy these three files to the probe's machine, over a connection that you trust, and name them there:"
        );
        print(&configuration("probe", &made, None))
    }
}

impl Collector {
    fn run(&self) -> Result<(), Failure> {
        let authority = self.place.open()?;
        let addresses = if self.addresses.is_empty() { vec![self.name.clone()] } else { self.addresses.clone() };
        let made = authority.collector(&self.name, &addresses, self.days).map_err(failure)?;
        print(&configuration("collector", &made, Some(authority.revoked())))
    }
}

impl Revoke {
    fn run(&self) -> Result<(), Failure> {
        match self.place.open()?.revoke(&self.name).map_err(failure)? {
            0 => {
                Err(Failure::failed(format!("no good certificate bears the name {}; see tapline keys list", self.name)))
            }
            count => {
                eprintln!(
                    "tapline: {count} revoked; a collector whose `revoked` names this list honours it within a second"
                );
                Ok(())
            }
        }
    }
}

impl List {
    fn run(&self) -> Result<(), Failure> {
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

/// Make a token for the console's page and API; it is shown once
#[derive(clap::Args)]
struct Token {
    /// Whom or what it is for
    #[arg(value_name = "NAME", required_unless_present = "list")]
    name: Option<String>,
    /// Make the token of this name worthless instead
    #[arg(long, requires = "name")]
    revoke: bool,
    /// List the tokens there are instead
    #[arg(long, conflicts_with_all = ["name", "revoke"])]
    list: bool,
    /// Data directory of the console
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
}

impl Keys {
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Init(init) => init.run(),
            What::Probe(probe) => probe.run(),
            What::Collector(collector) => collector.run(),
            What::Revoke(revoke) => revoke.run(),
            What::List(list) => list.run(),
            What::Token(token) => token.run(),
        }
    }
}

impl Token {
    fn run(self) -> Result<(), Failure> {
        let data = place::data_directory(self.data.as_deref());
        if self.list {
            let tokens = tokens::list(&data).map_err(Failure::failed)?;
            let lines: Vec<String> =
                tokens.iter().map(|token| format!("{:<32} {}\n", token.name, token.made)).collect();
            return print(&lines.concat());
        }
        let name = self.name.unwrap_or_default();
        if self.revoke {
            if !tokens::revoke(&data, &name).map_err(Failure::failed)? {
                return Err(Failure::failed(format!("there is no token {name}; see tapline keys token --list")));
            }
            eprintln!("tapline: the token {name} opens nothing any more");
            return Ok(());
        }
        let token = tokens::make(&data, &name).map_err(Failure::failed)?;
        // The console, which reads it, runs as the user to whom the directory belongs.
        let user = privilege::user(None).map_err(Failure::failed)?;
        if let Some(folder) = tokens::file(&data).parent() {
            privilege::give_directory(folder, &user).map_err(Failure::failed)?;
        }
        eprintln!("tapline: this is the only time that the token is shown");
        print(&format!("{token}\n"))
    }
}
