//! A sink whose files appear when their checkpoint completes.
//!
//! ```text
//! counts/                                        the user's directory
//!   part-word--count-counts-0-17.jsonl           published: job, operator, subtask, checkpoint
//!   part-word--count-counts-0-17-1.jsonl         the second file of that checkpoint
//!   .cofferdam/
//!     owner                                      the one job that may write here
//!     lock-counts                                locked while that job runs: operator
//!     published-counts-0                         the last checkpoint that was published: operator, subtask
//!     pending/<job id>-counts-2-0-5.pending      written, not published: operator, attempt, subtask, sequence
//! ```
//!
//! A record's way, and the file that says how:
//!
//! | step | call | file |
//! |---|---|---|
//! | encoded into a buffer, written to a pending file | `write` | `encoder`, `writer` |
//! | handed over; a file still growing keeps its length in the checkpoint | `freeze` | `writer` |
//! | synced | `pre_commit` | here |
//! | renamed, once the checkpoint is durable | `commit` | `directory` |
//! | after a crash: published, cut off at the checkpoint, or removed | `recover`, `open` | `recovery`, `writer` |
//!
//! Invariants: a pending file's name is used once; only the rename to its final name, or `recover`, removes it; so a transaction whose
//! pending file is gone has been published. `recover` removes what no checkpoint names.

mod directory;
mod encoder;
mod lock;
mod mark;
mod name;
mod owner;
mod recovery;
mod writer;

use std::{fmt::Display, path::Path};

use cofferdam_engine::{BoxError, CheckpointId, Ownership, SinkContext, SubtaskIndex, TwoPhaseSink};
use serde::Serialize;

use self::{directory::Directory, encoder::Format, lock::Locks, name::OperatorNames};
pub use self::{
    directory::FileTransaction,
    writer::{FileWriter, FileWriterState, Frozen},
};
use super::{durable_file::sync_dir, failure::AtPath};

/// Writes records to files in a directory. A file appears there when the checkpoint that covers its records completes, whole; it
/// is never changed afterwards, and may be moved away or deleted at any time.
///
/// A directory belongs to the first job that writes to it. Several sinks of that job may share it. A second run of the job, from a
/// copy of its state, is refused while the first one is running.
///
/// ```
/// use cofferdam::connector::{FileSink, Roll};
///
/// #[derive(serde::Serialize)]
/// struct Count {
///     word: String,
///     count: u64,
/// }
///
/// let every_checkpoint = FileSink::<Count>::json_lines("counts/");
/// let every_64_mebibytes = FileSink::<Count>::csv("counts/").roll_every(Roll::Bytes(64 << 20));
/// ```
#[derive(Debug)]
pub struct FileSink<T> {
    directory: Directory,
    format: Format<T>,
    roll: Roll,
    locks: Locks,
}

/// When a [`FileSink`] ends a file and begins the next. Records appear when their file has ended and the checkpoint that covers
/// it has completed; the end of the job ends every file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Roll {
    /// At every so many checkpoints, counted from its first record.
    Checkpoints(u32),
    /// When a record has made it this long, or longer.
    Bytes(u64),
}

impl<T> FileSink<T> {
    /// Each record is a line of JSON.
    pub fn json_lines(dir: impl AsRef<Path>) -> Self
    where
        T: Serialize,
    {
        Self::new(dir, Format::json_lines())
    }

    /// Each record is a line of text. One that holds line ends becomes several.
    pub fn lines(dir: impl AsRef<Path>) -> Self
    where
        T: Display,
    {
        Self::new(dir, Format::lines())
    }

    /// Each record is a row of comma-separated values. If the records are structs, each file begins with their fields' names.
    pub fn csv(dir: impl AsRef<Path>) -> Self
    where
        T: Serialize,
    {
        Self::new(dir, Format::csv())
    }

    fn new(dir: impl AsRef<Path>, format: Format<T>) -> Self {
        Self { directory: Directory::new(dir.as_ref()), format, roll: Roll::Checkpoints(1), locks: Locks::default() }
    }

    /// Ends files other than at each checkpoint.
    pub fn roll_every(self, roll: Roll) -> Self {
        Self { roll, ..self }
    }
}

impl<T> Clone for FileSink<T> {
    /// The same sink, for another job: it holds none of this one's locks.
    fn clone(&self) -> Self {
        let (directory, locks) = (self.directory.clone(), Locks::default());
        Self { directory, format: self.format, roll: self.roll, locks }
    }
}

impl<T: 'static> TwoPhaseSink<T> for FileSink<T> {
    type Writer = FileWriter<T>;
    type Frozen = Frozen;
    type Transaction = FileTransaction;
    type WriterState = FileWriterState;

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(owner::read(&self.directory)?.map_or(Ownership::Unclaimed, |owner| Ownership::Claimed(owner.job)))
    }

    fn place(&self) -> String {
        self.directory.to_string()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        owner::claim(&self.directory, context)?;
        self.locks.acquire(&self.directory, &context.operator)?;
        owner::refresh(&self.directory, context)
    }

    fn published(&self, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        recovery::published(&self.directory, context)
    }

    fn has_prepared(&self, context: &SinkContext, transaction: &FileTransaction) -> Result<bool, BoxError> {
        recovery::has_prepared(&self.directory, context, transaction)
    }

    fn has_begun(&self, _: &SinkContext, writer: &FileWriterState) -> Result<bool, BoxError> {
        writer.pending().map_or(Ok(true), |pending| directory::exists(&self.directory.pending().join(pending)))
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<FileTransaction>,
        writers: &[FileWriterState],
    ) -> Result<(), BoxError> {
        recovery::recover(&self.directory, context, &transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<FileWriterState>,
    ) -> Result<FileWriter<T>, BoxError> {
        let names = OperatorNames::new(context).of_writer(context.attempt, subtask, self.format.extension);
        FileWriter::open(self.directory.clone(), names, self.roll, self.format.encoder(), restored)
    }

    fn pre_commit(&self, frozen: Frozen) -> Result<Option<FileTransaction>, BoxError> {
        for (path, file) in &frozen.unsynced {
            file.sync_all().at("sync", path)?;
        }
        if !(frozen.unsynced.is_empty() && frozen.transaction.is_empty()) {
            sync_dir(&self.directory.pending())?;
        }
        Ok(Some(frozen.transaction).filter(|transaction| !transaction.is_empty()))
    }

    fn commit(&self, transaction: &FileTransaction) -> Result<(), BoxError> {
        self.directory.publish(std::slice::from_ref(transaction))?;
        mark::write(&self.directory, transaction)
    }
}
