//! Fits the decode engine to what workers need.
//! Holds no logic: one engine per worker and stream.

use std::sync::Arc;

use decode::{Config, Engine, Frame, Output};
use packet::Timestamp;

use crate::decoder::{Decoder, Emitted, Factory, Numbered, Stream};
use crate::settings::Settings;

struct Decoding {
    engine: Engine,
    out: Output,
}

impl Decoding {
    fn hand_over(&mut self, emitted: &mut Emitted) {
        for (event, completed) in self.out.events.drain(..) {
            if completed { emitted.completed(event) } else { emitted.ended(event) }
        }
    }
}

impl Decoder for Decoding {
    #[inline]
    fn packet(&mut self, packet: &Numbered<'_>, emitted: &mut Emitted) {
        let Numbered { number, clock, interface, packet } = *packet;
        self.engine.packet(&Frame { number, clock, interface, packet }, &mut self.out);
        if !self.out.events.is_empty() {
            self.hand_over(emitted);
        }
    }

    fn advance(&mut self, clock: Timestamp, emitted: &mut Emitted) {
        self.engine.advance(clock, &mut self.out);
        self.hand_over(emitted);
    }

    fn lost(&mut self, packets: u64, clock: Timestamp) {
        self.engine.lost(packets, clock);
    }

    fn finish(&mut self, emitted: &mut Emitted) {
        self.engine.finish(&mut self.out);
        self.hand_over(emitted);
    }

    fn oldest_needed(&self) -> Option<u64> {
        self.engine.oldest_needed()
    }
}

struct Engines {
    config: Config,
}

impl Factory for Engines {
    fn decoder(&self, stream: &Arc<Stream>) -> Result<Box<dyn Decoder>, String> {
        let engine = Engine::new(&self.config, Arc::clone(&stream.observer)).map_err(|error| error.to_string())?;
        Ok(Box::new(Decoding { engine, out: Output::default() }))
    }
}

/// Makes decode engines with these settings.
///
/// # Errors
/// When the settings cannot be used.
pub fn factory(settings: &Settings) -> Result<Arc<dyn Factory>, String> {
    let config = settings.decoding();
    let observer = Arc::new(event::Observer { name: String::new(), epoch: String::new(), is_file: true });
    // Everything that can be wrong with a configuration is found by making an engine of it.
    Engine::new(&config, observer).map_err(|error| error.to_string())?;
    Ok(Arc::new(Engines { config }))
}
