//! Whole jobs, on real threads.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

fn quick_restarts() -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts: 10, delay: Duration::from_millis(1) }
}

#[test]
fn stateful_steps_give_the_same_result_at_parallelism_1_2_and_4() {
    let number = |i: u64| i.wrapping_mul(i) % 997;
    let mut expected = Vec::new();
    let mut seen: HashMap<u64, (u64, u64)> = HashMap::new();
    for n in (0..30_000).map(number) {
        let (count, sum) = seen.entry(n % 50).or_default();
        (*count, *sum) = (*count + 1, *sum + n);
        expected.push((n % 50, *count, *count));
    }
    expected.sort_unstable();
    let sums: BTreeMap<_, _> = seen.iter().map(|(key, (_, sum))| (*key, *sum)).collect();
    for parallelism in [1, 2, 4] {
        let directory = tempfile::tempdir().unwrap();
        let topology = Topology::new("stateful");
        let (rows_sink, rows) = CollectSink::new();
        let (sums_sink, sum_rows) = CollectSink::new();
        let numbers = topology.source("numbers", Generator::bounded(30_000, number)).share();
        numbers
            .stream()
            .key_by(|n| n % 50)
            .fold("fold", 0u64, |count, _| *count += 1)
            .key_by(|(key, _)| *key)
            .process(
                "process",
                |key: &u64, (_, count): (u64, u64), seen: &mut ValueState<u64>, out: &mut Collector<_>| {
                    let calls = seen.update(
                        || 0,
                        |calls| {
                            *calls += 1;
                            *calls
                        },
                    );
                    out.emit((*key, calls, count));
                },
            )
            .sink("rows", rows_sink);
        numbers
            .stream()
            .map(|n| (n % 50, n))
            .key_by(|(key, _)| *key)
            .reduce("reduce", |sum, n| sum.1 += n.1)
            .sink("sums", sums_sink);
        let job = Engine::builder()
            .parallelism(parallelism)
            .checkpoints(CheckpointConfig::every(Duration::from_millis(5)))
            .backend(Lmdb::at(directory.path()))
            .start_blocking(topology)
            .unwrap();
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
        let mut rows = rows.snapshot();
        rows.sort_unstable();
        assert_eq!(rows, expected, "parallelism {parallelism}");
        // Each key's last sum is its greatest.
        let mut last = BTreeMap::new();
        for (key, (_, sum)) in sum_rows.snapshot() {
            let greatest = last.entry(key).or_insert(0);
            *greatest = sum.max(*greatest);
        }
        assert_eq!(last, sums, "parallelism {parallelism}");
    }
}

#[test]
fn a_failing_operator_restarts_the_job_from_its_last_checkpoint_and_loses_nothing() {
    let tripped = Arc::new(AtomicBool::new(false));
    exact_through_one_failure(move |n| match n == 150_000 && !tripped.swap(true, Ordering::SeqCst) {
        true => Err("the 150,000th is bad, once".into()),
        false => Ok(n),
    });
}

#[test]
fn a_panic_fails_the_attempt_with_its_message_the_operator_and_the_subtask() {
    let topology = Topology::new("panicking");
    let (sink, _rows) = CollectSink::new();
    topology
        .source("numbers", Generator::bounded(1000, |i| i))
        .parallelism(1)
        .map(|n: u64| if n == 500 { panic!("cannot stand {n}") } else { n })
        .name("touchy")
        .map(|n| n + 1)
        .sink("out", sink);
    let job = Engine::builder().restart(RestartStrategy::None).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert_eq!(error.to_string(), "job 'panicking', operator 'touchy', subtask 0 panicked: cannot stand 500");
}

/// Runs 200,000 paced numbers through `trip` and counts per key; there must be one restart, and no row lost or doubled.
fn exact_through_one_failure(trip: impl Fn(u64) -> Result<u64, BoxError> + Clone + Send + 'static) {
    let topology = Topology::new("tripping");
    let (sink, rows) = CollectSink::new();
    topology
        .source("numbers", Generator::bounded(200_000, |i| i).rate(400_000))
        .try_map(trip)
        .key_by(|n| n % 100)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", sink);
    let job = Engine::builder()
        .parallelism(2)
        .restart(quick_restarts())
        .checkpoints(CheckpointConfig::every(Duration::from_millis(20)))
        .start_blocking(topology)
        .unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert_eq!(job.status().restarts, 1);
    assert_exact(rows.snapshot());
}

/// Each of 100 keys counted from 1 to 2,000.
fn assert_exact(mut rows: Vec<(u64, u64)>) {
    rows.sort_unstable();
    let expected: Vec<_> = (0..100u64).flat_map(|key| (1..=2000u64).map(move |count| (key, count))).collect();
    assert!(rows == expected, "{} rows instead of {}", rows.len(), expected.len());
}

#[test]
fn a_panicking_operator_restarts_the_job_from_its_last_checkpoint_and_loses_nothing() {
    let tripped = Arc::new(AtomicBool::new(false));
    exact_through_one_failure(move |n| {
        assert!(n != 150_000 || tripped.swap(true, Ordering::SeqCst), "once");
        Ok(n)
    });
}

/// A sink that fails, or panics, the first time that a call of one kind is made after a while.
struct Tripping {
    inner: CollectSink<(u64, u64)>,
    call: &'static str,
    panics: bool,
    /// Calls of that kind until it trips.
    left: Arc<AtomicI64>,
}

impl Tripping {
    fn pass(&self, call: &str) -> Result<(), BoxError> {
        if call == self.call && self.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            assert!(!self.panics, "{call} panics, once");
            return Err(format!("{call} fails, once").into());
        }
        Ok(())
    }
}

type Inner = CollectSink<(u64, u64)>;

impl TwoPhaseSink<(u64, u64)> for Tripping {
    type Writer = <Inner as TwoPhaseSink<(u64, u64)>>::Writer;
    type Frozen = <Inner as TwoPhaseSink<(u64, u64)>>::Frozen;
    type Transaction = <Inner as TwoPhaseSink<(u64, u64)>>::Transaction;
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        self.inner.owner()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.inner.claim(context)
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<Self::Transaction>,
        writers: &[()],
    ) -> Result<(), BoxError> {
        self.inner.recover(context, transactions, writers)
    }

    fn open(&self, context: &SinkContext, subtask: SubtaskIndex, restored: Vec<()>) -> Result<Self::Writer, BoxError> {
        self.inner.open(context, subtask, restored)
    }

    fn pre_commit(&self, frozen: Self::Frozen) -> Result<Option<Self::Transaction>, BoxError> {
        self.pass("pre_commit")?;
        self.inner.pre_commit(frozen)
    }

    fn commit(&self, transaction: &Self::Transaction) -> Result<(), BoxError> {
        self.pass("commit")?;
        self.inner.commit(transaction)
    }
}

#[test]
fn a_failing_or_panicking_sink_restarts_the_job_and_loses_nothing() {
    for (call, panics) in [("pre_commit", false), ("pre_commit", true), ("commit", false), ("commit", true)] {
        let topology = Topology::new("sinking");
        let (inner, rows) = CollectSink::new();
        let sink = Tripping { inner, call, panics, left: Arc::new(AtomicI64::new(5)) };
        topology
            .source("numbers", Generator::bounded(200_000, |i| i).rate(400_000))
            .key_by(|n| n % 100)
            .fold("count", 0u64, |count, _| *count += 1)
            .sink("tripping sink", sink);
        let engine = Engine::builder().parallelism(2).restart(quick_restarts());
        let job =
            engine.checkpoints(CheckpointConfig::every(Duration::from_millis(20))).start_blocking(topology).unwrap();
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished, "{call}");
        // A publication that fails is tried again, and no reason to restart.
        let expected = if call == "commit" && !panics { (0, 1) } else { (1, 0) };
        let status = job.status();
        let failed: u64 = status.subtasks.iter().map(|subtask| subtask.failed_publications).sum();
        assert_eq!((status.restarts, failed), expected, "{call}");
        assert_exact(rows.snapshot());
    }
}

#[test]
fn a_panic_of_a_sink_off_the_data_path_names_the_sink_too() {
    let topology = Topology::new("sinking");
    let sink =
        Tripping { inner: CollectSink::new().0, call: "commit", panics: true, left: Arc::new(AtomicI64::new(1)) };
    topology.source("numbers", Generator::bounded(10, |i| (i, i))).parallelism(1).sink("tripping sink", sink);
    let error = Engine::builder().start_blocking(topology).unwrap().wait_blocking().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert_eq!(error.to_string(), "job 'sinking', operator 'tripping sink', subtask 0 panicked: commit panics, once");
}
