//! `drop_fields` and `include_fields`: which fields stay. `@timestamp`, `type` and `_id` always do.

use event::{Event, Extra, Prune};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::condition::{Condition, Pattern};
use crate::find::is_below;
use crate::literal::check_path;
use crate::names::extras_at;

/// Takes fields away.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DropFields {
    /// Which, each with everything below it.
    pub fields: Vec<Selected>,
    /// For configurations made for Packetbeat: a field that an event does not have is never an error here.
    #[serde(default)]
    pub ignore_missing: bool,
    /// Of which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// Takes all other fields away.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct IncludeFields {
    /// Which stay, each with everything below it.
    pub fields: Vec<Selected>,
    /// Of which events; all unless said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<Condition>,
}

/// A field by its path, or fields by a regular expression between slashes.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected(Choice);

#[derive(Debug, Clone, PartialEq)]
enum Choice {
    Path(String),
    Paths(Pattern),
}

impl Selected {
    /// The path, if it is one.
    pub(crate) fn path(&self) -> Option<&str> {
        match &self.0 {
            Choice::Path(path) => Some(path),
            Choice::Paths(_) => None,
        }
    }

    fn covers(&self, path: &str) -> bool {
        match &self.0 {
            Choice::Path(selected) => is_below(path, selected),
            Choice::Paths(pattern) => pattern.0.is_match(path),
        }
    }

    /// Whether it may cover something below `path` without covering `path`.
    fn reaches_into(&self, path: &str) -> bool {
        match &self.0 {
            Choice::Path(selected) => is_below(selected, path),
            Choice::Paths(_) => true,
        }
    }
}

impl Serialize for Selected {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Choice::Path(path) => serializer.serialize_str(path),
            Choice::Paths(pattern) => serializer.collect_str(&format_args!("/{}/", pattern.0.as_str())),
        }
    }
}

impl<'de> Deserialize<'de> for Selected {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Selected;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a field")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Selected, E> {
                let between = text.strip_prefix('/').and_then(|text| text.strip_suffix('/'));
                let choice = match between {
                    Some(pattern) => Pattern::parse(pattern).map(Choice::Paths),
                    None => check_path(text).map(|()| Choice::Path(text.to_owned())),
                };
                choice.map(Selected).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Either of the two, ready.
#[derive(Debug)]
pub(crate) struct Selection {
    list: Vec<Selected>,
    is_kept: bool,
    left_out: Vec<Extra>,
}

impl Selection {
    pub(crate) fn dropping(list: &[Selected]) -> Self {
        let left_out = extras_at(|path| list.iter().any(|selected| selected.covers(path)));
        Self { list: list.to_vec(), is_kept: false, left_out }
    }

    pub(crate) fn keeping(list: &[Selected]) -> Self {
        let left_out = extras_at(|path| !list.iter().any(|selected| selected.covers(path)));
        Self { list: list.to_vec(), is_kept: true, left_out }
    }

    pub(crate) fn apply(&self, event: &mut Event) {
        for extra in &self.left_out {
            event.leave_out(*extra);
        }
        let (covered, others) = if self.is_kept { (Prune::Keep, Prune::Drop) } else { (Prune::Drop, Prune::Keep) };
        event.prune(|path, has_members| {
            if self.list.iter().any(|selected| selected.covers(path)) {
                covered
            } else if has_members && self.list.iter().any(|selected| selected.reaches_into(path)) {
                Prune::Inside
            } else {
                others
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{self, applied};
    use serde_json::json;

    #[test]
    fn dropped_fields_go_with_what_is_below_them() {
        let before = testing::written(&testing::event());
        let mut wanted = before.clone();
        wanted["http"].as_object_mut().unwrap().remove("response");
        wanted["http"]["request"]["headers"].as_object_mut().unwrap().remove("host");
        wanted["dns"]["answers"] = json!([{"name": "a.example"}, {"name": "b.example"}]);
        wanted.as_object_mut().unwrap().remove("status");
        let after = applied(
            "drop_fields.fields = ['http.response', 'status', 'http.request.headers.host', 'dns.answers.ttl', 'nothing', 'stat']",
        );
        assert_eq!(after, wanted);
        assert_eq!(applied("drop_fields = { fields = ['nothing'], ignore_missing = true }"), before);
    }

    #[test]
    fn time_type_and_id_are_never_dropped() {
        let after = applied("drop_fields.fields = ['@timestamp', 'type', '_id', '/./']");
        let before = testing::written(&testing::event());
        assert_eq!(after, json!({"_id": before["_id"], "@timestamp": before["@timestamp"], "type": "http"}));
    }

    #[test]
    fn what_every_event_has_can_be_dropped() {
        let after = applied("drop_fields.fields = ['tapline', 'observer.name']");
        assert!(after.get("tapline").is_none() && after.get("observer").is_none(), "{after}");
        assert_eq!(after["status"], "Error");
    }

    #[test]
    fn fields_are_dropped_by_regular_expression() {
        let after = applied(r"drop_fields.fields = ['/\.(ip|ttl)$/']");
        assert_eq!(after["source"], json!({"mac": "0A-00-27-00-00-FF"}));
        assert!(after.get("destination").is_none());
        assert_eq!(after["dns"]["answers"], json!([{"name": "a.example"}, {"name": "b.example"}]));
    }

    #[test]
    fn included_fields_stay_and_all_others_go() {
        let after = applied(
            "include_fields.fields = ['http.response', 'http.request.headers.host', 'dns.answers.name', 'tapline.source', 'nothing']",
        );
        let before = testing::written(&testing::event());
        assert_eq!(
            after,
            json!({
                "_id": before["_id"],
                "@timestamp": before["@timestamp"],
                "type": "http",
                "http": {"response": {"status_code": 404}, "request": {"headers": {"host": "shop.example"}}},
                "dns": {"answers": [{"name": "a.example"}, {"name": "b.example"}]},
                "tapline": {"source": "web1"},
            })
        );
        let after = applied("include_fields.fields = ['/^url/']");
        assert_eq!(after["url"], before["url"]);
        assert!(after.get("http").is_none());
    }

    #[test]
    fn an_empty_list_drops_nothing_and_includes_only_what_always_stays() {
        let before = testing::written(&testing::event());
        assert_eq!(applied("drop_fields.fields = []"), before);
        let bare = json!({"_id": before["_id"], "@timestamp": before["@timestamp"], "type": "http"});
        assert_eq!(applied("include_fields.fields = []"), bare);
        assert_eq!(applied("include_fields = { fields = [], when.equals.type = 'dns' }"), before);
    }

    #[test]
    fn both_look_at_the_condition() {
        let before = testing::written(&testing::event());
        assert_eq!(applied("drop_fields = { fields = ['status'], when.equals.type = 'dns' }"), before);
        assert_eq!(applied("include_fields = { fields = ['status'], when.equals.type = 'dns' }"), before);
        assert!(applied("drop_fields = { fields = ['status'], when.equals.type = 'http' }").get("status").is_none());
    }
}
