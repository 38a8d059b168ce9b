//! Events as JSON lines, after tags and processors.
//! The only place where the analyzer turns an event into bytes.

use std::sync::Arc;

use event::{Event, JsonWriter, Schema};
use processors::Processors;

use crate::settings::Settings;
use crate::worker::Render;

struct JsonLines {
    processors: Processors,
    writer: JsonWriter<'static>,
}

impl Render for JsonLines {
    fn process(&mut self, event: &mut Event) -> bool {
        self.processors.apply(event)
    }

    fn render(&mut self, event: &Event, out: &mut Vec<u8>) {
        self.writer.write(event, out);
        out.push(b'\n');
    }
}

/// Makes renderers that write JSON lines, one per worker.
pub fn json_renderer(settings: &Settings, schema: &'static Schema) -> Arc<dyn Fn() -> Box<dyn Render> + Send + Sync> {
    for problem in settings.processors.unknown() {
        tracing::warn!("{problem}");
    }
    let processors = settings.processors.after_tags(&settings.tags);
    Arc::new(move || {
        let line = JsonLines { processors: processors.clone(), writer: JsonWriter::new(schema) };
        Box::new(line)
    })
}
