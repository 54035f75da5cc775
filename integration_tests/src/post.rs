//! Messages between the machines: in order between two of them, in any order otherwise.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use cofferdam_engine::{
    Attempt, CheckpointId, Error,
    checkpoint::{
        coordinator::{JobEnd, SubtaskReport},
        snapshot::{PreparedTransaction, SubtaskId},
    },
    subtask::Control,
};

/// Who sends and receives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Party {
    Supervisor,
    Coordinator,
    Subtask(SubtaskId),
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Supervisor => f.write_str("supervisor"),
            Self::Coordinator => f.write_str("coordinator"),
            Self::Subtask(id) => write!(f, "{}.{}", id.chain, id.index),
        }
    }
}

/// What the host asks of a running job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A last checkpoint, and no record behind it.
    Stop,
    /// The input ends.
    Drain,
    /// The job goes, and its state with it.
    Cancel,
    /// A savepoint, in the directory that [`Simulation::savepoints_in`](crate::Simulation::savepoints_in) has named.
    Savepoint,
}

#[derive(Clone)]
pub(crate) enum Message {
    Control(Control),
    Request(Request),
    /// The attempt is over.
    Stop,
    Report(SubtaskReport),
    Failed(Error),
    Done(JobEnd),
    /// A part of an attempt is gone, and so is every call that it made. The coordinator's tells the next unused number, and a subtask's what it has prepared and
    /// may not have published.
    Stopped(Option<CheckpointId>, Vec<(String, PreparedTransaction)>),
}

impl Message {
    /// In a word, and the checkpoint that it is about.
    pub(crate) fn summary(&self) -> (&'static str, Option<CheckpointId>) {
        match self {
            Self::Control(Control::Trigger(barrier)) if barrier.halt => ("trigger and halt", Some(barrier.checkpoint)),
            Self::Control(Control::Trigger(barrier)) => ("trigger", Some(barrier.checkpoint)),
            Self::Control(Control::EndLoop) => ("end loop", None),
            Self::Control(Control::EndInput) => ("end input", None),
            Self::Control(Control::Limit(..)) => ("limit", None),
            Self::Control(Control::Completed(checkpoint)) => ("completed", Some(*checkpoint)),
            Self::Control(Control::Aborted(checkpoint)) => ("aborted", Some(*checkpoint)),
            Self::Request(Request::Stop) => ("please stop", None),
            Self::Request(Request::Drain) => ("please drain", None),
            Self::Request(Request::Cancel) => ("please cancel", None),
            Self::Request(Request::Savepoint) => ("a savepoint, please", None),
            Self::Stop => ("the attempt is over", None),
            Self::Report(SubtaskReport::Acknowledged(checkpoint, _)) => ("acknowledged", Some(*checkpoint)),
            Self::Report(SubtaskReport::Declined(checkpoint, _)) => ("declined", Some(*checkpoint)),
            Self::Report(SubtaskReport::Published(checkpoint)) => ("published", Some(*checkpoint)),
            Self::Report(SubtaskReport::Finished) => ("finished", None),
            Self::Report(SubtaskReport::HeapSpent) => ("heap spent", None),
            Self::Report(SubtaskReport::SourceTime(..)) => ("source time", None),
            Self::Failed(_) => ("failed", None),
            Self::Done(_) => ("done", None),
            Self::Stopped(..) => ("stopped", None),
        }
    }
}

#[derive(Clone)]
pub(crate) struct Letter {
    pub(crate) attempt: Attempt,
    pub(crate) message: Message,
}

#[derive(Default)]
pub(crate) struct Post {
    queues: BTreeMap<(Party, Party), VecDeque<Letter>>,
    /// Copies of what is sent, while somebody wants them.
    copies: Option<Vec<((Party, Party), Letter)>>,
}

impl Post {
    pub(crate) fn send(&mut self, from: Party, to: Party, attempt: Attempt, message: Message) {
        let letter = Letter { attempt, message };
        if let Some(copies) = &mut self.copies {
            copies.push(((from, to), letter.clone()));
        }
        self.queues.entry((from, to)).or_default().push_back(letter);
    }

    /// From now on what is sent is copied.
    pub(crate) fn copy(&mut self) {
        self.copies = Some(Vec::new());
    }

    /// What was sent since [`copy`](Self::copy).
    pub(crate) fn take_copies(&mut self) -> Vec<((Party, Party), Letter)> {
        self.copies.take().unwrap_or_default()
    }

    /// Pairs with something to deliver.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (Party, Party)> + '_ {
        self.queues.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair)
    }

    pub(crate) fn take(&mut self, pair: (Party, Party)) -> Option<Letter> {
        self.queues.get_mut(&pair)?.pop_front()
    }

    /// An attempt's parts are gone: nobody opens their letters any more. What they wrote to the supervisor still arrives.
    pub(crate) fn drop_all_but_the_supervisors(&mut self) {
        self.queues.retain(|(_, to), _| *to == Party::Supervisor);
    }
}
