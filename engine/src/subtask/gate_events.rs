//! What the input gate makes of elements.

use super::{Subtask, SubtaskEffect, message::Effects};
use crate::{
    checkpoint::{
        coordinator::SubtaskReport,
        gate::{GateEvent, Recorded},
        snapshot::InFlightBatch,
    },
    element::Copied,
    error::BoxError,
    fail_point::Point,
};

impl Subtask {
    pub(super) fn gate_events(&mut self, effects: &mut Effects) -> Result<(), BoxError> {
        let mut events = std::mem::take(&mut self.events);
        let handled = events.drain(..).try_for_each(|event| self.gate_event(event, effects));
        self.events = events;
        handled
    }

    fn gate_event(&mut self, event: GateEvent, effects: &mut Effects) -> Result<(), BoxError> {
        match event {
            GateEvent::Deliver(channel, batch) => {
                self.feeding = channel;
                let edge = self.inputs.iter().find(|edge| edge.layout.contains(channel));
                self.chain.feed(match edge.and_then(|edge| edge.lift) {
                    Some(lift) => (lift.lift)(batch),
                    None => batch,
                });
            }
            GateEvent::Aligned(aligned) => {
                self.reach(Point::Aligned, aligned.barrier.checkpoint)?;
                self.participant.aligned(aligned);
            }
            GateEvent::Recorded(checkpoint, Recorded { batches, is_quiet }) => {
                self.reach(Point::Recorded, checkpoint)?;
                let in_flight =
                    |(channel, copied): (_, Copied<_>)| InFlightBatch { channel, bytes: copied.into_bytes() };
                let batches = batches.into_iter().map(in_flight).collect();
                let wanted = self.participant.recorded(checkpoint, batches, is_quiet);
                self.pass_on(wanted, effects)?;
            }
            GateEvent::Time(_) => self.time_moved = true,
            GateEvent::EndOfInput => self.end_of_input(),
            GateEvent::Declined(checkpoint) => {
                let wanted = self.participant.give_up(checkpoint);
                self.pass_on(wanted, effects)?;
                let reason = "a newer barrier came before the last one of this checkpoint".to_string();
                effects.push(SubtaskEffect::Report(SubtaskReport::Declined(checkpoint, reason)));
            }
            GateEvent::Collecting(checkpoint) => {
                self.reach(Point::FirstBarrier, checkpoint)?;
            }
            GateEvent::Stashed(checkpoint) => {
                self.reach(Point::Stash, checkpoint)?;
            }
        }
        Ok(())
    }
}
