//! When a checkpoint is triggered.

use std::{collections::BTreeMap, time::Duration};

use super::{Coordinator, CoordinatorEffect, RETRY, SavepointTicket, message::Effects, pending::Pending};
use crate::{
    checkpoint::stats::CheckpointKind, element::CheckpointBarrier, error::BoxError, fail_point::Point,
    id::ProcessingTime,
};

impl Coordinator {
    /// When something is triggered, or announced again.
    pub(super) fn next_trigger(&self) -> Option<ProcessingTime> {
        if self.last.is_some() {
            return self.again.filter(|_| !self.done);
        }
        let beat = self.beat.map(|beat| beat.max(self.not_before));
        let pressed = self.is_pressed.then_some(self.not_before.max(self.not_pressed_before));
        beat.into_iter().chain(self.again).chain(pressed).min().filter(|_| self.has_room())
    }

    fn has_room(&self) -> bool {
        let under_way = self.pending.len() + usize::from(self.committing.is_some());
        under_way < self.config.max_concurrent.get() as usize
    }

    pub(super) fn want(
        &mut self,
        ticket: SavepointTicket,
        now: ProcessingTime,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        self.wanted.push(ticket);
        if self.last.is_some() {
            self.fail_wanted(effects);
            return Ok(());
        }
        self.again = Some(now);
        self.trigger_if_due(now, effects)
    }

    /// Triggers what is due. The last checkpoint has no successor that would heal a lost message: so it is announced until every sink has answered.
    pub(super) fn trigger_if_due(&mut self, now: ProcessingTime, effects: &mut Effects) -> Result<(), BoxError> {
        if self.next_trigger().is_none_or(|time| now < time) {
            return Ok(());
        }
        if let Some((last, _)) = self.last {
            self.again = Some(now.after(RETRY));
            effects.push(CoordinatorEffect::Completed(last));
            return Ok(());
        }
        self.trigger(now, effects)
    }

    pub(super) fn trigger_if_ending(&mut self, now: ProcessingTime, effects: &mut Effects) -> Result<(), BoxError> {
        if self.is_ending() && self.last.is_none() {
            self.again = Some(now);
        }
        self.trigger_if_due(now, effects)
    }

    fn trigger(&mut self, now: ProcessingTime, effects: &mut Effects) -> Result<(), BoxError> {
        let (checkpoint, halt) = (self.next, self.is_stopping);
        let savepoints = std::mem::take(&mut self.wanted);
        self.next = self.next.next();
        self.again = None;
        self.is_pressed = false;
        let skipped = self.keep_beat(now);
        // What is stopped is to be published whole, a savepoint to be good for another topology, and a loop to be found empty: nothing may stay in flight. And no
        // barrier passes one that may not.
        let is_free = self.pending.values().all(|before| before.barrier.overtakes.is_some());
        let may_overtake = self.config.unaligned && !self.is_ending() && savepoints.is_empty() && is_free;
        let overtakes = may_overtake.then(|| now.after(self.config.aligned_timeout));
        let barrier = CheckpointBarrier { checkpoint, attempt: self.attempt, triggered: now, overtakes, halt };
        let kind = match (halt, self.is_ending()) {
            (true, _) => CheckpointKind::Stop,
            (false, true) => CheckpointKind::EndOfInput,
            (false, false) if !savepoints.is_empty() => CheckpointKind::Savepoint,
            (false, false) => CheckpointKind::Periodic,
        };
        self.pending.insert(checkpoint, Pending { barrier, kind, skipped, acknowledged: BTreeMap::new(), savepoints });
        self.layout.fail_points.reach(Point::Trigger, None, checkpoint)?;
        effects.push(CoordinatorEffect::Trigger(barrier));
        Ok(())
    }

    /// Moves on to the beat after `now`. How many went by unused.
    fn keep_beat(&mut self, now: ProcessingTime) -> u64 {
        let (Some(interval), Some(beat)) = (self.config.interval, self.beat) else { return 0 };
        if now < beat {
            // Off the beat: it begins anew.
            self.beat = Some(now.after(interval));
            return 0;
        }
        let missed = u64::try_from(now.since(beat).as_nanos() / interval.as_nanos().max(1)).unwrap_or(u64::MAX);
        let on = Duration::from_nanos((interval.as_nanos() as u64).saturating_mul(missed.saturating_add(1)));
        self.beat = Some(beat.after(on));
        missed
    }
}
