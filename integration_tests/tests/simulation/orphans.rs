//! What `abort` is given: what nothing will ever publish, and nothing else.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use cofferdam::connector::Generator;
use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, Ownership, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink,
    checkpoint::coordinator::JobEnd, topology::Topology,
};
use cofferdam_testkit::{Fault, Faults, Point, Setup, Simulation};
use serde::{Deserialize, Serialize};

use crate::{
    cases::{self, same},
    seeds::seeds,
};

const RECORDS: u64 = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Id {
    attempt: Attempt,
    checkpoint: CheckpointId,
    subtask: SubtaskIndex,
}

/// What a sink was called for, and by which process.
#[derive(Clone, Debug, PartialEq)]
enum Event {
    Prepared(u32, Id),
    Committed(Id),
    Aborted(u32, Id),
    Recovered(u32, Attempt, Vec<Id>),
}

/// What outlives a process.
#[derive(Default)]
struct Disk {
    processes: u32,
    prepared: BTreeMap<Id, Vec<u64>>,
    published: Vec<u64>,
    log: Vec<Event>,
}

/// How a sink aborts.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Abort {
    Works,
    Fails,
    Panics,
}

/// One process's.
struct RecordingSink {
    disk: Arc<Mutex<Disk>>,
    process: u32,
    abort: Abort,
}

fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Writer {
    id: Id,
    rows: Vec<u64>,
}

impl SinkWriter<u64> for Writer {
    type Frozen = (Id, Vec<u64>);
    type State = ();

    fn write(&mut self, record: u64) -> Result<(), BoxError> {
        self.rows.push(record);
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, _: bool) -> Result<(Self::Frozen, ()), BoxError> {
        Ok(((Id { checkpoint, ..self.id }, std::mem::take(&mut self.rows)), ()))
    }
}

impl TwoPhaseSink<u64> for RecordingSink {
    type Writer = Writer;
    type Frozen = (Id, Vec<u64>);
    type Transaction = Id;
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(Ownership::Untracked)
    }

    fn place(&self) -> String {
        "memory".to_string()
    }

    fn claim(&self, _: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn recover(&self, context: &SinkContext, due: Vec<Id>, _: &[()]) -> Result<(), BoxError> {
        lock(&self.disk).log.push(Event::Recovered(self.process, context.attempt, due.clone()));
        due.iter().try_for_each(|id| self.commit(id))?;
        lock(&self.disk).prepared.clear();
        Ok(())
    }

    fn open(&self, context: &SinkContext, subtask: SubtaskIndex, _: Vec<()>) -> Result<Writer, BoxError> {
        let id = Id { attempt: context.attempt, checkpoint: context.restored, subtask };
        Ok(Writer { id, rows: Vec::new() })
    }

    fn pre_commit(&self, (id, rows): (Id, Vec<u64>)) -> Result<Option<Id>, BoxError> {
        if rows.is_empty() {
            return Ok(None);
        }
        let mut disk = lock(&self.disk);
        disk.prepared.insert(id, rows);
        disk.log.push(Event::Prepared(self.process, id));
        Ok(Some(id))
    }

    fn commit(&self, id: &Id) -> Result<(), BoxError> {
        let mut disk = lock(&self.disk);
        let rows = disk.prepared.remove(id).unwrap_or_default();
        disk.published.extend(rows);
        disk.log.push(Event::Committed(*id));
        Ok(())
    }

    fn abort(&self, id: &Id) -> Result<(), BoxError> {
        let mut disk = lock(&self.disk);
        disk.log.push(Event::Aborted(self.process, *id));
        match self.abort {
            Abort::Works => drop(disk.prepared.remove(id)),
            Abort::Fails => return Err("the other end hung up".into()),
            Abort::Panics => std::panic::resume_unwind(Box::new("the other end hung up")),
        }
        Ok(())
    }
}

/// A job that has run to its end, and what its sink was called for.
struct Ran {
    simulation: Simulation,
    log: Vec<Event>,
}

fn run(seed: u64, faults: Faults, abort: Abort) -> Ran {
    let disk = Arc::<Mutex<Disk>>::default();
    let shared = disk.clone();
    let topology = move || {
        let mut disk = lock(&shared);
        disk.processes += 1;
        let sink = RecordingSink { disk: shared.clone(), process: disk.processes, abort };
        let topology = Topology::new("orphans");
        topology.source("numbers", Generator::bounded(RECORDS, |i| i)).rebalance().sink("rows", sink);
        topology
    };
    let mut simulation = Simulation::new(seed, Setup::drawn(seed), faults, topology);
    assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
    let mut disk = lock(&disk);
    same(disk.published.clone(), (0..RECORDS).collect());
    Ran { simulation, log: std::mem::take(&mut disk.log) }
}

impl Ran {
    fn aborted(&self) -> BTreeSet<Id> {
        let aborted = |event: &Event| if let Event::Aborted(_, id) = event { Some(*id) } else { None };
        self.log.iter().filter_map(aborted).collect()
    }

    /// Whether a checkpoint that became durable names it: its own, or a later one of its attempt, which carries it.
    fn is_named(&self, id: Id) -> bool {
        let mut committed = self.simulation.committed().into_iter();
        committed.any(|(attempt, checkpoint)| attempt == id.attempt && checkpoint >= id.checkpoint)
    }

    /// Each attempt, and what was aborted for it: exactly what the one before it in the same process had prepared and no checkpoint named.
    fn check_each_attempt(&self, seed: u64) {
        let ran: Vec<_> = self.simulation.attempts().iter().map(|(attempt, _)| *attempt).collect();
        let (mut aborted, mut prepared) = (BTreeSet::new(), Vec::new());
        for event in &self.log {
            match event {
                Event::Prepared(process, id) => prepared.push((*process, *id)),
                Event::Aborted(process, id) => drop(aborted.insert((*process, *id))),
                Event::Committed(id) => assert!(!self.aborted().contains(id), "seed {seed}: {id:?} was aborted"),
                Event::Recovered(process, attempt, due) => {
                    let of_process = prepared.iter().filter(|(other, _)| other == process);
                    let before = of_process.clone().map(|(_, id)| id.attempt).max();
                    // An attempt may have run and prepared nothing.
                    let last = ran.iter().filter(|one| **one < *attempt).max().copied();
                    let orphans = of_process.filter(|(_, id)| before == last && Some(id.attempt) == before);
                    let orphans: BTreeSet<_> = orphans.filter(|(_, id)| !self.is_named(*id)).copied().collect();
                    assert_eq!(aborted, orphans, "seed {seed}, attempt {attempt}");
                    assert!(due.iter().all(|id| !self.aborted().contains(id)), "seed {seed}: {due:?}");
                    aborted.clear();
                }
            }
        }
        assert!(aborted.is_empty(), "seed {seed}: aborted and not recovered: {aborted:?}");
    }
}

#[test]
fn what_an_aborted_checkpoint_has_prepared_is_published_and_never_aborted() {
    let mut carried = 0;
    for seed in seeds(0..250) {
        let ran = run(seed, Faults::drawn(&cases::ABORTS, 8, 80), Abort::Works);
        assert_eq!(ran.aborted(), BTreeSet::new(), "seed {seed}");
        assert_eq!(ran.simulation.attempts().len(), 1, "seed {seed}");
        let was_aborted =
            |event: &&Event| matches!(event, Event::Committed(id) if ran.simulation.aborted().contains(&id.checkpoint));
        carried += ran.log.iter().filter(was_aborted).count();
    }
    assert!(carried > 100, "only {carried} transactions of aborted checkpoints");
}

#[test]
fn abort_is_given_exactly_what_a_dead_attempt_prepared_and_no_checkpoint_names() {
    let errors = [
        Point::Frozen,
        Point::SourceSnapshot,
        Point::PreCommitBefore,
        Point::Acknowledge,
        Point::Acknowledged,
        Point::CommitBegun,
        Point::CommitWritten,
        Point::CommitDurable,
        Point::CompletionHeard,
        Point::Restart,
        Point::RestoreRead,
        Point::AttemptBegun,
    ];
    let errors = errors.map(|point| (point, Fault::Error));
    let kinds = [&errors[..], &cases::ABORTS, &[(Point::CommitDurable, Fault::Kill)]].concat();
    let mut aborted = 0;
    for seed in seeds(0..600) {
        let ran = run(seed, Faults::drawn(&kinds, 12, 60), Abort::Works);
        ran.check_each_attempt(seed);
        aborted += ran.aborted().len();
    }
    assert!(aborted > 300, "only {aborted} aborted");
}

#[test]
fn a_transaction_whose_checkpoint_became_durable_though_the_call_failed_is_not_aborted() {
    let mut unheard = 0;
    for seed in seeds(0..250) {
        let ran = run(seed, Faults::drawn(&[(Point::CommitDurable, Fault::Error)], 6, 40), Abort::Works);
        ran.check_each_attempt(seed);
        let recovered =
            ran.log.iter().filter_map(|event| if let Event::Recovered(_, _, due) = event { Some(due) } else { None });
        unheard += recovered.flatten().collect::<BTreeSet<_>>().len();
        assert!(ran.aborted().iter().all(|id| !ran.is_named(*id)), "seed {seed}");
    }
    assert!(unheard > 250, "only {unheard} transactions were named by a checkpoint that nobody had heard of");
}

#[test]
fn an_abort_that_fails_ends_no_attempt() {
    for abort in [Abort::Fails, Abort::Panics] {
        let mut aborted = 0;
        for seed in 0..100 {
            let faults = Faults::drawn(&[(Point::Acknowledged, Fault::Error)], 4, 60);
            let working = run(seed, faults.clone(), Abort::Works);
            let failing = run(seed, faults, abort);
            assert_eq!(
                failing.simulation.trace(),
                working.simulation.trace(),
                "seed {seed}: nothing else is different"
            );
            assert_eq!(failing.log, working.log, "seed {seed}");
            aborted += failing.aborted().len();
        }
        assert!(aborted > 20, "only {aborted} aborted");
    }
}
