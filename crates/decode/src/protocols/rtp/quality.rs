//! An estimate of how speech sounded: the E-model of ITU-T G.107 with the codec parameters of G.113 Appendix I.
//! Listens to no payload: only what was lost, and how it was spread, goes in.

/// What the E-model knows of a codec.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Impairment {
    name: &'static str,
    /// Equipment impairment without loss.
    ie: f64,
    /// Robustness against loss.
    bpl: f64,
    /// Whether the scale of wideband speech (G.107.1, up to 129) applies.
    wideband: bool,
}

const fn narrow(name: &'static str, ie: f64, bpl: f64) -> Impairment {
    Impairment { name, ie, bpl, wideband: false }
}

const fn wide(name: &'static str, ie: f64, bpl: f64) -> Impairment {
    Impairment { name, ie, bpl, wideband: true }
}

/// G.113 Appendix I, tables I.1 to I.4, with loss concealment where receivers usually have it; by encoding name. Codecs
/// whose robustness G.113 does not state have that of the nearest relative.
const CODECS: &[Impairment] = &[
    narrow("PCMU", 0.0, 25.1),
    narrow("PCMA", 0.0, 25.1),
    narrow("G729", 10.0, 19.0),
    narrow("G723", 15.0, 16.1),
    narrow("G728", 7.0, 16.1),
    narrow("GSM", 20.0, 10.0),
    narrow("GSM-EFR", 5.0, 10.0),
    narrow("GSM-HR-08", 23.0, 10.0),
    narrow("AMR", 5.0, 10.0),
    narrow("iLBC", 11.0, 32.0),
    narrow("G726-40", 2.0, 19.0),
    narrow("G726-32", 7.0, 19.0),
    narrow("G726-24", 25.0, 19.0),
    narrow("G726-16", 50.0, 19.0),
    narrow("AAL2-G726-40", 2.0, 19.0),
    narrow("AAL2-G726-32", 7.0, 19.0),
    narrow("AAL2-G726-24", 25.0, 19.0),
    narrow("AAL2-G726-16", 50.0, 19.0),
    wide("G722", 13.0, 4.3),
    wide("AMR-WB", 13.0, 4.3),
];

/// The rating of a narrowband connection with everything else at its default (G.107 Table 3, G.107 7.7).
const R_DEFAULT: f64 = 93.2;
/// The same on the scale of wideband speech (G.107.1).
const R_WIDEBAND: f64 = 129.0;

/// What goes into the estimate.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Heard {
    /// Packets that should have come.
    pub(crate) expected: u64,
    /// Those that did not, ours to blame or not counted elsewhere.
    pub(crate) lost: u64,
    /// How many runs of lost packets there were.
    pub(crate) runs: u64,
    /// Delay from mouth to ear as far as it is known, in milliseconds.
    pub(crate) delay_ms: f64,
}

/// R-factor and mean opinion score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Quality {
    /// The rating, on the scale of narrowband speech (0 to 93.2) whatever the codec.
    pub(crate) r_factor: f64,
    /// The estimated mean opinion score of a conversation, 1 to 4.5.
    pub(crate) mos: f64,
}

/// The estimate for a codec, if the tables know it.
pub(crate) fn estimate(codec: &str, heard: Heard) -> Option<Quality> {
    let codec = CODECS.iter().find(|known| known.name.eq_ignore_ascii_case(codec))?;
    if heard.expected == 0 {
        return None;
    }
    let loss = heard.lost.min(heard.expected) as f64 / heard.expected as f64;
    let loss_percent = loss * 100.0;
    // Mean length of the observed runs over the mean length that chance alone would give (G.107 7.5).
    let burst_ratio = if heard.runs == 0 || loss >= 1.0 {
        1.0
    } else {
        (heard.lost as f64 / heard.runs as f64 * (1.0 - loss)).max(1.0)
    };
    let (scale, impairment_max) = if codec.wideband { (R_WIDEBAND, 129.0) } else { (R_DEFAULT, 95.0) };
    let impairment = codec.ie + (impairment_max - codec.ie) * loss_percent / (loss_percent / burst_ratio + codec.bpl);
    let rating = (scale - impairment - delay_impairment(heard.delay_ms)).max(0.0);
    let r_factor = if codec.wideband { rating / R_WIDEBAND * R_DEFAULT } else { rating };
    Some(Quality { r_factor, mos: mos(if codec.wideband { rating / 1.29 } else { rating }) })
}

/// Idd of G.107 7.4, the impairment by long delay without echo.
fn delay_impairment(delay_ms: f64) -> f64 {
    if delay_ms <= 100.0 {
        return 0.0;
    }
    let x = (delay_ms / 100.0).log2();
    25.0 * ((1.0 + x.powi(6)).powf(1.0 / 6.0) - 3.0 * (1.0 + (x / 3.0).powi(6)).powf(1.0 / 6.0) + 2.0)
}

/// Annex B of G.107.
fn mos(r: f64) -> f64 {
    match r {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quality(codec: &str, expected: u64, lost: u64, runs: u64) -> Quality {
        estimate(codec, Heard { expected, lost, runs, delay_ms: 20.0 }).unwrap()
    }

    #[test]
    fn g711_without_loss_is_the_default_of_the_model() {
        let quality = quality("PCMA", 1000, 0, 0);
        assert_eq!(quality.r_factor, 93.2);
        assert!((quality.mos - 4.41).abs() < 0.005, "{}", quality.mos);
    }

    #[test]
    fn random_loss_costs_what_the_formula_says() {
        // 5 %: 95 * 5 / (5 + 25.1) = 15.78
        let quality = quality("pcmu", 1000, 50, 50);
        assert!((quality.r_factor - (93.2 - 15.78)).abs() < 0.8, "{}", quality.r_factor);
        assert!((quality.mos - 3.9).abs() < 0.1);
    }

    #[test]
    fn the_same_loss_in_bursts_sounds_worse() {
        assert!(quality("G729", 1000, 50, 5).r_factor < quality("G729", 1000, 50, 50).r_factor);
        assert!(quality("G729", 1000, 0, 0).r_factor < quality("PCMA", 1000, 0, 0).r_factor);
    }

    #[test]
    fn delay_hurts_from_a_tenth_of_a_second_on() {
        assert_eq!(delay_impairment(100.0), 0.0);
        assert!(delay_impairment(300.0) > 10.0 && delay_impairment(300.0) < 20.0);
    }

    #[test]
    fn all_lost_is_the_worst_and_unknown_codecs_have_no_estimate() {
        assert!(quality("PCMA", 10, 10, 1).mos < 2.0);
        assert_eq!(estimate("H264", Heard { expected: 1, ..Heard::default() }), None);
    }
}
