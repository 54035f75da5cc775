//! How a job comes to its end.

use super::{Coordinator, CoordinatorEffect, message::Effects};
use crate::{checkpoint::snapshot::SubtaskId, id::CheckpointId};

impl Coordinator {
    /// Nothing but a last checkpoint is left to do, or to find out that this is so.
    pub(super) fn is_ending(&self) -> bool {
        let sources = || self.layout.subtasks.keys().filter(|subtask| self.layout.sources.contains(&subtask.chain));
        let is_circling = !self.open_loops.is_empty() && sources().all(|source| self.finished.contains(source));
        self.is_over() || is_circling
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_stopping || self.finished.len() == self.layout.subtasks.len()
    }

    pub(super) fn finish(&mut self, subtask: SubtaskId, effects: &mut Effects) {
        if self.finished.insert(subtask) {
            effects.extend(self.alignment.finished(subtask).into_iter().map(CoordinatorEffect::Limit));
        }
    }

    pub(super) fn published(&mut self, subtask: SubtaskId, checkpoint: CheckpointId, effects: &mut Effects) {
        if let Some(published) = self.published.get_mut(&subtask) {
            *published = checkpoint.max(*published);
        }
        self.if_done(effects);
    }

    /// No checkpoint comes any more.
    pub(super) fn fail_wanted(&mut self, effects: &mut Effects) {
        let wanted = std::mem::take(&mut self.wanted);
        if !wanted.is_empty() {
            effects
                .push(CoordinatorEffect::SavepointFailed(wanted, "the job has taken its last checkpoint".to_string()));
        }
    }

    pub(super) fn if_done(&mut self, effects: &mut Effects) {
        if let Some((last, end)) = self.last
            && !self.done
            && self.published.values().all(|published| *published >= last)
        {
            self.done = true;
            effects.push(CoordinatorEffect::Done(end));
        }
    }
}
