//! Writing in whole blocks: what ends within a page of a file costs the kernel more, and the page is touched twice.
//! Knows nothing of what is written.

use std::io::{self, Write};

/// Bytes of a block: pages of any file system, and few calls.
const BLOCK: usize = 128 * 1024;

/// Gathers what is written into whole blocks.
pub(crate) struct Blocks<W> {
    out: W,
    /// Nothing is gathered: somebody watches.
    at_once: bool,
    gathered: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    pub(crate) fn new(out: W, at_once: bool) -> Self {
        Self { out, at_once, gathered: Vec::with_capacity(BLOCK + 16 * 1024) }
    }
}

impl<W: Write> Write for Blocks<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.at_once {
            return self.out.write(bytes);
        }
        self.gathered.extend_from_slice(bytes);
        let whole = self.gathered.len() - self.gathered.len() % BLOCK;
        if whole > 0 {
            self.out.write_all(self.gathered.get(..whole).unwrap_or_default())?;
            self.gathered.drain(..whole);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.gathered)?;
        self.gathered.clear();
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Notes how long each write is.
    #[derive(Default)]
    struct Noted(Vec<usize>, Vec<u8>);

    impl Write for Noted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            self.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn only_the_last_write_ends_within_a_block() {
        let mut blocks = Blocks::new(Noted::default(), false);
        let pieces: Vec<Vec<u8>> = (1..600usize).map(|length| vec![length as u8; length * 7 % 3001]).collect();
        for piece in &pieces {
            blocks.write_all(piece).unwrap();
        }
        blocks.write_all(&vec![7; BLOCK * 3 + 5]).unwrap();
        blocks.flush().unwrap();
        let (last, before) = blocks.out.0.split_last().unwrap();
        assert!(before.len() > 3 && before.iter().all(|length| length % BLOCK == 0) && *last < BLOCK);
        let mut all = pieces.concat();
        all.extend(vec![7; BLOCK * 3 + 5]);
        assert!(blocks.out.1 == all);
    }
}
