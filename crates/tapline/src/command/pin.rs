//! `tapline pin`: keeps ranges of time from retention.

use api::{Method, escape, moment};
use archive::Pins;
use packet::Timestamp;

use crate::failure::{Failure, print};
use crate::place::Connect;

/// Keep a range of time in the archive, whatever retention says
#[derive(clap::Args)]
pub struct Pin {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Keep a range of time
    Add(Add),
    /// List what is kept
    List(List),
    /// Let retention have it again
    Remove(Remove),
}

#[derive(clap::Args)]
struct Add {
    /// Only of this source [default: all]
    #[arg(long, value_name = "SOURCE")]
    source: Option<String>,
    /// Packets from this time on: RFC 3339, a Unix time, or -15m, -2h, -1d
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    since: String,
    /// Packets before this time
    #[arg(long, value_name = "T", allow_hyphen_values = true, default_value = "now")]
    until: String,
    /// Why, for whoever finds it
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connect: Connect,
}

#[derive(clap::Args)]
struct Remove {
    /// Its number
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    connect: Connect,
}

impl Pin {
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Add(add) => add.run(),
            What::List(list) => list.run(),
            What::Remove(remove) => remove.run(),
        }
    }
}

fn send(connect: &Connect, method: Method, path: &str) -> Result<Vec<u8>, Failure> {
    let client = connect.client()?;
    Ok(super::runtime()?.block_on(client.send(method, path))?)
}

impl Add {
    fn run(&self) -> Result<(), Failure> {
        let time = |text: &str| moment::parse_now(text).map(Timestamp::nanos).map_err(Failure::usage);
        let path = format!(
            "/api/v1/pins?source={}&since={}&until={}&note={}",
            escape(self.source.as_deref().unwrap_or("*")),
            time(&self.since)?,
            time(&self.until)?,
            escape(&self.note)
        );
        let answer: serde_json::Value =
            serde_json::from_slice(&send(&self.connect, Method::POST, &path)?).map_err(Failure::failed)?;
        eprintln!("tapline: kept; segments are kept whole, so packets around it stay too");
        print(&format!("{}\n", answer["id"]))
    }
}

impl List {
    fn run(&self) -> Result<(), Failure> {
        let client = self.connect.client()?;
        let pins: Pins = super::runtime()?.block_on(client.json("/api/v1/pins"))?;
        if self.json {
            let mut text = serde_json::to_string_pretty(&pins).map_err(Failure::failed)?;
            text.push('\n');
            return print(&text);
        }
        let mut text = format!("{:>4}  {:<20} {:<30} {:<30} NOTE\n", "ID", "SOURCE", "SINCE", "UNTIL");
        for pin in &pins.pins {
            let time = |nanos| Timestamp::from_nanos(nanos).to_string();
            let (since, until) = (time(pin.since_nanos), time(pin.until_nanos));
            let line = format!("{:>4}  {:<20} {since:<30} {until:<30} {}", pin.id, pin.source, pin.note);
            text.push_str(line.trim_end());
            text.push('\n');
        }
        print(&text)
    }
}

impl Remove {
    fn run(&self) -> Result<(), Failure> {
        send(&self.connect, Method::DELETE, &format!("/api/v1/pins/{}", self.id)).map(|_| ())
    }
}
