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
//! - A barrier waits for what is due only if records are in front of it.
//! - Nothing is made due by time behind the barrier of a stop.
//! - A barrier that comes while the end makes something due passes between: what has not been done is in the snapshot.
//!
//! What is due between records, acknowledged and published is for the [`Participant`] to know.

mod boundary;
mod channels;
mod completions;
mod controls;
mod failure;
mod freeze;
mod gate_events;
mod input_edge;
mod message;
mod need;
mod passing_time;
mod reports;
mod restoring;
mod work;

pub use self::{
    channels::RecordCounts,
    message::{Completion, Control, SubtaskEffect, SubtaskInput},
    need::Need,
};
pub(crate) use input_edge::InputEdge;

use std::sync::Arc;

use self::{message::Effects, passing_time::TimeOut};
use crate::{
    chain::Chain,
    checkpoint::{
        config::CheckpointConfig,
        gate::{GateEvent, InputGate},
        participant::Participant,
        snapshot::SubtaskId,
    },
    error::{BoxError, Error},
    fail_point::{FailPoints, Passage, Point},
    id::{ChannelIndex, CheckpointId},
    operator::{OpenContext, PreCommit},
    panic_site,
    slice::Slice,
    topology::graph::StepIndex,
};

/// See the module.
pub struct Subtask {
    id: SubtaskId,
    job: Arc<str>,
    steps: Arc<[(StepIndex, String)]>,
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
    time_out: TimeOut,
    /// The inputs' time has moved, and the chain has not been told.
    time_moved: bool,
    /// The chain moves time by itself.
    moves_time: bool,
    /// The chain asks the outside.
    asks: bool,
    /// The input has ended, and what that leads to may be under way.
    has_ended: bool,
}

impl Subtask {
    pub(crate) fn new(
        id: SubtaskId,
        context: &OpenContext,
        steps: Arc<[(StepIndex, String)]>,
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
            time_out: TimeOut::NONE,
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

    /// How often to look at the clock: for the driver's next [`Slice`].
    pub fn clock_stride(&self) -> u32 {
        self.clock_stride
    }

    /// Takes the stride back after a slice.
    pub fn set_clock_stride(&mut self, stride: u32) {
        self.clock_stride = stride;
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

    fn try_step(&mut self, input: SubtaskInput, slice: &mut Slice<'_>, effects: &mut Effects) -> Result<(), BoxError> {
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

    fn reach(&self, point: Point, checkpoint: CheckpointId) -> Result<Passage, BoxError> {
        self.fail_points.reach(point, Some(self.id), checkpoint)
    }
}

#[cfg(test)]
pub(crate) mod tests;
