//! The probe's side of a connection. Says what may be sent and what was acknowledged; keeps no batches itself, the spool does.

use crate::clock::PeerClock;
use crate::message::{EntryHead, Message, read};
use crate::{
    Bye, Fault, HANDSHAKE_NANOS, HEARTBEAT_NANOS, Hello, MAJOR, Moment, SILENCE_NANOS, Statistics, Welcome, frame,
};
use packet::InterfaceSet;
use std::collections::VecDeque;

/// What a probe learns from its collector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeEvent {
    /// The handshake is over; go on with `next_seq`, what lies before `durable_seq` can be forgotten.
    Welcomed(Welcome),
    /// What lies before this sequence number is durable and can be forgotten.
    Acknowledged(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Greeting,
    Open,
}

/// One connection to a collector, from the first byte on.
#[derive(Debug)]
pub struct ProbeSession {
    state: State,
    reader: frame::Reader,
    output: Vec<u8>,
    credit: u64,
    in_flight: VecDeque<(u64, u64)>,
    in_flight_bytes: u64,
    began: u64,
    last_heard: u64,
    last_heartbeat: u64,
    peer_clock: PeerClock,
}

impl ProbeSession {
    /// Begins with the hello, which stands in [`ProbeSession::output`] at once.
    pub fn new(hello: Hello, now: Moment) -> Self {
        let mut session = Self {
            state: State::Greeting,
            reader: frame::Reader::default(),
            output: Vec::new(),
            credit: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            began: now.monotonic,
            last_heard: now.monotonic,
            last_heartbeat: now.monotonic,
            peer_clock: PeerClock::default(),
        };
        Message::Hello(hello).write(&mut session.output);
        session
    }

    /// Bytes to be sent. The caller takes from the front what it could write.
    pub fn output(&mut self) -> &mut Vec<u8> {
        &mut self.output
    }

    /// Takes received bytes and gives out what they say.
    ///
    /// # Errors
    /// Why the connection must be closed.
    pub fn input(&mut self, bytes: &[u8], now: Moment, events: &mut Vec<ProbeEvent>) -> Result<(), Fault> {
        self.last_heard = now.monotonic;
        self.reader.push(bytes);
        while let Some(received) = self.reader.next_frame()? {
            match (read(received)?, self.state) {
                (Message::Welcome(welcome), State::Greeting) => {
                    if welcome.major != MAJOR {
                        return Err(Fault::Version { theirs: welcome.major });
                    }
                    self.state = State::Open;
                    self.credit = welcome.credit;
                    events.push(ProbeEvent::Welcomed(welcome));
                }
                (Message::Ack { durable_seq, credit }, State::Open) => {
                    self.credit = credit;
                    while let Some(&(last_seq, length)) = self.in_flight.front()
                        && last_seq < durable_seq
                    {
                        self.in_flight_bytes -= length;
                        self.in_flight.pop_front();
                    }
                    events.push(ProbeEvent::Acknowledged(durable_seq));
                }
                (Message::Heartbeat { clock, echo }, _) => self.peer_clock.heartbeat(clock, echo, now),
                (Message::Refuse(refusal), _) => return Err(Fault::Refused(refusal)),
                (Message::Unknown(_), _) => {}
                (other, State::Greeting) => {
                    return Err(Fault::Unexpected {
                        message: other.name(),
                        state: "it had not welcomed this probe yet",
                    });
                }
                (other, State::Open) => {
                    return Err(Fault::Unexpected { message: other.name(), state: "the connection is open" });
                }
            }
        }
        Ok(())
    }

    /// Whether the handshake is over.
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// Whether credit allows another entry now. One entry is always allowed, however large.
    pub fn may_send(&self, length: usize) -> bool {
        self.is_open()
            && (self.in_flight.is_empty() || self.in_flight_bytes.saturating_add(length as u64) <= self.credit)
    }

    /// Sends an entry. The caller asked [`ProbeSession::may_send`] and keeps to the order of the log.
    pub fn send_entry(&mut self, head: EntryHead, compressed: &[u8], _now: Moment) {
        self.in_flight.push_back((head.last_seq, compressed.len() as u64));
        self.in_flight_bytes += compressed.len() as u64;
        Message::Entry(head, compressed).write(&mut self.output);
    }

    /// Announces an interface set; before the first batch that refers to it.
    pub fn send_interfaces(&mut self, set: InterfaceSet, _now: Moment) {
        Message::Interfaces(set).write(&mut self.output);
    }

    /// Sends this side of the balance.
    pub fn send_statistics(&mut self, statistics: Statistics, _now: Moment) {
        if self.is_open() {
            Message::Statistics(statistics).write(&mut self.output);
        }
    }

    /// Says that the epoch is complete.
    pub fn send_bye(&mut self, statistics: Statistics, _now: Moment) {
        if self.is_open() {
            Message::Bye(Bye { statistics }).write(&mut self.output);
        }
    }

    /// Sends a heartbeat when it is time.
    ///
    /// # Errors
    /// The collector has been silent for too long, or the handshake has taken too long.
    pub fn tick(&mut self, now: Moment) -> Result<(), Fault> {
        let silent = now.monotonic.saturating_sub(self.last_heard);
        let greeting = now.monotonic.saturating_sub(self.began);
        if silent > SILENCE_NANOS || (self.state == State::Greeting && greeting > HANDSHAKE_NANOS) {
            return Err(Fault::Silent(silent.max(greeting.min(silent))));
        }
        if self.is_open() && now.monotonic.saturating_sub(self.last_heartbeat) >= HEARTBEAT_NANOS {
            self.last_heartbeat = now.monotonic;
            self.peer_clock.answer(now).write(&mut self.output);
        }
        Ok(())
    }

    /// The collector's clock minus this side's in nanoseconds, as far as heartbeats tell.
    pub fn clock_offset_nanos(&self) -> Option<i64> {
        self.peer_clock.offset_nanos()
    }
}
