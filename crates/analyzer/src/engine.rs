//! Fits the decode engine to what workers need.
//! Holds no logic: one engine per worker and stream.

use std::sync::Arc;

use decode::config::ConfigError;
use decode::{Config, Emit, Engine};
use packet::Timestamp;
use settings::Faults;

use crate::decoder::{Decoder, Factory, Frame, Stream};
use crate::settings::Settings;

impl Decoder for Engine {
    #[inline]
    fn packet(&mut self, frame: &Frame<'_>, out: &mut dyn Emit) {
        Engine::packet(self, frame, out);
    }

    fn advance(&mut self, clock: Timestamp, out: &mut dyn Emit) {
        Engine::advance(self, clock, out);
    }

    fn lost(&mut self, packets: u64, clock: Timestamp) {
        Engine::lost(self, packets, clock);
    }

    fn finish(&mut self, out: &mut dyn Emit) {
        Engine::finish(self, out);
    }

    fn oldest_needed(&self) -> Option<u64> {
        Engine::oldest_needed(self)
    }
}

struct Engines {
    config: Config,
}

impl Factory for Engines {
    fn decoder(&self, stream: &Arc<Stream>) -> Result<Box<dyn Decoder>, String> {
        let engine = Engine::new(&self.config, Arc::clone(&stream.observer)).map_err(|error| error.to_string())?;
        Ok(Box::new(if stream.is_from_the_middle() { engine.from_the_middle() } else { engine }))
    }
}

/// Makes decode engines with these settings.
///
/// # Errors
/// What is wrong with them.
pub fn factory(settings: &Settings) -> Result<Arc<dyn Factory>, Faults> {
    let config = settings.decoding();
    let observer = Arc::new(event::Observer { name: String::new(), epoch: String::new(), is_file: true });
    // Everything that can be wrong with a configuration is found by making an engine of it.
    let Err(error) = Engine::new(&config, observer) else { return Ok(Arc::new(Engines { config })) };
    let (key, problem) = match error {
        ConfigError::UnknownProtocol { name, known } => {
            (format!("protocols.{name}"), format!("there is no such protocol; known are {known}"))
        }
        ConfigError::Option { protocol, problem } => (format!("protocols.{protocol}"), problem),
        ConfigError::Value { key, problem } => (key.to_owned(), problem),
    };
    let mut faults = Faults::default();
    faults.add(format!("analyzer.{key}"), problem);
    Err(faults)
}
