//! One job's sink on one place, called in the order of the contract.

use std::{fmt::Debug, ops::Range};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, JobId, Ownership, SinkContext, SinkWriter as _, SubtaskIndex, TwoPhaseSink,
};

use super::{Checked, SinkClause, SinkHarness, broken};
use crate::{
    bag::difference,
    stored::{decode, encode},
};

/// The job that the place is claimed for.
pub(super) const JOB: JobId = JobId(0x1);

/// What ends an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// A step has failed: the process goes on with the same sink.
    Attempt,
    /// The sink dies, too.
    Process,
}

/// What the newest durable checkpoint keeps of the sink, encoded.
#[derive(Default)]
struct Stored {
    checkpoint: CheckpointId,
    transactions: Vec<Vec<u8>>,
    writers: Vec<Vec<u8>>,
}

pub(super) struct Run<'h, P, S: TwoPhaseSink<T>, T> {
    harness: &'h SinkHarness<P, S, T>,
    place: P,
    /// Of this process; `None` while there is none.
    sink: Option<S>,
    writers: Vec<S::Writer>,
    attempt: Attempt,
    /// Of the last barrier.
    checkpoint: CheckpointId,
    frozen: Vec<S::Frozen>,
    /// As of the last barrier.
    states: Vec<Vec<u8>>,
    /// What this attempt has prepared, in the order of the barriers.
    prepared: Vec<Vec<u8>>,
    stored: Stored,
    /// Records below this number have been written.
    written: u64,
}

impl<'h, P, S, T> Run<'h, P, S, T>
where
    S: TwoPhaseSink<T>,
    T: PartialEq + Debug + 'static,
{
    /// On a new place that nobody has claimed.
    pub(super) fn new(harness: &'h SinkHarness<P, S, T>) -> Self {
        Self {
            place: (harness.place)(),
            harness,
            sink: None,
            writers: Vec::new(),
            attempt: Attempt(0),
            checkpoint: CheckpointId(0),
            frozen: Vec::new(),
            states: Vec::new(),
            prepared: Vec::new(),
            stored: Stored::default(),
            written: 0,
        }
    }

    /// On a new place, with an attempt of `parallelism` subtasks under way.
    pub(super) fn started(harness: &'h SinkHarness<P, S, T>, parallelism: u32) -> Checked<Self> {
        let mut run = Self::new(harness);
        run.start(parallelism)?;
        Ok(run)
    }

    /// For messages: where in the job's life this is.
    fn at(&self) -> String {
        let (attempt, stored, barrier) = (self.attempt, self.stored.checkpoint, self.checkpoint);
        let parallelism = self.writers.len();
        format!("attempt {attempt}, parallelism {parallelism}, last barrier {barrier}, last checkpoint stored {stored}")
    }

    fn ok<R>(&self, clause: SinkClause, call: &str, result: Result<R, BoxError>) -> Checked<R> {
        result.or_else(|error| broken(clause, format!("{}: `{call}` failed: {error}", self.at())))
    }

    pub(super) fn context(&self, job: JobId) -> SinkContext {
        SinkContext {
            job,
            job_name: "sink-harness".to_string(),
            operator: "sink".to_string(),
            attempt: self.attempt,
            restored: self.stored.checkpoint,
            state_place: "the harness".to_string(),
        }
    }

    /// The process's sink, made anew if the process has just begun.
    pub(super) fn sink(&mut self) -> &S {
        self.sink.get_or_insert_with(|| (self.harness.sink)(&self.place))
    }

    pub(super) fn owner(&mut self) -> Checked<Ownership> {
        let owner = self.sink().owner();
        self.ok(SinkClause::Owner, "owner", owner)
    }

    pub(super) fn claim(&mut self) -> Checked<()> {
        let context = self.context(JOB);
        let claimed = self.sink().claim(&context);
        self.ok(SinkClause::Claim, "claim", claimed)
    }

    pub(super) fn recover(&mut self) -> Checked<()> {
        let clause = SinkClause::Recover;
        let transactions = self.stored.transactions.iter().map(|bytes| decode(bytes)).collect();
        let transactions = self.ok(clause, "decoding a transaction", transactions)?;
        let writers: Result<Vec<_>, _> = self.stored.writers.iter().map(|bytes| decode(bytes)).collect();
        let writers = self.ok(clause, "decoding a writer's state", writers)?;
        let context = self.context(JOB);
        let recovered = self.sink().recover(&context, transactions, &writers);
        self.ok(clause, "recover", recovered)
    }

    /// How far the sink says that it has published.
    pub(super) fn published_up_to(&mut self) -> Checked<Option<CheckpointId>> {
        let context = self.context(JOB);
        let published = self.sink().published(&context);
        self.ok(SinkClause::Published, "published", published)
    }

    /// That is `committed`; or nothing, from a sink that cannot tell.
    pub(super) fn expect_published_up_to(
        &mut self,
        committed: Option<CheckpointId>,
        can_tell: Option<bool>,
    ) -> Checked<()> {
        for _ in 0..2 {
            let said = self.published_up_to()?;
            if said != committed && (said.is_some() || can_tell == Some(true)) {
                let detail =
                    format!("the newest checkpoint committed is {committed:?}, and `published` gives {said:?}");
                return self.broken(SinkClause::Published, &detail);
            }
        }
        Ok(())
    }

    /// Whether the sink has everything that the durable checkpoint's transactions name.
    pub(super) fn has_all_prepared(&mut self) -> Checked<bool> {
        let (clause, context) = (SinkClause::HasPrepared, self.context(JOB));
        let mut has_all = true;
        for bytes in self.stored.transactions.clone() {
            let transaction = self.ok(SinkClause::PreCommit, "decoding a transaction", decode(&bytes))?;
            let has = self.sink().has_prepared(&context, &transaction);
            has_all &= self.ok(clause, "has_prepared", has)?;
        }
        Ok(has_all)
    }

    /// Likewise, what its writers' states name.
    pub(super) fn has_all_begun(&mut self) -> Checked<bool> {
        let (clause, context) = (SinkClause::HasBegun, self.context(JOB));
        let mut has_all = true;
        for bytes in self.stored.writers.clone() {
            let state = self.ok(SinkClause::WriterState, "decoding a writer's state", decode(&bytes))?;
            let has = self.sink().has_begun(&context, &state);
            has_all &= self.ok(clause, "has_begun", has)?;
        }
        Ok(has_all)
    }

    /// The same job, on a new place, with a copy of its checkpoint.
    pub(super) fn elsewhere(&self) -> Self {
        let mut other = Self::new(self.harness);
        other.stored = Stored {
            checkpoint: self.stored.checkpoint,
            transactions: self.stored.transactions.clone(),
            writers: self.stored.writers.clone(),
        };
        (other.attempt, other.checkpoint, other.written) = (self.attempt, self.checkpoint, self.written);
        other
    }

    /// Begins an attempt from the newest durable checkpoint.
    pub(super) fn start(&mut self, parallelism: u32) -> Checked<()> {
        self.attempt = self.attempt.next();
        self.checkpoint = self.stored.checkpoint;
        self.claim()?;
        self.recover()?;
        let context = self.context(JOB);
        for subtask in 0..parallelism {
            let mine = self.stored.writers.iter().skip(subtask as usize).step_by(parallelism as usize);
            let states = mine.map(|bytes| decode(bytes)).collect();
            let states = self.ok(SinkClause::WriterState, "decoding a writer's state", states)?;
            let opened = self.sink().open(&context, SubtaskIndex(subtask), states);
            let writer = self.ok(SinkClause::Open, "open", opened)?;
            self.writers.push(writer);
        }
        Ok(())
    }

    /// The attempt is over, and what it has prepared not forgotten.
    pub(super) fn end_attempt(&mut self) {
        self.writers.clear();
        self.frozen.clear();
    }

    /// Gives up what the attempt has prepared and the durable checkpoint does not name.
    pub(super) fn abort_orphans(&mut self) -> Checked<()> {
        for bytes in self.prepared.clone() {
            if !self.stored.transactions.contains(&bytes) {
                let transaction = self.ok(SinkClause::PreCommit, "decoding a transaction", decode(&bytes))?;
                let aborted = self.sink().abort(&transaction);
                self.ok(SinkClause::Abort, "abort", aborted)?;
            }
        }
        Ok(())
    }

    /// The process dies.
    pub(super) fn crash(&mut self) {
        self.die(Death::Process);
    }

    fn die(&mut self, death: Death) {
        self.writers.clear();
        self.frozen.clear();
        self.states.clear();
        self.prepared.clear();
        if death == Death::Process {
            self.sink = None;
        }
    }

    /// Dies, and [starts](Self::start) again.
    pub(super) fn restart(&mut self, death: Death, parallelism: u32) -> Checked<()> {
        self.die(death);
        self.start(parallelism)
    }

    /// Writes the records of these numbers, to the subtasks in turn.
    pub(super) fn write(&mut self, numbers: Range<u64>) -> Checked<()> {
        let subtasks = self.writers.len();
        self.written = self.written.max(numbers.end);
        for number in numbers {
            let record = (self.harness.record)(number);
            let written = self.writers[number as usize % subtasks].write(record);
            self.ok(SinkClause::Write, "write", written)?;
        }
        Ok(())
    }

    /// The barrier of the next checkpoint: the part on the data path.
    pub(super) fn freeze(&mut self, last: bool) -> Checked<()> {
        self.checkpoint = self.checkpoint.next();
        self.states.clear();
        for number in 0..self.writers.len() {
            let frozen = self.writers[number].freeze(self.checkpoint, last);
            let (frozen, state) = self.ok(SinkClause::Freeze, "freeze", frozen)?;
            let state = self.ok(SinkClause::WriterState, "encoding a writer's state", encode(&state))?;
            self.states.push(state);
            self.frozen.push(frozen);
        }
        Ok(())
    }

    /// The part of the barrier that may block.
    pub(super) fn pre_commit(&mut self) -> Checked<()> {
        for frozen in std::mem::take(&mut self.frozen) {
            let prepared = self.sink().pre_commit(frozen);
            if let Some(transaction) = self.ok(SinkClause::PreCommit, "pre_commit", prepared)? {
                let bytes = self.ok(SinkClause::PreCommit, "encoding a transaction", encode(&transaction))?;
                self.prepared.push(bytes);
            }
        }
        Ok(())
    }

    /// A checkpoint up to its acknowledgement. If it is not completed, it is aborted.
    pub(super) fn barrier(&mut self, last: bool) -> Checked<()> {
        self.freeze(last)?;
        self.pre_commit()
    }

    /// The last barrier's checkpoint becomes durable.
    pub(super) fn complete(&mut self) {
        let (transactions, writers) = (self.prepared.clone(), self.states.clone());
        self.stored = Stored { checkpoint: self.checkpoint, transactions, writers };
    }

    /// Commits what the durable checkpoint holds, and gives how many transactions that were. An error breaks `clause`.
    pub(super) fn commit(&mut self, clause: SinkClause) -> Checked<usize> {
        let due = self.stored.transactions.clone();
        for bytes in &due {
            let transaction = self.ok(SinkClause::PreCommit, "decoding a transaction", decode(bytes))?;
            let committed = self.sink().commit(&transaction);
            self.ok(clause, "commit", committed)?;
        }
        Ok(due.len())
    }

    /// The subtasks have heard that everything is published: later checkpoints do not carry it.
    pub(super) fn forget(&mut self) {
        self.prepared.clear();
    }

    /// A barrier whose checkpoint completes and is published.
    pub(super) fn checkpoint(&mut self, last: bool) -> Checked<()> {
        self.barrier(last)?;
        self.complete();
        self.commit(SinkClause::Commit)?;
        self.forget();
        Ok(())
    }

    pub(super) fn published(&self) -> Vec<T> {
        (self.harness.published)(&self.place)
    }

    /// Exactly these records are visible.
    pub(super) fn expect(&self, clause: SinkClause, when: &str, numbers: Range<u64>) -> Checked<()> {
        self.compare(clause, clause, when, numbers)
    }

    /// These records are visible, each once: `missing` is broken if one is not, `more` if another one is, or one twice.
    pub(super) fn compare(
        &self,
        missing: SinkClause,
        more: SinkClause,
        when: &str,
        numbers: Range<u64>,
    ) -> Checked<()> {
        self.expect_no_more(more, when, numbers.clone())?;
        let (expected, seen) = (self.records(numbers.clone()), self.published());
        let (lacking, _) = difference(&expected, &seen);
        let Some(first) = lacking.first() else { return Ok(()) };
        let (at, lacking) = (self.at(), self.numbers(&lacking));
        let detail = format!(
            "{at}: {when}, records {numbers:?} were to be visible: missing {lacking}, of which the first is {first:?}"
        );
        broken(missing, detail)
    }

    /// No other records are visible, and none of these twice.
    pub(super) fn expect_no_more(&self, clause: SinkClause, when: &str, numbers: Range<u64>) -> Checked<()> {
        let (expected, seen) = (self.records(numbers.clone()), self.published());
        let (_, more) = difference(&expected, &seen);
        let Some(first) = more.first() else { return Ok(()) };
        let (at, more) = (self.at(), self.numbers(&more));
        let none = if numbers.is_empty() { "none" } else { "each once" };
        let detail = format!(
            "{at}: {when}, records {numbers:?} were to be visible, {none}, and no other: too many {more}, of which the first is {first:?}"
        );
        broken(clause, detail)
    }

    /// Each of these records is visible here, or at the other place.
    pub(super) fn expect_here_or(
        &self,
        other: &Self,
        clause: SinkClause,
        when: &str,
        numbers: Range<u64>,
    ) -> Checked<()> {
        let (expected, mut seen) = (self.records(numbers), self.published());
        seen.extend(other.published());
        let (lacking, _) = difference(&expected, &seen);
        let Some(first) = lacking.first() else { return Ok(()) };
        let (at, lacking) = (self.at(), self.numbers(&lacking));
        broken(clause, format!("{at}: {when}: missing {lacking}, of which the first is {first:?}"))
    }

    fn records(&self, numbers: Range<u64>) -> Vec<T> {
        numbers.map(|number| (self.harness.record)(number)).collect()
    }

    /// Which records these are, in their order; `?` for one that was never written.
    fn numbers(&self, records: &[&T]) -> String {
        let known = self.records(0..self.written);
        let number =
            |record: &&T| known.iter().position(|other| other == *record).map_or("?".to_string(), |n| n.to_string());
        let mut numbers: Vec<_> = records.iter().map(number).collect();
        numbers.sort_by_key(|number| (number.len(), number.clone()));
        format!("[{}]", numbers.join(", "))
    }

    /// For messages that are about no record.
    pub(super) fn broken<R>(&self, clause: SinkClause, detail: &str) -> Checked<R> {
        broken(clause, format!("{}: {detail}", self.at()))
    }
}
