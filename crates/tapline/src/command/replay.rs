//! `tapline replay`: decodes a past range again, or publishes it on a feed endpoint.
//! Writes to no output of an analyzer: what it finds was written when it happened.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use analyzer::decoder::Stream;
use analyzer::files::Ordered;
use analyzer::pool::{Pool, Sink};
use analyzer::worker::Parts;
use api::EntryMeta;
use archive::{Archive, BatchEntry, SourceState, StoredEntry};
use event::{Event, Observer};
use feed::{Endpoint, Publisher, PublisherOptions};
use packet::{BatchName, Entry, Epoch, Interface, SourceName};

use super::selection::Selection;
use crate::failure::Failure;
use crate::place::Local;

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
    /// Data directory whose archive is read [default: collector.data of the configuration, then /var/lib/tapline, for others than root
    /// ~/.local/share/tapline]
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

impl Replay {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("warn");
        let root = match &self.archive {
            Some(root) => root.clone(),
            None => Local::new(self.data.as_deref(), &self.settings)?.archive(),
        };
        if !root.is_dir() {
            return Err(Failure::failed(format!(
                "{} is no archive; name a data directory with --data DIR, or an archive with --archive DIR",
                root.display()
            )));
        }
        match &self.to {
            Some(endpoint) => self.publish(&root, endpoint),
            None => self.decode(&root),
        }
    }

    fn decode(&self, root: &std::path::Path) -> Result<(), Failure> {
        let (settings, decoders) = self.settings.decoding()?;
        let parts = Parts { decoders, renderer: analyzer::json_renderer(&settings) };
        let mut pool = Pool::new(settings.workers.max(1), &parts).map_err(Failure::failed)?;
        let (out, at_once) = crate::stdout::open()?;
        let ordered = Ordered::new(out, at_once, (parts.renderer)(), settings.has_calls());
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
                    Arc::new(Stream::new(number, observer))
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

/// How long a subscriber is waited for.
const SUBSCRIBER_PATIENCE: Duration = Duration::from_secs(30);
/// Published at most so fast that a subscriber who keeps up with it loses nothing: bytes, then a pause.
const PACE_BYTES: usize = 4 << 20;
const PACE_PAUSE: Duration = Duration::from_millis(25);
/// What a subscriber may have waiting.
const QUEUE_BYTES: usize = 256 << 20;

impl Replay {
    /// Publishes the stored batches, as they are, that touch the range of time.
    fn publish(&self, root: &std::path::Path, endpoint: &str) -> Result<(), Failure> {
        let query = self.selection.query()?;
        if !query.filter.is_any() {
            return Err(Failure::usage("--to publishes whole batches: leave out the filter expression, or use grab"));
        }
        const BEYOND: &str = "bind to 127.0.0.1 or ipc://PATH, and let others come through `ssh -L`";
        let options = PublisherOptions {
            endpoints: vec![Endpoint::to_publish(endpoint, Some(BEYOND)).map_err(Failure::usage)?],
            v1_endpoints: Vec::new(),
            v1_format: feed::v1::Format::Pcap,
            queue_bytes: QUEUE_BYTES,
            curve: None,
        };
        let mut publisher = Publisher::bind(&options).map_err(Failure::failed)?;
        eprintln!("tapline: waiting for a subscriber at {endpoint}");
        let since = Instant::now();
        while publisher.subscriptions() == 0 {
            if since.elapsed() > SUBSCRIBER_PATIENCE {
                return Err(Failure::failed(format!("nobody subscribed within {} s", SUBSCRIBER_PATIENCE.as_secs())));
            }
            std::thread::sleep(PACE_PAUSE);
            publisher.tick();
        }
        let archive = Archive::new(root);
        let sources =
            if query.sources.is_empty() { archive.sources().map_err(Failure::failed)? } else { query.sources };
        let touches = |entry: &BatchEntry| {
            query.since.is_none_or(|since| entry.time_max >= since)
                && query.until.is_none_or(|until| entry.time_min < until)
        };
        let (mut batches, mut paced) = (0u64, 0);
        for source in &sources {
            let state = SourceState::load(root, source).unwrap_or_default();
            let mut epochs: Vec<_> = state.epochs.iter().collect();
            epochs.sort_by_key(|(_, epoch)| epoch.first_nanos);
            for (epoch, _) in epochs {
                let Ok(epoch) = epoch.parse::<Epoch>() else { continue };
                for stored in archive.entries(source, epoch, 0, u64::MAX).map_err(Failure::failed)? {
                    let stored = stored.map_err(Failure::failed)?;
                    if !touches(&stored.entry) {
                        continue;
                    }
                    paced += stored.frame.len();
                    publish_entry(&mut publisher, source, epoch, &stored).map_err(Failure::failed)?;
                    batches += 1;
                    if paced >= PACE_BYTES {
                        paced = 0;
                        std::thread::sleep(PACE_PAUSE);
                    }
                }
            }
        }
        // What is still in ZeroMQ's queues goes out when the socket closes, which waits for it.
        std::thread::sleep(Duration::from_secs(1));
        eprintln!("tapline: {batches} batches published");
        Ok(())
    }
}

fn publish_entry(
    publisher: &mut Publisher,
    source: &SourceName,
    epoch: Epoch,
    stored: &StoredEntry,
) -> Result<(), String> {
    let entry = &stored.entry;
    let raw;
    let gap = if entry.is_gap() {
        raw = if stored.compressed {
            zstd::bulk::decompress(&stored.frame, entry.raw_length as usize).map_err(|error| error.to_string())?
        } else {
            stored.frame.clone()
        };
        match Entry::parse(&raw).map_err(|error| error.to_string())? {
            Entry::Gap(gap) => Some(gap),
            Entry::Batch(_) => None,
        }
    } else {
        None
    };
    let name = BatchName { source: source.clone(), epoch, seq: entry.seq };
    let times = (entry.time_min.nanos(), entry.time_max.nanos());
    let raw_length = entry.raw_length as usize;
    let mut meta = EntryMeta::new(
        &name,
        entry.last_seq,
        entry.first_packet,
        entry.packets,
        times,
        &stored.set,
        raw_length,
        gap.as_ref(),
    );
    if !stored.compressed {
        meta.encoding = "none".to_owned();
    }
    publisher.entry(&meta, &stored.frame);
    Ok(())
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
