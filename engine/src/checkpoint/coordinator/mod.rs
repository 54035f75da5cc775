//! The coordinator: decides when a checkpoint is triggered, complete, aborted, and when the job is done. One for each attempt.
//!
//! # Invariants
//! - At most `max_concurrent` checkpoints are *pending* (triggered, not handed to the store) or *committing* (one at most); a committing one is never aborted.
//! - Numbers grow with every trigger, aborted ones included. Checkpoints are committed in the order of their numbers.
//! - A checkpoint completes only with an acknowledgement of every subtask, all of this attempt.
//! - *Completed* is announced after the store reported the commit durable, never before.
//! - A savepoint's checkpoint is aligned, is triggered as soon as there is room, and is not tried again.
//! - The job is done only when the final checkpoint is durable and every two-phase sink reported its transactions up to it published.

mod abort;
mod acknowledgement;
mod commit;
mod end;
mod loops;
mod message;
mod pending;
mod trigger;

pub use self::message::{CoordinatorEffect, CoordinatorInput, JobEnd, SavepointTicket, SubtaskReport};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use self::{
    message::Effects,
    pending::{Committing, Pending},
};
use crate::{
    checkpoint::{
        config::CheckpointConfig,
        inherited::Inherited,
        layout::JobLayout,
        snapshot::{OperatorKind, SubtaskId},
        source_alignment::SourceAlignment,
        stats::CheckpointStats,
    },
    error::{BoxError, Error, ErrorKind},
    id::{Attempt, CheckpointId, ProcessingTime},
    panic_site,
};

/// Before an ending job's last checkpoint is tried again, and before its completion is announced again.
const RETRY: Duration = Duration::from_millis(200);

/// Between two checkpoints that look whether a loop is empty.
const LOOK: Duration = Duration::from_millis(10);

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

    fn take(&mut self, input: CoordinatorInput, now: ProcessingTime, effects: &mut Effects) -> Result<(), BoxError> {
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

    fn report(
        &mut self,
        subtask: SubtaskId,
        report: SubtaskReport,
        now: ProcessingTime,
        effects: &mut Effects,
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
}
