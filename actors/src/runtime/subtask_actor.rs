//! One subtask as an actor: moves elements in and out, and carries out effects.
//!
//! # Invariants
//! - The data plane polls the subtask only while the actor is running: not after a failure, not while stopping.
//! - *Stopped* is reported once every blocking call that the subtask asked for has returned, and no request is under way any more.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix::{
    Actor, ActorContext, ActorFuture, ActorFutureExt, Addr, AsyncContext, Handler, Message, SpawnHandle, WrapFuture,
};
use cofferdam_engine::{
    Attempt, BoxError, ChannelIndex, CheckpointId, Commit, Error, ProcessingTime, Request, RequestId, Slice,
    StreamElement,
    checkpoint::coordinator::SubtaskReport,
    panic_message,
    subtask::{Completion, Control, Need, Subtask, SubtaskEffect, SubtaskInput},
};
use tokio::task::{AbortHandle, JoinSet};

use crate::runtime::{
    clock::MonotonicClock,
    coordinator_actor::{CoordinatorActor, ReportMessage},
    mailbox::{Receiver, Sender},
    status::SubtaskMeter,
    supervisor_actor::{AttemptFailed, PartStopped, SupervisorActor},
};

/// How long a subtask runs before control messages and its neighbours get their turn.
const TURN: Duration = Duration::from_millis(1);

/// What a subtask actor is made of.
pub(crate) struct SubtaskParts {
    pub(crate) subtask: Subtask,
    pub(crate) attempt: Attempt,
    pub(crate) inputs: Vec<Receiver>,
    pub(crate) outputs: Vec<Sender>,
    /// Whether barriers may overtake.
    pub(crate) is_unaligned: bool,
    pub(crate) meter: Arc<SubtaskMeter>,
    pub(crate) clock: Arc<MonotonicClock>,
    pub(crate) coordinator: Addr<CoordinatorActor>,
    pub(crate) supervisor: Addr<SupervisorActor>,
}

pub(crate) struct SubtaskActor {
    parts: SubtaskParts,
    /// Input channels that come round from this chain.
    feedback: Vec<usize>,
    /// Where the search for the next element begins: each channel has its turn.
    next_input: usize,
    effects: Vec<SubtaskEffect>,
    /// Wakes the data plane.
    waker: Option<Waker>,
    /// Wakes the data plane when a source may be asked again.
    timer: Option<(ProcessingTime, SpawnHandle)>,
    /// Blocking calls that have not returned.
    calls: usize,
    /// Futures under way, tasks of this thread: what they wait for wakes them, and not the actor.
    requests: JoinSet<RequestId>,
    handles: HashMap<RequestId, AbortHandle>,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// Waits for the supervisor to stop it.
    Failed,
    Stopping,
}

/// A coordinator's message to a subtask.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct ControlMessage {
    pub(crate) attempt: Attempt,
    pub(crate) control: Control,
}

/// The attempt is over.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct StopPart;

impl SubtaskActor {
    pub(crate) fn new(parts: SubtaskParts) -> Self {
        let channels = 0..parts.inputs.len();
        let feedback = channels.filter(|i| parts.subtask.is_feedback(ChannelIndex(*i as u32))).collect();
        Self {
            parts,
            feedback,
            next_input: 0,
            effects: Vec::new(),
            waker: None,
            timer: None,
            calls: 0,
            requests: JoinSet::new(),
            handles: HashMap::new(),
            state: State::Running,
        }
    }

    /// The data plane: works until the turn is over, room is missing, or there is no input.
    fn poll_data(&mut self, ctx: &mut actix::Context<Self>, task: &mut Context<'_>) -> Result<(), Error> {
        let clock = self.parts.clock.clone();
        let mut stride = self.parts.subtask.clock_stride();
        let mut slice = Slice::new(clock.as_ref(), TURN, u64::MAX, &mut stride);
        loop {
            if self.parts.is_unaligned {
                self.overtake(&mut slice, ctx, task)?;
            }
            let input = match self.parts.subtask.need() {
                Need::Room if self.send_ready(task)? => continue,
                Need::Room => {
                    let until = self.overtakes_at();
                    self.set_timer(until, ctx);
                    break;
                }
                Need::Turn => SubtaskInput::Resume,
                need @ (Need::Input(until) | Need::Wait(until)) => match self.next_element(need, task)? {
                    Some((channel, element)) => SubtaskInput::Element(channel, element),
                    None if until.is_some_and(|time| time <= slice.now()) => SubtaskInput::Resume,
                    None if self.parts.subtask.flush() => continue,
                    None => {
                        let until = until.into_iter().chain(self.overtakes_at()).min();
                        self.set_timer(until, ctx);
                        break;
                    }
                },
            };
            self.parts.subtask.step(input, &mut slice, &mut self.effects)?;
            self.carry_out(ctx);
            slice.refresh();
            if slice.is_over() {
                self.send_ready(task)?;
                go_to_the_back(task);
                break;
            }
        }
        self.parts.subtask.set_clock_stride(stride);
        self.parts.meter.add(self.parts.subtask.take_record_counts(), &self.parts.clock);
        Ok(())
    }

    /// Lets barriers pass that may overtake: those that come in, and those that go out.
    fn overtake(
        &mut self,
        slice: &mut Slice<'_>,
        ctx: &mut actix::Context<Self>,
        task: &Context<'_>,
    ) -> Result<(), Error> {
        for index in 0..self.parts.inputs.len() {
            self.parts.inputs[index].watch(task);
            loop {
                let taken = self.parts.inputs[index].overtake(slice.now());
                let Some((barrier, copies)) = taken.map_err(|cause| self.parts.subtask.fault(cause))? else { break };
                let input = SubtaskInput::Overtaken(ChannelIndex(index as u32), barrier, copies);
                self.parts.subtask.step(input, slice, &mut self.effects)?;
                self.carry_out(ctx);
            }
        }
        self.send_overtaking(slice.now())?;
        if self.parts.subtask.overtakes_at().is_some_and(|time| time <= slice.now()) {
            self.parts.subtask.step(SubtaskInput::Resume, slice, &mut self.effects)?;
            self.carry_out(ctx);
            self.send_overtaking(slice.now())?;
        }
        Ok(())
    }

    fn send_overtaking(&mut self, now: ProcessingTime) -> Result<(), Error> {
        for (channel, output) in (0u32..).map(ChannelIndex).zip(&self.parts.outputs) {
            while let Some(barrier) = self.parts.subtask.take_overtaking(channel, now)? {
                output.push_overtaking(barrier).map_err(|cause| self.parts.subtask.fault(cause))?;
            }
        }
        Ok(())
    }

    /// When a barrier that waits for its turn stops doing so.
    fn overtakes_at(&mut self) -> Option<ProcessingTime> {
        if !self.parts.is_unaligned {
            return None;
        }
        let inputs = self.parts.inputs.iter().filter_map(Receiver::overtakes_at);
        inputs.chain(self.parts.subtask.overtakes_at()).min()
    }

    /// Sends what is ready as far as there is room; whether all of it went.
    fn send_ready(&mut self, task: &Context<'_>) -> Result<bool, Error> {
        let mut all = true;
        for (channel, output) in (0u32..).map(ChannelIndex).zip(&self.parts.outputs) {
            while self.parts.subtask.has_ready(channel) {
                if !output.has_room(self.parts.subtask.has_line(channel), task) {
                    all = false;
                    break;
                }
                let pushed = match self.parts.subtask.take_ready(channel) {
                    Some(element @ StreamElement::Barrier(barrier, _)) if barrier.overtakes.is_some() => {
                        output.push_overtaking(element)
                    }
                    Some(element) => output.push(element),
                    None => Ok(()),
                };
                pushed.map_err(|cause| self.parts.subtask.fault(cause))?;
            }
        }
        Ok(all)
    }

    fn next_element(&mut self, need: Need, task: &Context<'_>) -> Result<Option<(ChannelIndex, StreamElement)>, Error> {
        let wants_batch = !matches!(need, Need::Wait(_));
        let count = self.parts.inputs.len();
        if !self.feedback.is_empty() {
            self.parts.subtask.set_backlog(self.feedback.iter().map(|index| self.parts.inputs[*index].len()).sum());
        }
        for i in 0..count {
            let index = (self.next_input + i) % count;
            let channel = ChannelIndex(index as u32);
            let is_line = !self.feedback.is_empty() && self.parts.inputs[index].has_line();
            if !self.parts.subtask.can_read(channel, is_line) {
                continue;
            }
            let popped = self.parts.inputs[index].pop(wants_batch, task);
            if let Some(element) = popped.map_err(|cause| self.parts.subtask.fault(cause))? {
                self.next_input = index + 1;
                return Ok(Some((channel, element)));
            }
        }
        Ok(None)
    }

    fn set_timer(&mut self, until: Option<ProcessingTime>, ctx: &mut actix::Context<Self>) {
        if self.timer.map(|(time, _)| time) == until {
            return;
        }
        if let Some((_, handle)) = self.timer.take() {
            ctx.cancel_future(handle);
        }
        if let Some(time) = until {
            let sleep = self.parts.clock.sleep_until(time);
            let handle = ctx.spawn(sleep.into_actor(self).map(|(), actor, _| {
                actor.timer = None;
                actor.wake();
            }));
            self.timer = Some((time, handle));
        }
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Gives the subtask something that is not data.
    fn step(&mut self, input: SubtaskInput, ctx: &mut actix::Context<Self>) {
        let clock = self.parts.clock.clone();
        let mut stride = 1;
        let mut slice = Slice::new(clock.as_ref(), TURN, u64::MAX, &mut stride);
        match self.parts.subtask.step(input, &mut slice, &mut self.effects) {
            Ok(()) => self.carry_out(ctx),
            Err(error) => self.fail(error),
        }
        self.wake();
    }

    fn fail(&mut self, error: Error) {
        self.state = State::Failed;
        self.effects.clear();
        self.drop_requests();
        self.parts.supervisor.do_send(AttemptFailed { attempt: self.parts.attempt, error });
    }

    fn carry_out(&mut self, ctx: &mut actix::Context<Self>) {
        for effect in std::mem::take(&mut self.effects) {
            match effect {
                SubtaskEffect::PreCommit(checkpoint, call) => {
                    let began = std::time::Instant::now();
                    self.call(ctx, call, move |result| Completion::PreCommitted {
                        checkpoint,
                        result,
                        took: began.elapsed(),
                    });
                }
                SubtaskEffect::Publish(checkpoint, call, pause) if pause.is_zero() => {
                    self.publish(checkpoint, call, ctx);
                }
                SubtaskEffect::Publish(checkpoint, call, pause) => {
                    ctx.run_later(pause, move |actor, ctx| {
                        if actor.state == State::Running {
                            actor.publish(checkpoint, call, ctx);
                        }
                    });
                }
                SubtaskEffect::Ask(id, request) => self.ask(id, request),
                SubtaskEffect::Forget(id) => {
                    if let Some(handle) = self.handles.remove(&id) {
                        handle.abort();
                    }
                }
                SubtaskEffect::Report(report) => self.report(report),
            }
        }
    }

    fn ask(&mut self, id: RequestId, request: Request) {
        let handle = self.requests.spawn_local(async move {
            request.await;
            id
        });
        self.handles.insert(id, handle);
    }

    /// Nobody waits for them any more. They are gone soon, and the data plane learns of it.
    fn drop_requests(&mut self) {
        self.handles.clear();
        self.requests.abort_all();
    }

    /// Tells the subtask what has been answered, and has the task woken when something is.
    fn take_answers(&mut self, ctx: &mut actix::Context<Self>, task: &mut Context<'_>) {
        let mut is_any = false;
        while let Poll::Ready(Some(ended)) = self.requests.poll_join_next(task) {
            is_any = true;
            // A future that was dropped has answered nothing.
            let Some(id) = ended.ok().filter(|id| self.handles.remove(id).is_some()) else { continue };
            self.step(SubtaskInput::Completion(Completion::Answered(id)), ctx);
        }
        if is_any {
            self.if_stopped(ctx);
        }
    }

    fn publish(&mut self, checkpoint: CheckpointId, call: Commit, ctx: &mut actix::Context<Self>) {
        let (meter, name) = (self.parts.meter.clone(), self.parts.subtask.name());
        self.call(ctx, call, move |result| {
            if let Err(error) = &result {
                meter.publication_failed();
                log::warn!("'{name}' could not publish what is owed up to checkpoint {checkpoint}: {error}");
            }
            Completion::Published { checkpoint, result }
        });
    }

    fn report(&self, report: SubtaskReport) {
        self.parts.coordinator.do_send(ReportMessage {
            attempt: self.parts.attempt,
            subtask: self.parts.subtask.id(),
            report,
        });
    }

    /// Runs `call` on a thread that may block, and gives what it came to back to the subtask.
    fn call<R: Send + 'static>(
        &mut self,
        ctx: &mut actix::Context<Self>,
        call: impl FnOnce() -> Result<R, BoxError> + Send + 'static,
        completion: impl FnOnce(Result<R, BoxError>) -> Completion + 'static,
    ) {
        self.calls += 1;
        let returned = tokio::task::spawn_blocking(call).into_actor(self).map(|joined, actor, ctx| {
            actor.calls -= 1;
            let result = joined.unwrap_or_else(|error| Err(lost_call(error).into()));
            let completion = completion(result);
            match actor.state {
                State::Running => actor.step(SubtaskInput::Completion(completion), ctx),
                State::Failed | State::Stopping => actor.parts.subtask.returned_late(completion),
            }
            actor.if_stopped(ctx);
        });
        ctx.spawn(returned);
    }

    fn if_stopped(&mut self, ctx: &mut actix::Context<Self>) {
        if self.state == State::Stopping && self.calls == 0 && self.requests.is_empty() {
            let prepared = self.parts.subtask.take_prepared();
            let attempt = self.parts.attempt;
            self.parts.supervisor.do_send(PartStopped { attempt, next_checkpoint: None, prepared });
            ctx.stop();
        }
    }
}

/// Has the task polled again once everything else that is ready had its turn. A plain wake-up would put it into the thread's own queue, and what other threads
/// send (control messages, calls that returned) is looked at only every 31st time while that queue is not empty.
fn go_to_the_back(task: &mut Context<'_>) {
    let yielded = std::pin::pin!(tokio::task::yield_now());
    let _ = yielded.poll(task);
}

/// Why a blocking call did not return.
fn lost_call(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => format!("panicked: {}", panic_message(payload.as_ref())),
        Err(error) => error.to_string(),
    }
}

/// Polls the data plane for as long as the actor lives.
struct DataPlane;

impl ActorFuture<SubtaskActor> for DataPlane {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        actor: &mut SubtaskActor,
        ctx: &mut actix::Context<SubtaskActor>,
        task: &mut Context<'_>,
    ) -> Poll<()> {
        if !actor.waker.as_ref().is_some_and(|waker| waker.will_wake(task.waker())) {
            actor.waker = Some(task.waker().clone());
        }
        if actor.state == State::Running
            && let Err(error) = actor.poll_data(ctx, task)
        {
            actor.fail(error);
        }
        actor.take_answers(ctx, task);
        Poll::Pending
    }
}

impl Actor for SubtaskActor {
    type Context = actix::Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.spawn(DataPlane);
    }
}

impl Handler<ControlMessage> for SubtaskActor {
    type Result = ();

    fn handle(&mut self, message: ControlMessage, ctx: &mut Self::Context) {
        if message.attempt == self.parts.attempt && self.state == State::Running {
            self.step(SubtaskInput::Control(message.control), ctx);
        }
    }
}

impl Handler<StopPart> for SubtaskActor {
    type Result = ();

    fn handle(&mut self, _: StopPart, ctx: &mut Self::Context) {
        self.state = State::Stopping;
        self.drop_requests();
        self.wake();
        self.if_stopped(ctx);
    }
}
