//! Every capture of the shared corpus, where it lies beside the project: none makes the engine panic, hang or grow, with all
//! protocols, with Packetbeat's only, and with bounds so tight that everything is cut off by them.
#![allow(clippy::unwrap_used)]

mod capture;

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use capture::Lines;

const TIGHT: &str = "[limits]\nflows = 8\nstream_bytes = 2000\nstream_bytes_total = 4000\nfragment_bytes = 3000\n[flows]\nperiod = \"1s\"\ntimeout = \"2s\"\n";

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

#[test]
fn every_capture_of_the_corpus_is_survived() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpus/files");
    let Ok(entries) = std::fs::read_dir(&folder) else { return };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        for options in ["", "profile = \"packetbeat\"", TIGHT] {
            let began = Instant::now();
            let mut lines = Lines::default();
            let counters = capture::decode(BufReader::new(File::open(&path).unwrap()), options, &mut lines);
            assert!(began.elapsed() < Duration::from_secs(10), "{}: took {:?}", path.display(), began.elapsed());
            assert_eq!(counters.flows, 0, "{}: a flow outlived the end of input", path.display());
        }
    }
    assert!(resident_kib() < 200 << 10, "{} KiB at the most", resident_kib());
}
