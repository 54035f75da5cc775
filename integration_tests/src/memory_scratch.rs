//! What a runtime's temporary file is to a simulation.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use cofferdam_engine::{BoxError, NewScratch, Scratch};

/// Bytes in memory, and how many have ever been written.
struct MemoryScratch {
    bytes: Vec<u8>,
    written: Arc<AtomicU64>,
}

/// Scratches that count in `written` what is written to any of them.
pub(crate) fn memory_scratch(written: Arc<AtomicU64>) -> NewScratch {
    Arc::new(move || Ok(Box::new(MemoryScratch { bytes: Vec::new(), written: written.clone() })))
}

impl Scratch for MemoryScratch {
    fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError> {
        self.bytes.extend(bytes);
        self.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), BoxError> {
        let at = at as usize;
        bytes.copy_from_slice(self.bytes.get(at..at + bytes.len()).ok_or("nothing was written there")?);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), BoxError> {
        self.bytes.clear();
        Ok(())
    }
}
