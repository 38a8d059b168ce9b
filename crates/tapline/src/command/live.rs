//! `tapline live`: live packets as a pcapng stream, to pipe into Wireshark or tcpdump.
//! Asks the API for what has become durable since; half a second behind the wire, and nothing is left out.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use analyzer::collector::Collector;
use analyzer::log::{Log, LogEntry, LogError};
use archive::{Dump, DumpFormat, Found, Origin, Query};
use packet::batch::Item;
use packet::{Entry, Epoch, InterfaceSet, LinkType, SourceName};

use super::selection::Selection;
use crate::failure::Failure;
use crate::place::Connect;

/// How often the collector is asked.
const EVERY: Duration = Duration::from_millis(200);
/// Batches asked for at once.
const BATCHES: u64 = 64;

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
        crate::logging::start("warn");
        let query = self.selection.query()?;
        if query.since.is_some() || query.until.is_some() {
            return Err(Failure::usage("live packets are those of now; for past ones use grab --since"));
        }
        let url = self.connect.client()?.url().clone();
        let mut log = Collector::asking(url, query.sources.clone()).map_err(Failure::failed)?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(Failure::failed)?;
        }
        let to_file = self.write.as_ref().filter(|path| path.as_os_str() != "-");
        if let Some(path) = to_file {
            let mut file =
                File::create(path).map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
            return stream(&mut log, &query, &mut file, &stop);
        }
        if self.write.is_none() && io::stdout().is_terminal() {
            return Err(Failure::usage(
                "packets are no text: pipe them (-w - | wireshark -k -i -) or write a file (-w FILE)",
            ));
        }
        stream(&mut log, &query, &mut io::stdout().lock(), &stop)
    }
}

fn stream(log: &mut dyn Log, query: &Query, out: &mut dyn Write, stop: &AtomicBool) -> Result<(), Failure> {
    let failed = |error: LogError| Failure::failed(error);
    // What is durable now is past; epochs that appear later are live from their beginning.
    let mut next: HashMap<(SourceName, Epoch), u64> = HashMap::new();
    for state in log.epochs().map_err(failed)? {
        next.insert((state.source, state.epoch), state.next_seq);
    }
    let mut packets = Packets { dump: Dump::new(DumpFormat::Pcapng), query, origins: Vec::new(), buffer: Vec::new() };
    let mut warned = false;
    // A reader such as Wireshark wants to see a file begin.
    packets.dump.finish(&[], &mut packets.buffer);
    while !stop.load(Ordering::Relaxed) {
        out.write_all(&packets.buffer).and_then(|()| out.flush()).map_err(Failure::output)?;
        packets.buffer.clear();
        if !warned && packets.dump.link_types().len() > 1 {
            super::grab::warn_of_link_types(packets.dump.link_types());
            warned = true;
        }
        let mut behind = false;
        for state in log.epochs().map_err(failed)? {
            let from = next.entry((state.source.clone(), state.epoch)).or_insert(0);
            if *from >= state.next_seq {
                continue;
            }
            let to = (state.next_seq - 1).min(from.saturating_add(BATCHES - 1));
            let mut take = |entry: LogEntry| {
                packets.entry(&entry);
                Ok(())
            };
            log.fetch(&state.source, state.epoch, *from..=to, &mut take).map_err(failed)?;
            *from = to + 1;
            behind |= *from < state.next_seq;
        }
        if !behind && packets.buffer.is_empty() {
            std::thread::sleep(EVERY);
        }
    }
    Ok(())
}

/// Filters packets and writes those that match.
struct Packets<'q> {
    dump: Dump,
    query: &'q Query,
    origins: Vec<(Origin, archive::Matcher)>,
    buffer: Vec<u8>,
}

impl Packets<'_> {
    fn origin(&mut self, entry: &LogEntry, set: u32) -> usize {
        let same =
            |origin: &Origin| origin.source == entry.source && origin.epoch == entry.epoch && origin.set.number == set;
        if let Some(id) = self.origins.iter().position(|(origin, _)| same(origin)) {
            return id;
        }
        let id = self.origins.len();
        let link_type = entry.interfaces.first().map_or(LinkType::ETHERNET, |interface| interface.link_type);
        let set = InterfaceSet { number: set, interfaces: entry.interfaces.to_vec() };
        let origin = Origin { id, source: entry.source.clone(), epoch: entry.epoch, set };
        self.origins.push((origin, self.query.filter.matcher(link_type)));
        id
    }

    fn entry(&mut self, entry: &LogEntry) {
        // What is damaged or lost has been said by the archive; here the rest goes on.
        let Ok(Entry::Batch(batch)) = Entry::parse(&entry.raw) else { return };
        let id = self.origin(entry, batch.header.interface_set);
        let mut number = batch.header.first_packet;
        for item in batch.items().map_while(Result::ok) {
            let Item::Packet(packet) = item else { continue };
            if let Some((origin, matcher)) = self.origins.get_mut(id)
                && matcher.accepts(&packet)
            {
                let found = Found { packet, number, seq: *entry.seqs.start(), origin };
                // pcapng takes every link type.
                let _ = self.dump.packet(&found, &mut self.buffer);
            }
            number += 1;
        }
    }
}
