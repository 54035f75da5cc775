//! What a subtask's part in checkpoints leads to.

use super::{Subtask, SubtaskEffect, message::Effects};
use crate::{
    checkpoint::{coordinator::SubtaskReport, participant::ParticipantEffect},
    error::BoxError,
    fail_point::{Passage, Point},
    id::CheckpointId,
    operator::PreCommit,
};

impl Subtask {
    pub(super) fn pass_on(
        &mut self,
        wanted: Vec<ParticipantEffect<PreCommit>>,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        for effect in wanted {
            match effect {
                ParticipantEffect::PreCommit(checkpoint, call) => {
                    effects.push(SubtaskEffect::PreCommit(checkpoint, call));
                }
                ParticipantEffect::Publish(checkpoint, due, pause) => {
                    effects.push(SubtaskEffect::Publish(checkpoint, self.chain.tail().publication(due), pause));
                }
                ParticipantEffect::Acknowledge(checkpoint, snapshot) => {
                    let report = SubtaskReport::Acknowledged(checkpoint, snapshot);
                    self.report(Point::Acknowledge, checkpoint, report, effects)?;
                }
                ParticipantEffect::Published(checkpoint) => {
                    self.report(Point::Published, checkpoint, SubtaskReport::Published(checkpoint), effects)?;
                }
            }
        }
        Ok(())
    }

    fn report(
        &self,
        point: Point,
        checkpoint: CheckpointId,
        report: SubtaskReport,
        effects: &mut Effects,
    ) -> Result<(), BoxError> {
        if self.reach(point, checkpoint)? != Passage::Lost {
            effects.push(SubtaskEffect::Report(report));
        }
        Ok(())
    }
}
