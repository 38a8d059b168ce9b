//! Events on their way to the outputs, with their JSON written once for all outputs.
//! Keeps the order it was given; sorting is the analyzer's.

use event::{Event, JsonWriter};

/// Some events and, line by line, their JSON.
#[derive(Debug, Default)]
pub struct EventBatch {
    events: Vec<Event>,
    json: Vec<u8>,
    ends: Vec<usize>,
}

impl EventBatch {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an event and writes its JSON.
    pub fn push(&mut self, event: Event, writer: &mut JsonWriter<'_>) {
        let line = writer.write(&event);
        self.push_written(event, line);
    }

    /// Adds an event whose JSON line, line end included, is written already.
    pub fn push_written(&mut self, event: Event, line: &[u8]) {
        self.json.extend_from_slice(line);
        self.ends.push(self.json.len());
        self.events.push(event);
    }

    /// A batch of those that `keep` chooses.
    pub(crate) fn filtered(&self, keep: impl Fn(&Event) -> bool) -> Self {
        let mut chosen = Self::new();
        for (event, line) in self.iter().filter(|(event, _)| keep(event)) {
            chosen.push_written(event.clone(), line);
        }
        chosen
    }

    /// How many events.
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Size of the JSON in bytes.
    pub fn json_bytes(&self) -> usize {
        self.json.len()
    }

    /// The events.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// All JSON lines, each with its line end.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Each event with its JSON line, line end included.
    pub fn iter(&self) -> impl Iterator<Item = (&Event, &[u8])> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let lines = starts.zip(&self.ends).map(|(start, end)| self.json.get(start..*end).unwrap_or_default());
        self.events.iter().zip(lines)
    }
}
