//! Frames: the outermost layer of the uplink. Finds where each message begins and ends in a stream of bytes.
//! Does not look into messages.

use crate::Fault;

/// Bytes of a frame's head: type (1), flags (1), reserved (2), length of the payload (4, little endian).
pub const HEAD_LENGTH: usize = 8;
/// Longest payload that is accepted.
pub const MAX_PAYLOAD: usize = 5 * 1024 * 1024;

/// A received frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Which message it holds.
    pub kind: u8,
    /// Its payload.
    pub payload: &'a [u8],
}

/// Appends a frame whose payload is what `payload` appends.
pub fn write(out: &mut Vec<u8>, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    let start = out.len();
    payload(out);
    let length = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&length.to_le_bytes());
}

/// Collects received bytes and cuts them into frames.
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
}

impl Reader {
    /// Adds received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 && (self.start == self.buffer.len() || self.start >= 256 * 1024) {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, if it has arrived.
    ///
    /// # Errors
    /// A length beyond [`MAX_PAYLOAD`]: the peer's fault, and the stream cannot be followed any further.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, Fault> {
        let rest = &self.buffer[self.start..];
        let Some(head) = rest.first_chunk::<HEAD_LENGTH>() else { return Ok(None) };
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if length > MAX_PAYLOAD {
            return Err(Fault::Oversize { kind: head[0], length });
        }
        if rest.len() < HEAD_LENGTH + length {
            return Ok(None);
        }
        let kind = head[0];
        let payload_at = self.start + HEAD_LENGTH;
        self.start = payload_at + length;
        Ok(Some(Frame { kind, payload: &self.buffer[payload_at..payload_at + length] }))
    }

    /// Bytes held that make no whole frame yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_however_the_bytes_are_split() {
        let mut stream = Vec::new();
        write(&mut stream, 1, |out| out.extend_from_slice(b"hello"));
        write(&mut stream, 2, |_| {});
        write(&mut stream, 3, |out| out.extend_from_slice(&[7; 300]));
        for step in 1..stream.len() {
            let mut reader = Reader::default();
            let mut seen = Vec::new();
            for piece in stream.chunks(step) {
                reader.push(piece);
                while let Some(frame) = reader.next_frame().unwrap() {
                    seen.push((frame.kind, frame.payload.len()));
                }
            }
            assert_eq!(seen, [(1, 5), (2, 0), (3, 300)], "split into {step}");
        }
    }

    #[test]
    fn an_oversize_length_is_refused_before_its_bytes_arrive() {
        let mut reader = Reader::default();
        reader.push(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(reader.next_frame(), Err(Fault::Oversize { kind: 4, .. })));
    }
}
