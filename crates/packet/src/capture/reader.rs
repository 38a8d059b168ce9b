//! The reader: one growing buffer over the stream, records are parsed where they lie in it.

use std::io::Read;

use super::*;
use crate::{Interface, Packet};

/// Reads the packets of a capture file from a stream.
#[derive(Debug)]
pub struct CaptureReader<R> {
    input: R,
}

impl<R: Read> CaptureReader<R> {
    /// Reads the file's header and recognises its format.
    ///
    /// # Errors
    /// When nothing can be read, or it is compressed, or the format is not known, or the header is cut.
    pub fn new(input: R) -> Result<Self, CaptureError> {
        let _ = Self { input }.input;
        todo!()
    }

    /// The next packet; `None` at the end. Its `interface` indexes [`CaptureReader::interfaces`], which grows while reading.
    /// After an error there is nothing more: the next call gives `None`.
    ///
    /// # Errors
    /// When the stream fails or is damaged beyond repair. Everything before has been given out by then.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, CaptureError> {
        todo!()
    }

    /// The interfaces seen so far, of all sections. A pcap file has one, without a name.
    pub fn interfaces(&self) -> &[Interface] {
        todo!()
    }

    /// The latest statistics that the file states per interface, as far as it does.
    pub fn statistics(&self) -> &[InterfaceStatistics] {
        todo!()
    }

    /// The format.
    pub fn format(&self) -> Format {
        todo!()
    }

    /// Damage that was got over: the first 64 of them.
    pub fn warnings(&self) -> &[Warning] {
        todo!()
    }

    /// How many times damage was got over.
    pub fn warning_count(&self) -> u64 {
        todo!()
    }

    /// Bytes consumed so far: for progress.
    pub fn position(&self) -> u64 {
        todo!()
    }
}
