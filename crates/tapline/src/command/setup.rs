//! `tapline setup`: installs on a server what the analyzer's output needs there.

use ::output::elasticsearch::{Elasticsearch, Flavour};
use ::output::remote::Service;

use crate::failure::{Failure, print};

/// Install index templates in Elasticsearch or OpenSearch
#[derive(clap::Args)]
pub struct Setup {
    /// Which of the two; the server must agree
    #[arg(value_enum)]
    server: Server,
    /// Print what would be installed, and where, without asking a server
    #[arg(long)]
    print: bool,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum Server {
    Elasticsearch,
    #[value(name = "opensearch")]
    OpenSearch,
}

impl Setup {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("warn");
        let settings: analyzer::Settings = self.settings.load("analyzer")?;
        let fields = settings.fields();
        let settings = settings.output.elasticsearch;
        let wanted = match self.server {
            Server::Elasticsearch => Flavour::Elasticsearch,
            Server::OpenSearch => Flavour::OpenSearch,
        };
        if self.print {
            for (place, body) in Elasticsearch::templates(&settings, &fields, wanted) {
                let body = serde_json::to_string_pretty(&body).map_err(Failure::failed)?;
                print(&format!("PUT {place}\n{body}\n"))?;
            }
            return Ok(());
        }
        let mut service = Elasticsearch::new(&settings, &fields).map_err(Failure::usage)?;
        service.look_up().map_err(Failure::failed)?;
        let server = service.server().map_err(Failure::failed)?;
        if server.flavour != wanted {
            let other = match server.flavour {
                Flavour::Elasticsearch => "elasticsearch",
                Flavour::OpenSearch => "opensearch",
            };
            return Err(Failure::usage(format!("this is {server}: run `tapline setup {other}`")));
        }
        print(&format!("{server}\n"))?;
        let mut done = Vec::new();
        let outcome = service.set_up(&mut |text| done.push(text));
        for text in done {
            print(&format!("{text}\n"))?;
        }
        outcome.map_err(Failure::failed)?;
        if settings.data_stream {
            print("With data streams an event that is sent again after a rollover is there twice.\n")?;
        }
        Ok(())
    }
}
