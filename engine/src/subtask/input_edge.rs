//! An edge that leads to a subtask, and what of it was in flight.

use crate::{
    checkpoint::{layout::EdgeLayout, snapshot::InFlightRecord},
    id::SubtaskIndex,
    operator::either::Lift,
};

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
    pub(super) fn is_like(&self, parallelism: u32, stored: &InFlightRecord) -> bool {
        (stored.parallelism, stored.channels) == (parallelism, self.layout.channels)
    }

    /// Whether a subtask takes what was in flight to one of then, when there are `parallelism` now: its own, if nothing has changed. Where everybody gets every record,
    /// each goes on as one of those that there were; so does a broadcast state.
    pub(super) fn takes(&self, subtask: SubtaskIndex, parallelism: u32, stored: &InFlightRecord) -> bool {
        if self.is_like(parallelism, stored) {
            return stored.subtask == subtask;
        }
        match self.is_broadcast {
            true => stored.subtask.0 == subtask.0 % stored.parallelism,
            false => self.by_key || stored.subtask.0 % parallelism == subtask.0,
        }
    }
}
