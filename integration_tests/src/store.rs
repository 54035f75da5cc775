//! A store that fails when it is told to, and remembers what it made durable.

use std::{collections::BTreeSet, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, StateBackend, StateReader, StoreError, StoreErrorKind},
    },
};
use parking_lot::Mutex;

/// A call that is to fail, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreFault {
    /// The next commit fails and has no effect.
    Commit,
    /// The next commit fails and has its effect.
    CommitLate,
    /// The next look at the newest checkpoint fails.
    Newest,
    /// The next attempt is not begun.
    BeginAttempt,
    /// The next attempt is begun and the call fails.
    BeginAttemptLate,
    /// The next reader is refused.
    Reader,
}

/// Wraps a backend. Clones name the same place.
#[derive(Clone)]
pub struct FaultyBackend {
    inner: Arc<dyn StateBackend>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    armed: BTreeSet<StoreFault>,
    committed: Vec<(Attempt, CheckpointId)>,
    newest: Option<CheckpointMetadata>,
}

impl FaultyBackend {
    /// Fails no call until it is told to.
    pub fn new(inner: impl StateBackend) -> Self {
        Self { inner: Arc::new(inner), shared: Arc::default() }
    }

    /// Makes the next call of a kind fail.
    pub fn fail_next(&self, fault: StoreFault) {
        self.shared.lock().armed.insert(fault);
    }

    /// Every checkpoint that became durable, in order, whatever its caller was told.
    pub fn committed(&self) -> Vec<(Attempt, CheckpointId)> {
        self.shared.lock().committed.clone()
    }

    /// The number of the newest of them.
    pub fn newest(&self) -> Option<CheckpointId> {
        self.shared.lock().committed.last().map(|(_, checkpoint)| *checkpoint)
    }

    /// The record of the newest of them.
    pub fn metadata(&self) -> Option<CheckpointMetadata> {
        self.shared.lock().newest.clone()
    }
}

impl Shared {
    fn check(&mut self, fault: StoreFault) -> Result<(), StoreError> {
        if self.armed.remove(&fault) {
            return Err(StoreError::new(StoreErrorKind::Io, format!("injected: {fault:?}"), None));
        }
        Ok(())
    }
}

impl StateBackend for FaultyBackend {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(FaultyStore { inner: self.inner.open()?, shared: self.shared.clone() }))
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }
}

struct FaultyStore {
    inner: Box<dyn CheckpointStore>,
    shared: Arc<Mutex<Shared>>,
}

impl CheckpointStore for FaultyStore {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        self.shared.lock().check(StoreFault::Newest)?;
        self.inner.newest()
    }

    fn begin_attempt(&mut self) -> Result<Attempt, StoreError> {
        self.shared.lock().check(StoreFault::BeginAttempt)?;
        let attempt = self.inner.begin_attempt()?;
        self.shared.lock().check(StoreFault::BeginAttemptLate)?;
        Ok(attempt)
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        let mut shared = self.shared.lock();
        shared.check(StoreFault::Commit)?;
        let stats = self.inner.commit(commit)?;
        shared.committed.push((commit.metadata.attempt, commit.metadata.checkpoint));
        shared.newest = Some(commit.metadata.clone());
        shared.check(StoreFault::CommitLate)?;
        Ok(stats)
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.shared.lock().check(StoreFault::Reader)?;
        self.inner.reader()
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        *self.shared.lock() = Shared::default();
        self.inner.delete()
    }
}
