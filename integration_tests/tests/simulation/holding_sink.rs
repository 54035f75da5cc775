//! A sink that holds rows back over checkpoints: what it holds travels in its writer's state.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cofferdam::connector::Generator;
use cofferdam_engine::{
    BoxError, CheckpointId, Ownership, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink,
    checkpoint::coordinator::JobEnd, topology::Topology,
};
use cofferdam_testkit::{Faults, Request, Setup, Simulation, every_fault};

use crate::{cases::same, seeds::seeds};

/// Attempt, checkpoint and subtask of a transaction.
type Id = (u64, u64, u32);

#[derive(Default)]
struct Published {
    ids: BTreeSet<Id>,
    rows: Vec<u64>,
    /// Records that any writer was given.
    written: usize,
}

/// Publishes at every third checkpoint, and at the last.
#[derive(Clone, Default)]
struct HoldingSink(Arc<Mutex<Published>>);

impl HoldingSink {
    fn published(&self) -> MutexGuard<'_, Published> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    sink: HoldingSink,
    attempt: u64,
    subtask: u32,
    barriers: u32,
    held: Vec<u64>,
}

impl SinkWriter<u64> for Writer {
    type Frozen = (Id, Vec<u64>);
    type State = Vec<u64>;

    fn write(&mut self, record: u64) -> Result<(), BoxError> {
        self.held.push(record);
        self.sink.published().written += 1;
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, last: bool) -> Result<(Self::Frozen, Vec<u64>), BoxError> {
        self.barriers += 1;
        let is_due = last || self.barriers.is_multiple_of(3);
        let rows = if is_due { std::mem::take(&mut self.held) } else { Vec::new() };
        Ok((((self.attempt, checkpoint.0, self.subtask), rows), self.held.clone()))
    }
}

impl TwoPhaseSink<u64> for HoldingSink {
    type Writer = Writer;
    type Frozen = (Id, Vec<u64>);
    type Transaction = (Id, Vec<u64>);
    type WriterState = Vec<u64>;

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(Ownership::Untracked)
    }

    fn place(&self) -> String {
        "memory".to_string()
    }

    fn claim(&self, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn recover(&self, _: &SinkContext, prepared: Vec<(Id, Vec<u64>)>, _: &[Vec<u64>]) -> Result<(), BoxError> {
        prepared.iter().try_for_each(|transaction| self.commit(transaction))
    }

    fn open(&self, context: &SinkContext, subtask: SubtaskIndex, held: Vec<Vec<u64>>) -> Result<Writer, BoxError> {
        Ok(Writer {
            sink: self.clone(),
            attempt: context.attempt.0,
            subtask: subtask.0,
            barriers: 0,
            held: held.concat(),
        })
    }

    fn pre_commit(&self, (id, rows): (Id, Vec<u64>)) -> Result<Option<(Id, Vec<u64>)>, BoxError> {
        Ok((!rows.is_empty()).then_some((id, rows)))
    }

    fn commit(&self, (id, rows): &(Id, Vec<u64>)) -> Result<(), BoxError> {
        let mut published = self.published();
        if published.ids.insert(*id) {
            published.rows.extend(rows);
        }
        Ok(())
    }
}

fn job(seed: u64, faults: Faults, count: u64) -> (Simulation, HoldingSink) {
    let sink = HoldingSink::default();
    let clone = sink.clone();
    let topology = move || {
        let topology = Topology::new("held-back");
        topology.source("numbers", Generator::bounded(count, |i| i)).rebalance().sink("held", clone.clone());
        topology
    };
    (Simulation::new(seed, Setup::drawn(seed), faults, topology), sink)
}

#[test]
fn rows_held_back_by_a_sink_are_published_once_whatever_fails() {
    for seed in seeds(0..150) {
        let (mut simulation, sink) = job(seed, Faults::drawn(&every_fault(), 8, 80), 100);
        for parallelism in [3, 1, 2] {
            if simulation.run_steps(200).is_some() {
                break;
            }
            simulation.kill();
            simulation.set_up(|setup| setup.settings.parallelism = parallelism);
        }
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        same(sink.published().rows.clone(), (0..100).collect());
    }
}

#[test]
fn a_stopped_job_holds_nothing_back() {
    for seed in seeds(0..50) {
        let (mut simulation, sink) = job(seed, Faults::none(), 1_000_000);
        simulation.run_steps(400);
        simulation.request(Request::Stop);
        assert!(matches!(simulation.run(), Ok(JobEnd::Stopped)), "seed {seed}");
        let published = sink.published();
        assert_eq!(published.rows.len(), published.written, "seed {seed}");
    }
}
