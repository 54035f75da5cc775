//! The supervisor: decides when an attempt starts, when it is stopped, and how the job ends. One for each job.
//!
//! ```text
//!            StartAttempt            failed / cancel           stopped            restart strategy
//!  (start) ---------------> running -----------------> stopping -------> waiting -----------------> (StartAttempt)
//!                              | done                     | cancel, no restart left
//!                              v                          v
//!                           stopping -----------------> ended
//! ```
//! # Invariants
//! - The next attempt starts only after the one before has *stopped*: every subtask is gone, and every asynchronous part, store and
//!   sink call of it has returned.
//! - The cause that the caller sees is the first failure of the last attempt; what fails while an attempt is being stopped is a symptom.
//! - What no restart can help ends the job, whatever the strategy.

use std::{sync::Arc, time::Duration};

use crate::{
    checkpoint::coordinator::JobEnd,
    error::Error,
    failed_records::{FailedRecords, FailureCounter},
    id::{CheckpointId, ProcessingTime},
    restart::{RestartStrategy, Restarts},
};

/// What the supervisor wants done.
#[derive(Debug)]
pub enum SupervisorEffect {
    /// Open the newest checkpoint, with what [`Supervisor::failed_records`] says, and run the job from there; tell [`Supervisor::opened`].
    StartAttempt,
    /// Stop every subtask; report with [`Supervisor::stopped`].
    StopAttempt,
    /// Call [`Supervisor::tick`] then.
    WaitUntil(ProcessingTime),
    /// The job was cancelled: [`StoreSlot::settle`](crate::opening::StoreSlot::settle).
    SettleState,
    /// The job is over.
    End(Result<JobEnd, Error>),
}

#[derive(Debug)]
enum State {
    Running,
    Stopping(Next),
    Waiting { until: ProcessingTime, delay: Duration, cause: Error },
    Ended,
}

/// What follows when everything has stopped.
#[derive(Debug, Clone)]
enum Next {
    Restart(Error),
    End(Result<JobEnd, Error>),
}

/// See the module.
#[derive(Debug)]
pub struct Supervisor {
    restarts: Restarts,
    failures: FailureCounter,
    state: State,
}

impl Supervisor {
    /// A supervisor, and its first wish.
    pub fn new(strategy: RestartStrategy, now: ProcessingTime) -> (Self, Vec<SupervisorEffect>) {
        let supervisor =
            Self { restarts: Restarts::new(strategy, now), failures: FailureCounter::default(), state: State::Running };
        (supervisor, vec![SupervisorEffect::StartAttempt])
    }

    /// What the next attempt must know of records that failed: for its [`OpenContext`](crate::operator::OpenContext).
    pub fn failed_records(&self) -> Arc<FailedRecords> {
        self.failures.failed()
    }

    /// The attempt under way goes on from this checkpoint.
    pub fn opened(&mut self, restored: CheckpointId) {
        self.failures.opened(restored);
    }

    /// How often the job was restarted.
    pub fn restarts(&self) -> u32 {
        self.restarts.count()
    }

    /// Whether an attempt is under way and not being stopped.
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running)
    }

    /// The failure whose restart is being waited for.
    pub fn waiting_for(&self) -> Option<&Error> {
        match &self.state {
            State::Waiting { cause, .. } => Some(cause),
            _ => None,
        }
    }

    /// The strategy's delay before the restart that is being waited for.
    pub fn delay(&self) -> Option<Duration> {
        match &self.state {
            State::Waiting { delay, .. } => Some(*delay),
            _ => None,
        }
    }

    /// Something of the attempt has failed.
    pub fn failed(&mut self, error: Error) -> Vec<SupervisorEffect> {
        if !self.is_running() {
            return Vec::new();
        }
        self.failures.attempt_failed(error.record());
        let next = if error.is_retryable() { Next::Restart(error) } else { Next::End(Err(error)) };
        self.state = State::Stopping(next);
        vec![SupervisorEffect::StopAttempt]
    }

    /// The coordinator says that the job is done.
    pub fn done(&mut self, end: JobEnd) -> Vec<SupervisorEffect> {
        if !self.is_running() {
            return Vec::new();
        }
        self.state = State::Stopping(Next::End(Ok(end)));
        vec![SupervisorEffect::StopAttempt]
    }

    /// The host wants the job gone.
    pub fn cancel(&mut self) -> Vec<SupervisorEffect> {
        let end = Next::End(Ok(JobEnd::Cancelled));
        match &mut self.state {
            State::Ended => Vec::new(),
            State::Stopping(Next::End(_)) => Vec::new(),
            State::Stopping(next) => {
                *next = end;
                Vec::new()
            }
            State::Running => {
                self.state = State::Stopping(end);
                vec![SupervisorEffect::StopAttempt]
            }
            State::Waiting { .. } => self.end(Ok(JobEnd::Cancelled)),
        }
    }

    /// The host wants a last checkpoint while there is no attempt that could take one: the last one that completed has to do.
    pub fn stop_while_waiting(&mut self) -> Vec<SupervisorEffect> {
        match &self.state {
            State::Waiting { cause, .. } => {
                let cause = cause.clone();
                self.end(Err(cause))
            }
            _ => Vec::new(),
        }
    }

    /// The attempt's subtasks are gone and all its calls have returned. `random` is in 0..1.
    pub fn stopped(&mut self, now: ProcessingTime, random: f64) -> Vec<SupervisorEffect> {
        let State::Stopping(next) = &self.state else { return Vec::new() };
        match next.clone() {
            Next::End(result) => self.end(result),
            Next::Restart(cause) => match self.restarts.after_failure(now, random) {
                None => {
                    let restarts = self.restarts();
                    self.end(Err(if restarts == 0 { cause } else { cause.after_restarts(restarts) }))
                }
                Some(delay) => {
                    let until = now.after(delay);
                    self.state = State::Waiting { until, delay, cause };
                    vec![SupervisorEffect::WaitUntil(until)]
                }
            },
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: ProcessingTime) -> Vec<SupervisorEffect> {
        match self.state {
            State::Waiting { until, .. } if now >= until => {
                self.state = State::Running;
                self.restarts.attempt_began(now);
                vec![SupervisorEffect::StartAttempt]
            }
            State::Waiting { until, .. } => vec![SupervisorEffect::WaitUntil(until)],
            _ => Vec::new(),
        }
    }

    fn end(&mut self, result: Result<JobEnd, Error>) -> Vec<SupervisorEffect> {
        self.state = State::Ended;
        let mut effects = Vec::new();
        if matches!(result, Ok(JobEnd::Cancelled)) {
            effects.push(SupervisorEffect::SettleState);
        }
        effects.push(SupervisorEffect::End(result));
        effects
    }
}
