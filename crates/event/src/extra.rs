//! What every event has beside its fields: its time and type, and under `tapline` and `observer` where its packets are.
//! Never an output's decision; what is to be left out is said of the event itself ([`Event::leave_out`]).

use crate::{Anomaly, Event, Field, common};
use packet::Timestamp;

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extra {
    /// `@timestamp`
    Time,
    /// `type`
    Type,
    /// `tapline.packet.first`
    FirstPacket,
    /// `tapline.packet.last`
    LastPacket,
    /// `tapline.source`
    Source,
    /// `tapline.epoch`
    Epoch,
    /// `observer.name`
    Name,
    /// `observer.ingress.interface.name`
    Interface,
    /// `tapline.partial`
    Partial,
    /// `tapline.capture_loss`
    CaptureLoss,
    /// `tapline.anomalies`
    Anomalies,
}

/// The value of one of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ExtraValue<'e> {
    /// A point in time.
    Time(Timestamp),
    /// A text.
    Text(&'e str),
    /// A number.
    Number(u64),
    /// True or false.
    Bool(bool),
    /// Objects with a name and an offset.
    Anomalies(&'e [Anomaly]),
}

impl Extra {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Time,
        Self::Type,
        Self::FirstPacket,
        Self::LastPacket,
        Self::Source,
        Self::Epoch,
        Self::Name,
        Self::Interface,
        Self::Partial,
        Self::CaptureLoss,
        Self::Anomalies,
    ];

    /// The field it is written as.
    pub const fn field(self) -> &'static Field {
        match self {
            Self::Time => &common::TIMESTAMP,
            Self::Type => &common::TYPE,
            Self::FirstPacket => &common::TAPLINE_FIRST_PACKET,
            Self::LastPacket => &common::TAPLINE_LAST_PACKET,
            Self::Source => &common::TAPLINE_SOURCE,
            Self::Epoch => &common::TAPLINE_EPOCH,
            Self::Name => &common::OBSERVER_NAME,
            Self::Interface => &common::OBSERVER_INTERFACE,
            Self::Partial => &common::TAPLINE_PARTIAL,
            Self::CaptureLoss => &common::TAPLINE_CAPTURE_LOSS,
            Self::Anomalies => &common::TAPLINE_ANOMALIES,
        }
    }

    /// Whether no event is without it.
    pub const fn is_mandatory(self) -> bool {
        matches!(self, Self::Time | Self::Type)
    }

    pub(crate) const fn bit(self) -> u16 {
        1 << self as u16
    }

    /// Its value in this event, if the event has it and it is not left out.
    pub fn value(self, event: &Event) -> Option<ExtraValue<'_>> {
        if event.left_out & self.bit() != 0 {
            return None;
        }
        let origin = &event.origin;
        match self {
            Self::Time => Some(ExtraValue::Time(event.time)),
            Self::Type => Some(ExtraValue::Text(event.event_type)),
            Self::FirstPacket => Some(ExtraValue::Number(origin.first_packet)),
            Self::LastPacket => Some(ExtraValue::Number(origin.last_packet)),
            Self::Source | Self::Name => Some(ExtraValue::Text(&origin.observer.name)),
            Self::Epoch => Some(ExtraValue::Text(&origin.observer.epoch)),
            Self::Interface => Some(&*origin.interface).filter(|name| !name.is_empty()).map(ExtraValue::Text),
            Self::Partial => event.partial.then_some(ExtraValue::Bool(true)),
            Self::CaptureLoss => Some(event.capture_loss).filter(|lost| *lost > 0).map(ExtraValue::Number),
            Self::Anomalies => {
                Some(event.anomalies.as_slice()).filter(|list| !list.is_empty()).map(ExtraValue::Anomalies)
            }
        }
    }
}
