//! The filter that keeps Tapline's own connections out of a capture: what it sends would be captured, sent and captured again.
//! Knows addresses and ports only; sockets of other programs are named in the configuration.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use crate::link::Destination;

/// Uplink, feed in two forms, API and page, where nothing else was configured.
const OWN_PORTS: &str = "tcp portrange 7710-7714";

/// A pcap filter expression that leaves out the connections to the collectors, the usual ports of the machines they run on, and what
/// `named` names. `local` are the addresses of this machine: a collector here listens on all of them.
pub fn filter(collectors: &[Destination], named: &[SocketAddr], local: &[IpAddr]) -> String {
    let mut parts = Vec::new();
    let mut leave_out = |hosts: String, ports: &str| {
        let part = if hosts.is_empty() { format!("not ({ports})") } else { format!("not (({hosts}) and ({ports}))") };
        if !parts.contains(&part) {
            parts.push(part);
        }
    };
    for collector in collectors {
        if let Destination::Unix(_) = collector {
            leave_out(hosts(local), OWN_PORTS);
        }
        for address in collector.addresses() {
            leave_out(hosts(&machine(address.ip(), local)), &format!("tcp port {} or {OWN_PORTS}", address.port()));
        }
    }
    for address in named {
        leave_out(hosts(&machine(address.ip(), local)), &format!("tcp port {}", address.port()));
    }
    parts.join(" and ")
}

/// All addresses of the machine that an address belongs to, as far as they are known.
fn machine(address: IpAddr, local: &[IpAddr]) -> Vec<IpAddr> {
    if address.is_loopback() || address.is_unspecified() || local.contains(&address) {
        return local.iter().copied().chain((!address.is_unspecified()).then_some(address)).collect();
    }
    vec![address]
}

fn hosts(addresses: &[IpAddr]) -> String {
    let distinct: BTreeSet<_> = addresses.iter().collect();
    distinct.iter().map(|address| format!("host {address}")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn filter_of(collector: &str, named: &[&str], local: &[&str]) -> String {
        let collector = Destination::parse(collector, true).unwrap();
        let named: Vec<SocketAddr> = named.iter().map(|text| text.parse().unwrap()).collect();
        let local: Vec<IpAddr> = local.iter().map(|text| text.parse().unwrap()).collect();
        let filter = filter(&[collector], &named, &local);
        // What libpcap makes of it.
        pcap::Capture::dead(pcap::Linktype::ETHERNET).unwrap().compile(&filter, true).unwrap();
        filter
    }

    #[test]
    fn a_collector_elsewhere_is_left_out_with_its_feed_and_api() {
        assert_eq!(
            filter_of("192.0.2.1:999", &[], &["127.0.0.1", "192.0.2.9"]),
            "not ((host 192.0.2.1) and (tcp port 999 or tcp portrange 7710-7714))"
        );
    }

    #[test]
    fn a_collector_here_is_left_out_on_every_address_of_the_machine() {
        let everywhere =
            "not ((host 127.0.0.1 or host 192.0.2.9 or host ::1) and (tcp port 7710 or tcp portrange 7710-7714))";
        let local = ["::1", "192.0.2.9", "127.0.0.1"];
        assert_eq!(filter_of("127.0.0.1:7710", &[], &local), everywhere);
        assert_eq!(filter_of("192.0.2.9:7710", &[], &local), everywhere);
        assert_eq!(
            filter_of("unix:/run/x", &["0.0.0.0:80", "198.51.100.7:9200"], &["192.0.2.9"]),
            "not ((host 192.0.2.9) and (tcp portrange 7710-7714)) and not ((host 192.0.2.9) and (tcp port 80)) \
             and not ((host 198.51.100.7) and (tcp port 9200))"
        );
        assert_eq!(filter_of("unix:/run/x", &[], &[]), "not (tcp portrange 7710-7714)");
    }
}
