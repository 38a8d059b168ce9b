//! What a protocol implements: one decoder object per flow, fed with datagrams or with a stream in order.
//! Decoders never see each other; what they find goes out through the [`Context`].

use crate::config::Profile;
use crate::context::{Context, FlowInfo};
use event::Field;
use packet::Timestamp;
use std::any::Any;
use std::sync::Arc;

/// One of the two sides of a flow, named by who sent the first packet that was seen. Who is client and who server is the
/// decoder's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The side that sent the first packet.
    First,
    /// The other one.
    Second,
}

impl Side {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }

    /// 0 or 1, for tables per side.
    pub const fn index(self) -> usize {
        self as usize
    }
}

/// Whether a decoder goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It does.
    Continue,
    /// This is not its protocol: the engine lets it finish, forgets it and may try others with what comes. What it has emitted
    /// stays.
    GiveBack,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// One side has said that it sends no more (FIN).
    Finished(Side),
    /// The connection was broken off (RST) by this side.
    Reset(Side),
}

/// The decoder of one flow. Every method has a default, so that a protocol implements what it needs.
pub trait FlowDecoder: Send {
    /// A datagram (UDP), or an ICMP message. `wire_length` is its length before the capture cut it.
    fn datagram(&mut self, context: &mut Context<'_>, side: Side, payload: &[u8], wire_length: usize) -> Verdict {
        let _ = (context, side, payload, wire_length);
        Verdict::GiveBack
    }

    /// The next bytes of one side of a stream.
    fn data(&mut self, context: &mut Context<'_>, side: Side, bytes: &[u8]) -> Verdict {
        let _ = (context, side, bytes);
        Verdict::GiveBack
    }

    /// Bytes of one side that will never come: lost, not captured, or given up waiting for.
    fn gap(&mut self, context: &mut Context<'_>, side: Side, length: u64) -> Verdict {
        let _ = (context, side, length);
        Verdict::GiveBack
    }

    /// The stream ended. More data of the other side may follow a [`Close::Finished`].
    fn closed(&mut self, context: &mut Context<'_>, how: Close) {
        let _ = (context, how);
    }

    /// When [`FlowDecoder::expire`] is to be called next. Asked after every call.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// The deadline has passed.
    fn expire(&mut self, context: &mut Context<'_>, now: Timestamp) {
        let _ = (context, now);
    }

    /// The flow ends for this decoder: by time-out, by the end of input, because a bound cut it off, or because it gave the
    /// flow back. Whatever is open is emitted now.
    fn finish(&mut self, context: &mut Context<'_>) {
        let _ = context;
    }

    /// Number of the oldest packet that something open still needs.
    fn oldest_needed(&self) -> Option<u64> {
        None
    }
}

/// A protocol with its options: makes decoders.
pub trait Factory: Send + Sync {
    /// A decoder for a flow. `announced` is what the announcer of an expectation gave with it.
    fn decoder(&self, flow: &FlowInfo, announced: Option<&Announced>) -> Box<dyn FlowDecoder>;
}

/// What somebody who announces a flow wants its decoder to know.
pub type Announced = Arc<dyn Any + Send + Sync>;

/// What a protocol says of the first bytes of a flow that has none of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recognition {
    /// Its protocol.
    Yes,
    /// It may be: with more bytes, or more datagrams, it will know.
    Maybe,
    /// Something else.
    No,
}

/// What recognition looks at.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// Whether this is a stream.
    pub stream: bool,
    /// Which side sent it.
    pub side: Side,
    /// The first bytes of that side of a stream, or one datagram.
    pub bytes: &'a [u8],
    /// Ports, of the sender and of the other side.
    pub ports: (u16, u16),
}

/// What the registry knows of a protocol.
pub struct Protocol {
    /// Its name: Packetbeat's, and the key of its options.
    pub name: &'static str,
    /// Its fields.
    pub fields: &'static [&'static Field],
    /// Decodes datagrams.
    pub datagrams: bool,
    /// Decodes streams.
    pub streams: bool,
    /// IP protocols other than TCP and UDP whose packets are its datagrams.
    pub ip_protocols: &'static [u8],
    /// Ports that stand for it unless configured otherwise, as Packetbeat has them.
    pub ports: &'static [u16],
    /// Whether it is among Packetbeat's protocols.
    pub in_packetbeat: bool,
    /// Looks at the first bytes of flows on other ports.
    pub recognise: Option<fn(&Sample<'_>) -> Recognition>,
    /// Reads its options (without `enabled` and `ports`).
    pub configure: fn(toml::Table, Profile) -> Result<Arc<dyn Factory>, String>,
}
