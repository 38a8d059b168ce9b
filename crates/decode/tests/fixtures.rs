//! Every capture in the `fixtures` folders of the protocols gives exactly the documents beside it. `UPDATE=1 cargo test`
//! writes them anew: read the difference before committing it.
#![allow(clippy::unwrap_used)]

mod capture;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;

use decode::protocols;
use event::Kind;

/// Captures of a protocol, sorted by name.
fn captures(protocol: &str) -> Vec<PathBuf> {
    let folder = capture::folder().join("src/protocols").join(protocol).join("fixtures");
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng"));
    paths.sort();
    paths
}

/// One document per line, fields as written. Ids follow from the rest and are left out.
fn expected_form(path: &std::path::Path) -> String {
    let mut text = String::new();
    let name = path.with_extension("toml");
    let options = std::fs::read_to_string(name).unwrap_or_default();
    for mut document in capture::documents(path, &options) {
        document.as_object_mut().unwrap().remove("_id");
        writeln!(text, "{document}").unwrap();
    }
    text
}

#[test]
fn every_capture_gives_the_documents_beside_it() {
    let update = std::env::var_os("UPDATE").is_some();
    let mut wrong = Vec::new();
    for protocol in protocols::ALL {
        for path in captures(protocol.name) {
            let found = expected_form(&path);
            let beside = path.with_extension("ndjson");
            if update {
                std::fs::write(&beside, &found).unwrap();
                continue;
            }
            let expected = std::fs::read_to_string(&beside).unwrap_or_default();
            for (number, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
                if found != expected {
                    wrong.push(format!(
                        "{}, document {number}:\n  found    {found}\n  expected {expected}",
                        beside.display()
                    ));
                }
            }
            if found.lines().count() != expected.lines().count() {
                wrong.push(format!(
                    "{}: {} documents instead of {}",
                    beside.display(),
                    found.lines().count(),
                    expected.lines().count()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\nUPDATE=1 writes them anew", wrong.join("\n"));
}

#[test]
fn every_protocol_has_a_capture() {
    let without: Vec<_> =
        protocols::ALL.iter().map(|protocol| protocol.name).filter(|name| captures(name).is_empty()).collect();
    assert!(without.is_empty(), "record some with real programs: {without:?}");
}

#[test]
fn a_capture_twice_gives_the_same_events_with_the_same_ids() {
    for protocol in protocols::ALL {
        for path in captures(protocol.name) {
            let once = capture::documents(&path, "");
            let ids: std::collections::HashSet<_> =
                once.iter().map(|document| document["_id"].as_str().unwrap().to_owned()).collect();
            assert_eq!(ids.len(), once.len(), "{}: two events share an id", path.display());
            assert_eq!(once, capture::documents(&path, ""));
        }
    }
}

/// Whether every value of a document stands in the tables; the paths of those that do not.
fn unknown(value: &serde_json::Value, path: &str, known: &BTreeMap<&str, Kind>, out: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::Object(members) if known.get(path) != Some(&Kind::Object) => {
            for (name, member) in members {
                let deeper = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                unknown(member, &deeper, known, out);
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|member| unknown(member, path, known, out)),
        _ if known.contains_key(path) || path == "_id" => {}
        _ => drop(out.insert(path.to_owned())),
    }
}

#[test]
fn every_field_stands_in_the_tables() {
    let known: BTreeMap<&str, Kind> = decode::schema().fields().iter().map(|field| (field.path, field.kind)).collect();
    let mut wrong = BTreeSet::new();
    for protocol in protocols::ALL {
        for path in captures(protocol.name) {
            for document in capture::documents(&path, "") {
                unknown(&document, "", &known, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "a mapping that is strict would refuse these: {wrong:?}");
}
