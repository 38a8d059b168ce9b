//! Facts about loading a configuration.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use super::*;

#[derive(Debug, Default, Clone, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Probe {
    name: Option<String>,
    interfaces: Vec<String>,
    spool: Spool,
    snaplen: u32,
    mode: Mode,
    #[serde(with = "crate::duration")]
    linger: Duration,
    protocols: BTreeMap<String, Protocol>,
    #[serde(rename = "collector")]
    collectors: Vec<Peer>,
}

#[derive(Debug, Default, Clone, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Spool {
    #[serde(with = "crate::size")]
    memory: u64,
    disk_bytes: u64,
}

#[derive(Debug, Default, Clone, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Protocol {
    ports: Vec<u16>,
}

#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Peer {
    address: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Native,
    OsmoPcap,
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

fn problems(text: &str, environment: &[(&str, &str)], set: &[(&str, &str)]) -> Vec<String> {
    let file = file(text);
    let error = load_with::<Probe>("probe", Some(file.path()), &pairs(environment), &pairs(set)).unwrap_err();
    let name = file.path().display().to_string();
    error.to_string().lines().map(|line| line.replace(&name, "FILE")).collect()
}

#[test]
fn nothing_given_is_the_default() {
    assert_eq!(load_with::<Probe>("probe", None, &[], &[]).unwrap(), Probe::default());
}

#[test]
fn set_wins_over_environment_wins_over_file() {
    let file = file("[probe]\nname='file'\nsnaplen=1\nlinger='1s'\n[collector]\nlisten='x'\n");
    let environment = pairs(&[("TAPLINE_PROBE_SNAPLEN", "2"), ("TAPLINE_PROBE_LINGER", "2s"), ("HOME", "/")]);
    let set = pairs(&[("probe.linger", "1m30s"), ("collector.nothing", "of the probe's business")]);
    let probe: Probe = load_with("probe", Some(file.path()), &environment, &set).unwrap();
    assert_eq!(probe.name.as_deref(), Some("file"));
    assert_eq!(probe.snaplen, 2);
    assert_eq!(probe.linger, Duration::from_secs(90));
}

#[test]
fn values_are_toml_and_a_bare_word_is_a_string() {
    let set = pairs(&[
        ("probe.name", "web1"),
        ("probe.interfaces", "[\"eth0\", 'lo']"),
        ("probe.protocols.http.ports", "[80,8080]"),
        ("probe.collector", "[{address='10.0.0.1:7710'}]"),
        ("probe.spool.memory", "64MiB"),
        ("probe.mode", "osmo_pcap"),
    ]);
    let probe: Probe = load_with("probe", None, &[], &set).unwrap();
    assert_eq!(probe.name.as_deref(), Some("web1"));
    assert_eq!(probe.interfaces, ["eth0", "lo"]);
    assert_eq!(probe.protocols["http"].ports, [80, 8080]);
    assert_eq!(probe.collectors[0].address, "10.0.0.1:7710");
    assert_eq!(probe.spool.memory, 64 << 20);
    assert_eq!(probe.mode, Mode::OsmoPcap);
}

#[test]
fn environment_reaches_nested_keys_with_underscores() {
    let environment = pairs(&[
        ("TAPLINE_PROBE_SPOOL_DISK_BYTES", "7"),
        ("TAPLINE_PROBE_PROTOCOLS_HTTP_PORTS", "[80]"),
        ("TAPLINE_URL", "x"),
    ]);
    let probe: Probe = load_with("probe", None, &environment, &[]).unwrap();
    assert_eq!(probe.spool.disk_bytes, 7);
    assert_eq!(probe.protocols["http"].ports, [80]);
}

#[test]
fn every_problem_is_named_with_its_line() {
    let text = "[probe]\nnam = 'x'\nsnaplen = 'long'\nmode = 'nativ'\n\n[probe.spool]\nmemory = 'much'\n\
        [probe.protocols.http]\nport = [80]\n[[probe.collector]]\nadress = 'a'\n[colector]\n";
    assert_eq!(
        problems(text, &[], &[]),
        [
            "FILE:2: unknown key `probe.nam`; did you mean `name`?",
            "FILE:3: probe.snaplen: invalid type: string \"long\", expected u32",
            "FILE:4: probe.mode: `nativ` is no possible value; did you mean `native`?",
            "FILE:7: probe.spool.memory: `much` is no size; write for example 64MiB, 2GB or 4096",
            "FILE:9: unknown key `probe.protocols.http.port`; did you mean `ports`?",
            "FILE:11: unknown key `probe.collector[0].adress`; did you mean `address`?",
            "FILE:12: unknown section `colector`; did you mean `collector`?",
        ]
    );
}

#[test]
fn problems_of_several_elements_of_a_list_are_all_named() {
    let text = "[probe]\ncollector = [\n{ adress = 'a' },\n{ address = 'b' },\n{ address = 5 },\n{ port = 1, address = 'c' },\n{ portt = 1, address = 'c' }]\n";
    let problems = problems(text, &[], &[]);
    let places: Vec<&str> = problems.iter().map(|line| line.split([';', '`']).next().unwrap_or(line)).collect();
    assert_eq!(
        places,
        [
            "FILE:3: unknown key ",
            "FILE:5: probe.collector[2].address: invalid type: integer ",
            "FILE:6: unknown key ",
            "FILE:7: unknown key ",
        ]
    );
    assert!(problems[2].contains("`probe.collector[3].port`") && problems[3].contains("`probe.collector[4].portt`"));
}

#[test]
fn environment_and_set_are_named_as_places() {
    assert_eq!(
        problems(
            "",
            &[("TAPLINE_PROBE_SNAPLAN", "1"), ("TAPLINE_PROBE_LINGER", "soon")],
            &[("probe.snaplen", "-1"), ("probe.xyzzy.a", "1"), ("probe.interfaces", "[eth0]")]
        ),
        [
            "environment variable TAPLINE_PROBE_SNAPLAN: means no known key; did you mean `TAPLINE_PROBE_SNAPLEN`?",
            "environment variable TAPLINE_PROBE_LINGER: probe.linger: `soon` is no duration; write for example 50ms, 10s, 5m, 1h30m or 0s",
            "--set probe.interfaces: string values must be quoted, expected literal string",
            "--set probe.snaplen: probe.snaplen: invalid value: integer `-1`, expected u32",
            "--set probe.xyzzy.a: unknown key `probe.xyzzy`; known are `name`, `interfaces`, `spool`, `snaplen`, `mode`, `linger`, `protocols`, `collector`",
        ]
    );
}

#[test]
fn broken_syntax_names_the_line() {
    let found = problems("[probe]\nname = \n[[[\n", &[], &[]);
    assert!(found.iter().any(|line| line.starts_with("FILE:2: ")), "{found:?}");
    assert!(found.iter().any(|line| line.starts_with("FILE:3: ")), "{found:?}");
}

#[test]
fn a_missing_file_is_a_problem() {
    let error = load_with::<Probe>("probe", Some(Path::new("/nowhere/x.toml")), &[], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/x.toml: cannot read the configuration: No such file or directory (os error 2)"
    );
}

#[test]
fn keys_lists_what_serde_accepts() {
    assert_eq!(
        schema::keys::<Probe>(),
        [
            "name",
            "interfaces",
            "spool.memory",
            "spool.disk_bytes",
            "snaplen",
            "mode",
            "linger",
            "protocols[].ports",
            "collector[].address"
        ]
    );
}

#[test]
fn set_arguments_are_split_and_checked() {
    assert_eq!(parse_set("probe.name = x=y").unwrap(), ("probe.name".to_owned(), "x=y".to_owned()));
    assert!(parse_set("probe.name").unwrap_err().contains("no `=`"));
    assert!(parse_set("prob.name=1").unwrap_err().contains("probe, collector, analyzer, console"));
}

#[test]
fn durations_and_sizes_read_back_as_written() {
    for text in ["0s", "50ms", "90s", "10m", "7ns", "2h"] {
        let parsed = duration::parse(text).unwrap();
        assert_eq!(duration::parse(&duration::format(parsed)).unwrap(), parsed);
    }
    assert_eq!(duration::parse("1h30m").unwrap(), Duration::from_secs(5400));
    assert_eq!(duration::parse("2").unwrap(), Duration::from_secs(2));
    assert!(duration::parse("ten").is_err());
    assert!(duration::parse("").is_err());
    assert_eq!(size::format(size::parse("64MiB").unwrap()), "64MiB");
    assert_eq!(size::parse("2 GB").unwrap(), 2_000_000_000);
    assert!(size::parse("99999999999999GB").is_err());
}

#[test]
fn what_the_program_finds_wrong_is_told_all_at_once_with_its_places() {
    let file = file("[probe]\nname = 'x'\n\n[probe.spool]\nmemory = '1MiB'\n[probe.protocols.'a.b']\nports = []\n");
    let environment = pairs(&[("TAPLINE_PROBE_SNAPLEN", "2")]);
    let set = pairs(&[("probe.mode", "native"), ("probe.protocols.c.ports", "[]")]);
    let made: Result<(), _> = load_checked_with("probe", Some(file.path()), &environment, &set, |_: Probe| {
        let mut faults = Faults::default();
        assert_eq!(faults.note("probe.interfaces", Ok::<_, String>(1)), Some(1));
        assert!(faults.is_empty());
        for key in [
            "mode",
            "snaplen",
            "interfaces",
            "protocols.a.b.ports",
            "protocols.c",
            "spool.disk_bytes",
            "spool.memory",
            "name",
        ] {
            assert_eq!(faults.note(format!("probe.{key}"), Err::<(), _>("wrong")), None);
        }
        Err(faults)
    });
    let told = made.unwrap_err().to_string().replace(&file.path().display().to_string(), "FILE");
    assert_eq!(
        told.lines().collect::<Vec<_>>(),
        [
            "FILE:2: probe.name: wrong",
            "FILE:4: probe.spool.disk_bytes: wrong",
            "FILE:5: probe.spool.memory: wrong",
            "FILE:7: probe.protocols.a.b.ports: wrong",
            "environment variable TAPLINE_PROBE_SNAPLEN: probe.snaplen: wrong",
            "--set probe.mode: wrong",
            "probe.interfaces: wrong",
            "probe.protocols.c: wrong",
        ]
    );
}
