//! The stage as sinks see it: events pass by, what they add up to comes out.
//! Keeps the difference between files, where everything is known before anything must be said, and live use, where calls end in their time.

use std::sync::Arc;

use event::{Event, Observer};
use packet::Timestamp;

use super::{Calls, Limits};

/// The stage; without calls where they are not wanted.
#[derive(Debug, Default)]
pub struct Stage {
    calls: Option<Calls>,
    /// What has come out, until it is taken.
    pub out: Vec<Event>,
}

impl Stage {
    /// For live use: a call is given out some time after its end.
    pub fn live(enabled: bool) -> Self {
        Self { calls: enabled.then(Calls::default), out: Vec::new() }
    }

    /// For a file: all calls are given out at its end, when the last report of their media has come.
    pub fn for_file(enabled: bool) -> Self {
        let limits = Limits { settle_ns: u64::MAX, linger_ns: u64::MAX, idle_ns: u64::MAX, ..Limits::default() };
        Self { calls: enabled.then(|| Calls::new(limits)), out: Vec::new() }
    }

    /// Whether this event says something about a call.
    pub fn concerns(&self, event: &Event) -> bool {
        self.calls.is_some() && matches!(event.event_type, "sip" | "rtp")
    }

    /// Takes note of an event that goes by.
    pub fn observe(&mut self, event: &Event) {
        if let Some(calls) = &mut self.calls {
            calls.observe(event, &mut self.out);
        }
    }

    /// Time has come this far.
    pub fn advance(&mut self, clock: Timestamp) {
        if let Some(calls) = &mut self.calls {
            calls.advance(clock, &mut self.out);
        }
    }

    /// Nothing more comes.
    pub fn finish(&mut self) {
        if let Some(calls) = &mut self.calls {
            calls.finish(&mut self.out);
        }
    }

    /// Nothing more comes of what this observer saw.
    pub fn finish_observer(&mut self, observer: &Arc<Observer>) {
        if let Some(calls) = &mut self.calls {
            calls.finish_observer(observer, &mut self.out);
        }
    }

    /// The oldest packet of an observer that an open call still needs.
    pub fn oldest_needed(&self, observer: &Arc<Observer>) -> Option<u64> {
        self.calls.as_ref()?.oldest_needed(observer)
    }
}
