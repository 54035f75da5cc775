//! One parallel instance of an operator chain, as a state machine: input gate, chain, outputs, and its part in checkpoints.
//!
//! The driver asks what the subtask [needs](Subtask::need) and gives it that:
//!
//! ```text
//! Need::Room     take what is ready off the outputs (take_ready), as the channels have room; a barrier that overtakes (take_overtaking) needs none
//! Need::Turn     step(Resume): more records are at hand
//! Need::Input    step(Element) from any channel that can_read; if there is none, flush(), and wait
//! Need::Wait     as Input, but no batch is read
//! ```
//! [`Control`], [`Completion`] and [`Overtaken`](SubtaskInput::Overtaken) inputs are welcome at any time. Effects are for the driver to carry out.
//!
//! # Invariants
//! - A barrier is put on every output directly behind the last record of its checkpoint; if it overtakes, it takes copies of what it leaves behind along.
//! - A trigger, a barrier and the end of input are handled only when nothing is left over from the records before; a barrier that overtakes, between any two
//!   records.
//! - A watermark leaves behind every record that came before it, and in front of every barrier: so the channel knows by then what the snapshot knows, and to say it
//!   again after a restart changes nothing.
//! - Nothing is made due by time behind the barrier of a stop.
//! - A barrier that comes while the end makes something due passes between: what has not been done is in the snapshot.
//!
//! What is due between records, acknowledged and published is for the [`Participant`] to know.

use std::{sync::Arc, time::Duration};

use crate::{
    chain::Chain,
    checkpoint::{
        config::CheckpointConfig,
        coordinator::SubtaskReport,
        gate::{Aligned, GateEvent, InputGate, Recorded},
        layout::EdgeLayout,
        participant::{Boundary, Participant, ParticipantEffect},
        snapshot::{
            GateTime, InFlightBatch, InFlightRecord, PreparedTransaction, SnapshotStats, SubtaskId, SubtaskSnapshot,
        },
    },
    element::{CheckpointBarrier, Copied, StreamElement, Watermark},
    error::{BoxError, Error, Location, is_not_retryable},
    fail_point::{self, FailPoints, Passage, Point},
    id::{AlignmentGroup, ChannelIndex, CheckpointId, ProcessingTime, SubtaskIndex},
    mutation::{self, Mutation},
    operator::{
        OpenContext, PreCommit, RecordError, SnapshotBuilder, SourceStatus, StepError, StepPanic, either::Lift,
    },
    output::Commit,
    panic_site,
    request::{Request, RequestId},
    slice::{Slice, Stop},
    time::Timestamp,
};

/// What can happen to a subtask.
#[derive(Debug)]
pub enum SubtaskInput {
    /// An element came off a channel.
    Element(ChannelIndex, StreamElement),
    /// A barrier has [overtaken](crate::element::overtake) what is in its channel, with copies of it.
    Overtaken(ChannelIndex, CheckpointBarrier, Vec<Copied<Vec<u8>>>),
    /// The subtask may go on with what it has.
    Resume,
    /// A message of the coordinator's.
    Control(Control),
    /// Something asked for by an effect has returned.
    Completion(Completion),
}

/// What the coordinator tells subtasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Control {
    /// Sources: begin a checkpoint.
    Trigger(CheckpointBarrier),
    /// Sources: the input ends here.
    EndInput,
    /// Heads of loops: nothing will come round any more.
    EndLoop,
    /// Sources of an alignment group: how far the slowest of the others is.
    Limit(AlignmentGroup, Timestamp),
    /// The checkpoint is durable.
    Completed(CheckpointId),
    /// The checkpoint will not be.
    Aborted(CheckpointId),
}

/// What an asynchronous effect came to.
#[derive(Debug)]
pub enum Completion {
    /// [`SubtaskEffect::PreCommit`].
    PreCommitted {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// What was prepared.
        result: Result<Option<Vec<u8>>, BoxError>,
        /// What it took.
        took: Duration,
    },
    /// [`SubtaskEffect::Publish`].
    Published {
        /// Up to where.
        checkpoint: CheckpointId,
        /// Whether it worked.
        result: Result<(), BoxError>,
    },
    /// The future of [`SubtaskEffect::Ask`] is done.
    Answered(RequestId),
}

/// What a subtask wants done.
pub enum SubtaskEffect {
    /// Run this where it may block; report with [`Completion::PreCommitted`].
    PreCommit(CheckpointId, PreCommit),
    /// Run this where it may block, after this pause; report with [`Completion::Published`].
    Publish(CheckpointId, Commit, Duration),
    /// Poll this, beside others; report with [`Completion::Answered`] when it is ready. Drop it when the attempt is over.
    Ask(RequestId, Request),
    /// Drop the future of this request, if it is not ready: nobody waits for it any more.
    Forget(RequestId),
    /// Tell the coordinator.
    Report(SubtaskReport),
}

/// What a subtask can use next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its outputs must be emptied first.
    Room,
    /// A turn: it has something to do.
    Turn,
    /// An element from a channel that can be read; from this moment on (if any) also a turn.
    Input(Option<ProcessingTime>),
    /// Something that is under way to return; from this moment on (if any) a turn. Of its channels, no batch is read: what is in front of the first one is.
    Wait(Option<ProcessingTime>),
}

/// Records that passed since last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Into the chain.
    pub records_in: u64,
    /// Out of it, into outputs, side outputs or a sink.
    pub records_out: u64,
    /// Dropped by its steps, as they came too late.
    pub late_records: u64,
}

/// See the module.
pub struct Subtask {
    id: SubtaskId,
    job: Arc<str>,
    steps: Arc<[(crate::topology::graph::StepIndex, String)]>,
    chain: Box<dyn Chain>,
    gate: InputGate,
    participant: Participant<PreCommit>,
    fail_points: FailPoints,
    restored: CheckpointId,
    /// Where its input channels come from.
    inputs: Vec<InputEdge>,
    /// The channel of the batch under way.
    feeding: ChannelIndex,
    /// What the gate made of the last input, while it is being handled.
    events: Vec<GateEvent>,
    /// Elements that wait on feedback channels.
    backlog: usize,
    /// Turns spent on the rest of a record for the sake of a barrier that overtakes.
    rest_turns: u32,
    /// A source has read its first record of this attempt, or tried.
    has_begun: bool,
    /// A checkpoint was asked for since the last one was completed or aborted.
    has_asked: bool,
    clock_stride: u32,
    /// What is said of time behind the chain.
    out: Watermark,
    /// What all outputs have been told of it, and when the next time is.
    told: Watermark,
    tell_at: ProcessingTime,
    /// When the clock was last looked at for it.
    told_at: ProcessingTime,
    /// The inputs' time has moved, and the chain has not been told.
    time_moved: bool,
    /// The chain moves time by itself.
    moves_time: bool,
    /// The chain asks the outside.
    asks: bool,
    /// The input has ended, and what that leads to may be under way.
    has_ended: bool,
}

/// An edge that leads to a subtask's chain.
#[derive(Clone, Debug)]
pub(crate) struct InputEdge {
    pub(crate) layout: EdgeLayout,
    /// Records find their subtask by key.
    pub(crate) by_key: bool,
    /// Records go to the subtask of the same number, if there are as many.
    pub(crate) is_forward: bool,
    /// Each subtask gets every record.
    pub(crate) is_broadcast: bool,
    /// It comes round: the chain is the head of a loop.
    pub(crate) is_feedback: bool,
    /// Its records have times, and so it carries watermarks.
    pub(crate) is_timed: bool,
    /// It leads to one side of a step with two inputs.
    pub(crate) lift: Option<Lift>,
}

impl InputEdge {
    /// Whether what was in flight was so on channels that are the same today.
    fn is_like(&self, parallelism: u32, stored: &InFlightRecord) -> bool {
        (stored.parallelism, stored.channels) == (parallelism, self.layout.channels)
    }

    /// Whether a subtask takes what was in flight to one of then, when there are `parallelism` now: its own, if nothing has changed. Where everybody gets every record,
    /// each goes on as one of those that there were; so does a broadcast state.
    fn takes(&self, subtask: SubtaskIndex, parallelism: u32, stored: &InFlightRecord) -> bool {
        if self.is_like(parallelism, stored) {
            return stored.subtask == subtask;
        }
        match self.is_broadcast {
            true => stored.subtask.0 == subtask.0 % stored.parallelism,
            false => self.by_key || stored.subtask.0 % parallelism == subtask.0,
        }
    }
}

/// Elements that wait on feedback channels when the head of a loop stops taking ordinary input.
const BACKLOG: usize = 8;

/// How long outputs to which nothing goes may not know how far time has come.
const MARKS_EVERY: Duration = Duration::from_millis(10);

/// The most turns that are spent on the rest of one record, whether there is room for it or not, so that a barrier may overtake.
const REST_TURNS: u32 = 64;

impl Subtask {
    pub(crate) fn new(
        id: SubtaskId,
        context: &OpenContext,
        steps: Arc<[(crate::topology::graph::StepIndex, String)]>,
        mut chain: Box<dyn Chain>,
        inputs: Vec<InputEdge>,
        config: &CheckpointConfig,
    ) -> Self {
        let sink = chain.tail().two_phase_sink().map(str::to_string);
        let channels = inputs.iter().map(|edge| edge.layout.channels as usize).sum();
        let mut gate = InputGate::new(channels, config.mode, config.alignment_buffer, context.restored.checkpoint);
        for edge in inputs.iter().filter(|edge| edge.is_feedback) {
            edge.layout.all().for_each(|channel| gate.set_feedback(channel));
        }
        for edge in inputs.iter().filter(|edge| !edge.is_timed) {
            edge.layout.all().for_each(|channel| gate.set_untimed(channel));
        }
        let (moves_time, asks) = (chain.head().moves_time(), chain.head().asks());
        Self {
            id,
            job: context.job_name.clone(),
            steps,
            chain,
            gate,
            participant: Participant::new(sink),
            fail_points: context.fail_points.clone(),
            restored: context.restored.checkpoint,
            inputs,
            feeding: ChannelIndex(0),
            events: Vec::new(),
            backlog: 0,
            rest_turns: 0,
            has_begun: false,
            has_asked: false,
            clock_stride: 1,
            out: Watermark::NONE,
            told: Watermark::NONE,
            tell_at: ProcessingTime::default(),
            told_at: ProcessingTime::default(),
            time_moved: false,
            moves_time,
            asks,
            has_ended: false,
        }
    }

    /// Which subtask it is.
    pub fn id(&self) -> SubtaskId {
        self.id
    }

    /// The names of the chain's steps.
    pub fn name(&self) -> String {
        let names: Vec<_> = self.steps.iter().map(|(_, name)| name.as_str()).collect();
        names.join(" -> ")
    }

    /// The number of output channels.
    pub fn output_channels(&mut self) -> usize {
        self.chain.tail().channels()
    }

    /// How often to look at the clock: for the driver's next [`Slice`].
    pub fn clock_stride(&self) -> u32 {
        self.clock_stride
    }

    /// Takes the stride back after a slice.
    pub fn set_clock_stride(&mut self, stride: u32) {
        self.clock_stride = stride;
    }

    /// Restores state, opens readers and writers. To be called once, before the first step; may block.
    pub fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let restored = context.restored.checkpoint;
        let opened = panic_site::catch(|| {
            self.chain.open(context)?;
            self.restore_time(context);
            self.put_back(context)?;
            self.reach(Point::RestoreApplied, restored).map(drop).map_err(|cause| self.failed(cause))
        });
        opened.unwrap_or_else(|panic| Err(self.panicked(panic)))
    }

    /// Takes up what the inputs had said of time at the restored checkpoint. Over several edges the earliest counts. What each channel had said counts only if every chain has as many
    /// subtasks as then: else splits are read by others, and what comes on a channel may be earlier than what it had said, though this edge looks as it did.
    fn restore_time(&mut self, context: &OpenContext) {
        let mut saved = GateTime { event_time: Timestamp::MAX, channels: Vec::new() };
        for edge in &self.inputs {
            let was = (!context.is_rescaled).then_some(context.subtask);
            let GateTime { event_time, channels } =
                edge.layout.restored_time(&context.restored.times, was, context.parallelism);
            saved.channels.extend(channels);
            if edge.is_timed {
                saved.event_time = saved.event_time.min(event_time);
            }
        }
        if self.inputs.iter().any(|edge| edge.is_timed) && !mutation::is(Mutation::MarksNotRestored) {
            self.gate.restore_times(&saved);
            self.time_moved = self.gate.watermark() != Watermark::NONE;
        }
    }

    /// Puts back what was in flight when the restored checkpoint was taken, before what is new. With as many subtasks and channels as then, on its own channel. Otherwise,
    /// where a key decides, each subtask picks its own records; else whole channels are shared out, or copied where each subtask gets every record. Then all of it is put
    /// on the first channel (should it be in flight once more, it still comes before what is new). Watermarks are dropped if any chain has another number of subtasks: on a
    /// channel, records of another one that come behind them would be late.
    fn put_back(&mut self, context: &OpenContext) -> Result<(), Error> {
        let (owned, parallelism) = (context.key_groups(), context.parallelism);
        for edge in &self.inputs {
            let stored = context.restored.in_flight.iter().filter(|stored| stored.edge == edge.layout.name);
            for stored in stored.filter(|stored| edge.takes(context.subtask, parallelism, stored)) {
                let is_like = edge.is_like(parallelism, stored);
                let channel = if is_like { edge.layout.first.0 + stored.channel.0 } else { edge.layout.first.0 };
                for bytes in &stored.batches {
                    if let Some(mark) = Watermark::of_bytes(bytes) {
                        if !context.is_rescaled && edge.is_timed {
                            self.gate.put_back(ChannelIndex(channel), StreamElement::Watermark(mark));
                        }
                        continue;
                    }
                    let batch = match edge.lift {
                        Some(lift) => (lift.decode)(bytes, owned, context.max_parallelism),
                        None => self.chain.head().decode_batch(bytes, owned, context.max_parallelism),
                    };
                    let batch = batch.map_err(|error| not_in_flight(&edge.layout.name, context, &error))?;
                    if !batch.is_empty() && !mutation::is(Mutation::InFlightNotRestored) {
                        self.gate.put_back(ChannelIndex(channel), StreamElement::Batch(batch));
                    }
                }
            }
        }
        Ok(())
    }

    /// What the subtask can use next.
    pub fn need(&mut self) -> Need {
        if self.is_early_boundary() {
            return Need::Turn;
        }
        if self.chain.tail().is_blocked() {
            return Need::Room;
        }
        let is_full = self.is_full();
        let has_replay = self.gate.has_replay() && !is_full;
        if self.chain.head().has_leftover() || self.participant.has_boundary() || has_replay {
            return self.need_before_end(has_replay).unwrap_or(Need::Turn);
        }
        if self.participant.is_halted() {
            return Need::Input(None);
        }
        if self.time_moved || self.chain.head().has_due() {
            return Need::Turn;
        }
        let wake_at = self.chain.head().wake_at();
        if is_full {
            return Need::Wait(wake_at);
        }
        match self.chain.head().source_status() {
            None | Some(SourceStatus::Held) => Need::Input(wake_at),
            Some(SourceStatus::NotBefore(time)) => Need::Input(wake_at.into_iter().chain([time]).min()),
            Some(SourceStatus::Ready | SourceStatus::Ended) => Need::Turn,
        }
    }

    fn is_full(&mut self) -> bool {
        self.asks && self.chain.head().is_full()
    }

    /// Whether a snapshot can be taken between two records, or as soon as the rest of one has been handed out.
    fn is_early_boundary(&mut self) -> bool {
        self.participant.has_boundary()
            && !self.participant.waits_for_batch()
            && (self.rest_turns < REST_TURNS || !self.chain.head().is_within_record())
    }

    /// From when on a turn is needed, whatever else is: a barrier stops waiting.
    pub fn overtakes_at(&mut self) -> Option<ProcessingTime> {
        self.gate.overtakes_at().into_iter().chain(self.chain.tail().overtakes_at()).min()
    }

    /// Whether an element of `channel` may be given to the next step. At the head of a loop in which much is about ordinary records wait; not so a barrier
    /// or an end, and what is in front of it: say whether there `is_line` in the channel.
    pub fn can_read(&self, channel: ChannelIndex, is_line: bool) -> bool {
        self.gate.can_read(channel) && (self.backlog < BACKLOG || is_line || self.is_feedback(channel))
    }

    /// Whether a channel comes round from this very subtask's chain: then it has no bound, and [spills](crate::ChannelQueue::spilling).
    pub fn is_feedback(&self, channel: ChannelIndex) -> bool {
        self.inputs.iter().any(|edge| edge.is_feedback && edge.layout.all().any(|one| one == channel))
    }

    /// Tells how many elements wait on all feedback channels together: above a mark no other channel is read.
    pub fn set_backlog(&mut self, elements: usize) {
        self.backlog = elements;
    }

    /// Whether an element is ready for an output channel.
    pub fn has_ready(&mut self, channel: ChannelIndex) -> bool {
        self.chain.tail().has_ready(channel)
    }

    /// Whether a barrier or an end is among them. A channel to the head of a loop has room for it, and for what is in front of it, in any case: the head reads up
    /// to it, however much comes round.
    pub fn has_line(&mut self, channel: ChannelIndex) -> bool {
        self.chain.tail().has_line(channel)
    }

    /// Whether this is the head of a loop.
    pub fn is_loop_head(&self) -> bool {
        self.inputs.iter().any(|edge| edge.is_feedback)
    }

    /// The name of the loop that this is the head of.
    pub fn loop_name(&self) -> Option<&str> {
        // A head begins with the step that the loop is named by.
        let first = self.steps.first().map(|(_, name)| name.as_str());
        first.filter(|_| self.is_loop_head())
    }

    /// Takes the next element that is ready for an output channel.
    pub fn take_ready(&mut self, channel: ChannelIndex) -> Option<StreamElement> {
        self.chain.tail().take_ready(channel)
    }

    /// What the failure of a channel (to copy a record in flight, to spill) ends the attempt with.
    pub fn fault(&self, cause: BoxError) -> Error {
        self.failed(cause)
    }

    /// Takes a barrier for an output channel that leaves before what is ready there, with copies of that.
    pub fn take_overtaking(
        &mut self,
        channel: ChannelIndex,
        now: ProcessingTime,
    ) -> Result<Option<StreamElement>, Error> {
        match self.chain.tail().take_overtaking(channel, now) {
            Ok(taken) => Ok(taken.map(|(barrier, copies)| StreamElement::Barrier(barrier, copies))),
            Err(error) => Err(self.failed(error)),
        }
    }

    /// Makes batches that are not full ready, and says on all outputs how far time has come: there is nothing else to do. Whether there was any of it.
    pub fn flush(&mut self) -> bool {
        let has_flushed = self.chain.tail().flush();
        if self.out == Watermark::NONE {
            return has_flushed;
        }
        self.told = self.out;
        self.chain.tail().mark(self.out, true, self.told_at) || has_flushed
    }

    /// Records that passed since last asked.
    pub fn take_record_counts(&mut self) -> RecordCounts {
        RecordCounts {
            records_in: self.chain.head().take_records_in(),
            records_out: self.chain.tail().take_records_out(),
            late_records: self.chain.head().take_late(),
        }
    }

    /// Takes one input, and works until the slice is over or something else is needed. An error, or a panic of user code, ends the attempt.
    pub fn step(
        &mut self,
        input: SubtaskInput,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), Error> {
        match panic_site::catch(|| self.try_step(input, slice, effects).and_then(|()| self.ask(effects))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(panic) => Err(self.panicked(panic)),
        }
    }

    /// A call has returned after the subtask failed or was stopped: what it prepared is not forgotten.
    pub fn returned_late(&mut self, completion: Completion) {
        if let Completion::PreCommitted { checkpoint, result: Ok(Some(transaction)), .. } = completion {
            self.participant.prepared_late(checkpoint, transaction);
        }
    }

    /// What the attempt, which is over, has prepared and may not have published, with the `uid` of the sink: for the
    /// [next one](crate::opening::open_attempt) to abort, as far as the checkpoint that it restores does not name it.
    pub fn take_prepared(&mut self) -> Vec<(String, PreparedTransaction)> {
        let Some(uid) = self.chain.tail().two_phase_sink().map(str::to_string) else { return Vec::new() };
        self.participant.take_prepared().into_iter().map(|transaction| (uid.clone(), transaction)).collect()
    }

    fn try_step(
        &mut self,
        input: SubtaskInput,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        match input {
            SubtaskInput::Element(channel, element) => {
                self.gate.receive(channel, element, slice.now(), &mut self.events)?;
                self.gate_events(effects)?;
            }
            SubtaskInput::Overtaken(channel, barrier, copies) => {
                self.reach(Point::Overtaken, barrier.checkpoint)?;
                self.gate.overtaken(channel, barrier, copies, slice.now(), &mut self.events)?;
                self.gate_events(effects)?;
            }
            SubtaskInput::Resume => {}
            SubtaskInput::Control(control) => return self.control(control, slice, effects),
            SubtaskInput::Completion(completion) => return self.completion(completion, effects),
        }
        self.work(slice, effects)
    }

    /// Has the outside asked what the chain wants to know.
    fn ask(&mut self, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        if !self.asks {
            return Ok(());
        }
        let before = effects.len();
        self.chain.head().take_requests(effects);
        let asks = |effect: &SubtaskEffect| matches!(effect, SubtaskEffect::Ask(..));
        if fail_point::ARE_COMPILED && effects[before..].iter().any(asks) {
            self.reach(Point::Ask, CheckpointId(0))?;
        }
        Ok(())
    }

    fn control(
        &mut self,
        control: Control,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        if self.is_lost(control)? {
            return Ok(());
        }
        match control {
            Control::Trigger(barrier) => self.participant.trigger(barrier, slice.now()),
            Control::EndInput => self.chain.head().end_source(),
            Control::Limit(group, slowest) => self.chain.head().limit(group, slowest),
            Control::EndLoop => {
                self.reach(Point::LoopEnded, CheckpointId(0))?;
                self.gate.end_loop(&mut self.events);
                self.gate_events(effects)?;
            }
            Control::Aborted(checkpoint) => {
                self.has_asked = false;
                self.gate.cancel(checkpoint);
                let wanted = self.participant.give_up(checkpoint);
                self.pass_on(wanted, effects)?;
                self.mutate_abort(checkpoint);
            }
            Control::Completed(checkpoint) => {
                self.has_asked = false;
                self.chain.completed(checkpoint);
                self.reach(Point::Subsumed, checkpoint)?;
                let wanted = self.participant.completed(checkpoint);
                self.pass_on(wanted, effects)?;
            }
        }
        // A trigger must not wait for room: a source that is held back still answers.
        self.boundary(slice, effects)
    }

    fn mutate_abort(&mut self, checkpoint: CheckpointId) {
        if mutation::is(Mutation::AbortedChangesDropped) {
            self.chain.completed(checkpoint);
        }
        #[cfg(mutation)]
        if mutation::is(Mutation::AbortedTransactionsDropped) {
            self.participant.forget(checkpoint);
        }
    }

    fn reach(&self, point: Point, checkpoint: CheckpointId) -> Result<Passage, BoxError> {
        self.fail_points.reach(point, Some(self.id), checkpoint)
    }

    fn is_lost(&self, control: Control) -> Result<bool, BoxError> {
        let passage = match control {
            Control::Trigger(barrier) => self.reach(Point::TriggerHeard, barrier.checkpoint)?,
            Control::Aborted(checkpoint) => self.reach(Point::AbortHeard, checkpoint)?,
            Control::Completed(checkpoint) => self.reach(Point::CompletionHeard, checkpoint)?,
            Control::Limit(..) => self.reach(Point::LimitHeard, CheckpointId(0))?,
            Control::EndInput | Control::EndLoop => Passage::On,
        };
        Ok(passage == Passage::Lost)
    }

    fn completion(&mut self, completion: Completion, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        let wanted = match completion {
            Completion::Answered(request) => {
                self.chain.head().answered(request);
                self.reach(Point::Answered, CheckpointId(0))?;
                return Ok(());
            }
            Completion::PreCommitted { checkpoint, result, took } => {
                self.participant.pre_committed(checkpoint, result?, took)
            }
            Completion::Published { checkpoint, result: Ok(()) } => self.participant.published(checkpoint),
            Completion::Published { checkpoint, result: Err(error) } => {
                let cause = error.downcast_ref::<StepError>().map_or(error.as_ref(), |error| error.cause.as_ref());
                if error.is::<StepPanic>() || is_not_retryable(cause) {
                    return Err(error);
                }
                match self.participant.publication_failed(checkpoint) {
                    Some(again) => vec![again],
                    None => return Err(error),
                }
            }
        };
        self.pass_on(wanted, effects)
    }

    fn pass_on(
        &mut self,
        wanted: Vec<ParticipantEffect<PreCommit>>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        for effect in wanted {
            match effect {
                ParticipantEffect::PreCommit(checkpoint, call) => {
                    effects.push(SubtaskEffect::PreCommit(checkpoint, call));
                }
                ParticipantEffect::Publish(checkpoint, due, pause) => {
                    effects.push(SubtaskEffect::Publish(checkpoint, self.chain.tail().publication(due), pause));
                }
                ParticipantEffect::Acknowledge(checkpoint, snapshot) => {
                    let report = SubtaskReport::Acknowledged(checkpoint, snapshot);
                    self.report(Point::Acknowledge, checkpoint, report, effects)?;
                }
                ParticipantEffect::Published(checkpoint) => {
                    self.report(Point::Published, checkpoint, SubtaskReport::Published(checkpoint), effects)?;
                }
            }
        }
        Ok(())
    }

    fn report(
        &self,
        point: Point,
        checkpoint: CheckpointId,
        report: SubtaskReport,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        if self.reach(point, checkpoint)? != Passage::Lost {
            effects.push(SubtaskEffect::Report(report));
        }
        Ok(())
    }

    fn gate_events(&mut self, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        let mut events = std::mem::take(&mut self.events);
        let handled = events.drain(..).try_for_each(|event| self.gate_event(event, effects));
        self.events = events;
        handled
    }

    fn gate_event(&mut self, event: GateEvent, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        match event {
            GateEvent::Deliver(channel, batch) => {
                self.feeding = channel;
                let edge = self.inputs.iter().find(|edge| edge.layout.contains(channel));
                self.chain.feed(match edge.and_then(|edge| edge.lift) {
                    Some(lift) => (lift.lift)(batch),
                    None => batch,
                });
            }
            GateEvent::Aligned(aligned) => {
                self.reach(Point::Aligned, aligned.barrier.checkpoint)?;
                self.participant.aligned(aligned);
            }
            GateEvent::Recorded(checkpoint, Recorded { batches, is_quiet }) => {
                self.reach(Point::Recorded, checkpoint)?;
                let in_flight =
                    |(channel, copied): (_, Copied<_>)| InFlightBatch { channel, bytes: copied.into_bytes() };
                let batches = batches.into_iter().map(in_flight).collect();
                let wanted = self.participant.recorded(checkpoint, batches, is_quiet);
                self.pass_on(wanted, effects)?;
            }
            GateEvent::Time(_) => self.time_moved = true,
            GateEvent::EndOfInput => self.end_of_input(),
            GateEvent::Declined(checkpoint) => {
                let wanted = self.participant.give_up(checkpoint);
                self.pass_on(wanted, effects)?;
                let reason = "a newer barrier came before the last one of this checkpoint".to_string();
                effects.push(SubtaskEffect::Report(SubtaskReport::Declined(checkpoint, reason)));
            }
            GateEvent::Collecting(checkpoint) => {
                self.reach(Point::FirstBarrier, checkpoint)?;
            }
            GateEvent::Stashed(checkpoint) => {
                self.reach(Point::Stash, checkpoint)?;
            }
        }
        Ok(())
    }

    fn begin(&mut self, slice: &Slice<'_>) -> Result<(), BoxError> {
        if std::mem::replace(&mut self.has_begun, true) {
            return Ok(());
        }
        // Before anything else leaves, the outputs know what they knew.
        self.pass_time(true, slice)?;
        if self.chain.head().source_status().is_some() {
            self.reach(Point::ReplayBegun, self.restored)?;
        }
        Ok(())
    }

    /// Nothing comes any more: time is at its end, and behind what that makes due the outputs end.
    fn end_of_input(&mut self) {
        self.gate.end_time();
        (self.time_moved, self.has_ended) = (true, true);
        self.participant.end_of_input();
    }

    /// What the chain's head says of time. In a loop it stands still, as what comes round may be older than what comes in.
    fn head_time(&self) -> Watermark {
        if self.is_loop_head() && !self.has_ended { Watermark::NONE } else { self.gate.watermark() }
    }

    /// Tells the chain how far time has come, if it has, and the outputs behind it: all of them at times, if idleness begins or ends, or if asked for; else those to
    /// which something goes anyway. Not within a record: what is left of it goes out first.
    fn pass_time(&mut self, all: bool, slice: &Slice<'_>) -> Result<(), BoxError> {
        if (self.time_moved || self.moves_time) && !self.chain.head().is_within_record() {
            let head = self.head_time();
            let before = std::mem::replace(&mut self.out, self.chain.head().watermark(head, slice));
            self.time_moved = false;
            if self.out != before {
                self.reach(Point::TimePassed, CheckpointId(0))?;
            }
        }
        // Idleness is told again, as records end it.
        if self.out == self.told && !self.out.is_idle {
            return Ok(());
        }
        let now = slice.now();
        let all = all || self.out.is_idle != self.told.is_idle || now >= self.tell_at;
        self.chain.tail().mark(self.out, all, now);
        self.told_at = now;
        if all {
            (self.told, self.tell_at) = (self.out, now.after(MARKS_EVERY));
        }
        Ok(())
    }

    /// Says to others that are read with it how far it has come.
    fn say_source_time(&mut self, slice: &Slice<'_>, effects: &mut Vec<SubtaskEffect>) {
        if !self.moves_time || self.participant.is_halted() {
            return;
        }
        if let Some((group, mark)) = self.chain.head().source_time(slice.now()) {
            effects.push(SubtaskEffect::Report(SubtaskReport::SourceTime(group, mark)));
        }
    }

    /// Goes on with what is at hand: first what is left over, then what waited for that, then what was stashed, then the source.
    fn work(&mut self, slice: &mut Slice<'_>, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        self.begin(slice)?;
        self.gate.time_passed(slice.now(), &mut self.events)?;
        self.gate_events(effects)?;
        loop {
            self.boundary(slice, effects)?;
            if self.chain.tail().is_blocked() {
                return Ok(());
            }
            if !self.participant.is_halted() || self.chain.head().has_leftover() {
                let is_firing = fail_point::ARE_COMPILED && self.chain.head().has_due();
                let flow = self.chain.run(slice);
                self.if_heap_spent(effects);
                if !matches!(flow, Err(Stop::Failed(_))) {
                    if is_firing {
                        self.reach(Point::TimeFired, CheckpointId(0))?;
                    }
                    self.pass_time(false, slice)?;
                    self.say_source_time(slice, effects);
                }
                match flow {
                    Ok(()) => {}
                    Err(Stop::Yield) => {
                        // A full batch is no reason to keep a boundary waiting.
                        self.boundary(slice, effects)?;
                        return Ok(());
                    }
                    Err(Stop::Failed(error)) => return Err(error),
                }
            }
            self.boundary(slice, effects)?;
            if self.is_full() || !self.gate.replay(slice.now(), &mut self.events)? {
                break;
            }
            self.gate_events(effects)?;
        }
        let is_open = !self.participant.is_halted() && !self.has_ended;
        if is_open && self.chain.head().source_status() == Some(SourceStatus::Ended) {
            self.end_of_input();
            self.boundary(slice, effects)?;
        }
        Ok(())
    }

    /// Asks for a checkpoint, once until one is completed or aborted.
    fn if_heap_spent(&mut self, effects: &mut Vec<SubtaskEffect>) {
        if !self.has_asked && self.chain.head().heap_is_spent() {
            self.has_asked = true;
            effects.push(SubtaskEffect::Report(SubtaskReport::HeapSpent));
        }
    }

    /// Handles what waits for a place between two records, if this is one.
    fn boundary(&mut self, slice: &mut Slice<'_>, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        while self.is_place(slice)? {
            let Some(boundary) = self.participant.next_boundary() else { break };
            self.rest_turns = 0;
            match boundary {
                Boundary::Checkpoint(aligned) => self.checkpoint(aligned, slice, effects)?,
                Boundary::Finish => {
                    self.reach(Point::InputEnded, CheckpointId(0))?;
                    self.chain.tail().send_all(&|| StreamElement::EndOfInput);
                    if mutation::is(Mutation::EndOfInputTwice) {
                        self.chain.tail().send_all(&|| StreamElement::EndOfInput);
                    }
                    effects.push(SubtaskEffect::Report(SubtaskReport::Finished));
                }
            }
        }
        Ok(())
    }

    /// Whether this is a place for what is due. For a barrier that overtakes, the rest of a record goes out whether there is room or not.
    fn is_place(&mut self, slice: &mut Slice<'_>) -> Result<bool, BoxError> {
        if !self.participant.has_boundary() {
            return Ok(false);
        }
        if self.participant.waits_for_batch() {
            if self.chain.head().has_leftover() {
                return Ok(false);
            }
            if self.is_end_reached(slice)? {
                return Ok(true);
            }
            self.participant.let_pass();
            return Ok(!self.participant.is_finishing());
        }
        if self.chain.head().is_within_record() && self.rest_turns < REST_TURNS {
            self.rest_turns += 1;
            slice.only_rest(true);
            let flow = self.hand_out_rest(slice);
            slice.only_rest(false);
            flow?;
        }
        Ok(!self.chain.head().is_within_record())
    }

    /// What is needed while the end is due and what it makes due is done, or under way. Nothing but barriers comes any more, and they need not wait for that.
    fn need_before_end(&mut self, has_replay: bool) -> Option<Need> {
        let is_end = self.participant.is_finishing() && !self.participant.is_halted() && !self.time_moved;
        let head = self.chain.head();
        if !is_end || head.has_leftover() || has_replay {
            return None;
        }
        let at_once = head.has_due().then(ProcessingTime::default);
        at_once.map(Some).or_else(|| head.is_pending().then(|| head.wake_at())).map(Need::Input)
    }

    /// Whether an end, if that is what is due, has nothing to wait for: what it makes due is done, and what is under way has returned.
    fn is_end_reached(&mut self, slice: &Slice<'_>) -> Result<bool, BoxError> {
        if !self.participant.is_finishing() || self.participant.is_halted() {
            return Ok(true);
        }
        self.pass_time(false, slice)?;
        let head = self.chain.head();
        Ok(!head.has_leftover() && !head.has_due() && !head.is_pending())
    }

    fn hand_out_rest(&mut self, slice: &mut Slice<'_>) -> Result<(), BoxError> {
        while self.chain.head().is_within_record() {
            if let Err(Stop::Failed(error)) = self.chain.run(slice) {
                return Err(error);
            }
            slice.refresh();
            if slice.is_over() {
                break;
            }
        }
        Ok(())
    }

    /// The life of a barrier in a subtask: freeze, send the barrier on, and leave the rest to the asynchronous part.
    fn checkpoint(
        &mut self,
        aligned: Aligned,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        let checkpoint = aligned.barrier.checkpoint;
        let is_source = self.chain.head().source_status().is_some();
        if is_source {
            self.reach(Point::SourceSnapshot, checkpoint)?;
        }
        slice.refresh();
        let began = slice.now();
        self.pass_time(true, slice)?;
        let finished = self.participant.is_finished();
        let builder = self.chain.snapshot(checkpoint, finished || aligned.barrier.halt, slice.wall_time())?;
        slice.refresh();
        let time = self.gate.times();
        let sync = slice.now().since(began);
        if is_source && mutation::is(Mutation::PositionOneOff) {
            // Whether it stops for want of room or of time does not matter.
            let _ = self.chain.run(slice);
        }
        self.reach(Point::Frozen, checkpoint)?;
        self.chain.tail().send_all(&|| StreamElement::barrier(aligned.barrier));
        self.reach(if is_source { Point::BarrierSent } else { Point::BarrierForwarded }, checkpoint)?;
        let SnapshotBuilder { deltas, operators, pre_commit, bytes_full, .. } = builder;
        let newest = deltas.iter().filter(|delta| delta.checkpoint == checkpoint);
        let keyed: u64 = newest.flat_map(|delta| &delta.blocks).map(|block| block.bytes.len() as u64).sum();
        let other: u64 = operators.iter().map(|(_, operator)| operator.state.len() as u64).sum();
        let stats = SnapshotStats {
            start_delay: aligned.start_delay,
            alignment: aligned.alignment,
            stashed: aligned.stashed,
            sync,
            bytes: keyed + other,
            bytes_full: bytes_full + other,
            is_unaligned: aligned.is_early && !is_source,
            ..SnapshotStats::default()
        };
        let rest = if aligned.is_early { self.chain.head().rest_of_batch()? } else { None };
        let in_flight = rest.map(|bytes| InFlightBatch { channel: self.feeding, bytes }).into_iter().collect();
        let is_pending = self.chain.head().is_pending();
        let snapshot =
            SubtaskSnapshot { deltas, operators, in_flight, finished, is_quiet: false, is_pending, time, stats };
        self.reach(Point::Encoded, checkpoint)?;
        if mutation::is(Mutation::SubsumedTooEarly) {
            self.chain.completed(checkpoint);
        }
        let is_recording = aligned.is_recording && !mutation::is(Mutation::RecordingCutShort);
        let wanted = self.participant.frozen(checkpoint, snapshot, pre_commit, is_recording);
        self.pass_on(wanted, effects)
    }

    fn location(&self, step: Option<crate::topology::graph::StepIndex>) -> Location {
        let step = step.and_then(|step| self.steps.iter().find(|(index, _)| *index == step));
        let operator = step.map_or_else(|| self.name(), |(_, name)| name.clone());
        Location { job: self.job.to_string(), operator, subtask: self.id.index }
    }

    fn failed(&self, error: BoxError) -> Error {
        let error = match error.downcast::<RecordError>() {
            Ok(failed) => return self.failed(failed.cause).with_record(failed.record),
            Err(error) => error,
        };
        let error = match error.downcast::<StepPanic>() {
            Ok(panic) => return Error::panic(&self.location(Some(panic.step)), &panic.message),
            Err(error) => error,
        };
        match error.downcast::<StepError>() {
            Ok(error) => Error::operator(&self.location(Some(error.step)), error.cause),
            Err(error) => Error::operator(&self.location(None), error),
        }
    }

    fn panicked(&self, (step, message): (Option<crate::topology::graph::StepIndex>, String)) -> Error {
        Error::panic(&self.location(step), &message)
    }
}

fn not_in_flight(edge: &str, context: &OpenContext, error: &BoxError) -> Error {
    Error::refused(format!(
        "checkpoint {} in {} holds records in flight on '{edge}' of job '{}' that cannot be read ({error}): they are of another type of record; \
         start the topology that they belong to and stop it, which leaves none in flight, or delete the state to start over",
        context.restored.checkpoint, context.state_place, context.job_name
    ))
}

#[cfg(test)]
pub(crate) mod tests;
