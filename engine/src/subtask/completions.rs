//! What asynchronous effects of a subtask come to.

use super::{
    Completion, Subtask,
    message::{Effects, SubtaskEffect},
};
use crate::{
    checkpoint::snapshot::PreparedTransaction,
    error::{BoxError, is_not_retryable},
    fail_point::{self, Point},
    id::CheckpointId,
    operator::{StepError, StepPanic},
};

impl Subtask {
    /// Has the outside asked what the chain wants to know.
    pub(super) fn ask(&mut self, effects: &mut Effects) -> Result<(), BoxError> {
        if !self.asks {
            return Ok(());
        }
        let before = effects.len();
        self.chain.head().take_requests(effects);
        let asks = |effect: &SubtaskEffect| matches!(effect, SubtaskEffect::Ask(..));
        if fail_point::ARE_COMPILED && effects[before..].iter().any(asks) {
            self.reach(Point::Ask, CheckpointId(0))?;
        }
        Ok(())
    }

    pub(super) fn completion(&mut self, completion: Completion, effects: &mut Effects) -> Result<(), BoxError> {
        let wanted = match completion {
            Completion::Answered(request) => {
                self.chain.head().answered(request);
                self.reach(Point::Answered, CheckpointId(0))?;
                return Ok(());
            }
            Completion::PreCommitted { checkpoint, result, took } => {
                self.participant.pre_committed(checkpoint, result?, took)
            }
            Completion::Published { checkpoint, result: Ok(()) } => self.participant.published(checkpoint),
            Completion::Published { checkpoint, result: Err(error) } => {
                let cause = error.downcast_ref::<StepError>().map_or(error.as_ref(), |error| error.cause.as_ref());
                if error.is::<StepPanic>() || is_not_retryable(cause) {
                    return Err(error);
                }
                match self.participant.publication_failed(checkpoint) {
                    Some(again) => vec![again],
                    None => return Err(error),
                }
            }
        };
        self.pass_on(wanted, effects)
    }

    /// A call has returned after the subtask failed or was stopped: what it prepared is not forgotten.
    pub fn returned_late(&mut self, completion: Completion) {
        if let Completion::PreCommitted { checkpoint, result: Ok(Some(transaction)), .. } = completion {
            self.participant.prepared_late(checkpoint, transaction);
        }
    }

    /// What the attempt, which is over, has prepared and may not have published, with the `uid` of the sink: for the
    /// [next one](crate::opening::open_attempt) to abort, as far as the checkpoint that it restores does not name it.
    pub fn take_prepared(&mut self) -> Vec<(String, PreparedTransaction)> {
        let Some(uid) = self.chain.tail().two_phase_sink().map(str::to_string) else { return Vec::new() };
        self.participant.take_prepared().into_iter().map(|transaction| (uid.clone(), transaction)).collect()
    }
}
