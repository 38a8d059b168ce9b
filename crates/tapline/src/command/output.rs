//! `tapline output`: what an operator does about events that a service refused.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use ::output::remote::{Letter, retry};

use crate::failure::{Failure, print};

/// Look after what outputs left behind
#[derive(clap::Args)]
pub struct Output {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Send events again that a service refused
    Retry(Retry),
}

#[derive(clap::Args)]
struct Retry {
    /// Files of dead letters, as they lie below DATA/output/NAME/dead-letters
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

impl Output {
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Retry(retry) => retry.run(),
        }
    }
}

impl Retry {
    fn run(&self) -> Result<(), Failure> {
        crate::logging::start("warn");
        let settings: analyzer::Settings = self.settings.load("analyzer")?;
        let mut incomplete = false;
        for path in &self.files {
            let failed = |error: &dyn std::fmt::Display| Failure::failed(format!("{}: {error}", path.display()));
            let lines = BufReader::new(File::open(path).map_err(|error| failed(&error))?).lines();
            let mut letters = lines.map_while(Result::ok).filter_map(|line| serde_json::from_str::<Letter>(&line).ok());
            let Some(first) = letters.next() else {
                return Err(failed(&"holds no dead letter"));
            };
            let service = settings.output.service(&first.output, &settings.fields()).map_err(Failure::usage)?;
            let Some(mut service) = service else {
                return Err(failed(&format!("is of an output `{}` that this version does not have", first.output)));
            };
            service.look_up().map_err(Failure::failed)?;
            let (retried, problem) = retry(&mut *service, path).map_err(|error| failed(&error))?;
            print(&format!(
                "{}: {} taken, {} were there already, {} left in the file\n",
                path.display(),
                retried.kept,
                retried.known,
                retried.left + retried.strange
            ))?;
            if let Some(problem) = problem {
                return Err(failed(&problem));
            }
            incomplete |= retried.left + retried.strange > 0;
        }
        if incomplete {
            Err(Failure::failed("some events were refused again: the reasons stand in the file"))
        } else {
            Ok(())
        }
    }
}
