//! What the disk allows, measured while the job runs: now and then an all but empty durable commit in an environment of its own.

use std::{
    path::Path,
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_engine::{
    JobId,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata},
        store::StateBackend as _,
    },
};

/// Between two commits.
const PAUSE: Duration = Duration::from_millis(200);

/// Commits until it is stopped.
pub struct DiskSync {
    running: Sender<()>,
    thread: JoinHandle<Vec<Duration>>,
}

impl DiskSync {
    /// Commits in `directory`, which should be on the disk that the job's state is on.
    pub fn start(directory: &Path) -> Self {
        let mut store = Lmdb::at(directory).open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let (running, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                let commit = empty(attempt, CheckpointId(times.len() as u64));
                let began = Instant::now();
                store.commit(&commit).unwrap();
                times.push(began.elapsed());
            }
            times
        });
        Self { running, thread }
    }

    /// The median; zero if there was no time for a single commit.
    pub fn stop(self) -> Duration {
        drop(self.running);
        let mut times = self.thread.join().unwrap();
        times.sort();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

fn empty(attempt: Attempt, checkpoint: CheckpointId) -> CheckpointCommit {
    CheckpointCommit {
        metadata: CheckpointMetadata {
            job: JobId(1),
            job_name: "disk_sync".to_string(),
            checkpoint,
            attempt,
            max_parallelism: 128,
            finished: false,
            draining: false,
            operators: Vec::new(),
            in_flight: Vec::new(),
            times: Vec::new(),
            origin: None,
        },
        deltas: Vec::new(),
        num_retained: std::num::NonZeroU32::MIN,
        fail_points: Default::default(),
    }
}
