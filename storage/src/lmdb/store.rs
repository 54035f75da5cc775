//! The store: transactions, each followed by its note.
//!
//! What a failed commit left behind is unknown. The store does not guess: it refuses every later call, and whoever opens the directory
//! again finds out. A commit that is refused before anything is written (fenced, foreign) fails nothing.

use std::sync::Arc;

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata, StateAddress},
        store::{
            CheckpointStore, CommitStats, RetainedCheckpoint, StateLookup, StateReader, StoreError, StoreErrorKind,
        },
    },
    fail_point::{Passage, Point},
};

use super::{
    catalog::Catalog,
    commit::{Incoming, Writer},
    environment::Environment,
    fault,
    fold::{Credit, Limits},
    lookup::Lookup,
    note::NoteFile,
    pins::Pins,
    reader::Reader,
    record::Job,
    retained::Retained,
    sorting::Sorting,
    start::{self, Reading},
};
use crate::plan::{self, Plan, Standing};

/// See the module.
pub(super) struct Store {
    environment: Arc<Environment>,
    note: NoteFile,
    job: Job,
    standing: Standing,
    /// The oldest first.
    retained: Vec<Retained>,
    pins: Pins,
    /// Whether a write has failed.
    poisoned: bool,
    /// `None` if no keys are looked up.
    lookups: Option<Lookups>,
}

/// What look-ups need.
struct Lookups {
    lookup: Arc<Lookup>,
    limits: Limits,
    credit: Credit,
}

impl Store {
    pub(super) fn new(
        environment: Environment,
        note: NoteFile,
        job: Job,
        standing: Standing,
        retained: Vec<Retained>,
    ) -> Self {
        let (environment, pins) = (Arc::new(environment), Pins::default());
        Self { environment, note, job, standing, retained, pins, poisoned: false, lookups: None }
    }

    /// The store that looks keys up, too.
    pub(super) fn with_lookups(mut self, limits: Limits) -> Self {
        let lookup = Arc::new(Lookup::new(self.environment.clone()));
        self.lookups = Some(Lookups { lookup, limits, credit: Credit::default() });
        self
    }

    #[cfg(test)]
    pub(super) fn environment(&self) -> &Environment {
        &self.environment
    }

    #[cfg(test)]
    pub(super) fn standing(&self) -> Standing {
        self.standing
    }

    /// Of any group.
    #[cfg(test)]
    pub(super) fn most_blocks(&self) -> usize {
        let runs = self.lookups.as_ref().and_then(|lookups| lookups.lookup.runs()).unwrap_or_default();
        runs.states.values().flat_map(|state| state.groups.values()).map(Vec::len).max().unwrap_or(0)
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

    /// Looks at what is stored.
    fn reading<R>(&self, look: impl FnOnce(&Reading<'_, '_>) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let directory = &self.environment.directory;
        self.environment.read(|transaction, databases| look(&Reading { directory, transaction, databases }))
    }

    /// Makes the newest checkpoint one that keys can be looked up in, if that is wanted: all of it is read once, and what is not sorted yet is.
    fn prepare(&mut self) -> Result<(), StoreError> {
        let Some(Lookups { lookup, limits, .. }) = &self.lookups else { return Ok(()) };
        if lookup.runs().is_some() {
            return Ok(());
        }
        let (lookup, limits) = (lookup.clone(), *limits);
        let Some((owner, newest)) = self.standing.newest else {
            lookup.set(Some(Arc::default()));
            return Ok(());
        };
        loop {
            let (metadata, catalog, survey) = self.reading(|reading| reading.survey(owner, newest))?;
            if survey.unsorted.is_empty() {
                lookup.set(Some(Arc::new(survey.runs)));
                return Ok(());
            }
            self.sort_in_place(&metadata, catalog, &survey.unsorted, limits)?;
        }
    }

    /// What a commit of `plan` does.
    fn incoming<'a>(&self, plan: Plan<'a>) -> Incoming<'a> {
        let Some(Lookups { lookup, limits, credit }) = &self.lookups else { return Incoming::Frozen(plan) };
        let runs = lookup.runs().unwrap_or_default();
        Incoming::Sorted(Sorting::of(plan, runs, *limits, *credit))
    }

    /// Sorts groups of the newest checkpoint, in as many transactions as it takes.
    fn sort_in_place(
        &mut self,
        metadata: &CheckpointMetadata,
        catalog: Catalog,
        mut unsorted: &[(StateAddress, KeyGroup)],
        limits: Limits,
    ) -> Result<(), StoreError> {
        let mut catalog = Arc::new(catalog);
        log::info!("{}: sorting {} key groups of state, to look keys up in them", self.place(), unsorted.len());
        while !unsorted.is_empty() {
            let done = self.writing(|store| {
                let (environment, job, retained) = (&store.environment, &store.job, &store.retained);
                let (committed, done) = environment.write(|transaction, databases| {
                    let mut writer = Writer { directory: &environment.directory, transaction, databases };
                    writer.sort_in_place(job, retained, (metadata, &catalog), unsorted, limits)
                })?;
                store.retained = committed.retained;
                store.committed(committed.job, Passage::On)?;
                Ok(done)
            })?;
            unsorted = &unsorted[done..];
            let newest = self.newest_catalog()?;
            catalog = newest.map(|(_, catalog)| catalog).unwrap_or_default();
        }
        Ok(())
    }

    /// The newest checkpoint and what it must have; an error if that is damaged.
    fn newest_catalog(&self) -> Result<Option<(CheckpointId, Arc<Catalog>)>, StoreError> {
        let (Some((owner, _)), Some(newest)) = (self.standing.newest, self.retained.last()) else { return Ok(None) };
        let catalog = match &newest.catalog {
            Some(catalog) => catalog.clone(),
            None => Arc::new(self.reading(|reading| reading.catalog(owner, newest.number))?.1),
        };
        Ok(Some((newest.number, catalog)))
    }

    /// Whose the directory is, if `checkpoint` is kept.
    fn owner_of(&self, checkpoint: CheckpointId) -> Result<JobId, StoreError> {
        let numbers = || self.retained.iter().map(|kept| kept.number);
        let owner = self.standing.newest.filter(|_| numbers().any(|number| number == checkpoint));
        owner.map(|(owner, _)| owner).ok_or_else(|| plan::not_retained(&self.place(), checkpoint, numbers()))
    }

    /// Runs `write`, which leaves the store unusable if it fails, unless it is sure that nothing has changed.
    fn writing<R>(&mut self, write: impl FnOnce(&mut Self) -> Result<R, StoreError>) -> Result<R, StoreError> {
        self.check_poison()?;
        self.poisoned = true;
        let result = write(self);
        self.poisoned = result.as_ref().is_err_and(|error| error.kind != StoreErrorKind::NotStored);
        result
    }

    /// What a commit is that failed with `error`: if LMDB can begin another transaction and what it sees is as before, nothing has changed. (It refuses to once it failed to write a
    /// meta page; until that is written, all that was written is pages that nobody refers to.)
    fn not_stored(&self, error: StoreError) -> StoreError {
        let (environment, job) = (&self.environment, &self.job);
        let is_of_disk = error.cause.as_ref().is_some_and(|cause| cause.is::<std::io::Error>());
        let is_untouched = is_of_disk
            && error.kind == StoreErrorKind::Io
            && environment.is_fit_to_write(|transaction, databases| {
                Writer { directory: &environment.directory, transaction, databases }.check_job(job)
            });
        StoreError { kind: if is_untouched { StoreErrorKind::NotStored } else { error.kind }, ..error }
    }

    /// Deletes a checkpoint that is kept beside the newest.
    pub(super) fn forget(&mut self, checkpoint: CheckpointId) -> Result<(), StoreError> {
        self.check_poison()?;
        self.owner_of(checkpoint)?;
        if self.retained.last().is_some_and(|newest| newest.number == checkpoint) {
            return Err(plan::is_newest(&self.place(), checkpoint));
        }
        self.writing(|store| {
            let (environment, job, retained) = (&store.environment, &store.job, &store.retained);
            let (job, kept) = environment.write(|transaction, databases| {
                Writer { directory: &environment.directory, transaction, databases }.forget(job, checkpoint, retained)
            })?;
            store.retained = kept;
            store.committed(job, Passage::On)
        })
    }

    /// Takes over what was committed, and notes it.
    fn committed(&mut self, job: Job, passage: Passage) -> Result<(), StoreError> {
        let directory = &self.environment.directory;
        let standing = job.standing().ok_or_else(|| fault::ruined(directory, "the job's id is unreadable"))?;
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
        self.prepare()?;
        let Some((owner, newest)) = self.standing.newest else { return Ok(None) };
        let (metadata, _) = self.reading(|reading| reading.catalog(owner, newest))?;
        Ok(Some(metadata))
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        self.check_poison()?;
        Ok(self.standing.highest)
    }

    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError> {
        self.writing(|store| {
            let (environment, job) = (&store.environment, &store.job);
            let job = environment.write(|transaction, databases| {
                Writer { directory: &environment.directory, transaction, databases }.begin_attempt(job, taken)
            })?;
            store.committed(job, Passage::On)
        })?;
        Ok(self.standing.attempt)
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        self.check_poison()?;
        plan::check(&self.place(), self.standing, commit)?;
        self.prepare()?;
        let checkpoint = commit.metadata.checkpoint;
        let plan = plan::plan(self.standing.newest.map(|(_, checkpoint)| checkpoint), commit)?;
        let incoming = self.incoming(plan);
        let newest = self.newest_catalog()?.map(|(_, catalog)| catalog).unwrap_or_default();
        let outdated = plan::outdated(self.retained.len(), commit.num_retained);
        let pinned = self.pins.pinned();
        let is_dropped = |(nth, kept): &(usize, &Retained)| *nth < outdated && !pinned.contains(&kept.number);
        let (dropped, kept): (Vec<_>, Vec<_>) = self.retained.iter().enumerate().partition(is_dropped);
        let [dropped, kept] =
            [dropped, kept].map(|some| some.into_iter().map(|(_, one)| one.clone()).collect::<Vec<_>>());
        self.writing(|store| {
            let lookup = store.lookups.as_ref().map(|lookups| lookups.lookup.clone());
            let exchanging = lookup.as_ref().map(|lookup| lookup.exchanging());
            let (environment, job) = (&store.environment, &store.job);
            let written = environment.write(|transaction, databases| {
                let mut writer = Writer { directory: &environment.directory, transaction, databases };
                let committed = writer.commit(job, &dropped, &kept, &newest, commit, &incoming)?;
                commit.fail_points.reach(Point::CommitWritten, None, checkpoint).map_err(StoreError::from)?;
                Ok(committed)
            });
            let (committed, found) = written.map_err(|error| store.not_stored(error))?;
            if let (Some(lookups), Some((runs, credit))) = (&mut store.lookups, found) {
                lookups.lookup.set(Some(Arc::new(runs)));
                lookups.credit = credit;
            }
            drop(exchanging);
            let passage = commit.fail_points.reach(Point::CommitNoting, None, checkpoint)?;
            store.retained = committed.retained;
            store.committed(committed.job, passage)?;
            Ok(CommitStats { bytes: committed.bytes })
        })
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.check_poison()?;
        self.prepare()?;
        Ok(Arc::new(Reader { environment: self.environment.clone(), newest: self.newest_catalog()?, pin: None }))
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.check_poison()?;
        // What is sorted in place has other blocks.
        self.prepare()?;
        let newest = self.newest_catalog()?;
        let pin = newest.as_ref().map(|(checkpoint, _)| self.pins.add(*checkpoint));
        Ok(Arc::new(Reader { environment: self.environment.clone(), newest, pin }))
    }

    fn lookup(&mut self) -> Result<Option<Arc<dyn StateLookup>>, StoreError> {
        self.check_poison()?;
        self.prepare()?;
        Ok(self.lookups.as_ref().map(|lookups| lookups.lookup.clone() as Arc<dyn StateLookup>))
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        self.check_poison()?;
        let Some((owner, _)) = self.standing.newest else { return Ok(Vec::new()) };
        let look = |kept: &Retained| match self.reading(|reading| reading.verify(owner, kept.number)) {
            Err(error) if error.kind != StoreErrorKind::Damaged => Err(error),
            metadata => Ok(RetainedCheckpoint { checkpoint: kept.number, metadata }),
        };
        self.retained.iter().map(look).collect()
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        self.check_poison()?;
        let owner = self.owner_of(checkpoint)?;
        let metadata = self.reading(|reading| reading.verify(owner, checkpoint))?;
        if self.standing.newest == Some((owner, checkpoint)) {
            return Ok(metadata);
        }
        self.writing(|store| {
            let (environment, job) = (&store.environment, &store.job);
            let job = environment.write(|transaction, databases| {
                Writer { directory: &environment.directory, transaction, databases }.go_back(job, checkpoint)
            })?;
            store.retained.retain(|kept| kept.number <= checkpoint);
            if let Some(lookups) = &store.lookups {
                lookups.lookup.set(None);
            }
            store.committed(job, Passage::On)
        })?;
        self.prepare()?;
        Ok(metadata)
    }

    /// The mark comes first and the lock goes last, so that a crash in between leaves what the next start removes.
    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        let directory = &self.environment.directory;
        let Some(lock) = self.environment.close() else { return self.check_poison() };
        start::remove(directory, lock)
    }
}
