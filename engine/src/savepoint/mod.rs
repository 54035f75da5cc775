//! Savepoints: one checkpoint, in one file that can be copied to another machine and started from, on any backend.
//!
//! ```text
//! coordinator ---- CommitSavepoint ----> store: commit, pin ----> export, on a thread that may block ----> NAME.*.partial, then NAME
//!                                                                 (the job goes on)
//! NAME ----> checked whole ----> import: the first checkpoint of a place without state
//! ```
//!
//! # The file
//! ```text
//! preamble    40 bytes: magic, version, the header's length and checksum, a checksum of these      never changes its form
//! header      JSON: which savepoint, written when and by which version; the checkpoint's record
//! blocks      of keyed state, as the store had them, without a gap between them
//! directory   postcard: for each state, group by group, where its blocks are, and each one's checksum
//! footer      48 bytes: where the directory is, its checksum, the file's length, the preamble's checksum, a checksum of these
//! ```
//! Numbers are little-endian, checksums XXH3-64. A file that was cut off has no footer, which is seen before anything else is read. Nothing here knows what is in a block. One state is read without the others.
//!
//! | file | holds |
//! |---|---|
//! | `format.rs` | preamble, header, directory, footer |
//! | `writer.rs`, `reader.rs` | the file as a stream of blocks, and [`Savepoint`], which reads one |
//! | `file.rs` | a name that appears when all is written |
//! | `build.rs`, `contents.rs`, `operator_state.rs` | a savepoint made of data, outside of any job |
//! | `export.rs`, `import.rs` | from a pinned checkpoint to the file, and from the file to a job |

mod build;
mod contents;
mod export;
mod file;
mod format;
mod import;
mod operator_state;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use build::SavepointWriter;
pub use contents::KeyedContents;
pub use export::{Pinned, SavepointInfo, Stamp};
pub use file::SavepointFile;
pub use format::HeldTransactions;
pub use import::Choices;
pub(crate) use import::{Found, find, import};
pub use reader::Savepoint;
