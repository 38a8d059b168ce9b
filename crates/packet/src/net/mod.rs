//! Views of link, network and transport headers, and [`dissect`], which walks a captured packet from its link header to
//! its innermost transport payload. Keeps no state between packets: fragments and segments are put together elsewhere.
//!
//! Panic contract: nothing here panics on any bytes. A view is made by its `new`, which checks that the fixed part is
//! there; after that every accessor is total. What does not fit is noted as an [`Anomaly`], and the walk stops where
//! nothing more can be understood, keeping what was.

mod dissect;
mod dissected;

pub mod arp;
pub mod cooked;
pub mod erspan;
pub mod ethernet;
pub mod frame_relay;
pub mod geneve;
pub mod gre;
pub mod gtpu;
pub mod icmp;
pub mod ieee80211;
pub mod ipv4;
pub mod ipv6;
pub mod l2tp;
pub mod llc;
pub mod loopback;
pub mod mpls;
pub mod ppp;
pub mod sctp;
pub mod tcp;
pub mod teredo;
pub mod udp;
pub mod vlan;
pub mod vxlan;

pub use dissect::{Follow, dissect, dissect_following, dissect_into, dissect_network, dissect_reassembled};
pub use dissected::{
    Anomalies, Anomaly, Dissected, Fragment, Icmp, Link, Mac, Network, Noted, Sctp, Tcp, TcpFlags, Transport, Tunnel,
    TunnelKind, Tunnels, Udp, Vlans,
};

/// A view: a fixed part whose presence `new` has checked, and what follows it.
macro_rules! view {
    ($(#[$doc:meta])* $name:ident, $length:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name<'a> {
            head: &'a [u8; $length],
            rest: &'a [u8],
        }

        impl<'a> $name<'a> {
            /// Bytes of the fixed part.
            pub const LENGTH: usize = $length;

            /// The view, or `None` when `bytes` is shorter than the fixed part.
            #[inline]
            pub fn new(bytes: &'a [u8]) -> Option<Self> {
                let (head, rest) = bytes.split_first_chunk()?;
                Some(Self { head, rest })
            }

            /// What follows the fixed part.
            #[inline]
            pub const fn rest(&self) -> &'a [u8] {
                self.rest
            }
        }
    };
}
use view;

/// Two bytes of a fixed part, most significant first. `at` is a constant of the layout, never data.
#[inline]
fn be16<const N: usize>(head: &[u8; N], at: usize) -> u16 {
    u16::from_be_bytes([head[at], head[at + 1]])
}

/// Four bytes of a fixed part, most significant first. `at` is a constant of the layout, never data.
#[inline]
fn be32<const N: usize>(head: &[u8; N], at: usize) -> u32 {
    u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]])
}
