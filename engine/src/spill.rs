//! Batches of one channel outside of memory, read in the order in which they were written.
//!
//! ```text
//!   segments   |  0: scratch  |  1: scratch  |  2: scratch ..     each up to a size; one that has been read is dropped
//!   frames     [len batch][len batch]...                          one behind the other, none in two segments
//!   runs             [at, batches)          [at, batches)         what a queue keeps in their place
//! ```

use std::collections::VecDeque;

use crate::{
    error::BoxError,
    record::{Batch, Decoder},
    scratch::{NewScratch, Scratch},
};

/// Bytes in front of each batch: its length.
const HEADER: usize = 8;

/// Consecutive batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Run {
    /// Where the first one's frame begins, counted over all segments.
    pub(crate) at: u64,
    pub(crate) batches: usize,
}

struct Segment {
    scratch: Box<dyn Scratch>,
    start: u64,
    end: u64,
}

/// See the module.
pub(crate) struct Spill {
    new: NewScratch,
    segment_size: u64,
    segments: VecDeque<Segment>,
    /// Of the batches here; known with the first.
    decoder: Option<Decoder>,
    /// Batches that have not been taken.
    batches: usize,
    frame: Vec<u8>,
    written: u64,
}

impl Spill {
    pub(crate) fn new(new: NewScratch, segment_size: u64) -> Self {
        Self { new, segment_size, segments: VecDeque::new(), decoder: None, batches: 0, frame: Vec::new(), written: 0 }
    }

    /// Bytes that the scratches hold, and bytes written since the beginning.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.segments.iter().map(|segment| segment.end - segment.start).sum(), self.written)
    }

    /// Adds a batch; where it is. Batches added one after the other, until a queue puts something between them, are one run.
    pub(crate) fn append(&mut self, encoded: &[u8], decoder: Decoder) -> Result<u64, BoxError> {
        self.decoder = Some(decoder);
        self.frame.clear();
        self.frame.extend((encoded.len() as u64).to_le_bytes());
        self.frame.extend(encoded);
        let at = self.segments.back().map_or(0, |segment| segment.end);
        if self.segments.back().is_none_or(|segment| at - segment.start >= self.segment_size) {
            self.segments.push_back(Segment { scratch: (self.new)()?, start: at, end: at });
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.scratch.append(&self.frame)?;
            segment.end += self.frame.len() as u64;
        }
        self.written += self.frame.len() as u64;
        self.batches += 1;
        Ok(at)
    }

    /// Takes the first batch of the first run.
    pub(crate) fn take(&mut self, run: &mut Run) -> Result<Box<dyn Batch>, BoxError> {
        let encoded = self.read(run.at)?;
        let batch = self.decode(&encoded)?;
        run.at += (HEADER + encoded.len()) as u64;
        run.batches -= 1;
        self.batches -= 1;
        while self.segments.len() > 1 && self.segments.front().is_some_and(|segment| segment.end <= run.at) {
            self.segments.pop_front();
        }
        if self.batches == 0
            && let Some(segment) = self.segments.back_mut()
        {
            segment.scratch.clear()?;
            (segment.start, segment.end) = (0, 0);
        }
        Ok(batch)
    }

    /// The encodings of a run's batches.
    pub(crate) fn copy(&mut self, run: Run, copies: &mut Vec<Vec<u8>>) -> Result<(), BoxError> {
        let mut at = run.at;
        for _ in 0..run.batches {
            let encoded = self.read(at)?;
            at += (HEADER + encoded.len()) as u64;
            copies.push(encoded);
        }
        Ok(())
    }

    fn read(&mut self, at: u64) -> Result<Vec<u8>, BoxError> {
        let place = self.segments.partition_point(|segment| segment.end <= at);
        let Some(segment) = self.segments.get_mut(place) else { return Err("there is nothing to read".into()) };
        let mut header = [0; HEADER];
        segment.scratch.read(at - segment.start, &mut header)?;
        let mut encoded = vec![0; u64::from_le_bytes(header) as usize];
        segment.scratch.read(at - segment.start + HEADER as u64, &mut encoded)?;
        Ok(encoded)
    }

    fn decode(&self, encoded: &[u8]) -> Result<Box<dyn Batch>, BoxError> {
        let decoder = self.decoder.ok_or("nothing was written")?;
        decoder(encoded).map_err(|error| {
            let advice = "its type must be read back from what it is written as";
            format!("a record cannot be read back ({error}); {advice}").into()
        })
    }
}
