//! Steps by key that follow time, driven by hand, as a subtask drives them: a snapshot may fall between any two things that become due.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    checkpoint::{
        snapshot::{CheckpointMetadata, OperatorKind, OperatorRecord, OperatorSnapshot, StateAddress, StateDelta},
        store::StateReader,
    },
    element::Watermark,
    id::{CheckpointId, ProcessingTime, SubtaskIndex, WallTime},
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    operator::{OpenContext, Operator, SnapshotBuilder},
    record::Record,
    slice::{Clock, Slice, Stop},
    state::{
        Block,
        tests::job::{GROUPS, Store, context},
    },
    time::{Stamp, Stamped, Timestamp},
    topology::{
        graph::{BuildContext, EdgeWidth, SharedGraph},
        keyed_stream::KeyedStream,
        stream::{Stream, received},
    },
};

const EPOCH: Duration = Duration::from_secs(1_000);

/// A clock that is set by hand.
#[derive(Default)]
pub(crate) struct Hand(AtomicU64);

impl Hand {
    pub(crate) fn set(&self, milliseconds: u64) {
        self.0.store(milliseconds * 1_000_000, Ordering::SeqCst);
    }
}

impl Clock for Hand {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(self.0.load(Ordering::SeqCst))
    }

    fn epoch(&self) -> Duration {
        EPOCH
    }
}

/// What happens to a step.
#[derive(Clone, Debug)]
pub(crate) enum Event<V> {
    /// Key, stamp and value.
    Batch(Vec<(u32, i64, V)>),
    Mark(i64),
}

/// The stream that a step is put on.
pub(crate) fn keyed<V: Record, S: Stamp>() -> KeyedStream<u32, V, S> {
    let graph = SharedGraph::default();
    let step = graph.lock().add_step("fed", None, None);
    KeyedStream { stream: received(graph, step, Vec::new()) }
}

/// A subtask's step, not opened.
pub(crate) fn built<O>(stream: &Stream<O>, subtask: u32, parallelism: u32) -> O {
    let addresses: Vec<Arc<str>> = ["fed", "step"].map(Arc::from).to_vec();
    let edges = [EdgeWidth { parallelism: 2, one_to_one: false }; 4];
    (stream.build)(&BuildContext {
        subtask: SubtaskIndex(subtask),
        parallelism,
        max_parallelism: GROUPS,
        batch_size: 8,
        addresses: &addresses,
        edges: &edges,
        outputs: &[],
    })
}

/// A checkpoint that has completed.
#[derive(Clone, Default)]
pub(crate) struct Stored {
    pub(crate) deltas: Vec<(CheckpointId, Vec<Arc<StateDelta>>)>,
    pub(crate) snapshots: Vec<OperatorSnapshot>,
    pub(crate) event_time: Vec<i64>,
}

impl Stored {
    pub(crate) fn context(&self, subtask: u32, parallelism: u32) -> OpenContext {
        let mut store = Store::default();
        self.deltas.iter().for_each(|(checkpoint, deltas)| store.commit(*checkpoint, deltas));
        let mut context = context(Arc::new(store), SubtaskIndex(subtask), parallelism);
        let (uid, subtasks) = ("step".to_string(), self.snapshots.clone());
        let record = OperatorRecord { uid, kind: OperatorKind::Keyed, states: Vec::new(), subtasks };
        let restored: &mut CheckpointMetadata = Arc::get_mut(&mut context.restored).unwrap();
        restored.operators.push(record);
        context
    }
}

/// The subtasks of a step, and what they have given.
pub(crate) struct Job<O: Operator> {
    pub(crate) stream: Stream<O>,
    pub(crate) clock: Hand,
    pub(crate) subtasks: Vec<O>,
    /// What each has heard of time.
    pub(crate) heads: Vec<Watermark>,
    pub(crate) stored: Stored,
    pub(crate) rows: Vec<(O::Out, O::Time)>,
    /// Records, and groups with nothing due, for which one slice lasts.
    pub(crate) slice: u64,
}

impl<O: Operator> Job<O> {
    pub(crate) fn new(stream: Stream<O>, parallelism: u32) -> Self {
        let clock = Hand::default();
        let mut job = Self {
            stream,
            clock,
            subtasks: Vec::new(),
            heads: Vec::new(),
            stored: Stored { event_time: vec![i64::MIN], ..Stored::default() },
            rows: Vec::new(),
            slice: 1_000,
        };
        job.restore(parallelism);
        job
    }

    pub(crate) fn with_slice<R>(&mut self, subtask: usize, code: impl FnOnce(&mut O, &mut Slice<'_>) -> R) -> R {
        let mut stride = 1;
        let mut slice = Slice::new(&self.clock, Duration::from_secs(1), self.slice, &mut stride);
        code(&mut self.subtasks[subtask], &mut slice)
    }

    pub(crate) fn mark(&mut self, subtask: usize, time: i64) -> Watermark {
        self.heads[subtask].time = self.heads[subtask].time.max(Timestamp(time));
        let head = self.heads[subtask];
        self.with_slice(subtask, |step, slice| step.watermark(head, slice))
    }

    pub(crate) fn mark_all(&mut self, time: i64) {
        for subtask in 0..self.subtasks.len() {
            self.mark(subtask, time);
        }
    }

    pub(crate) fn feed<V: Record + Clone>(&mut self, records: &[(u32, i64, V)]) {
        for subtask in 0..self.subtasks.len() {
            let range = KeyGroupRange::of_subtask(SubtaskIndex(subtask as u32), self.subtasks.len() as u32, GROUPS);
            let own = records.iter().filter(|(key, ..)| range.contains(KeyGroup::of_hash(key.hash64(), GROUPS)));
            let own: Vec<_> = own
                .map(|(key, time, value)| Stamped { record: (*key, value.clone()), time: Timestamp(*time) })
                .collect();
            if !own.is_empty() {
                self.subtasks[subtask].feed(Box::new(own));
            }
        }
    }

    /// Lets a subtask give at most one row: whether it has anything more to do.
    pub(crate) fn step(&mut self, subtask: usize) -> bool {
        let mut given = Vec::new();
        let flow = self.with_slice(subtask, |step, slice| {
            step.drive(slice, &mut |_, row, time| {
                given.push((row, time));
                Err(Stop::Yield)
            })
        });
        assert!(!matches!(flow, Err(Stop::Failed(_))), "{flow:?}");
        self.rows.append(&mut given);
        self.mark(subtask, i64::MIN);
        self.subtasks[subtask].has_leftover() || self.subtasks[subtask].has_due()
    }

    pub(crate) fn settle(&mut self) {
        for subtask in 0..self.subtasks.len() {
            (0..100_000).find(|_| !self.step(subtask)).expect("it comes to an end");
        }
    }

    pub(crate) fn do_all<V: Record + Clone>(&mut self, events: &[Event<V>]) {
        for event in events {
            self.begin(event);
            self.settle();
        }
    }

    pub(crate) fn begin<V: Record + Clone>(&mut self, event: &Event<V>) {
        match event {
            Event::Batch(records) => self.feed(records),
            Event::Mark(time) => self.mark_all(*time),
        }
    }

    /// Takes a checkpoint, if this is a place between records.
    pub(crate) fn snapshot(&mut self) -> bool {
        if self.subtasks.iter_mut().any(|step| step.has_leftover()) {
            return false;
        }
        let checkpoint = self.stored.deltas.last().map_or(CheckpointId(1), |(last, _)| last.next());
        let (mut deltas, mut snapshots) = (Vec::new(), Vec::new());
        for step in &mut self.subtasks {
            let mut snapshot = SnapshotBuilder::new(checkpoint, false, WallTime(0));
            step.snapshot(&mut snapshot).unwrap();
            deltas.extend(snapshot.deltas);
            snapshots.extend(snapshot.operators.into_iter().map(|(_, snapshot)| snapshot));
            step.completed(checkpoint);
        }
        self.stored.deltas.push((checkpoint, deltas));
        self.stored.snapshots = snapshots;
        self.stored.event_time = self.heads.iter().map(|head| head.time.0).collect();
        true
    }

    /// Goes on from the last checkpoint; what the inputs had said is the least of what they said to one of the subtasks.
    pub(crate) fn restore(&mut self, parallelism: u32) {
        let event_time = Timestamp(*self.stored.event_time.iter().min().unwrap());
        self.subtasks.clear();
        for subtask in 0..parallelism {
            let mut step = built(&self.stream, subtask, parallelism);
            step.open(&self.stored.context(subtask, parallelism)).unwrap();
            self.subtasks.push(step);
        }
        self.heads = vec![Watermark { time: event_time, is_idle: false }; parallelism as usize];
        self.mark_all(i64::MIN);
    }

    /// All that the events say, interrupted: a crash undoes what came behind the last snapshot, and it is done again. Gives how many records were dropped as late.
    pub(crate) fn do_interrupted<V: Record + Clone>(
        &mut self,
        events: &[Event<V>],
        interruptions: Vec<Option<Interruption>>,
    ) -> u64 {
        self.snapshot();
        // What the last checkpoint is behind of: events, rows, and late records.
        let (mut stored, mut next, mut late) = ((0, 0, 0), 0, 0);
        let mut interruptions = interruptions.into_iter();
        loop {
            let is_busy = (0..self.subtasks.len()).filter(|subtask| self.step(*subtask)).count() > 0;
            late += self.subtasks.iter_mut().map(|step| step.take_late()).sum::<u64>();
            match interruptions.next().flatten() {
                Some(Interruption::Snapshot) if self.snapshot() => stored = (next, self.rows.len(), late),
                Some(Interruption::Crash(parallelism)) => {
                    self.restore(parallelism);
                    (next, late) = (stored.0, stored.2);
                    self.rows.truncate(stored.1);
                    continue;
                }
                _ => {}
            }
            if !is_busy {
                let Some(event) = events.get(next) else { return late };
                self.begin(event);
                next += 1;
            }
        }
    }

    pub(crate) fn taken(&mut self) -> Vec<(O::Out, O::Time)> {
        std::mem::take(&mut self.rows)
    }
}

/// How many entries of a state the last checkpoint holds.
fn stored(stored: &Stored, state: &str) -> usize {
    let mut store = Store::default();
    stored.deltas.iter().for_each(|(checkpoint, deltas)| store.commit(*checkpoint, deltas));
    let (mut live, address) = (BTreeSet::new(), StateAddress { operator: "step".into(), state: state.into() });
    let mut visit = |bytes: &[u8]| {
        for entry in Block::parse(bytes).unwrap().map(Result::unwrap) {
            match entry.value {
                Some(_) => drop(live.insert(entry.key.to_vec())),
                None => drop(live.remove(entry.key)),
            }
        }
    };
    let all = KeyGroupRange { start: 0, end: GROUPS };
    store
        .read(&address, all, &mut |_, _, _, bytes| {
            visit(bytes);
            Ok(())
        })
        .unwrap();
    live.len()
}

/// How many entries of each state the subtasks have.
pub(crate) fn kept<O: Operator>(job: &mut Job<O>, states: &[&str]) -> Vec<usize> {
    assert!(job.snapshot());
    states.iter().map(|state| stored(&job.stored, state)).collect()
}

/// What comes in between.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Interruption {
    Snapshot,
    /// And go on with so many subtasks.
    Crash(u32),
}

pub(crate) fn interruptions() -> impl Strategy<Value = Vec<Option<Interruption>>> {
    let interruption = prop_oneof![
        12 => Just(None),
        4 => Just(Some(Interruption::Snapshot)),
        1 => (1..4_u32).prop_map(|parallelism| Some(Interruption::Crash(parallelism))),
    ];
    proptest::collection::vec(interruption, 0..120)
}
