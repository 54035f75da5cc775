//! A subtask's part in checkpoints: what waits for a place between two records, what is frozen and not yet acknowledged, what is prepared and not
//! yet published. It knows neither records nor state: the subtask freezes, and carries out the effects.
//!
//! ```text
//!  trigger, aligned, end of input                 effects
//!     -> next_boundary -> (freeze) -> frozen        -> PreCommit(n), or at once
//!                              pre_committed(n)     -> Acknowledge(n, with every transaction prepared up to n)
//!                                  completed(n)     -> Publish(n, every transaction prepared up to n), or at once
//!                                  published(n)     -> Published(n)
//! ```
//!
//! # Invariants
//! - Pre-commits run one at a time, in the order of their barriers; so do publications.
//! - `prepared` holds every transaction that this attempt has prepared and not yet published, in the order of the barriers.

use std::{collections::VecDeque, time::Duration};

use crate::{
    checkpoint::{
        gate::Aligned,
        snapshot::{PreparedTransaction, SubtaskSnapshot},
    },
    element::CheckpointBarrier,
    id::{Attempt, CheckpointId},
    mutation::{self, Mutation},
};

/// What is due at a place between two records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Boundary {
    /// Freeze, send the barrier on, and report it [frozen](Participant::frozen).
    Checkpoint(Aligned),
    /// Send the end of input on, and tell the coordinator.
    Finish,
}

/// What a participant wants done. `P` is a pre-commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ParticipantEffect<P> {
    /// Run this, and report it [done](Participant::pre_committed).
    PreCommit(CheckpointId, P),
    /// Publish these, and report them [published](Participant::published).
    Publish(CheckpointId, Vec<PreparedTransaction>),
    /// Tell the coordinator.
    Acknowledge(CheckpointId, Box<SubtaskSnapshot>),
    /// Tell the coordinator: everything up to here is published.
    Published(CheckpointId),
}

/// A snapshot on its way to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Unacknowledged<P> {
    checkpoint: CheckpointId,
    snapshot: SubtaskSnapshot,
    pre_commit: Option<P>,
}

/// See the module. `P` is a pre-commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Participant<P> {
    attempt: Attempt,
    /// The `uid` of the chain's two-phase sink.
    sink: Option<String>,
    /// What waits until nothing is left over from the records before.
    boundaries: VecDeque<Boundary>,
    /// A source that was told to send nothing more.
    halted: bool,
    finished: bool,
    /// Frozen, the oldest one's pre-commit is running.
    unacknowledged: VecDeque<Unacknowledged<P>>,
    prepared: Vec<PreparedTransaction>,
    /// Everything up to here is to be published.
    publish: CheckpointId,
    /// The publication that is running.
    publishing: Option<CheckpointId>,
    /// Everything up to here is published.
    published: CheckpointId,
}

impl<P> Participant<P> {
    /// One that nothing has happened to; `sink` is the `uid` of its two-phase sink.
    pub fn new(attempt: Attempt, sink: Option<String>) -> Self {
        Self {
            attempt,
            sink,
            boundaries: VecDeque::new(),
            halted: false,
            finished: false,
            unacknowledged: VecDeque::new(),
            prepared: Vec::new(),
            publish: CheckpointId(0),
            publishing: None,
            published: CheckpointId(0),
        }
    }

    /// Whether [`next_boundary`](Self::next_boundary) has something to give.
    pub fn has_boundary(&self) -> bool {
        !self.boundaries.is_empty()
    }

    /// Whether no record follows what was sent.
    pub fn is_halted(&self) -> bool {
        self.halted || self.finished
    }

    /// Whether the input has ended, and all that it led to has been sent.
    pub fn is_finished(&self) -> bool {
        self.finished
    }

    /// A source is to begin a checkpoint.
    pub fn trigger(&mut self, checkpoint: CheckpointId, halt: bool) {
        let barrier = CheckpointBarrier { checkpoint, attempt: self.attempt, halt };
        self.aligned(Aligned { barrier, alignment: Duration::ZERO, stashed: 0 });
    }

    /// A checkpoint's barriers are all in.
    pub fn aligned(&mut self, aligned: Aligned) {
        self.boundaries.push_back(Boundary::Checkpoint(aligned));
    }

    /// The input has ended.
    pub fn end_of_input(&mut self) {
        self.boundaries.push_back(Boundary::Finish);
    }

    /// What is due next. To be asked only when nothing is left over from the records before.
    pub fn next_boundary(&mut self) -> Option<Boundary> {
        let boundary = self.boundaries.pop_front()?;
        match boundary {
            Boundary::Checkpoint(aligned) => self.halted |= aligned.barrier.halt,
            Boundary::Finish => self.finished = true,
        }
        Some(boundary)
    }

    /// A snapshot is frozen and its barrier sent on.
    pub fn frozen(
        &mut self,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        pre_commit: Option<P>,
    ) -> Vec<ParticipantEffect<P>> {
        if mutation::is(Mutation::AcknowledgeBeforeDurable) {
            self.unacknowledged.push_back(Unacknowledged { checkpoint, snapshot, pre_commit: None });
            let first = self.acknowledge_first(Duration::ZERO).into_iter();
            return first.chain(pre_commit.map(|call| ParticipantEffect::PreCommit(checkpoint, call))).collect();
        }
        self.unacknowledged.push_back(Unacknowledged { checkpoint, snapshot, pre_commit });
        if self.unacknowledged.len() == 1 { self.pre_commit_next() } else { Vec::new() }
    }

    /// The oldest snapshot's pre-commit is done, and prepared `transaction`.
    pub fn pre_committed(
        &mut self,
        checkpoint: CheckpointId,
        transaction: Option<Vec<u8>>,
        took: Duration,
    ) -> Vec<ParticipantEffect<P>> {
        self.prepared.extend(transaction.map(|bytes| PreparedTransaction { checkpoint, bytes }));
        let mut effects: Vec<_> = self.acknowledge_first(took).into_iter().collect();
        effects.extend(self.pre_commit_next());
        effects
    }

    /// The checkpoint is durable.
    pub fn completed(&mut self, checkpoint: CheckpointId) -> Vec<ParticipantEffect<P>> {
        if self.sink.is_none() {
            return Vec::new();
        }
        self.publish = self.publish.max(checkpoint);
        if self.publish <= self.published {
            // Told again: the report may have been lost.
            return vec![ParticipantEffect::Published(self.published)];
        }
        self.publish_next().into_iter().collect()
    }

    /// Forgets what an aborted checkpoint has prepared.
    #[cfg(mutation)]
    pub(crate) fn forget(&mut self, checkpoint: CheckpointId) {
        self.prepared.retain(|transaction| transaction.checkpoint != checkpoint);
    }

    /// The publication that was running is done.
    pub fn published(&mut self, checkpoint: CheckpointId) -> Vec<ParticipantEffect<P>> {
        self.prepared.retain(|transaction| transaction.checkpoint > checkpoint);
        self.publishing = None;
        self.published = checkpoint;
        let reported = ParticipantEffect::Published(checkpoint);
        std::iter::once(reported).chain(self.publish_next()).collect()
    }

    /// Starts the oldest snapshot's asynchronous part; one without any is acknowledged at once.
    fn pre_commit_next(&mut self) -> Vec<ParticipantEffect<P>> {
        let mut effects = Vec::new();
        while let Some(first) = self.unacknowledged.front_mut() {
            if let Some(pre_commit) = first.pre_commit.take() {
                effects.push(ParticipantEffect::PreCommit(first.checkpoint, pre_commit));
                break;
            }
            effects.extend(self.acknowledge_first(Duration::ZERO));
        }
        effects
    }

    /// A pre-commit returned after the attempt was over: what it prepared is not forgotten.
    pub fn prepared_late(&mut self, checkpoint: CheckpointId, bytes: Vec<u8>) {
        self.prepared.push(PreparedTransaction { checkpoint, bytes });
    }

    /// Everything that this attempt has prepared and, as far as it knows, not published. The attempt is over.
    pub fn take_prepared(&mut self) -> Vec<PreparedTransaction> {
        std::mem::take(&mut self.prepared)
    }

    fn acknowledge_first(&mut self, took: Duration) -> Option<ParticipantEffect<P>> {
        let Unacknowledged { checkpoint, mut snapshot, .. } = self.unacknowledged.pop_front()?;
        snapshot.stats.r#async = took;
        let sink = snapshot.operators.iter_mut().find(|(uid, _)| self.sink.as_ref() == Some(uid));
        if let Some((_, operator)) = sink {
            operator.transactions = self.prepared_up_to(checkpoint);
            if mutation::is(Mutation::OnlyOwnTransaction) {
                operator.transactions.retain(|transaction| transaction.checkpoint == checkpoint);
            }
        }
        Some(ParticipantEffect::Acknowledge(checkpoint, Box::new(snapshot)))
    }

    /// Starts publishing what is due. With nothing due, everything is published already.
    fn publish_next(&mut self) -> Option<ParticipantEffect<P>> {
        if self.publishing.is_some() || self.publish <= self.published {
            return None;
        }
        let due = self.prepared_up_to(self.publish);
        if due.is_empty() {
            self.published = self.publish;
            return Some(ParticipantEffect::Published(self.publish));
        }
        self.publishing = Some(self.publish);
        Some(ParticipantEffect::Publish(self.publish, due))
    }

    fn prepared_up_to(&self, checkpoint: CheckpointId) -> Vec<PreparedTransaction> {
        self.prepared.iter().filter(|transaction| transaction.checkpoint <= checkpoint).cloned().collect()
    }
}
