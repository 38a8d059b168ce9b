//! `tapline keys subscriber`: keys with which the feed is encrypted, and the list of those that are let in.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use feed::curve::KeyPair;

use super::authority::Place;
use crate::failure::{Failure, print};

/// Make keys for a subscriber of the feed, and put it on the list
#[derive(clap::Args)]
pub(super) struct Subscriber {
    /// Its name
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    place: Place,
}

fn list(directory: &Path) -> PathBuf {
    directory.join("subscribers")
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("{}: {error}", path.display()));
    let temporary = path.with_extension("new");
    // What an interrupted run left.
    let _ = std::fs::remove_file(&temporary);
    let mut out =
        std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary).map_err(failed)?;
    out.write_all(text.as_bytes()).and_then(|()| out.sync_all()).map_err(failed)?;
    std::fs::rename(&temporary, path).map_err(failed)
}

/// The names on the list, with their lines.
fn entries(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter(|line| !line.starts_with("# ")).filter_map(|line| Some((line.split_once(' ')?.1.trim(), line)))
}

impl Subscriber {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.chars().all(is_plain) {
            return Err(Failure::usage(format!("`{}` is no name: letters, digits, - _ and ., at most 64", self.name)));
        }
        let directory = self.place.directory();
        std::fs::create_dir_all(&directory)
            .map_err(|error| Failure::failed(format!("{}: {error}", directory.display())))?;
        let feed = directory.join("feed.keys");
        let server = if feed.exists() {
            KeyPair::read(&feed).map_err(Failure::failed)?
        } else {
            let pair = KeyPair::new().map_err(Failure::failed)?;
            write(&feed, &pair.text(), 0o600)?;
            super::give(&feed);
            pair
        };
        let path = list(&directory);
        let mut text = std::fs::read_to_string(&path).unwrap_or_default();
        if entries(&text).any(|(name, _)| name == self.name) {
            return Err(Failure::usage(format!("there is a subscriber {}; revoke it first", self.name)));
        }
        let own = KeyPair::new().map_err(Failure::failed)?;
        let keys = directory.join(format!("subscriber-{}.keys", self.name));
        write(&keys, &own.text(), 0o600)?;
        super::give(&keys);
        text.push_str(&format!("{} {}\n", own.public_text(), self.name));
        write(&path, &text, 0o644)?;
        eprintln!("tapline: on the collector's machine, once:");
        print(&format!(
            "[collector.curve]\nkeys = {:?}\nallow = {:?}\n",
            feed.display().to_string(),
            path.display().to_string()
        ))?;
        eprintln!(
            "tapline: where the subscriber is, after {} was copied there over a connection that you trust:",
            keys.display()
        );
        print(&format!(
            "[analyzer.curve]\nserver = {:?}\nkeys = {:?}\n",
            server.public_text(),
            keys.display().to_string()
        ))
    }
}

/// Takes a subscriber from the list; says whether it was there.
pub(super) fn revoke(directory: &Path, name: &str) -> Result<bool, Failure> {
    let path = list(directory);
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    if !entries(&text).any(|(known, _)| known == name) {
        return Ok(false);
    }
    let gone: Vec<&str> = entries(&text).filter(|(known, _)| *known == name).map(|(_, line)| line).collect();
    let left: Vec<&str> = text.lines().filter(|line| !gone.contains(line)).collect();
    write(&path, &(left.join("\n") + "\n"), 0o644)?;
    Ok(true)
}
