//! The naive model: every batch that was ever made, and what a collector received of each epoch. Knows nothing of spools.

use packet::batch::{BatchHeader, DropPlace, DropReason, GapRecord};
use packet::{BatchName, Epoch, SourceName, Timestamp};
use std::collections::BTreeMap;

pub fn source() -> SourceName {
    "sim".parse().unwrap()
}

/// A batch as it was made.
#[derive(Debug, Clone)]
pub struct Made {
    pub header: BatchHeader,
    pub frame: Vec<u8>,
}

/// An entry as it was received.
#[derive(Debug, Clone)]
pub struct Received {
    pub last_seq: u64,
    pub packets: u64,
    pub gap: Option<(DropReason, u64)>,
}

/// One epoch, made and received.
#[derive(Debug, Default)]
pub struct Run {
    pub made: Vec<Made>,
    pub received: Vec<Received>,
    /// Of `received`, what is durable.
    pub durable: usize,
    /// Everything before this must arrive.
    pub promised: u64,
    /// Whether the run ended in order, where that is certain.
    pub ended: Option<bool>,
    /// What a disk that failed was left with may differ from what was sent.
    pub doubtful: bool,
}

impl Run {
    /// Makes the next batch.
    pub fn make(&mut self, epoch: Epoch, packets: u32, length: usize) -> Made {
        let seq = self.made.len() as u64;
        let first_packet = self.made.last().map_or(0, |made| made.header.first_packet + u64::from(made.header.packets));
        let time = if packets == 0 { 0 } else { 1_000 + seq * 10 };
        let header = BatchHeader {
            name: BatchName { source: source(), epoch, seq },
            interface_set: u32::from(seq >= 7),
            first_packet,
            packets,
            time_min: Timestamp::from_nanos(time),
            time_max: Timestamp::from_nanos(if packets == 0 { 0 } else { time + 15 }),
            captured_bytes: u64::from(packets) * 60,
        };
        let frame = (0..length).map(|at| (seq as usize * 7 + at * 3 + usize::from(epoch.0[0])) as u8).collect();
        self.made.push(Made { header: header.clone(), frame });
        self.made[seq as usize].clone()
    }

    pub fn next_seq(&self) -> u64 {
        self.received.last().map_or(0, |entry| entry.last_seq + 1)
    }

    pub fn durable_seq(&self) -> u64 {
        self.durable.checked_sub(1).map_or(0, |last| self.received[last].last_seq + 1)
    }

    /// What is archived, and what gap records say, before a sequence number.
    pub fn before(&self, seq: u64) -> (u64, BTreeMap<DropReason, u64>) {
        let (mut archived, mut drops) = (0, BTreeMap::new());
        for entry in self.received.iter().filter(|entry| entry.last_seq < seq) {
            archived += entry.packets;
            if let Some((reason, packets)) = entry.gap {
                *drops.entry(reason).or_default() += packets;
            }
        }
        (archived, drops)
    }

    /// Receives a batch.
    pub fn batch(&mut self, header_set: u32, raw_length: u32, seq: u64, frame: &[u8]) -> Result<(), String> {
        let made = self.made.get(seq as usize).ok_or(format!("batch {seq} was never made"))?;
        if made.frame != frame || made.header.interface_set != header_set || raw_length as usize != frame.len() * 3 {
            return Err(format!("batch {seq} is not as it was made"));
        }
        self.follow(seq)?;
        self.received.push(Received { last_seq: seq, packets: made.header.packets.into(), gap: None });
        Ok(())
    }

    /// Receives a gap record: it must say exactly what it stands for.
    pub fn gap(&mut self, gap: &GapRecord, troubled: bool) -> Result<(), String> {
        let (first, last) = (gap.name.seq, gap.last_seq);
        self.follow(first)?;
        let lost =
            self.made.get(first as usize..=last as usize).ok_or(format!("gap {first}-{last} of what was not made"))?;
        let packets: u64 = lost.iter().map(|made| u64::from(made.header.packets)).sum();
        let bytes: u64 = lost.iter().map(|made| made.header.captured_bytes).sum();
        let busy = || lost.iter().filter(|made| made.header.packets > 0);
        let min = busy().map(|made| made.header.time_min.nanos()).min().unwrap_or(0);
        let max = busy().map(|made| made.header.time_max.nanos()).max().unwrap_or(0);
        let corrupt = gap.reason == DropReason::Corrupt;
        if corrupt && gap.packets > packets {
            // Part of what it stands for had arrived.
            self.doubtful = true;
            self.received.push(Received { last_seq: last, packets: 0, gap: Some((gap.reason, packets)) });
            return Ok(());
        }
        if gap.place != DropPlace::Spool || gap.packets != packets || gap.first_packet != lost[0].header.first_packet {
            return Err(format!(
                "gap {first}-{last} counts {} packets from {}, they are {packets}",
                gap.packets, gap.first_packet
            ));
        }
        // What could not be read back has left its lengths and times behind only roughly.
        if !corrupt
            && !troubled
            && (gap.captured_bytes, gap.time_min.nanos(), gap.time_max.nanos()) != (bytes, min, max)
        {
            return Err(format!("gap {first}-{last} says {gap:?}, not {bytes} bytes, {min} to {max}"));
        }
        self.received.push(Received { last_seq: last, packets: 0, gap: Some((gap.reason, packets)) });
        Ok(())
    }

    fn follow(&self, seq: u64) -> Result<(), String> {
        if seq == self.next_seq() { Ok(()) } else { Err(format!("entry {seq} came where {} was due", self.next_seq())) }
    }
}
