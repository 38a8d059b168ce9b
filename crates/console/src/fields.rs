//! The event reference, as completion and the filter need it.

use std::collections::HashSet;
use std::sync::Arc;

/// A field of the event reference.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct FieldFacts {
    /// Dotted path.
    pub name: &'static str,
    /// What it holds, in Elasticsearch's words.
    pub kind: &'static str,
    /// What it means.
    pub text: &'static str,
    /// Types of events that have it; none where all may.
    pub types: Vec<&'static str>,
}

/// All of them.
#[derive(Debug, Clone)]
pub struct Fields {
    pub(crate) list: Arc<[FieldFacts]>,
    names: Arc<HashSet<&'static str>>,
}

impl Fields {
    pub(crate) fn new(list: Vec<FieldFacts>) -> Self {
        let names = Arc::new(list.iter().map(|field| field.name).collect());
        Self { list: list.into(), names }
    }

    /// Whether a name is one of them.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.names.contains(name)
    }
}
