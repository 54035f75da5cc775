//! What a runtime's temporary file is to a simulation.

use std::sync::Arc;

use cofferdam_engine::{BoxError, NewScratch, Scratch};

/// Bytes in memory.
#[derive(Default)]
struct MemoryScratch(Vec<u8>);

pub(crate) fn memory_scratch() -> NewScratch {
    Arc::new(|| Ok(Box::new(MemoryScratch::default())))
}

impl Scratch for MemoryScratch {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.0.extend(bytes);
        Ok(())
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), BoxError> {
        let at = at as usize;
        bytes.copy_from_slice(self.0.get(at..at + bytes.len()).ok_or("nothing was written there")?);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), BoxError> {
        self.0.clear();
        Ok(())
    }
}
