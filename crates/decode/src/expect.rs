//! Expectations: what one protocol announced about flows of another, such as SDP about RTP. Bounded in number and in time.

use crate::decoder::Announced;
use packet::Timestamp;
use packet::flow::Endpoint;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

/// Most expectations at once; the oldest goes.
const MOST: usize = 65_536;
/// How long one holds, in nanoseconds of packet time: a call may ring for minutes before it talks.
const HOLDS_NANOS: u64 = 600_000_000_000;

#[derive(Clone)]
pub(crate) struct Expectation {
    pub(crate) protocol: &'static str,
    pub(crate) announced: Announced,
    since: Timestamp,
    serial: u64,
}

/// All expectations of an engine.
#[derive(Default)]
pub(crate) struct Expectations {
    table: HashMap<(IpAddr, u16), Expectation, ahash::RandomState>,
    order: VecDeque<((IpAddr, u16), u64)>,
    serial: u64,
}

impl Expectations {
    pub(crate) fn insert(
        &mut self,
        endpoint: Endpoint,
        protocol: &'static str,
        announced: Announced,
        since: Timestamp,
    ) {
        let key = (endpoint.address, endpoint.port);
        self.serial += 1;
        self.table.insert(key, Expectation { protocol, announced, since, serial: self.serial });
        self.order.push_back((key, self.serial));
        while self.table.len() > MOST || self.order.len() > 2 * MOST {
            let Some((key, serial)) = self.order.pop_front() else { break };
            if self.table.get(&key).is_some_and(|expectation| expectation.serial == serial) {
                self.table.remove(&key);
            }
        }
    }

    /// How many there have been.
    pub(crate) const fn serial(&self) -> u64 {
        self.serial
    }

    /// What was announced about flows of `protocol` to or from one endpoint.
    pub(crate) fn at(&self, endpoint: Endpoint, protocol: &'static str, now: Timestamp) -> Option<Announced> {
        let expectation = self.table.get(&(endpoint.address, endpoint.port))?;
        let holds = now.since(expectation.since) <= HOLDS_NANOS && expectation.protocol == protocol;
        holds.then(|| expectation.announced.clone())
    }

    /// What was announced about a flow between two endpoints.
    pub(crate) fn find(&self, first: Endpoint, second: Endpoint, now: Timestamp) -> Option<&Expectation> {
        if self.table.is_empty() {
            return None;
        }
        let at = |endpoint: Endpoint| self.table.get(&(endpoint.address, endpoint.port));
        let newest = match (at(second), at(first)) {
            (Some(one), Some(other)) => Some(if one.serial > other.serial { one } else { other }),
            (one, other) => one.or(other),
        };
        newest.filter(|expectation| now.since(expectation.since) <= HOLDS_NANOS)
    }
}
