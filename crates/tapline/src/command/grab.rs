//! `tapline grab`: packets back out of the archive, through a collector or straight from the files.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use api::Client;
use archive::{Archive, Dump, DumpError, DumpFormat, Query};
use packet::{LinkType, SourceName};

use super::selection::Selection;
use crate::failure::{Failure, print};
use crate::place::{self, Connect, Found};

/// Get packets back out of the archive
#[derive(clap::Args)]
pub struct Grab {
    #[command(flatten)]
    selection: Selection,
    /// File to write; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Format of the file: pcapng, pcap (nanoseconds) or pcap-us (microseconds)
    #[arg(short = 'F', long, value_name = "FORMAT", default_value = "pcapng")]
    format: DumpFormat,
    /// Only count the packets
    #[arg(long, conflicts_with = "write")]
    count: bool,
    /// Read the files of this archive, without any collector [default: those of the data directory, where no collector answers]
    #[arg(long, value_name = "DIR", conflicts_with = "connect")]
    archive: Option<PathBuf>,
    #[command(flatten)]
    connect: Connect,
}

/// Where the packets are.
enum Place {
    /// Below this directory.
    Files(PathBuf),
    /// With a collector.
    Collector(Client),
}

/// What a grab found.
#[derive(Debug, Default)]
struct Grabbed {
    packets: u64,
    lost: u64,
    failed: u64,
    link_types: Vec<LinkType>,
}

impl Grab {
    pub fn run(self) -> Result<(), Failure> {
        let query = self.selection.query()?;
        let to_stdout = match &self.write {
            Some(path) => path.as_os_str() == "-",
            None if io::stdout().is_terminal() && !self.count => {
                return Err(Failure::usage("say where the packets go: -w FILE, -w - for a pipe, or --count"));
            }
            None => true,
        };
        let place = self.place()?;
        if self.count {
            let grabbed = self.grab(&place, query, None)?;
            print(&format!("{} packets\n", grabbed.packets))?;
            return report(&grabbed, None);
        }
        if to_stdout {
            let grabbed = self.grab(&place, query, Some(&mut io::stdout().lock()))?;
            return report(&grabbed, None);
        }
        let path = self.write.clone().unwrap_or_default();
        let wrong = |error: io::Error| Failure::failed(format!("{}: {error}", path.display()));
        let mut file = File::create(&path).map_err(wrong)?;
        let grabbed = self.grab(&place, query, Some(&mut file)).inspect_err(|_| {
            // Half a capture looks like a whole one. A pipe or a device stays.
            if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
                let _ = std::fs::remove_file(&path);
            }
        })?;
        file.sync_all().or_else(ignore_special_files).map_err(wrong)?;
        report(&grabbed, Some(&path))
    }

    /// The collector, or the files of the data directory where none answers: they are read without one just as well.
    fn place(&self) -> Result<Place, Failure> {
        if let Some(root) = &self.archive {
            return Ok(Place::Files(root.clone()));
        }
        match self.connect.find()? {
            Found::Collector(client) => Ok(Place::Collector(client)),
            Found::Nobody(text) => {
                let root = self.connect.local()?.archive();
                if !root.is_dir() {
                    return Err(place::nobody(&text));
                }
                // If standard error is gone there is nobody left to tell.
                let _ = writeln!(io::stderr(), "tapline: {text}; reading the files below {} instead", root.display());
                Ok(Place::Files(root))
            }
        }
    }

    fn grab(&self, place: &Place, query: Query, out: Option<&mut dyn Write>) -> Result<Grabbed, Failure> {
        let sources = query.sources.clone();
        let grabbed = match (place, out) {
            (Place::Files(root), out) => from_files(root, query, self.format, out)?,
            (Place::Collector(client), Some(out)) => {
                let (packets, link_types) = super::remote::grab(client, &self.selection, self.format, out)?;
                Grabbed { packets, link_types, ..Grabbed::default() }
            }
            (Place::Collector(client), None) => {
                let packets = super::remote::count(client, &self.selection)?;
                Grabbed { packets, ..Grabbed::default() }
            }
        };
        warn_of_unknown(place, &sources);
        Ok(grabbed)
    }
}

/// A name that is misspelt finds nothing, which looks like a quiet source.
fn warn_of_unknown(place: &Place, sources: &[SourceName]) {
    if sources.is_empty() {
        return;
    }
    let (whose, known): (_, Option<Vec<String>>) = match place {
        Place::Files(root) => {
            let names = Archive::new(root).sources().ok();
            ("archive", names.map(|names| names.iter().map(ToString::to_string).collect()))
        }
        Place::Collector(client) => ("collector", super::remote::sources(client).ok()),
    };
    // The packets have come: that the names cannot be had is no failure.
    let Some(known) = known else { return };
    for name in sources.iter().filter(|name| !known.iter().any(|known| known == name.as_str())) {
        // If standard error is gone there is nobody left to tell.
        let others = if known.is_empty() { "none".to_owned() } else { known.join(" ") };
        let _ = writeln!(io::stderr(), "tapline: the {whose} knows no source {name}; it knows: {others}");
    }
}

/// Why packets do not fit into the format, and what to do.
pub fn cannot_hold(error: &DumpError) -> Failure {
    Failure::failed(format!(
        "{error}: write pcapng, which holds several (leave out -F), or choose one source with --source NAME"
    ))
}

/// Says which programs will not open what was written.
pub fn warn_of_link_types(link_types: &[LinkType]) {
    if link_types.len() < 2 {
        return;
    }
    let names: Vec<String> = link_types.iter().map(ToString::to_string).collect();
    // If standard error is gone there is nobody left to tell.
    let _ = writeln!(
        io::stderr(),
        "tapline: the packets are of several link types ({}): Wireshark and tshark open such a file, tcpdump does not; for tcpdump choose one source with --source NAME",
        names.join(", ")
    );
}

/// A pipe or a device has nothing to make durable.
fn ignore_special_files(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Ok(()),
        _ => Err(error),
    }
}

/// Bytes are handed on when this many are there.
const BUFFER_BYTES: usize = 256 * 1024;

fn from_files(
    root: &std::path::Path,
    query: Query,
    format: DumpFormat,
    mut out: Option<&mut dyn Write>,
) -> Result<Grabbed, Failure> {
    if !root.is_dir() {
        return Err(Failure::failed(format!(
            "{} is no directory; give the archive's, such as DATA/archive",
            root.display()
        )));
    }
    let mut result = Archive::new(root).query(query).map_err(Failure::failed)?;
    let bar = progress(&mut result);
    let mut dump = Dump::new(format);
    let mut packets = 0;
    let mut buffer = Vec::with_capacity(2 * BUFFER_BYTES);
    while let Some(found) = result.next().map_err(Failure::failed)? {
        packets += 1;
        if let Some(out) = &mut out {
            dump.packet(&found, &mut buffer).map_err(|error| cannot_hold(&error))?;
            if buffer.len() >= BUFFER_BYTES {
                out.write_all(&buffer).map_err(Failure::output)?;
                buffer.clear();
            }
        }
    }
    if let Some(out) = &mut out {
        dump.finish(result.gaps(), &mut buffer);
        out.write_all(&buffer).and_then(|()| out.flush()).map_err(Failure::output)?;
    }
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let progress = result.progress();
    let (lost, failed) = (progress.gap_packets, progress.batches_failed);
    Ok(Grabbed { packets, lost, failed, link_types: dump.link_types().to_vec() })
}

/// A bar on a terminal.
fn progress(result: &mut archive::QueryResult) -> Option<indicatif::ProgressBar> {
    if !io::stderr().is_terminal() {
        return None;
    }
    let style = indicatif::ProgressStyle::with_template("{bytes:>10} of {total_bytes} {wide_bar} {eta}");
    let bar = indicatif::ProgressBar::new(result.progress().bytes_total)
        .with_style(style.unwrap_or_else(|_| indicatif::ProgressStyle::default_bar()));
    let shown = bar.clone();
    result.on_progress(move |progress| shown.set_position(progress.bytes_read));
    Some(bar)
}

/// Says on standard error what was found, and what is known to be missing.
fn report(grabbed: &Grabbed, path: Option<&std::path::Path>) -> Result<(), Failure> {
    let mut stderr = io::stderr();
    // If standard error is gone there is nobody left to tell.
    if let Some(path) = path {
        let _ = writeln!(stderr, "tapline: {} packets in {}", grabbed.packets, path.display());
    }
    warn_of_link_types(&grabbed.link_types);
    if grabbed.lost > 0 {
        let _ = writeln!(
            stderr,
            "tapline: gap records say that {} packets of these sources and this time were lost before they came to the archive",
            grabbed.lost
        );
    }
    if grabbed.failed > 0 {
        return Err(Failure::failed(format!(
            "{} batches that may hold packets could not be read: damaged, or removed meanwhile",
            grabbed.failed
        )));
    }
    Ok(())
}
