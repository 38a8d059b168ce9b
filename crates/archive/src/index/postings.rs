//! A posting: the numbers of the batches something occurs in, as runs. Grows at the end only, which is how segments grow.

use super::{IndexError, varint};
use packet::cursor::Cursor;
use roaring::RoaringBitmap;

/// Rising batch numbers as runs; without allocation while there is one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Runs {
    /// All but the last run, first and last number of each.
    earlier: Vec<(u32, u32)>,
    last: Option<(u32, u32)>,
}

impl Runs {
    /// Adds a number that is not below any that is there.
    pub(super) fn push(&mut self, number: u32) {
        match &mut self.last {
            Some((_, last)) if *last == number => {}
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => {
                self.earlier.extend(self.last);
                self.last = Some((number, number));
            }
        }
    }

    /// Takes out the numbers from `limit` on. Whether any is left.
    pub(super) fn truncate(&mut self, limit: u32) -> bool {
        while let Some((first, last)) = &mut self.last {
            if *last < limit {
                break;
            }
            if *first < limit {
                *last = limit - 1;
                break;
            }
            self.last = self.earlier.pop();
        }
        self.last.is_some()
    }

    fn iter(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.earlier.iter().copied().chain(self.last)
    }

    pub(super) fn add_to(&self, found: &mut RoaringBitmap) {
        for (first, last) in self.iter() {
            found.insert_range(first..=last);
        }
    }

    /// The count of runs and, for each, how many numbers are left out before it and its length less one.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        varint::write(out, (self.earlier.len() + usize::from(self.last.is_some())) as u64);
        let mut next = 0;
        for (first, last) in self.iter() {
            varint::write(out, u64::from(first - next));
            varint::write(out, u64::from(last - first));
            next = last.saturating_add(1);
        }
    }

    /// Reads numbers below `limit`.
    pub(super) fn read(cursor: &mut Cursor<'_>, limit: u32) -> Result<Self, IndexError> {
        let beyond = IndexError::Damaged("a batch number beyond the last batch");
        let mut runs = Self::default();
        let mut next = 0u32;
        for _ in 0..varint::read(cursor)? {
            let first = next.checked_add(varint::read_u32(cursor)?).ok_or(beyond.clone())?;
            let last = first.checked_add(varint::read_u32(cursor)?).ok_or(beyond.clone())?;
            if last >= limit {
                return Err(beyond);
            }
            runs.earlier.extend(runs.last);
            runs.last = Some((first, last));
            next = last + 1;
        }
        Ok(runs)
    }
}
