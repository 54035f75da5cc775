//! How far time has come in one split of a source, and what is stored of it.
//!
//! ```text
//! SplitState { split, position, times: [SplitTime] }     behind a source, in the same chain: one clock for each split, stored with it
//! the operator's union state "clock"                     elsewhere: one clock for each subtask
//! ```

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::snapshot::OperatorSnapshot,
    codec::encode,
    error::{BoxError, Error},
    id::ProcessingTime,
    operator::{OpenContext, SnapshotBuilder},
    state::{
        self, DeclaredState,
        operator_states::{OperatorStates, StoredStates},
    },
    time::Timestamp,
};

/// The clock of one split, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredClock {
    pub(crate) watermark: Timestamp,
    pub(crate) is_idle: bool,
    /// The generator's, encoded.
    pub(crate) state: Vec<u8>,
}

/// The clock that one step has of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SplitTime {
    /// The step's address.
    pub(crate) step: String,
    pub(crate) clock: StoredClock,
}

/// What a step that has one clock in each subtask declares.
pub(crate) fn declared() -> Vec<DeclaredState> {
    state::union::<StoredClock>("clock").declared()
}

/// Stores a subtask's one clock.
pub(crate) fn save(address: &str, clock: StoredClock, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
    let mut saved = Vec::new();
    state::union("clock").save(&vec![clock], &mut saved)?;
    let own = OperatorSnapshot { state: encode(&saved)?, transactions: Vec::new() };
    snapshot.operators.push((address.to_string(), own));
    Ok(())
}

/// A subtask's one clock: its own, if there are as many subtasks as there were, else the one of all that `choose` takes.
pub(crate) fn restore(
    address: &str,
    context: &OpenContext,
    choose: impl FnOnce(Vec<StoredClock>) -> Option<StoredClock>,
) -> Result<Option<StoredClock>, Error> {
    let mut all: Vec<StoredClock> = state::union("clock").restore(&StoredStates::of(address, context)?)?;
    if all.len() == context.parallelism as usize {
        return Ok(Some(all.swap_remove(context.subtask.index())));
    }
    Ok(choose(all))
}

/// For how long a reader has had nothing, as far as it was asked: what passes until it is asked again counts up to the moment that it named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quiet {
    /// Up to the last question.
    before: Duration,
    asked: ProcessingTime,
    until: ProcessingTime,
}

/// What counts at least behind a question: a reader may want to be asked again at once.
const PAUSE: Duration = Duration::from_millis(1);

impl Quiet {
    /// It was asked `now`, and has nothing before `until`.
    pub(crate) fn from(before: Option<Self>, now: ProcessingTime, until: ProcessingTime) -> Self {
        let before = before.map_or(Duration::ZERO, |quiet| quiet.lasts(now));
        Self { before, asked: now, until: until.max(now.after(PAUSE)) }
    }

    /// For how long.
    pub(crate) fn lasts(self, now: ProcessingTime) -> Duration {
        self.before.saturating_add(now.min(self.until).since(self.asked))
    }

    /// When it will have lasted for so long, unless the reader is asked before that.
    pub(crate) fn reaches(self, length: Duration) -> Option<ProcessingTime> {
        let moment = self.asked.after(length.saturating_sub(self.before));
        Some(moment).filter(|moment| *moment <= self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> ProcessingTime {
        ProcessingTime(millis * 1_000_000)
    }

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn time_in_which_a_reader_is_not_asked_does_not_count() {
        let quiet = Quiet::from(None, at(10), at(15));
        assert_eq!((quiet.lasts(at(12)), quiet.lasts(at(15)), quiet.lasts(at(90))), (millis(2), millis(5), millis(5)));
        let asked_late = Quiet::from(Some(quiet), at(90), at(95));
        assert_eq!(asked_late.lasts(at(92)), millis(7));
        assert_eq!((asked_late.reaches(millis(7)), asked_late.reaches(millis(11))), (Some(at(92)), None));
    }

    #[test]
    fn a_reader_that_wants_to_be_asked_at_once_is_quiet_all_the_same() {
        let mut quiet = Quiet::from(None, at(0), at(0));
        for now in 1..=20 {
            quiet = Quiet::from(Some(quiet), at(now), at(now));
        }
        assert_eq!(quiet.lasts(at(20)), millis(20));
    }
}
