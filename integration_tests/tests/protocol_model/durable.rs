//! What outlives an attempt: the newest checkpoint, and the place that the sinks write to.

use std::collections::BTreeSet;

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::snapshot::{CheckpointMetadata, OperatorKind, OperatorSnapshot, PreparedTransaction},
};

use crate::job::{Job, NodeIndex, Record};

/// A completed checkpoint, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    pub checkpoint: CheckpointId,
    pub attempt: Attempt,
    pub finished: bool,
    /// How far each source was.
    pub positions: Vec<u8>,
    /// What each operator's state counts, in order.
    pub applied: Vec<Vec<Record>>,
    /// What the sinks are to publish.
    pub carried: Vec<PreparedTransaction>,
}

impl Stored {
    /// Checkpoint 0.
    pub fn genesis(job: &Job) -> Self {
        Self {
            checkpoint: CheckpointId(0),
            attempt: Attempt(0),
            finished: false,
            positions: vec![0; job.sources],
            applied: vec![Vec::new(); job.operators],
            carried: Vec::new(),
        }
    }

    pub fn new(metadata: CheckpointMetadata) -> Self {
        let of = |kind| -> Vec<OperatorSnapshot> {
            let operators = metadata.operators.iter().filter(|operator| operator.kind == kind);
            operators.flat_map(|operator| operator.subtasks.clone()).collect()
        };
        Self {
            checkpoint: metadata.checkpoint,
            attempt: metadata.attempt,
            finished: metadata.finished,
            positions: of(OperatorKind::Source).iter().map(|source| source.state.first().map_or(0, |p| *p)).collect(),
            applied: of(OperatorKind::Keyed).into_iter().map(|operator| operator.state).collect(),
            carried: of(OperatorKind::TwoPhaseSink).into_iter().flat_map(|sink| sink.transactions).collect(),
        }
    }
}

/// A transaction's name and what is in it: who prepared it, and the records.
pub fn encode(attempt: Attempt, sink: NodeIndex, records: &[Record]) -> Vec<u8> {
    [&[attempt.0 as u8, sink as u8], records].concat()
}

pub type Transaction = (CheckpointId, Vec<u8>);

pub fn transaction(prepared: &PreparedTransaction) -> Transaction {
    (prepared.checkpoint, prepared.bytes.clone())
}

/// Where the sinks write, as a directory is: a transaction is pending until it is renamed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Place {
    pub pending: BTreeSet<Transaction>,
    pub published: BTreeSet<Transaction>,
    /// A transaction was to be published that was neither pending nor published.
    pub lost: bool,
}

impl Place {
    /// Once or more is once.
    pub fn publish(&mut self, transaction: Transaction) {
        if self.pending.remove(&transaction) {
            self.published.insert(transaction);
        } else {
            self.lost |= !self.published.contains(&transaction);
        }
    }

    /// Publishes what a restored checkpoint names, and removes what it does not.
    pub fn recover(&mut self, carried: &[PreparedTransaction]) {
        carried.iter().for_each(|prepared| self.publish(transaction(prepared)));
        self.pending.clear();
    }

    /// How often a record was published.
    pub fn count(&self, record: Record) -> usize {
        self.published.iter().flat_map(|(_, bytes)| &bytes[2..]).filter(|published| **published == record).count()
    }
}
