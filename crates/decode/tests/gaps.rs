//! What counts as missing in a stream: only bytes that somebody would have decoded.
#![allow(clippy::unwrap_used)]

mod capture;

use std::fs::File;

#[test]
fn what_nobody_decodes_is_not_missing() {
    let gap_bytes = |options| {
        let path = capture::folder().join("src/protocols/http/fixtures/requests.pcap");
        capture::decode(File::open(path).unwrap(), options, &mut capture::Lines::default()).stream_gap_bytes
    };
    assert_eq!(gap_bytes(""), 0, "the capture is whole");
    let nobody = "[protocols]\nhttp.enabled = false\nsip.enabled = false\ndns.enabled = false\n";
    assert_eq!(gap_bytes(nobody), 0);
}
