//! The coordinator: decides when a checkpoint is triggered, complete, aborted, and when the job is done. One for each attempt.
//!
//! # Invariants
//! - At most one checkpoint is *pending* (triggered, not all acknowledged) or *committing* (handed to the store); a committing one is never aborted.
//! - Numbers grow with every trigger, aborted ones included.
//! - A checkpoint completes only with an acknowledgement of every subtask, all of this attempt.
//! - *Completed* is announced after the store reported the commit durable, never before.
//! - The job is done only when the final checkpoint is durable and every two-phase sink reported its transactions up to it published.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crate::{
    checkpoint::{
        config::CheckpointConfig,
        snapshot::{
            CheckpointCommit, CheckpointMetadata, OperatorKind, OperatorRecord, OperatorSnapshot, SnapshotStats,
            SubtaskId, SubtaskSnapshot,
        },
        stats::{CheckpointFailureReason, CheckpointStats},
        store::CommitStats,
    },
    error::{BoxError, Error, ErrorKind},
    fail_point::{FailPoints, Point},
    id::{Attempt, CheckpointId, JobId, ProcessingTime},
    mutation::{self, Mutation},
    panic_site,
};

/// An operator as the coordinator knows it: where its snapshots come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperatorLayout {
    /// Its address.
    pub uid: String,
    /// What it is.
    pub kind: OperatorKind,
    /// Its keyed states.
    pub states: Vec<String>,
    /// The chain it is part of.
    pub chain: u32,
}

/// What the coordinator has to know of the job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobLayout {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub job_name: String,
    /// Key groups.
    pub max_parallelism: u16,
    /// Every subtask, and its name for messages.
    pub subtasks: BTreeMap<SubtaskId, String>,
    /// Every operator with something to restore.
    pub operators: Vec<OperatorLayout>,
    /// Where a harness makes it fail.
    pub fail_points: FailPoints,
}

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
}

/// What can happen to the coordinator.
#[derive(Clone, Debug)]
pub enum CoordinatorInput {
    /// Time has passed.
    Tick,
    /// A subtask of this attempt reports.
    Report(SubtaskId, SubtaskReport),
    /// The store has made a checkpoint durable.
    Committed(CheckpointId, CommitStats),
    /// The host wants a last checkpoint, and no record behind it.
    Stop,
    /// The host wants the input to end.
    Drain,
}

/// What the coordinator wants done.
#[derive(Debug)]
pub enum CoordinatorEffect {
    /// Tell every source subtask. If `halt` is set it sends no record behind the barrier.
    Trigger {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Send nothing behind the barrier.
        halt: bool,
    },
    /// Tell every source subtask to end its input.
    EndInput,
    /// Hand to the store; report with [`CoordinatorInput::Committed`].
    Commit(Box<CheckpointCommit>),
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

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pending {
    checkpoint: CheckpointId,
    triggered: ProcessingTime,
    halt: bool,
    acknowledged: BTreeMap<SubtaskId, SubtaskSnapshot>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Committing {
    checkpoint: CheckpointId,
    triggered: ProcessingTime,
    began: ProcessingTime,
    parts: SnapshotStats,
    end: Option<JobEnd>,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    config: CheckpointConfig,
    layout: Arc<JobLayout>,
    attempt: Attempt,
    next: CheckpointId,
    next_trigger: Option<ProcessingTime>,
    pending: Option<Pending>,
    committing: Option<Committing>,
    finished: BTreeSet<SubtaskId>,
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
        let next_trigger = config.interval.map(|interval| now.after(interval));
        Self {
            config,
            layout,
            attempt,
            next,
            next_trigger,
            pending: None,
            committing: None,
            finished: BTreeSet::new(),
            is_stopping: false,
            is_draining: false,
            last: None,
            published,
            done: false,
        }
    }

    /// The number that the next trigger will use.
    pub fn next_checkpoint(&self) -> CheckpointId {
        self.next
    }

    /// When to [`Tick`](CoordinatorInput::Tick), if nothing else happens before.
    pub fn deadline(&self) -> Option<ProcessingTime> {
        match &self.pending {
            Some(pending) => Some(pending.triggered.after(self.config.timeout)),
            None if self.committing.is_some() || self.done => None,
            None => self.next_trigger,
        }
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
            CoordinatorInput::Stop => {
                self.is_stopping = true;
                self.trigger_if_ending(now, effects)
            }
            CoordinatorInput::Drain => {
                self.is_draining = true;
                effects.push(CoordinatorEffect::EndInput);
                Ok(())
            }
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
            SubtaskReport::Finished => {
                self.finished.insert(subtask);
                self.trigger_if_ending(now, effects)
            }
        }
    }

    fn tick(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        if self.pending.as_ref().is_some_and(|pending| now >= pending.triggered.after(self.config.timeout)) {
            let reason = CheckpointFailureReason::Timeout(self.config.timeout);
            self.abort(reason, now, effects)?;
        }
        if self.next_trigger.is_some_and(|time| now >= time) {
            match self.last {
                None => self.trigger_if_possible(now, effects)?,
                Some((last, _)) if !self.done => self.announce_again(last, now, effects),
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The last checkpoint has no successor that would heal a lost message: so it is announced until every sink has answered.
    fn announce_again(&mut self, last: CheckpointId, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) {
        self.next_trigger = Some(now.after(RETRY));
        effects.push(CoordinatorEffect::Completed(last));
    }

    fn acknowledged(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.checkpoint == checkpoint) else {
            return Ok(());
        };
        pending.acknowledged.insert(subtask, snapshot);
        self.layout.fail_points.reach(Point::Acknowledged, Some(subtask), checkpoint)?;
        if let Some(pending) = self.pending.take_if(|pending| pending.acknowledged.len() == self.layout.subtasks.len())
        {
            self.layout.fail_points.reach(Point::LastAcknowledgement, Some(subtask), checkpoint)?;
            effects.push(self.commit(pending, now));
            if mutation::is(Mutation::CompletionAnnouncedEarly) {
                effects.push(CoordinatorEffect::Completed(checkpoint));
            }
            self.layout.fail_points.reach(Point::HandedToStore, None, checkpoint)?;
        }
        Ok(())
    }

    fn declined(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        reason: String,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        if self.pending.as_ref().is_some_and(|pending| pending.checkpoint == checkpoint) {
            let subtask = self.layout.subtasks[&subtask].clone();
            self.abort(CheckpointFailureReason::Declined { subtask, reason }, now, effects)?;
        }
        Ok(())
    }

    fn committed(
        &mut self,
        checkpoint: CheckpointId,
        stats: CommitStats,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let Some(committed) = self.committing.take_if(|committing| committing.checkpoint == checkpoint) else {
            return Ok(());
        };
        effects.push(CoordinatorEffect::Record(Box::new(CheckpointStats {
            checkpoint,
            attempt: self.attempt,
            end_to_end: now.since(committed.triggered),
            commit: now.since(committed.began),
            parts: committed.parts,
            bytes_written: stats.bytes,
            aborted: None,
        })));
        self.layout.fail_points.reach(Point::CompletionAnnounced, None, checkpoint)?;
        effects.push(CoordinatorEffect::Completed(checkpoint));
        if let Some(end) = committed.end {
            self.last = Some((checkpoint, end));
            self.next_trigger = Some(now.after(RETRY));
            self.if_done(effects);
            Ok(())
        } else {
            let after_pause = now.after(self.config.min_pause);
            self.next_trigger = self.next_trigger.map(|time| time.max(after_pause));
            self.tick_after_commit(now, effects)
        }
    }

    fn published(&mut self, subtask: SubtaskId, checkpoint: CheckpointId, effects: &mut Vec<CoordinatorEffect>) {
        if let Some(published) = self.published.get_mut(&subtask) {
            *published = checkpoint.max(*published);
        }
        self.if_done(effects);
    }

    fn is_ending(&self) -> bool {
        self.is_stopping || self.finished.len() == self.layout.subtasks.len()
    }

    fn trigger_if_ending(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        if self.is_ending() { self.trigger_if_possible(now, effects) } else { Ok(()) }
    }

    fn tick_after_commit(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) -> Result<(), BoxError> {
        let is_due = self.is_ending() || self.next_trigger.is_some_and(|time| now >= time);
        if is_due { self.trigger_if_possible(now, effects) } else { Ok(()) }
    }

    fn trigger_if_possible(
        &mut self,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        if self.pending.is_some() || self.committing.is_some() || self.last.is_some() {
            return Ok(());
        }
        let checkpoint = self.next;
        let halt = self.is_stopping;
        self.next = self.next.next();
        self.next_trigger = self.config.interval.map(|interval| now.after(interval));
        self.pending = Some(Pending { checkpoint, triggered: now, halt, acknowledged: BTreeMap::new() });
        self.layout.fail_points.reach(Point::Trigger, None, checkpoint)?;
        effects.push(CoordinatorEffect::Trigger { checkpoint, halt });
        Ok(())
    }

    fn abort(
        &mut self,
        reason: CheckpointFailureReason,
        now: ProcessingTime,
        effects: &mut Vec<CoordinatorEffect>,
    ) -> Result<(), BoxError> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        effects.push(CoordinatorEffect::Record(Box::new(CheckpointStats {
            checkpoint: pending.checkpoint,
            attempt: self.attempt,
            end_to_end: now.since(pending.triggered),
            commit: Duration::ZERO,
            parts: maximum(pending.acknowledged.values()),
            bytes_written: 0,
            aborted: Some(reason),
        })));
        self.layout.fail_points.reach(Point::Abort, None, pending.checkpoint)?;
        effects.push(CoordinatorEffect::Aborted(pending.checkpoint));
        if self.is_ending() {
            self.next_trigger = Some(now.after(RETRY.max(self.config.min_pause)));
        }
        Ok(())
    }

    fn commit(&mut self, pending: Pending, now: ProcessingTime) -> CoordinatorEffect {
        let finished = pending.acknowledged.values().all(|snapshot| snapshot.finished);
        let end = match (finished, pending.halt) {
            (true, _) => Some(JobEnd::Finished),
            (false, true) => Some(JobEnd::Stopped),
            (false, false) => None,
        };
        self.committing = Some(Committing {
            checkpoint: pending.checkpoint,
            triggered: pending.triggered,
            began: now,
            parts: maximum(pending.acknowledged.values()),
            end,
        });
        let operators = self.layout.operators.iter().map(|operator| record(operator, &pending.acknowledged)).collect();
        let metadata = CheckpointMetadata {
            job: self.layout.job,
            job_name: self.layout.job_name.clone(),
            checkpoint: pending.checkpoint,
            attempt: self.attempt,
            max_parallelism: self.layout.max_parallelism,
            finished,
            draining: self.is_draining,
            operators,
        };
        let deltas = pending.acknowledged.into_values().flat_map(|snapshot| snapshot.deltas).collect();
        CoordinatorEffect::Commit(Box::new(CheckpointCommit {
            metadata,
            deltas,
            num_retained: self.config.num_retained,
            fail_points: self.layout.fail_points.clone(),
        }))
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

fn maximum<'a>(snapshots: impl Iterator<Item = &'a SubtaskSnapshot>) -> SnapshotStats {
    snapshots.fold(SnapshotStats::default(), |max, snapshot| SnapshotStats {
        alignment: max.alignment.max(snapshot.stats.alignment),
        stashed: max.stashed + snapshot.stats.stashed,
        sync: max.sync.max(snapshot.stats.sync),
        r#async: max.r#async.max(snapshot.stats.r#async),
        bytes: max.bytes + snapshot.stats.bytes,
    })
}

fn record(operator: &OperatorLayout, acknowledged: &BTreeMap<SubtaskId, SubtaskSnapshot>) -> OperatorRecord {
    let of_chain = acknowledged.iter().filter(|(subtask, _)| subtask.chain == operator.chain);
    let subtasks = of_chain.map(|(_, snapshot)| {
        let own = snapshot.operators.iter().find(|(uid, _)| *uid == operator.uid);
        own.map_or_else(OperatorSnapshot::default, |(_, own)| own.clone())
    });
    OperatorRecord {
        uid: operator.uid.clone(),
        kind: operator.kind,
        states: operator.states.clone(),
        subtasks: subtasks.collect(),
    }
}
