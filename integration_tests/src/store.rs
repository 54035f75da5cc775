//! A store that remembers what it made durable, whatever its caller was told.

use std::sync::Arc;

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{CheckpointStore, CommitStats, RetainedCheckpoint, StateBackend, StateLookup, StateReader, StoreError},
    },
};
use parking_lot::Mutex;

/// Wraps a backend. Clones name the same place.
#[derive(Clone)]
pub(crate) struct RecordingBackend {
    inner: Arc<dyn StateBackend>,
    record: Arc<Mutex<Record>>,
}

#[derive(Default)]
struct Record {
    committed: Vec<(Attempt, CheckpointId)>,
    newest: Option<CheckpointMetadata>,
    /// A commit failed, and whether it is there is not known yet.
    in_doubt: Option<CheckpointMetadata>,
}

impl RecordingBackend {
    pub(crate) fn new(inner: Arc<dyn StateBackend>) -> Self {
        Self { inner, record: Arc::default() }
    }

    /// Every checkpoint that became durable, in order.
    pub(crate) fn committed(&self) -> Vec<(Attempt, CheckpointId)> {
        self.record.lock().committed.clone()
    }

    /// The number of the newest of them.
    pub(crate) fn newest(&self) -> Option<CheckpointId> {
        self.record.lock().committed.last().map(|(_, checkpoint)| *checkpoint)
    }

    /// The record of the newest of them.
    pub(crate) fn metadata(&self) -> Option<CheckpointMetadata> {
        self.record.lock().newest.clone()
    }
}

impl Record {
    fn add(&mut self, metadata: &CheckpointMetadata) {
        self.committed.push((metadata.attempt, metadata.checkpoint));
        self.newest = Some(metadata.clone());
        self.in_doubt = None;
    }

    /// What came after is as if it had never been.
    fn went_back(&mut self, metadata: &CheckpointMetadata) {
        self.settle(Some(metadata));
        self.committed.retain(|(_, checkpoint)| *checkpoint <= metadata.checkpoint);
        (self.newest, self.in_doubt) = (Some(metadata.clone()), None);
    }

    /// What the store says after it was opened again settles the doubt.
    fn settle(&mut self, found: Option<&CheckpointMetadata>) {
        if let Some(in_doubt) = self.in_doubt.take()
            && found.is_some_and(|found| found.checkpoint == in_doubt.checkpoint && found.attempt == in_doubt.attempt)
            && self.committed.last() != Some(&(in_doubt.attempt, in_doubt.checkpoint))
        {
            self.add(&in_doubt);
        }
    }
}

impl StateBackend for RecordingBackend {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(RecordingStore { inner: self.inner.open()?, record: self.record.clone() }))
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn is_durable(&self) -> bool {
        self.inner.is_durable()
    }

    fn heap_limit(&self) -> Option<u64> {
        self.inner.heap_limit()
    }
}

struct RecordingStore {
    inner: Box<dyn CheckpointStore>,
    record: Arc<Mutex<Record>>,
}

impl CheckpointStore for RecordingStore {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        let newest = self.inner.newest()?;
        self.record.lock().settle(newest.as_ref());
        Ok(newest)
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        self.inner.highest()
    }

    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError> {
        self.inner.begin_attempt_after(taken)
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        self.record.lock().in_doubt = Some(commit.metadata.clone());
        let stats = self.inner.commit(commit)?;
        self.record.lock().add(&commit.metadata);
        Ok(stats)
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.inner.reader()
    }

    fn lookup(&mut self) -> Result<Option<Arc<dyn StateLookup>>, StoreError> {
        self.inner.lookup()
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.inner.pin()
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        self.inner.retained()
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        let metadata = self.inner.go_back(checkpoint)?;
        self.record.lock().went_back(&metadata);
        Ok(metadata)
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        *self.record.lock() = Record::default();
        self.inner.delete()
    }
}
