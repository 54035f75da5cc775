//! Time through a subtask: from its channels through the chain to its outputs.

use std::time::Duration;

use super::{Subtask, SubtaskEffect, message::Effects};
use crate::{
    checkpoint::coordinator::SubtaskReport,
    element::Watermark,
    error::BoxError,
    fail_point::Point,
    id::{CheckpointId, ProcessingTime},
    slice::Slice,
};

/// How long outputs to which nothing goes may not know how far time has come.
const MARKS_EVERY: Duration = Duration::from_millis(10);

/// What is said of time behind the chain.
pub(super) struct TimeOut {
    mark: Watermark,
    /// What all outputs have been told of it, and when the next time is.
    told: Watermark,
    tell_at: ProcessingTime,
    /// When the clock was last looked at for it.
    told_at: ProcessingTime,
}

impl TimeOut {
    pub(super) const NONE: Self =
        Self { mark: Watermark::NONE, told: Watermark::NONE, tell_at: ProcessingTime(0), told_at: ProcessingTime(0) };
}

impl Subtask {
    /// What the chain's head says of time. In a loop it stands still, as what comes round may be older than what comes in.
    fn head_time(&self) -> Watermark {
        if self.is_loop_head() && !self.has_ended { Watermark::NONE } else { self.gate.watermark() }
    }

    /// Tells the chain how far time has come, if it has, and the outputs behind it: all of them at times, if idleness begins or ends, or if asked for; else those to
    /// which something goes anyway. Not within a record: what is left of it goes out first.
    pub(super) fn pass_time(&mut self, all: bool, slice: &Slice<'_>) -> Result<(), BoxError> {
        if (self.time_moved || self.moves_time) && !self.chain.head().is_within_record() {
            let head = self.head_time();
            let before = std::mem::replace(&mut self.time_out.mark, self.chain.head().watermark(head, slice));
            self.time_moved = false;
            if self.time_out.mark != before {
                self.reach(Point::TimePassed, CheckpointId(0))?;
            }
        }
        let TimeOut { mark, told, tell_at, told_at } = &mut self.time_out;
        // Idleness is told again, as records end it.
        if mark == told && !mark.is_idle {
            return Ok(());
        }
        let now = slice.now();
        let all = all || mark.is_idle != told.is_idle || now >= *tell_at;
        self.chain.tail().mark(*mark, all, now);
        *told_at = now;
        if all {
            (*told, *tell_at) = (*mark, now.after(MARKS_EVERY));
        }
        Ok(())
    }

    /// Makes batches that are not full ready, and says on all outputs how far time has come: there is nothing else to do. Whether there was any of it.
    pub fn flush(&mut self) -> bool {
        let has_flushed = self.chain.tail().flush();
        let TimeOut { mark, told, told_at, .. } = &mut self.time_out;
        if *mark == Watermark::NONE {
            return has_flushed;
        }
        *told = *mark;
        self.chain.tail().mark(*mark, true, *told_at) || has_flushed
    }

    /// Says to others that are read with it how far it has come.
    pub(super) fn say_source_time(&mut self, slice: &Slice<'_>, effects: &mut Effects) {
        if !self.moves_time || self.participant.is_halted() {
            return;
        }
        if let Some((group, mark)) = self.chain.head().source_time(slice.now()) {
            effects.push(SubtaskEffect::Report(SubtaskReport::SourceTime(group, mark)));
        }
    }
}
