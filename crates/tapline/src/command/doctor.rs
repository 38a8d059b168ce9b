//! `tapline doctor`: looks whether this machine has what the programs need, and says what to do where it has not.
//! Changes nothing and sends nothing.

use std::path::{Path, PathBuf};

use crate::failure::{Failure, print};
use crate::place::{self, Connect, Found};

/// Check permissions, kernel features and versions
#[derive(clap::Args)]
pub struct Doctor {
    /// Data directory to check
    #[arg(long, value_name = "DIR", env = "TAPLINE_DATA")]
    data: Option<PathBuf>,
    /// Configuration to check
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

enum Verdict {
    Good,
    Note,
    Bad,
}

struct Finding {
    verdict: Verdict,
    what: &'static str,
    text: String,
}

impl Doctor {
    pub fn run(self) -> Result<(), Failure> {
        let connect = Connect::at(self.data.clone(), self.config.clone());
        // What is wrong with the configuration is a finding of its own.
        let data = connect.local().map_or_else(|_| place::data_directory(self.data.as_deref()), |local| local.data);
        let findings = [
            version(),
            kernel(),
            probe(),
            capture(),
            sandbox(),
            data_directory(&data),
            collector(&connect),
            configuration(self.config.as_deref()),
        ];
        let mut text = String::new();
        let mut bad = 0;
        for finding in &findings {
            let mark = match finding.verdict {
                Verdict::Good => "ok  ",
                Verdict::Note => "note",
                Verdict::Bad => "BAD ",
            };
            bad += usize::from(matches!(finding.verdict, Verdict::Bad));
            text.push_str(&format!("{mark}  {:<14} {}\n", finding.what, finding.text));
        }
        print(&text)?;
        if bad > 0 {
            return Err(Failure::failed(format!("{bad} of {} checks failed", findings.len())));
        }
        Ok(())
    }
}

fn found(verdict: Verdict, what: &'static str, text: impl Into<String>) -> Finding {
    Finding { verdict, what, text: text.into() }
}

fn version() -> Finding {
    found(Verdict::Good, "version", format!("tapline {}", env!("CARGO_PKG_VERSION")))
}

fn kernel() -> Finding {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let kernel = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let text = format!("{} {release}", name.sysname().to_string_lossy());
    if kernel < (3, 2) {
        found(Verdict::Bad, "kernel", format!("{text}: TPACKET_V3 capture needs Linux 3.2 or newer"))
    } else if kernel < (5, 13) {
        found(Verdict::Note, "kernel", format!("{text}: no Landlock before Linux 5.13; the analyzer runs without it"))
    } else {
        found(Verdict::Good, "kernel", text)
    }
}

fn probe() -> Finding {
    match super::up::probe_program() {
        Ok(path) => found(Verdict::Good, "probe", path.display().to_string()),
        Err(message) => found(Verdict::Bad, "probe", message),
    }
}

/// Bit of CAP_NET_RAW in the capability sets.
const CAP_NET_RAW: u64 = 1 << 13;

fn capture() -> Finding {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok()).unwrap_or(0);
    if effective & CAP_NET_RAW != 0 {
        return found(Verdict::Good, "capture", "may capture (CAP_NET_RAW)");
    }
    let path =
        super::up::probe_program().map_or_else(|_| "tapline-probe".to_owned(), |path| path.display().to_string());
    found(
        Verdict::Note,
        "capture",
        format!("this user may not capture: run as root, or `setcap cap_net_raw,cap_net_admin=ep {path}`"),
    )
}

fn sandbox() -> Finding {
    // The sandbox cannot be left again, but it holds only for the thread that entered it and those it starts.
    let entered = std::thread::spawn(|| analyzer::sandbox::enter(&analyzer::sandbox::Allowed::default())).join();
    match entered {
        Ok(Ok(facts)) => {
            let text = format!("landlock {}, seccomp {}", facts.landlock, facts.seccomp);
            let verdict = if facts.is_shut() { Verdict::Good } else { Verdict::Note };
            found(verdict, "sandbox", text)
        }
        Ok(Err(error)) => found(Verdict::Bad, "sandbox", error.to_string()),
        Err(_) => found(Verdict::Bad, "sandbox", "could not be tried"),
    }
}

fn data_directory(data: &Path) -> Finding {
    let shown = data.display();
    let existing = data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let writable = rustix::fs::access(existing, rustix::fs::Access::WRITE_OK).is_ok();
    let free = rustix::fs::statvfs(existing).map(|fs| fs.f_bavail.saturating_mul(fs.f_frsize)).unwrap_or(0);
    let text = format!("{shown}: {} MiB free", free >> 20);
    match (writable, existing == data) {
        (true, true) => found(if free < 1 << 30 { Verdict::Note } else { Verdict::Good }, "data", text),
        (true, false) => found(Verdict::Good, "data", format!("{text} (will be created)")),
        (false, _) => found(
            Verdict::Note,
            "data",
            format!("{shown} cannot be written by this user; services own it, for yourself use --data DIR"),
        ),
    }
}

fn collector(connect: &Connect) -> Finding {
    match connect.find() {
        Ok(Found::Collector(client)) => found(Verdict::Good, "collector", format!("answers at {}", client.url())),
        Ok(Found::Nobody(text)) => found(Verdict::Note, "collector", format!("{text} (none needs to)")),
        Err(_) => found(Verdict::Note, "collector", "not looked for: the configuration has problems"),
    }
}

fn configuration(named: Option<&Path>) -> Finding {
    let Some(file) = settings::file_or_default(named) else {
        return found(Verdict::Good, "configuration", "no file; everything has a default");
    };
    match super::check_configuration(&file) {
        Ok(()) => found(Verdict::Good, "configuration", format!("{} has no problem", file.display())),
        Err(problems) => found(Verdict::Bad, "configuration", format!("\n{problems}")),
    }
}
