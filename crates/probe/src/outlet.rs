//! One position in the log: a spool, its directory, and the thread that hands it over to its collectors. With `collector_mode = "all"` there
//! is one for each collector, and they share nothing but the bytes of the batches.

use crate::config::{self, CollectorMode, Settings};
use crate::failure::Failure;
use crate::link::{Destination, Link, Orders};
use crate::tls::Identity;
use packet::batch::DropReason;
use packet::{Epoch, SourceName, Timestamp};
use spool::{Bounds, Directory, Keeper, Limits, Spool};
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::SystemTime;

/// One position, before anything runs.
pub struct Outlet {
    /// What it is called where there are several.
    name: Option<String>,
    /// Its collectors, tried in turn.
    pub destinations: Vec<Destination>,
    /// What waits for them.
    pub spool: Arc<Spool>,
    /// Its sender's orders.
    pub orders: Arc<Orders>,
    folder: String,
    directory: Option<Directory>,
    wake: UnixStream,
    waker: UnixStream,
}

/// One outlet for all collectors, or one for each.
pub fn plan(
    mode: CollectorMode,
    destinations: Vec<Destination>,
    source: &SourceName,
    epoch: Epoch,
    limits: Limits,
) -> Result<Vec<Outlet>, Failure> {
    let groups: Vec<Vec<Destination>> = match mode {
        CollectorMode::Failover => vec![destinations],
        CollectorMode::All => destinations.into_iter().map(|destination| vec![destination]).collect(),
    };
    let several = groups.len() > 1;
    let outlet = |destinations: Vec<Destination>| {
        let (wake, waker) = UnixStream::pair().map_err(Failure::failed)?;
        wake.set_nonblocking(true).map_err(Failure::failed)?;
        waker.set_nonblocking(true).map_err(Failure::failed)?;
        let own = destinations.first().filter(|_| mode == CollectorMode::All).map(ToString::to_string);
        Ok(Outlet {
            folder: config::folder_name(source, own.as_deref()),
            name: own.filter(|_| several),
            destinations,
            spool: Arc::new(Spool::new(source.clone(), epoch, limits)),
            orders: Arc::default(),
            directory: None,
            wake,
            waker,
        })
    };
    groups.into_iter().map(outlet).collect()
}

/// Opens and locks the directory of each spool, and gives it to the user that the probe becomes.
pub fn open_directories(
    outlets: &mut [Outlet],
    settings: &config::Spool,
    user: &privilege::User,
) -> Result<(), Failure> {
    let Some(place) = settings.place() else { return Ok(()) };
    let owner = privilege::is_root().then_some((user.uid, user.gid));
    for outlet in outlets.iter_mut() {
        let directory = Directory::open(&place.join(&outlet.folder), owner);
        let explain = |error| Failure::failed(format!("the spool's directory {error}"));
        outlet.directory = Some(directory.map_err(explain)?);
    }
    for stranded in stranded(place, outlets) {
        eprintln!(
            "tapline-probe: spool: {} holds what was not delivered under another setting of probe.collector or probe.collector_mode, and is left alone",
            place.join(stranded).display()
        );
    }
    Ok(())
}

/// Folders of this source that hold something and that no outlet uses.
fn stranded(place: &Path, outlets: &[Outlet]) -> Vec<String> {
    let Some(source) = outlets.first().map(|outlet| outlet.spool.source().as_str().to_owned()) else {
        return Vec::new();
    };
    let names = |path: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let mut found = names(place);
    found.retain(|name| {
        let ours = name.split('@').next() == Some(source.as_str());
        let used = outlets.iter().any(|outlet| outlet.folder == *name);
        ours && !used && names(&place.join(name)).iter().any(|inner| inner != "lock")
    });
    found.sort_unstable();
    found
}

impl Outlet {
    /// What capture needs: the spool, and what wakes its sender.
    pub fn branch(&self) -> Result<(Arc<Spool>, UnixStream), Failure> {
        Ok((self.spool.clone(), self.waker.try_clone().map_err(Failure::failed)?))
    }

    /// Recovers what the spool's directory holds; starts the sender and the keeper of the disk.
    pub fn start(self, settings: &Settings, identity: Option<Identity>, seed: u64) -> Result<Running, Failure> {
        let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let keeper = match self.directory {
            Some(directory) => Some(keeper(settings, &self.spool, directory, self.name.as_deref())?),
            None => None,
        };
        let link = Link::new(self.spool.clone(), self.destinations, identity, self.orders.clone(), self.wake, seed);
        let sender = thread("uplink").spawn(move || link.run()).map_err(Failure::failed)?;
        let ending = Arc::new(AtomicBool::new(false));
        let keeper = match keeper {
            Some(keeper) => {
                let (waker, ending) = (self.waker, ending.clone());
                let wake = move || drop((&waker).write(&[1]));
                Some(thread("spool").spawn(move || keeper.run(&ending, wake)).map_err(Failure::failed)?)
            }
            None => None,
        };
        Ok(Running { name: self.name, spool: self.spool, orders: self.orders, sender, keeper, ending })
    }
}

fn keeper(
    settings: &Settings,
    spool: &Arc<Spool>,
    directory: Directory,
    name: Option<&str>,
) -> Result<Keeper, Failure> {
    let sync_nanos = u64::try_from(settings.spool.sync.as_nanos()).unwrap_or(u64::MAX);
    let bounds = Bounds { disk: settings.spool.disk, sync_nanos };
    let whose = name.map(|name| format!(" of {name}")).unwrap_or_default();
    let report = Box::new(move |text: &str| eprintln!("tapline-probe: spool{whose}: {text}"));
    Keeper::open(spool.clone(), Box::new(directory), bounds, report)
        .map_err(|error| Failure::failed(format!("the spool's directory cannot be read: {error}")))
}

/// One position while the probe runs.
pub struct Running {
    name: Option<String>,
    spool: Arc<Spool>,
    orders: Arc<Orders>,
    sender: JoinHandle<()>,
    keeper: Option<JoinHandle<()>>,
    ending: Arc<AtomicBool>,
}

impl Running {
    /// Whether everything is handed over, goodbye included.
    pub fn is_finished(&self) -> bool {
        self.sender.is_finished()
    }

    /// Whether everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.spool.is_empty()
    }

    /// Tells the sender to end, whatever is left.
    pub fn give_up(&self) {
        self.orders.give_up.store(true, Ordering::Relaxed);
    }

    /// Waits for the end, says what became of the packets, and gives how many are left.
    pub fn end(self) -> u64 {
        self.give_up();
        let _ = self.sender.join();
        self.ending.store(true, Ordering::Relaxed);
        let on_disk = self.keeper.map(|keeper| keeper.join().is_ok());
        report(&self.spool, self.name.as_deref(), on_disk == Some(true))
    }
}

/// Says what became of the packets; gives how many are left.
fn report(spool: &Spool, name: Option<&str>, on_disk: bool) -> u64 {
    let whose = name.map(|name| format!("{name}: ")).unwrap_or_default();
    let say = |text: String| eprintln!("tapline-probe: {whose}{text}");
    let counts = spool.statistics(Timestamp::from_system(SystemTime::now()));
    let dropped = |reasons: &dyn Fn(DropReason) -> bool| -> u64 {
        counts.drops.iter().filter(|drop| reasons(drop.reason)).map(|drop| drop.packets).sum()
    };
    say(format!(
        "{} packets captured, {} dropped by the kernel, {} by the interfaces, {} by a full spool, {} acknowledged, {} spooled",
        counts.captured,
        counts.dropped_by_kernel,
        counts.dropped_by_interface,
        dropped(&|reason| reason == DropReason::BufferFull),
        counts.acknowledged,
        counts.held
    ));
    let failed = dropped(&|reason| reason != DropReason::BufferFull);
    if failed > 0 {
        say(format!("{failed} packets dropped because the spool's disk was full or failed"));
    }
    let older = spool.older();
    if older != spool::Older::default() {
        say(format!("of earlier runs: {} packets acknowledged, {} spooled", older.acknowledged, older.held));
    }
    if on_disk && counts.held + older.held > 0 {
        say(format!("what is spooled lies on the disk ({} bytes); the next run delivers it", counts.spool_bytes));
    }
    counts.held
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use spool::{Mode, WhenFull};

    fn planned(mode: CollectorMode, collectors: &[&str]) -> Vec<Outlet> {
        let limits = Limits { memory: 1 << 20, full: WhenFull::Oldest, waits: false, mode: Mode::Memory };
        let destinations = collectors.iter().map(|text| Destination::parse(text, false).unwrap()).collect();
        plan(mode, destinations, &"gw1".parse().unwrap(), Epoch([1; 16]), limits).unwrap()
    }

    fn what(outlets: &[Outlet]) -> Vec<(usize, Option<&str>, &str)> {
        outlets.iter().map(|it| (it.destinations.len(), it.name.as_deref(), it.folder.as_str())).collect()
    }

    #[test]
    fn failover_is_one_position_and_all_is_one_for_each() {
        let both = ["unix:/a", "unix:/b"];
        assert_eq!(what(&planned(CollectorMode::Failover, &both)), [(2, None, "gw1")]);
        let each = [(1, Some("unix:/a"), "gw1@unix:%2Fa"), (1, Some("unix:/b"), "gw1@unix:%2Fb")];
        assert_eq!(what(&planned(CollectorMode::All, &both)), each);
        // The folder stays the same when a second comes; nothing needs a name before.
        assert_eq!(what(&planned(CollectorMode::All, &both[..1])), [(1, None, "gw1@unix:%2Fa")]);
    }

    #[test]
    fn what_another_setting_left_is_named() {
        let place = std::env::temp_dir().join(format!("tapline-probe-outlet-{}", std::process::id()));
        for folder in ["gw1/1-run", "gw1@unix:%2Fa/1-run", "gw1@unix:%2Fc/1-run", "gw10/1-run", "gw1@unix:%2Fempty"] {
            std::fs::create_dir_all(place.join(folder)).unwrap();
        }
        std::fs::write(place.join("gw1@unix:%2Fempty/lock"), "").unwrap();
        let found = stranded(&place, &planned(CollectorMode::All, &["unix:/a", "unix:/b"]));
        std::fs::remove_dir_all(&place).unwrap();
        assert_eq!(found, ["gw1", "gw1@unix:%2Fc"]);
    }
}
