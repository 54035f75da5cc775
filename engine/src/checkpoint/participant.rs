//! A subtask's part in checkpoints: what waits for a place between two records, what is frozen and not yet acknowledged, what is prepared and not
//! yet published. It knows neither records nor state: the subtask freezes, and carries out the effects.
//!
//! ```text
//!  trigger, aligned, end of input                 effects
//!     -> next_boundary -> (freeze) -> frozen        -> PreCommit(n), or at once
//!          pre_committed(n) and recorded(n)         -> Acknowledge(n, with every transaction prepared up to n)
//!                                  completed(n)     -> Publish(n, every transaction prepared up to n), or at once
//!            published(n) / publication_failed(n)   -> Published(n) / Publish(n, the same, after a pause)
//! ```
//!
//! # Invariants
//! - Pre-commits run one at a time, in the order of their barriers; so do publications, and so are acknowledgements sent.
//! - `prepared` holds every transaction that this attempt has prepared and not yet published, in the order of the barriers.

use std::{collections::VecDeque, time::Duration};

use crate::{
    checkpoint::{
        gate::Aligned,
        snapshot::{InFlightBatch, PreparedTransaction, SubtaskSnapshot},
    },
    element::CheckpointBarrier,
    id::{CheckpointId, ProcessingTime},
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
    /// Publish these, after this pause, and report them [published](Participant::published) or [not](Participant::publication_failed).
    Publish(CheckpointId, Vec<PreparedTransaction>, Duration),
    /// Tell the coordinator.
    Acknowledge(CheckpointId, Box<SubtaskSnapshot>),
    /// Tell the coordinator: everything up to here is published.
    Published(CheckpointId),
}

/// The pause before a publication that failed is tried again; it doubles with each try.
const RETRY: Duration = Duration::from_millis(100);
/// After this many failures of one publication the attempt fails.
const TRIES: u32 = 6;

/// A snapshot on its way to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Unacknowledged<P> {
    checkpoint: CheckpointId,
    snapshot: SubtaskSnapshot,
    preparation: Preparation<P>,
    /// What is in flight is not all known yet.
    is_recording: bool,
    /// It will not be: the coordinator has aborted the checkpoint, or is about to.
    is_void: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Preparation<P> {
    Waiting(P),
    Running,
    Done,
}

/// See the module. `P` is a pre-commit.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Participant<P> {
    /// The `uid` of the chain's two-phase sink.
    sink: Option<String>,
    /// What waits until nothing is left over from the records before.
    boundaries: VecDeque<Boundary>,
    /// A source that was told to send nothing more.
    halted: bool,
    finished: bool,
    /// Frozen, oldest first.
    unacknowledged: VecDeque<Unacknowledged<P>>,
    /// What was recorded before the snapshot that it belongs to could be taken.
    early: Vec<(CheckpointId, Vec<InFlightBatch>, bool)>,
    prepared: Vec<PreparedTransaction>,
    /// Everything up to here is to be published.
    publish: CheckpointId,
    /// The publication that is running.
    publishing: Option<CheckpointId>,
    /// How often it has failed.
    failures: u32,
    /// Everything up to here is published.
    published: CheckpointId,
}

impl<P> Participant<P> {
    /// One that nothing has happened to; `sink` is the `uid` of its two-phase sink.
    pub fn new(sink: Option<String>) -> Self {
        Self {
            sink,
            boundaries: VecDeque::new(),
            halted: false,
            finished: false,
            unacknowledged: VecDeque::new(),
            early: Vec::new(),
            prepared: Vec::new(),
            publish: CheckpointId(0),
            publishing: None,
            failures: 0,
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
    pub fn trigger(&mut self, barrier: CheckpointBarrier, now: ProcessingTime) {
        let (start_delay, is_early) = (now.since(barrier.triggered), barrier.is_due(now));
        let (alignment, stashed, is_recording) = (Duration::ZERO, 0, false);
        self.aligned(Aligned { barrier, start_delay, alignment, stashed, is_recording, is_early });
    }

    /// A checkpoint's snapshot is due.
    pub fn aligned(&mut self, aligned: Aligned) {
        self.boundaries.push_back(Boundary::Checkpoint(aligned));
    }

    /// The input has ended.
    pub fn end_of_input(&mut self) {
        self.boundaries.push_back(Boundary::Finish);
    }

    /// Whether what is due next has to wait until the batch under way is used up, or only for the end of a record.
    pub fn waits_for_batch(&self) -> bool {
        !matches!(self.boundaries.front(), Some(Boundary::Checkpoint(aligned)) if aligned.is_early)
    }

    /// Whether what is due next is the end.
    pub fn is_finishing(&self) -> bool {
        self.boundaries.front() == Some(&Boundary::Finish)
    }

    /// The end that is due next has to wait: a snapshot behind it does not, and holds what has not been done by then. Behind the last one of a stop there is no end: that is for
    /// who goes on from it.
    pub fn let_pass(&mut self) {
        if !self.is_finishing() || self.boundaries.len() == 1 {
            return;
        }
        self.boundaries.swap(0, 1);
        if matches!(self.boundaries.front(), Some(Boundary::Checkpoint(aligned)) if aligned.barrier.halt) {
            self.boundaries.retain(|boundary| *boundary != Boundary::Finish);
        }
    }

    /// What is due next. To be asked only between two records, and when nothing is left over [if it waits for that](Self::waits_for_batch).
    pub fn next_boundary(&mut self) -> Option<Boundary> {
        let boundary = self.boundaries.pop_front()?;
        match boundary {
            Boundary::Checkpoint(aligned) => self.halted |= aligned.barrier.halt,
            Boundary::Finish => self.finished = true,
        }
        Some(boundary)
    }

    /// A snapshot is frozen and its barrier sent on. If it `is_recording`, what is in flight will be told by [`recorded`](Self::recorded), or was already.
    pub fn frozen(
        &mut self,
        checkpoint: CheckpointId,
        snapshot: SubtaskSnapshot,
        pre_commit: Option<P>,
        is_recording: bool,
    ) -> Vec<ParticipantEffect<P>> {
        let (preparation, hasty) = match pre_commit {
            Some(call) if mutation::is(Mutation::AcknowledgeBeforeDurable) => (Preparation::Done, Some(call)),
            Some(call) => (Preparation::Waiting(call), None),
            None => (Preparation::Done, None),
        };
        let one = Unacknowledged { checkpoint, snapshot, preparation, is_recording, is_void: false };
        self.unacknowledged.push_back(one);
        if let Some(place) = self.early.iter().position(|(early, ..)| *early == checkpoint) {
            let (_, batches, is_quiet) = self.early.remove(place);
            self.add_recorded(checkpoint, batches, is_quiet);
        }
        let mut effects = self.go_on();
        effects.extend(hasty.map(|call| ParticipantEffect::PreCommit(checkpoint, call)));
        effects
    }

    /// All that was in flight is known; `is_quiet`, at the head of a loop: nothing was, and the ordinary input had ended.
    pub fn recorded(
        &mut self,
        checkpoint: CheckpointId,
        batches: Vec<InFlightBatch>,
        is_quiet: bool,
    ) -> Vec<ParticipantEffect<P>> {
        if self.unacknowledged.iter().any(|one| one.checkpoint == checkpoint) {
            self.add_recorded(checkpoint, batches, is_quiet);
        } else {
            self.early.push((checkpoint, batches, is_quiet));
        }
        self.go_on()
    }

    fn add_recorded(&mut self, checkpoint: CheckpointId, batches: Vec<InFlightBatch>, is_quiet: bool) {
        let mut found = self.unacknowledged.iter_mut().filter(|one| one.checkpoint == checkpoint);
        if let Some(one) = found.next() {
            one.is_recording = false;
            // What was left over of the batch under way came first.
            one.snapshot.is_quiet = is_quiet && one.snapshot.in_flight.is_empty();
            one.snapshot.in_flight.extend(batches);
        }
    }

    /// A checkpoint will not be: what is in flight is waited for no longer, and nothing is acknowledged.
    pub fn give_up(&mut self, checkpoint: CheckpointId) -> Vec<ParticipantEffect<P>> {
        self.early.retain(|(early, ..)| *early != checkpoint);
        self.boundaries.retain(|boundary| {
            !matches!(boundary, Boundary::Checkpoint(one) if one.is_recording && one.barrier.checkpoint == checkpoint)
        });
        for one in self.unacknowledged.iter_mut().filter(|one| one.checkpoint == checkpoint) {
            (one.is_void, one.is_recording) = (true, false);
            // Its changes and transactions are owed to a later one; what it holds of them itself is of no more use.
            (one.snapshot.deltas, one.snapshot.in_flight) = (Vec::new(), Vec::new());
        }
        self.go_on()
    }

    /// A snapshot's pre-commit is done, and prepared `transaction`.
    pub fn pre_committed(
        &mut self,
        checkpoint: CheckpointId,
        transaction: Option<Vec<u8>>,
        took: Duration,
    ) -> Vec<ParticipantEffect<P>> {
        self.prepared.extend(transaction.map(|bytes| PreparedTransaction { checkpoint, bytes }));
        for one in self.unacknowledged.iter_mut().filter(|one| one.checkpoint == checkpoint) {
            one.preparation = Preparation::Done;
            one.snapshot.stats.r#async = took;
        }
        self.go_on()
    }

    /// Starts the next pre-commit if none is running, and acknowledges what is whole.
    fn go_on(&mut self) -> Vec<ParticipantEffect<P>> {
        let mut effects = Vec::new();
        while let Some(first) = self
            .unacknowledged
            .pop_front_if(|first| matches!(first.preparation, Preparation::Done) && !first.is_recording)
        {
            if !first.is_void {
                effects.push(self.acknowledge(first.checkpoint, first.snapshot));
            }
        }
        if !self.unacknowledged.iter().any(|one| matches!(one.preparation, Preparation::Running)) {
            let mut waiting =
                self.unacknowledged.iter_mut().filter(|one| !matches!(one.preparation, Preparation::Done));
            if let Some(one) = waiting.next()
                && let Preparation::Waiting(call) = std::mem::replace(&mut one.preparation, Preparation::Running)
            {
                effects.push(ParticipantEffect::PreCommit(one.checkpoint, call));
            }
        }
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
        self.failures = 0;
        self.published = checkpoint;
        let reported = ParticipantEffect::Published(checkpoint);
        std::iter::once(reported).chain(self.publish_next()).collect()
    }

    /// The publication that was running has failed: it is tried again, after a pause. `None` when it has failed too often.
    pub fn publication_failed(&mut self, checkpoint: CheckpointId) -> Option<ParticipantEffect<P>> {
        self.failures += 1;
        let pause = RETRY * 2u32.pow(self.failures - 1);
        (self.failures < TRIES).then(|| ParticipantEffect::Publish(checkpoint, self.prepared_up_to(checkpoint), pause))
    }

    /// A pre-commit returned after the attempt was over: what it prepared is not forgotten.
    pub fn prepared_late(&mut self, checkpoint: CheckpointId, bytes: Vec<u8>) {
        self.prepared.push(PreparedTransaction { checkpoint, bytes });
    }

    /// Everything that this attempt has prepared and, as far as it knows, not published. The attempt is over.
    pub fn take_prepared(&mut self) -> Vec<PreparedTransaction> {
        std::mem::take(&mut self.prepared)
    }

    fn acknowledge(&self, checkpoint: CheckpointId, mut snapshot: SubtaskSnapshot) -> ParticipantEffect<P> {
        let sink = snapshot.operators.iter_mut().find(|(uid, _)| self.sink.as_ref() == Some(uid));
        if let Some((_, operator)) = sink {
            operator.transactions = self.prepared_up_to(checkpoint);
            if mutation::is(Mutation::OnlyOwnTransaction) {
                operator.transactions.retain(|transaction| transaction.checkpoint == checkpoint);
            }
        }
        snapshot.stats.bytes_in_flight = snapshot.in_flight.iter().map(|batch| batch.bytes.len() as u64).sum();
        ParticipantEffect::Acknowledge(checkpoint, Box::new(snapshot))
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
        Some(ParticipantEffect::Publish(self.publish, due, Duration::ZERO))
    }

    fn prepared_up_to(&self, checkpoint: CheckpointId) -> Vec<PreparedTransaction> {
        self.prepared.iter().filter(|transaction| transaction.checkpoint <= checkpoint).cloned().collect()
    }
}
