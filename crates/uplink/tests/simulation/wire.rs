//! The network: connections that fragment, delay, stall and break, and that tell their ends of it or not.

use crate::random::Random;
use std::collections::VecDeque;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Probe,
    Collector,
}

impl Side {
    pub fn other(self) -> Self {
        match self {
            Self::Probe => Self::Collector,
            Self::Collector => Self::Probe,
        }
    }
}

/// What arrives at one end.
#[derive(Debug)]
pub enum Arrival {
    Bytes(Vec<u8>),
    /// The connection is closed; nothing follows.
    Close,
}

/// How a connection breaks.
#[derive(Debug, Clone, Copy)]
pub enum Cut {
    /// Both ends are told.
    Told,
    /// Only this end is told.
    HalfOpen(Side),
    /// Nobody is told.
    Dead,
    /// Bytes to this end vanish, those from it arrive.
    OneWay(Side),
}

/// One direction.
#[derive(Debug, Default)]
struct Pipe {
    arrivals: VecDeque<(u64, Arrival)>,
    /// Bytes accepted and not arrived: those that vanish stay in the sender's buffer for ever.
    held: usize,
    newest: u64,
    stalled_until: u64,
    broken: bool,
}

/// One connection.
#[derive(Debug)]
pub struct Wire {
    to_probe: Pipe,
    to_collector: Pipe,
    capacity: usize,
    /// Whether the network or the collector did anything to it that may trip a timer.
    pub touched: bool,
    /// The code of the refusal that was sent on it.
    pub refused: Option<u16>,
    /// Acknowledgements that were sent and have not come out at the probe: (durable seq, credit).
    pub acknowledgements: VecDeque<(u64, u64)>,
}

impl Wire {
    pub fn new(capacity: usize) -> Self {
        Self {
            to_probe: Pipe::default(),
            to_collector: Pipe::default(),
            capacity,
            touched: false,
            refused: None,
            acknowledgements: VecDeque::new(),
        }
    }

    fn pipe(&mut self, to: Side) -> &mut Pipe {
        match to {
            Side::Probe => &mut self.to_probe,
            Side::Collector => &mut self.to_collector,
        }
    }

    /// Takes from `output` what there is room for, in pieces of any size. Gives the times of their arrival.
    pub fn write(
        &mut self,
        to: Side,
        output: &mut Vec<u8>,
        now: u64,
        longest_delay: u64,
        random: &mut Random,
    ) -> Vec<u64> {
        let capacity = self.capacity;
        let pipe = self.pipe(to);
        let length = output.len().min(capacity.saturating_sub(pipe.held));
        pipe.held += length;
        let taken: Vec<u8> = output.drain(..length).collect();
        let mut times = Vec::new();
        if pipe.broken {
            return times;
        }
        let mut rest = taken.as_slice();
        while !rest.is_empty() {
            let longest = random.one_of(&[3, 40, 1500, 65536]).min(rest.len() as u64);
            let (piece, after) = rest.split_at(random.between(1, longest) as usize);
            rest = after;
            pipe.newest = pipe.newest.max(now + random.between(1, longest_delay));
            pipe.arrivals.push_back((pipe.newest, Arrival::Bytes(piece.to_vec())));
            times.push(pipe.newest);
        }
        times
    }

    /// What arrives at this end now; or when to look again.
    pub fn arrive(&mut self, to: Side, now: u64) -> Result<Option<Arrival>, u64> {
        let pipe = self.pipe(to);
        if pipe.stalled_until > now {
            return Err(pipe.stalled_until);
        }
        if pipe.arrivals.front().is_none_or(|(at, _)| *at > now) {
            return Ok(None);
        }
        let arrival = pipe.arrivals.pop_front().map(|(_, arrival)| arrival);
        if let Some(Arrival::Bytes(bytes)) = &arrival {
            pipe.held -= bytes.len();
        }
        Ok(arrival)
    }

    /// An end closes: the other is told after what is on its way, and what comes to the one that closed vanishes.
    pub fn close(&mut self, by: Side, now: u64) -> Option<u64> {
        self.pipe(by).broken = true;
        self.pipe(by).arrivals.clear();
        self.tell(by.other(), now)
    }

    fn tell(&mut self, to: Side, now: u64) -> Option<u64> {
        let pipe = self.pipe(to);
        if pipe.broken {
            return None;
        }
        pipe.broken = true;
        pipe.newest = pipe.newest.max(now + 1);
        pipe.arrivals.push_back((pipe.newest, Arrival::Close));
        Some(pipe.newest)
    }

    pub fn stall(&mut self, to: Side, until: u64) {
        self.touched = true;
        self.pipe(to).stalled_until = until;
    }

    /// Breaks at any byte of what is on its way. Gives when the ends learn of it.
    pub fn cut(&mut self, how: Cut, now: u64, random: &mut Random) -> Vec<(Side, u64)> {
        self.touched = true;
        let mut told = Vec::new();
        for to in [Side::Probe, Side::Collector] {
            if matches!(how, Cut::OneWay(side) if side != to) || self.pipe(to).broken {
                continue;
            }
            self.pipe(to).lose_tail(random);
            if matches!(how, Cut::Told) || matches!(how, Cut::HalfOpen(side) if side == to) {
                told.extend(self.tell(to, now).map(|at| (to, at)));
            }
            self.pipe(to).broken = true;
        }
        told
    }
}

impl Pipe {
    /// Keeps the bytes on their way up to any one of them.
    fn lose_tail(&mut self, random: &mut Random) {
        let length = |arrival: &Arrival| if let Arrival::Bytes(bytes) = arrival { bytes.len() } else { 0 };
        let total: usize = self.arrivals.iter().map(|(_, arrival)| length(arrival)).sum();
        let mut left = random.between(0, total as u64) as usize;
        for (_, arrival) in &mut self.arrivals {
            let Arrival::Bytes(bytes) = arrival else { continue };
            bytes.truncate(left);
            left -= bytes.len();
        }
        self.arrivals.retain(|(_, arrival)| length(arrival) > 0);
        self.held = self.arrivals.iter().map(|(_, arrival)| length(arrival)).sum();
    }
}
