//! Packets before whose first others came: TCP flows that were under way are marked, what is whole is not.
#![allow(clippy::unwrap_used)]

mod capture;

use std::fs::File;
use std::sync::Arc;

use decode::{Clock, Config, Engine, Frame};
use event::Observer;
use packet::{CaptureReader, Packet};

/// Types and marks of the events of a capture from its packet `first` on.
fn events(first: u64, from_the_middle: bool) -> Vec<(String, bool)> {
    let observer = Arc::new(Observer { name: "web1".into(), epoch: "0".into(), is_file: false });
    let mut engine = Engine::new(&Config::default(), observer).unwrap();
    if from_the_middle {
        engine = engine.from_the_middle();
    }
    let path = capture::folder().join("src/protocols/http/fixtures/requests.pcap");
    let mut reader = CaptureReader::new(File::open(path).unwrap()).unwrap();
    let (mut out, mut clock, mut number) = (capture::Lines { keep: true, ..Default::default() }, Clock::default(), 0);
    let mut data = Vec::new();
    while let Some(packet) = reader.next().unwrap() {
        data.clear();
        data.extend_from_slice(packet.data);
        let Packet { time, interface, original_length, .. } = packet;
        let packet = Packet { time, interface, original_length, data: &data };
        let frame = Frame { number, clock: clock.see(time), interface: &reader.interfaces()[0], packet: &packet };
        if number >= first {
            engine.packet(&frame, &mut out);
        }
        number += 1;
    }
    engine.finish(&mut out);
    let text = String::from_utf8(out.text).unwrap();
    let documents = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    documents.map(|event| (event["type"].as_str().unwrap().to_owned(), event["tapline"]["partial"] == true)).collect()
}

#[test]
fn a_flow_that_was_under_way_is_partial_and_whole_requests_in_it_are_not() {
    let requests_and_partial = |first, from_the_middle| {
        let all = events(first, from_the_middle);
        let partial = all.iter().filter(|(_, partial)| *partial);
        (all.iter().filter(|(kind, _)| kind == "http").count(), partial.cloned().collect::<Vec<_>>())
    };
    let (requests, partial) = requests_and_partial(0, true);
    assert!(requests > 1 && partial.is_empty(), "a beginning is no middle: {partial:?}");
    assert_eq!(requests_and_partial(2, true), (requests, vec![("flow".to_owned(), true)]));
    assert_eq!(requests_and_partial(2, false), (requests, vec![]));
}
