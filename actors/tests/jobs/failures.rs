//! What the host is told of failures, and what follows them.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use cofferdam::prelude::*;

use crate::until::until;

const FOREVER: RestartStrategy = RestartStrategy::FixedDelay { attempts: u32::MAX, delay: Duration::from_millis(1) };

#[test]
fn an_error_marked_as_not_retryable_ends_the_job_at_once_wherever_it_comes_from() {
    let tries = Arc::new(AtomicU64::new(0));
    let counted = |tries: &Arc<AtomicU64>| {
        let tries = tries.clone();
        move |n: u64| {
            if n == 0 {
                tries.fetch_add(1, Ordering::SeqCst);
            }
            n
        }
    };
    let of_a_step = Topology::new("hopeless");
    of_a_step
        .source("numbers", Generator::bounded(10, |i| i))
        .map(counted(&tries))
        .try_map(|n: u64| if n == 3 { Err(NotRetryable::new("no such customer")) } else { Ok(n) })
        .name("customers")
        .sink("out", CollectSink::new().0);
    let of_a_sink = Topology::new("hopeless");
    of_a_sink
        .source("numbers", Generator::bounded(10, |i| i))
        .map(counted(&tries))
        .sink_at_least_once("customers", Closed);
    for topology in [of_a_step, of_a_sink] {
        tries.store(0, Ordering::SeqCst);
        let job = Engine::builder().parallelism(1).restart(FOREVER).start_blocking(topology).unwrap();
        let error = job.wait_blocking().unwrap_err();
        assert_eq!(
            error.to_string(),
            "job 'hopeless', operator 'customers', subtask 0 failed: not to be retried: no such customer"
        );
        assert_eq!((tries.load(Ordering::SeqCst), job.status().restarts), (1, 0));
        assert_eq!(error.location().unwrap().operator, "customers");
        let [failure] = &job.failures()[..] else { panic!("{:?}", job.failures()) };
        assert_eq!((failure.delay, failure.restored), (None, None), "no restart followed");
    }
}

/// A sink whose every write fails for good.
struct Closed;

impl Sink<u64> for Closed {
    type Writer = Box<dyn FnMut(u64) -> Result<(), BoxError> + Send>;

    fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        // As an I/O error that was made of it.
        Ok(Box::new(|_| Err(std::io::Error::other(NotRetryable::new("no such customer")).into())))
    }
}

/// A sink that fails once the job knows of a failure.
struct Symptom(Arc<OnceLock<JobHandle>>);

fn after_the_first_failure(job: &OnceLock<JobHandle>) {
    until("the first failure", || job.get().is_some_and(|job| !job.failures().is_empty()));
}

impl Sink<u64> for Symptom {
    type Writer = Box<dyn FnMut(u64) -> Result<(), BoxError> + Send>;

    fn open(&self, subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        let job = self.0.clone();
        Ok(Box::new(move |_| {
            if subtask.0 != 2 {
                return Ok(());
            }
            after_the_first_failure(&job);
            Err("a symptom of the sink".into())
        }))
    }
}

#[test]
fn the_caller_sees_the_first_failure_and_none_of_its_symptoms() {
    let job: Arc<OnceLock<JobHandle>> = Arc::default();
    let known = job.clone();
    let topology = Topology::new("falling");
    topology
        .source("numbers", Generator::bounded(3, |i| i))
        .try_map(move |n: u64| match n {
            0 => {
                until("a handle", || known.get().is_some());
                Err("the cause")
            }
            1 => {
                after_the_first_failure(&known);
                Err("a symptom of a step")
            }
            _ => Ok(n),
        })
        .name("falling")
        .sink_at_least_once("out", Symptom(job.clone()));
    let workers = std::num::NonZeroUsize::new(3).unwrap();
    let engine = Engine::builder().parallelism(3).workers(workers).restart(RestartStrategy::None);
    let handle = engine.start_blocking(topology).unwrap();
    assert!(job.set(handle.clone()).is_ok());
    let error = handle.wait_blocking().unwrap_err();
    assert_eq!(error.to_string(), "job 'falling', operator 'falling', subtask 0 failed: the cause");
    assert_eq!(
        error.location(),
        Some(&Location { job: "falling".to_string(), operator: "falling".to_string(), subtask: SubtaskIndex(0) })
    );
    assert_eq!(handle.failures().len(), 1, "symptoms are no failures of their own");
}

#[test]
fn the_history_tells_when_where_why_from_what_checkpoint_and_how_fast() {
    let before = SystemTime::now();
    let fails = Arc::new(AtomicBool::new(false));
    let failing = fails.clone();
    let topology = Topology::new("history");
    topology
        .source("numbers", Generator::unbounded(|i| i).rate(5_000))
        .try_map(move |n: u64| if failing.swap(false, Ordering::SeqCst) { Err("on request") } else { Ok(n) })
        .name("fragile")
        .key_by(|n| n % 10)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("out", CollectSink::new().0);
    let delay = Duration::from_millis(20);
    let job = Engine::builder()
        .parallelism(1)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(10)))
        .restart(RestartStrategy::FixedDelay { attempts: 2, delay })
        .start_blocking(topology)
        .unwrap();
    assert!(job.failures().is_empty());
    let first_attempt = job.status().attempt;
    for round in 1..=2 {
        let completed = job.status().checkpoints_completed;
        until("two more checkpoints", || job.status().checkpoints_completed >= completed + 2);
        fails.store(true, Ordering::SeqCst);
        until("recovery", || job.failures().len() == round && job.failures()[round - 1].time_to_recover.is_some());
    }
    fails.store(true, Ordering::SeqCst);
    let error = job.wait_blocking().unwrap_err();
    let cause = "job 'history', operator 'fragile', subtask 0 failed: on request";
    assert_eq!(error.to_string(), format!("given up after 2 restarts: {cause}"));

    let failures = job.failures();
    assert_eq!(failures.len(), 3);
    let mut last = before;
    for (number, failure) in failures.iter().enumerate() {
        assert!(failure.at >= last && failure.at <= SystemTime::now());
        last = failure.at;
        assert_eq!(failure.attempt, Some(Attempt(first_attempt.0 + number as u64)));
        assert_eq!(failure.location.as_ref().unwrap().operator, "fragile");
        assert_eq!(failure.cause.to_string(), cause);
    }
    for failure in &failures[..2] {
        assert_eq!(failure.delay, Some(delay));
        assert!(failure.time_to_recover.unwrap() >= delay);
    }
    assert!(failures[0].restored.unwrap() >= CheckpointId(2));
    assert!(failures[1].restored.unwrap() > failures[0].restored.unwrap());
    assert_eq!((failures[2].delay, failures[2].restored, failures[2].time_to_recover), (None, None, None));
    let status = job.status();
    assert_eq!((status.failures, status.last_failure.unwrap().at), (3, failures[2].at));
}

#[test]
fn a_failure_rate_ends_the_job_only_when_failures_come_too_close() {
    let topology = Topology::new("rate");
    topology
        .source("numbers", Generator::bounded(10, |i| i))
        .try_map(|n: u64| if n == 3 { Err("three is too many") } else { Ok(n) })
        .sink("out", CollectSink::new().0);
    let strategy =
        RestartStrategy::FailureRate { max_failures: 4, interval: Duration::from_secs(3600), delay: Duration::ZERO };
    let job = Engine::builder().parallelism(1).restart(strategy).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err();
    assert!(error.to_string().starts_with("given up after 4 restarts: "), "{error}");
    assert_eq!(job.failures().len(), 5);
}

/// A source that opens this often, cannot be read, and then fails to open.
struct Vanished {
    opens: AtomicU64,
    error: fn() -> BoxError,
}

impl Source for Vanished {
    type Record = u64;
    type Split = ();
    type Position = ();
    type Reader = Broken;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, _parallelism: u32) -> Result<Vec<()>, BoxError> {
        Ok(vec![()])
    }

    fn open(&self, (): &(), _position: Option<&()>) -> Result<Broken, BoxError> {
        let left = self.opens.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        left.map(|_| Broken).map_err(|_| (self.error)())
    }
}

struct Broken;

impl SplitReader for Broken {
    type Record = u64;
    type Position = ();

    fn read(&mut self, _now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        Err("broken".into())
    }

    fn position(&mut self) -> Result<(), BoxError> {
        Ok(())
    }
}

#[test]
fn an_attempt_that_could_not_be_opened_is_a_failure_without_a_number() {
    let topology = Topology::new("vanishing");
    let source = Vanished { opens: AtomicU64::new(1), error: || "vanished".into() };
    topology.source("numbers", source).sink("out", CollectSink::new().0);
    let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_millis(1) };
    let job = Engine::builder().parallelism(1).restart(strategy).start_blocking(topology).unwrap();
    let error = job.wait_blocking().unwrap_err();
    let vanished = "job 'vanishing', operator 'numbers', subtask 0 failed: vanished";
    assert_eq!(error.to_string(), format!("given up after 2 restarts: {vanished}"));
    let told: Vec<_> =
        job.failures().into_iter().map(|failure| (failure.attempt.is_some(), failure.cause.to_string())).collect();
    let broken = "job 'vanishing', operator 'numbers', subtask 0 failed: broken";
    assert_eq!(told, [(true, broken), (false, vanished), (false, vanished)].map(|(is, text)| (is, text.to_string())));
    assert!(job.failures().iter().all(|failure| failure.restored.is_none() && failure.time_to_recover.is_none()));
}

#[test]
fn a_source_whose_error_is_marked_keeps_the_job_from_starting() {
    let topology = Topology::new("hopeless");
    let source = Vanished { opens: AtomicU64::new(0), error: || NotRetryable::new("no such topic").into() };
    topology.source("numbers", source).sink("out", CollectSink::new().0);
    let error = Engine::builder().parallelism(1).restart(FOREVER).start_blocking(topology).map(|_| ()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "job 'hopeless', operator 'numbers', subtask 0 failed: not to be retried: no such topic"
    );
    assert!(!error.is_retryable());
}
