//! Checkpoints kept as files, or as objects in a store such as S3 or HDFS.
//!
//! ```text
//! LOCK                               on a local disk: who has the directory open
//! log/<sequence>                     who owns the place, what it holds        entry, log
//! data/<generation>-<checkpoint>     pieces of keyed state, a manifest        piece, manifest
//! ```
//! One data object for each checkpoint (`commit`), then the root that names it (`store`). A commit copies old pieces to keep space bounded (`compact`). What a
//! start makes of the place is in `start`. Everything bears a checksum over its place and its bytes (`seal`), and is put and read through `place`. From outside it is looked at by
//! `inspect`.

mod commit;
mod compact;
mod driver;
mod entry;
mod fault;
mod held;
mod inspect;
mod local;
mod log;
mod manifest;
mod name;
mod piece;
mod pins;
mod place;
mod reader;
mod seal;
mod start;
mod store;
mod target;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, atomic::AtomicBool},
};

use cofferdam_engine::{
    CheckpointId,
    checkpoint::store::{CheckpointStore, StateBackend, StoreError},
};
use object_store::{ObjectStore, path::Path};

use self::{start::InProcess, store::Store, target::Target};
use crate::Inspection;

/// Keeps checkpoints as files in a directory, or as objects in S3, HDFS, or whatever [`object_store`](https://docs.rs/object_store) reaches: they survive a crash of the
/// process and of the machine, and in a store of its own also the machine's loss.
///
/// The place is made if it is missing, belongs to one job, and nothing but this backend may touch what is in it. Commits are incremental, and what no checkpoint
/// kept needs is deleted; up to four times what the newest needs may be there. State that is damaged, of another job, or of a newer version is refused with an
/// error that names the way out; it is never read as if it were whole, or as if it were new. A full disk, or a store that cannot be reached, fails the checkpoint and not the job.
///
/// | URI | | cargo feature |
/// |---|---|---|
/// | `state/`, `file:///state` | a directory on a local disk; a second start there is refused while the first one lives | |
/// | `s3://bucket/prefix` | S3 and what speaks its protocol, if it honours `If-None-Match` | `s3` |
/// | `hdfs://host:port/path` | HDFS | `hdfs` |
///
/// In S3 and HDFS the newer start wins: a service that is started on another machine takes over, and the one before, should it still run, is refused at its next
/// commit and changes nothing. Credentials of S3 are taken from the environment (`AWS_ACCESS_KEY_ID` and so on), as `object_store` does, and so are
/// retries: a request is given up after 10 tries or 3 minutes, one try after 30 seconds, if no option says otherwise. An upload in parts that a crash cuts short
/// stays in the bucket, invisible; let a lifecycle rule abort those.
///
/// ```
/// use cofferdam_engine::checkpoint::store::{CheckpointStore as _, StateBackend as _};
/// use cofferdam_storage::FileSystem;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let temporary = tempfile::tempdir()?;
/// # let path = temporary.path().join("state");
/// let files = FileSystem::at(path);
/// let mut store = files.open()?;
/// assert!(store.newest()?.is_none());
/// assert_eq!(store.begin_attempt()?.0, 1);
/// assert!(files.open().is_err(), "one owner at a time");
///
/// drop(store);
/// assert_eq!(files.open()?.begin_attempt()?.0, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct FileSystem {
    name: String,
    target: Target,
    options: Vec<(String, String)>,
    is_open: Arc<AtomicBool>,
}

impl FileSystem {
    /// Keeps checkpoints in the directory `path`, on a local disk. Touches nothing until it is opened.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self::of(path.display().to_string(), Target::Directory(path))
    }

    /// Keeps checkpoints where `uri` says: `file:///path`, `s3://bucket/prefix`, `hdfs://host:port/path`, or a plain path. Touches nothing until it is opened.
    /// An error if nothing is known of such a URI, or this build lacks the cargo feature, which it names.
    ///
    /// ```
    /// use cofferdam_storage::FileSystem;
    ///
    /// assert!(FileSystem::uri("file:///var/lib/state").is_ok());
    /// assert!(FileSystem::uri("gopher://state").is_err());
    /// ```
    pub fn uri(uri: &str) -> Result<Self, StoreError> {
        Ok(Self::of(uri.to_owned(), Target::parse(uri)?))
    }

    /// Keeps checkpoints in `store`, below `prefix`; of the store's methods it needs `put_opts` with `PutMode::Create`. The newer start wins, as in S3.
    ///
    /// ```
    /// use std::sync::Arc;
    ///
    /// use cofferdam_engine::checkpoint::store::StateBackend as _;
    /// use cofferdam_storage::FileSystem;
    /// use object_store::memory::InMemory;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let store = FileSystem::object_store(Arc::new(InMemory::new()), "jobs/count").open()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn object_store(store: Arc<dyn ObjectStore>, prefix: &str) -> Self {
        Self::of(format!("{store}, {prefix}/"), Target::Store(store, Path::from(prefix)))
    }

    /// Sets an option: for S3 one of [`object_store`'s](https://docs.rs/object_store/latest/object_store/aws/enum.AmazonS3ConfigKey.html), such as `endpoint`, `region`, `allow_http`
    /// or `timeout`; for HDFS one of Hadoop's configuration. Directories have none. What is unknown is refused when the place is opened.
    ///
    /// ```
    /// # #[cfg(feature = "s3")]
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cofferdam_storage::FileSystem;
    /// let state = FileSystem::uri("s3://bucket/count")?.with_option("endpoint", "http://localhost:9000").with_option("allow_http", "true");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "s3"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn with_option(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.options.push((key.into(), value.into()));
        self
    }

    /// Looks at the place without owning it, also while a job has it open, in this process or another: writes nothing, and keeps nobody out. Makes nothing. An error if it holds no state, or the log is damaged. May
    /// block on the disk or the network.
    ///
    /// ```
    /// # use cofferdam_storage::FileSystem;
    /// assert!(FileSystem::at("no/such/state").inspect().is_err());
    /// ```
    pub fn inspect(&self) -> Result<Inspection, StoreError> {
        let (place, directory) = self.target.look(self.name.clone(), &self.options)?;
        inspect::look(place, directory)
    }

    /// Deletes a checkpoint that is kept beside the newest. An error if `checkpoint` is not kept or the newest, or a job has the directory open; then nothing has changed. In S3 and HDFS a job that has the place open is
    /// fenced, as by any other start: stop it first.
    pub fn delete_checkpoint(&self, checkpoint: CheckpointId) -> Result<(), StoreError> {
        self.open_store()?.forget(checkpoint)
    }

    /// The directory, if it is one of a local disk.
    ///
    /// ```
    /// # use cofferdam_storage::FileSystem;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// assert_eq!(FileSystem::uri("file:///state")?.path(), Some(std::path::Path::new("/state")));
    /// # Ok(())
    /// # }
    /// ```
    pub fn path(&self) -> Option<&std::path::Path> {
        match &self.target {
            Target::Directory(path) => Some(path),
            _ => None,
        }
    }

    fn open_store(&self) -> Result<Store, StoreError> {
        let in_process = match &self.target {
            // Its lock says more.
            Target::Directory(_) => InProcess::none(),
            _ => InProcess::acquire(&self.name, &self.is_open)?,
        };
        let (place, ownership) = self.target.reach(self.name.clone(), &self.options, in_process)?;
        start::open(place, ownership)
    }

    fn of(name: String, target: Target) -> Self {
        Self { name, target, options: Vec::new(), is_open: Arc::default() }
    }
}

/// Without what options are set to: some are secret.
impl fmt::Debug for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let options: Vec<_> = self.options.iter().map(|(key, _)| key).collect();
        f.debug_struct("FileSystem").field("place", &self.name).field("options", &options).finish_non_exhaustive()
    }
}

impl StateBackend for FileSystem {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(self.open_store()?))
    }

    fn place(&self) -> String {
        self.name.clone()
    }

    fn is_durable(&self) -> bool {
        true
    }
}
