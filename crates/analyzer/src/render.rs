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

    fn render(&mut self, event: &Event) -> &[u8] {
        self.writer.write(event)
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use event::{Observer, Origin, common};

    use super::*;

    fn load(text: &str) -> Result<Settings, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        settings::load_with("analyzer", Some(file.path()), &[], &[]).map_err(|problems| {
            let name = file.path().display().to_string();
            problems.to_string().replace(&name, "FILE")
        })
    }

    fn event() -> Event {
        let observer = Arc::new(Observer { name: "web1".into(), epoch: "e".into(), is_file: true });
        let origin = Origin { observer, interface: "".into(), first_packet: 0, last_packet: 1 };
        let mut event = Event::new("dns", packet::Timestamp::ZERO, origin);
        event.put(&common::STATUS, "Error");
        event.put(&common::CLIENT_IP, std::net::IpAddr::from([10, 8, 9, 1]));
        event.put(&common::CLIENT_PORT, 54454u16);
        event.put_text(&common::QUERY, "class IN, type A, www.example.com");
        event
    }

    #[test]
    fn a_whole_configuration_does_what_it_says() {
        let settings = load(
            r#"
            [analyzer]
            tags = ["lab"]

            [[analyzer.processors]]
            drop_event.when.or = [{ equals.type = "flow" }, { network.client.ip = "192.168.0.0/16" }]

            [[analyzer.processors]]
            [analyzer.processors.rename]
            fields = [{ from = "client", to = "peer" }]
            when.has_fields = ["client.ip"]

            [[analyzer.processors]]
            copy_fields = { fields = [{ from = "observer.name", to = "host.name" }] }

            [[analyzer.processors]]
            [analyzer.processors.add_fields]
            target = "site"
            fields = { name = "vienna", rack.row = 4 }

            [[analyzer.processors]]
            add_tags = { tags = ["failed"], when.not.equals.status = "OK" }

            [[analyzer.processors]]
            truncate_fields = { fields = ["query"], max_bytes = 8 }

            [[analyzer.processors]]
            [analyzer.processors.drop_fields]
            fields = ["status", "log"]
            when = { and = [{ regexp.query = "^class" }, { range.peer.port = { gt = 1023, lte = 65535 } }] }

            [[analyzer.processors]]
            include_fields.fields = ["peer", "host", "site", "tags", "query", "status", "log"]
            "#,
        )
        .unwrap();
        assert_eq!(settings.processors.unknown(), [""; 0]);
        let made: Vec<&str> = settings.fields().iter().map(|field| field.path).collect();
        assert!(made.contains(&"peer.ip") && made.contains(&"site.rack.row") && made.contains(&"dns.id"));
        let mut renderer = json_renderer(&settings, crate::schema())();
        let mut event = event();
        assert!(renderer.process(&mut event));
        let id = event.id();
        assert_eq!(
            String::from_utf8_lossy(renderer.render(&event)),
            format!(
                r#"{{"_id":"{id}","@timestamp":"1970-01-01T00:00:00.000Z","host":{{"name":"web1"}},"peer":{{"ip":"10.8.9.1","port":54454}},"query":"class IN","site":{{"name":"vienna","rack":{{"row":4}}}},"tags":["lab","failed"],"type":"dns"}}"#
            ) + "\n"
        );
    }

    #[test]
    fn every_mistake_is_named_with_its_line() {
        let problems = load(
            r#"[analyzer]
[[analyzer.processors]]
drop_event.when.regexp.url.path = "(x"
[[analyzer.processors]]
drop_event.when.network = { source.ip = "10.0.0.0/33" }
[[analyzer.processors]]
drop_feilds.fields = ["a"]
[[analyzer.processors]]
add_fields = { target = "", fields = { http = 1 } }
[[analyzer.processors]]
rename = { fields = [{ from = "status", from_ = "x", to = "y" }] }
[[analyzer.processors]]
drop_event.when.equal.type = "x"
"#,
        )
        .unwrap_err();
        let starts = [
            "FILE:3: analyzer.processors[0].drop_event.when.regexp.url.path: `(x` is no regular expression: unclosed group",
            "FILE:5: analyzer.processors[1].drop_event.when.network.source.ip: `10.0.0.0/33` is no network; write an address",
            "FILE:6: analyzer.processors[2]: `drop_feilds` is no possible value; did you mean `drop_fields`?",
            "FILE:8: analyzer.processors[3]: add_fields: `http` is an object, which holds",
            "FILE:11: unknown key `analyzer.processors[4].rename.fields[0].from_`; did you mean `from`?",
            "FILE:13: analyzer.processors[5].drop_event.when: `equal` is no possible value; did you mean `equals`?",
        ];
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), starts.len(), "{problems}");
        for (line, start) in lines.iter().zip(starts) {
            assert!(line.starts_with(start), "{line}\n{start}");
        }
    }

    #[test]
    fn the_examples_of_the_documentation_are_right() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/processors.md")).unwrap();
        let (mut examples, mut current) = (Vec::new(), String::new());
        for line in text.lines().chain([""]) {
            match line.strip_prefix("    ") {
                Some(code) => current.extend([code, "\n"]),
                None => examples.push(std::mem::take(&mut current)),
            }
        }
        examples.retain(|example| example.contains("[[analyzer.processors]]"));
        assert_eq!(examples.len(), 9);
        for example in examples {
            let settings = load(&example).unwrap_or_else(|problems| panic!("{problems}\n{example}"));
            assert_eq!(settings.processors.unknown(), [""; 0], "{example}");
        }
        // The table of conditions.
        for code in text
            .split('`')
            .filter(|code| code.contains(" = ") && !code.contains(['[', '\n']) || code.starts_with("network."))
        {
            if ["equals", "contains", "regexp", "range", "network", "not"].iter().any(|word| code.starts_with(word)) {
                let whole = format!("[[analyzer.processors]]\n[analyzer.processors.drop_event.when]\n{code}\n");
                let settings = load(&whole).unwrap_or_else(|problems| panic!("{problems}\n{code}"));
                assert_eq!(settings.processors.unknown(), [""; 0], "{code}");
            }
        }
    }
}
