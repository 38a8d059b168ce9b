//! Live capture: one blocking thread per interface over libpcap, and the kernel's drop counters.

use crate::batcher::{Batcher, Sequencer};
use crate::config::Settings;
use crate::failure::Failure;
use crate::spools::Spools;
use packet::pcapng::InterfaceStatistics;
use packet::{Interface, LinkType, Packet, Timestamp};
use pcap::{Active, Capture, Device, Precision};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// How long libpcap may wait before it hands over what it has, in milliseconds.
const TIMEOUT_MS: i32 = 10;
/// How long is waited when the kernel has handed over nothing: it does so once per block or timeout, not per packet.
const IDLE: Duration = Duration::from_millis(5);
/// How long is gone on when the capture is to end: until the kernel has handed over what it held at that moment.
const LAST: Duration = Duration::from_millis(30);
/// How often the kernel's counters are read.
const STATISTICS_EVERY: Duration = Duration::from_secs(1);

/// An interface that is being captured on.
pub struct Handle {
    capture: Capture<Active>,
    interface: Interface,
    set: u32,
    index: u32,
}

/// Opens all interfaces and announces their sets. The last thing that needs privileges.
pub fn open(settings: &Settings, exclude: &str, spools: &Spools) -> Result<Vec<Handle>, Failure> {
    let mut opened = Vec::new();
    for name in &settings.interfaces {
        opened.push(open_one(name, settings, exclude)?);
    }
    // Interfaces that share a link type share a set.
    let mut kinds: BTreeMap<LinkType, Vec<Interface>> = BTreeMap::new();
    for (_, interface) in &opened {
        kinds.entry(interface.link_type).or_default().push(interface.clone());
    }
    let numbers: BTreeMap<LinkType, u32> =
        kinds.iter().map(|(kind, interfaces)| (*kind, spools.add_set(interfaces.clone()))).collect();
    let mut places: BTreeMap<LinkType, u32> = BTreeMap::new();
    let handles = opened.into_iter().map(|(capture, interface)| {
        let place = places.entry(interface.link_type).or_default();
        let index = *place;
        *place += 1;
        let set = numbers.get(&interface.link_type).copied().unwrap_or(0);
        Handle { capture, interface, set, index }
    });
    Ok(handles.collect())
}

fn open_one(name: &str, settings: &Settings, exclude: &str) -> Result<(Capture<Active>, Interface), Failure> {
    let explain = |error: pcap::Error| explain(name, &error);
    let buffer = i32::try_from(settings.buffer).unwrap_or(i32::MAX);
    let mut capture = Capture::from_device(name)
        .map_err(explain)?
        .promisc(settings.promiscuous && name != "any")
        .snaplen(i32::try_from(settings.snaplen).unwrap_or(i32::MAX))
        .buffer_size(buffer)
        .timeout(TIMEOUT_MS)
        .precision(Precision::Nano)
        .open()
        .map_err(explain)?;
    if name == "any" {
        // The second version of Linux's cooked header tells the interfaces apart; older libpcap has only the first.
        let _ = capture.set_datalink(pcap::Linktype(i32::from(LinkType::LINUX_SLL2.0)));
    }
    let link_type = LinkType::from_dlt(capture.get_datalink().0);
    let filter = match (settings.filter.trim(), exclude) {
        ("", exclude) => exclude.to_owned(),
        (filter, "") => filter.to_owned(),
        (filter, exclude) => format!("({filter}) and {exclude}"),
    };
    if !filter.is_empty() {
        capture.filter(&filter, true).map_err(|error| {
            let problem = not_understood(&settings.filter, &error);
            Failure::configuration(format!("probe.filter: on {name}: {problem}"))
        })?;
    }
    let interface = Interface {
        name: name.to_owned(),
        link_type,
        snaplen: settings.snaplen,
        filter: settings.filter.trim().to_owned(),
    };
    // A blocking read does not come back while nothing is captured: neither would the last batch be closed nor the end be noticed.
    let capture = capture.setnonblock().map_err(explain)?;
    Ok((capture, interface))
}

/// Looks whether a filter expression makes sense on some link type: those of the interfaces are known once they are open.
pub fn check_filter(filter: &str) -> Result<(), String> {
    const TRIED: [LinkType; 4] = [LinkType::ETHERNET, LinkType::LINUX_SLL2, LinkType::RAW, LinkType::IEEE802_11];
    let mut first = Ok(());
    for link_type in TRIED {
        let compiled = Capture::dead(pcap::Linktype(i32::from(link_type.0)))
            .and_then(|dead| dead.compile(filter.trim(), true).map(|_| ()));
        match compiled {
            Ok(()) => return Ok(()),
            Err(error) => first = first.and(Err(not_understood(filter, &error))),
        }
    }
    first
}

fn not_understood(filter: &str, error: &pcap::Error) -> String {
    let text = match error {
        pcap::Error::PcapError(text) => text.clone(),
        other => other.to_string(),
    };
    format!("{:?} is not understood: {text} (its language: man 7 pcap-filter)", filter.trim())
}

fn explain(name: &str, error: &pcap::Error) -> Failure {
    let text = error.to_string();
    let lower = text.to_lowercase();
    if lower.contains("permission") || lower.contains("not permitted") {
        return Failure::failed(format!(
            "capturing on {name} is not permitted: start as root, or give the program CAP_NET_RAW (setcap cap_net_raw,cap_net_admin=eip)"
        ));
    }
    let known = names().join(", ");
    Failure::failed(format!("cannot capture on {name:?}: {text}; interfaces that exist: {known}"))
}

fn names() -> Vec<String> {
    Device::list().map(|devices| devices.into_iter().map(|device| device.name).collect()).unwrap_or_default()
}

/// The addresses of this machine, as of now.
pub fn local_addresses() -> Vec<IpAddr> {
    let devices = Device::list().unwrap_or_default();
    devices.into_iter().flat_map(|device| device.addresses).map(|address| address.addr).collect()
}

/// Prints the interfaces that can be captured on, as tcpdump's `-D` does.
pub fn list() -> Result<(), Failure> {
    let devices = Device::list().map_err(Failure::failed)?;
    for (number, device) in devices.iter().enumerate() {
        match &device.desc {
            Some(text) => println!("{}.{} ({text})", number + 1, device.name),
            None => println!("{}.{}", number + 1, device.name),
        }
    }
    Ok(())
}

/// What all capture threads share.
pub struct Shared {
    /// Set when the capture is to end.
    pub stop: Arc<AtomicBool>,
    /// Packets that may still be captured, with `-c`.
    pub left: Option<AtomicU64>,
    /// Where kernel counters go.
    pub spools: Spools,
}

impl Handle {
    /// Captures until the end; then the last batch is closed.
    pub fn run(mut self, sequencer: &Sequencer, settings: &Settings, shared: &Shared) -> Result<(), Failure> {
        let target = usize::try_from(settings.batch).unwrap_or(usize::MAX);
        let mut batcher = sequencer.batcher(self.set, target, settings.linger);
        let mut counters = Counters::default();
        let outcome = self.capture_all(&mut batcher, &mut counters, shared);
        self.read_counters(&mut batcher, &mut counters, shared, true);
        batcher.seal()?;
        // One interface that ends takes the others with it: the service manager starts the probe again.
        shared.stop.store(true, Ordering::Relaxed);
        outcome
    }

    fn capture_all(&mut self, batcher: &mut Batcher, counters: &mut Counters, shared: &Shared) -> Result<(), Failure> {
        let index = self.index;
        let mut since_look = 0u32;
        let mut ends: Option<Instant> = None;
        loop {
            if shared.stop.load(Ordering::Relaxed) {
                let now = Instant::now();
                if *ends.get_or_insert(now + LAST) <= now {
                    return Ok(());
                }
            }
            match self.capture.next_packet() {
                Ok(captured) => {
                    let header = captured.header;
                    // With nanosecond precision libpcap puts them where microseconds stand otherwise.
                    let time = Timestamp::from_parts(
                        u64::try_from(header.ts.tv_sec).unwrap_or(0),
                        u64::try_from(header.ts.tv_usec).unwrap_or(0),
                    );
                    let packet = Packet { time, interface: index, original_length: header.len, data: captured.data };
                    if let Some(left) = &shared.left {
                        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
                        if taken.is_err() {
                            return Ok(());
                        }
                    }
                    batcher.push(&packet)?;
                    if shared.left.as_ref().is_some_and(|left| left.load(Ordering::Relaxed) == 0) {
                        return Ok(());
                    }
                    since_look += 1;
                    if since_look < 256 {
                        continue;
                    }
                }
                Err(pcap::Error::TimeoutExpired) => std::thread::sleep(IDLE),
                Err(error) => {
                    return Err(Failure::failed(format!("capturing on {} ended: {error}", self.interface.name)));
                }
            }
            since_look = 0;
            batcher.tick()?;
            self.read_counters(batcher, counters, shared, false);
        }
    }

    fn read_counters(&mut self, batcher: &mut Batcher, counters: &mut Counters, shared: &Shared, last: bool) {
        if !last && counters.read.is_some_and(|read| read.elapsed() < STATISTICS_EVERY) {
            return;
        }
        counters.read = Some(Instant::now());
        let Ok(stat) = self.capture.stats() else { return };
        let now = (stat.received, stat.dropped, stat.if_dropped);
        counters.received += u64::from(now.0.wrapping_sub(counters.last.0));
        counters.dropped += u64::from(now.1.wrapping_sub(counters.last.1));
        counters.dropped_by_interface += u64::from(now.2.wrapping_sub(counters.last.2));
        counters.last = now;
        shared.spools.kernel(&self.interface.name, counters.received, counters.dropped, counters.dropped_by_interface);
        let drops = (counters.dropped, counters.dropped_by_interface);
        if drops != counters.told || last {
            counters.told = drops;
            batcher.push_statistics(&InterfaceStatistics {
                interface: self.index,
                time: Timestamp::from_system(SystemTime::now()),
                received: counters.received,
                dropped_by_interface: counters.dropped_by_interface,
                dropped_by_kernel: counters.dropped,
            });
        }
    }
}

/// The kernel's counters of one interface: 32 bits there, made longer here.
#[derive(Default)]
struct Counters {
    last: (u32, u32, u32),
    received: u64,
    dropped: u64,
    dropped_by_interface: u64,
    told: (u64, u64),
    read: Option<Instant>,
}
