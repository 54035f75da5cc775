//! Loops that are empty for good.

use super::{Coordinator, CoordinatorEffect, message::Effects};
use crate::{checkpoint::snapshot::SubtaskSnapshot, id::CheckpointId};

impl Coordinator {
    /// A checkpoint is a consistent cut: a loop in which nothing circulated, and into which nothing can come, is empty for good. Where barriers overtake,
    /// records may be in flight elsewhere in the loop.
    pub(super) fn end_loops(&mut self, checkpoint: CheckpointId, effects: &mut Effects) {
        let Some(pending) = self.pending.get(&checkpoint) else { return };
        let all = |chain: &u32, is_so: fn(&SubtaskSnapshot) -> bool| {
            let mut subtasks = pending.acknowledged.iter().filter(|(subtask, _)| subtask.chain == *chain);
            subtasks.all(|(_, (_, snapshot))| is_so(snapshot))
        };
        // What requests come to may go round. Those outside of the loop come to something, too, sooner or later.
        let is_waiting = pending.acknowledged.values().any(|(_, snapshot)| snapshot.is_pending);
        if pending.barrier.overtakes.is_some() || is_waiting {
            return;
        }
        let is_quiet = |head: &u32| {
            let mut outside = self.layout.loops[head].iter();
            all(head, |head| head.is_quiet) && outside.all(|chain| all(chain, |subtask| subtask.finished))
        };
        let empty: Vec<_> = self.open_loops.iter().copied().filter(is_quiet).collect();
        for chain in empty {
            self.open_loops.remove(&chain);
            effects.push(CoordinatorEffect::EndLoop(chain));
        }
    }
}
