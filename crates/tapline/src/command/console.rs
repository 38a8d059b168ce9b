//! `tapline console`: serves the page and its API.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use console::FieldFacts;
use event::Kind;

use crate::failure::Failure;

/// Serve the page and its API over stored events and the archive
#[derive(clap::Args)]
pub struct Console {
    /// Only look for problems in the configuration
    #[arg(long)]
    check_config: bool,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

impl Console {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("info");
        let plan = self.settings.load_checked("console", console::Plan::new)?;
        if self.check_config {
            return super::print_good();
        }
        // Flags, not a thread: privileges are given up while there is only one.
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::failed)?;
        }
        plan.run(fields(), &stop).map_err(Failure::failed)
    }
}

/// The event reference: every field, and whose it is.
fn fields() -> Vec<FieldFacts> {
    let mut types: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let tables = decode::protocols::ALL
        .iter()
        .map(|protocol| (protocol.name, protocol.fields))
        .chain([("flow", decode::flow::report::TABLE), ("call", analyzer::correlation::fields::TABLE)]);
    for (name, table) in tables {
        for field in table {
            types.entry(field.path).or_default().push(name);
        }
    }
    let facts = |field: &&'static event::Field| FieldFacts {
        name: field.path,
        kind: kind(field.kind),
        text: field.meaning,
        types: types.get(field.path).cloned().unwrap_or_default(),
    };
    analyzer::schema().fields().iter().map(facts).collect()
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Keyword => "keyword",
        Kind::Text => "text",
        Kind::Ip => "ip",
        Kind::Long => "long",
        Kind::Double => "double",
        Kind::Boolean => "boolean",
        Kind::Time => "date_nanos",
        Kind::Object | Kind::Objects => "object",
    }
}
