//! What the coordinator tells a subtask.

use super::{Control, Subtask, message::Effects};
use crate::{
    error::BoxError,
    fail_point::{Passage, Point},
    id::CheckpointId,
    mutation::{self, Mutation},
    slice::Slice,
};

impl Subtask {
    pub(super) fn control(
        &mut self,
        control: Control,
        slice: &mut Slice<'_>,
        effects: &mut Effects,
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

    fn mutate_abort(&mut self, checkpoint: CheckpointId) {
        if mutation::is(Mutation::AbortedChangesDropped) {
            self.chain.completed(checkpoint);
        }
        #[cfg(mutation)]
        if mutation::is(Mutation::AbortedTransactionsDropped) {
            self.participant.forget(checkpoint);
        }
    }
}
