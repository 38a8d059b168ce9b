//! `tapline analyze FILE...`: decodes capture files to standard output.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use analyzer::correlation::Stage;
use analyzer::files::{self, FileError, FileSink, Ordered, Report};
use analyzer::pool::{Pool, Sink};
use analyzer::worker::{Parts, Render};
use event::Event;
use indicatif::{ProgressBar, ProgressStyle};

use crate::analyze::summary::{Packets, Summary};
use crate::analyze::table;
use crate::failure::{Failure, print};

/// Decode capture files (pcap and pcapng, compressed or not) to standard output
#[derive(clap::Args)]
pub struct Analyze {
    /// Capture files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to print
    #[arg(short, long, value_name = "FORM", default_value = "ndjson")]
    output: Form,
    #[command(flatten)]
    settings: super::SettingsArguments,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// One JSON object per line
    Ndjson,
    /// One readable line per event
    Table,
    /// Counts, time range, top talkers, anomalies
    Summary,
}

impl Analyze {
    pub fn run(self) -> Result<(), Failure> {
        crate::logging::start("warn");
        let (settings, decoders) = self.settings.decoding()?;
        let renderer = renderer(self.output, &settings);
        let parts = Parts { decoders, renderer };
        // Reading a file is work for one core unless the configuration says otherwise: the machine may be doing other things.
        let workers = if settings.workers == 0 { 1 } else { settings.workers };
        let mut pool = Pool::new(workers, &parts).map_err(Failure::failed)?;
        // Packetbeat's documents say nothing of the file they came from.
        let name = (settings.is_packetbeat()).then_some("-");
        match self.output {
            Form::Summary => {
                let mut sink = Counting { summary: Summary::default(), stage: Stage::for_file(settings.has_calls()) };
                let packets = each_file(&self.files, name, &mut pool, &mut sink, |sink| {
                    sink.end_of_file();
                    Ok(())
                })?;
                print(&sink.summary.text(&packets))
            }
            form => {
                if form == Form::Table {
                    print(&table::heading())?;
                }
                let (out, at_once) = crate::stdout::open()?;
                let mut sink = Ordered::new(out, at_once, (parts.renderer)(), settings.has_calls());
                each_file(&self.files, name, &mut pool, &mut sink, |sink| sink.end_of_file().map_err(Failure::output))?;
                Ok(())
            }
        }
    }
}

/// Decodes file after file; one that cannot be read fails the command, after the others.
fn each_file<S: FileSink>(
    paths: &[PathBuf],
    name: Option<&str>,
    pool: &mut Pool,
    sink: &mut S,
    mut end: impl FnMut(&mut S) -> Result<(), Failure>,
) -> Result<Packets, Failure> {
    let mut packets = Packets::default();
    let mut failures = Vec::new();
    for (number, path) in paths.iter().enumerate() {
        let bar = progress();
        let mut report_progress = |read: u64, size: Option<u64>| {
            if let Some(bar) = &bar {
                bar.set_length(size.unwrap_or(0));
                bar.set_position(read);
            }
        };
        let decoded = files::decode(path, number as u32, name, pool, sink, &mut report_progress);
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        match decoded {
            Ok(report) => {
                warn(path, &report);
                packets.add(&report);
            }
            Err(FileError::Output(error)) => return Err(Failure::output(error)),
            Err(error) => failures.push(format!("{}: {error}", path.display())),
        }
        end(sink)?;
    }
    if pool.panics() > 0 {
        failures.push(format!("{} decoders panicked; please report this with the file", pool.panics()));
    }
    if failures.is_empty() { Ok(packets) } else { Err(Failure::failed(failures.join("\n"))) }
}

fn warn(path: &std::path::Path, report: &Report) {
    let mut stderr = std::io::stderr();
    for warning in &report.warnings {
        // If standard error is gone there is nobody left to tell.
        let _ = writeln!(stderr, "tapline: {}: {warning}", path.display());
    }
}

/// A bar on a terminal whose output goes elsewhere.
fn progress() -> Option<ProgressBar> {
    if !std::io::stderr().is_terminal() || std::io::stdout().is_terminal() {
        return None;
    }
    let style = ProgressStyle::with_template("{bytes:>10} of {total_bytes} {wide_bar} {eta}");
    Some(ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
}

fn renderer(form: Form, settings: &analyzer::Settings) -> Arc<dyn Fn() -> Box<dyn Render> + Send + Sync> {
    let json = analyzer::json_renderer(settings);
    match form {
        Form::Ndjson => json,
        Form::Table => Arc::new(move || Box::new(TableLines { processors: json(), line: Vec::new() })),
        Form::Summary => Arc::new(move || Box::new(Nothing { processors: json() })),
    }
}

struct TableLines {
    processors: Box<dyn Render>,
    line: Vec<u8>,
}

impl Render for TableLines {
    fn process(&mut self, event: &mut Event) -> bool {
        self.processors.process(event)
    }
    fn render(&mut self, event: &Event) -> &[u8] {
        self.line.clear();
        table::line(event, &mut self.line);
        &self.line
    }
}

struct Nothing {
    processors: Box<dyn Render>,
}

impl Render for Nothing {
    fn process(&mut self, event: &mut Event) -> bool {
        self.processors.process(event)
    }
    fn render(&mut self, _: &Event) -> &[u8] {
        &[]
    }
}

/// Counts events instead of printing them.
struct Counting {
    summary: Summary,
    stage: Stage,
}

impl Counting {
    fn end_of_file(&mut self) {
        self.stage.finish();
        for event in self.stage.out.drain(..) {
            self.summary.count(&event);
        }
    }
}

impl Sink for Counting {
    fn event(&mut self, event: Event, _: Option<u64>, _: &[u8]) -> std::io::Result<()> {
        if self.stage.concerns(&event) {
            self.stage.observe(&event);
        }
        self.summary.count(&event);
        Ok(())
    }
}

impl FileSink for Counting {
    fn as_sink(&mut self) -> &mut dyn Sink {
        self
    }
    fn about_file(&mut self, event: Event) -> std::io::Result<()> {
        self.summary.count(&event);
        Ok(())
    }
}
