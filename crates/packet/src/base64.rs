//! Base64 (RFC 4648) as documents need it: Community IDs, flow identifiers, keys and signatures. Does not decode.

static ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// How many characters so many bytes become, with padding.
pub const fn length(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

/// Writes `bytes` in base64 with padding to the beginning of `out` and gives that text: as much of it as there is room for.
pub fn encode<'o>(bytes: &[u8], out: &'o mut [u8]) -> &'o str {
    let digit = |word: u32, shift: u32| ALPHABET[(word >> shift) as usize & 63];
    let whole = bytes.chunks_exact(3);
    let rest = whole.remainder();
    let mut places = out.chunks_exact_mut(4);
    let mut written = 0;
    for (three, four) in whole.zip(&mut places) {
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        four.copy_from_slice(&[digit(word, 18), digit(word, 12), digit(word, 6), digit(word, 0)]);
        written += 4;
    }
    if let (Some(four), [first, more @ ..]) = (places.next(), rest) {
        let word = u32::from_be_bytes([0, *first, more.first().copied().unwrap_or(0), 0]);
        let third = if more.is_empty() { b'=' } else { digit(word, 6) };
        four.copy_from_slice(&[digit(word, 18), digit(word, 12), third, b'=']);
        written += 4;
    }
    // Only ASCII is ever written into it.
    std::str::from_utf8(out.get(..written).unwrap_or_default()).unwrap_or_default()
}

/// The same as a text of its own.
pub fn text(bytes: &[u8]) -> String {
    let mut text = vec![0; length(bytes.len())];
    encode(bytes, &mut text);
    // Only ASCII is ever written into it.
    String::from_utf8(text).unwrap_or_default()
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
            assert_eq!(super::text(bytes.as_bytes()), text);
        }
        assert_eq!(super::encode(b"foobar", &mut [0; 5]), "Zm9v");
    }
}
