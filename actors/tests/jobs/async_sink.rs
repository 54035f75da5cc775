//! Sinks that await, in a job.

#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use cofferdam::{
    connector::{CollectFrozen, CollectTransaction, CollectWriter},
    prelude::*,
};
use tokio::{sync::oneshot, time::sleep};

/// Says what became of a call.
#[derive(Clone, Default)]
struct Calls {
    begun: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
    /// The next `commit` fails after it has waited.
    fails: Arc<AtomicBool>,
}

/// Uses what a runtime has to offer: timers, tasks, and what wakes the one from the other.
struct Remote {
    inner: CollectSink<u64>,
    calls: Calls,
}

impl Remote {
    /// As if there was somebody at the other end.
    async fn ask(&self) -> Result<(), BoxError> {
        self.calls.begun.fetch_add(1, Ordering::SeqCst);
        sleep(Duration::from_millis(2)).await;
        let (sender, answer) = oneshot::channel();
        tokio::spawn(async {
            sleep(Duration::from_millis(1)).await;
            sender.send(42)
        });
        assert_eq!(answer.await?, 42);
        self.calls.ended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

impl AsyncTwoPhaseSink<u64> for Remote {
    type Writer = CollectWriter<u64>;
    type Frozen = CollectFrozen<u64>;
    type Transaction = CollectTransaction;
    type WriterState = ();

    async fn owner(&self) -> Result<Ownership, BoxError> {
        self.ask().await?;
        self.inner.owner()
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.ask().await?;
        self.inner.claim(context)
    }

    async fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<CollectTransaction>,
        writers: &[()],
    ) -> Result<(), BoxError> {
        self.ask().await?;
        self.inner.recover(context, transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        held: Vec<()>,
    ) -> Result<CollectWriter<u64>, BoxError> {
        self.inner.open(context, subtask, held)
    }

    async fn pre_commit(&self, frozen: CollectFrozen<u64>) -> Result<Option<CollectTransaction>, BoxError> {
        self.ask().await?;
        self.inner.pre_commit(frozen)
    }

    async fn commit(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        self.ask().await?;
        if self.calls.fails.swap(false, Ordering::SeqCst) {
            return Err("the other end hung up".into());
        }
        self.inner.commit(transaction)
    }

    async fn abort(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        self.ask().await?;
        self.inner.abort(transaction)
    }
}

fn run(calls: &Calls) -> Vec<u64> {
    let (sink, rows) = CollectSink::new();
    let topology = Topology::new("remote");
    let numbers = topology.source("numbers", Generator::bounded(2000, |i| i).rate(10_000));
    numbers.sink("remote", Asynchronous(Remote { inner: sink, calls: calls.clone() }));
    let job = Engine::builder()
        .parallelism(2)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(10)))
        .restart(RestartStrategy::FixedDelay { attempts: 10, delay: Duration::from_millis(1) })
        .start_blocking(topology)
        .unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    let mut rows = rows.snapshot();
    rows.sort_unstable();
    rows
}

#[test]
fn a_sink_awaits_timers_and_tasks_of_the_jobs_runtime() {
    let calls = Calls::default();
    assert_eq!(run(&calls), (0..2000).collect::<Vec<_>>());
    let (begun, ended) = (calls.begun.load(Ordering::SeqCst), calls.ended.load(Ordering::SeqCst));
    assert!(begun > 10, "only {begun} calls");
    assert_eq!(begun, ended, "a call was dropped half-way");
}

#[test]
fn a_commit_that_fails_after_it_awaited_loses_nothing_and_publishes_nothing_twice() {
    let calls = Calls::default();
    calls.fails.store(true, Ordering::SeqCst);
    assert_eq!(run(&calls), (0..2000).collect::<Vec<_>>());
    assert!(!calls.fails.load(Ordering::SeqCst), "it did not fail");
    assert_eq!(calls.begun.load(Ordering::SeqCst), calls.ended.load(Ordering::SeqCst), "a call was dropped half-way");
}
