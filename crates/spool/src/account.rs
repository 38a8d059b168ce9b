//! What is said of an epoch beside its entries, in a file of two slots that are written in turn, in place: it can be renewed on a full disk.

use crate::record::{Broken, Drops};
use packet::Epoch;
use packet::batch::DropReason;

/// Name of the file.
pub(crate) const FILE: &str = "account";
/// Distance of the slots: each lies in a sector of its own.
pub(crate) const SLOT: u64 = 512;
const MAGIC: [u8; 8] = *b"TAPLSPL1";
/// Magic, epoch, 8 numbers, 6 reasons, checksum.
pub(crate) const LENGTH: usize = 8 + 16 + 8 * 8 + 6 * 8 + 4;

/// The account of one epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Rises with every writing: the larger of two slots counts.
    pub(crate) generation: u64,
    /// What lies before may have been sent: it is never changed any more.
    pub(crate) lease_seq: u64,
    /// What lies before was acknowledged and is gone from the disk.
    pub(crate) gone_seq: u64,
    /// Packets before that, dropped ones included.
    pub(crate) gone_packets: u64,
    /// What gap records before that stood for.
    pub(crate) gone_drops: Drops,
    /// Counters of kernel and interfaces, as the statistics have them: received, dropped, dropped by interfaces.
    pub(crate) kernel: [u64; 3],
    /// The run ended in order: nothing is missing behind the last entry.
    pub(crate) ended: bool,
}

impl Account {
    /// Where this generation is written.
    pub(crate) fn offset(&self) -> u64 {
        self.generation % 2 * SLOT
    }

    pub(crate) fn to_bytes(&self, epoch: Epoch) -> Vec<u8> {
        let mut out = Vec::with_capacity(LENGTH);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&epoch.0);
        let [received, dropped, interface] = self.kernel;
        let numbers = [
            self.generation,
            self.lease_seq,
            self.gone_seq,
            self.gone_packets,
            received,
            dropped,
            interface,
            self.ended.into(),
        ];
        let drops = DropReason::ALL.map(|reason| self.gone_drops.get(&reason).copied().unwrap_or(0));
        for number in numbers.into_iter().chain(drops) {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    pub(crate) fn read(bytes: &[u8], epoch: Epoch) -> Result<Self, Broken> {
        let (body, crc) = bytes.get(..LENGTH).and_then(|bytes| bytes.split_at_checked(LENGTH - 4)).ok_or(Broken)?;
        if crc != crc32fast::hash(body).to_le_bytes() || !body.starts_with(&MAGIC) || body.get(8..24) != Some(&epoch.0)
        {
            return Err(Broken);
        }
        let mut numbers = body.get(24..).unwrap_or_default().chunks_exact(8).map(|chunk| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(chunk);
            u64::from_le_bytes(bytes)
        });
        let mut next = || numbers.next().unwrap_or(0);
        let mut account = Self {
            generation: next(),
            lease_seq: next(),
            gone_seq: next(),
            gone_packets: next(),
            kernel: [next(), next(), next()],
            ended: next() == 1,
            gone_drops: Drops::new(),
        };
        for reason in DropReason::ALL {
            let packets = next();
            if packets > 0 {
                account.gone_drops.insert(reason, packets);
            }
        }
        Ok(account)
    }
}
