//! A sink that awaits, in the harnesses, where no thread has a runtime.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{sync::OnceLock, time::Duration};

use cofferdam::{
    connector::{CollectFrozen, CollectTransaction, CollectWriter},
    prelude::*,
};
use cofferdam_testkit::{Io, SinkHarness, Torture};
use tokio::{runtime::Runtime, time::sleep};

type Row = (u64, u64);

/// Each call waits for a task that sleeps, on a runtime of the sink's own.
struct Waiting(CollectSink<Row>);

async fn wait() -> Result<(), BoxError> {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_time().build().unwrap()
    });
    Ok(runtime.spawn(async { sleep(Duration::from_micros(10)).await }).await?)
}

impl AsyncTwoPhaseSink<Row> for Waiting {
    type Writer = CollectWriter<Row>;
    type Frozen = CollectFrozen<Row>;
    type Transaction = CollectTransaction;
    type WriterState = ();

    async fn owner(&self) -> Result<Ownership, BoxError> {
        wait().await?;
        self.0.owner()
    }

    fn place(&self) -> String {
        self.0.place()
    }

    async fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        wait().await?;
        self.0.claim(context)
    }

    async fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<CollectTransaction>,
        writers: &[()],
    ) -> Result<(), BoxError> {
        wait().await?;
        self.0.recover(context, transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        held: Vec<()>,
    ) -> Result<CollectWriter<Row>, BoxError> {
        self.0.open(context, subtask, held)
    }

    async fn pre_commit(&self, frozen: CollectFrozen<Row>) -> Result<Option<CollectTransaction>, BoxError> {
        wait().await?;
        self.0.pre_commit(frozen)
    }

    async fn commit(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        wait().await?;
        self.0.commit(transaction)
    }

    async fn abort(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        wait().await?;
        self.0.abort(transaction)
    }
}

#[test]
fn a_sink_that_awaits_keeps_the_contract() {
    let harness = SinkHarness::new(
        CollectSink::<Row>::new,
        |(sink, _)| Asynchronous(Waiting(sink.clone())),
        |(_, rows)| rows.snapshot(),
        |number| (number, number),
    );
    harness.check().unwrap();
}

#[tokio::test]
async fn a_sink_that_awaits_keeps_the_contract_on_a_thread_that_drives_a_runtime() {
    a_sink_that_awaits_keeps_the_contract();
}

#[test]
fn a_sink_that_awaits_is_exactly_once_at_every_fail_point() {
    let counts = |io: &Io| {
        let topology = Topology::new("counts");
        topology
            .source("numbers", io.source((0..60u64).collect()))
            .key_by(|n| n % 3)
            .fold("count", 0u64, |count, _| *count += 1)
            .sink("counts", Asynchronous(Waiting(io.sink_in_order_of(|(key, _): &Row| *key))));
        topology
    };
    let report = Torture::new(counts).every_fail_point().seeds(0..60).run().unwrap();
    report.assert_exactly_once();
    assert!(report.runs() > 500, "only {} runs", report.runs());
}
