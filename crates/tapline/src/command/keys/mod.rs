//! `tapline keys`: what lets others in.

mod authority;
mod subscriber;
mod token;

use std::path::Path;

use crate::failure::Failure;

/// Make and manage what lets others in
#[derive(clap::Args)]
pub struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Init(authority::Init),
    Probe(authority::Probe),
    Collector(authority::Collector),
    Subscriber(subscriber::Subscriber),
    Revoke(authority::Revoke),
    List(authority::List),
    Token(token::Token),
}

impl Keys {
    pub fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Init(init) => init.run(),
            What::Probe(probe) => probe.run(),
            What::Collector(collector) => collector.run(),
            What::Subscriber(subscriber) => subscriber.run(),
            What::Revoke(revoke) => revoke.run(),
            What::List(list) => list.run(),
            What::Token(token) => token.run(),
        }
    }
}

/// Gives a secret to the user as whom collector and analyzer run, where root makes it.
fn give(path: &Path) {
    if let (true, Ok(user)) = (privilege::is_root(), privilege::user(None))
        && let Err(error) = std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
    {
        eprintln!("tapline: {}: {error}; only root can read it", path.display());
    }
}
