//! Where records come from.

use serde::{Serialize, de::DeserializeOwned};

use crate::{error::BoxError, id::ProcessingTime};

/// A place records can be read from again, from any position that was once reached.
///
/// A source is a fixed set of *splits* (a file, a partition, every n-th number). Checkpoint 0 stores the splits, every later one a
/// *position* in each; splits are assigned to subtasks, and after a restart perhaps to other ones.
///
/// # Contract
/// | call | when | must |
/// |---|---|---|
/// | [`splits`](Source::splits) | once in the job's life, before checkpoint 0 | list every split; what it lists is stored |
/// | [`open`](Source::open) with `None` | at the first start | read the split from its beginning |
/// | [`open`](Source::open) with a position | after every restart | give the same records, in the same order, as came after that position the first time; an error if that can no longer be done |
/// | [`SplitReader::read`] | again and again, until it says `End` | give one record, or say why there is none; not block for longer than a read of a local file |
/// | [`SplitReader::position`] | between two records | name the place after the last record that `read` gave |
///
/// ```
/// use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
///
/// /// The numbers below a bound, in one split. A position is the next number.
/// struct Below(u64);
///
/// impl Source for Below {
///     type Record = u64;
///     type Split = u64;
///     type Position = u64;
///     type Reader = Next;
///
///     fn is_bounded(&self) -> bool {
///         true
///     }
///     fn splits(&self, _parallelism: u32) -> Result<Vec<u64>, BoxError> {
///         Ok(vec![self.0])
///     }
///     fn open(&self, bound: &u64, position: Option<&u64>) -> Result<Next, BoxError> {
///         Ok(Next { next: position.copied().unwrap_or(0), bound: *bound })
///     }
/// }
///
/// struct Next { next: u64, bound: u64 }
///
/// impl SplitReader for Next {
///     type Record = u64;
///     type Position = u64;
///
///     fn read(&mut self, _now: ProcessingTime) -> Result<Read<u64>, BoxError> {
///         if self.next == self.bound {
///             return Ok(Read::End);
///         }
///         self.next += 1;
///         Ok(Read::Record(self.next - 1))
///     }
///     fn position(&mut self) -> Result<u64, BoxError> {
///         Ok(self.next)
///     }
/// }
/// ```
pub trait Source: Send + Sync + 'static {
    /// What it gives. Need not be a [`Record`](crate::Record): only what crosses an exchange is.
    type Record: 'static;
    /// Which part of the source.
    type Split: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// How far a split has been read.
    type Position: Serialize + DeserializeOwned + Clone + Send + 'static;
    /// Reads one split.
    type Reader: SplitReader<Record = Self::Record, Position = Self::Position>;

    /// Whether every split has an end.
    fn is_bounded(&self) -> bool;

    /// All splits. `parallelism` is the number of subtasks that will share them: a hint for sources that can be cut anywhere.
    fn splits(&self, parallelism: u32) -> Result<Vec<Self::Split>, BoxError>;

    /// Opens a split at a position, or at its beginning.
    fn open(&self, split: &Self::Split, position: Option<&Self::Position>) -> Result<Self::Reader, BoxError>;
}

/// Reads one split of a [`Source`], whose contract it shares.
pub trait SplitReader: Send + 'static {
    /// See [`Source::Record`].
    type Record;
    /// See [`Source::Position`].
    type Position;

    /// The next record. `now` is the driver's clock, for sources that are paced; it may lag by a millisecond.
    fn read(&mut self, now: ProcessingTime) -> Result<Read<Self::Record>, BoxError>;

    /// The place after the last record given.
    fn position(&mut self) -> Result<Self::Position, BoxError>;
}

/// What a [`SplitReader`] had.
#[derive(Debug, PartialEq, Eq)]
pub enum Read<T> {
    /// The next record.
    Record(T),
    /// Nothing before this moment: ask again then.
    NotBefore(ProcessingTime),
    /// Nothing ever again.
    End,
}
