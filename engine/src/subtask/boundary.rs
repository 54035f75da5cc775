//! The places between two records, and what waits for one.

use super::{Subtask, SubtaskEffect, message::Effects};
use crate::{
    checkpoint::{coordinator::SubtaskReport, participant::Boundary},
    element::StreamElement,
    error::BoxError,
    fail_point::Point,
    id::CheckpointId,
    mutation::{self, Mutation},
    slice::{Slice, Stop},
};

/// The most turns that are spent on the rest of one record, whether there is room for it or not, so that a barrier may overtake.
pub(super) const REST_TURNS: u32 = 64;

impl Subtask {
    /// Handles what waits for a place between two records, if this is one.
    pub(super) fn boundary(&mut self, slice: &mut Slice<'_>, effects: &mut Effects) -> Result<(), BoxError> {
        while self.is_place(slice)? {
            let Some(boundary) = self.participant.next_boundary() else { break };
            self.rest_turns = 0;
            match boundary {
                Boundary::Checkpoint(aligned) => self.checkpoint(aligned, slice, effects)?,
                Boundary::Finish => {
                    self.reach(Point::InputEnded, CheckpointId(0))?;
                    self.chain.tail().send_all(&|| StreamElement::EndOfInput);
                    if mutation::is(Mutation::EndOfInputTwice) {
                        self.chain.tail().send_all(&|| StreamElement::EndOfInput);
                    }
                    effects.push(SubtaskEffect::Report(SubtaskReport::Finished));
                }
            }
        }
        Ok(())
    }

    /// Whether this is a place for what is due. For a barrier that overtakes, the rest of a record goes out whether there is room or not.
    fn is_place(&mut self, slice: &mut Slice<'_>) -> Result<bool, BoxError> {
        if !self.participant.has_boundary() {
            return Ok(false);
        }
        if self.participant.waits_for_batch() {
            if self.chain.head().has_leftover() {
                return Ok(false);
            }
            if self.is_end_reached(slice)? {
                return Ok(true);
            }
            self.participant.let_pass();
            return Ok(!self.participant.is_finishing());
        }
        if self.chain.head().is_within_record() && self.rest_turns < REST_TURNS {
            self.rest_turns += 1;
            slice.only_rest(true);
            let flow = self.hand_out_rest(slice);
            slice.only_rest(false);
            flow?;
        }
        Ok(!self.chain.head().is_within_record())
    }

    /// Whether an end, if that is what is due, has nothing to wait for: what it makes due is done, and what is under way has returned.
    fn is_end_reached(&mut self, slice: &Slice<'_>) -> Result<bool, BoxError> {
        if !self.participant.is_finishing() || self.participant.is_halted() {
            return Ok(true);
        }
        self.pass_time(false, slice)?;
        let head = self.chain.head();
        Ok(!head.has_leftover() && !head.has_due() && !head.is_pending())
    }

    fn hand_out_rest(&mut self, slice: &mut Slice<'_>) -> Result<(), BoxError> {
        while self.chain.head().is_within_record() {
            if let Err(Stop::Failed(error)) = self.chain.run(slice) {
                return Err(error);
            }
            slice.refresh();
            if slice.is_over() {
                break;
            }
        }
        Ok(())
    }
}
