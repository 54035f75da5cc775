//! What a failure is called by.

use super::Subtask;
use crate::{
    error::{BoxError, Error, Location},
    operator::{RecordError, StepError, StepPanic},
    topology::graph::StepIndex,
};

impl Subtask {
    /// What the failure of a channel (to copy a record in flight, to spill) ends the attempt with.
    pub fn fault(&self, cause: BoxError) -> Error {
        self.failed(cause)
    }

    fn location(&self, step: Option<StepIndex>) -> Location {
        let step = step.and_then(|step| self.steps.iter().find(|(index, _)| *index == step));
        let operator = step.map_or_else(|| self.name(), |(_, name)| name.clone());
        Location { job: self.job.to_string(), operator, subtask: self.id.index }
    }

    pub(super) fn failed(&self, error: BoxError) -> Error {
        let error = match error.downcast::<RecordError>() {
            Ok(failed) => return self.failed(failed.cause).with_record(failed.record),
            Err(error) => error,
        };
        let error = match error.downcast::<StepPanic>() {
            Ok(panic) => return Error::panic(&self.location(Some(panic.step)), &panic.message),
            Err(error) => error,
        };
        match error.downcast::<StepError>() {
            Ok(error) => Error::operator(&self.location(Some(error.step)), error.cause),
            Err(error) => Error::operator(&self.location(None), error),
        }
    }

    pub(super) fn panicked(&self, (step, message): (Option<StepIndex>, String)) -> Error {
        Error::panic(&self.location(step), &message)
    }
}
