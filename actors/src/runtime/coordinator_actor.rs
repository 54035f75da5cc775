//! The coordinator as an actor: carries out its effects, and hands commits to the store.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Actor, ActorContext, ActorFutureExt, Addr, AsyncContext, Handler, Message, SpawnHandle, WrapFuture};
use cofferdam_engine::{
    Attempt, Clock, Error, ErrorKind,
    checkpoint::{
        coordinator::{Coordinator, CoordinatorEffect, CoordinatorInput, SavepointTicket, SubtaskReport},
        snapshot::{CheckpointCommit, SubtaskId},
        source_alignment::Limit,
        stats::{CheckpointKind, CheckpointStats},
    },
    opening::StoreSlot,
    subtask::Control,
};

use crate::runtime::{
    clock::MonotonicClock,
    savepoints::SavepointNews,
    status::Board,
    subtask_actor::{ControlMessage, StopPart, SubtaskActor},
    supervisor_actor::{AttemptDone, AttemptFailed, PartStopped, SupervisorActor},
};

pub(crate) struct CoordinatorActor {
    pub(crate) coordinator: Coordinator,
    pub(crate) attempt: Attempt,
    pub(crate) subtasks: BTreeMap<SubtaskId, Addr<SubtaskActor>>,
    pub(crate) sources: Vec<SubtaskId>,
    /// Reports that overtook [`Begin`]: subtasks run on other threads, and a short one may have ended before all are known here.
    pub(crate) early: Vec<ReportMessage>,
    pub(crate) store: StoreSlot,
    pub(crate) clock: Arc<MonotonicClock>,
    pub(crate) board: Arc<Board>,
    pub(crate) supervisor: Addr<SupervisorActor>,
    pub(crate) timer: Option<SpawnHandle>,
    pub(crate) is_committing: bool,
    pub(crate) is_stopping: bool,
}

/// A subtask's message to the coordinator.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ReportMessage {
    pub(crate) attempt: Attempt,
    pub(crate) subtask: SubtaskId,
    pub(crate) report: SubtaskReport,
}

/// The subtasks are running.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Begin {
    pub(crate) subtasks: BTreeMap<SubtaskId, Addr<SubtaskActor>>,
    pub(crate) sources: Vec<SubtaskId>,
}

/// What the host asks of a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub(crate) enum HostRequest {
    Stop,
    Drain,
}

/// The supervisor wants a checkpoint to write a savepoint from.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct WantSavepoint(pub(crate) SavepointTicket);

impl CoordinatorActor {
    /// Asks the coordinator, and carries out what it wants.
    fn step(&mut self, input: CoordinatorInput, ctx: &mut actix::Context<Self>) {
        match self.coordinator.step(input, self.clock.now()) {
            Ok(effects) => self.carry_out(effects, ctx),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&self, error: Error) {
        self.supervisor.do_send(AttemptFailed { attempt: self.attempt, error });
    }

    fn carry_out(&mut self, effects: Vec<CoordinatorEffect>, ctx: &mut actix::Context<Self>) {
        for effect in effects {
            match effect {
                CoordinatorEffect::Trigger(barrier) => {
                    log::debug!("checkpoint {} triggered", barrier.checkpoint);
                    self.tell_sources(Control::Trigger(barrier));
                }
                CoordinatorEffect::EndLoop(chain) => {
                    let heads = self.subtasks.iter().filter(|(id, _)| id.chain == chain);
                    heads.for_each(|(_, subtask)| self.tell(subtask, Control::EndLoop));
                }
                CoordinatorEffect::EndInput => self.tell_sources(Control::EndInput),
                CoordinatorEffect::Limit(Limit { subtask, group, slowest }) => {
                    let found = self.subtasks.get(&subtask).into_iter();
                    found.for_each(|subtask| self.tell(subtask, Control::Limit(group, slowest)));
                }
                CoordinatorEffect::Completed(checkpoint) => self.tell_all(Control::Completed(checkpoint)),
                CoordinatorEffect::Aborted(checkpoint) => self.tell_all(Control::Aborted(checkpoint)),
                CoordinatorEffect::Commit(commit) => self.commit(commit, Vec::new(), ctx),
                CoordinatorEffect::CommitSavepoint(commit, tickets) => self.commit(commit, tickets, ctx),
                CoordinatorEffect::SavepointFailed(tickets, why) => {
                    self.supervisor.do_send(SavepointNews::Failed(tickets, why));
                }
                CoordinatorEffect::Record(stats) => {
                    self.record(*stats);
                }
                CoordinatorEffect::Done(end) => self.supervisor.do_send(AttemptDone { attempt: self.attempt, end }),
            }
        }
        self.set_timer(ctx);
    }

    fn record(&self, stats: CheckpointStats) {
        let (checkpoint, parts) = (stats.checkpoint, stats.parts);
        match &stats.aborted {
            Some(reason) if reason.is_failure() => {
                let job = self.coordinator.job_name();
                let then = match stats.kind {
                    CheckpointKind::Stop => "the job is to stop, and this is tried again",
                    CheckpointKind::EndOfInput => "the input has ended, and this is tried again",
                    CheckpointKind::Periodic | CheckpointKind::Savepoint => "the next one carries its changes",
                };
                log::warn!("job '{job}': checkpoint {checkpoint} aborted: {reason}; {then}");
            }
            Some(reason) => log::debug!("checkpoint {checkpoint} aborted: {reason}"),
            None => log::debug!(
                "checkpoint {checkpoint} completed in {:?} ({:?}): start delay {:?}, alignment {:?} with {} records stashed, synchronous part {:?}, \
                 asynchronous part {:?}, commit {:?}, {} bytes new of {}, {} in flight; job '{}', attempt {}",
                stats.end_to_end,
                stats.kind,
                parts.start_delay,
                parts.alignment,
                parts.stashed,
                parts.sync,
                parts.r#async,
                stats.commit,
                parts.bytes,
                parts.bytes_full,
                parts.bytes_in_flight,
                self.coordinator.job_name(),
                stats.attempt
            ),
        }
        for subtask in stats.subtasks.iter().filter(|_| log::log_enabled!(log::Level::Trace)) {
            log::trace!(
                "checkpoint {checkpoint}, {} after {:?}: {:?}",
                subtask.name,
                subtask.end_to_end,
                subtask.parts
            );
        }
        self.board.history.lock().push(stats);
    }

    fn tell(&self, subtask: &Addr<SubtaskActor>, control: Control) {
        subtask.do_send(ControlMessage { attempt: self.attempt, control });
    }

    fn tell_sources(&self, control: Control) {
        self.sources.iter().filter_map(|id| self.subtasks.get(id)).for_each(|subtask| self.tell(subtask, control));
    }

    fn tell_all(&self, control: Control) {
        self.subtasks.values().for_each(|subtask| self.tell(subtask, control));
    }

    /// `tickets`: the savepoints that are to be written from it.
    fn commit(&mut self, commit: Box<CheckpointCommit>, tickets: Vec<SavepointTicket>, ctx: &mut actix::Context<Self>) {
        self.is_committing = true;
        let checkpoint = commit.metadata.checkpoint;
        let (store, is_pinned) = (self.store.clone(), !tickets.is_empty());
        let call = tokio::task::spawn_blocking(move || match is_pinned {
            true => store.commit_savepoint(&commit).map(|(stats, pinned)| (stats, Some(pinned))),
            false => store.commit(&commit).map(|stats| (stats, None)),
        });
        ctx.spawn(call.into_actor(self).map(move |joined, actor, ctx| {
            actor.is_committing = false;
            let result = joined.unwrap_or_else(|error| {
                Err(Error::new(ErrorKind::Store, "the store's thread died", Some(Box::new(error))))
            });
            match result {
                Ok((stats, pinned)) => {
                    if let Some(pinned) = pinned {
                        actor.supervisor.do_send(SavepointNews::Committed(tickets, pinned));
                    }
                    actor.step(CoordinatorInput::Committed(checkpoint, stats), ctx);
                }
                Err(error) if error.kind() == ErrorKind::NotStored => {
                    actor.step(CoordinatorInput::NotStored(checkpoint, error.to_string()), ctx);
                }
                Err(error) => actor.fail(error),
            }
            actor.if_stopped(ctx);
        }));
    }

    fn report(&mut self, message: ReportMessage, ctx: &mut actix::Context<Self>) {
        self.step(CoordinatorInput::Report(message.subtask, message.report), ctx);
    }

    fn set_timer(&mut self, ctx: &mut actix::Context<Self>) {
        if let Some(timer) = self.timer.take() {
            ctx.cancel_future(timer);
        }
        let Some(deadline) = self.coordinator.deadline().filter(|_| !self.is_stopping) else { return };
        let sleep = self.clock.sleep_until(deadline);
        self.timer = Some(ctx.spawn(sleep.into_actor(self).map(|(), actor, ctx| {
            actor.timer = None;
            actor.step(CoordinatorInput::Tick, ctx);
        })));
    }

    fn if_stopped(&mut self, ctx: &mut actix::Context<Self>) {
        if self.is_stopping && !self.is_committing {
            let abandoned = self.coordinator.abandon(self.clock.now());
            abandoned.into_iter().for_each(|stats| self.record(stats));
            self.supervisor.do_send(PartStopped {
                attempt: self.attempt,
                next_checkpoint: Some(self.coordinator.next_checkpoint()),
                prepared: Vec::new(),
            });
            ctx.stop();
        }
    }
}

impl Actor for CoordinatorActor {
    type Context = actix::Context<Self>;
}

impl Handler<Begin> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, message: Begin, ctx: &mut Self::Context) {
        self.subtasks = message.subtasks;
        self.sources = message.sources;
        self.set_timer(ctx);
        for report in std::mem::take(&mut self.early) {
            self.report(report, ctx);
        }
    }
}

impl Handler<ReportMessage> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, message: ReportMessage, ctx: &mut Self::Context) {
        if message.attempt != self.attempt || self.is_stopping {
            return;
        }
        if self.subtasks.is_empty() {
            return self.early.push(message);
        }
        self.report(message, ctx);
    }
}

impl Handler<HostRequest> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, request: HostRequest, ctx: &mut Self::Context) {
        let input = match request {
            HostRequest::Stop => CoordinatorInput::Stop,
            HostRequest::Drain => CoordinatorInput::Drain,
        };
        if !self.is_stopping {
            self.step(input, ctx);
        }
    }
}

impl Handler<StopPart> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, _: StopPart, ctx: &mut Self::Context) {
        self.is_stopping = true;
        self.set_timer(ctx);
        self.if_stopped(ctx);
    }
}

impl Handler<WantSavepoint> for CoordinatorActor {
    type Result = ();

    fn handle(&mut self, WantSavepoint(ticket): WantSavepoint, ctx: &mut Self::Context) {
        if !self.is_stopping {
            self.step(CoordinatorInput::Savepoint(ticket), ctx);
        }
    }
}
