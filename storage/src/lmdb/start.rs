//! What a start makes of the directory.
//!
//! | NOTE | `data.mdb` | |
//! |---|---|---|
//! | no | no, or nothing was ever committed | new |
//! | no | commits | damaged if it has our databases, foreign if not |
//! | yes | no | damaged |
//! | yes | as noted | go on |
//! | yes | one transaction ahead | a crash between commit and note: go on, and note it |
//! | yes | anything else | damaged |
//!
//! A new directory comes to be in steps, each durable before the next: empty meta pages, the note of them, the databases with the job's
//! entry. A crash between two steps leaves a row of the table that goes on.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::Path,
    sync::Arc,
};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroupRange,
    checkpoint::{
        snapshot::CheckpointMetadata,
        store::{StoreError, StoreErrorKind},
    },
    fail_point::Passage,
};

use super::{
    catalog::{Catalog, Index},
    directory,
    env::Env,
    environment::{Environment, Place},
    fault,
    layout::{Databases, JOB_KEY, index_key, record_key},
    lock_file::LockFile,
    meta_page::{Found, MetaPages},
    note::{self, Note, NoteFile},
    reader::Scan,
    reader_table,
    record::{Job, Record},
    retained::Retained,
    sorting::Survey,
    store::Store,
    tree::{self, Broken},
};
use crate::plan::Standing;

/// Opens the directory, or refuses to.
pub(super) fn open(path: &Path, map_size: u64) -> Result<Store, StoreError> {
    let directory = directory::prepare(path)?;
    let lock = LockFile::acquire(&directory)?;
    finish_deletion(&directory)?;
    let mut note = NoteFile::open(&directory)?;
    let data = open_data(&directory, note.is_some())?;
    if let Some(note) = &note {
        check_file(&directory, note.note(), &data)?;
    }
    reader_table::prepare(&directory)?;
    let initialize = |env: &Env, data: &File| initialize(&directory, env, data, &mut note);
    let environment = Environment::open(directory.clone(), Place { data, lock }, map_size, initialize)?;
    let Some(note) = note else { return Err(fault::ruined(&directory, "NOTE is missing")) };
    load(environment, note)
}

/// Removes what a deletion has left.
pub(super) fn finish_deletion(directory: &Path) -> Result<(), StoreError> {
    if !directory.join(directory::NOTE_DELETED).exists() {
        return Ok(());
    }
    for name in [directory::NOTE, directory::NOTE_NEW, directory::DATA, directory::LMDB_LOCK] {
        directory::remove(directory, name)?;
    }
    directory::sync(directory)?;
    directory::remove(directory, directory::NOTE_DELETED)
}

/// Deletes what is there, whole or not.
pub(super) fn delete(path: &Path) -> Result<(), StoreError> {
    let directory = path.canonicalize().map_err(|cause| fault::io(path, "look", cause))?;
    let is_cut_short = note::bears_mark(&directory, directory::NOTE_DELETED)?;
    if !is_cut_short && !note::bears_mark(&directory, directory::NOTE)? {
        return Err(fault::no_state(&directory));
    }
    directory::prepare(&directory)?;
    let lock = LockFile::acquire(&directory)?;
    remove(&directory, lock)
}

/// Removes what is ours, and the directory if nothing else is in it.
pub(super) fn remove(directory: &Path, lock: LockFile) -> Result<(), StoreError> {
    match fs::rename(directory.join(directory::NOTE), directory.join(directory::NOTE_DELETED)) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
            return Err(fault::io(directory, "mark NOTE as deleted", cause));
        }
        _ => {}
    }
    directory::sync(directory)?;
    finish_deletion(directory)?;
    lock.remove().map_err(|cause| fault::io(directory, "remove LOCK", cause))?;
    // Not ours to remove if others have put files there.
    let _ = fs::remove_dir(directory);
    Ok(())
}

/// Opens `data.mdb`; makes it if the directory is new.
fn open_data(directory: &Path, noted: bool) -> Result<File, StoreError> {
    let failed = |cause| fault::io(directory, "open data.mdb", cause);
    let path = directory.join(directory::DATA);
    match File::open(&path) {
        Ok(file) if noted => return Ok(file),
        Ok(file) => check_new(directory, &file)?,
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(failed(cause)),
        Err(_) if noted => return Err(fault::ruined(directory, "data.mdb is missing")),
        Err(_) => {}
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)
}

/// Checks that a `data.mdb` without a note was never committed to.
fn check_new(directory: &Path, data: &File) -> Result<(), StoreError> {
    let failed = |cause| fault::io(directory, "read data.mdb", cause);
    match MetaPages::find(data).map_err(failed)? {
        Found::Blank(Some(_)) => Ok(()),
        // LMDB takes a missing file as new, but not zeros that a crash has left of one.
        Found::Blank(None) => directory::remove(directory, directory::DATA),
        Found::Stranger(why) => Err(fault::foreign(directory, format!("its data.mdb is not Cofferdam's: {why}"))),
        Found::Pages(pages) if pages.names(data, JOB_KEY).map_err(failed)? => {
            Err(fault::ruined(directory, "NOTE is missing, and data.mdb holds a job"))
        }
        Found::Pages(_) => Err(fault::foreign(directory, "its data.mdb is another application's")),
    }
}

/// Checks that `data` is as `note` says, or as a commit that was not noted any more made it.
fn check_file(directory: &Path, note: &Note, data: &File) -> Result<(), StoreError> {
    let failed = |cause| fault::io(directory, "read data.mdb", cause);
    check_length(directory, note, data.metadata().map_err(failed)?.len())?;
    let pages = MetaPages::read(data, note.page_size as usize).map_err(failed)?;
    let pages = pages.ok_or_else(|| fault::ruined(directory, "data.mdb has no meta pages"))?;
    check_meta_pages(directory, note, &pages)?;
    check_pages(directory, data, &pages)
}

/// Checks that all is there that there was.
pub(super) fn check_length(directory: &Path, note: &Note, length: u64) -> Result<(), StoreError> {
    if length < note.file_length {
        let what = format!("data.mdb is cut short: {length} bytes of {}", note.file_length);
        return Err(fault::ruined(directory, what));
    }
    Ok(())
}

/// Checks all pages that lead to others.
pub(super) fn check_pages(directory: &Path, data: &File, pages: &MetaPages) -> Result<(), StoreError> {
    tree::check(data, pages).map_err(|broken| match broken {
        Broken::Io(cause) => fault::io(directory, "read data.mdb", cause),
        Broken::Page(page, what) => fault::ruined(directory, format!("data.mdb, page {page}: {what}")),
    })
}

pub(super) fn check_meta_pages(directory: &Path, note: &Note, pages: &MetaPages) -> Result<(), StoreError> {
    let hashes = pages.hashes();
    if hashes == note.hashes {
        return Ok(());
    }
    let kept = (note.transaction & 1) as usize;
    let misfit = match hashes[kept] == note.hashes[kept] {
        true => pages.misfit(1 - kept),
        false => Some("the newest meta page noted is not there"),
    };
    match misfit {
        None => Ok(()),
        Some(why) => Err(fault::ruined(directory, format!("data.mdb is not what NOTE says was committed last: {why}"))),
    }
}

/// Brings a new directory to its first commit. Leaves any other as it is.
fn initialize(directory: &Path, env: &Env, data: &File, note: &mut Option<NoteFile>) -> Result<(), StoreError> {
    if note.is_none() {
        env.force_sync().map_err(|cause| fault::lmdb(directory, "sync data.mdb", cause))?;
        directory::sync(directory)?;
        let page_size = env.unnamed_database_stat().page_size;
        let first = take_note(data, page_size, Standing { attempt: Attempt(0), newest: None, highest: None });
        let first = first.map_err(|cause| fault::io(directory, "read data.mdb", cause))?;
        *note = Some(NoteFile::create(directory, first)?);
    }
    if env.info().last_txn_id == 0 {
        Databases::create(env, |transaction| Job::new(Attempt(0), transaction.id() as u64, None).encode())
            .map_err(|cause| fault::lmdb(directory, "create the databases", cause))?;
    }
    Ok(())
}

/// What is to be noted now.
pub(super) fn take_note(data: &File, page_size: u32, standing: Standing) -> io::Result<Note> {
    let pages = MetaPages::read(data, page_size as usize)?;
    let pages = pages.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it has no meta pages"))?;
    Ok(Note {
        attempt: standing.attempt,
        newest: standing.newest,
        highest: standing.highest,
        transaction: pages.newest(),
        page_size,
        file_length: data.metadata()?.len(),
        hashes: pages.hashes(),
    })
}

/// Reads what is stored, and checks it against the note.
fn load(environment: Environment, mut note: NoteFile) -> Result<Store, StoreError> {
    let (job, retained) = environment.read(|transaction, databases| {
        let reading = Reading { directory: &environment.directory, transaction, databases };
        let job = reading.job()?;
        let retained = reading.retained(&job)?;
        Ok((job, retained))
    })?;
    let directory = &environment.directory;
    let standing = job.standing().ok_or_else(|| fault::ruined(directory, "the job's id is unreadable"))?;
    if !follows(note.note(), &job, standing) {
        return Err(fault::ruined(directory, "what data.mdb holds is not what NOTE says was committed last"));
    }
    if job.transaction != note.note().transaction {
        let page_size = note.note().page_size;
        let current = environment.inspect(|data| take_note(data, page_size, standing))?;
        note.write(current, Passage::On).map_err(|cause| fault::io(directory, "write NOTE", cause))?;
    }
    Ok(Store::new(environment, note, job, standing, retained))
}

/// Whether what is stored is what was noted, or what one more commit made of that.
pub(super) fn follows(note: &Note, job: &Job, found: Standing) -> bool {
    let is_same = found.attempt == note.attempt && found.newest == note.newest && found.highest == note.highest;
    if job.transaction == note.transaction {
        return is_same;
    }
    if job.transaction != note.transaction + 1 {
        return false;
    }
    if note.transaction == 0 {
        return (found.attempt, found.newest) == (Attempt(0), None);
    }
    let is_next_checkpoint = match (note.newest, found.newest) {
        (Some((job, _)), Some((found_job, number))) => {
            found_job == job && Some(number) > note.highest && found.highest == Some(number)
        }
        (None, found) => found.is_some(),
        (Some(_), None) => false,
    };
    // Sorted blocks in the place of others.
    let was_sorted = is_same && found.newest.is_some();
    let went_back = match (note.newest, found.newest) {
        (Some((job, noted)), Some((found_job, number))) => {
            found_job == job && number < noted && found.highest == note.highest
        }
        _ => false,
    };
    // A job that comes from elsewhere goes on counting from there.
    let is_next_attempt =
        if note.newest.is_none() { found.attempt > note.attempt } else { found.attempt == note.attempt.next() };
    let began_attempt = is_next_attempt && found.newest == note.newest && found.highest == note.highest;
    began_attempt || (found.attempt == note.attempt && (is_next_checkpoint || was_sorted || went_back))
}

/// One look at what is stored.
pub(super) struct Reading<'a, 't> {
    pub(super) directory: &'a Path,
    pub(super) transaction: &'a heed::RoTxn<'t, heed::WithoutTls>,
    pub(super) databases: &'a Databases,
}

impl Reading<'_, '_> {
    /// The job's entry, of this very transaction.
    pub(super) fn job(&self) -> Result<Job, StoreError> {
        let stored = self.databases.job.get(self.transaction, JOB_KEY);
        let job = Job::decode(self.directory, stored.map_err(|cause| self.failed(cause))?)?;
        if job.transaction != self.transaction.id() as u64 {
            return Err(fault::ruined(self.directory, "the job's entry is of another transaction than the meta page"));
        }
        Ok(job)
    }

    /// Every checkpoint kept. What is damaged is found out again when it is asked for; what another version wrote is refused.
    fn retained(&self, job: &Job) -> Result<Vec<Retained>, StoreError> {
        let Some(owner) = self.owner(job)? else { return Ok(Vec::new()) };
        let read = |number| match self.catalog(owner, number) {
            Ok((_, catalog)) => Ok(Retained { number, catalog: Some(Arc::new(catalog)) }),
            Err(error) if error.kind == StoreErrorKind::Damaged => Ok(Retained { number, catalog: None }),
            Err(error) => Err(error),
        };
        job.retained().map(read).collect()
    }

    fn owner(&self, job: &Job) -> Result<Option<JobId>, StoreError> {
        let standing = job.standing().ok_or_else(|| fault::ruined(self.directory, "the job's id is unreadable"))?;
        Ok(standing.newest.map(|(owner, _)| owner))
    }

    /// The record of a checkpoint of job `owner`.
    fn record(&self, owner: JobId, number: CheckpointId) -> Result<Record, StoreError> {
        let stored = self.databases.checkpoint.get(self.transaction, &record_key(number));
        let record = Record::decode(self.directory, number, stored.map_err(|cause| self.failed(cause))?)?;
        if (record.metadata.job, record.metadata.checkpoint) != (owner, number) {
            let what = format!("the record of checkpoint {number} is not the one that the job's entry names");
            return Err(fault::damaged(self.directory, what));
        }
        Ok(record)
    }

    /// A checkpoint's metadata, and which blocks it must have.
    pub(super) fn catalog(
        &self,
        owner: JobId,
        number: CheckpointId,
    ) -> Result<(CheckpointMetadata, Catalog), StoreError> {
        let mut catalog = Catalog::default();
        let Record { metadata, states } = self.record(owner, number)?;
        for state in states {
            let stored = self.databases.checkpoint.get(self.transaction, &index_key(state.number, state.written));
            let index = Index::decode(self.directory, &state, stored.map_err(|cause| self.failed(cause))?)?;
            catalog.states.insert(state.address, Arc::new(index));
        }
        Ok((metadata, catalog))
    }

    /// A checkpoint's metadata, after all of its state was read and found whole.
    pub(super) fn verify(&self, owner: JobId, number: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        let (metadata, catalog) = self.catalog(owner, number)?;
        let range = KeyGroupRange { start: 0, end: metadata.max_parallelism };
        for (state, index) in &catalog.states {
            let scan = Scan { directory: self.directory, state, index, checkpoint: number };
            scan.run(self.transaction, self.databases, range, &mut |_, _, _, _| Ok(()))?;
        }
        Ok(metadata)
    }

    /// A checkpoint's metadata, which blocks it must have, and what of it can be looked up. Reads all of its state; one that is damaged is no error yet.
    pub(super) fn survey(
        &self,
        owner: JobId,
        number: CheckpointId,
    ) -> Result<(CheckpointMetadata, Catalog, Survey), StoreError> {
        let (metadata, catalog) = self.catalog(owner, number)?;
        let range = KeyGroupRange { start: 0, end: metadata.max_parallelism };
        let mut survey = Survey::default();
        for (state, index) in &catalog.states {
            let scan = Scan { directory: self.directory, state, index, checkpoint: number };
            let mut found = Survey::default();
            let add = &mut |group, parts: &[_]| found.add(&scan, group, parts);
            match scan.each_group(self.transaction, self.databases, range, add) {
                Ok(()) => {
                    survey.runs.states.extend(found.runs.states);
                    survey.unsorted.extend(found.unsorted);
                }
                // It may be one that is to be dropped.
                Err(error) if error.kind == StoreErrorKind::Damaged => {
                    survey.runs.damaged.insert(state.clone(), Arc::new(error));
                }
                Err(error) => return Err(error),
            }
        }
        Ok((metadata, catalog, survey))
    }

    pub(super) fn failed(&self, cause: heed::Error) -> StoreError {
        fault::lmdb(self.directory, "read what is stored", cause)
    }
}
