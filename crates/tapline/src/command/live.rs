//! `tapline live`: live packets as a pcapng stream, to pipe into Wireshark or tcpdump.

use std::fs::File;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

use super::selection::Selection;
use crate::failure::Failure;
use crate::place::Connect;

/// Stream live packets as pcapng, for example `tapline live 'port 53' -w - | wireshark -k -i -`
#[derive(clap::Args)]
pub struct Live {
    #[command(flatten)]
    selection: Selection,
    /// File to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

impl Live {
    pub fn run(self) -> Result<(), Failure> {
        let to_file = self.write.as_ref().filter(|path| path.as_os_str() != "-");
        if let Some(path) = to_file {
            let mut file =
                File::create(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
            super::remote::live(&self.connect, &self.selection, &mut file)?;
            return Ok(());
        }
        if self.write.is_none() && io::stdout().is_terminal() {
            return Err(Failure::usage(
                "packets are no text: pipe them (-w - | wireshark -k -i -) or write a file (-w FILE)",
            ));
        }
        super::remote::live(&self.connect, &self.selection, &mut io::stdout().lock())?;
        Ok(())
    }
}
