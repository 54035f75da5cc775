//! Whatever happens between its calls, a file sink publishes exactly the records of completed checkpoints.
//!
//! A small engine drives the sink as its contract says, through random writes, checkpoints that complete or are aborted, commits
//! that get lost, and crashes that take with them what was not synced. Records are numbers that never come twice. The
//! oracle is a set of numbers: those written before the barrier of a checkpoint that completed.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use cofferdam::connector::{FileSink, FileTransaction, FileWriter, FileWriterState, Roll};
use cofferdam_engine::{Attempt, CheckpointId, JobId, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink};
use proptest::prelude::*;
use tempfile::TempDir;

#[derive(Clone, Debug)]
enum Step {
    Write {
        subtask: usize,
        records: u64,
    },
    /// What becomes of the checkpoint.
    Checkpoint(Outcome),
    /// A consumer takes what it finds.
    Consume,
    Crash {
        parallelism: usize,
        process_dies: bool,
        recoveries: usize,
        lost: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Committed,
    /// Durable, but the subtasks do not hear of it.
    CompletedUnheard,
    Aborted,
    /// Some subtasks have frozen, and some of these have pre-committed, when the crash comes that should follow.
    Interrupted {
        frozen: usize,
        pre_committed: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop_oneof![
        4 => Just(Outcome::Committed),
        1 => Just(Outcome::CompletedUnheard),
        1 => Just(Outcome::Aborted),
        1 => (0..4usize, 0..4usize).prop_map(|(frozen, pre_committed)| Outcome::Interrupted { frozen, pre_committed }),
    ];
    let crash = (1..4usize, any::<bool>(), 1..3usize, any::<u64>());
    prop_oneof![
        6 => (0..3usize, 0..8u64).prop_map(|(subtask, records)| Step::Write { subtask, records }),
        4 => outcome.prop_map(Step::Checkpoint),
        1 => Just(Step::Consume),
        1 => crash.prop_map(|(parallelism, process_dies, recoveries, lost)| {
            Step::Crash { parallelism, process_dies, recoveries, lost }
        }),
    ]
}

fn roll() -> impl Strategy<Value = Roll> {
    prop_oneof![(1..5u32).prop_map(Roll::Checkpoints), (1..80u64).prop_map(Roll::Bytes)]
}

/// What a checkpoint keeps for the sink.
#[derive(Default)]
struct Stored {
    checkpoint: u64,
    transactions: Vec<Vec<u8>>,
    writers: Vec<Vec<u8>>,
}

struct Engine {
    sink: FileSink<u64>,
    dir: PathBuf,
    temp: TempDir,
    attempt: u64,
    next_checkpoint: u64,
    stored: Stored,
    writers: Vec<FileWriter<u64>>,
    /// Prepared, and not reported as committed.
    owed: Vec<FileTransaction>,
    next_record: u64,
    /// Written since the last completed checkpoint.
    uncovered: BTreeSet<u64>,
    covered: BTreeSet<u64>,
    consumed: Vec<String>,
}

fn to_bytes<T: serde::Serialize>(values: &[T]) -> Vec<Vec<u8>> {
    values.iter().map(|value| postcard::to_stdvec(value).unwrap()).collect()
}

fn from_bytes<T: serde::de::DeserializeOwned>(values: &[Vec<u8>]) -> Vec<T> {
    values.iter().map(|bytes| postcard::from_bytes(bytes).unwrap()).collect()
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect()
}

impl Engine {
    fn start(roll: Roll) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("out");
        let mut engine = Self {
            sink: FileSink::lines(&dir).roll_every(roll),
            dir,
            temp,
            attempt: 0,
            next_checkpoint: 1,
            stored: Stored::default(),
            writers: Vec::new(),
            owed: Vec::new(),
            next_record: 0,
            uncovered: BTreeSet::new(),
            covered: BTreeSet::new(),
            consumed: Vec::new(),
        };
        engine.run_attempt(2, 1);
        engine
    }

    fn run_attempt(&mut self, parallelism: usize, recoveries: usize) {
        for _ in 0..recoveries {
            self.attempt += 1;
            let context = self.context();
            self.sink.claim(&context).unwrap();
            let states: Vec<FileWriterState> = from_bytes(&self.stored.writers);
            self.sink.recover(&context, from_bytes(&self.stored.transactions), &states).unwrap();
        }
        let mut restored: Vec<Vec<FileWriterState>> = (0..parallelism).map(|_| Vec::new()).collect();
        for (i, state) in from_bytes(&self.stored.writers).into_iter().enumerate() {
            restored[i % parallelism].push(state);
        }
        let context = self.context();
        let open = |(i, states)| self.sink.open(&context, SubtaskIndex(i as u32), states).unwrap();
        self.writers = restored.into_iter().enumerate().map(open).collect();
    }

    fn context(&self) -> SinkContext {
        SinkContext {
            job: JobId(7),
            job_name: "job".to_string(),
            operator: "sink".to_string(),
            attempt: Attempt(self.attempt),
            restored: CheckpointId(self.stored.checkpoint),
            state_place: "state".to_string(),
        }
    }

    fn write(&mut self, subtask: usize, records: u64) {
        let subtask = subtask % self.writers.len();
        for _ in 0..records {
            self.writers[subtask].write(self.next_record).unwrap();
            self.uncovered.insert(self.next_record);
            self.next_record += 1;
        }
    }

    fn checkpoint(&mut self, outcome: Outcome, last: bool) {
        let checkpoint = self.next_checkpoint;
        self.next_checkpoint += 1;
        let mut states = Vec::new();
        for (i, writer) in self.writers.iter_mut().enumerate() {
            if matches!(outcome, Outcome::Interrupted { frozen, .. } if i >= frozen) {
                break;
            }
            let (frozen, state) = writer.freeze(CheckpointId(checkpoint), last).unwrap();
            states.push(state);
            if matches!(outcome, Outcome::Interrupted { pre_committed, .. } if i >= pre_committed) {
                continue;
            }
            self.owed.extend(self.sink.pre_commit(frozen).unwrap());
        }
        if matches!(outcome, Outcome::Committed | Outcome::CompletedUnheard) {
            self.stored = Stored { checkpoint, transactions: to_bytes(&self.owed), writers: to_bytes(&states) };
            self.covered.append(&mut self.uncovered);
        }
        if outcome == Outcome::Committed {
            for transaction in self.owed.drain(..) {
                self.sink.commit(&transaction).unwrap();
            }
        }
    }

    /// The writers go, and what no `pre_commit` synced goes partly too.
    fn crash(&mut self, parallelism: usize, process_dies: bool, recoveries: usize, lost: u64) {
        self.writers.clear();
        self.owed.clear();
        self.uncovered.clear();
        self.lose_unsynced(lost);
        if process_dies {
            self.next_checkpoint = self.stored.checkpoint + 1;
        }
        self.run_attempt(parallelism, recoveries);
    }

    /// The test knows what must have been synced: what the stored checkpoint names, up to the length it says.
    fn lose_unsynced(&self, lost: u64) {
        // Both are plain strings and numbers to postcard, whatever their fields' names and visibility.
        let states: Vec<Option<(String, u64, u32)>> = from_bytes(&self.stored.writers);
        let transactions: Vec<(String, Vec<(String, String)>)> = from_bytes(&self.stored.transactions);
        let growing: BTreeMap<String, u64> = states.into_iter().flatten().map(|(name, len, _)| (name, len)).collect();
        let prepared: BTreeSet<String> =
            transactions.into_iter().flat_map(|(_, files)| files).map(|(name, _)| name).collect();
        for (i, path) in files_in(&self.dir.join(".cofferdam/pending")).into_iter().enumerate() {
            let name = path.file_name().unwrap().to_str().unwrap();
            if prepared.contains(name) {
                continue;
            }
            let on_disk = fs::metadata(&path).unwrap().len();
            let synced = growing.get(name).copied().unwrap_or(0);
            let kept = synced + (lost.rotate_left(i as u32) % (on_disk - synced + 1));
            fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(kept).unwrap();
            if kept == 0 && !growing.contains_key(name) {
                fs::remove_file(&path).unwrap();
            }
        }
    }

    fn consume(&mut self) {
        for path in files_in(&self.dir) {
            self.consumed.push(fs::read_to_string(&path).unwrap());
            fs::rename(&path, self.temp.path().join("taken")).unwrap();
        }
    }

    /// Every number in every file there ever was; each file in its order, and none twice.
    fn published(&self) -> BTreeSet<u64> {
        let mut published = BTreeSet::new();
        let visible = files_in(&self.dir).into_iter().map(|path| fs::read_to_string(path).unwrap());
        for content in self.consumed.iter().cloned().chain(visible) {
            assert!(content.ends_with('\n'), "a file ends within a record");
            let numbers: Vec<u64> = content.lines().map(|line| line.parse().unwrap()).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
            for number in numbers {
                assert!(published.insert(number), "{number} is published twice");
            }
        }
        published
    }

    /// Takes a step, and what must follow it; whether the sink then owes nothing.
    fn take(&mut self, step: &Step) -> bool {
        match *step {
            Step::Write { subtask, records } => self.write(subtask, records),
            Step::Consume => self.consume(),
            Step::Crash { parallelism, process_dies, recoveries, lost } => {
                self.crash(parallelism, process_dies, recoveries, lost);
                return true;
            }
            Step::Checkpoint(outcome) => {
                self.checkpoint(outcome, false);
                if let Outcome::Interrupted { frozen, pre_committed } = outcome {
                    self.crash(1 + frozen % 3, pre_committed % 2 == 0, 1, 0x9e37_79b9_7f4a_7c15 << frozen);
                }
                return outcome != Outcome::CompletedUnheard && outcome != Outcome::Aborted;
            }
        }
        false
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn exactly_the_records_of_completed_checkpoints_are_published(
        roll in roll(),
        steps in prop::collection::vec(step(), 1..50),
    ) {
        let mut engine = Engine::start(roll);
        for step in &steps {
            let owes_nothing = engine.take(step);
            let published = engine.published();
            prop_assert!(published.is_subset(&engine.covered), "{:?} is not covered", published.difference(&engine.covered));
            // A file that ends with every checkpoint holds nothing back.
            if owes_nothing && roll == Roll::Checkpoints(1) {
                prop_assert_eq!(&published, &engine.covered);
            }
        }
        engine.checkpoint(Outcome::Committed, true);
        prop_assert_eq!(engine.published(), engine.covered.clone());
        prop_assert!(files_in(&engine.dir.join(".cofferdam/pending")).is_empty());
    }
}
