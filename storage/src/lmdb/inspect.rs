//! A look at a directory from outside: of a job that runs in another process, or of none.
//!
//! ```text
//! NOTE, meta pages, a transaction begun:  of one commit?  ---no---> once more: the job committed in between
//!                                         | yes
//! pages that lead to others checked (`tree`), NOTE believed (`start`)
//! ```
//! Nothing is written but a slot in `lock.mdb`, which is made if it is missing (`reader_table`), and neither `LOCK` nor LMDB's writer lock is taken. The transaction lives as long as the [`Inspection`] and the checkpoints that it gave; the job writes to other pages meanwhile. A slot that a
//! killed process has left is cleared by the job's next commit (`environment`).

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Bound,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointMetadata, StateAddress},
        store::{StateReader, StoreError},
    },
    state::StoredCheckpoint,
};
use heed::{RoTxn, WithoutTls};
use parking_lot::Mutex;

use super::{
    catalog::Catalog,
    directory,
    env::{self, Env},
    fault,
    layout::{BlockKey, Databases},
    meta_page::MetaPages,
    note::{self, Note, NoteFile},
    reader::Scan,
    reader_table,
    record::Job,
    start::{self, Reading},
};
use crate::{
    inspection::{Found, Inspection, Look},
    plan::{self, Standing},
};

/// How long a job may commit in between, each time.
const PATIENCE: Duration = Duration::from_secs(20);

/// What was found in a directory.
pub(super) struct Inspected {
    view: Arc<View>,
    job: Job,
    standing: Standing,
    noted: SystemTime,
    metas: MetaPages,
    note: Note,
}

/// One transaction.
struct View {
    directory: PathBuf,
    data: File,
    /// `None` in a directory that is in the making: a start goes on with it.
    databases: Option<Databases>,
    transaction: Mutex<RoTxn<'static, WithoutTls>>,
}

impl Inspected {
    pub(super) fn open(path: &Path, map_size: u64) -> Result<Self, StoreError> {
        let directory = path.canonicalize().map_err(|cause| fault::io(path, "look", cause))?;
        let failed = |cause: io::Error| match cause.kind() {
            io::ErrorKind::NotFound => fault::ruined(&directory, "data.mdb is missing"),
            _ => fault::io(&directory, "open data.mdb", cause),
        };
        if note::read(&directory)?.is_none() {
            return Err(fault::no_state(&directory));
        }
        let data = File::open(directory.join(directory::DATA)).map_err(failed)?;
        check_length(&directory, &data)?;
        reader_table::prepare(&directory)?;
        let env = open_env(&directory, map_size)?;
        let agreed = Agreed::find(&directory, &env, &data)?;
        start::check_pages(&directory, &data, &agreed.metas)?;
        let databases = Databases::open(&env).map_err(|cause| fault::lmdb(&directory, "open the databases", cause))?;
        // A transaction knows the databases that were open when it began.
        let Agreed { note, metas, transaction } = Agreed::find(&directory, &env, &data)?;
        let job = match &databases {
            Some(databases) => Reading { directory: &directory, transaction: &transaction, databases }.job()?,
            None if metas.newest() == 0 => Job::new(Attempt(0), 0, None),
            None => return Err(fault::ruined(&directory, "data.mdb lacks a database")),
        };
        let standing = job.standing().ok_or_else(|| fault::ruined(&directory, "the job's id is unreadable"))?;
        if !start::follows(&note, &job, standing) {
            return Err(fault::ruined(&directory, "what data.mdb holds is not what NOTE says was committed last"));
        }
        let noted = fs::metadata(directory.join(directory::NOTE)).and_then(|note| note.modified());
        let noted = noted.map_err(|cause| fault::io(&directory, "look at NOTE", cause))?;
        let view = Arc::new(View { directory, data, databases, transaction: Mutex::new(transaction) });
        Ok(Self { view, job, standing, noted, metas, note })
    }

    /// The same, for those who ask.
    pub(super) fn into_inspection(self) -> Result<Inspection, StoreError> {
        let Self { view, job, standing, noted: last_commit, .. } = self;
        let length = view.data.metadata().map_err(|cause| fault::io(&view.directory, "look at data.mdb", cause))?.len();
        let (place, checkpoints) = (view.directory.display().to_string(), job.retained().collect());
        let look = Box::new(LookAt { view, owner: standing.newest.map(|(job, _)| job) });
        Ok(Inspection { found: Found { place, standing, last_commit, length, checkpoints }, look })
    }

    /// Copies the environment to `directory`, an empty one, as of this look. Read as a file, not through LMDB.
    pub(super) fn copy_to(&self, directory: &Path) -> Result<(), StoreError> {
        let failed = |cause| fault::io(directory, format!("copy {}", self.view.directory.display()), cause);
        let copy = File::options().read(true).write(true).create_new(true).open(directory.join(directory::DATA));
        let copy = copy.map_err(failed)?;
        self.copy_pages(&copy).map_err(failed)?;
        // What was noted, and not what is seen: that may be of the commit before the newest meta page.
        let file_length = copy.metadata().map_err(failed)?.len();
        NoteFile::create(directory, Note { file_length, ..self.note })?;
        Ok(())
    }

    /// The job has overwritten the meta pages by now, perhaps.
    fn copy_pages(&self, mut copy: &File) -> io::Result<()> {
        let mut data = &self.view.data;
        let length = (self.metas.last_page() + 1).saturating_mul(self.note.page_size.into());
        let metas = self.metas.pages();
        metas.iter().try_for_each(|page| copy.write_all(page))?;
        let start = metas.iter().map(|page| page.len() as u64).sum();
        data.seek(SeekFrom::Start(start))?;
        io::copy(&mut data.take(length.saturating_sub(start)), &mut copy)?;
        Ok(())
    }
}

/// Reads what is asked for.
struct LookAt {
    view: Arc<View>,
    owner: Option<JobId>,
}

impl LookAt {
    fn catalog(&self, checkpoint: CheckpointId) -> Result<(CheckpointMetadata, Catalog), StoreError> {
        let none = || plan::not_retained(&self.view.directory.display().to_string(), checkpoint, [].into_iter());
        let owner = self.owner.ok_or_else(none)?;
        self.view.reading(|reading| reading.catalog(owner, checkpoint))
    }
}

impl Look for LookAt {
    fn checkpoint(&self, checkpoint: CheckpointId) -> Result<StoredCheckpoint, StoreError> {
        let (metadata, catalog) = self.catalog(checkpoint)?;
        let reader = ViewReader { view: self.view.clone(), checkpoint, catalog };
        Ok(StoredCheckpoint::new(self.view.directory.display().to_string(), metadata, Arc::new(reader)))
    }

    fn stored_bytes(&self, checkpoint: CheckpointId) -> Result<u64, StoreError> {
        let (_, catalog) = self.catalog(checkpoint)?;
        self.view.reading(|reading| {
            let mut bytes = 0;
            for index in catalog.states.values() {
                for (group, found) in &index.groups {
                    let first = BlockKey::first_of(index.number, *group, found.since).encode();
                    let last = BlockKey { checkpoint, ..BlockKey::last(index.number, *group) }.encode();
                    let bounds = (Bound::Included(&first[..]), Bound::Included(&last[..]));
                    let values = reading.databases.block.range(reading.transaction, &bounds);
                    for value in values.map_err(|cause| reading.failed(cause))? {
                        bytes += value.map_err(|cause| reading.failed(cause))?.1.len() as u64;
                    }
                }
            }
            Ok(bytes)
        })
    }
}

impl View {
    fn reading<R>(&self, look: impl FnOnce(&Reading<'_, '_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let transaction = self.transaction.lock();
        let lacking = || fault::ruined(&self.directory, "data.mdb lacks a database");
        let databases = self.databases.as_ref().ok_or_else(lacking)?;
        look(&Reading { directory: &self.directory, transaction: &transaction, databases })
    }
}

/// Reads a checkpoint of the one transaction.
struct ViewReader {
    view: Arc<View>,
    checkpoint: CheckpointId,
    catalog: Catalog,
}

impl StateReader for ViewReader {
    fn read(
        &self,
        state: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        let Some(index) = self.catalog.states.get(state).filter(|_| range.start < range.end) else { return Ok(()) };
        self.view.reading(|reading| {
            let scan = Scan { directory: reading.directory, state, index, checkpoint: self.checkpoint };
            scan.run(reading.transaction, reading.databases, range, visit)
        })
    }
}

/// What was found to be of one commit.
struct Agreed {
    note: Note,
    metas: MetaPages,
    transaction: RoTxn<'static, WithoutTls>,
}

impl Agreed {
    /// Looks until nothing was committed in between. What does not fit together, and does not change either, is damage.
    fn find(directory: &Path, env: &Env, data: &File) -> Result<Self, StoreError> {
        let deadline = Instant::now() + PATIENCE;
        let mut before = None;
        loop {
            let note = note::read(directory)?.ok_or_else(|| fault::ruined(directory, "NOTE is missing"))?;
            // Before the meta pages: that of the transaction has been written whole by then. One read before may have been half written.
            let transaction = env.clone().static_read_txn();
            let transaction = transaction.map_err(|cause| fault::lmdb(directory, "begin to read", cause))?;
            let metas = MetaPages::read(data, note.page_size as usize);
            let metas = metas.map_err(|cause| fault::io(directory, "read data.mdb", cause))?;
            let metas = metas.ok_or_else(|| fault::ruined(directory, "data.mdb has no meta pages"))?;
            let fits = start::check_meta_pages(directory, &note, &metas);
            let now = (note, metas.hashes());
            let is_settled = before == Some(now);
            // A commit between its meta page and the number in `lock.mdb`, while the disk is waited for; or one whose owner was killed there, if somebody else who looks keeps `lock.mdb` alive: until
            // the next start all transactions are of the commit before.
            let is_behind = is_settled && transaction.id() as u64 + 1 == metas.newest();
            if fits.is_ok() && (transaction.id() as u64 == metas.newest() || is_behind) {
                return Ok(Self { note, metas, transaction });
            }
            match fits {
                Err(damage) if is_settled => return Err(damage),
                _ if Instant::now() > deadline => return Err(fault::restless(directory)),
                _ => {}
            }
            before = Some(now);
        }
    }
}

/// LMDB must not be led beyond the file's end.
fn check_length(directory: &Path, data: &File) -> Result<(), StoreError> {
    let note = note::read(directory)?.ok_or_else(|| fault::no_state(directory))?;
    let length = data.metadata().map_err(|cause| fault::io(directory, "look at data.mdb", cause))?.len();
    start::check_length(directory, &note, length)
}

/// Opens the environment with the largest map that the process may have.
fn open_env(directory: &Path, mut map_size: u64) -> Result<Env, StoreError> {
    loop {
        match env::open_to_read(directory, super::environment::round(map_size)) {
            Ok(env) => return Ok(env),
            Err(heed::Error::Io(cause)) if cause.kind() == io::ErrorKind::OutOfMemory && map_size > 1 << 20 => {
                map_size /= 2;
            }
            Err(heed::Error::Io(cause)) if cause.kind() == io::ErrorKind::PermissionDenied => {
                return Err(fault::io(directory, "open data.mdb for reading, and lock.mdb for writing,", cause));
            }
            Err(cause) => return Err(fault::lmdb(directory, "open the environment for reading", cause)),
        }
    }
}
