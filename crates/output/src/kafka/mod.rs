//! Kafka: events become messages, those of one flow in one partition.
//! Waiting, retrying and putting aside are [`crate::remote`]'s; here is what brokers understand.
//!
//! Built with the feature `kafka` only; the settings are there always, so that a configuration is understood.

#[cfg(feature = "kafka")]
mod producer;
mod settings;

use crate::OpenError;
#[cfg(feature = "kafka")]
pub use producer::Kafka;
use settings::wrong;
pub use settings::{Compression, Mechanism, Sasl, Settings};

/// Where names are looked up, if the answer is too long for a datagram.
const DNS_PORT: u16 = 53;

impl Settings {
    /// Hosts and ports of the brokers that are named; mistakes are [`Settings::service`]'s to report.
    pub(crate) fn endpoints(&self) -> Vec<(String, u16)> {
        self.brokers().unwrap_or_default()
    }

    pub(crate) fn tcp_ports(&self) -> Vec<u16> {
        let hosts = self.endpoints().into_iter().map(|(_, port)| port);
        hosts.chain(self.ports.iter().copied()).chain([DNS_PORT]).collect()
    }

    /// Brokers tell of each other by name.
    pub(crate) fn looks_up_names(&self) -> bool {
        true
    }

    #[cfg(feature = "kafka")]
    pub(crate) fn service(&self, _: &[&'static event::Field]) -> Result<Kafka, OpenError> {
        self.check()?;
        Kafka::new(self).map_err(wrong)
    }

    #[cfg(not(feature = "kafka"))]
    pub(crate) fn service(&self, _: &[&'static event::Field]) -> Result<Kafka, OpenError> {
        self.check()?;
        Err(wrong("this program was built without Kafka: build it with the feature `kafka`"))
    }
}

/// Not built in.
#[cfg(not(feature = "kafka"))]
pub enum Kafka {}

#[cfg(not(feature = "kafka"))]
impl crate::remote::Service for Kafka {
    fn send(
        &mut self,
        _: &[crate::remote::Document<'_>],
    ) -> Result<Vec<crate::remote::Fate>, crate::remote::Unavailable> {
        match *self {}
    }

    fn place(&self, _: &crate::remote::Document<'_>) -> String {
        match *self {}
    }
}
