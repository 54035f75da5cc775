//! The store: data objects, each followed by a root that names it.
//!
//! What a failed write left behind is unknown, if it was a root. The store does not guess: it refuses every later call, and whoever opens the place again finds out. A commit
//! that is refused before anything is written (fenced, foreign) fails nothing, nor does one that fails before its root can be there.

use std::{collections::BTreeSet, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId, KeyGroupRange,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, RetainedCheckpoint, StateReader, StoreError, StoreErrorKind},
    },
    fail_point::Point,
    mutation::{self, Mutation},
};
use parking_lot::Mutex;

use super::{
    commit::{self, Written},
    entry::{Content, Job, Kept, Root},
    fault, local,
    log::Log,
    manifest::{self, Catalog},
    name::{self, DataId},
    pins::Pins,
    place::Place,
    reader::{self, PinnedReader, Reader, Showing, Shown},
    start::{self, Ownership},
};
use crate::plan::{self, Standing};

/// A checkpoint that is kept, as the open store knows it.
#[derive(Clone, Debug)]
pub(super) struct Retained {
    pub(super) kept: Kept,
    /// `None` if its manifest is damaged.
    pub(super) catalog: Option<Arc<Catalog>>,
}

/// What a claim made ours.
pub(super) struct Owned {
    pub(super) log: Log,
    pub(super) root: Root,
    /// Where the root is; `None` before there is any.
    pub(super) root_at: Option<u64>,
    pub(super) standing: Standing,
    /// The oldest first.
    pub(super) retained: Vec<Retained>,
    /// Names of what is needed no more and may still be there.
    pub(super) garbage: Vec<String>,
}

/// See the module.
pub(super) struct Store {
    place: Arc<Place>,
    owned: Owned,
    shown: Shown,
    pins: Pins,
    /// Whether a write has failed.
    poisoned: bool,
    /// Given up last.
    ownership: Option<Ownership>,
}

impl Drop for Store {
    fn drop(&mut self) {
        *self.shown.lock() = None;
    }
}

impl Store {
    pub(super) fn new(place: Arc<Place>, ownership: Ownership, owned: Owned) -> Self {
        let showing = Showing(owned.standing.newest.map(|(_, checkpoint)| checkpoint));
        let shown = Arc::new(Mutex::new(Some(showing)));
        Self { place, owned, shown, pins: Pins::default(), poisoned: false, ownership: Some(ownership) }
    }

    fn check_poison(&self) -> Result<(), StoreError> {
        if !self.poisoned {
            return Ok(());
        }
        let message = format!(
            "the store of {} failed before, and what it holds is unknown; drop it and open it again",
            self.place.name
        );
        Err(StoreError::new(StoreErrorKind::Io, message, None))
    }

    /// Runs `write`; after an error the store is done with, unless it is sure that nothing has changed.
    fn writing<R>(&mut self, write: impl FnOnce(&mut Self) -> Result<R, StoreError>) -> Result<R, StoreError> {
        let result = write(self);
        self.poisoned = result.as_ref().is_err_and(|error| error.kind != StoreErrorKind::NotStored);
        result
    }

    /// Puts the next root. From then on it is what the place holds; what it does not need goes.
    fn put_root(&mut self, root: Root, retained: Vec<Retained>) -> Result<(), StoreError> {
        let standing =
            root.standing().ok_or_else(|| fault::ruined(&self.place.name, "the job's id is unreadable", None))?;
        let link = self.owned.log.append(&self.place, Content::Root(root.clone()))?;
        let before = std::mem::replace(&mut self.owned.root, root);
        let replaced = self.owned.root_at.replace(link.sequence);
        (self.owned.standing, self.owned.retained) = (standing, retained);
        *self.shown.lock() = Some(Showing(standing.newest.map(|(_, checkpoint)| checkpoint)));
        self.discard(&before, replaced);
        Ok(())
    }

    /// Deletes what only the root before needed, and what could not be deleted then. Failing to costs space, and is tried again.
    fn discard(&mut self, before: &Root, replaced: Option<u64>) {
        let (pinned, released) = self.pins.look();
        let needed = self.owned.root.objects().chain(pinned);
        let needed: BTreeSet<DataId> = needed.skip(usize::from(mutation::is(Mutation::NeededObjectDeleted))).collect();
        let dropped = before.objects().chain(released).filter(|object| !needed.contains(object));
        let dropped: BTreeSet<DataId> = dropped.collect();
        let mut garbage = std::mem::take(&mut self.owned.garbage);
        garbage.extend(replaced.map(name::log));
        garbage.extend(dropped.iter().map(DataId::to_string));
        self.owned.garbage = self.place.delete(garbage);
    }

    /// The newest checkpoint and what it must have; an error if that is damaged.
    fn newest_catalog(&self) -> Result<Option<(CheckpointId, Arc<Catalog>)>, StoreError> {
        let Some(newest) = self.owned.retained.last() else { return Ok(None) };
        let catalog = match &newest.catalog {
            Some(catalog) => catalog.clone(),
            None => Arc::new(manifest::read(&self.place, &newest.kept)?.1),
        };
        Ok(Some((newest.kept.checkpoint, catalog)))
    }

    /// A checkpoint's metadata, after all of its state was read and found whole.
    fn verify(&self, kept: &Kept) -> Result<CheckpointMetadata, StoreError> {
        let (metadata, catalog) = manifest::read(&self.place, kept)?;
        let range = KeyGroupRange { start: 0, end: metadata.max_parallelism };
        for (state, groups) in &catalog.states {
            reader::scan(&*self.place, state, groups, range, &mut |_, _, _, _| Ok(()))?;
        }
        Ok(metadata)
    }

    /// The root that a commit makes of the present one.
    fn root_with(&self, commit: &CheckpointCommit, retained: &[Retained]) -> Root {
        let metadata = &commit.metadata;
        Root {
            claim: self.owned.log.claim,
            attempt: self.owned.root.attempt,
            job: Some(Job { id: metadata.job.to_string(), name: metadata.job_name.clone() }),
            highest: Some(metadata.checkpoint),
            retained: retained.iter().map(|retained| retained.kept.clone()).collect(),
        }
    }

    /// Deletes a checkpoint that is kept beside the newest.
    pub(super) fn forget(&mut self, checkpoint: CheckpointId) -> Result<(), StoreError> {
        self.check_poison()?;
        let (mut kept, mut root) = (self.owned.retained.clone(), self.owned.root.clone());
        kept.retain(|retained| retained.kept.checkpoint != checkpoint);
        root.retained.retain(|kept| kept.checkpoint != checkpoint);
        if kept.len() == self.owned.retained.len() {
            let numbers = kept.iter().map(|retained| retained.kept.checkpoint);
            return Err(plan::not_retained(&self.place.name, checkpoint, numbers));
        }
        if self.owned.standing.newest.is_some_and(|(_, newest)| newest == checkpoint) {
            return Err(plan::is_newest(&self.place.name, checkpoint));
        }
        root.claim = self.owned.log.claim;
        self.writing(|store| store.put_root(root, kept))
    }

    /// Puts the root that makes what was written a checkpoint.
    fn complete(&mut self, commit: &CheckpointCommit, written: Written) -> Result<CommitStats, StoreError> {
        commit.fail_points.reach(Point::CommitWritten, None, commit.metadata.checkpoint)?;
        let Written { kept, catalog, bytes } = written;
        let outdated = plan::outdated(self.owned.retained.len(), commit.num_retained);
        let mut retained = self.owned.retained[outdated..].to_vec();
        retained.push(Retained { kept, catalog: Some(Arc::new(catalog)) });
        if !mutation::is(Mutation::CommitWithoutMark) {
            self.put_root(self.root_with(commit, &retained), retained)?;
        }
        Ok(CommitStats { bytes })
    }
}

impl CheckpointStore for Store {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        self.check_poison()?;
        let newest = self.owned.retained.last();
        newest.map(|newest| Ok(manifest::read(&self.place, &newest.kept)?.0)).transpose()
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        self.check_poison()?;
        Ok(self.owned.standing.highest)
    }

    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError> {
        self.check_poison()?;
        self.writing(|store| {
            let attempt = store.owned.root.attempt.max(taken).next();
            let root = Root { claim: store.owned.log.claim, attempt, ..store.owned.root.clone() };
            store.put_root(root, store.owned.retained.clone())?;
            Ok(attempt)
        })
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        self.check_poison()?;
        plan::check(&self.place.name, self.owned.standing, commit)?;
        let plan = plan::plan(self.owned.standing.newest.map(|(_, checkpoint)| checkpoint), commit)?;
        let newest = self.newest_catalog()?.map(|(_, catalog)| catalog).unwrap_or_default();
        let object = DataId(self.owned.log.generation, commit.metadata.checkpoint.0);
        self.writing(|store| {
            // No root names the object before it is complete.
            let written = commit::write(&store.place, object, &newest, &commit.metadata, &plan);
            let written = written.map_err(fault::not_stored);
            let completed = written.and_then(|written| store.complete(commit, written));
            if let Err(StoreErrorKind::Fenced | StoreErrorKind::NotStored) =
                completed.as_ref().map_err(|error| error.kind)
            {
                let left = store.place.delete(vec![object.to_string()]);
                store.owned.garbage.extend(left);
            }
            completed
        })
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.check_poison()?;
        Ok(Arc::new(Reader { place: self.place.clone(), shown: self.shown.clone(), newest: self.newest_catalog()? }))
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.check_poison()?;
        let catalog = self.newest_catalog()?.map(|(_, catalog)| catalog).unwrap_or_default();
        Ok(Arc::new(PinnedReader { place: self.place.clone(), pin: self.pins.add(&catalog), catalog }))
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        self.check_poison()?;
        let look = |retained: &Retained| match self.verify(&retained.kept) {
            Err(error) if error.kind != StoreErrorKind::Damaged => Err(error),
            metadata => Ok(RetainedCheckpoint { checkpoint: retained.kept.checkpoint, metadata }),
        };
        self.owned.retained.iter().map(look).collect()
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        self.check_poison()?;
        let numbers = || self.owned.retained.iter().map(|retained| retained.kept.checkpoint);
        let at = numbers().position(|number| number == checkpoint);
        let at = at.ok_or_else(|| plan::not_retained(&self.place.name, checkpoint, numbers()))?;
        let metadata = self.verify(&self.owned.retained[at].kept)?;
        if at + 1 < self.owned.retained.len() {
            self.writing(|store| {
                let retained = store.owned.retained[..=at].to_vec();
                let kept = retained.iter().map(|retained| retained.kept.clone()).collect();
                let root = Root { claim: store.owned.log.claim, retained: kept, ..store.owned.root.clone() };
                store.put_root(root, retained)
            })?;
        }
        Ok(metadata)
    }

    /// A root that holds nothing comes first, so that what a crash in between leaves is what the next start removes.
    fn delete(mut self: Box<Self>) -> Result<(), StoreError> {
        self.check_poison()?;
        let empty = Root { claim: self.owned.log.claim, ..Root::default() };
        self.put_root(empty, Vec::new())?;
        start::delete_all(&self.place, self.owned.root_at.unwrap_or_default())?;
        let ownership = self.ownership.take();
        if let Some((directory, lock)) = ownership.and_then(|ownership| ownership.local) {
            local::remove_folders(&directory);
            lock.remove().map_err(|cause| fault::io(&directory, "remove LOCK", cause))?;
            // Not ours to remove if others have put files there.
            let _ = std::fs::remove_dir(&directory);
        }
        Ok(())
    }
}
