//! The documentation of the configuration names every key there is, with its default.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The rows of a section's table: key to default.
fn documented(section: &str) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md")).unwrap();
    let heading = format!("## `[{section}]`");
    let part = text.split_once(&heading).unwrap_or_else(|| panic!("no {heading}")).1;
    let part = part.split("\n## ").next().unwrap_or(part);
    part.lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let key = cells.next()?.strip_suffix('`')?.replace(".NAME.", "[].");
            Some((key, cells.next()?.trim().to_owned()))
        })
        .collect()
}

fn default_at(defaults: &serde_json::Value, key: &str) -> Option<String> {
    let value = key.split('.').try_fold(defaults, |value, step| value.get(step))?;
    Some(match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

fn check<T: DeserializeOwned + Default + Serialize>(section: &str) {
    let documented = documented(section);
    let keys = settings::schema::keys::<T>();
    assert!(keys.len() > 5);
    let defaults = serde_json::to_value(T::default()).unwrap();
    for key in &keys {
        let Some(shown) = documented.get(key) else {
            panic!("docs/configuration.md does not name {section}.{key}");
        };
        // Defaults that depend on the machine, or are none, are told in words.
        let Some(code) =
            shown.strip_prefix('`').and_then(|rest| rest.strip_suffix('`')).filter(|code| !code.contains('`'))
        else {
            continue;
        };
        // No table of that kind is there by default.
        if key.contains("[].") {
            continue;
        }
        let default = default_at(&defaults, key).unwrap_or_default();
        assert_eq!(code, default, "default of {section}.{key} in docs/configuration.md");
    }
    for key in documented.keys() {
        assert!(keys.contains(key), "docs/configuration.md names {section}.{key}, which does not exist");
    }
}

#[test]
fn every_key_of_the_analyzer_is_documented() {
    check::<analyzer::Settings>("analyzer");
}

#[test]
fn every_key_of_the_collector_is_documented() {
    check::<collector::Settings>("collector");
}

#[test]
fn every_key_of_the_console_is_documented() {
    check::<console::Settings>("console");
}
