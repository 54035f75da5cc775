//! An attempt dies with transactions that no checkpoint names: the next one aborts them.
#![allow(clippy::unwrap_used)]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam::{
    connector::{CollectFrozen, CollectTransaction, CollectWriter},
    prelude::*,
};
use parking_lot::{Condvar, Mutex};

const RECORDS: u64 = 100_000;

/// Which of two sinks comes first, in the checkpoint that one of them fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Order {
    /// The one has prepared when the other one fails.
    PreparedThenFailed,
    /// The one is preparing when the other one fails, and is done only when that one's actor has been stopped, and with it its own.
    StoppedThenPrepared,
}

#[derive(Default)]
struct Events {
    has_prepared: bool,
    has_failed: bool,
    /// The writer of the sink that fails is gone.
    has_stopped: bool,
    prepared: Vec<Vec<u8>>,
    aborted: Vec<Vec<u8>>,
    /// What had been prepared when the second attempt took up the output.
    died_with: Option<Vec<Vec<u8>>>,
}

#[derive(Default)]
struct Shared {
    events: Mutex<Events>,
    changed: Condvar,
}

impl Shared {
    fn change(&self, change: impl FnOnce(&mut Events)) {
        change(&mut self.events.lock());
        self.changed.notify_all();
    }

    fn wait_until(&self, what: impl Fn(&Events) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut events = self.events.lock();
        while !what(&events) {
            assert!(!self.changed.wait_until(&mut events, deadline).timed_out(), "not within 30 s");
        }
    }
}

/// What becomes of a sink's first transaction.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Prepares,
    Fails,
}

struct Watched {
    inner: CollectSink<u64>,
    shared: Arc<Shared>,
    role: Role,
    order: Order,
}

impl Watched {
    /// The first transaction of all is prepared.
    fn first(&self) -> Result<(), BoxError> {
        match (self.role, self.order) {
            (Role::Prepares, Order::PreparedThenFailed) => {}
            (Role::Prepares, Order::StoppedThenPrepared) => self.shared.wait_until(|events| events.has_stopped),
            (Role::Fails, order) => {
                if order == Order::PreparedThenFailed {
                    self.shared.wait_until(|events| events.has_prepared);
                }
                self.shared.change(|events| events.has_failed = true);
                return Err("the other end hung up".into());
            }
        }
        self.shared.change(|events| events.has_prepared = true);
        Ok(())
    }

    fn is_first(&self) -> bool {
        let events = self.shared.events.lock();
        if self.role == Role::Prepares { !events.has_prepared } else { !events.has_failed }
    }
}

struct Writer {
    inner: CollectWriter<u64>,
    shared: Arc<Shared>,
    role: Role,
}

impl SinkWriter<u64> for Writer {
    type Frozen = CollectFrozen<u64>;
    type State = ();

    fn write(&mut self, record: u64) -> Result<(), BoxError> {
        self.inner.write(record)
    }

    fn freeze(&mut self, checkpoint: CheckpointId, last: bool) -> Result<(CollectFrozen<u64>, ()), BoxError> {
        self.inner.freeze(checkpoint, last)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if self.role == Role::Fails {
            self.shared.change(|events| events.has_stopped = true);
        }
    }
}

impl TwoPhaseSink<u64> for Watched {
    type Writer = Writer;
    type Frozen = CollectFrozen<u64>;
    type Transaction = CollectTransaction;
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

    fn recover(&self, context: &SinkContext, due: Vec<CollectTransaction>, writers: &[()]) -> Result<(), BoxError> {
        if context.attempt == Attempt(2) && self.role == Role::Prepares {
            self.shared.change(|events| events.died_with = Some(events.prepared.clone()));
        }
        self.inner.recover(context, due, writers)
    }

    fn open(&self, context: &SinkContext, subtask: SubtaskIndex, _: Vec<()>) -> Result<Writer, BoxError> {
        let inner = self.inner.open(context, subtask, Vec::new())?;
        Ok(Writer { inner, shared: self.shared.clone(), role: self.role })
    }

    fn pre_commit(&self, frozen: CollectFrozen<u64>) -> Result<Option<CollectTransaction>, BoxError> {
        let prepared = self.inner.pre_commit(frozen)?;
        if let Some(transaction) = &prepared {
            if self.is_first() {
                self.first()?;
            }
            if self.role == Role::Prepares {
                let bytes = postcard::to_stdvec(transaction)?;
                self.shared.change(|events| events.prepared.push(bytes));
            }
        }
        Ok(prepared)
    }

    fn commit(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        self.inner.commit(transaction)
    }

    fn abort(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        assert!(self.role == Role::Prepares, "the other one has prepared nothing");
        let bytes = postcard::to_stdvec(transaction)?;
        self.shared.change(|events| events.aborted.push(bytes));
        Ok(())
    }
}

#[test]
fn what_an_attempt_prepared_before_or_after_it_was_stopped_is_aborted_by_the_next_one() {
    for order in [Order::PreparedThenFailed, Order::StoppedThenPrepared] {
        let shared = Arc::<Shared>::default();
        let topology = Topology::new("two-sinks");
        let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i).rate(400_000)).share();
        let collected = [Role::Prepares, Role::Fails].map(|role| {
            let (inner, rows) = CollectSink::new();
            let sink = Watched { inner, shared: shared.clone(), role, order };
            numbers.stream().sink(if role == Role::Fails { "fails" } else { "prepares" }, sink);
            rows
        });
        let job = Engine::builder()
            .parallelism(1)
            .checkpoints(CheckpointConfig::every(Duration::from_millis(10)))
            .restart(RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_millis(1) })
            .start_blocking(topology)
            .unwrap();
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished, "{order:?}");
        for rows in collected {
            let mut rows = rows.take();
            rows.sort_unstable();
            assert!(rows.into_iter().eq(0..RECORDS), "{order:?}");
        }
        let events = shared.events.lock();
        assert!(!events.aborted.is_empty(), "{order:?}");
        assert_eq!(Some(&events.aborted), events.died_with.as_ref(), "{order:?}");
    }
}
