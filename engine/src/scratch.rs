//! Room outside of memory for what a crash may lose.

use std::sync::Arc;

use crate::error::BoxError;

/// Bytes that are written once, at the end, and read back anywhere. Nothing of it is needed after the process: it need not be durable, and is gone when it is dropped.
/// Calls may block for as long as a file in the system's cache does. An error names the place and the way out.
pub trait Scratch: Send {
    /// Adds bytes at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<(), BoxError>;

    /// Fills `bytes` with what was written from byte `at` on.
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), BoxError>;

    /// Gives up all that was written, and the room for it.
    fn clear(&mut self) -> Result<(), BoxError>;
}

/// Makes an empty one.
pub type NewScratch = Arc<dyn Fn() -> Result<Box<dyn Scratch>, BoxError> + Send + Sync>;
