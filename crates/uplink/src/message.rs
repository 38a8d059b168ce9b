//! The messages of the uplink and their bytes. Everything is little endian; a reader ignores what follows the fields it knows.

use crate::{Fault, frame};
use packet::batch::{self, DropPlace, DropReason};
use packet::cursor::{Cursor, Cut};
use packet::{Epoch, Interface, InterfaceSet, LinkType, SourceName, Timestamp};
use std::fmt;

/// Frame types.
pub mod kind {
    /// Probe: who it is.
    pub const HELLO: u8 = 1;
    /// Collector: what it has.
    pub const WELCOME: u8 = 2;
    /// Probe: another interface set.
    pub const INTERFACES: u8 = 3;
    /// Probe: a batch or a gap record.
    pub const ENTRY: u8 = 4;
    /// Probe: its side of the balance.
    pub const STATISTICS: u8 = 5;
    /// Collector: what is durable.
    pub const ACK: u8 = 6;
    /// Both: still there.
    pub const HEARTBEAT: u8 = 7;
    /// Probe: the epoch has ended cleanly.
    pub const BYE: u8 = 8;
    /// Collector: why it will not go on.
    pub const REFUSE: u8 = 9;
}

/// The probe's first message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Major version it speaks.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// Who it is.
    pub source: SourceName,
    /// Its run.
    pub epoch: Epoch,
    /// The oldest sequence number it still holds; what is older was acknowledged or never existed.
    pub oldest_seq: u64,
    /// The next sequence number it will give.
    pub next_seq: u64,
    /// Its clock.
    pub clock: Timestamp,
    /// Its interface sets so far.
    pub sets: Vec<InterfaceSet>,
}

/// The collector's answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Welcome {
    /// Major version it speaks.
    pub major: u16,
    /// Minor version.
    pub minor: u16,
    /// The sequence number to go on with: everything before is received.
    pub next_seq: u64,
    /// Everything before this is durable.
    pub durable_seq: u64,
    /// How many bytes of entries may be on their way at once.
    pub credit: u64,
    /// Its clock.
    pub clock: Timestamp,
}

/// Packets dropped at one place for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropCount {
    /// Where.
    pub place: DropPlace,
    /// Why.
    pub reason: DropReason,
    /// How many.
    pub packets: u64,
}

/// The probe's side of the balance, all at one instant and counted from the start of the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// When.
    pub time: Timestamp,
    /// Packets taken from the kernel or the file.
    pub captured: u64,
    /// Packets in entries before `acknowledged_seq`, gap records not counted.
    pub acknowledged: u64,
    /// Everything before this sequence number was acknowledged to the probe.
    pub acknowledged_seq: u64,
    /// Packets it holds: in open batches, in the queue, in the spool.
    pub held: u64,
    /// Packets that passed the filter by the kernel's count, those it dropped included.
    pub received_by_kernel: u64,
    /// Packets the kernel dropped for want of buffer. No part of `captured`.
    pub dropped_by_kernel: u64,
    /// Packets the interfaces dropped. No part of `captured`.
    pub dropped_by_interface: u64,
    /// Captured packets dropped by the probe: stated in gap records too, where they took batches with them.
    pub drops: Vec<DropCount>,
    /// Bytes in the spool.
    pub spool_bytes: u64,
}

/// The probe's last message: the epoch is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bye {
    /// Its final counts.
    pub statistics: Statistics,
}

/// Why a collector does not go on with a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For programs: 1 version, 2 name in use, 3 not allowed, 4 limit reached, 5 malformed, 6 going down.
    pub code: u16,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// Another major version.
    pub const VERSION: u16 = 1;
    /// Another probe with this name is connected and answers.
    pub const NAME_IN_USE: u16 = 2;
    /// This source may not connect here.
    pub const NOT_ALLOWED: u16 = 3;
    /// Too many connections or interfaces.
    pub const LIMIT: u16 = 4;
    /// Something was not as the protocol has it.
    pub const MALFORMED: u16 = 5;
    /// The collector is going down; come again.
    pub const GOING_DOWN: u16 = 6;
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.text, self.code)
    }
}

/// The head of an entry; its compressed frame follows to the end of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryHead {
    /// Sequence number of the batch, or the first of a gap.
    pub seq: u64,
    /// The same, or the last of a gap.
    pub last_seq: u64,
    /// Length of the entry when it is decompressed.
    pub raw_length: u32,
}

/// A message as it is received; borrowed where it is large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// See [`Hello`].
    Hello(Hello),
    /// See [`Welcome`].
    Welcome(Welcome),
    /// Another interface set.
    Interfaces(InterfaceSet),
    /// A batch or a gap record: head and compressed frame.
    Entry(EntryHead, &'a [u8]),
    /// See [`Statistics`].
    Statistics(Statistics),
    /// Everything before `durable_seq` is durable.
    Ack {
        /// Everything before this is durable.
        durable_seq: u64,
        /// How many bytes of entries may be on their way at once.
        credit: u64,
    },
    /// Still there; `echo` is the clock of the last heartbeat received from the other side, 0 for none.
    Heartbeat {
        /// The sender's clock.
        clock: Timestamp,
        /// The receiver's clock as the sender last heard it.
        echo: Timestamp,
    },
    /// See [`Bye`].
    Bye(Bye),
    /// See [`Refusal`].
    Refuse(Refusal),
    /// A type that this version does not know: ignored.
    Unknown(u8),
}

impl Message<'_> {
    /// Its name in messages to people.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Hello(_) => "hello",
            Self::Welcome(_) => "welcome",
            Self::Interfaces(_) => "interface set",
            Self::Entry(..) => "batch",
            Self::Statistics(_) => "statistics",
            Self::Ack { .. } => "acknowledgement",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Bye(_) => "bye",
            Self::Refuse(_) => "refusal",
            Self::Unknown(_) => "message of unknown type",
        }
    }

    /// Appends the message with its frame.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Hello(hello) => frame::write(out, kind::HELLO, |out| write_hello(out, hello)),
            Self::Welcome(welcome) => frame::write(out, kind::WELCOME, |out| {
                out.extend_from_slice(&welcome.major.to_le_bytes());
                out.extend_from_slice(&welcome.minor.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                for long in [welcome.next_seq, welcome.durable_seq, welcome.credit, welcome.clock.nanos()] {
                    out.extend_from_slice(&long.to_le_bytes());
                }
            }),
            Self::Interfaces(set) => frame::write(out, kind::INTERFACES, |out| write_set(out, set)),
            Self::Entry(head, bytes) => frame::write(out, kind::ENTRY, |out| {
                out.extend_from_slice(&head.seq.to_le_bytes());
                out.extend_from_slice(&head.last_seq.to_le_bytes());
                out.extend_from_slice(&head.raw_length.to_le_bytes());
                out.extend_from_slice(&[0; 4]);
                out.extend_from_slice(bytes);
            }),
            Self::Statistics(statistics) => {
                frame::write(out, kind::STATISTICS, |out| write_statistics(out, statistics))
            }
            Self::Ack { durable_seq, credit } => frame::write(out, kind::ACK, |out| {
                out.extend_from_slice(&durable_seq.to_le_bytes());
                out.extend_from_slice(&credit.to_le_bytes());
            }),
            Self::Heartbeat { clock, echo } => frame::write(out, kind::HEARTBEAT, |out| {
                out.extend_from_slice(&clock.nanos().to_le_bytes());
                out.extend_from_slice(&echo.nanos().to_le_bytes());
            }),
            Self::Bye(bye) => frame::write(out, kind::BYE, |out| write_statistics(out, &bye.statistics)),
            Self::Refuse(refusal) => frame::write(out, kind::REFUSE, |out| {
                out.extend_from_slice(&refusal.code.to_le_bytes());
                write_text(out, &refusal.text);
            }),
            Self::Unknown(_) => {}
        }
    }
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(usize::from(u16::MAX));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend_from_slice(&(end as u16).to_le_bytes());
    out.extend_from_slice(&text.as_bytes()[..end]);
}

fn write_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.extend_from_slice(&hello.major.to_le_bytes());
    out.extend_from_slice(&hello.minor.to_le_bytes());
    write_text(out, hello.source.as_str());
    out.extend_from_slice(&hello.epoch.0);
    for long in [hello.oldest_seq, hello.next_seq, hello.clock.nanos()] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(&(hello.sets.len() as u16).to_le_bytes());
    for set in &hello.sets {
        write_set(out, set);
    }
}

fn write_set(out: &mut Vec<u8>, set: &InterfaceSet) {
    out.extend_from_slice(&set.number.to_le_bytes());
    out.extend_from_slice(&(set.interfaces.len() as u16).to_le_bytes());
    for interface in &set.interfaces {
        out.extend_from_slice(&interface.link_type.0.to_le_bytes());
        out.extend_from_slice(&interface.snaplen.to_le_bytes());
        write_text(out, &interface.name);
        write_text(out, &interface.filter);
    }
}

fn write_statistics(out: &mut Vec<u8>, statistics: &Statistics) {
    for long in [
        statistics.time.nanos(),
        statistics.captured,
        statistics.acknowledged,
        statistics.acknowledged_seq,
        statistics.held,
        statistics.received_by_kernel,
        statistics.dropped_by_kernel,
        statistics.dropped_by_interface,
        statistics.spool_bytes,
    ] {
        out.extend_from_slice(&long.to_le_bytes());
    }
    out.extend_from_slice(&(statistics.drops.len() as u16).to_le_bytes());
    for drop in &statistics.drops {
        out.extend_from_slice(&(drop.place as u16).to_le_bytes());
        out.extend_from_slice(&(drop.reason as u16).to_le_bytes());
        out.extend_from_slice(&drop.packets.to_le_bytes());
    }
}

/// Reads the message in a frame.
///
/// # Errors
/// When its bytes are not as the protocol has them: the peer's fault.
pub fn read(frame: frame::Frame<'_>) -> Result<Message<'_>, Fault> {
    let mut cursor = Cursor::new(frame.payload);
    let cut = |message| move |_: Cut| Fault::Malformed { message, problem: "it is shorter than its fields" };
    Ok(match frame.kind {
        kind::HELLO => Message::Hello(read_hello(&mut cursor)?),
        kind::WELCOME => Message::Welcome(read_welcome(&mut cursor).map_err(cut("welcome"))?),
        kind::INTERFACES => Message::Interfaces(read_set(&mut cursor)?),
        kind::ENTRY => {
            let head = read_entry_head(&mut cursor).map_err(cut("batch"))?;
            if head.last_seq < head.seq || head.raw_length as usize > batch::MAX_BYTES {
                return Err(Fault::Malformed { message: "batch", problem: "its numbers or its length cannot be" });
            }
            Message::Entry(head, cursor.rest())
        }
        kind::STATISTICS => Message::Statistics(read_statistics(&mut cursor)?),
        kind::ACK => Message::Ack {
            durable_seq: cursor.le_u64().map_err(cut("acknowledgement"))?,
            credit: cursor.le_u64().map_err(cut("acknowledgement"))?,
        },
        kind::HEARTBEAT => Message::Heartbeat {
            clock: Timestamp::from_nanos(cursor.le_u64().map_err(cut("heartbeat"))?),
            echo: Timestamp::from_nanos(cursor.le_u64().map_err(cut("heartbeat"))?),
        },
        kind::BYE => Message::Bye(Bye { statistics: read_statistics(&mut cursor)? }),
        kind::REFUSE => Message::Refuse(Refusal {
            code: cursor.le_u16().map_err(cut("refusal"))?,
            text: read_text(&mut cursor).map_err(cut("refusal"))?,
        }),
        other => Message::Unknown(other),
    })
}

fn read_text(cursor: &mut Cursor<'_>) -> Result<String, Cut> {
    let length = cursor.le_u16()?;
    Ok(String::from_utf8_lossy(cursor.take(usize::from(length))?).into_owned())
}

fn read_hello(cursor: &mut Cursor<'_>) -> Result<Hello, Fault> {
    let cut = |_: Cut| Fault::Malformed { message: "hello", problem: "it is shorter than its fields" };
    let (major, minor) = (cursor.le_u16().map_err(cut)?, cursor.le_u16().map_err(cut)?);
    if major != crate::MAJOR {
        return Err(Fault::Version { theirs: major });
    }
    let source = read_text(cursor).map_err(cut)?;
    let source =
        source.parse().map_err(|_| Fault::Malformed { message: "hello", problem: "its source is no valid name" })?;
    let epoch = Epoch(cursor.array().map_err(cut)?);
    let oldest_seq = cursor.le_u64().map_err(cut)?;
    let next_seq = cursor.le_u64().map_err(cut)?;
    let clock = Timestamp::from_nanos(cursor.le_u64().map_err(cut)?);
    if next_seq < oldest_seq {
        return Err(Fault::Malformed { message: "hello", problem: "its next batch is older than its oldest" });
    }
    let count = cursor.le_u16().map_err(cut)?;
    let mut sets = Vec::new();
    for _ in 0..count {
        sets.push(read_set(cursor)?);
    }
    Ok(Hello { major, minor, source, epoch, oldest_seq, next_seq, clock, sets })
}

fn read_welcome(cursor: &mut Cursor<'_>) -> Result<Welcome, Cut> {
    let (major, minor) = (cursor.le_u16()?, cursor.le_u16()?);
    cursor.skip(4)?;
    Ok(Welcome {
        major,
        minor,
        next_seq: cursor.le_u64()?,
        durable_seq: cursor.le_u64()?,
        credit: cursor.le_u64()?,
        clock: Timestamp::from_nanos(cursor.le_u64()?),
    })
}

fn read_set(cursor: &mut Cursor<'_>) -> Result<InterfaceSet, Fault> {
    let cut = |_: Cut| Fault::Malformed { message: "interface set", problem: "it is shorter than its fields" };
    let number = cursor.le_u32().map_err(cut)?;
    let count = usize::from(cursor.le_u16().map_err(cut)?);
    let mut set = InterfaceSet { number, interfaces: Vec::new() };
    for _ in 0..count {
        let link_type = LinkType(cursor.le_u16().map_err(cut)?);
        let snaplen = cursor.le_u32().map_err(cut)?;
        let name = read_text(cursor).map_err(cut)?;
        let filter = read_text(cursor).map_err(cut)?;
        set.interfaces.push(Interface { name, link_type, snaplen, filter });
    }
    let alike = set.interfaces.iter().all(|one| {
        set.interfaces.first().is_some_and(|first| (first.link_type, first.snaplen) == (one.link_type, one.snaplen))
    });
    if set.interfaces.is_empty() || set.interfaces.len() > batch::MAX_INTERFACES || !alike {
        return Err(Fault::Malformed {
            message: "interface set",
            problem: "it has no interface, too many, or interfaces that differ in link type or snaplen",
        });
    }
    Ok(set)
}

fn read_entry_head(cursor: &mut Cursor<'_>) -> Result<EntryHead, Cut> {
    let head = EntryHead { seq: cursor.le_u64()?, last_seq: cursor.le_u64()?, raw_length: cursor.le_u32()? };
    cursor.skip(4)?;
    Ok(head)
}

fn read_statistics(cursor: &mut Cursor<'_>) -> Result<Statistics, Fault> {
    let cut = |_: Cut| Fault::Malformed { message: "statistics", problem: "it is shorter than its fields" };
    let mut long = || cursor.le_u64().map_err(cut);
    let mut statistics = Statistics {
        time: Timestamp::from_nanos(long()?),
        captured: long()?,
        acknowledged: long()?,
        acknowledged_seq: long()?,
        held: long()?,
        received_by_kernel: long()?,
        dropped_by_kernel: long()?,
        dropped_by_interface: long()?,
        spool_bytes: long()?,
        drops: Vec::new(),
    };
    let count = cursor.le_u16().map_err(cut)?;
    for _ in 0..count {
        let place = cursor.le_u16().map_err(cut)?;
        let reason = cursor.le_u16().map_err(cut)?;
        let packets = cursor.le_u64().map_err(cut)?;
        // A place or reason from a newer version counts under the nearest known meaning rather than getting lost.
        statistics.drops.push(DropCount {
            place: DropPlace::from_code(place).unwrap_or(DropPlace::Probe),
            reason: DropReason::from_code(reason).unwrap_or(DropReason::Refused),
            packets,
        });
    }
    Ok(statistics)
}
