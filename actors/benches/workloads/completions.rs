//! A backend that notes when each checkpoint became durable.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_engine::checkpoint::{
    snapshot::{CheckpointCommit, CheckpointMetadata},
    store::{CheckpointStore, CommitStats, StateBackend, StateReader, StoreError},
};

/// When each commit returned, checkpoint 0's included, oldest first.
#[derive(Clone, Default)]
pub struct Completions(Arc<Mutex<Vec<Instant>>>);

impl Completions {
    /// From one completion to the next, at most.
    pub fn longest_gap(&self) -> Duration {
        let times = self.0.lock().unwrap();
        times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }
}

/// See the module.
pub struct Watched<B> {
    pub backend: B,
    pub completions: Completions,
}

struct WatchedStore {
    store: Box<dyn CheckpointStore>,
    completions: Completions,
}

impl<B: StateBackend> StateBackend for Watched<B> {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(WatchedStore { store: self.backend.open()?, completions: self.completions.clone() }))
    }

    fn place(&self) -> String {
        self.backend.place()
    }

    fn is_durable(&self) -> bool {
        self.backend.is_durable()
    }
}

impl CheckpointStore for WatchedStore {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        self.store.newest()
    }

    fn begin_attempt(&mut self) -> Result<Attempt, StoreError> {
        self.store.begin_attempt()
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        let stats = self.store.commit(commit)?;
        self.completions.0.lock().unwrap().push(Instant::now());
        Ok(stats)
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.store.reader()
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        self.store.delete()
    }
}
