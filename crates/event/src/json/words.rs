//! Keys of objects and other words that are known when the program is built, as they stand in JSON: each is written thousands of
//! times. Knows nothing of events.

use super::out::Out;

/// Room for a word with what stands around it.
pub(super) const ROOM: usize = 32;
/// So many are kept, as a power of two; of two that fall on one place the first has it, so that they do not drive each other out.
const PLACES_LOG: u32 = 9;

/// A word between a comma and a colon.
#[derive(Debug, Clone, Copy)]
pub(super) struct Word {
    /// Where the word lies in memory, and how long it is: with a word that lives as long as the program that says which it is.
    address: usize,
    length: usize,
    /// `,"word":`
    pub(super) text: [u8; ROOM],
    /// How long that is; 0 if there is no room for it.
    pub(super) end: usize,
}

/// The words that were written.
#[derive(Debug)]
pub(super) struct Words {
    places: Box<[Word]>,
    spare: Vec<u8>,
}

impl Words {
    pub(super) fn new() -> Self {
        let none = Word { address: 0, length: 0, text: [0; ROOM], end: 0 };
        Self { places: vec![none; 1 << PLACES_LOG].into_boxed_slice(), spare: Vec::new() }
    }

    /// A word as it stands in JSON; none if it is not kept.
    #[inline]
    pub(super) fn get(&mut self, word: &'static str) -> Option<&Word> {
        let (address, length) = (word.as_ptr() as usize, word.len());
        let mixed = (address as u64 ^ (length as u64) << 48).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let at = (mixed >> (64 - PLACES_LOG)) as usize;
        let place = self.places.get(at)?;
        if place.address == 0 {
            self.fill(at, word);
        } else if place.address != address || place.length != length {
            return None;
        }
        self.places.get(at).filter(|place| place.end > 0)
    }

    #[cold]
    fn fill(&mut self, at: usize, word: &'static str) {
        let mut out = Out::new(&mut self.spare);
        out.byte(b',');
        out.string(word.as_bytes());
        out.byte(b':');
        let mut made = Word { address: word.as_ptr() as usize, length: word.len(), text: [0; ROOM], end: 0 };
        let end = out.length();
        if let (Some(place), Some(text)) = (made.text.get_mut(..end), self.spare.get(..end)) {
            place.copy_from_slice(text);
            made.end = end;
        }
        if let Some(place) = self.places.get_mut(at) {
            *place = made;
        }
    }
}
