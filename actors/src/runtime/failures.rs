//! What has failed in this process, and how the job got over it.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use cofferdam_engine::{Attempt, CheckpointId, Error, Location, ProcessingTime};

/// How many failures are remembered.
const HISTORY: usize = 1_000;

/// An attempt that failed.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Failure {
    /// When, by the host's wall clock.
    pub at: SystemTime,
    /// The attempt; `None` if it was still being opened.
    pub attempt: Option<Attempt>,
    /// Where, if it was in a step, a source or a sink at work.
    pub location: Option<Location>,
    /// The attempt's first failure, with the chain of its causes.
    pub cause: Error,
    /// How long the restart strategy had the job wait; `None` if the job ended.
    pub delay: Option<Duration>,
    /// The checkpoint that the next attempt to run went on from; `None` if there was none.
    pub restored: Option<CheckpointId>,
    /// From the failure to the first record that the next attempt to run gave to a sink; `None` as long as it has given none.
    pub time_to_recover: Option<Duration>,
}

/// The last failures, oldest first.
#[derive(Default)]
pub(crate) struct FailureHistory {
    entries: VecDeque<Entry>,
    count: u64,
}

struct Entry {
    failure: Failure,
    at: ProcessingTime,
    /// The attempt that followed.
    next: Option<Attempt>,
}

impl FailureHistory {
    /// An attempt failed. The moment is that of both clocks.
    pub(crate) fn failed(&mut self, at: (SystemTime, ProcessingTime), attempt: Option<Attempt>, cause: Error) {
        if self.entries.len() == HISTORY {
            self.entries.pop_front();
        }
        let location = cause.location().cloned();
        let (delay, restored, time_to_recover) = (None, None, None);
        let failure = Failure { at: at.0, attempt, location, cause, delay, restored, time_to_recover };
        self.entries.push_back(Entry { failure, at: at.1, next: None });
        self.count += 1;
    }

    /// The last failure is followed by a restart.
    pub(crate) fn restarting(&mut self, delay: Duration) {
        if let Some(last) = self.entries.back_mut() {
            last.failure.delay = Some(delay);
        }
    }

    /// The next attempt runs: the one that follows the last failure, and those before it whose attempts could not be opened.
    pub(crate) fn opened(&mut self, attempt: Attempt, restored: CheckpointId) {
        for entry in self.entries.iter_mut().rev().take_while(|entry| entry.next.is_none()) {
            entry.next = Some(attempt);
            entry.failure.restored = Some(restored);
        }
    }

    /// An attempt gave its first record to a sink.
    pub(crate) fn recovered(&mut self, attempt: Attempt, at: ProcessingTime) {
        for entry in self.entries.iter_mut().rev().take_while(|entry| entry.next == Some(attempt)) {
            entry.failure.time_to_recover.get_or_insert(at.since(entry.at));
        }
    }

    /// How many there were, forgotten ones included.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn all(&self) -> Vec<Failure> {
        self.entries.iter().map(|entry| entry.failure.clone()).collect()
    }

    pub(crate) fn last(&self) -> Option<Failure> {
        self.entries.back().map(|entry| entry.failure.clone())
    }
}

#[cfg(test)]
mod tests {
    use cofferdam_engine::ErrorKind;

    use super::*;

    fn at(millis: u64) -> (SystemTime, ProcessingTime) {
        (SystemTime::UNIX_EPOCH + Duration::from_millis(millis), ProcessingTime(millis * 1_000_000))
    }

    fn error(message: &str) -> Error {
        Error::new(ErrorKind::Operator, message, None)
    }

    #[test]
    fn a_failure_is_told_with_what_became_of_it() {
        let mut history = FailureHistory::default();
        history.failed(at(5), Some(Attempt(1)), error("first"));
        history.restarting(Duration::from_millis(10));
        history.opened(Attempt(2), CheckpointId(7));
        history.recovered(Attempt(1), at(16).1);
        assert_eq!(history.all()[0].time_to_recover, None, "that was the attempt before");
        history.recovered(Attempt(2), at(25).1);
        history.recovered(Attempt(2), at(99).1);
        history.failed(at(100), Some(Attempt(2)), error("second"));
        history.recovered(Attempt(2), at(101).1);
        let [first, second] = &history.all()[..] else { panic!("{:?}", history.all()) };
        assert_eq!((first.at, first.attempt), (at(5).0, Some(Attempt(1))));
        assert_eq!((first.delay, first.restored), (Some(Duration::from_millis(10)), Some(CheckpointId(7))));
        assert_eq!(first.time_to_recover, Some(Duration::from_millis(20)));
        assert_eq!((second.delay, second.restored, second.time_to_recover), (None, None, None), "the job ended");
    }

    #[test]
    fn the_oldest_failures_are_forgotten_and_counted_all_the_same() {
        let mut history = FailureHistory::default();
        (0..HISTORY as u64 + 3).for_each(|n| history.failed(at(n), None, error(&n.to_string())));
        assert_eq!((history.all().len(), history.count()), (HISTORY, HISTORY as u64 + 3));
        assert_eq!(history.all()[0].cause.to_string(), "3");
        assert_eq!(history.last().map(|last| last.cause.to_string()), Some("1002".to_string()));
    }
}
