//! Live packets for a visitor of the API: a pcapng stream of what was just published, filtered.
//! A visitor that reads too slowly misses batches, which are counted; nobody waits for one.

use crate::check::Checked;
use crate::pipeline::Job;
use crate::shared::{Shared, add};
use archive::{Dump, DumpFormat, Found, Matcher, Origin, Query};
use axum::body::Bytes;
use packet::batch::Item;
use packet::{BatchName, Entry, Epoch, InterfaceSet, LinkType, SourceName};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{broadcast, mpsc};

/// Batches that may wait for the slowest visitor.
pub(crate) const QUEUE: usize = 16;

/// A batch that was just published.
#[derive(Debug, Clone)]
pub(crate) struct LiveBatch {
    name: BatchName,
    first_packet: u64,
    set: Arc<InterfaceSet>,
    raw: Arc<Vec<u8>>,
}

/// Shows a batch to the visitors there are.
pub(crate) fn show(visitors: &broadcast::Sender<LiveBatch>, job: &Job) {
    if let Checked::Batch { header, .. } = &job.checked
        && visitors.receiver_count() > 0
    {
        let (name, set) = (header.name.clone(), job.set.clone());
        let _ = visitors.send(LiveBatch { name, first_packet: header.first_packet, set, raw: job.raw.clone() });
    }
}

/// What one visitor sees.
struct View {
    query: Query,
    dump: Dump,
    origins: HashMap<(SourceName, Epoch, u32), Origin>,
    matchers: HashMap<LinkType, Matcher>,
}

impl View {
    fn batch(&mut self, batch: &LiveBatch, out: &mut Vec<u8>) {
        let BatchName { source, epoch, seq } = &batch.name;
        if !self.query.sources.is_empty() && !self.query.sources.contains(source) {
            return;
        }
        let Ok(Entry::Batch(parsed)) = Entry::parse(&batch.raw) else { return };
        let link_type = batch.set.link_type();
        let matcher = self.matchers.entry(link_type).or_insert_with(|| self.query.filter.matcher(link_type));
        let id = self.origins.len();
        let origin = self.origins.entry((source.clone(), *epoch, batch.set.number)).or_insert_with(|| Origin {
            id,
            source: source.clone(),
            epoch: *epoch,
            set: (*batch.set).clone(),
        });
        let packets = parsed.items().filter_map(|item| match item {
            Ok(Item::Packet(packet)) => Some(packet),
            _ => None,
        });
        for (position, packet) in (0u64..).zip(packets) {
            let number = batch.first_packet.saturating_add(position);
            if matcher.accepts(&packet) {
                // A pcapng stream holds packets of any kind.
                let _ = self.dump.packet(&Found { packet, number, seq: *seq, origin }, out);
            }
        }
    }
}

/// Writes what the visitor asked for until it goes, or the collector does.
pub(crate) async fn stream(
    mut batches: broadcast::Receiver<LiveBatch>,
    query: Query,
    sender: mpsc::Sender<Result<Bytes, std::io::Error>>,
    shared: Arc<Shared>,
) {
    let dump = Dump::new(DumpFormat::Pcapng);
    let mut view = View { query, dump, origins: HashMap::new(), matchers: HashMap::new() };
    let mut out = Vec::new();
    // The section header at once: readers wait for it.
    view.dump.finish(&[], &mut out);
    loop {
        if !out.is_empty() && sender.send(Ok(std::mem::take(&mut out).into())).await.is_err() {
            return;
        }
        tokio::select! {
            received = batches.recv() => match received {
                Ok(batch) => view.batch(&batch, &mut out),
                Err(broadcast::error::RecvError::Lagged(missed)) => add(&shared.counters.live_missed, missed),
                Err(broadcast::error::RecvError::Closed) => return,
            },
            () = sender.closed() => return,
        }
    }
}
