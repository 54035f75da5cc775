//! Jobs whose state is not all on the heap: who shares the limit, and what is said of state that cannot be read.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_engine::{
    Attempt, BoxError, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress},
        store::{
            CheckpointStore, CommitStats, RetainedCheckpoint, StateBackend, StateLookup, StateReader, StoreError,
            StoreErrorKind,
        },
    },
    state::{Ttl, Values},
    topology::plan::{Plan, Settings},
};
use serde::{Deserialize, Serialize};

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::yield_now();
    }
}

/// Of nothing.
struct Nothing;

impl StateReader for Nothing {
    fn read(
        &self,
        _: &StateAddress,
        _: KeyGroupRange,
        _: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

impl StateLookup for Nothing {
    fn get_many(
        &self,
        _: &StateAddress,
        _: &[(KeyGroup, &[u8])],
        _: &mut dyn FnMut(usize, Values, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn the_limit_is_divided_among_the_tables_of_which_something_may_leave_the_heap() {
    let topology = Topology::new("sharing");
    let states = (
        state::value::<u64>("value"),
        state::reducing("reducing", |sum: &mut u64, n| *sum += n),
        state::value::<u64>("expiring").ttl(Ttl::after(Duration::from_secs(1))),
        state::list::<u64>("list"),
        state::map::<u64, u64>("map"),
    );
    topology
        .source("numbers", Generator::bounded(10, |n| n))
        .process_operator("held", state::list::<u64>("held"), |n, _, out| out.emit(n))
        .key_by(|n| *n)
        .process_with("keyed", states, |_, n, _, out| out.emit(n))
        .sink("rows", CollectSink::new().0);
    let settings = Settings {
        parallelism: 3,
        max_parallelism: 8,
        batch_size: 16,
        checkpoints: CheckpointConfig::every(Duration::from_secs(1)),
        restart: RestartStrategy::None,
        is_durable: true,
        heap_limit: Some(6_000),
        fail_points: Default::default(),
    };
    let plan = Plan::new(topology, settings).unwrap();
    let restored = Arc::new(plan.genesis(JobId(1), Attempt(1)).unwrap().metadata);
    let deployed = plan.deploy(Attempt(1), restored, Arc::new(Nothing), Some(Arc::new(Nothing)), "nowhere");
    for one in deployed {
        assert_eq!(one.context.heap_share.unwrap().bytes, 1_000, "two states on three subtasks");
    }
}

/// What a key is kept with.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum Before {
    Count(u64),
    Name(String),
}

/// The same without one of its variants.
#[derive(Clone, Debug, Serialize, Deserialize)]
enum After {
    Count(u64),
}

const KEYS: u64 = 100;

/// Keeps the `n`th of `values` for key `n`, and tells of every record.
fn keeping<V: Clone + Send + Sync + Serialize + serde::de::DeserializeOwned + 'static>(
    value: impl Fn(u64) -> V + Clone + Send + 'static,
    sink: CollectSink<u64>,
) -> Topology {
    let topology = Topology::new("keeping");
    topology
        .source("numbers", Generator::unbounded(|n| n % KEYS).rate(2_000))
        .key_by(|n| *n)
        .process_with("keep", state::value::<V>("kept"), move |key, n, kept, out| {
            kept.get();
            kept.set(value(*key));
            out.emit(n);
        })
        .sink("rows", sink);
    topology
}

fn engine(backend: impl StateBackend) -> EngineBuilder {
    Engine::builder()
        .parallelism(1)
        .max_parallelism(1)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(10)).num_retained(3))
        .restart(RestartStrategy::FixedDelay { attempts: 1_000, delay: Duration::ZERO })
        .backend(backend)
}

/// Leaves a checkpoint in which every key has its value.
fn keep_before(state: &Path, value: impl Fn(u64) -> Before + Clone + Send + 'static) {
    let job = engine(Lmdb::at(state).heap_limit(0)).start_blocking(keeping(value, CollectSink::new().0)).unwrap();
    until("every key", || job.status().records_read >= 2 * KEYS);
    job.stop_blocking().unwrap();
}

#[test]
fn a_type_that_cannot_read_what_is_stored_is_refused_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    keep_before(directory.path(), |_| Before::Name("x".to_string()));
    let topology = keeping(After::Count, CollectSink::new().0);
    let error = engine(Lmdb::at(directory.path()).heap_limit(0)).start_blocking(topology).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let text = error.to_string();
    for part in ["state 'keep/kept' of job 'keeping'", "the value of key 0 ", "Name", "migrate_from"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("damaged"), "{text}");
}

#[test]
fn a_single_value_that_cannot_be_read_is_refused_when_a_record_needs_it() {
    let directory = tempfile::tempdir().unwrap();
    let value = |key| if key == 77 { Before::Name("x".to_string()) } else { Before::Count(key) };
    keep_before(directory.path(), value);
    let topology = keeping(After::Count, CollectSink::new().0);
    let job = engine(Lmdb::at(directory.path()).heap_limit(0)).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err();
    assert_eq!((error.kind(), job.status().restarts), (ErrorKind::Refused, 0), "{error}");
    let text = error.to_string();
    for part in
        ["operator 'keep -> rows'", "state keep/kept", "key group 0: the value of key 77", "Name", "migrate_from"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert!(!text.contains("damaged"), "{text}");
}

/// LMDB, in which the newest checkpoint is found damaged from some moment on.
struct Decaying {
    inner: Lmdb,
    is_damaged: Arc<AtomicBool>,
}

struct DecayingStore {
    inner: Box<dyn CheckpointStore>,
    is_damaged: Arc<AtomicBool>,
}

struct DecayingLookup {
    inner: Arc<dyn StateLookup>,
    is_damaged: Arc<AtomicBool>,
}

fn damage() -> StoreError {
    StoreError::new(StoreErrorKind::Damaged, "a block is missing", None)
}

impl StateBackend for Decaying {
    fn open(&self) -> Result<Box<dyn CheckpointStore>, StoreError> {
        Ok(Box::new(DecayingStore { inner: self.inner.open()?, is_damaged: self.is_damaged.clone() }))
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn heap_limit(&self) -> Option<u64> {
        StateBackend::heap_limit(&self.inner)
    }
}

impl CheckpointStore for DecayingStore {
    fn newest(&mut self) -> Result<Option<CheckpointMetadata>, StoreError> {
        self.inner.newest()
    }

    fn begin_attempt_after(&mut self, taken: Attempt) -> Result<Attempt, StoreError> {
        self.inner.begin_attempt_after(taken)
    }

    fn highest(&mut self) -> Result<Option<CheckpointId>, StoreError> {
        self.inner.highest()
    }

    fn commit(&mut self, commit: &CheckpointCommit) -> Result<CommitStats, StoreError> {
        self.inner.commit(commit)
    }

    fn reader(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.inner.reader()
    }

    fn lookup(&mut self) -> Result<Option<Arc<dyn StateLookup>>, StoreError> {
        let lookup = self.inner.lookup()?;
        let is_damaged = self.is_damaged.clone();
        Ok(lookup.map(|inner| Arc::new(DecayingLookup { inner, is_damaged }) as Arc<dyn StateLookup>))
    }

    fn pin(&mut self) -> Result<Arc<dyn StateReader>, StoreError> {
        self.inner.pin()
    }

    fn retained(&mut self) -> Result<Vec<RetainedCheckpoint>, StoreError> {
        let mut retained = self.inner.retained()?;
        if let Some(newest) = retained.last_mut().filter(|_| self.is_damaged.load(Ordering::SeqCst)) {
            newest.metadata = Err(damage());
        }
        Ok(retained)
    }

    fn go_back(&mut self, checkpoint: CheckpointId) -> Result<CheckpointMetadata, StoreError> {
        self.inner.go_back(checkpoint)
    }

    fn delete(self: Box<Self>) -> Result<(), StoreError> {
        self.inner.delete()
    }
}

impl StateLookup for DecayingLookup {
    fn get_many(
        &self,
        state: &StateAddress,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, Values, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        match self.is_damaged.load(Ordering::SeqCst) {
            true => Err(damage()),
            false => self.inner.get_many(state, keys, visit),
        }
    }
}

#[test]
fn damage_that_a_record_meets_ends_the_job_and_names_the_checkpoints_that_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let is_damaged = Arc::new(AtomicBool::new(false));
    let backend = Decaying { inner: Lmdb::at(directory.path()).heap_limit(0), is_damaged: is_damaged.clone() };
    let job = engine(backend).start_blocking(keeping(After::Count, CollectSink::new().0)).unwrap();
    until("checkpoints", || job.status().checkpoints_completed >= 5);
    is_damaged.store(true, Ordering::SeqCst);
    let error = job.wait_blocking().unwrap_err();
    assert_eq!((error.kind(), job.status().restarts), (ErrorKind::Refused, 0), "{error}");
    let text = error.to_string();
    for part in
        ["operator 'keep -> rows'", "is damaged; older ones that are whole: ", "restore_from", "a block is missing"]
    {
        assert!(text.contains(part), "{part}: {text}");
    }
}
