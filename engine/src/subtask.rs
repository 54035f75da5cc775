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
//! - Asynchronous parts run one at a time, in the order of their barriers; so do publications.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    chain::Chain,
    checkpoint::{
        config::CheckpointConfig,
        gate::{Aligned, GateEvent, InputGate},
        snapshot::{SnapshotStats, SubtaskId, SubtaskSnapshot},
    },
    element::{CheckpointBarrier, StreamElement},
    error::{BoxError, Error, Location},
    id::{Attempt, ChannelIndex, CheckpointId, ProcessingTime},
    operator::{OpenContext, PreCommit, SnapshotBuilder, SourceStatus, StepError, StepPanic},
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    Acknowledge(CheckpointId, Box<SubtaskSnapshot>),
    /// Tell the coordinator.
    Decline(CheckpointId, String),
    /// Tell the coordinator: everything up to here is published.
    Published(CheckpointId),
    /// Tell the coordinator: the input has ended, and so has the output.
    Finished,
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

/// A snapshot on its way to the coordinator.
struct Unacknowledged {
    checkpoint: CheckpointId,
    snapshot: SubtaskSnapshot,
    pre_commit: Option<PreCommit>,
}

/// See the module.
pub struct Subtask {
    id: SubtaskId,
    attempt: Attempt,
    job: Arc<str>,
    steps: Arc<[(crate::topology::graph::StepIndex, String)]>,
    chain: Box<dyn Chain>,
    gate: InputGate,
    /// A trigger that waits until nothing is left over.
    triggers: VecDeque<(CheckpointId, bool)>,
    /// An aligned barrier or the end of input, likewise.
    deferred: VecDeque<Deferred>,
    /// A source that was told to send nothing more.
    halted: bool,
    finished: bool,
    /// Frozen, the oldest one's pre-commit is running.
    unacknowledged: VecDeque<Unacknowledged>,
    /// Everything up to here is to be published.
    publish: CheckpointId,
    /// The publication that is running.
    publishing: Option<CheckpointId>,
    /// Everything up to here is published.
    published: CheckpointId,
    clock_stride: u32,
}

enum Deferred {
    Barrier(Aligned),
    EndOfInput,
}

impl Subtask {
    pub(crate) fn new(
        id: SubtaskId,
        context: &OpenContext,
        steps: Arc<[(crate::topology::graph::StepIndex, String)]>,
        chain: Box<dyn Chain>,
        channels: usize,
        config: &CheckpointConfig,
    ) -> Self {
        Self {
            id,
            attempt: context.attempt,
            job: context.job_name.clone(),
            steps,
            chain,
            gate: InputGate::new(channels, config.mode, config.alignment_buffer, context.restored.checkpoint),
            triggers: VecDeque::new(),
            deferred: VecDeque::new(),
            halted: false,
            finished: false,
            unacknowledged: VecDeque::new(),
            publish: CheckpointId(0),
            publishing: None,
            published: CheckpointId(0),
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
        match panic_site::catch(|| self.chain.open(context)) {
            Ok(result) => result,
            Err(panic) => Err(self.panicked(panic)),
        }
    }

    /// What the subtask can use next.
    pub fn need(&mut self) -> Need {
        if self.chain.tail().is_blocked() {
            return Need::Room;
        }
        if self.chain.head().has_leftover()
            || !self.deferred.is_empty()
            || !self.triggers.is_empty()
            || self.gate.has_replay()
        {
            return Need::Turn;
        }
        if self.halted || self.finished {
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
                self.gate_event(event, effects);
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
        match control {
            Control::Trigger { checkpoint, halt } => self.triggers.push_back((checkpoint, halt)),
            Control::EndInput => self.chain.head().end_source(),
            Control::Aborted(checkpoint) => self.gate.cancel(checkpoint),
            Control::Completed(checkpoint) => {
                self.chain.completed(checkpoint);
                self.publish = self.publish.max(checkpoint);
                if self.chain.tail().is_two_phase() && self.publish <= self.published {
                    // Told again: the report may have been lost.
                    effects.push(SubtaskEffect::Published(self.published));
                }
                self.publish_next(effects);
            }
        }
        // A trigger must not wait for room: a source that is held back still answers.
        self.boundary(slice, effects)
    }

    fn completion(&mut self, completion: Completion, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        match completion {
            Completion::PreCommitted { checkpoint, result, took } => {
                self.chain.tail().prepared(checkpoint, result?);
                self.acknowledge_first(took, effects);
                self.pre_commit_next(effects);
            }
            Completion::Published { checkpoint, result } => {
                result?;
                self.chain.tail().committed(checkpoint);
                self.publishing = None;
                self.published = checkpoint;
                effects.push(SubtaskEffect::Published(checkpoint));
                self.publish_next(effects);
            }
        }
        Ok(())
    }

    fn gate_event(&mut self, event: GateEvent, effects: &mut Vec<SubtaskEffect>) {
        match event {
            GateEvent::Deliver(batch) => self.chain.feed(batch),
            GateEvent::Aligned(aligned) => self.deferred.push_back(Deferred::Barrier(aligned)),
            GateEvent::EndOfInput { all: true } => self.deferred.push_back(Deferred::EndOfInput),
            GateEvent::Declined(checkpoint) => {
                effects.push(SubtaskEffect::Decline(
                    checkpoint,
                    "a newer barrier came before the last one of this checkpoint".to_string(),
                ));
            }
            GateEvent::EndOfInput { all: false } | GateEvent::Nothing => {}
        }
    }

    /// Goes on with what is at hand: first what is left over, then what waited for that, then what was stashed, then the source.
    fn work(&mut self, slice: &mut Slice<'_>, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        loop {
            if self.chain.tail().is_blocked() {
                return Ok(());
            }
            if (!self.halted && !self.finished) || self.chain.head().has_leftover() {
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
                Some(event) => self.gate_event(event, effects),
                None => break,
            }
        }
        if !self.finished && !self.halted && self.chain.head().source_status() == Some(SourceStatus::Ended) {
            self.finish(effects);
        }
        Ok(())
    }

    /// Handles what waits for a place between two records, if this is one.
    fn boundary(&mut self, slice: &mut Slice<'_>, effects: &mut Vec<SubtaskEffect>) -> Result<(), BoxError> {
        if self.chain.head().has_leftover() {
            return Ok(());
        }
        while let Some(deferred) = self.deferred.pop_front() {
            match deferred {
                Deferred::EndOfInput => self.finish(effects),
                Deferred::Barrier(aligned) => self.checkpoint(aligned, slice, effects)?,
            }
        }
        while let Some((checkpoint, halt)) = self.triggers.pop_front() {
            self.halted |= halt;
            let barrier = CheckpointBarrier { checkpoint, attempt: self.attempt, halt };
            self.checkpoint(Aligned { barrier, alignment: Duration::ZERO, stashed: 0 }, slice, effects)?;
        }
        Ok(())
    }

    fn finish(&mut self, effects: &mut Vec<SubtaskEffect>) {
        self.finished = true;
        self.chain.tail().send_all(&|| StreamElement::EndOfInput);
        effects.push(SubtaskEffect::Finished);
    }

    /// The life of a barrier in a subtask: freeze, send the barrier on, and leave the rest to the asynchronous part.
    fn checkpoint(
        &mut self,
        aligned: Aligned,
        slice: &mut Slice<'_>,
        effects: &mut Vec<SubtaskEffect>,
    ) -> Result<(), BoxError> {
        let checkpoint = aligned.barrier.checkpoint;
        slice.refresh();
        let began = slice.now();
        let builder = self.chain.snapshot(checkpoint, self.finished || aligned.barrier.halt)?;
        slice.refresh();
        let sync = slice.now().since(began);
        self.chain.tail().send_all(&|| StreamElement::Barrier(aligned.barrier));
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
        let snapshot = SubtaskSnapshot { deltas, operators, finished: self.finished, stats };
        self.unacknowledged.push_back(Unacknowledged { checkpoint, snapshot, pre_commit });
        if self.unacknowledged.len() == 1 {
            self.pre_commit_next(effects);
        }
        Ok(())
    }

    /// Starts the oldest snapshot's asynchronous part; one without any is acknowledged at once.
    fn pre_commit_next(&mut self, effects: &mut Vec<SubtaskEffect>) {
        while let Some(first) = self.unacknowledged.front_mut() {
            if let Some(pre_commit) = first.pre_commit.take() {
                effects.push(SubtaskEffect::PreCommit(first.checkpoint, pre_commit));
                return;
            }
            self.acknowledge_first(Duration::ZERO, effects);
        }
    }

    fn acknowledge_first(&mut self, took: Duration, effects: &mut Vec<SubtaskEffect>) {
        let Some(mut first) = self.unacknowledged.pop_front() else { return };
        first.snapshot.stats.r#async = took;
        if let Some((uid, transactions)) = self.chain.tail().transactions_up_to(first.checkpoint)
            && let Some((_, operator)) = first.snapshot.operators.iter_mut().find(|(other, _)| *other == uid)
        {
            operator.transactions = transactions;
        }
        effects.push(SubtaskEffect::Acknowledge(first.checkpoint, Box::new(first.snapshot)));
    }

    /// Starts publishing what is due. With nothing due, everything is published already.
    fn publish_next(&mut self, effects: &mut Vec<SubtaskEffect>) {
        if self.publishing.is_some() || self.publish <= self.published || !self.chain.tail().is_two_phase() {
            return;
        }
        match self.chain.tail().commit_up_to(self.publish) {
            Some(commit) => {
                self.publishing = Some(self.publish);
                effects.push(SubtaskEffect::Publish(self.publish, commit));
            }
            None => {
                self.published = self.publish;
                effects.push(SubtaskEffect::Published(self.publish));
            }
        }
    }

    fn location(&self, step: Option<crate::topology::graph::StepIndex>) -> Location {
        let step = step.and_then(|step| self.steps.iter().find(|(index, _)| *index == step));
        let operator = step.map_or_else(|| self.name(), |(_, name)| name.clone());
        Location { job: self.job.to_string(), operator, subtask: self.id.index }
    }

    fn failed(&self, error: BoxError) -> Error {
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
