//! What can go wrong, and when it does.

use std::collections::BTreeMap;

/// Something that goes wrong once. Most faults wait for the next chance to do harm: the next message, call or opening of their kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A subtask fails.
    FailSubtask,
    /// A subtask's acknowledgement does not arrive.
    LoseAcknowledgement,
    /// A subtask does not hear that a checkpoint is complete.
    LoseCompletion,
    /// A subtask does not hear that a checkpoint is aborted.
    LoseAbort,
    /// A source does not hear of a trigger.
    LoseTrigger,
    /// The coordinator does not hear what a sink has published.
    LosePublished,
    /// A subtask declines the checkpoint under way.
    Decline,
    /// A pre-commit takes longer than a checkpoint may.
    DelayPreCommit,
    /// A pre-commit fails.
    FailPreCommit,
    /// A publication fails before it had an effect.
    FailPublish,
    /// A publication fails, and had its effect.
    FailPublishLate,
    /// The store fails to commit.
    FailCommit,
    /// The store commits, and says that it failed.
    FailCommitLate,
    /// The store fails while an attempt is opened.
    FailOpening,
    /// The process dies.
    Kill,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Self; 15] = [
        Self::FailSubtask,
        Self::LoseAcknowledgement,
        Self::LoseCompletion,
        Self::LoseAbort,
        Self::LoseTrigger,
        Self::LosePublished,
        Self::Decline,
        Self::DelayPreCommit,
        Self::FailPreCommit,
        Self::FailPublish,
        Self::FailPublishLate,
        Self::FailCommit,
        Self::FailCommitLate,
        Self::FailOpening,
        Self::Kill,
    ];
}

/// When which faults come: at given steps, or drawn from the seed.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    scheduled: BTreeMap<u64, Vec<Fault>>,
    kinds: Vec<Fault>,
    most: u32,
    one_in: u64,
    /// Wait for their chance.
    armed: Vec<Fault>,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// Up to `most` faults of these kinds, one in about `one_in` steps.
    pub fn drawn(kinds: &[Fault], most: u32, one_in: u64) -> Self {
        Self { kinds: kinds.to_vec(), most, one_in, ..Self::default() }
    }

    /// One more fault, at a step.
    pub fn at(mut self, step: u64, fault: Fault) -> Self {
        self.scheduled.entry(step).or_default().push(fault);
        self
    }

    /// The faults of a step.
    pub(crate) fn due(&mut self, step: u64, random: &mut fastrand::Rng) -> Vec<Fault> {
        let mut due = self.scheduled.remove(&step).unwrap_or_default();
        if self.most > 0 && random.u64(0..self.one_in) == 0 {
            self.most -= 1;
            due.extend(random.choice(&self.kinds).copied());
        }
        due
    }

    pub(crate) fn arm(&mut self, fault: Fault) {
        self.armed.push(fault);
    }

    /// Whether `fault` was waiting for this chance.
    pub(crate) fn take(&mut self, fault: Fault) -> bool {
        let found = self.armed.iter().position(|armed| *armed == fault);
        found.is_some_and(|place| {
            self.armed.swap_remove(place);
            true
        })
    }
}
