//! Checkpoints kept in one LMDB environment, in a directory of their own.
//!
//! ```text
//! LOCK       who has the directory open                        lock_file
//! NOTE       what was committed last, beside LMDB's own word    note
//! data.mdb   job         one entry: job, attempt, checkpoint    layout
//!            checkpoint  a record each, indexes of states       record, catalog
//!            block       state | group | checkpoint | part      block
//! lock.mdb   LMDB's
//! ```
//! One transaction for each checkpoint (`commit`), in which older ones go (`prune`), then the note. What a start makes of the two is in `start`; it checks LMDB's pages
//! (`meta_page`, `tree`) before LMDB sees them.
//! With a heap limit, blocks are sorted (`merge`, `run`) and some folded (`fold`) as they are committed (`sorting`), and keys are looked up in them (`lookup`, `filter`).
//! Every value ends with a checksum over its place and its bytes (`value`), so that a value at another key is damage too.

mod block;
mod catalog;
mod commit;
mod directory;
mod env;
mod environment;
mod fault;
mod filter;
mod fold;
mod forget;
mod inspect;
mod layout;
pub(crate) mod lock_file;
mod lookup;
#[cfg(test)]
mod lookup_tests;
mod merge;
mod meta_page;
mod note;
mod pins;
mod prune;
mod reader;
mod reader_table;
mod record;
mod retained;
mod run;
mod sorting;
mod start;
mod store;
#[cfg(test)]
mod tests;
mod tree;
mod value;

use std::path::{Path, PathBuf};

use cofferdam_engine::{
    CheckpointId,
    checkpoint::store::{CheckpointStore, StateBackend, StoreError},
};

use self::inspect::Inspected;
use crate::Inspection;

/// Address space that costs nothing until it is used; on 32 bits there is little of it.
const MAP_SIZE: u64 = if usize::BITS == 64 { 1 << 40 } else { 1 << 28 };

/// Keeps checkpoints in a directory: they survive a crash of the process and of the machine.
///
/// The directory is made if it is missing, belongs to one job, and is open in one process at a time. It must be on a local disk, and
/// nothing but this backend may touch what is in it; to copy it, stop the job first. State that is damaged, of another job, or of a
/// newer version is refused with an error that names the way out; it is never read as if it were whole, or as if it were new.
///
/// ```
/// use cofferdam_engine::checkpoint::store::{CheckpointStore as _, StateBackend as _};
/// use cofferdam_storage::Lmdb;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let temporary = tempfile::tempdir()?;
/// # let path = temporary.path().join("state");
/// let lmdb = Lmdb::at(path);
/// let mut store = lmdb.open()?;
/// assert!(store.newest()?.is_none());
/// assert_eq!(store.begin_attempt()?.0, 1);
/// assert!(lmdb.open().is_err(), "one owner at a time");
///
/// drop(store);
/// assert_eq!(lmdb.open()?.begin_attempt()?.0, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Lmdb {
    path: PathBuf,
    map_size: u64,
    heap_limit: Option<u64>,
}

impl Lmdb {
    /// Keeps checkpoints in the directory `path`. Touches nothing until it is opened.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), map_size: MAP_SIZE, heap_limit: None }
    }

    /// Reserves `bytes` of address space at first, instead of 1 TiB (256 MiB on 32 bits): no memory, no disk. It doubles when state
    /// outgrows it. Worth setting only where address space is limited, as by `ulimit -v`.
    ///
    /// ```
    /// # use cofferdam_storage::Lmdb;
    /// let lmdb = Lmdb::at("state/").map_size(1 << 30);
    /// ```
    #[must_use]
    pub fn map_size(self, bytes: u64) -> Self {
        Self { map_size: bytes, ..self }
    }

    /// Lets live state take `bytes` of the heap, for all subtasks together; the rest is read from the newest checkpoint when a record needs it.
    ///
    /// It is divided evenly among what can leave the heap: each subtask's states of one value per key, without a time to live. Maps, lists, states that expire and states of operators
    /// without a key are on the heap whole, beside it and uncounted; so are keys that changed since the last completed checkpoint.
    ///
    /// Of a state whose type cannot read what is stored the start reads one value, and refuses to go on; what else cannot be read, or is damaged, ends the job when a record needs it.
    ///
    /// A setting of the process, not of the directory: state written without a limit can be read with one, and the other way round. What was written without one is rewritten once, at
    /// the first start with one.
    ///
    /// ```
    /// # use cofferdam_storage::Lmdb;
    /// let lmdb = Lmdb::at("state/").heap_limit(4 << 30);
    /// ```
    #[must_use]
    pub fn heap_limit(self, bytes: u64) -> Self {
        Self { heap_limit: Some(bytes), ..self }
    }

    /// Looks at the directory without owning it, also while a job has it open in another process: writes nothing of ours, and keeps nobody out. Makes no directory. An error if it is open in this
    /// process, holds no state, or is damaged. May block on the disk.
    ///
    /// ```
    /// # use cofferdam_storage::Lmdb;
    /// assert!(Lmdb::at("no/such/state").inspect().is_err());
    /// ```
    pub fn inspect(&self) -> Result<Inspection, StoreError> {
        Inspected::open(&self.path, self.map_size)?.into_inspection()
    }

    /// Copies the state to `directory`, an empty one, as of one commit, and disturbs nobody, as [`inspect`](Self::inspect) does; it can be inspected there. Reads `data.mdb` as a file, not through LMDB.
    pub fn copy_to(&self, directory: impl AsRef<Path>) -> Result<(), StoreError> {
        Inspected::open(&self.path, self.map_size)?.copy_to(directory.as_ref())
    }

    /// Deletes a checkpoint that is kept beside the newest, and counts the attempt up. An error if the directory is open already, or `checkpoint` is not kept or the newest; then nothing has changed.
    pub fn delete_checkpoint(&self, checkpoint: CheckpointId) -> Result<(), StoreError> {
        start::open(&self.path, self.map_size)?.forget(checkpoint)
    }

    /// Deletes the state, be it damaged, and what a deletion that was cut short has left; without a `NOTE` of ours there is none. An error if the directory is open already, or what is there cannot be removed.
    pub fn delete(&self) -> Result<(), StoreError> {
        start::delete(&self.path)
    }

    /// The directory.
    ///
    /// ```
    /// # use cofferdam_storage::Lmdb;
    /// assert_eq!(Lmdb::at("state/").path(), std::path::Path::new("state/"));
    /// ```
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl StateBackend for Lmdb {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        let store = start::open(&self.path, self.map_size)?;
        Ok(Box::new(match self.heap_limit {
            None => store,
            Some(_) => store.with_lookups(fold::Limits::default()),
        }))
    }

    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn heap_limit(&self) -> Option<u64> {
        self.heap_limit
    }
}
