//! The bodies of the fuzz targets: each takes any bytes and panics where something is wrong. `fuzz_targets/` hands them to
//! libFuzzer, the tests of this crate run them over their seeds.
//!
//! The targets are `#[inline]` so that each program holds only what its own target reaches: the fewer counters, the faster.

pub mod archive_files;
pub mod capture;
pub mod decoding;
mod input;
pub mod seeds;
pub mod text;
pub mod wire;

/// A target's body.
pub type Target = fn(&[u8]);

/// Every target by the name of its file.
pub const TARGETS: &[(&str, Target)] = &[
    ("archive", archive_files::archive),
    ("batch", capture::batch),
    ("capture", capture::capture),
    ("decode_dns", decoding::dns),
    ("decode_dns_tcp", decoding::dns_tcp),
    ("decode_http", decoding::http),
    ("decode_icmp", decoding::icmp),
    ("decode_rtp", decoding::rtp),
    ("decode_sdp", decoding::sdp),
    ("decode_sip", decoding::sip),
    ("decode_sip_tcp", decoding::sip_tcp),
    ("dissect", capture::dissect),
    ("engine", decoding::engine),
    ("feed", wire::feed),
    ("filter", text::filter),
    ("index", archive_files::index),
    ("osmo", wire::osmo),
    ("segment", archive_files::segment),
    ("settings", text::settings),
    ("uplink_collector", wire::uplink_collector),
    ("uplink_probe", wire::uplink_probe),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// Cheap random numbers, the same every time.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, end: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            (self.0 >> 11) as usize % end.max(1)
        }

        fn change(&mut self, bytes: &mut Vec<u8>) {
            for _ in 0..=self.below(8) {
                let at = self.below(bytes.len());
                match self.below(4) {
                    0 => bytes.truncate(at),
                    1 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
                    2 if at < bytes.len() => bytes[at] = self.below(256) as u8,
                    _ => bytes.insert(at, self.below(256) as u8),
                }
            }
        }
    }

    #[test]
    fn every_target_survives_its_seeds_and_changes_of_them() {
        for (name, target) in TARGETS {
            let seeds = seeds::of(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            target(&[]);
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
            for seed in seeds.iter().take(12) {
                target(seed);
                for _ in 0..40 {
                    let mut changed = seed.clone();
                    dice.change(&mut changed);
                    target(&changed);
                }
            }
        }
    }

    #[test]
    fn every_target_has_its_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap();
        for (name, _) in TARGETS {
            let program = std::fs::read_to_string(folder.join(format!("fuzz_targets/{name}.rs"))).unwrap();
            assert!(program.contains("libfuzzer_sys::fuzz_target!(|data: &[u8]| tapline_fuzz::"), "{name}");
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        }
        assert_eq!(std::fs::read_dir(folder.join("fuzz_targets")).unwrap().count(), TARGETS.len());
    }

    #[test]
    fn every_protocol_has_a_target() {
        for protocol in decode::protocols::ALL {
            assert!(TARGETS.iter().any(|(name, _)| *name == format!("decode_{}", protocol.name)), "{}", protocol.name);
        }
    }
}
