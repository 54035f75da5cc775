//! The slot that a job keeps its store in.

#![allow(clippy::unwrap_used)]

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use cofferdam_engine::{
    Attempt, CheckpointId, ErrorKind, JobId,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::{
            CheckpointStore, CommitStats, RetainedCheckpoint, StateBackend, StateReader, StoreError, StoreErrorKind,
        },
    },
    opening::StoreSlot,
};

/// Counts how often it is opened; each commit fails in its own way.
#[derive(Clone)]
struct Failing {
    opened: Arc<AtomicU32>,
    how: How,
}

#[derive(Clone, Copy)]
enum How {
    Error(StoreErrorKind),
    Panic,
}

impl StateBackend for Failing {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(self.clone()))
    }

    fn place(&self) -> String {
        "here".to_string()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

impl CheckpointStore for Failing {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        Ok(None)
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        Ok(None)
    }

    fn begin_attempt_after(&mut self, _: Attempt) -> Result<Attempt, StoreError> {
        Ok(Attempt(1))
    }

    fn commit(&mut self, _: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        match self.how {
            How::Error(kind) => Err(StoreError::new(kind, "no", None)),
            How::Panic => std::panic::resume_unwind(Box::new("no")),
        }
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        Err(StoreError::new(StoreErrorKind::Io, "no", None))
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.reader()
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        Ok(Vec::new())
    }

    fn go_back(&mut self, _: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        Err(StoreError::new(StoreErrorKind::NotRetained, "no", None))
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

fn commit() -> CheckpointCommit {
    CheckpointCommit {
        metadata: CheckpointMetadata {
            job: JobId(1),
            job_name: "job".to_string(),
            checkpoint: CheckpointId(3),
            attempt: Attempt(1),
            max_parallelism: 8,
            finished: false,
            draining: false,
            operators: Vec::new(),
            in_flight: Vec::new(),
            times: Vec::new(),
            origin: None,
        },
        deltas: Vec::new(),
        num_retained: NonZeroU32::MIN,
        fail_points: Default::default(),
    }
}

#[test]
fn a_store_that_failed_a_commit_is_opened_again_and_the_error_says_whether_that_can_help() {
    let expected = [
        (How::Error(StoreErrorKind::Io), ErrorKind::Store),
        (How::Error(StoreErrorKind::Fenced), ErrorKind::Store),
        (How::Error(StoreErrorKind::Damaged), ErrorKind::Refused),
        (How::Error(StoreErrorKind::Foreign), ErrorKind::Refused),
        (How::Panic, ErrorKind::Panic),
    ];
    for (how, kind) in expected {
        let backend = Failing { opened: Arc::default(), how };
        let slot = StoreSlot::new(Arc::new(backend.clone()));
        for opened in 1..=2 {
            let error = slot.commit(&commit()).unwrap_err();
            assert_eq!(error.kind(), kind, "{error}");
            assert!(error.to_string().contains("checkpoint 3 could not be stored in here: "), "{error}");
            assert_eq!(backend.opened.load(Ordering::Relaxed), opened, "{error}");
        }
    }
}
