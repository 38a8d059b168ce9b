//! The settings of `[probe]` and the command line, which wins over them.

use crate::failure::Failure;
use crate::tls;
use packet::SourceName;
use serde::{Deserialize, Serialize};
use spool::{Mode, WhenFull};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `[probe]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Interfaces to capture on; `any` for all.
    pub interfaces: Vec<String>,
    /// pcap filter expression; empty captures everything.
    pub filter: String,
    /// Bytes of each packet to capture.
    pub snaplen: u32,
    /// Kernel's capture buffer of each interface.
    #[serde(with = "settings::size")]
    pub buffer: u64,
    /// Whether the interfaces are set to promiscuous mode.
    pub promiscuous: bool,
    /// Collectors: `HOST:PORT` or `unix:PATH`.
    pub collector: Vec<String>,
    /// What several collectors are for: `failover`, tried in turn; `all`, each gets every batch, with a spool of its own.
    pub collector_mode: CollectorMode,
    /// Name of the source; empty means the host's name.
    pub name: String,
    /// Endpoints of Tapline's own that are never captured, `HOST:PORT`, beside the collector's.
    pub exclude: Vec<String>,
    /// Whether a collector on another machine may be used without encryption.
    pub allow_plaintext: bool,
    /// Certificates; when set, TCP is spoken with TLS 1.3 only.
    pub tls: tls::Settings,
    /// Where health and metrics are served: a loopback `ADDRESS:PORT` or `unix:PATH`; empty serves nothing.
    pub status: String,
    /// User to change to when started as root; empty means `tapline` if it exists, else `nobody`.
    pub user: String,
    /// The longest that a packet waits for others in its batch.
    #[serde(with = "settings::duration")]
    pub linger: Duration,
    /// Size of a batch before compression.
    #[serde(with = "settings::size")]
    pub batch: u64,
    /// Level of compression, as zstd counts them: -7 to 19.
    pub compression_level: i32,
    /// How long what is not acknowledged yet is waited for at the end of a capture.
    #[serde(with = "settings::duration")]
    pub end_patience: Duration,
    /// What waits for the collector.
    pub spool: Spool,
}

/// What several collectors are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CollectorMode {
    /// One spool, handed over to the first that answers.
    #[default]
    Failover,
    /// Each gets every batch, and has a spool and a position of its own.
    All,
}

/// `[probe.spool]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Bytes of compressed batches kept in memory until they are acknowledged. Like the others: of each collector's spool, where each has its own.
    #[serde(with = "settings::size")]
    pub memory: u64,
    /// What is dropped when it is full: the `oldest` or the `newest` batches. When reading files, reading waits instead.
    pub full: WhenFull,
    /// Where batches are kept on disk, in a folder named after the source, and the collector if each has its own; empty: nowhere, or, with `mode = "disk"`, `/var/lib/tapline/spool`.
    pub directory: PathBuf,
    /// When the disk is used: `memory`, when memory fills up; `disk`, for every batch before it is sent.
    pub mode: Mode,
    /// Bytes that it may take on disk.
    #[serde(with = "settings::size")]
    pub disk: u64,
    /// The longest time until what was written survives a loss of power; 0 syncs every write.
    #[serde(with = "settings::duration")]
    pub sync: Duration,
}

impl Spool {
    /// The directory, if a disk is wanted.
    pub fn place(&self) -> Option<&Path> {
        if !self.directory.as_os_str().is_empty() {
            return Some(&self.directory);
        }
        (self.mode == Mode::Disk).then(|| Path::new(DIRECTORY))
    }
}

/// Name of the folder of a source's spool, or of that which one collector has for itself. No source has an `@` in its name.
pub fn folder_name(source: &SourceName, collector: Option<&str>) -> String {
    match collector {
        None => source.as_str().to_owned(),
        Some(collector) => format!("{source}@{}", file_name(collector)),
    }
}

/// An address as part of a file name: other bytes than letters, digits and `.-_:` as `%` and two digits; where that is too long, its end is
/// a number made from all of it.
fn file_name(address: &str) -> String {
    const LONGEST: usize = 180;
    let mut name = String::new();
    for byte in address.bytes() {
        if byte.is_ascii_alphanumeric() || b".-_:".contains(&byte) {
            name.push(char::from(byte));
        } else {
            name.push_str(&format!("%{byte:02X}"));
        }
    }
    if name.len() > LONGEST {
        // FNV-1a.
        let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let hash = address.bytes().fold(0xcbf2_9ce4_8422_2325, fold);
        name.truncate(LONGEST - 17);
        name.push_str(&format!("~{hash:016x}"));
    }
    name
}

/// Where the spool is when only the mode asks for a disk.
const DIRECTORY: &str = "/var/lib/tapline/spool";

impl Default for Settings {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            filter: String::new(),
            snaplen: packet::batch::MAX_PACKET_BYTES as u32,
            buffer: 32 << 20,
            promiscuous: true,
            collector: Vec::new(),
            collector_mode: CollectorMode::default(),
            name: String::new(),
            exclude: Vec::new(),
            allow_plaintext: false,
            tls: tls::Settings::default(),
            status: String::new(),
            user: String::new(),
            linger: Duration::from_millis(50),
            batch: packet::batch::TARGET_BYTES as u64,
            compression_level: 1,
            end_patience: Duration::from_secs(5),
            spool: Spool {
                memory: 64 << 20,
                full: WhenFull::default(),
                directory: PathBuf::new(),
                mode: Mode::default(),
                disk: 1 << 30,
                sync: Duration::from_secs(1),
            },
        }
    }
}

impl Default for Spool {
    fn default() -> Self {
        Settings::default().spool
    }
}

/// What the command line asks for.
#[derive(Debug, Default)]
pub struct Arguments {
    /// `-i`, `-f` and the others that stand over settings, as `--set` would have them.
    pub overrides: Vec<(String, String)>,
    /// `-r`.
    pub read: Option<PathBuf>,
    /// `--realtime`.
    pub realtime: bool,
    /// `--exclude`, beside those of the configuration.
    pub exclude: Vec<String>,
    /// `-c`.
    pub count: Option<u64>,
    /// `-D`.
    pub list: bool,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--check-config`.
    pub check: bool,
}

/// What `--help` prints.
pub const HELP: &str = "\
Captures packets and sends them to a Tapline collector.

Usage: tapline-probe -i IFACE... --collector HOST:PORT|unix:PATH
       tapline-probe -r FILE --collector HOST:PORT|unix:PATH

  -i, --interface IFACE    interface to capture on, `any` for all; may be given several times
  -r, --read FILE          capture file to read instead (pcap, pcapng), `-` for standard input
      --realtime           read it at the pace of its times
  -f, --filter BPF         capture only what this pcap filter expression accepts
  -s, --snaplen BYTES      bytes of each packet to capture
  -B, --buffer MIB         kernel's capture buffer, in MiB
  -p, --no-promiscuous     do not set the interfaces to promiscuous mode
  -c, --count COUNT        end after this many packets
  -D, --list-interfaces    list the interfaces that can be captured on
      --collector ADDRESS  where to send; may be given several times
      --exclude HOST:PORT  leave this endpoint's TCP out of the capture, too; may be given several times
      --collector-mode MODE  with several: `failover`, one after the other [default], or `all`, every packet to each
      --name SOURCE        name of the source [default: the host's name]
      --config FILE        configuration file [default: /etc/tapline/tapline.toml if it exists]
      --check-config       check the configuration and end
      --set KEY=VALUE      set a key of the configuration, such as probe.linger=20ms
  -V, --version            print the version
  -h, --help               print this
";

/// Reads the command line; none if it was a question that is answered already.
pub fn arguments() -> Result<Option<Arguments>, Failure> {
    use lexopt::prelude::*;
    let usage = |error: lexopt::Error| Failure::Usage(error.to_string());
    let mut parser = lexopt::Parser::from_env();
    let mut arguments = Arguments::default();
    let (mut interfaces, mut collectors) = (Vec::new(), Vec::new());
    while let Some(argument) = parser.next().map_err(usage)?.map(Argument::from) {
        let mut text = || parser.value().and_then(|value| value.string()).map_err(usage);
        let mut set = |key: &str, value: String| arguments.overrides.push((format!("probe.{key}"), value));
        match argument.as_arg() {
            Short('i') | Long("interface") => interfaces.push(text()?),
            Long("collector") => collectors.push(text()?),
            Long("exclude") => arguments.exclude.push(text()?),
            Short('f') | Long("filter") => set("filter", quoted(&text()?)),
            Short('s') | Long("snaplen") => set("snaplen", number::<u32>("-s", &text()?)?.to_string()),
            Short('B') | Long("buffer") => set("buffer", quoted(&format!("{} MiB", number::<u32>("-B", &text()?)?))),
            Short('p') | Long("no-promiscuous") => set("promiscuous", "false".to_owned()),
            Long("collector-mode") => set("collector_mode", quoted(&text()?)),
            Long("name") => set("name", quoted(&text()?)),
            Long("set") => {
                let pair = settings::parse_set(&text()?).map_err(Failure::Usage)?;
                arguments.overrides.push(pair);
            }
            Short('c') | Long("count") => arguments.count = Some(number("-c", &text()?)?),
            Short('r') | Long("read") => arguments.read = Some(text()?.into()),
            Long("realtime") => arguments.realtime = true,
            Short('D') | Long("list-interfaces") => arguments.list = true,
            Long("config") => arguments.config = Some(text()?.into()),
            Long("check-config") => arguments.check = true,
            Short('V') | Long("version") => {
                println!("tapline-probe {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            Short('h') | Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(usage(other.unexpected())),
        }
    }
    for (key, values) in [("interfaces", interfaces), ("collector", collectors)] {
        if !values.is_empty() {
            let list: Vec<String> = values.iter().map(|value| quoted(value)).collect();
            arguments.overrides.push((format!("probe.{key}"), format!("[{}]", list.join(", "))));
        }
    }
    Ok(Some(arguments))
}

/// An argument that no longer borrows the parser.
enum Argument {
    Short(char),
    Long(String),
    Value(std::ffi::OsString),
}

impl From<lexopt::Arg<'_>> for Argument {
    fn from(argument: lexopt::Arg<'_>) -> Self {
        match argument {
            lexopt::Arg::Short(letter) => Self::Short(letter),
            lexopt::Arg::Long(name) => Self::Long(name.to_owned()),
            lexopt::Arg::Value(value) => Self::Value(value),
        }
    }
}

impl Argument {
    fn as_arg(&self) -> lexopt::Arg<'_> {
        match self {
            Self::Short(letter) => lexopt::Arg::Short(*letter),
            Self::Long(name) => lexopt::Arg::Long(name),
            Self::Value(value) => lexopt::Arg::Value(value.clone()),
        }
    }
}

fn number<T: std::str::FromStr>(option: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|_| Failure::Usage(format!("{option} takes a number, not {text:?}")))
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_collectors_folder_is_its_own_and_no_path() {
        let source: SourceName = "gw1".parse().unwrap();
        assert_eq!(folder_name(&source, None), "gw1");
        assert_eq!(folder_name(&source, Some("10.0.0.1:7710")), "gw1@10.0.0.1:7710");
        assert_eq!(folder_name(&source, Some("[::1]:7710")), "gw1@%5B::1%5D:7710");
        assert_eq!(folder_name(&source, Some("unix:/run/../a")), "gw1@unix:%2Frun%2F..%2Fa");
        let long = |end: &str| folder_name(&source, Some(&format!("unix:/{}{end}", "\u{e9}/".repeat(100))));
        assert!(long("a").len() <= 255 - 64 && long("a") != long("b"), "{}", long("a"));
    }

    #[test]
    fn the_mode_is_read_and_failover_is_the_default() {
        let load = |mode: &str| {
            settings::load::<Settings>("probe", None, &[("probe.collector_mode".to_owned(), mode.to_owned())])
                .map(|settings| settings.collector_mode)
        };
        assert_eq!(Settings::default().collector_mode, CollectorMode::Failover);
        assert_eq!(load("all").unwrap(), CollectorMode::All);
        assert_eq!(load("\"failover\"").unwrap(), CollectorMode::Failover);
        assert!(load("both").is_err());
    }
}
