//! The supervisor as an actor: opens attempts, spawns their actors, and stops them.

use std::{collections::BTreeMap, sync::Arc};

use actix::{Actor, ActorFutureExt, Addr, ArbiterHandle, AsyncContext, Handler, Message, WrapFuture};
use cofferdam_engine::{
    Attempt, ChannelIndex, ChannelQueue, CheckpointId, Clock, Error, ErrorKind, JobId, NewScratch,
    checkpoint::{
        coordinator::{Coordinator, JobEnd},
        snapshot::{PreparedTransaction, SubtaskId},
    },
    opening::{Opened, Opening, StoreSlot, open_attempt},
    panic_message,
    savepoint::Choices,
    supervisor::{Supervisor, SupervisorEffect},
    topology::plan::{Deployed, Plan},
};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::runtime::{
    clock::MonotonicClock,
    coordinator_actor::{Begin, CoordinatorActor, HostRequest},
    mailbox::{LoopGauge, Receiver, Sender, feedback_mailbox, mailbox},
    opening::open_subtasks,
    savepoints::Savepoints,
    status::{Board, StartedFrom, SubtaskMeter},
    subtask_actor::{StopPart, SubtaskActor, SubtaskParts},
};

/// Elements that an input channel holds, at most. With half as many a subtask that has several outputs is held up by the fullest of them often enough that it falls behind its neighbours.
const MAILBOX: usize = 16;

/// Batches of an input channel that comes round in a loop that stay in memory: so many that a loop which makes one record of one seldom spills.
const LOOP_MARK: usize = 64;

pub(crate) struct SupervisorActor {
    pub(crate) supervisor: Supervisor,
    pub(crate) plan: Arc<Mutex<Plan>>,
    pub(crate) store: StoreSlot,
    pub(crate) workers: Vec<ArbiterHandle>,
    pub(crate) clock: Arc<MonotonicClock>,
    pub(crate) board: Arc<Board>,
    /// The id that the job gets if there is no state yet.
    pub(crate) new_job: JobId,
    /// What the host has chosen about the state to start from; the checkpoint that it has named, until an attempt is open.
    pub(crate) choices: Choices,
    /// Where what circulates in loops goes beyond what memory is to hold.
    pub(crate) scratch: NewScratch,
    /// Answered once: when the job runs, or cannot.
    pub(crate) started: Option<oneshot::Sender<Result<(), Error>>>,
    /// Told when the job is over and its place given up.
    pub(crate) ended: Option<oneshot::Sender<Result<JobEnd, Error>>>,
    pub(crate) running: Option<Running>,
    /// An attempt is being opened on another thread.
    pub(crate) is_opening: bool,
    /// The attempt is to be stopped as soon as it is open.
    pub(crate) is_stopping: bool,
    /// The last attempt never ran.
    pub(crate) failed_to_open: bool,
    /// Nobody waits for the start any more.
    pub(crate) abandoned: bool,
    /// What the host has asked for: every attempt is told.
    pub(crate) requests: Vec<HostRequest>,
    /// The number that the next attempt's first checkpoint gets, at least: numbers are not used twice.
    pub(crate) next_checkpoint: CheckpointId,
    /// What the last attempt that ran has prepared and may not have published, with the `uid` of the sink.
    pub(crate) orphans: Vec<(String, PreparedTransaction)>,
    pub(crate) effects: Vec<SupervisorEffect>,
    pub(crate) savepoints: Savepoints,
    /// How the job has ended, while savepoints are still written.
    pub(crate) ending: Option<Result<JobEnd, Error>>,
}

/// The actors of an attempt.
pub(crate) struct Running {
    attempt: Attempt,
    pub(crate) coordinator: Addr<CoordinatorActor>,
    subtasks: BTreeMap<SubtaskId, Addr<SubtaskActor>>,
    /// Actors that have not reported that they stopped.
    left: usize,
}

/// Something of an attempt failed.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptFailed {
    pub(crate) attempt: Attempt,
    pub(crate) error: Error,
}

/// An attempt has nothing left to do.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct AttemptDone {
    pub(crate) attempt: Attempt,
    pub(crate) end: JobEnd,
}

/// An actor of an attempt is gone, and so is every call that it made.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct PartStopped {
    pub(crate) attempt: Attempt,
    /// From the coordinator: the next unused number.
    pub(crate) next_checkpoint: Option<CheckpointId>,
    /// From a subtask: what it has prepared and may not have published.
    pub(crate) prepared: Vec<(String, PreparedTransaction)>,
}

/// The host wants the job gone.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Cancel;

impl SupervisorActor {
    fn carry_out(&mut self, effects: Vec<SupervisorEffect>, ctx: &mut actix::Context<Self>) {
        self.effects.extend(effects);
        while !self.effects.is_empty() {
            match self.effects.remove(0) {
                SupervisorEffect::StartAttempt => self.open(ctx),
                SupervisorEffect::StopAttempt => self.stop_attempt(ctx),
                SupervisorEffect::WaitUntil(time) => {
                    let sleep = self.clock.sleep_until(time);
                    ctx.spawn(sleep.into_actor(self).map(|(), actor, ctx| {
                        let effects = actor.supervisor.tick(actor.clock.now());
                        actor.carry_out(effects, ctx);
                    }));
                }
                SupervisorEffect::SettleState => return self.settle_state(ctx),
                SupervisorEffect::End(result) => self.end(result, ctx),
            }
        }
    }

    fn open(&mut self, ctx: &mut actix::Context<Self>) {
        self.is_opening = true;
        let (store, plan, job) = (self.store.clone(), self.plan.clone(), self.new_job);
        let is_first = self.supervisor.restarts() == 0;
        let failed = self.supervisor.failed_records();
        let opening = Opening { job, is_first, choices: self.choices.clone(), orphans: self.orphans.clone() };
        let call = tokio::task::spawn_blocking(move || {
            let open = |subtasks: &mut [Deployed]| open_subtasks(subtasks, &failed);
            open_attempt(&store, &plan.lock(), opening, open)
        });
        ctx.spawn(call.into_actor(self).map(|joined, actor, ctx| {
            actor.is_opening = false;
            match joined.unwrap_or_else(|error| Err(lost_opening(error))) {
                _ if actor.is_stopping => actor.attempt_stopped(ctx),
                Ok(opened) => actor.run(opened, ctx),
                Err(error) => {
                    actor.failed_to_open = true;
                    actor.fail(error, ctx);
                }
            }
        }));
    }

    fn run(&mut self, opened: Opened, ctx: &mut actix::Context<Self>) {
        self.orphans.clear();
        (self.choices.restore_from, self.choices.from_savepoint) = (None, None);
        let started_from = started_from(&opened);
        self.board.started_from(started_from);
        self.board.opened(opened.attempt, opened.restored);
        self.supervisor.opened(opened.restored);
        let description = describe(opened.attempt, started_from);
        log::info!("job '{}' ({}): {description}", self.plan.lock().name(), opened.job);
        if opened.finished {
            let effects = self.supervisor.done(JobEnd::Finished);
            return self.carry_out(effects, ctx);
        }
        self.next_checkpoint = self.next_checkpoint.max(opened.next_checkpoint);
        if opened.draining && !self.requests.contains(&HostRequest::Drain) {
            self.requests.insert(0, HostRequest::Drain);
        }
        self.spawn_attempt(opened, ctx);
        self.answer_start(Ok(()));
        if std::mem::take(&mut self.abandoned) {
            ctx.address().do_send(HostRequest::Stop);
        }
    }

    fn spawn_attempt(&mut self, opened: Opened, ctx: &mut actix::Context<Self>) {
        let attempt = opened.attempt;
        let coordinator = self.coordinator(&opened, ctx.address()).start();
        let sources = opened.subtasks.iter().filter(|one| one.is_source).map(|one| one.subtask.id()).collect();
        let mut meters = Vec::new();
        let mut subtasks = BTreeMap::new();
        let is_unaligned = self.plan.lock().settings().checkpoints.unaligned;
        for Connected { one, inputs, outputs, feedback } in connect(opened.subtasks, &self.scratch) {
            let id = one.subtask.id();
            let is_sink = one.outputs.is_empty();
            let meter = Arc::new(SubtaskMeter::new(id, one.subtask.name(), one.is_source, is_sink, feedback));
            meters.push(meter.clone());
            let parts = SubtaskParts {
                subtask: one.subtask,
                attempt,
                inputs,
                outputs,
                is_unaligned,
                meter,
                clock: self.clock.clone(),
                coordinator: coordinator.clone(),
                supervisor: ctx.address(),
            };
            let worker = &self.workers[id.index.index() % self.workers.len()];
            subtasks.insert(id, SubtaskActor::start_in_arbiter(worker, move |_| SubtaskActor::new(parts)));
        }
        coordinator.do_send(Begin { subtasks: subtasks.clone(), sources });
        self.requests.iter().for_each(|request| coordinator.do_send(*request));
        let left = subtasks.len() + 1;
        self.running = Some(Running { attempt, coordinator, subtasks, left });
        self.board.running(attempt, self.supervisor.restarts(), meters);
    }

    fn coordinator(&self, opened: &Opened, supervisor: Addr<Self>) -> CoordinatorActor {
        let plan = self.plan.lock();
        let (config, layout) = (plan.settings().checkpoints.clone(), Arc::new(plan.layout(opened.job)));
        CoordinatorActor {
            coordinator: Coordinator::new(config, layout, opened.attempt, self.next_checkpoint, self.clock.now())
                .inheriting(opened.inherited.clone()),
            attempt: opened.attempt,
            subtasks: BTreeMap::new(),
            sources: Vec::new(),
            early: Vec::new(),
            store: self.store.clone(),
            clock: self.clock.clone(),
            board: self.board.clone(),
            supervisor,
            timer: None,
            is_committing: false,
            is_stopping: false,
        }
    }

    fn fail(&mut self, error: Error, ctx: &mut actix::Context<Self>) {
        if self.supervisor.is_running() {
            log::error!("the attempt failed: {error}");
            let attempt = self.running.as_ref().map(|running| running.attempt);
            self.board.failed(attempt, error.clone(), &self.clock);
        }
        let effects = self.supervisor.failed(error);
        self.carry_out(effects, ctx);
    }

    fn stop_attempt(&mut self, ctx: &mut actix::Context<Self>) {
        match &self.running {
            Some(running) => {
                running.coordinator.do_send(StopPart);
                running.subtasks.values().for_each(|subtask| subtask.do_send(StopPart));
            }
            None if self.is_opening => self.is_stopping = true,
            None => self.attempt_stopped(ctx),
        }
    }

    fn attempt_stopped(&mut self, ctx: &mut actix::Context<Self>) {
        self.is_stopping = false;
        self.running = None;
        let random = f64::from(random_u32()) / f64::from(u32::MAX);
        let mut effects = self.supervisor.stopped(self.clock.now(), random);
        let is_hopeless = std::mem::take(&mut self.failed_to_open) && self.requests.contains(&HostRequest::Stop);
        if is_hopeless && self.supervisor.waiting_for().is_some() {
            // Nothing runs that could take a last checkpoint, and another try may be no better.
            effects = self.supervisor.stop_while_waiting();
        }
        if let (Some(cause), Some(delay)) = (self.supervisor.waiting_for(), self.supervisor.delay()) {
            log::warn!("the job will be restarted from its last completed checkpoint in {delay:?}");
            self.board.restarting(cause.clone(), self.supervisor.restarts(), delay);
            self.answer_start(Ok(()));
        }
        if std::mem::take(&mut self.abandoned) {
            ctx.address().do_send(HostRequest::Stop);
        }
        let fatal = effects.iter().find_map(|effect| match effect {
            SupervisorEffect::End(Err(error)) => Some(error),
            _ => None,
        });
        self.savepoints.abandon(self.supervisor.waiting_for().or(fatal));
        self.carry_out(effects, ctx);
    }

    fn settle_state(&mut self, ctx: &mut actix::Context<Self>) {
        let (store, plan) = (self.store.clone(), self.plan.clone());
        let call = tokio::task::spawn_blocking(move || store.settle(&plan.lock()));
        ctx.spawn(call.into_actor(self).map(|joined, actor, ctx| {
            if let Err(error) = joined.unwrap_or_else(|error| Err(lost_opening(error))) {
                actor.effects.retain(|effect| !matches!(effect, SupervisorEffect::End(_)));
                actor.effects.push(SupervisorEffect::End(Err(error)));
            }
            actor.carry_out(Vec::new(), ctx);
        }));
    }

    fn end(&mut self, result: Result<JobEnd, Error>, ctx: &mut actix::Context<Self>) {
        self.ending = Some(result);
        self.export_last(ctx);
        self.if_ended();
    }

    /// The store is given up when nobody reads it any more.
    pub(crate) fn if_ended(&mut self) {
        let Some(result) = self.ending.take_if(|_| !self.savepoints.are_written()) else { return };
        self.store.close();
        self.answer_start(result.clone().map(|_| ()));
        if let Some(ended) = self.ended.take() {
            // The host thread waits for this for as long as it lives.
            let _ = ended.send(result);
        }
    }

    fn answer_start(&mut self, result: Result<(), Error>) {
        if let Some(Err(_)) = self.started.take().map(|started| started.send(result)) {
            // Whoever started the job has gone, and nobody has a handle to it: it must not go on holding its place.
            self.abandoned = true;
        }
    }
}

fn started_from(opened: &Opened) -> StartedFrom {
    match opened {
        Opened { finished: true, restored, .. } => StartedFrom::Finished(*restored),
        Opened { is_new: true, .. } => StartedFrom::Beginning,
        Opened { is_from_savepoint: true, restored, .. } => StartedFrom::Savepoint(*restored),
        Opened { restored, .. } => StartedFrom::Checkpoint(*restored),
    }
}

fn describe(attempt: Attempt, started_from: StartedFrom) -> String {
    match started_from {
        StartedFrom::Beginning => format!("attempt {attempt} from the beginning"),
        StartedFrom::Checkpoint(checkpoint) => format!("attempt {attempt} from checkpoint {checkpoint}"),
        StartedFrom::Savepoint(checkpoint) => format!("attempt {attempt} from a savepoint of checkpoint {checkpoint}"),
        StartedFrom::Finished(checkpoint) => {
            format!("finished with checkpoint {checkpoint}; what was owed is published")
        }
    }
}

fn lost_opening(error: tokio::task::JoinError) -> Error {
    match error.try_into_panic() {
        Ok(payload) => Error::new(
            ErrorKind::Panic,
            format!("a source or sink panicked: {}", panic_message(payload.as_ref())),
            None,
        ),
        Err(error) => Error::new(ErrorKind::Cancelled, "the job's runtime is shutting down", Some(Box::new(error))),
    }
}

/// A subtask, and its ends of channels.
struct Connected {
    one: Deployed,
    inputs: Vec<Receiver>,
    outputs: Vec<Sender>,
    /// Of the channels among the inputs that come round.
    feedback: Vec<LoopGauge>,
}

/// Makes a mailbox for every input channel, and gives each end to its subtask.
fn connect(deployed: Vec<Deployed>, scratch: &NewScratch) -> Vec<Connected> {
    let mut senders = BTreeMap::new();
    let mut receivers: BTreeMap<SubtaskId, Vec<Receiver>> = BTreeMap::new();
    let mut gauges: BTreeMap<SubtaskId, Vec<LoopGauge>> = BTreeMap::new();
    for one in &deployed {
        let id = one.subtask.id();
        for channel in 0..one.inputs {
            let is_feedback = one.subtask.is_feedback(ChannelIndex(channel as u32));
            let (sender, receiver) = match one.subtask.loop_name().filter(|_| is_feedback) {
                Some(name) => {
                    let gauge = LoopGauge::default();
                    gauges.entry(id).or_default().push(gauge.clone());
                    feedback_mailbox(ChannelQueue::spilling(name, LOOP_MARK, scratch.clone()), gauge)
                }
                None => mailbox(MAILBOX, one.subtask.is_loop_head()),
            };
            senders.insert((id, channel), sender);
            receivers.entry(id).or_default().push(receiver);
        }
    }
    let parts = deployed.into_iter().map(|one| {
        let inputs = receivers.remove(&one.subtask.id()).unwrap_or_default();
        let feedback = gauges.remove(&one.subtask.id()).unwrap_or_default();
        let outputs =
            one.outputs.iter().filter_map(|(target, channel)| senders.remove(&(*target, channel.index()))).collect();
        Connected { one, inputs, outputs, feedback }
    });
    parts.collect()
}

/// The one door to randomness.
fn random_u32() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX / 2)
}

impl Actor for SupervisorActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.carry_out(Vec::new(), ctx);
    }
}

impl Handler<AttemptFailed> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, message: AttemptFailed, ctx: &mut Self::Context) {
        if self.running.as_ref().is_some_and(|running| running.attempt == message.attempt) {
            self.fail(message.error, ctx);
        }
    }
}

impl Handler<AttemptDone> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, message: AttemptDone, ctx: &mut Self::Context) {
        if self.running.as_ref().is_some_and(|running| running.attempt == message.attempt) {
            let effects = self.supervisor.done(message.end);
            self.carry_out(effects, ctx);
        }
    }
}

impl Handler<PartStopped> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, message: PartStopped, ctx: &mut Self::Context) {
        let Some(running) = self.running.as_mut().filter(|running| running.attempt == message.attempt) else { return };
        running.left -= 1;
        let left = running.left;
        self.orphans.extend(message.prepared);
        if let Some(next) = message.next_checkpoint {
            self.next_checkpoint = self.next_checkpoint.max(next);
        }
        if left == 0 {
            self.attempt_stopped(ctx);
        }
    }
}

impl Handler<Cancel> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, _: Cancel, ctx: &mut Self::Context) {
        let effects = self.supervisor.cancel();
        self.carry_out(effects, ctx);
    }
}

impl Handler<HostRequest> for SupervisorActor {
    type Result = ();

    fn handle(&mut self, request: HostRequest, ctx: &mut Self::Context) {
        self.request(request, ctx);
    }
}

impl SupervisorActor {
    pub(crate) fn request(&mut self, request: HostRequest, ctx: &mut actix::Context<Self>) {
        if self.requests.contains(&request) {
            return;
        }
        self.requests.push(request);
        if let Some(running) = &self.running {
            running.coordinator.do_send(request);
        } else if request == HostRequest::Stop {
            let effects = self.supervisor.stop_while_waiting();
            self.carry_out(effects, ctx);
        }
    }
}
