//! The collector's side of a connection: checks the order of what arrives and hands it out. Decides nothing about names,
//! storage or acknowledgement; the collector does and tells the session.

use crate::clock::PeerClock;
use crate::message::{EntryHead, Message, Refusal, read};
use crate::{
    Bye, Fault, HANDSHAKE_NANOS, HEARTBEAT_NANOS, Hello, MAJOR, MINOR, Moment, SILENCE_NANOS, Statistics, Welcome,
    frame,
};
use packet::{Interface, InterfaceSet};
use std::collections::BTreeMap;

/// Most interface sets of one connection.
const MAX_SETS: usize = 4096;
/// Most bytes of their names and filters.
const MAX_SET_BYTES: usize = 8 * 1024 * 1024;

/// What a collector learns from a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CollectorEvent {
    /// Who it is. The collector answers with [`CollectorSession::welcome`] or [`CollectorSession::refuse`].
    Hello(Hello),
    /// Another interface set.
    Interfaces(InterfaceSet),
    /// The next entry of the log, still compressed and unchecked.
    Entry(EntryHead, Vec<u8>),
    /// The probe's side of the balance.
    Statistics(Statistics),
    /// The epoch is complete.
    Bye(Bye),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Deciding,
    Open { next_seq: u64 },
    Ended,
}

/// One connection from a probe, from the first byte on.
#[derive(Debug)]
pub struct CollectorSession {
    state: State,
    reader: frame::Reader,
    output: Vec<u8>,
    sets: BTreeMap<u32, InterfaceSet>,
    sets_taken: usize,
    set_bytes: usize,
    began: u64,
    last_heard: u64,
    last_heartbeat: u64,
    peer_clock: PeerClock,
}

impl CollectorSession {
    /// A connection that was just accepted.
    pub fn new(now: Moment) -> Self {
        Self {
            state: State::Greeting,
            reader: frame::Reader::default(),
            output: Vec::new(),
            sets: BTreeMap::new(),
            sets_taken: 0,
            set_bytes: 0,
            began: now.monotonic,
            last_heard: now.monotonic,
            last_heartbeat: now.monotonic,
            peer_clock: PeerClock::default(),
        }
    }

    /// Bytes to be sent. The caller takes from the front what it could write.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Bytes received that make no whole message yet.
    pub fn pending(&self) -> usize {
        self.reader.pending()
    }

    /// The interface set with this number, as announced.
    pub fn set(&self, number: u32) -> Option<&InterfaceSet> {
        self.sets.get(&number)
    }

    /// Adds received bytes; [`CollectorSession::next_event`] gives out what they say.
    pub fn input(&mut self, bytes: &[u8], now: Moment) {
        self.last_heard = now.monotonic;
        self.reader.push(bytes);
    }

    /// The next event of what was received, or none until more arrives. After a hello nothing more comes until the
    /// collector has decided.
    ///
    /// # Errors
    /// Why the connection must be closed; a refusal with the reason stands in the output already.
    pub fn next_event(&mut self, now: Moment) -> Result<Option<CollectorEvent>, Fault> {
        let result = self.try_next_event(now);
        if let Err(fault) = &result {
            let code = if matches!(fault, Fault::Version { .. }) { Refusal::VERSION } else { Refusal::MALFORMED };
            self.refuse(Refusal { code, text: fault.to_string() }, now);
        }
        result
    }

    fn try_next_event(&mut self, now: Moment) -> Result<Option<CollectorEvent>, Fault> {
        loop {
            if self.state == State::Deciding {
                return Ok(None);
            }
            let Some(received) = self.reader.next_frame()? else { return Ok(None) };
            match (read(received)?, self.state) {
                (Message::Hello(hello), State::Greeting) => {
                    for set in &hello.sets {
                        self.take_set(set)?;
                    }
                    self.state = State::Deciding;
                    return Ok(Some(CollectorEvent::Hello(hello)));
                }
                (Message::Interfaces(set), State::Open { .. }) => {
                    self.take_set(&set)?;
                    return Ok(Some(CollectorEvent::Interfaces(set)));
                }
                (Message::Entry(head, bytes), State::Open { next_seq }) => {
                    if head.seq != next_seq {
                        return Err(Fault::Malformed {
                            message: "batch",
                            problem: "its sequence number does not follow the one before",
                        });
                    }
                    self.state = State::Open { next_seq: head.last_seq.saturating_add(1) };
                    return Ok(Some(CollectorEvent::Entry(head, bytes.to_vec())));
                }
                (Message::Statistics(statistics), State::Open { .. }) => {
                    return Ok(Some(CollectorEvent::Statistics(statistics)));
                }
                (Message::Bye(bye), State::Open { .. }) => {
                    self.state = State::Ended;
                    return Ok(Some(CollectorEvent::Bye(bye)));
                }
                (Message::Heartbeat { clock, echo }, _) => self.peer_clock.heartbeat(clock, echo, now),
                (Message::Unknown(_), _) => {}
                (other, state) => {
                    let state = match state {
                        State::Greeting | State::Deciding => "it has not said hello yet",
                        State::Open { .. } => "the connection is open",
                        State::Ended => "it has said that its epoch is complete",
                    };
                    return Err(Fault::Unexpected { message: other.name(), state });
                }
            }
        }
    }

    /// Notes an interface set, as long as the probe does not bring too many.
    fn take_set(&mut self, set: &InterfaceSet) -> Result<(), Fault> {
        let bytes = |interface: &Interface| interface.name.len() + interface.filter.len();
        self.sets_taken += 1;
        self.set_bytes += set.interfaces.iter().map(bytes).sum::<usize>();
        if self.sets_taken > MAX_SETS || self.set_bytes > MAX_SET_BYTES {
            return Err(Fault::Malformed { message: "interface set", problem: "there are too many of them" });
        }
        self.sets.insert(set.number, set.clone());
        Ok(())
    }

    /// Lets the probe in: it goes on with `next_seq`; everything before `durable_seq` is durable.
    pub fn welcome(&mut self, next_seq: u64, durable_seq: u64, credit: u64, now: Moment) {
        self.state = State::Open { next_seq };
        let welcome = Welcome { major: MAJOR, minor: MINOR, next_seq, durable_seq, credit, clock: now.clock };
        Message::Welcome(welcome).write(&mut self.output);
    }

    /// Turns the probe away; the caller closes the connection once the output is written.
    pub fn refuse(&mut self, refusal: Refusal, _now: Moment) {
        self.state = State::Ended;
        Message::Refuse(refusal).write(&mut self.output);
    }

    /// Acknowledges everything before `durable_seq`.
    pub fn acknowledge(&mut self, durable_seq: u64, credit: u64, _now: Moment) {
        Message::Ack { durable_seq, credit }.write(&mut self.output);
    }

    /// Sends a heartbeat when it is time.
    ///
    /// # Errors
    /// The probe has been silent for too long, or its hello has not come in time.
    pub fn tick(&mut self, now: Moment) -> Result<(), Fault> {
        let silent = now.monotonic.saturating_sub(self.last_heard);
        let waited = now.monotonic.saturating_sub(self.began);
        if silent > SILENCE_NANOS || (self.state == State::Greeting && waited > HANDSHAKE_NANOS) {
            return Err(Fault::Silent(silent.max(waited.min(HANDSHAKE_NANOS))));
        }
        if matches!(self.state, State::Open { .. })
            && now.monotonic.saturating_sub(self.last_heartbeat) >= HEARTBEAT_NANOS
        {
            self.last_heartbeat = now.monotonic;
            self.peer_clock.answer(now).write(&mut self.output);
        }
        Ok(())
    }

    /// When this side last heard anything, in nanoseconds of the monotonic clock.
    pub fn last_heard(&self) -> u64 {
        self.last_heard
    }

    /// The probe's clock minus this side's in nanoseconds, as far as heartbeats tell.
    pub fn clock_offset_nanos(&self) -> Option<i64> {
        self.peer_clock.offset_nanos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Epoch, LinkType, Timestamp};

    #[test]
    fn nothing_may_follow_a_bye() {
        let now = Moment { monotonic: 1, clock: Timestamp::ZERO };
        let mut session = CollectorSession::new(now);
        session.welcome(7, 7, 1, now);
        let mut bytes = Vec::new();
        Message::Bye(Bye { statistics: Statistics::default() }).write(&mut bytes);
        Message::Entry(EntryHead { seq: 7, last_seq: 7, raw_length: 1 }, b"e").write(&mut bytes);
        session.input(&bytes, now);
        assert!(matches!(session.next_event(now), Ok(Some(CollectorEvent::Bye(_)))));
        assert!(matches!(session.next_event(now), Err(Fault::Unexpected { .. })));
    }

    #[test]
    fn a_probe_cannot_fill_the_memory_with_interfaces() {
        let now = Moment { monotonic: 1, clock: Timestamp::ZERO };
        let long = Interface { name: String::new(), link_type: LinkType(1), snaplen: 0, filter: "f".repeat(60_000) };
        let set = |number| InterfaceSet { number, interfaces: vec![long.clone(); 10] };
        let hello = Hello {
            major: MAJOR,
            minor: MINOR,
            source: "a".parse().unwrap(),
            epoch: Epoch([1; 16]),
            oldest_seq: 0,
            next_seq: 0,
            clock: now.clock,
            sets: vec![set(0)],
        };
        let mut session = CollectorSession::new(now);
        let mut bytes = Vec::new();
        Message::Hello(hello).write(&mut bytes);
        session.input(&bytes, now);
        assert!(matches!(session.next_event(now), Ok(Some(CollectorEvent::Hello(_)))));
        session.welcome(0, 0, 1, now);
        // The same number again and again.
        let taken = (1..100).take_while(|_| {
            let mut bytes = Vec::new();
            Message::Interfaces(set(1)).write(&mut bytes);
            session.input(&bytes, now);
            session.next_event(now).is_ok()
        });
        assert_eq!(1 + taken.count(), MAX_SET_BYTES / 600_000);
    }
}
