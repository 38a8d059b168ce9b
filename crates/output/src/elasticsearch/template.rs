//! What an index must know before the first event: the mapping, made from the field tables, and the index template that brings it.
//! Only types that Elasticsearch and OpenSearch both have; knows no protocol.

use event::{Field, Kind};
use serde_json::{Map, Value, json};
use xxhash_rust::xxh3::xxh3_64;

use super::Flavour;
use super::settings::{Dynamic, Settings};

/// Above the templates that Elasticsearch brings for `logs-*-*`.
const PRIORITY: u32 = 500;
/// Longer texts are kept but not searched as a whole: Lucene takes no term over 32,766 bytes, and a character is at most four.
const KEYWORD_MAX: u32 = 8191;

/// Something to be installed.
pub(super) struct Template {
    /// `_component_template` or `_index_template`.
    pub(super) kind: &'static str,
    pub(super) name: String,
    pub(super) body: Value,
}

impl Template {
    /// What tells this template from another version of it.
    pub(super) fn digest(&self) -> &str {
        self.body["_meta"]["digest"].as_str().unwrap_or_default()
    }
}

/// The templates, in the order in which they are installed.
pub(super) fn all(settings: &Settings, fields: &[&'static Field], flavour: Flavour) -> Vec<Template> {
    let mappings = format!("{}-mappings", settings.index);
    let pattern = match settings.data_stream {
        true => format!("logs-{}.*-{}", settings.index, settings.namespace),
        false => format!("{}-*", settings.index),
    };
    let mut index = json!({
        "index_patterns": [pattern],
        "priority": PRIORITY,
        "composed_of": [mappings],
        "template": {"settings": index_settings(settings, flavour)},
    });
    if settings.data_stream {
        index["data_stream"] = json!({});
    }
    let component = json!({"template": {"mappings": mapping(settings, fields)}});
    let name = match settings.data_stream {
        true => format!("logs-{}-{}", settings.index, settings.namespace),
        false => settings.index.clone(),
    };
    vec![finish("_component_template", mappings, component), finish("_index_template", name, index)]
}

fn finish(kind: &'static str, name: String, mut body: Value) -> Template {
    let digest = format!("{:016x}", xxh3_64(body.to_string().as_bytes()));
    body["_meta"] = json!({"managed_by": "tapline", "version": env!("CARGO_PKG_VERSION"), "digest": digest});
    Template { kind, name, body }
}

fn index_settings(settings: &Settings, flavour: Flavour) -> Value {
    let mut index = json!({"refresh_interval": "5s", "mapping": {"total_fields": {"limit": 5000}}});
    if !settings.pipeline.is_empty() {
        index["default_pipeline"] = json!(settings.pipeline);
    }
    if !settings.lifecycle.is_empty() {
        match flavour {
            Flavour::Elasticsearch => index["lifecycle"] = json!({"name": settings.lifecycle}),
            Flavour::OpenSearch => {
                index["plugins"] = json!({"index_state_management": {"policy_id": settings.lifecycle}});
            }
        }
    }
    json!({ "index": index })
}

/// The mapping of all events.
fn mapping(settings: &Settings, fields: &[&'static Field]) -> Value {
    let keyword = json!({"type": "keyword", "ignore_above": KEYWORD_MAX});
    let mut properties = Map::new();
    let mut templates = Vec::new();
    for field in fields {
        put(&mut properties, field.path, of_kind(field.kind, &keyword));
        if field.kind == Kind::Object {
            // The keys come from packets: whatever a value looks like there, it is a text, so that no first value decides for the rest.
            for looks_like in ["string", "long", "double", "boolean"] {
                let name = format!("{}.{looks_like}", field.path);
                let rule = json!({"path_match": format!("{}.*", field.path), "match_mapping_type": looks_like, "mapping": keyword});
                templates.push(json!({ name: rule }));
            }
        }
    }
    if settings.data_stream {
        for name in ["type", "dataset", "namespace"] {
            put(&mut properties, &format!("data_stream.{name}"), keyword.clone());
        }
    }
    templates.push(json!({"texts": {"match_mapping_type": "string", "mapping": keyword}}));
    let dynamic = match settings.dynamic {
        Dynamic::True => json!(true),
        Dynamic::False => json!(false),
        Dynamic::Strict => json!("strict"),
    };
    json!({"dynamic": dynamic, "date_detection": false, "dynamic_templates": templates, "properties": properties})
}

fn of_kind(kind: Kind, keyword: &Value) -> Value {
    match kind {
        Kind::Keyword => keyword.clone(),
        Kind::Text => json!({"type": "text"}),
        Kind::Ip => json!({"type": "ip"}),
        Kind::Long => json!({"type": "long"}),
        Kind::Double => json!({"type": "double"}),
        Kind::Boolean => json!({"type": "boolean"}),
        Kind::Time => json!({"type": "date_nanos"}),
        Kind::Object => json!({"type": "object", "dynamic": true}),
        Kind::Objects => json!({"properties": {}}),
    }
}

/// Puts a mapping at a dotted path.
fn put(properties: &mut Map<String, Value>, path: &str, mapping: Value) {
    match path.split_once('.') {
        None => {
            let place = properties.entry(path).or_insert_with(|| json!({}));
            if let (Some(place), Value::Object(mapping)) = (place.as_object_mut(), mapping) {
                place.extend(mapping);
            }
        }
        Some((first, rest)) => {
            let place = properties.entry(first).or_insert_with(|| json!({}));
            if let Some(place) = place.as_object_mut() {
                let below = place.entry("properties").or_insert_with(|| json!({}));
                if let Some(below) = below.as_object_mut() {
                    put(below, rest, mapping);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    event::fields! {
        /// Fields of the test.
        pub static TABLE;
        NAME: Keyword = "x.name", "A name.";
        WHEN: Time = "x.when", "A time.";
        PARTS: Objects = "x.parts", "Parts.";
        PART: Ip = "x.parts.ip", "Of a part.";
        HEADERS: Object = "x.headers", "Headers.";
    }

    #[test]
    fn a_mapping_follows_the_tables() {
        let mapping = mapping(&Settings::default(), TABLE);
        let x = &mapping["properties"]["x"]["properties"];
        assert_eq!(x["name"]["type"], "keyword");
        assert_eq!(x["when"]["type"], "date_nanos");
        assert_eq!(x["parts"]["properties"]["ip"]["type"], "ip");
        assert_eq!(x["headers"]["dynamic"], true);
        assert_eq!(mapping["dynamic_templates"][0]["x.headers.string"]["path_match"], "x.headers.*");
    }

    #[test]
    fn a_policy_and_a_pipeline_are_put_in() {
        let settings = Settings { lifecycle: "p".into(), pipeline: "q".into(), ..Settings::default() };
        let elastic = all(&settings, TABLE, Flavour::Elasticsearch);
        let index = &elastic[1].body["template"]["settings"]["index"];
        assert_eq!((index["lifecycle"]["name"].as_str(), index["default_pipeline"].as_str()), (Some("p"), Some("q")));
        let open = all(&settings, TABLE, Flavour::OpenSearch);
        assert_eq!(
            open[1].body["template"]["settings"]["index"]["plugins"]["index_state_management"]["policy_id"],
            "p"
        );
        assert_ne!(elastic[1].digest(), open[1].digest());
        assert_eq!(elastic[0].digest(), open[0].digest());
    }
}
