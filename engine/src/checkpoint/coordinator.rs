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
    id::{Attempt, CheckpointId, JobId, ProcessingTime},
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
    /// Hand to the store; report with [`Coordinator::committed`].
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

    /// When [`tick`](Self::tick) has something to do again, if nothing else happens before.
    pub fn deadline(&self) -> Option<ProcessingTime> {
        match &self.pending {
            Some(pending) => Some(pending.triggered.after(self.config.timeout)),
            None if self.committing.is_some() || self.done => None,
            None => self.next_trigger,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: ProcessingTime) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        if self.pending.as_ref().is_some_and(|pending| now >= pending.triggered.after(self.config.timeout)) {
            let reason = CheckpointFailureReason::Timeout(self.config.timeout);
            self.abort(reason, now, &mut effects);
        }
        if self.next_trigger.is_some_and(|time| now >= time) {
            match self.last {
                None => self.trigger_if_possible(now, &mut effects),
                Some((last, _)) if !self.done => self.announce_again(last, now, &mut effects),
                Some(_) => {}
            }
        }
        effects
    }

    /// The last checkpoint has no successor that would heal a lost message: so it is announced until every sink has answered.
    fn announce_again(&mut self, last: CheckpointId, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) {
        self.next_trigger = Some(now.after(RETRY));
        effects.push(CoordinatorEffect::Completed(last));
    }

    /// A subtask has frozen and prepared its part.
    pub fn acknowledge(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        now: ProcessingTime,
    ) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.checkpoint == checkpoint) else {
            return effects;
        };
        if self.layout.subtasks.contains_key(&subtask) {
            pending.acknowledged.insert(subtask, snapshot);
        }
        if let Some(pending) = self.pending.take_if(|pending| pending.acknowledged.len() == self.layout.subtasks.len())
        {
            effects.push(self.commit(pending, now));
        }
        effects
    }

    /// A subtask cannot take part in a checkpoint.
    pub fn decline(
        &mut self,
        subtask: SubtaskId,
        checkpoint: CheckpointId,
        reason: &str,
        now: ProcessingTime,
    ) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        if self.pending.as_ref().is_some_and(|pending| pending.checkpoint == checkpoint) {
            let subtask = self.layout.subtasks.get(&subtask).cloned().unwrap_or_default();
            self.abort(CheckpointFailureReason::Declined { subtask, reason: reason.to_string() }, now, &mut effects);
        }
        effects
    }

    /// The store has made a checkpoint durable.
    pub fn committed(
        &mut self,
        checkpoint: CheckpointId,
        stats: CommitStats,
        now: ProcessingTime,
    ) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        let Some(committed) = self.committing.take_if(|committing| committing.checkpoint == checkpoint) else {
            return effects;
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
        effects.push(CoordinatorEffect::Completed(checkpoint));
        if let Some(end) = committed.end {
            self.last = Some((checkpoint, end));
            self.next_trigger = Some(now.after(RETRY));
            self.if_done(&mut effects);
        } else {
            let after_pause = now.after(self.config.min_pause);
            self.next_trigger = self.next_trigger.map(|time| time.max(after_pause));
            self.tick_after_commit(now, &mut effects);
        }
        effects
    }

    /// A two-phase sink has published everything up to `checkpoint`.
    pub fn published(&mut self, subtask: SubtaskId, checkpoint: CheckpointId) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        if let Some(published) = self.published.get_mut(&subtask) {
            *published = checkpoint.max(*published);
        }
        self.if_done(&mut effects);
        effects
    }

    /// A subtask's input has ended, and it has sent all that it led to.
    pub fn finished(&mut self, subtask: SubtaskId, now: ProcessingTime) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        if self.layout.subtasks.contains_key(&subtask) {
            self.finished.insert(subtask);
        }
        self.trigger_if_ending(now, &mut effects);
        effects
    }

    /// The host wants a last checkpoint, and no record behind it.
    pub fn stop(&mut self, now: ProcessingTime) -> Vec<CoordinatorEffect> {
        let mut effects = Vec::new();
        self.is_stopping = true;
        self.trigger_if_ending(now, &mut effects);
        effects
    }

    /// The host wants the input to end.
    pub fn drain(&mut self) -> Vec<CoordinatorEffect> {
        self.is_draining = true;
        vec![CoordinatorEffect::EndInput]
    }

    fn is_ending(&self) -> bool {
        self.is_stopping || self.finished.len() == self.layout.subtasks.len()
    }

    fn trigger_if_ending(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) {
        if self.is_ending() {
            self.trigger_if_possible(now, effects);
        }
    }

    fn tick_after_commit(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) {
        if self.is_ending() || self.next_trigger.is_some_and(|time| now >= time) {
            self.trigger_if_possible(now, effects);
        }
    }

    fn trigger_if_possible(&mut self, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) {
        if self.pending.is_some() || self.committing.is_some() || self.last.is_some() {
            return;
        }
        let checkpoint = self.next;
        let halt = self.is_stopping;
        self.next = self.next.next();
        self.next_trigger = self.config.interval.map(|interval| now.after(interval));
        self.pending = Some(Pending { checkpoint, triggered: now, halt, acknowledged: BTreeMap::new() });
        effects.push(CoordinatorEffect::Trigger { checkpoint, halt });
    }

    fn abort(&mut self, reason: CheckpointFailureReason, now: ProcessingTime, effects: &mut Vec<CoordinatorEffect>) {
        let Some(pending) = self.pending.take() else { return };
        effects.push(CoordinatorEffect::Record(Box::new(CheckpointStats {
            checkpoint: pending.checkpoint,
            attempt: self.attempt,
            end_to_end: now.since(pending.triggered),
            commit: Duration::ZERO,
            parts: maximum(pending.acknowledged.values()),
            bytes_written: 0,
            aborted: Some(reason),
        })));
        effects.push(CoordinatorEffect::Aborted(pending.checkpoint));
        if self.is_ending() {
            self.next_trigger = Some(now.after(RETRY.max(self.config.min_pause)));
        }
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
        CoordinatorEffect::Commit(Box::new(CheckpointCommit { metadata, deltas }))
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
