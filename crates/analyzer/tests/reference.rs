//! `docs/events.md` is generated from the field tables, and this test keeps it so. `UPDATE=1 cargo test` writes it anew.
#![allow(clippy::unwrap_used)]

use std::fmt::Write;

use analyzer::correlation;
use decode::{flow, protocols};
use event::{Field, Kind, common};

const HEAD: &str = "# Events: every field

Generated from the tables of the decoders, of flows and of calls; `UPDATE=1 cargo test -p tapline-analyzer --test reference` writes it anew. Do not edit it.

One event is one JSON object. Names are those of the Elastic Common Schema where it has one, else Packetbeat's, else ours. A field
that does not apply is left out. With `profile = \"packetbeat\"` there are, beside `tapline.*` and `observer.*`, no fields of ours.
`_id` follows from what the event describes: type, source, epoch, number of the first packet and an ordinal; the same packets
give the same ids however often they are decoded. What the protocols' options do stands in [decoders](decoders/).
";

const fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Keyword => "keyword",
        Kind::Text => "text",
        Kind::Ip => "ip",
        Kind::Long => "long",
        Kind::Double => "double",
        Kind::Boolean => "boolean",
        Kind::Time => "date_nanos",
        Kind::Object => "object",
        Kind::Objects => "object (one or several)",
    }
}

fn table(out: &mut String, fields: &[&Field]) {
    out.push_str("\n| Field | Type | Meaning |\n|---|---|---|\n");
    let mut fields = fields.to_vec();
    fields.sort_by(|a, b| a.path.split('.').cmp(b.path.split('.')));
    for field in fields {
        writeln!(out, "| `{}` | {} | {} |", field.path, kind(field.kind), field.meaning.replace('|', "\\|")).unwrap();
    }
}

fn reference() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("\n## All events\n");
    table(&mut out, common::TABLE);
    out.push_str("\n## flow\n");
    table(&mut out, flow::report::TABLE);
    out.push_str("\n## call\n\nFrom SIP and its media, when `sip` is enabled.\n");
    table(&mut out, correlation::fields::TABLE);
    for protocol in protocols::ALL {
        write!(out, "\n## {}\n", protocol.name).unwrap();
        let ports: Vec<_> = protocol.ports.iter().map(u16::to_string).collect();
        let mut ways = Vec::new();
        if protocol.datagrams {
            ways.push("UDP");
        }
        if protocol.streams {
            ways.push("TCP");
        }
        let numbers: Vec<_> = protocol.ip_protocols.iter().map(|number| format!("IP protocol {number}")).collect();
        ways.extend(numbers.iter().map(String::as_str));
        write!(out, "\n{}", ways.join(", ")).unwrap();
        if !ports.is_empty() {
            write!(out, "; ports {}", ports.join(", ")).unwrap();
        }
        out.push_str(if protocol.recognise.is_some() { "; recognised by content on others.\n" } else { ".\n" });
        table(&mut out, protocol.fields);
    }
    out
}

#[test]
fn every_field_that_is_mapped_is_explained() {
    let reference = reference();
    for field in analyzer::schema().fields() {
        assert!(
            reference.contains(&format!("| `{}` |", field.path)),
            "{} stands in no table of the reference",
            field.path
        );
    }
}

#[test]
fn the_reference_of_events_is_current() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/events.md");
    let current = reference();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &current).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == current,
        "docs/events.md is not what the tables say: UPDATE=1 cargo test -p tapline-analyzer --test reference"
    );
}
