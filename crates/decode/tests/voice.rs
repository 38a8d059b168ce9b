//! Real calls of sipp and media of a small sender, recorded by `src/protocols/rtp/fixtures/record.py`: what the events say.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::sync::Arc;

use decode::{Config, Engine, Frame, Output};
use event::{JsonWriter, Observer};
use packet::{CaptureReader, Packet, Timestamp};
use serde_json::Value;

/// The documents of a capture below `src/protocols`, with options of the analyzer in TOML.
fn documents(fixture: &str, options: &str) -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/protocols").join(fixture);
    let bytes = std::fs::read(path).unwrap();
    let mut reader = CaptureReader::new(&bytes[..]).unwrap();
    let observer = Arc::new(Observer { name: fixture.into(), epoch: "0".into(), is_file: true });
    let config: Config = toml::from_str(options).unwrap();
    let mut engine = Engine::new(&config, observer).unwrap();
    let (mut output, mut number, mut clock) = (Output::default(), 0, Timestamp::ZERO);
    while let Some(packet) = reader.next().unwrap() {
        let (time, index, original_length) = (packet.time, packet.interface, packet.original_length);
        let data = packet.data.to_vec();
        let interface = reader.interfaces()[index as usize].clone();
        clock = clock.max(time);
        let packet = Packet { time, interface: index, original_length, data: &data };
        engine.packet(&Frame { number, clock, interface: &interface, packet: &packet }, &mut output);
        number += 1;
    }
    engine.finish(&mut output);
    let mut writer = JsonWriter::new(decode::schema());
    output.events.iter().map(|(event, _)| serde_json::from_slice(writer.write(event)).unwrap()).collect()
}

fn of_type<'a>(documents: &'a [Value], kind: &str) -> Vec<&'a Value> {
    documents.iter().filter(|document| document["type"] == kind).collect()
}

fn finals(documents: &[Value]) -> Vec<&Value> {
    of_type(documents, "rtp").into_iter().filter(|document| document["rtp"]["final"] == true).collect()
}

fn check_call(fixture: &str, transport: &str) {
    let documents = documents(fixture, "");
    let messages = of_type(&documents, "sip");
    let actions: Vec<_> = messages.iter().map(|document| document["event"]["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["sip-invite", "sip-invite", "sip-invite", "sip-ack", "sip-bye", "sip-bye"]);
    let codes: Vec<_> = messages.iter().map(|document| document["sip"]["code"].as_u64()).collect();
    assert_eq!(codes, [None, Some(180), Some(200), None, None, Some(200)]);
    let invite = messages[0];
    assert_eq!(invite["network"]["transport"], transport);
    assert_eq!(invite["sip"]["from"]["display_info"], "Ada");
    assert_eq!(invite["sip"]["to"]["uri"]["username"], "bob");
    assert_eq!(invite["sip"]["contact"]["uri"]["original"], "sip:ada@10.9.8.1:5060");
    assert_eq!(invite["sip"]["sdp"]["connection"]["address"], "10.9.8.1");
    assert_eq!(invite["sip"]["sdp"]["media"][0]["port"], 6000);
    let streams = finals(&documents);
    assert_eq!(streams.len(), 2, "audio and its echo");
    for stream in streams {
        let rtp = &stream["rtp"];
        assert_eq!((&rtp["packets"], &rtp["expected"], &rtp["lost"]), (&50.into(), &50.into(), &0.into()));
        assert_eq!((&rtp["codec"], &rtp["clock_rate"], &rtp["mos"]), (&"PCMA".into(), &8000.into(), &4.41.into()));
        assert_eq!((&rtp["call_id"], &rtp["signalled_by"]), (&invite["sip"]["call_id"], &"sip".into()));
    }
}

#[test]
fn a_call_over_udp_and_its_audio() {
    check_call("sip/fixtures/call.pcap", "udp");
}

#[test]
fn a_call_over_tcp_and_its_audio() {
    check_call("sip/fixtures/tcp.pcap", "tcp");
}

#[test]
fn losses_and_copies_are_counted_without_signalling() {
    let documents = documents("rtp/fixtures/loss.pcap", "");
    let streams = finals(&documents);
    let [stream] = streams[..] else { panic!("one stream") };
    let rtp = &stream["rtp"];
    // Numbers 20 and 40 to 44 were never sent, number 70 was sent twice; numbers and timestamps wrap.
    let counts = ["packets", "expected", "lost", "duplicates", "out_of_order"].map(|name| rtp[name].as_u64().unwrap());
    assert_eq!(counts, [95, 100, 6, 1, 0]);
    let losses = ["burst", "gap", "run_max"].map(|name| rtp["loss"][name].as_u64().unwrap());
    assert_eq!(losses, [5, 1, 5]);
    assert_eq!(rtp["loss"]["percent"], 6.0);
    assert!(rtp["call_id"].is_null() && rtp["mos"].as_f64().unwrap() < 4.0);
}

#[test]
fn keys_are_counted_and_shown_only_if_asked_for() {
    let hidden = documents("rtp/fixtures/keys.pcap", "");
    assert_eq!(finals(&hidden)[0]["rtp"]["dtmf"], "xx");
    let shown = documents("rtp/fixtures/keys.pcap", "[protocols.rtp]\nsend_dtmf = 1\ninterval = \"0s\"\n");
    assert_eq!(finals(&shown)[0]["rtp"]["dtmf"], "7#");
    assert_eq!(of_type(&shown, "rtp").len(), 1, "no intervals");
}

#[test]
fn intervals_are_as_long_as_asked_for_and_add_up() {
    let documents = documents("rtp/fixtures/loss.pcap", "[protocols.rtp]\ninterval = \"500ms\"\n");
    let all = of_type(&documents, "rtp");
    let intervals: Vec<_> = all.iter().filter(|document| document["rtp"]["final"] == false).collect();
    let sum = |name: &str| intervals.iter().map(|document| document["rtp"][name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((intervals.len(), sum("packets"), sum("lost"), sum("expected")), (4, 95, 6, 100));
    let ids: std::collections::HashSet<_> = all.iter().map(|document| document["_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn rtcp_tells_the_far_end_and_the_round_trip() {
    let documents = documents("rtp/fixtures/loss.pcap", "");
    let compounds = of_type(&documents, "rtcp");
    assert_eq!(compounds.len(), 5);
    assert_eq!(compounds[0]["rtcp"]["packets"], serde_json::json!(["sr", "sdes"]));
    assert_eq!(
        (&compounds[0]["rtcp"]["cname"], &compounds[0]["rtcp"]["sender"]["packets"]),
        (&"ada@rec.example".into(), &10.into())
    );
    let report = &compounds[1]["rtcp"]["reports"][0];
    assert_eq!((&report["loss_percent"], &report["lost"], &report["jitter"]), (&1.953.into(), &2.into(), &16.into()));
    // The receiver waited for 100 ms; the wire is a veth.
    assert!(report["round_trip_ms"].as_f64().unwrap() < 5.0);
    let voip = &compounds[1]["rtcp"]["voip"][0];
    assert_eq!(
        (&voip["r_factor"], &voip["mos_lq"], &voip["burst_duration_ms"]),
        (&88.into(), &4.1.into(), &100.into())
    );
    assert_eq!(compounds[4]["rtcp"]["bye"]["ssrc"][0], "0x5eed5eed");
}

#[test]
fn no_payload_stands_in_an_event() {
    let bytes =
        std::fs::read(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/protocols/sip/fixtures/call.pcap")).unwrap();
    let text = serde_json::to_vec(&documents("sip/fixtures/call.pcap", "")).unwrap();
    // The audio is noise: none of its runs of eight bytes occurs by chance. It follows the source's number.
    let ssrc = bytes.windows(4).position(|run| run == [0xca, 0x11, 0, 0]).unwrap();
    let audio = &bytes[ssrc + 4..ssrc + 164];
    assert!(audio.windows(8).all(|run| !text.windows(8).any(|seen| seen == run)));
}

#[test]
fn packetbeats_documents_have_no_media() {
    let documents = documents("sip/fixtures/call.pcap", "profile = \"packetbeat\"\n");
    assert!(of_type(&documents, "rtp").is_empty());
    let messages = of_type(&documents, "sip");
    assert!(messages.iter().all(|document| document["sip"]["sdp"]["media"].is_null()));
    // There Contact holds To.
    assert_eq!(messages[0]["sip"]["contact"]["uri"]["original"], "sip:bob@10.9.8.2:5060");
}
