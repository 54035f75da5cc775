//! A job that counts numbers, places for it, and what it must publish in all.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam::{JobHandle, SavepointInfo, prelude::*};

pub const KEYS: u64 = 10;

/// A directory for all that a test writes.
pub struct Places(tempfile::TempDir);

impl Places {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

/// A checkpoint every 5 ms.
pub fn engine() -> EngineBuilder {
    Engine::builder()
        .parallelism(2)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(5)))
        .restart(RestartStrategy::None)
}

/// Numbers from 0 up to what `limit` says, which may be raised; then nothing more, but no end either.
#[derive(Clone, Default)]
pub struct Limit(Arc<AtomicU64>);

impl Limit {
    pub fn of(numbers: u64) -> Self {
        Self(Arc::new(AtomicU64::new(numbers)))
    }

    pub fn raise(&self, numbers: u64) {
        self.0.store(numbers, Ordering::SeqCst);
    }
}

/// Every other number.
pub struct Numbers {
    limit: Limit,
    next: u64,
}

impl Source for Limit {
    type Record = u64;
    type Split = u64;
    type Position = u64;
    type Reader = Numbers;

    fn is_bounded(&self) -> bool {
        false
    }

    fn splits(&self, _: u32) -> Result<Vec<u64>, BoxError> {
        Ok(vec![0, 1])
    }

    fn open(&self, split: &u64, position: Option<&u64>) -> Result<Numbers, BoxError> {
        Ok(Numbers { limit: self.clone(), next: *position.unwrap_or(split) })
    }
}

impl SplitReader for Numbers {
    type Record = u64;
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        if self.next >= self.limit.0.load(Ordering::SeqCst) {
            return Ok(Read::NotBefore(now.after(Duration::from_millis(1))));
        }
        self.next += 2;
        Ok(Read::Record(self.next - 2))
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.next)
    }
}

/// Counts numbers by their last digit, and publishes each count as a line in `output`.
pub fn counting(limit: &Limit, output: &Path) -> Topology {
    counting_as("count", None, limit, output)
}

/// The same, with another name and `uid` of the step that counts.
pub fn counting_as(name: &str, uid: Option<&str>, limit: &Limit, output: &Path) -> Topology {
    let topology = Topology::new("counting");
    let numbers = topology.source("numbers", limit.clone());
    let counts = numbers.key_by(|number| number % KEYS).fold(name, 0u64, |count, _| *count += 1);
    let counts = match uid {
        Some(uid) => counts.uid(uid),
        None => counts,
    };
    counts.sink("rows", FileSink::json_lines(output));
    topology
}

/// What `numbers` numbers lead to, in order.
pub fn expected(numbers: u64) -> Vec<(u64, u64)> {
    let mut rows: Vec<_> = (0..numbers).map(|number| (number % KEYS, number / KEYS + 1)).collect();
    rows.sort_unstable();
    rows
}

/// The rows of the published files up to a checkpoint, in order.
pub fn published_up_to(output: &Path, checkpoint: CheckpointId) -> Vec<(u64, u64)> {
    let mut rows = Vec::new();
    let Ok(entries) = fs::read_dir(output) else { return rows };
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let number = path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse::<u64>().unwrap();
        if number <= checkpoint.0 {
            let text = fs::read_to_string(&path).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<(u64, u64)>(line).unwrap()));
        }
    }
    rows.sort_unstable();
    rows
}

pub fn published(output: &Path) -> Vec<(u64, u64)> {
    published_up_to(output, CheckpointId(u64::MAX))
}

/// Both, in order.
pub fn together(mut rows: Vec<(u64, u64)>, others: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    rows.extend(others);
    rows.sort_unstable();
    rows
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::yield_now();
    }
}

/// Lets a job come as far as `numbers`, read and published, and stops it.
pub fn run_to(job: &JobHandle, output: &Path, numbers: usize) {
    until("all is published", || published(output).len() >= numbers);
    job.stop_blocking().unwrap();
}

/// The error's message, if it is one of this kind.
pub fn refused(builder: EngineBuilder, topology: Topology) -> String {
    let error = builder.start_blocking(topology).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
    error.to_string()
}

/// A job that has counted `numbers` numbers, was stopped with a savepoint in `places`, and had published all to `output`.
pub fn stopped(places: &Places, numbers: u64) -> SavepointInfo {
    let (limit, output) = (Limit::of(numbers), places.at("output"));
    let job = engine().backend(Lmdb::at(places.at("state"))).start_blocking(counting(&limit, &output)).unwrap();
    until("all is read", || job.status().records_read == numbers);
    let info = job.stop_with_savepoint_blocking(places.at("savepoint")).unwrap();
    assert_eq!(published(&output), expected(numbers));
    info
}

/// A savepoint of a job that goes on, with `numbers` counted and their rows prepared and not published: the job is gone.
pub fn taken_while_running(places: &Places, numbers: u64) -> SavepointInfo {
    let (limit, output) = (Limit::of(numbers), places.at("output"));
    let builder = engine().checkpoints(CheckpointConfig::every(Duration::from_secs(3600)));
    let job = builder.backend(Lmdb::at(places.at("state"))).start_blocking(counting(&limit, &output)).unwrap();
    until("all is read", || job.status().records_read == numbers);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    job.stop_blocking().unwrap();
    assert_eq!(info.prepared.iter().map(|held| held.checkpoint).collect::<Vec<_>>(), [info.checkpoint]);
    info
}
