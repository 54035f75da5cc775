//! The store: transactions, each followed by its note.
//!
//! What a failed commit left behind is unknown. The store does not guess: it refuses every later call, and whoever opens the directory
//! again finds out. A commit that is refused before anything is written (fenced, foreign) fails nothing.

use std::{fs, sync::Arc};

use cofferdam_engine::{
    Attempt,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, StateReader, StoreError, StoreErrorKind},
    },
    fail_point::{Passage, Point},
};

use super::{
    catalog::Catalog,
    commit::Writer,
    directory,
    environment::Environment,
    fault,
    note::NoteFile,
    reader::Reader,
    record::Job,
    start::{self, Reading},
};
use crate::plan::{self, Standing};

/// See the module.
pub(super) struct Store {
    environment: Arc<Environment>,
    note: NoteFile,
    job: Job,
    standing: Standing,
    catalog: Arc<Catalog>,
    /// Whether a write has failed.
    poisoned: bool,
}

impl Store {
    pub(super) fn new(
        environment: Environment,
        note: NoteFile,
        job: Job,
        standing: Standing,
        catalog: Catalog,
    ) -> Self {
        Self { environment: Arc::new(environment), note, job, standing, catalog: Arc::new(catalog), poisoned: false }
    }

    #[cfg(test)]
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    #[cfg(test)]
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    fn place(&self) -> String {
        self.environment.directory.display().to_string()
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        if !self.poisoned {
            return Ok(());
        }
        let message = format!(
            "the store of {} failed before, and what it holds is unknown; drop it and open it again",
            self.place()
        );
        Err(StoreError::new(StoreErrorKind::Io, message, None))
    }

    /// Runs `write`, which leaves the store unusable if it fails.
    fn writing<R>(&mut self, write: impl FnOnce(&mut Self) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.check_poison()?;
        self.poisoned = true;
        let result = write(self)?;
        self.poisoned = false;
        Ok(result)
    }

    /// Takes over what was committed, and notes it.
    fn committed(&mut self, job: Job, passage: Passage) -> Result<(), StoreError> {
        let directory = &self.environment.directory;
        let standing = job.standing().ok_or_else(|| fault::damaged(directory, "the job's id is unreadable"))?;
        let note = self.environment.inspect(|data| start::take_note(data, self.note.note().page_size, standing))?;
        self.note.write(note, passage).map_err(|cause| fault::io(directory, "write NOTE", cause))?;
        (self.job, self.standing) = (job, standing);
        Ok(())
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Readers may outlive the store; the directory must be free all the same.
        self.environment.close();
    }
}

impl CheckpointStore for Store {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        self.check_poison()?;
        let directory = &self.environment.directory;
        let record = self
            .environment
            .read(|transaction, databases| Reading { directory, transaction, databases }.record(self.standing))?;
        Ok(record.map(|record| record.metadata))
    }

    fn begin_attempt(&mut self) -> Result<Attempt, StoreError> {
        self.writing(|store| {
            let (environment, job) = (&store.environment, &store.job);
            let job = environment.write(|transaction, databases| {
                Writer { directory: &environment.directory, transaction, databases }.begin_attempt(job)
            })?;
            store.committed(job, Passage::On)
        })?;
        Ok(self.standing.attempt)
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        self.check_poison()?;
        plan::check(&self.place(), self.standing, commit)?;
        let checkpoint = commit.metadata.checkpoint;
        let plan = plan::plan(self.standing.newest.map(|(_, checkpoint)| checkpoint), commit)?;
        self.writing(|store| {
            let (environment, job, catalog) = (&store.environment, &store.job, &store.catalog);
            let committed = environment.write(|transaction, databases| {
                let mut writer = Writer { directory: &environment.directory, transaction, databases };
                let committed = writer.commit(job, catalog, &commit.metadata, &plan)?;
                commit.fail_points.reach(Point::CommitWritten, None, checkpoint).map_err(StoreError::from)?;
                Ok(committed)
            })?;
            let passage = commit.fail_points.reach(Point::CommitNoting, None, checkpoint)?;
            store.catalog = Arc::new(committed.catalog);
            store.committed(committed.job, passage)?;
            Ok(CommitStats { bytes: committed.bytes })
        })
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.check_poison()?;
        let checkpoint = self.standing.newest.map(|(_, checkpoint)| checkpoint);
        Ok(Arc::new(Reader { environment: self.environment.clone(), catalog: self.catalog.clone(), checkpoint }))
    }

    /// The mark comes first and the lock goes last, so that a crash in between leaves what the next start removes.
    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        let directory = &self.environment.directory;
        let Some(lock) = self.environment.close() else { return self.check_poison() };
        fs::rename(directory.join(directory::NOTE), directory.join(directory::NOTE_DELETED))
            .map_err(|cause| fault::io(directory, "mark NOTE as deleted", cause))?;
        directory::sync(directory)?;
        start::finish_deletion(directory)?;
        lock.remove().map_err(|cause| fault::io(directory, "remove LOCK", cause))?;
        // Not ours to remove if others have put files there.
        let _ = fs::remove_dir(directory);
        Ok(())
    }
}
