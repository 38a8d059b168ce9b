//! Base64 (RFC 4648) as documents need it: Community IDs, flow identifiers, keys and signatures. Does not decode.

static ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// How many characters so many bytes become, with padding.
pub const fn length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Writes `bytes` in base64 with padding to the beginning of `out` and gives that: as much of it as there is room for. All of it is
/// ASCII.
pub fn encode<'o>(bytes: &[u8], out: &'o mut [u8]) -> &'o [u8] {
    let digit = |word: u32, shift: u32| ALPHABET[(word >> shift) as usize & 63];
    let mut written = 0;
    let mut rest = bytes;
    while let (Some(place), Some((six, more))) =
        (out.get_mut(written..).and_then(<[u8]>::first_chunk_mut::<8>), rest.split_first_chunk::<6>())
    {
        *place = eight(match rest.first_chunk() {
            Some(more) => u64::from_be_bytes(*more) >> 16,
            None => six.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
        });
        written += 8;
        rest = more;
    }
    let mut places = out.get_mut(written..).unwrap_or_default().chunks_exact_mut(4);
    let whole = rest.chunks_exact(3);
    let last = whole.remainder();
    for (three, four) in whole.zip(&mut places) {
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        four.copy_from_slice(&[digit(word, 18), digit(word, 12), digit(word, 6), digit(word, 0)]);
        written += 4;
    }
    if let (Some(four), [first, more @ ..]) = (places.next(), last) {
        let word = u32::from_be_bytes([0, *first, more.first().copied().unwrap_or(0), 0]);
        let third = if more.is_empty() { b'=' } else { digit(word, 6) };
        four.copy_from_slice(&[digit(word, 18), digit(word, 12), third, b'=']);
        written += 4;
    }
    out.get(..written).unwrap_or_default()
}

/// The eight characters for 48 bits, all at once: the bits are spread over the bytes of a word, and where in the alphabet each
/// stands decides what is added to it.
#[inline]
fn eight(bits: u64) -> [u8; 8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let halves = (bits << 8) & 0x00ff_ffff_0000_0000 | bits & 0x00ff_ffff;
    let quarters = (halves << 4) & 0x0fff_0000_0fff_0000 | halves & 0x0000_0fff_0000_0fff;
    let digits = (quarters << 2) & 0x3f00_3f00_3f00_3f00 | quarters & 0x003f_003f_003f_003f;
    // A one in each byte that holds at least so much.
    let from = |least: u64| ((digits + ONES * (128 - least)) >> 7) & ONES;
    // A-Z, a-z behind six other characters, 0-9 75 before that, then + and /.
    let text = digits + ONES * 65 + from(26) * 6 - from(52) * 75 - from(62) * 15 + from(63) * 3;
    text.to_be_bytes()
}

/// Appends that to `out`.
pub fn append(bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + length(bytes.len()), 0);
    encode(bytes, out.get_mut(start..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #[test]
    fn texts_are_those_of_rfc_4648() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            let mut out = b"=".to_vec();
            super::append(bytes.as_bytes(), &mut out);
            assert_eq!(String::from_utf8_lossy(&out), format!("={text}"));
        }
        assert_eq!(super::encode(b"foobar", &mut [0; 5]), b"Zm9v");
    }

    #[test]
    fn every_digit_is_that_of_the_alphabet_at_every_place() {
        for digit in 0..64u64 {
            for place in 0..8 {
                let other = (digit + 17) % 64;
                let bits = (0..8).fold(0, |bits, at| bits << 6 | if at == place { digit } else { other });
                let expect: Vec<u8> =
                    (0..8).map(|at| super::ALPHABET[if at == place { digit } else { other } as usize]).collect();
                assert_eq!(super::eight(bits).as_slice(), expect);
            }
        }
    }
}
