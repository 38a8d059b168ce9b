//! `tapline replay`: decodes a past range again, or publishes it on a feed endpoint.
//! Writes to no output of an analyzer: what it finds was written when it happened.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use analyzer::correlation::Stage;
use analyzer::decoder::Stream;
use analyzer::files::Ordered;
use analyzer::pool::{Pool, Sink};
use analyzer::worker::{Parts, Render};
use archive::Archive;
use event::{Event, Observer};
use packet::Interface;

use super::selection::Selection;
use crate::failure::Failure;
use crate::place::{self, Connect};

/// Decode a past range again, or publish it on a feed endpoint
#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true))]
pub struct Replay {
    #[command(flatten)]
    selection: Selection,
    /// Decode it and print the events as JSON lines
    #[arg(long, group = "what")]
    analyze: bool,
    /// Publish it as feed v2 on this endpoint, such as ipc:///tmp/replay or tcp://127.0.0.1:7799
    #[arg(long, value_name = "ENDPOINT", group = "what")]
    to: Option<String>,
    /// Read the files of this archive [default: the one in the data directory]
    #[arg(long, value_name = "DIR")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

impl Replay {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("warn");
        let root = self.archive.clone().unwrap_or_else(|| place::data_directory(self.connect.data.as_deref()).join("archive"));
        if !root.is_dir() {
            return Err(Failure::failed(format!("{} is no archive; name one with --archive DIR", root.display())));
        }
        match &self.to {
            Some(endpoint) => self.publish(&root, endpoint),
            None => self.decode(&root),
        }
    }

    fn decode(&self, root: &std::path::Path) -> Result<(), Failure> {
        let settings: analyzer::Settings = self.settings.load("analyzer")?;
        let parts = Parts {
            decoders: analyzer::engine::factory(&settings).map_err(Failure::usage)?,
            renderer: analyzer::json_renderer(&settings),
        };
        let mut pool = Pool::new(settings.workers.max(1), &parts).map_err(Failure::failed)?;
        let ordered = Ordered::new(io::stdout(), (parts.renderer)(), settings.has_calls());
        let mut sink = Whole { ordered, cut: 0, ending: false, bounded: self.selection.is_bounded() };
        let mut result = Archive::new(root).query(self.selection.query()?).map_err(Failure::failed)?;
        let mut streams: HashMap<usize, (Arc<Stream>, Arc<[Interface]>)> = HashMap::new();
        let mut by_epoch: HashMap<(String, String), Arc<Stream>> = HashMap::new();
        while let Some(found) = result.next().map_err(Failure::failed)? {
            let (stream, interfaces) = streams.entry(found.origin.id).or_insert_with(|| {
                let name = (found.origin.source.as_str().to_owned(), found.origin.epoch.to_string());
                let number = by_epoch.len() as u32;
                let stream = by_epoch.entry(name.clone()).or_insert_with(|| {
                    let observer = Arc::new(Observer { name: name.0, epoch: name.1, is_file: false });
                    Arc::new(Stream { number, observer })
                });
                (Arc::clone(stream), Arc::from(found.origin.set.interfaces.as_slice()))
            });
            pool.packet(stream, interfaces, found.number, &found.packet, &mut sink).map_err(Failure::output)?;
        }
        pool.flush(&mut sink).map_err(Failure::output)?;
        sink.ending = true;
        let mut ends: Vec<&Arc<Stream>> = by_epoch.values().collect();
        ends.sort_by_key(|stream| stream.number);
        for stream in ends {
            pool.finish(stream, &mut sink).map_err(Failure::output)?;
        }
        pool.flush(&mut sink).map_err(Failure::output)?;
        sink.ordered.end_of_file().map_err(Failure::output)?;
        if sink.cut > 0 {
            eprintln!("tapline: {} events are cut by the edge of the range and not shown", sink.cut);
        }
        Ok(())
    }
}

/// Leaves out the events that the edge of the range has cut.
struct Whole<W: io::Write> {
    ordered: Ordered<W>,
    cut: u64,
    ending: bool,
    bounded: bool,
}

impl<W: io::Write> Sink for Whole<W> {
    fn event(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]) -> io::Result<()> {
        // What is open where the range ends would have gone on.
        if event.partial || (self.ending && self.bounded) {
            self.cut += 1;
            return Ok(());
        }
        self.ordered.event(event, by_packet, text)
    }
}
