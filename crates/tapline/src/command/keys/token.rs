//! `tapline keys token`: lets visitors of the page in from other machines.

use std::path::PathBuf;

use console::tokens;

use crate::failure::{Failure, print};
use crate::place;

/// Make a token for the console's page and API; it is shown once
#[derive(clap::Args)]
pub(super) struct Token {
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

impl Token {
    pub(super) fn run(self) -> Result<(), Failure> {
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
