//! What a subtask does in a turn.

use super::{Subtask, SubtaskEffect, message::Effects};
use crate::{
    checkpoint::coordinator::SubtaskReport,
    error::BoxError,
    fail_point::{self, Point},
    id::CheckpointId,
    operator::SourceStatus,
    slice::{Flow, Slice, Stop},
};

impl Subtask {
    /// Goes on with what is at hand: first what is left over, then what waited for that, then what was stashed, then the source.
    pub(super) fn work(&mut self, slice: &mut Slice<'_>, effects: &mut Effects) -> Result<(), BoxError> {
        self.begin(slice)?;
        self.gate.time_passed(slice.now(), &mut self.events)?;
        self.gate_events(effects)?;
        loop {
            self.boundary(slice, effects)?;
            if self.chain.tail().is_blocked() {
                return Ok(());
            }
            let mut is_through = true;
            if !self.participant.is_halted() || self.chain.head().has_leftover() {
                match self.run_chain(slice, effects) {
                    Ok(()) => {}
                    Err(Stop::Yield) => is_through = false,
                    Err(Stop::Failed(error)) => return Err(error),
                }
            }
            // A full batch is no reason to keep a boundary waiting.
            self.boundary(slice, effects)?;
            // Nor is what batches have to wait for.
            let wants_batch = is_through && !self.is_full();
            if self.chain.head().has_leftover() || !self.gate.replay(wants_batch, slice.now(), &mut self.events)? {
                if is_through { break } else { return Ok(()) }
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

    /// Lets records pass, and says what comes of it.
    fn run_chain(&mut self, slice: &mut Slice<'_>, effects: &mut Effects) -> Flow {
        let is_firing = fail_point::ARE_COMPILED && self.chain.head().has_due();
        let flow = self.chain.run(slice);
        self.if_heap_spent(effects);
        if matches!(flow, Err(Stop::Failed(_))) {
            return flow;
        }
        if is_firing {
            self.reach(Point::TimeFired, CheckpointId(0))?;
        }
        self.pass_time(false, slice)?;
        self.say_source_time(slice, effects);
        flow
    }

    /// Nothing comes any more: time is at its end, and behind what that makes due the outputs end.
    pub(super) fn end_of_input(&mut self) {
        self.gate.end_time();
        (self.time_moved, self.has_ended) = (true, true);
        self.participant.end_of_input();
    }

    /// Asks for a checkpoint, once until one is completed or aborted.
    fn if_heap_spent(&mut self, effects: &mut Effects) {
        if !self.has_asked && self.chain.head().heap_is_spent() {
            self.has_asked = true;
            effects.push(SubtaskEffect::Report(SubtaskReport::HeapSpent));
        }
    }
}
