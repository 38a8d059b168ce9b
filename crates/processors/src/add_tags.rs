//! `add_tags`: labels, appended to those that are there.

use event::{Event, Kind, Value};
use serde::{Deserialize, Serialize};

use crate::condition::Condition;
use crate::names::{Names, Target, append};

/// Adds labels.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AddTags {
    /// The labels.
    pub tags: Vec<String>,
    /// The field they are put into.
    #[serde(default = "tags")]
    pub target: String,
    /// To which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

fn tags() -> String {
    "tags".to_owned()
}

/// Ready.
#[derive(Debug)]
pub(crate) struct Tags {
    target: Target,
    tags: Vec<String>,
}

impl Tags {
    pub(crate) fn new(add: &AddTags, names: &mut Names) -> Result<Self, String> {
        if add.tags.is_empty() {
            return Err("no tag is named; name at least one".to_owned());
        }
        Ok(Self { target: names.target(&add.target, Some(Kind::Keyword))?, tags: add.tags.clone() })
    }

    /// Into `tags`.
    pub(crate) fn plain(tags: &[String]) -> Self {
        Self { target: Target::Field(&event::common::TAGS), tags: tags.to_vec() }
    }

    pub(crate) fn apply(&self, event: &mut Event) {
        let tags: Vec<Value> = self.tags.iter().map(|tag| event.text(tag)).collect();
        append(event, &self.target, tags);
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{applied, refused};
    use serde_json::json;

    #[test]
    fn tags_are_appended() {
        assert_eq!(applied("add_tags.tags = ['web', 'prod']")["tags"], json!(["edge", "web", "prod"]));
        assert_eq!(applied("add_tags = { tags = ['a'], target = 'env.labels' }")["env"]["labels"], json!(["a"]));
        assert_eq!(applied("add_tags = { tags = ['a'], target = 'status' }")["status"], json!(["Error", "a"]));
        assert_eq!(
            applied("add_tags = { tags = ['a'], target = 'event.category' }")["event"]["category"],
            json!(["network", "web", "a"])
        );
        assert_eq!(applied("add_tags = { tags = ['a'], when.equals.type = 'dns' }")["tags"], json!(["edge"]));
    }

    #[test]
    fn what_cannot_be_tagged_is_refused() {
        for (wrong, said) in [
            ("add_tags.target = 'x'", "missing field `tags`"),
            ("add_tags.tags = []", "no tag is named"),
            ("add_tags.tags = [5]", "invalid type"),
            ("add_tags = { tags = ['a'], target = 'source.ip' }", "`source.ip` holds an address"),
            ("add_tags = { tags = ['a'], target = '' }", "`` is no name"),
        ] {
            let problem = refused(wrong);
            assert!(problem.contains(said), "{wrong}: {problem}");
        }
    }
}
