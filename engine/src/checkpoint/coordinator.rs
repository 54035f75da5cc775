//! The coordinator: decides when a checkpoint is triggered, complete, aborted, and when the job is done. One for each attempt.
//!
//! # Invariants
//! - At most `max_concurrent` checkpoints are *pending* (triggered, not handed to the store) or *committing* (one at most); a committing one is never aborted.
//! - Numbers grow with every trigger, aborted ones included. Checkpoints are committed in the order of their numbers.
//! - A checkpoint completes only with an acknowledgement of every subtask, all of this attempt.
//! - *Completed* is announced after the store reported the commit durable, never before.
//! - A savepoint's checkpoint is aligned, is triggered as soon as there is room, and is not tried again.
//! - The job is done only when the final checkpoint is durable and every two-phase sink reported its transactions up to it published.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    checkpoint::{
        config::CheckpointConfig,
        inherited::Inherited,
        layout::{Acknowledged, JobLayout},
        snapshot::{
            CheckpointCommit, CheckpointMetadata, OperatorKind, SnapshotStats, StateDelta, SubtaskId, SubtaskSnapshot,
        },
        source_alignment::{Limit, SourceAlignment},
        stats::{CheckpointFailureReason, CheckpointKind, CheckpointStats, SubtaskStats},
        store::CommitStats,
    },
    element::{CheckpointBarrier, Watermark},
    error::{BoxError, Error, ErrorKind, NotRetryable},
    fail_point::Point,
    id::{AlignmentGroup, Attempt, CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
    panic_site,
};

/// How a job ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum JobEnd {
    /// The input ended, and everything is published.
    Finished,
    /// Stopped by the host behind a last checkpoint: the next start goes on from there.
    Stopped,
    /// Cancelled by the host.
    Cancelled,
}

/// What a subtask tells the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubtaskReport {
    /// It has frozen and prepared its part of a checkpoint.
    Acknowledged(CheckpointId, Box<SubtaskSnapshot>),
    /// It cannot take part in a checkpoint, and why.
    Declined(CheckpointId, String),
    /// Its two-phase sink has published everything up to a checkpoint.
    Published(CheckpointId),
    /// Its input has ended, and it has sent all that it led to.
    Finished,
    /// State that no checkpoint holds takes more of its heap than its share: the next checkpoint may come at once.
    HeapSpent,
    /// How far the slowest split is that it reads for an alignment group.
    SourceTime(AlignmentGroup, Watermark),
}

/// One request for a savepoint, as whoever passes it on counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SavepointTicket(pub u64);

/// What can happen to the coordinator.
#[derive(Clone, Debug)]
pub enum CoordinatorInput {
    /// Time has passed.
    Tick,
    /// A subtask of this attempt reports.
    Report(SubtaskId, SubtaskReport),
    /// The store has made a checkpoint durable.
    Committed(CheckpointId, CommitStats),
    /// The store could not take a checkpoint, for want of room as a rule, and has not changed.
    NotStored(CheckpointId, String),
    /// The host wants a last checkpoint, and no record behind it.
    Stop,
    /// The host wants the input to end.
    Drain,
    /// The host wants a checkpoint to write a savepoint from. Answered once: by [`CommitSavepoint`](CoordinatorEffect::CommitSavepoint) or
    /// [`SavepointFailed`](CoordinatorEffect::SavepointFailed), unless the attempt ends before.
    Savepoint(SavepointTicket),
}

/// What the coordinator wants done.
#[derive(Debug)]
pub enum CoordinatorEffect {
    /// Tell every source subtask.
    Trigger(CheckpointBarrier),
    /// Tell every source subtask to end its input.
    EndInput,
    /// Tell every subtask of this chain, the head of a loop, that the loop is empty for good.
    EndLoop(u32),
    /// Hand to the store; report with [`CoordinatorInput::Committed`].
    Commit(Box<CheckpointCommit>),
    /// As [`Commit`](Self::Commit); and pin the checkpoint before anything else is committed, and write these savepoints from it.
    CommitSavepoint(Box<CheckpointCommit>, Vec<SavepointTicket>),
    /// There will be no checkpoint for these savepoints, and why.
    SavepointFailed(Vec<SavepointTicket>, String),
    /// Tell the subtask that it names.
    Limit(Limit),
    /// Tell every subtask.
    Completed(CheckpointId),
    /// Tell every subtask.
    Aborted(CheckpointId),
    /// Remember.
    Record(Box<CheckpointStats>),
    /// The job is done.
    Done(JobEnd),
}

/// Before an ending job's last checkpoint is tried again, and before its completion is announced again.
const RETRY: Duration = Duration::from_millis(200);

/// Between two checkpoints that look whether a loop is empty.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    barrier: CheckpointBarrier,
    kind: CheckpointKind,
    skipped: u64,
    acknowledged: Acknowledged,
    /// What is to be written from it.
    savepoints: Vec<SavepointTicket>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Committing {
    checkpoint: CheckpointId,
    began: ProcessingTime,
    end: Option<JobEnd>,
    savepoints: Vec<SavepointTicket>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    config: CheckpointConfig,
    layout: Arc<JobLayout>,
    inherited: Inherited,
    attempt: Attempt,
    next: CheckpointId,
    /// When the interval is over next.
    beat: Option<ProcessingTime>,
    /// When to try again what is not bound to the interval.
    again: Option<ProcessingTime>,
    /// A subtask waits for a checkpoint.
    is_pressed: bool,
    /// It is kept waiting until then, as one has failed.
    not_pressed_before: ProcessingTime,
    /// The beat is kept waiting until then. What ends the job is not.
    not_before: ProcessingTime,
    /// Oldest first.
    pending: BTreeMap<CheckpointId, Pending>,
    committing: Option<(Committing, CheckpointStats)>,
    /// Savepoints whose checkpoint is to be triggered as soon as there is room.
    wanted: Vec<SavepointTicket>,
    failures_in_a_row: u32,
    /// The checkpoint that was one failure too many.
    fatal: Option<CheckpointStats>,
    finished: BTreeSet<SubtaskId>,
    alignment: SourceAlignment,
    /// Loops that are not empty for good.
    open_loops: BTreeSet<u32>,
    /// The host wants a last checkpoint, and no record behind it.
    is_stopping: bool,
    /// The host wants the input to end.
    is_draining: bool,
    /// The checkpoint after which there is nothing left to do but to publish.
    last: Option<(CheckpointId, JobEnd)>,
    /// For each subtask with a two-phase sink, up to where it has published.
    published: BTreeMap<SubtaskId, CheckpointId>,
    done: bool,
}

impl Coordinator {
    /// A coordinator whose first checkpoint gets the number `next`.
    pub fn new(
        config: CheckpointConfig,
        layout: Arc<JobLayout>,
        attempt: Attempt,
        next: CheckpointId,
        now: ProcessingTime,
    ) -> Self {
        let sinks = layout.operators.iter().filter(|operator| operator.kind == OperatorKind::TwoPhaseSink);
        let published = sinks
            .flat_map(|sink| layout.subtasks.keys().filter(move |subtask| subtask.chain == sink.chain))
            .map(|subtask| (*subtask, CheckpointId(0)))
            .collect();
        let beat = config.interval.map(|interval| now.after(interval));
        Self {
            config,
            inherited: Inherited::default(),
            attempt,
            next,
            beat,
            again: None,
            is_pressed: false,
            not_pressed_before: now,
            not_before: now,
            pending: BTreeMap::new(),
            committing: None,
            wanted: Vec::new(),
            failures_in_a_row: 0,
            fatal: None,
            finished: BTreeSet::new(),
            alignment: SourceAlignment::new(&layout),
            open_loops: layout.loops.keys().copied().collect(),
            layout,
            is_stopping: false,
            is_draining: false,
            last: None,
            published,
            done: false,
        }
    }

    /// The same, with what its checkpoints take over from the one that the attempt goes on from.
    #[must_use]
    pub fn inheriting(self, inherited: Inherited) -> Self {
        Self { inherited, ..self }
    }

    /// The job's name.
    pub fn job_name(&self) -> &str {
        &self.layout.job_name
    }

    /// The number that the next trigger will use.
    pub fn next_checkpoint(&self) -> CheckpointId {
        self.next
    }

    /// When to [`Tick`](CoordinatorInput::Tick), if nothing else happens before.
    pub fn deadline(&self) -> Option<ProcessingTime> {
        let expiry = self.pending.values().map(|pending| pending.barrier.triggered.after(self.config.timeout));
        expiry.chain(self.next_trigger()).min()
    }

    /// When something is triggered, or announced again.
    fn next_trigger(&self) -> Option<ProcessingTime> {
        if self.last.is_some() {
            return self.again.filter(|_| !self.done);
        }
        let beat = self.beat.map(|beat| beat.max(self.not_before));
        let pressed = self.is_pressed.then_some(self.not_before.max(self.not_pressed_before));
        beat.into_iter().chain(self.again).chain(pressed).min().filter(|_| self.has_room())
    }

    fn has_room(&self) -> bool {
        let under_way = self.pending.len() + usize::from(self.committing.is_some());
        under_way < self.config.max_concurrent.get() as usize
    }

    /// Takes one input. An error ends the attempt.
    pub fn step(&mut self, input: CoordinatorInput, now: ProcessingTime) -> Result<Vec<CoordinatorEffect>, Error> {
        let mut effects = Vec::new();
        let job = self.layout.job_name.clone();
        match panic_site::catch(|| self.take(input, now, &mut effects)) {
            Ok(Ok(())) => Ok(effects),
            Ok(Err(cause)) => {
                let message = format!("job '{job}': the checkpoint coordinator failed");
                Err(Error::new(ErrorKind::Operator, message, Some(cause)))
            }
            Err((_, message)) => {
                let message = format!("job '{job}': the checkpoint coordinator panicked: {message}");
                Err(Error::new(ErrorKind::Panic, message, None))
            }
        }
    }

    fn take(
        &mut self,
        input: CoordinatorInput,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        match input {
            CoordinatorInput::Tick => self.tick(now, effects),
            CoordinatorInput::Report(subtask, report) => self.report(subtask, report, now, effects),
            CoordinatorInput::Committed(checkpoint, stats) => self.committed(checkpoint, stats, now, effects),
            CoordinatorInput::NotStored(checkpoint, why) => self.not_stored(checkpoint, why, now, effects),
            CoordinatorInput::Stop => {
                self.is_stopping = true;
                self.trigger_if_ending(now, effects)
            }
            CoordinatorInput::Drain => {
                self.is_draining = true;
                effects.push(CoordinatorEffect::EndInput);
                Ok(())
            }
            CoordinatorInput::Savepoint(ticket) => self.want(ticket, now, effects),
        }
    }

    fn want(
        &mut self,
        ticket: SavepointTicket,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        self.wanted.push(ticket);
        if self.last.is_some() {
            self.fail_wanted(effects);
            return Ok(());
        }
        self.again = Some(now);
        self.trigger_if_due(now, effects)
    }

    /// No checkpoint comes any more.
    fn fail_wanted(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        let wanted = std::mem::take(&mut self.wanted);
        if !wanted.is_empty() {
            effects
                .push(CoordinatorEffect::SavepointFailed(wanted, "the job has taken its last checkpoint".to_string()));
        }
    }

    fn report(
        &mut self,
        subtask: SubtaskId,
        report: SubtaskReport,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        if !self.layout.subtasks.contains_key(&subtask) {
            return Ok(());
        }
        match report {
            SubtaskReport::Acknowledged(checkpoint, snapshot) => {
                self.acknowledged(subtask, checkpoint, *snapshot, now, effects)
            }
            SubtaskReport::Declined(checkpoint, reason) => self.declined(subtask, checkpoint, reason, now, effects),
            SubtaskReport::Published(checkpoint) => {
                self.published(subtask, checkpoint, effects);
                Ok(())
            }
            SubtaskReport::HeapSpent => {
                self.is_pressed = true;
                self.trigger_if_due(now, effects)
            }
            SubtaskReport::Finished => {
                self.finish(subtask, effects);
                self.trigger_if_ending(now, effects)
            }
            SubtaskReport::SourceTime(group, mark) => {
                effects.extend(self.alignment.heard(subtask, group, mark).into_iter().map(CoordinatorEffect::Limit));
                Ok(())
            }
        }
    }

    fn finish(&mut self, subtask: SubtaskId, effects: &mut Vec<CoordinatorEffect>) {
        if self.finished.insert(subtask) {
            effects.extend(self.alignment.finished(subtask).into_iter().map(CoordinatorEffect::Limit));
        }
    }

    fn tick(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        let is_late = |pending: &Pending| now >= pending.barrier.triggered.after(self.config.timeout);
        let late: Vec<_> = self.pending.values().filter(|pending| is_late(pending)).map(Pending::checkpoint).collect();
        for checkpoint in late {
            let reason =
                CheckpointFailureReason::Timeout { after: self.config.timeout, missing: self.missing(checkpoint) };
            self.abort(checkpoint, reason, now, effects)?;
        }
        self.trigger_if_due(now, effects)
    }

    /// Triggers what is due. The last checkpoint has no successor that would heal a lost message: so it is announced until every sink has answered.
    fn trigger_if_due(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        if self.next_trigger().is_none_or(|time| now < time) {
            return Ok(());
        }
        if let Some((last, _)) = self.last {
            self.again = Some(now.after(RETRY));
            effects.push(CoordinatorEffect::Completed(last));
            return Ok(());
        }
        self.trigger(now, effects)
    }

    fn acknowledged(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        if snapshot.finished {
            // Should the report of it be lost.
            self.finish(subtask, effects);
        }
        let Some(pending) = self.pending.get_mut(&checkpoint) else { return Ok(()) };
        pending.acknowledged.insert(subtask, (now, snapshot));
        let is_whole = pending.acknowledged.len() == self.layout.subtasks.len();
        self.layout.fail_points.reach(Point::Acknowledged, Some(subtask), checkpoint)?;
        if !is_whole {
            return Ok(());
        }
        self.layout.fail_points.reach(Point::LastAcknowledgement, Some(subtask), checkpoint)?;
        self.end_loops(checkpoint, effects);
        let older = self.pending.range(..checkpoint).filter(|(_, older)| !self.is_whole(older));
        let lost: Vec<_> = older.map(|(older, _)| *older).collect();
        for older in lost {
            // Subtasks acknowledge in order: a message was lost.
            self.abort(older, CheckpointFailureReason::Subsumed(checkpoint), now, effects)?;
        }
        self.commit_next(now, effects)
    }

    /// The names of those that have not acknowledged a checkpoint.
    fn missing(&self, checkpoint: CheckpointId) -> String {
        let acknowledged =
            |subtask| self.pending.get(&checkpoint).is_some_and(|one| one.acknowledged.contains_key(subtask));
        let missing = self.layout.subtasks.iter().filter(|(subtask, _)| !acknowledged(*subtask));
        missing.map(|(_, name)| &**name).collect::<Vec<_>>().join(", ")
    }

    fn is_whole(&self, pending: &Pending) -> bool {
        pending.acknowledged.len() == self.layout.subtasks.len()
    }

    /// A checkpoint is a consistent cut: a loop in which nothing circulated, and into which nothing can come, is empty for good. Where barriers overtake,
    /// records may be in flight elsewhere in the loop.
    fn end_loops(&mut self, checkpoint: CheckpointId, effects: &mut Vec<CoordinatorEffect>) {
        let Some(pending) = self.pending.get(&checkpoint) else { return };
        let all = |chain: &u32, is_so: fn(&SubtaskSnapshot) -> bool| {
            let mut subtasks = pending.acknowledged.iter().filter(|(subtask, _)| subtask.chain == *chain);
            subtasks.all(|(_, (_, snapshot))| is_so(snapshot))
        };
        // What requests come to may go round. Those outside of the loop come to something, too, sooner or later.
        let is_waiting = pending.acknowledged.values().any(|(_, snapshot)| snapshot.is_pending);
        if pending.barrier.overtakes.is_some() || is_waiting {
            return;
        }
        let is_quiet = |head: &u32| {
            let mut outside = self.layout.loops[head].iter();
            all(head, |head| head.is_quiet) && outside.all(|chain| all(chain, |subtask| subtask.finished))
        };
        let empty: Vec<_> = self.open_loops.iter().copied().filter(is_quiet).collect();
        for chain in empty {
            self.open_loops.remove(&chain);
            effects.push(CoordinatorEffect::EndLoop(chain));
        }
    }

    fn declined(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        reason: String,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let subtask = self.layout.subtasks[&subtask].to_string();
        self.abort(checkpoint, CheckpointFailureReason::Declined { subtask, reason }, now, effects)?;
        self.trigger_if_due(now, effects)
    }

    fn committed(
        &mut self,
        checkpoint: CheckpointId,
        stats: CommitStats,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let Some((committed, mut record)) = self.committing.take_if(|(one, _)| one.checkpoint == checkpoint) else {
            return Ok(());
        };
        record.end_to_end = now.since(record.triggered);
        record.commit = now.since(committed.began);
        record.bytes_written = stats.bytes;
        effects.push(CoordinatorEffect::Record(Box::new(record)));
        self.failures_in_a_row = 0;
        self.inherited.dropped.clear();
        self.layout.fail_points.reach(Point::CompletionAnnounced, None, checkpoint)?;
        effects.push(CoordinatorEffect::Completed(checkpoint));
        if let Some(end) = committed.end {
            self.last = Some((checkpoint, end));
            self.again = Some(now.after(RETRY));
            let rest: Vec<_> = self.pending.keys().copied().collect();
            for pending in rest {
                self.abort(pending, CheckpointFailureReason::AttemptEnded, now, effects)?;
            }
            self.fail_wanted(effects);
            self.if_done(effects);
            return Ok(());
        }
        self.not_before = now.after(self.config.min_pause);
        if self.is_ending() {
            let pause = if self.is_over() { Duration::ZERO } else { LOOK };
            self.again = Some(now.after(pause));
        }
        self.commit_next(now, effects)?;
        self.trigger_if_due(now, effects)
    }

    /// What it held is owed to the next one, as after any abort.
    fn not_stored(
        &mut self,
        checkpoint: CheckpointId,
        why: String,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let Some((committing, mut stats)) = self.committing.take_if(|(one, _)| one.checkpoint == checkpoint) else {
            return Ok(());
        };
        stats.end_to_end = now.since(stats.triggered);
        stats.commit = now.since(committing.began);
        self.aborted(stats, committing.savepoints, CheckpointFailureReason::NotStored(why), now, effects)?;
        self.commit_next(now, effects)?;
        self.trigger_if_due(now, effects)
    }

    fn published(&mut self, subtask: SubtaskId, checkpoint: CheckpointId, effects: &mut Vec<CoordinatorEffect>) {
        if let Some(published) = self.published.get_mut(&subtask) {
            *published = checkpoint.max(*published);
        }
        self.if_done(effects);
    }

    /// Nothing but a last checkpoint is left to do, or to find out that this is so.
    fn is_ending(&self) -> bool {
        let sources = || self.layout.subtasks.keys().filter(|subtask| self.layout.sources.contains(&subtask.chain));
        let is_circling = !self.open_loops.is_empty() && sources().all(|source| self.finished.contains(source));
        self.is_over() || is_circling
    }

    fn is_over(&self) -> bool {
        self.is_stopping || self.finished.len() == self.layout.subtasks.len()
    }

    fn trigger_if_ending(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        if self.is_ending() && self.last.is_none() {
            self.again = Some(now);
        }
        self.trigger_if_due(now, effects)
    }

    fn trigger(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        let (checkpoint, halt) = (self.next, self.is_stopping);
        let savepoints = std::mem::take(&mut self.wanted);
        self.next = self.next.next();
        self.again = None;
        self.is_pressed = false;
        let skipped = self.keep_beat(now);
        // What is stopped is to be published whole, a savepoint to be good for another topology, and a loop to be found empty: nothing may stay in flight. And no
        // barrier passes one that may not.
        let is_free = self.pending.values().all(|before| before.barrier.overtakes.is_some());
        let may_overtake = self.config.unaligned && !self.is_ending() && savepoints.is_empty() && is_free;
        let overtakes = may_overtake.then(|| now.after(self.config.aligned_timeout));
        let barrier = CheckpointBarrier { checkpoint, attempt: self.attempt, triggered: now, overtakes, halt };
        let kind = match (halt, self.is_ending()) {
            (true, _) => CheckpointKind::Stop,
            (false, true) => CheckpointKind::EndOfInput,
            (false, false) if !savepoints.is_empty() => CheckpointKind::Savepoint,
            (false, false) => CheckpointKind::Periodic,
        };
        self.pending.insert(checkpoint, Pending { barrier, kind, skipped, acknowledged: BTreeMap::new(), savepoints });
        self.layout.fail_points.reach(Point::Trigger, None, checkpoint)?;
        effects.push(CoordinatorEffect::Trigger(barrier));
        Ok(())
    }

    /// Moves on to the beat after `now`. How many went by unused.
    fn keep_beat(&mut self, now: ProcessingTime) -> u64 {
        let (Some(interval), Some(beat)) = (self.config.interval, self.beat) else { return 0 };
        if now < beat {
            // Off the beat: it begins anew.
            self.beat = Some(now.after(interval));
            return 0;
        }
        let missed = u64::try_from(now.since(beat).as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        let on = Duration::from_nanos((interval.as_nanos() as u64).saturating_mul(missed.saturating_add(1)));
        self.beat = Some(beat.after(on));
        missed
    }

    fn abort(
        &mut self,
        checkpoint: CheckpointId,
        reason: CheckpointFailureReason,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let Some(mut pending) = self.pending.remove(&checkpoint) else { return Ok(()) };
        let savepoints = std::mem::take(&mut pending.savepoints);
        let stats = self.stats(&pending, now, None);
        self.aborted(stats, savepoints, reason, now, effects)
    }

    /// A checkpoint will not be. An error if that has happened too often.
    fn aborted(
        &mut self,
        mut stats: CheckpointStats,
        savepoints: Vec<SavepointTicket>,
        reason: CheckpointFailureReason,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let checkpoint = stats.checkpoint;
        // Who wanted a savepoint is told.
        let is_counted = reason.is_failure() && stats.kind != CheckpointKind::Savepoint;
        self.failures_in_a_row += u32::from(is_counted);
        let tolerable = self.config.tolerable_failures.filter(|_| is_counted);
        let too_many = tolerable.filter(|tolerable| self.failures_in_a_row > *tolerable);
        let cause = too_many.map(|tolerable| {
            format!("checkpoint {checkpoint} was {reason}, and {tolerable} failed checkpoints in a row are tolerable")
        });
        if !savepoints.is_empty() {
            let why = format!("its checkpoint, {checkpoint}, was {reason}");
            effects.push(CoordinatorEffect::SavepointFailed(savepoints, why));
        }
        if reason.is_failure() {
            self.not_pressed_before = now.after(self.config.min_pause.max(RETRY));
        }
        stats.aborted = Some(reason);
        if let Some(cause) = cause {
            self.fatal = Some(stats);
            // What is stopped would only be stopped again: the last one that completed has to do.
            return Err(if self.is_stopping { NotRetryable::new(cause).into() } else { cause.into() });
        }
        effects.push(CoordinatorEffect::Record(Box::new(stats)));
        self.layout.fail_points.reach(Point::Abort, None, checkpoint)?;
        effects.push(CoordinatorEffect::Aborted(checkpoint));
        if self.is_ending() && self.last.is_none() {
            self.again = Some(now.after(RETRY));
            self.not_before = self.not_before.max(now.after(RETRY));
        }
        Ok(())
    }

    /// The attempt is over: what has become of the checkpoints that were under way.
    pub fn abandon(&mut self, now: ProcessingTime) -> Vec<CheckpointStats> {
        let committing = self.committing.take().map(|(_, mut record)| {
            record.aborted = Some(CheckpointFailureReason::AttemptEnded);
            record.end_to_end = now.since(record.triggered);
            record
        });
        let pending = std::mem::take(&mut self.pending);
        let pending: Vec<_> = pending
            .values()
            .map(|pending| self.stats(pending, now, Some(CheckpointFailureReason::AttemptEnded)))
            .collect();
        self.fatal.take().into_iter().chain(committing).chain(pending).collect()
    }

    fn stats(
        &self,
        pending: &Pending,
        now: ProcessingTime,
        aborted: Option<CheckpointFailureReason>,
    ) -> CheckpointStats {
        let triggered = pending.barrier.triggered;
        let subtasks = pending.acknowledged.iter().map(|(subtask, (acknowledged, snapshot))| SubtaskStats {
            subtask: *subtask,
            name: self.layout.subtasks[subtask].clone(),
            end_to_end: acknowledged.since(triggered),
            parts: snapshot.stats,
        });
        CheckpointStats {
            checkpoint: pending.checkpoint(),
            attempt: self.attempt,
            kind: pending.kind,
            triggered,
            skipped: pending.skipped,
            end_to_end: now.since(triggered),
            commit: Duration::ZERO,
            parts: total(pending.acknowledged.values().map(|(_, snapshot)| &snapshot.stats)),
            bytes_written: 0,
            subtasks: subtasks.collect(),
            aborted,
        }
    }

    /// Hands the oldest checkpoint to the store, if it is whole and the store is free.
    fn commit_next(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        if self.committing.is_some() || self.last.is_some() {
            return Ok(());
        }
        let whole = self.layout.subtasks.len();
        let oldest = self.pending.first_entry().filter(|oldest| oldest.get().acknowledged.len() == whole);
        let Some(pending) = oldest.map(std::collections::btree_map::OccupiedEntry::remove) else { return Ok(()) };
        let checkpoint = pending.checkpoint();
        effects.push(self.commit(pending, now));
        if mutation::is(Mutation::CompletionAnnouncedEarly) {
            effects.push(CoordinatorEffect::Completed(checkpoint));
        }
        self.layout.fail_points.reach(Point::HandedToStore, None, checkpoint)?;
        Ok(())
    }

    fn commit(&mut self, mut pending: Pending, now: ProcessingTime) -> CoordinatorEffect {
        let stats = self.stats(&pending, now, None);
        let checkpoint = pending.checkpoint();
        let savepoints = std::mem::take(&mut pending.savepoints);
        let mut snapshots = pending.acknowledged;
        let finished = snapshots.values().all(|(_, snapshot)| snapshot.finished && snapshot.in_flight.is_empty());
        let end = match (finished, pending.barrier.halt) {
            (true, _) => Some(JobEnd::Finished),
            (false, true) => Some(JobEnd::Stopped),
            (false, false) => None,
        };
        self.committing = Some((Committing { checkpoint, began: now, end, savepoints: savepoints.clone() }, stats));
        let operators = self.layout.operators.iter().map(|operator| operator.record(&snapshots)).collect();
        let known = || snapshots.iter().map(|(subtask, (_, snapshot))| (*subtask, snapshot));
        let times = self.layout.edges.iter().flat_map(|edge| edge.times(known())).collect();
        let in_flight = self.layout.edges.iter().flat_map(|edge| edge.take_in_flight(&mut snapshots)).collect();
        let metadata = CheckpointMetadata {
            job: self.layout.job,
            job_name: self.layout.job_name.clone(),
            checkpoint,
            attempt: self.attempt,
            max_parallelism: self.layout.max_parallelism,
            finished,
            draining: self.is_draining,
            operators,
            in_flight,
            times,
            origin: self.inherited.origin,
        };
        let dropped = self.inherited.dropped.iter().map(|delta| Arc::new(StateDelta { checkpoint, ..delta.clone() }));
        let deltas = snapshots.into_values().flat_map(|(_, snapshot)| snapshot.deltas).chain(dropped).collect();
        let commit = Box::new(CheckpointCommit {
            metadata,
            deltas,
            num_retained: self.config.num_retained,
            fail_points: self.layout.fail_points.clone(),
        });
        match savepoints.is_empty() {
            true => CoordinatorEffect::Commit(commit),
            false => CoordinatorEffect::CommitSavepoint(commit, savepoints),
        }
    }

    fn if_done(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        if let Some((last, end)) = self.last
            && !self.done
            && self.published.values().all(|published| *published >= last)
        {
            self.done = true;
            effects.push(CoordinatorEffect::Done(end));
        }
    }
}

impl Pending {
    fn checkpoint(&self) -> CheckpointId {
        self.barrier.checkpoint
    }
}

fn total<'a>(parts: impl Iterator<Item = &'a SnapshotStats>) -> SnapshotStats {
    parts.fold(SnapshotStats::default(), |total, part| SnapshotStats {
        start_delay: total.start_delay.max(part.start_delay),
        alignment: total.alignment.max(part.alignment),
        stashed: total.stashed + part.stashed,
        sync: total.sync.max(part.sync),
        r#async: total.r#async.max(part.r#async),
        bytes: total.bytes + part.bytes,
        bytes_full: total.bytes_full + part.bytes_full,
        bytes_in_flight: total.bytes_in_flight + part.bytes_in_flight,
        is_unaligned: total.is_unaligned || part.is_unaligned,
    })
}
