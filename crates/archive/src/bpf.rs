//! Runs classic BPF programs, as libpcap compiles them, over stored packets: safe, and with the length that the packet had on
//! the wire, which `len`, `greater` and `less` look at. Does not compile anything; that is libpcap's work, see `filter`.

use std::fmt;

/// Words of scratch memory (BPF_MEMWORDS).
const MEMORY_WORDS: usize = 16;
/// Longest program (BPF_MAXINSNS of libpcap is without limit; the kernel's is 4096).
const INSTRUCTIONS_MAX: usize = 65_536;

/// A program that is no valid one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("BPF program, instruction {at}: {problem}")]
pub struct ProgramError {
    /// Which instruction.
    pub at: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Where an operand comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    Constant,
    Index,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Or,
    And,
    Xor,
    ShiftLeft,
    ShiftRight,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnyBit,
}

/// An instruction as the interpreter wants it. `A` is the accumulator, `X` the index register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    LoadWord,
    LoadHalf,
    LoadByte,
    LoadWordAtIndex,
    LoadHalfAtIndex,
    LoadByteAtIndex,
    LoadLength,
    LoadConstant,
    LoadMemory,
    IndexConstant,
    IndexMemory,
    IndexLength,
    /// X = 4 * (low nibble of a byte): the length of an IPv4 header.
    IndexHeaderLength,
    Store,
    StoreIndex,
    Compute(Arithmetic, Operand),
    Negate,
    Jump,
    JumpIf(Test, Operand),
    ReturnConstant,
    ReturnAccumulator,
    AccumulatorToIndex,
    IndexToAccumulator,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Instruction {
    operation: Operation,
    if_true: u8,
    if_false: u8,
    k: u32,
}

/// A checked program: it ends on every packet, and reads nothing but the packet and its own memory.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    instructions: Box<[Instruction]>,
}

impl fmt::Debug for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Program({} instructions)", self.instructions.len())
    }
}

impl Program {
    /// Checks instructions given as (code, jump if true, jump if false, k).
    ///
    /// # Errors
    /// When one of them is unknown, jumps out of the program, or uses memory that is not there, or the last returns nothing.
    pub fn new(raw: impl IntoIterator<Item = (u16, u8, u8, u32)>) -> Result<Self, ProgramError> {
        let mut instructions = Vec::new();
        for (at, (code, if_true, if_false, k)) in raw.into_iter().enumerate() {
            let bad = |problem| ProgramError { at, problem };
            if at >= INSTRUCTIONS_MAX {
                return Err(bad("the program is too long"));
            }
            let operation = decode(code).ok_or(bad("it is not known"))?;
            match operation {
                Operation::LoadMemory | Operation::IndexMemory | Operation::Store | Operation::StoreIndex
                    if k as usize >= MEMORY_WORDS =>
                {
                    return Err(bad("it uses memory that is not there"));
                }
                Operation::Compute(Arithmetic::Divide | Arithmetic::Modulo, Operand::Constant) if k == 0 => {
                    return Err(bad("it divides by zero"));
                }
                _ => {}
            }
            instructions.push(Instruction { operation, if_true, if_false, k });
        }
        let length = instructions.len();
        let leads = |at: usize, over: u32| at as u64 + 1 + u64::from(over) < length as u64;
        for (at, instruction) in instructions.iter().enumerate() {
            let inside = match instruction.operation {
                Operation::Jump => leads(at, instruction.k),
                Operation::JumpIf(..) => {
                    leads(at, instruction.if_true.into()) && leads(at, instruction.if_false.into())
                }
                Operation::ReturnConstant | Operation::ReturnAccumulator => true,
                _ => leads(at, 0),
            };
            if !inside {
                return Err(ProgramError { at, problem: "it leads out of the program" });
            }
        }
        if instructions.is_empty() {
            return Err(ProgramError { at: 0, problem: "the program is empty" });
        }
        Ok(Self { instructions: instructions.into() })
    }

    /// A program that accepts every packet, or none.
    pub fn constant(accept: bool) -> Self {
        let k = if accept { u32::MAX } else { 0 };
        let only = Instruction { operation: Operation::ReturnConstant, if_true: 0, if_false: 0, k };
        Self { instructions: Box::new([only]) }
    }

    /// Whether the program accepts a packet of which `data` was captured and `wire_length` bytes were on the wire. A read
    /// beyond the captured bytes rejects it, as does a division by zero.
    #[inline]
    pub fn accepts(&self, data: &[u8], wire_length: u32) -> bool {
        self.run(data, wire_length).is_some_and(|value| value != 0)
    }

    fn run(&self, data: &[u8], wire_length: u32) -> Option<u32> {
        let (mut a, mut x) = (0u32, 0u32);
        let mut memory = [0u32; MEMORY_WORDS];
        let mut at = 0usize;
        // Every jump goes forward, so the loop ends.
        loop {
            let Instruction { operation, if_true, if_false, k } = *self.instructions.get(at)?;
            at += 1;
            match operation {
                Operation::LoadWord => a = word(data, k as usize)?,
                Operation::LoadHalf => a = half(data, k as usize)?,
                Operation::LoadByte => a = byte(data, k as usize)?,
                Operation::LoadWordAtIndex => a = word(data, x.checked_add(k)? as usize)?,
                Operation::LoadHalfAtIndex => a = half(data, x.checked_add(k)? as usize)?,
                Operation::LoadByteAtIndex => a = byte(data, x.checked_add(k)? as usize)?,
                Operation::LoadLength => a = wire_length,
                Operation::LoadConstant => a = k,
                Operation::LoadMemory => a = *memory.get(k as usize)?,
                Operation::IndexConstant => x = k,
                Operation::IndexMemory => x = *memory.get(k as usize)?,
                Operation::IndexLength => x = wire_length,
                Operation::IndexHeaderLength => x = (byte(data, k as usize)? & 0xf) << 2,
                Operation::Store => *memory.get_mut(k as usize)? = a,
                Operation::StoreIndex => *memory.get_mut(k as usize)? = x,
                Operation::Compute(arithmetic, operand) => {
                    a = compute(arithmetic, a, if operand == Operand::Index { x } else { k })?;
                }
                Operation::Negate => a = a.wrapping_neg(),
                Operation::Jump => at += k as usize,
                Operation::JumpIf(test, operand) => {
                    let with = if operand == Operand::Index { x } else { k };
                    let holds = match test {
                        Test::Equal => a == with,
                        Test::Greater => a > with,
                        Test::GreaterOrEqual => a >= with,
                        Test::AnyBit => a & with != 0,
                    };
                    at += usize::from(if holds { if_true } else { if_false });
                }
                Operation::ReturnConstant => return Some(k),
                Operation::ReturnAccumulator => return Some(a),
                Operation::AccumulatorToIndex => x = a,
                Operation::IndexToAccumulator => a = x,
            }
        }
    }
}

#[inline]
fn word(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().copied().map(u32::from_be_bytes)
}

#[inline]
fn half(data: &[u8], at: usize) -> Option<u32> {
    data.get(at..)?.first_chunk().copied().map(|bytes| u16::from_be_bytes(bytes).into())
}

#[inline]
fn byte(data: &[u8], at: usize) -> Option<u32> {
    data.get(at).copied().map(u32::from)
}

fn compute(arithmetic: Arithmetic, a: u32, with: u32) -> Option<u32> {
    Some(match arithmetic {
        Arithmetic::Add => a.wrapping_add(with),
        Arithmetic::Subtract => a.wrapping_sub(with),
        Arithmetic::Multiply => a.wrapping_mul(with),
        Arithmetic::Divide => a.checked_div(with)?,
        Arithmetic::Modulo => a.checked_rem(with)?,
        Arithmetic::Or => a | with,
        Arithmetic::And => a & with,
        Arithmetic::Xor => a ^ with,
        Arithmetic::ShiftLeft => a.checked_shl(with).unwrap_or(0),
        Arithmetic::ShiftRight => a.checked_shr(with).unwrap_or(0),
    })
}

/// Codes of `net/bpf.h`: class in bits 0-2, then by class size and mode, or operation and operand.
fn decode(code: u16) -> Option<Operation> {
    let operand = if code & 0x08 == 0 { Operand::Constant } else { Operand::Index };
    Some(match (code & 0x07, code) {
        (_, 0x20) => Operation::LoadWord,
        (_, 0x28) => Operation::LoadHalf,
        (_, 0x30) => Operation::LoadByte,
        (_, 0x40) => Operation::LoadWordAtIndex,
        (_, 0x48) => Operation::LoadHalfAtIndex,
        (_, 0x50) => Operation::LoadByteAtIndex,
        (_, 0x80) => Operation::LoadLength,
        (_, 0x00) => Operation::LoadConstant,
        (_, 0x60) => Operation::LoadMemory,
        (_, 0x01) => Operation::IndexConstant,
        (_, 0x61) => Operation::IndexMemory,
        (_, 0x81) => Operation::IndexLength,
        (_, 0xb1) => Operation::IndexHeaderLength,
        (_, 0x02) => Operation::Store,
        (_, 0x03) => Operation::StoreIndex,
        (0x04, 0x84) => Operation::Negate,
        (0x04, _) => {
            let arithmetic = match code & 0xf0 {
                0x00 => Arithmetic::Add,
                0x10 => Arithmetic::Subtract,
                0x20 => Arithmetic::Multiply,
                0x30 => Arithmetic::Divide,
                0x40 => Arithmetic::Or,
                0x50 => Arithmetic::And,
                0x60 => Arithmetic::ShiftLeft,
                0x70 => Arithmetic::ShiftRight,
                0x90 => Arithmetic::Modulo,
                0xa0 => Arithmetic::Xor,
                _ => return None,
            };
            if code > 0xff {
                return None;
            }
            Operation::Compute(arithmetic, operand)
        }
        (_, 0x05) => Operation::Jump,
        (0x05, 0x15 | 0x1d) => Operation::JumpIf(Test::Equal, operand),
        (0x05, 0x25 | 0x2d) => Operation::JumpIf(Test::Greater, operand),
        (0x05, 0x35 | 0x3d) => Operation::JumpIf(Test::GreaterOrEqual, operand),
        (0x05, 0x45 | 0x4d) => Operation::JumpIf(Test::AnyBit, operand),
        (_, 0x06) => Operation::ReturnConstant,
        (_, 0x16) => Operation::ReturnAccumulator,
        (_, 0x07) => Operation::AccumulatorToIndex,
        (_, 0x87) => Operation::IndexToAccumulator,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `ip` on Ethernet, as `tcpdump -dd ip` prints it.
    const IP: [(u16, u8, u8, u32); 4] = [(0x28, 0, 0, 12), (0x15, 0, 1, 0x800), (0x6, 0, 0, 262_144), (0x6, 0, 0, 0)];

    #[test]
    fn a_program_reads_the_packet() {
        let program = Program::new(IP).unwrap();
        let mut frame = [0u8; 20];
        assert!(!program.accepts(&frame, 20));
        frame[12] = 8;
        assert!(program.accepts(&frame, 20));
        assert!(!program.accepts(&frame[..13], 20), "a read beyond the captured bytes rejects");
    }

    #[test]
    fn the_length_is_that_on_the_wire() {
        let longer = Program::new([(0x80, 0, 0, 0), (0x25, 0, 1, 100), (0x6, 0, 0, 1), (0x6, 0, 0, 0)]).unwrap();
        assert!(longer.accepts(&[0; 10], 101));
        assert!(!longer.accepts(&[0; 10], 100));
    }

    #[test]
    fn what_is_no_program_is_refused() {
        let refused = |raw: &[(u16, u8, u8, u32)]| Program::new(raw.iter().copied()).is_err();
        assert!(refused(&[]));
        assert!(refused(&[(0x28, 0, 0, 12)]), "does not end");
        assert!(refused(&[(0x15, 0, 1, 0), (0x6, 0, 0, 0)]), "jumps out");
        assert!(refused(&[(0x05, 0, 0, u32::MAX), (0x6, 0, 0, 0)]), "jumps far out");
        assert!(refused(&[(0x02, 0, 0, 16), (0x6, 0, 0, 0)]), "stores beyond memory");
        assert!(refused(&[(0x34, 0, 0, 0), (0x6, 0, 0, 0)]), "divides by zero");
        assert!(refused(&[(0xff, 0, 0, 0), (0x6, 0, 0, 0)]), "unknown");
    }

    proptest! {
        #[test]
        fn no_program_panics_or_runs_for_ever(
            raw in proptest::collection::vec((0u16..0x100, 0u8..4, 0u8..4, prop_oneof![0u32..20, any::<u32>()]), 1..30),
            data in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Ok(program) = Program::new(raw.into_iter().chain([(0x16, 0, 0, 0); 5])) {
                program.accepts(&data, data.len() as u32);
            }
        }
    }
}
