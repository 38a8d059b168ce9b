//! Decodes capture files: everything before damage and, where possible, after it; damage is a warning and an anomaly.
//! Prints nothing itself; what comes out goes to the sink of the caller.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use event::{Event, Observer, Origin, Place, common};
use packet::capture::{CaptureError, CaptureReader};
use packet::{Interface, Packet, Timestamp};

use crate::blocks::Blocks;
use crate::capture_file::{self, CaptureFile};
use crate::correlation::Stage;
use crate::decoder::Stream;
use crate::order::{Sorted, Waiting};
use crate::pool::{Pool, Sink};
use crate::worker::Render;

/// How many packets pass between two reports of progress.
const PROGRESS_PACKETS: u64 = 1024;

/// What was read of a file.
#[derive(Debug, Default)]
pub struct Report {
    /// Packets decoded.
    pub packets: u64,
    /// Their captured bytes.
    pub bytes: u64,
    /// Times of the earliest and the latest packet.
    pub times: Option<(Timestamp, Timestamp)>,
    /// Damage, for the user; the file was read as far as possible.
    pub warnings: Vec<String>,
}

/// Why a file was not decoded, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] capture_file::OpenError),
    /// It is no capture file that this program reads.
    #[error(transparent)]
    Format(CaptureError),
    /// What came out could not be passed on.
    #[error("{0}")]
    Output(io::Error),
}

/// Decodes one file as the stream with this number and name, by default the file's; `progress` is told bytes read and
/// size now and then.
///
/// # Errors
/// When it cannot be opened, is no capture file, or the sink ends the work. Damage is no error.
pub fn decode(
    path: &Path,
    number: u32,
    name: Option<&str>,
    pool: &mut Pool,
    sink: &mut dyn FileSink,
    progress: &mut dyn FnMut(u64, Option<u64>),
) -> Result<Report, FileError> {
    let CaptureFile { input, mut observer, size, read } = capture_file::open(path)?;
    if let Some(name) = name {
        Arc::make_mut(&mut observer).name = name.to_owned();
    }
    let mut reader = CaptureReader::new(input).map_err(FileError::Format)?;
    let stream = Arc::new(Stream::new(number, observer));
    let mut run = Run { pool, sink, stream, interfaces: Arc::from([]), report: Report::default() };
    let mut spare = Vec::new();
    let mut warned = 0;
    loop {
        if run.report.packets % PROGRESS_PACKETS == 0 {
            progress(read.load(std::sync::atomic::Ordering::Relaxed), size);
        }
        match reader.next() {
            Ok(Some(packet)) if (packet.interface as usize) < run.interfaces.len() => run.packet(&packet)?,
            Ok(Some(packet)) => {
                // An interface that was not there before: the packet must let go of the reader for a moment.
                spare.clear();
                spare.extend_from_slice(packet.data);
                let Packet { time, interface, original_length, .. } = packet;
                run.interfaces = Arc::from(reader.interfaces());
                run.packet(&Packet { time, interface, original_length, data: &spare })?;
            }
            Ok(None) => break,
            Err(error) => {
                let offset = match &error {
                    CaptureError::Damaged { offset, .. } | CaptureError::Read { offset, .. } => *offset,
                    _ => 0,
                };
                run.damage(&error, offset)?;
                break;
            }
        }
        if reader.warning_count() != warned {
            warned = reader.warning_count();
            if let Some(warning) = reader.warnings().get(run.report.warnings.len()) {
                run.damage(warning, warning.offset)?;
            }
        }
    }
    let kept = reader.warnings().len() as u64;
    for warning in reader.warnings().iter().skip(run.report.warnings.len()) {
        run.damage(warning, warning.offset)?;
    }
    if reader.warning_count() > kept {
        run.report.warnings.push(format!("and {} more places like these", reader.warning_count() - kept));
    }
    let Run { pool, sink, stream, report, .. } = run;
    // What times out up to here is given out before what only the end of the file ends.
    pool.advance(&stream, Timestamp::ZERO, sink.as_sink()).map_err(FileError::Output)?;
    pool.flush(sink.as_sink()).map_err(FileError::Output)?;
    sink.ending().map_err(FileError::Output)?;
    pool.finish(&stream, sink.as_sink()).map_err(FileError::Output)?;
    pool.flush(sink.as_sink()).map_err(FileError::Output)?;
    Ok(report)
}

/// A sink that also takes events about the file itself.
pub trait FileSink: Sink {
    /// The input has ended: what comes now is in order of [`Place`].
    ///
    /// # Errors
    /// When what waited for this cannot be passed on.
    fn ending(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// As a plain sink.
    fn as_sink(&mut self) -> &mut dyn Sink;

    /// An event that no decoder made, at this place in the order.
    ///
    /// # Errors
    /// When it cannot be passed on.
    fn about_file(&mut self, event: Event) -> io::Result<()>;
}

struct Run<'a> {
    pool: &'a mut Pool,
    sink: &'a mut dyn FileSink,
    stream: Arc<Stream>,
    interfaces: Arc<[Interface]>,
    report: Report,
}

impl Run<'_> {
    #[inline]
    fn packet(&mut self, packet: &Packet<'_>) -> Result<(), FileError> {
        let report = &mut self.report;
        let number = report.packets;
        report.packets += 1;
        report.bytes += packet.data.len() as u64;
        let (from, to) = report.times.unwrap_or((packet.time, packet.time));
        report.times = Some((from.min(packet.time), to.max(packet.time)));
        self.pool.packet(&self.stream, &self.interfaces, number, packet, self.sink.as_sink()).map_err(FileError::Output)
    }

    fn damage(&mut self, problem: &dyn std::fmt::Display, offset: u64) -> Result<(), FileError> {
        self.report.warnings.push(problem.to_string());
        self.pool.flush(self.sink.as_sink()).map_err(FileError::Output)?;
        let time = self.report.times.map_or(Timestamp::ZERO, |(_, to)| to);
        let event = damage_event(&self.stream.observer, self.report.packets, time, problem, offset);
        self.sink.about_file(event).map_err(FileError::Output)
    }
}

fn damage_event(
    observer: &Arc<Observer>,
    packet: u64,
    time: Timestamp,
    problem: &dyn std::fmt::Display,
    offset: u64,
) -> Event {
    let last = packet.saturating_sub(1);
    let origin =
        Origin { observer: Arc::clone(observer), interface: Arc::from(""), first_packet: last, last_packet: last };
    let mut event = Event::new("anomaly", time, origin);
    // Several places may be damaged before the same packet.
    event.ordinal = u32::try_from(offset).unwrap_or(u32::MAX);
    event.put(&common::STATUS, "Error");
    event.put(&common::EVENT_KIND, "event");
    event.put(&common::EVENT_DATASET, "anomaly");
    event.put_display(&common::ERROR_MESSAGE, format_args!("capture file: {problem}"));
    event.anomaly("capture.damaged", offset);
    event
}

/// Writes events in the order that does not depend on the number of workers.
pub struct Ordered<W: Write> {
    out: Blocks<W>,
    renderer: Box<dyn Render>,
    waiting: Waiting,
    /// What timed out, once the input has ended.
    timed_out: Option<Sorted>,
    stage: Stage,
    /// Events that ended at some time and say something about calls: the stage sees them in their order at the end.
    for_stage: Vec<Event>,
}

impl<W: Write> Ordered<W> {
    /// Writes to `out`, `at_once` where somebody watches; `renderer` is for events that no worker made.
    pub fn new(out: W, at_once: bool, renderer: Box<dyn Render>, with_calls: bool) -> Self {
        Self {
            out: Blocks::new(out, at_once),
            renderer,
            waiting: Waiting::new(),
            timed_out: None,
            stage: Stage::for_file(with_calls),
            for_stage: Vec::new(),
        }
    }

    /// Writes what waited for the end of a file, and the calls in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn end_of_file(&mut self) -> io::Result<()> {
        let mut timed_out = match self.timed_out.take() {
            Some(timed_out) => timed_out,
            None => std::mem::take(&mut self.waiting).sorted()?,
        };
        timed_out.write_until(None, &mut self.out)?;
        self.for_stage.sort_by_key(Place::of);
        for event in self.for_stage.drain(..) {
            self.stage.observe(&event);
        }
        self.stage.finish();
        let mut calls = std::mem::take(&mut self.stage.out);
        calls.sort_by_key(Place::of);
        for call in calls {
            self.write(call)?;
        }
        self.out.flush()
    }

    fn write(&mut self, mut event: Event) -> io::Result<()> {
        if self.renderer.process(&mut event) {
            self.out.write_all(self.renderer.render(&event))?;
        }
        Ok(())
    }
}

impl<W: Write> Sink for Ordered<W> {
    fn event(&mut self, event: Event, by_packet: Option<u64>, text: &[u8]) -> io::Result<()> {
        let concerns_calls = self.stage.concerns(&event);
        if by_packet.is_some() {
            if concerns_calls {
                self.stage.observe(&event);
            }
            return self.out.write_all(text);
        }
        match &mut self.timed_out {
            Some(timed_out) => {
                if !timed_out.is_empty() {
                    timed_out.write_until(Some(Place::of(&event)), &mut self.out)?;
                }
                self.out.write_all(text)?;
            }
            None => self.waiting.push(&event, text)?,
        }
        if concerns_calls {
            self.for_stage.push(event);
        }
        Ok(())
    }
}

impl<W: Write> FileSink for Ordered<W> {
    fn as_sink(&mut self) -> &mut dyn Sink {
        self
    }

    fn ending(&mut self) -> io::Result<()> {
        self.timed_out = Some(std::mem::take(&mut self.waiting).sorted()?);
        Ok(())
    }

    fn about_file(&mut self, event: Event) -> io::Result<()> {
        self.write(event)
    }
}
