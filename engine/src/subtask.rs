//! One parallel instance of an operator chain, as a state machine: input gate, chain, outputs, and its part in checkpoints.
//!
//! The driver asks what the subtask [needs](Subtask::need) and gives it that:
//!
//! ```text
//! Need::Room     take what is ready off the outputs (take_ready), as the channels have room
//! Need::Turn     step(Resume): more records are at hand
//! Need::Input    step(Element) from any channel that can_read; if there is none, flush(), and wait
//! ```
//! [`Control`] and [`Completion`] inputs are welcome at any time. Effects are for the driver to carry out.
//!
//! # Invariants
//! - A barrier leaves on every output directly behind the last record of its checkpoint.
//! - A trigger, a barrier and the end of input are handled only when nothing is left over from the records before.
//!
//! What is due between records, acknowledged and published is for the [`Participant`] to know.

use std::{sync::Arc, time::Duration};

use crate::{
    chain::Chain,
    checkpoint::{
        config::CheckpointConfig,
        coordinator::SubtaskReport,
        gate::{Aligned, GateEvent, InputGate},
        participant::{Boundary, Participant, ParticipantEffect},
        snapshot::{SnapshotStats, SubtaskId, SubtaskSnapshot},
    },
    element::StreamElement,
    error::{BoxError, Error, Location},
    fail_point::{FailPoints, Passage, Point},
    id::{ChannelIndex, CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
    operator::{OpenContext, PreCommit, RecordError, SnapshotBuilder, SourceStatus, StepError, StepPanic},
    output::Commit,
    panic_site,
    slice::{Slice, Stop},
};

/// What can happen to a subtask.
#[derive(Debug)]
pub enum SubtaskInput {
    /// An element came off a channel.
    Element(ChannelIndex, StreamElement),
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
    /// Sources: begin a checkpoint. If `halt` is set, send no record behind its barrier.
    Trigger {
        /// The checkpoint.
        checkpoint: CheckpointId,
        /// Send nothing behind the barrier.
        halt: bool,
    },
    /// Sources: the input ends here.
    EndInput,
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
}

/// What a subtask wants done.
pub enum SubtaskEffect {
    /// Run this where it may block; report with [`Completion::PreCommitted`].
    PreCommit(CheckpointId, PreCommit),
    /// Run this where it may block; report with [`Completion::Published`].
    Publish(CheckpointId, Commit),
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
}

/// Records that passed since last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Into the chain.
    pub records_in: u64,
    /// Out of it, into outputs or a sink.
    pub records_out: u64,
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
    /// A source has read its first record of this attempt, or tried.
    has_begun: bool,
    clock_stride: u32,
}

impl Subtask {
    pub(crate) fn new(
        id: SubtaskId,
        context: &OpenContext,
        steps: Arc<[(crate::topology::graph::StepIndex, String)]>,
        mut chain: Box<dyn Chain>,
        channels: usize,
        config: &CheckpointConfig,
    ) -> Self {
        let sink = chain.tail().two_phase_sink().map(str::to_string);
        Self {
            id,
            job: context.job_name.clone(),
            steps,
            chain,
            gate: InputGate::new(channels, config.mode, config.alignment_buffer, context.restored.checkpoint),
            participant: Participant::new(context.attempt, sink),
            fail_points: context.fail_points.clone(),
            restored: context.restored.checkpoint,
            has_begun: false,
            clock_stride: 1,
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
            self.reach(Point::RestoreApplied, restored).map(drop).map_err(|cause| self.failed(cause))
        });
        opened.unwrap_or_else(|panic| Err(self.panicked(panic)))
    }

    /// What the subtask can use next.
    pub fn need(&mut self) -> Need {
        if self.chain.tail().is_blocked() {
            return Need::Room;
        }
        if self.chain.head().has_leftover() || self.participant.has_boundary() || self.gate.has_replay() {
            return Need::Turn;
        }
        if self.participant.is_halted() {
            return Need::Input(None);
        }
        match self.chain.head().source_status() {
            None => Need::Input(None),
            Some(SourceStatus::NotBefore(time)) => Need::Input(Some(time)),
            Some(SourceStatus::Ready | SourceStatus::Ended) => Need::Turn,
        }
    }

    /// Whether an element of `channel` may be given to the next step.
    pub fn can_read(&self, channel: ChannelIndex) -> bool {
        self.gate.can_read(channel)
    }

    /// Whether an element is ready for an output channel.
    pub fn has_ready(&mut self, channel: ChannelIndex) -> bool {
        self.chain.tail().has_ready(channel)
    }

    /// Takes the next element that is ready for an output channel.
    pub fn take_ready(&mut self, channel: ChannelIndex) -> Option<StreamElement> {
        self.chain.tail().take_ready(channel)
    }

    /// Makes batches that are not full ready: there is nothing else to do. Whether there were any.
    pub fn flush(&mut self) -> bool {
        self.chain.tail().flush()
    }

    /// Records that passed since last asked.
    pub fn take_record_counts(&mut self) -> RecordCounts {
        RecordCounts {
            records_in: self.chain.head().take_records_in(),
            records_out: self.chain.tail().take_records_out(),
        }
    }

    /// Takes one input, and works until the slice is over or something else is needed. An error, or a panic of user code, ends the attempt.
    pub fn step(
        &mut self,
        input: SubtaskInput,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), Error> {
        match panic_site::catch(|| self.try_step(input, slice, effects)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.failed(error)),
            Err(panic) => Err(self.panicked(panic)),
        }
    }

    fn try_step(
        &mut self,
        input: SubtaskInput,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        match input {
            SubtaskInput::Element(channel, element) => {
                let event = self.gate.receive(channel, element, slice.now());
                self.gate_event(event, effects)?;
            }
            SubtaskInput::Resume => {}
            SubtaskInput::Control(control) => return self.control(control, slice, effects),
            SubtaskInput::Completion(completion) => return self.completion(completion, effects),
        }
        self.work(slice, effects)
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
            Control::Trigger { checkpoint, halt } => self.participant.trigger(checkpoint, halt),
            Control::EndInput => self.chain.head().end_source(),
            Control::Aborted(checkpoint) => {
                self.gate.cancel(checkpoint);
                self.mutate_abort(checkpoint);
            }
            Control::Completed(checkpoint) => {
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
            Control::Trigger { checkpoint, .. } => self.reach(Point::TriggerHeard, checkpoint)?,
            Control::Aborted(checkpoint) => self.reach(Point::AbortHeard, checkpoint)?,
            Control::Completed(checkpoint) => self.reach(Point::CompletionHeard, checkpoint)?,
            Control::EndInput => Passage::On,
        };
        Ok(passage == Passage::Lost)
    }

    fn completion(&mut self, completion: Completion, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        let wanted = match completion {
            Completion::PreCommitted { checkpoint, result, took } => {
                self.participant.pre_committed(checkpoint, result?, took)
            }
            Completion::Published { checkpoint, result } => {
                result?;
                self.participant.published(checkpoint)
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
                ParticipantEffect::Publish(checkpoint, due) => {
                    effects.push(SubtaskEffect::Publish(checkpoint, self.chain.tail().publication(due)));
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

    fn gate_event(&mut self, event: GateEvent, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        match event {
            GateEvent::Deliver(batch) => self.chain.feed(batch),
            GateEvent::Aligned(aligned) => {
                self.reach(Point::Aligned, aligned.barrier.checkpoint)?;
                self.participant.aligned(aligned);
            }
            GateEvent::EndOfInput { all: true } => self.participant.end_of_input(),
            GateEvent::Declined(checkpoint) => {
                let reason = "a newer barrier came before the last one of this checkpoint".to_string();
                effects.push(SubtaskEffect::Report(SubtaskReport::Declined(checkpoint, reason)));
            }
            GateEvent::Collecting(checkpoint) => {
                self.reach(Point::FirstBarrier, checkpoint)?;
            }
            GateEvent::Stashed(checkpoint) => {
                self.reach(Point::Stash, checkpoint)?;
            }
            GateEvent::EndOfInput { all: false } | GateEvent::Nothing => {}
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<(), BoxError> {
        if !std::mem::replace(&mut self.has_begun, true) && self.chain.head().source_status().is_some() {
            self.reach(Point::ReplayBegun, self.restored)?;
        }
        Ok(())
    }

    /// Goes on with what is at hand: first what is left over, then what waited for that, then what was stashed, then the source.
    fn work(&mut self, slice: &mut Slice<'_>, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        self.begin()?;
        loop {
            if self.chain.tail().is_blocked() {
                return Ok(());
            }
            if !self.participant.is_halted() || self.chain.head().has_leftover() {
                match self.chain.run(slice) {
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
            match self.gate.replay(slice.now()) {
                Some(event) => self.gate_event(event, effects)?,
                None => break,
            }
        }
        if !self.participant.is_halted() && self.chain.head().source_status() == Some(SourceStatus::Ended) {
            self.participant.end_of_input();
            self.boundary(slice, effects)?;
        }
        Ok(())
    }

    /// Handles what waits for a place between two records, if this is one.
    fn boundary(&mut self, slice: &mut Slice<'_>, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        if self.chain.head().has_leftover() {
            return Ok(());
        }
        while let Some(boundary) = self.participant.next_boundary() {
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
        let finished = self.participant.is_finished();
        let builder = self.chain.snapshot(checkpoint, finished || aligned.barrier.halt)?;
        slice.refresh();
        let sync = slice.now().since(began);
        if is_source && mutation::is(Mutation::PositionOneOff) {
            // Whether it stops for want of room or of time does not matter.
            let _ = self.chain.run(slice);
        }
        self.reach(Point::Frozen, checkpoint)?;
        self.chain.tail().send_all(&|| StreamElement::Barrier(aligned.barrier));
        self.reach(if is_source { Point::BarrierSent } else { Point::BarrierForwarded }, checkpoint)?;
        let SnapshotBuilder { deltas, operators, pre_commit, .. } = builder;
        let newest = deltas.iter().filter(|delta| delta.checkpoint == checkpoint);
        let bytes = newest.flat_map(|delta| &delta.blocks).map(|block| block.bytes.len() as u64).sum();
        let stats = SnapshotStats {
            alignment: aligned.alignment,
            stashed: aligned.stashed,
            sync,
            r#async: Duration::ZERO,
            bytes,
        };
        let snapshot = SubtaskSnapshot { deltas, operators, finished, stats };
        self.reach(Point::Encoded, checkpoint)?;
        if mutation::is(Mutation::SubsumedTooEarly) {
            self.chain.completed(checkpoint);
        }
        let wanted = self.participant.frozen(checkpoint, snapshot, pre_commit);
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
