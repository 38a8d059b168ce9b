//! All processors of a configuration, one after the other, checked against the fields there are and ready to be applied.
//! What was checked is kept: after the configuration is read nothing can fail any more.

use std::fmt;
use std::sync::Arc;

use event::{Event, Field};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use crate::add_fields::Added;
use crate::add_tags::Tags;
use crate::condition::Condition;
use crate::names::Names;
use crate::processor::Processor;
use crate::rename::Moves;
use crate::select::Selection;
use crate::truncate_fields::Truncation;

/// Processors, ready. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Processors {
    given: Vec<Processor>,
    steps: Vec<Arc<Step>>,
    fields: Vec<&'static Field>,
    unknown: Vec<String>,
}

#[derive(Debug)]
struct Step {
    when: Option<Condition>,
    act: Act,
}

#[derive(Debug)]
enum Act {
    Drop,
    Select(Selection),
    Move(Moves),
    Add(Added),
    Tag(Tags),
    Truncate(Truncation),
}

impl Processors {
    /// Applies them to an event; false drops it.
    #[inline]
    pub fn apply(&self, event: &mut Event) -> bool {
        self.steps.is_empty() || self.apply_all(event)
    }

    fn apply_all(&self, event: &mut Event) -> bool {
        for step in &self.steps {
            if step.when.as_ref().is_some_and(|when| !when.matches(event)) {
                continue;
            }
            match &step.act {
                Act::Drop => return false,
                Act::Select(selection) => selection.apply(event),
                Act::Move(moves) => moves.apply(event),
                Act::Add(added) => added.apply(event),
                Act::Tag(tags) => tags.apply(event),
                Act::Truncate(truncation) => truncation.apply(event),
            }
        }
        true
    }

    /// The same after labels for every event.
    #[must_use]
    pub fn after_tags(&self, tags: &[String]) -> Self {
        let mut all = self.clone();
        if !tags.is_empty() {
            all.steps.insert(0, Arc::new(Step { when: None, act: Act::Tag(Tags::plain(tags)) }));
        }
        all
    }

    /// The fields they make that stand in no table.
    pub fn fields(&self) -> &[&'static Field] {
        &self.fields
    }

    /// What is likely to be a mistake, for the log: names of fields that no event has.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// Reads and checks a list of processors for events with these fields.
    ///
    /// # Errors
    /// What is wrong with an entry and what to do.
    pub fn deserialize<'de, D: Deserializer<'de>>(
        fields: &[&'static Field],
        deserializer: D,
    ) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(List(Builder::new(fields)))
    }
}

impl PartialEq for Processors {
    fn eq(&self, other: &Self) -> bool {
        self.given == other.given
    }
}

impl Serialize for Processors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.given)
    }
}

/// Makes processors ready, one after the other: a later one knows the fields that an earlier one makes.
#[derive(Debug)]
struct Builder {
    names: Names,
    made: Processors,
}

impl Builder {
    /// For events with these fields.
    fn new(fields: &[&'static Field]) -> Self {
        Self { names: Names::new(fields), made: Processors::default() }
    }

    /// Adds one.
    ///
    /// # Errors
    /// What is wrong with it and what to do.
    fn add(&mut self, processor: Processor) -> Result<(), String> {
        if processor.lacks_fields() {
            return Err("no field is named; name at least one in `fields`".to_owned());
        }
        self.note_unknown(&processor);
        let names = &mut self.names;
        let act = match &processor {
            Processor::DropEvent(_) => Act::Drop,
            Processor::DropFields(options) => Act::Select(Selection::dropping(&options.fields)),
            Processor::IncludeFields(options) => Act::Select(Selection::keeping(&options.fields)),
            Processor::Rename(options) => Act::Move(Moves::rename(options, names)?),
            Processor::CopyFields(options) => Act::Move(Moves::copy(options, names)?),
            Processor::AddFields(options) => Act::Add(Added::new(options, names)?),
            Processor::AddTags(options) => Act::Tag(Tags::new(options, names)?),
            Processor::TruncateFields(options) => Act::Truncate(Truncation::new(options, names)?),
        };
        self.made.steps.push(Arc::new(Step { when: processor.when().cloned(), act }));
        self.made.given.push(processor);
        Ok(())
    }

    fn note_unknown(&mut self, processor: &Processor) {
        let asked = processor.when().map(Condition::fields).unwrap_or_default();
        for path in asked.into_iter().chain(processor.fields()) {
            if self.names.is_known(path) || path == "_id" {
                continue;
            }
            let near = self.names.nearest(path).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            let (number, name) = (self.made.given.len(), processor.name());
            self.made
                .unknown
                .push(format!("analyzer.processors[{number}]: {name}: no event has a field `{path}`{near}"));
        }
    }

    /// All of them.
    fn build(mut self) -> Processors {
        self.made.fields = self.names.made().to_vec();
        self.made
    }
}

/// Reads a list.
struct List(Builder);

impl<'de> Visitor<'de> for List {
    type Value = Processors;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of processors")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<Processors, A::Error> {
        while list.next_element_seed(Entry(&mut self.0))?.is_some() {}
        Ok(self.0.build())
    }
}

/// Reads an entry and adds it while it is read, so that what is wrong has its line.
struct Entry<'b>(&'b mut Builder);

impl<'de> DeserializeSeed<'de> for Entry<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Entry<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the name of a processor")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        let processor = Processor::read(map)?;
        let name = processor.name();
        self.0.add(processor).map_err(|problem| A::Error::custom(format_args!("{name}: {problem}")))
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, applied, processors, refused};
    use serde_json::json;

    #[test]
    fn events_are_dropped_by_condition() {
        let keeps = |entry: &str| processors(&format!("[[processors]]\n{entry}")).unwrap().apply(&mut testing::event());
        assert!(!keeps("drop_event.when.equals.type = 'http'"));
        assert!(keeps("drop_event.when.equals.type = 'dns'"));
        assert!(!keeps("drop_event.when.range.http.response.status_code.gte = 400"));
    }

    #[test]
    fn a_later_processor_sees_what_an_earlier_one_did() {
        let all = processors(
            "[[processors]]\nadd_fields = { target = 'site', fields.name = 'vienna' }\n\
             [[processors]]\nrename.fields = [{ from = 'site', to = 'place' }]\n\
             [[processors]]\nadd_tags = { tags = ['ours'], when.equals.'place.name' = 'vienna' }\n\
             [[processors]]\ninclude_fields.fields = ['place', 'tags']",
        )
        .unwrap();
        assert!(all.unknown().is_empty(), "{:?}", all.unknown());
        let mut event = testing::event();
        assert!(all.after_tags(&["first".to_owned()]).apply(&mut event));
        let after = testing::written(&event);
        assert_eq!(after["place"], json!({"name": "vienna"}));
        assert_eq!(after["tags"], json!(["edge", "first", "ours"]));
        assert_eq!(after.as_object().map(|object| object.len()), Some(5));
        let made: Vec<&str> = all.fields().iter().map(|field| field.path).collect();
        assert_eq!(made, ["site.name", "place.name"]);
    }

    #[test]
    fn without_processors_nothing_changes() {
        let mut event = testing::event();
        assert!(super::Processors::default().after_tags(&[]).apply(&mut event));
        assert_eq!(testing::written(&event), testing::written(&testing::event()));
        assert_eq!(applied("drop_event.when.equals.type = 'dns'"), testing::written(&event));
    }

    #[test]
    fn what_is_no_processor_is_refused() {
        for (wrong, said) in [
            ("", "no processor is named"),
            ("drop_field.fields = ['a']", "unknown variant `drop_field`"),
            ("drop_event = {}", "missing field `when`"),
            ("drop_event.when = {}", "the condition is empty"),
            ("drop_fields = {}", "missing field `fields`"),
            ("truncate_fields = { fields = [], max_bytes = 1 }", "truncate_fields: no field is named"),
            ("drop_fields.fields = ['/(/']", "`(` is no regular expression"),
            ("drop_fields.fields = ['a', '']", "`` is no name"),
            ("drop_fields.field = ['a']", "unknown field `field`"),
            ("include_fields = { fields = ['a'], ignore_missing = true }", "unknown field `ignore_missing`"),
            ("drop_fields.fields = ['a']\nwhen.equals.b = 1", "`when` stands beside `drop_fields`"),
            ("drop_fields.fields = ['a']\nadd_tags.tags = ['b']", "begin another [[analyzer.processors]]"),
        ] {
            let problem = refused(wrong);
            assert!(problem.contains(said), "{wrong}: {problem}");
        }
    }

    #[test]
    fn names_that_no_event_has_are_told() {
        let all = processors(
            "[[processors]]\ndrop_event.when.equals.'http.respone.status_code' = 1\n[[processors]]\ndrop_fields.fields = ['http.request.headers.x', 'dns', '@timestamp', 'tapline', 'zz']",
        )
        .unwrap();
        assert_eq!(
            all.unknown(),
            [
                "analyzer.processors[0]: drop_event: no event has a field `http.respone.status_code`; did you mean `http.response.status_code`?",
                "analyzer.processors[1]: drop_fields: no event has a field `zz`",
            ]
        );
    }
}
