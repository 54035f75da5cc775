//! What outlives an attempt: the newest checkpoint, and the place that the sinks write to.

use std::collections::BTreeSet;

use cofferdam_engine::{
    Attempt, ChannelIndex, CheckpointId,
    checkpoint::snapshot::{CheckpointMetadata, OperatorKind, OperatorSnapshot, PreparedTransaction},
};

use crate::job::{Job, NodeIndex, Record, plain};

/// A completed checkpoint, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    pub checkpoint: CheckpointId,
    pub attempt: Attempt,
    pub finished: bool,
    /// How far each source was.
    pub positions: Vec<u8>,
    /// What the state of each operator, and then of each body, counts, in order.
    pub applied: Vec<Vec<Record>>,
    /// What the sinks are to publish.
    pub carried: Vec<PreparedTransaction>,
    /// What was on its way: to which node, on which of its channels.
    pub in_flight: Vec<(NodeIndex, ChannelIndex, Record)>,
}

impl Stored {
    /// Checkpoint 0.
    pub fn genesis(job: &Job) -> Self {
        Self {
            checkpoint: CheckpointId(0),
            attempt: Attempt(0),
            finished: false,
            positions: vec![0; job.sources],
            applied: vec![Vec::new(); job.operators + job.bodies],
            carried: Vec::new(),
            in_flight: Vec::new(),
        }
    }

    pub fn new(job: &Job, metadata: CheckpointMetadata) -> Self {
        let edges = job.edges();
        let in_flight = metadata.in_flight.iter().flat_map(|stored| {
            let (edge, to) = edges.iter().find(|(edge, _)| edge.name == stored.edge)?;
            let to = to.start + stored.subtask.index();
            Some(stored.batches.iter().flatten().map(move |record| (to, edge.first, *record)))
        });
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
            in_flight: in_flight.flatten().collect(),
        }
    }

    /// How often a record is counted in the state of a node that is neither source nor sink.
    pub fn applied(&self, job: &Job, node: NodeIndex, record: Record) -> usize {
        self.applied[node - job.sources].iter().filter(|applied| **applied == record).count()
    }

    /// How often a record is on its way to a node.
    pub fn in_flight(&self, node: NodeIndex, record: Record) -> usize {
        self.in_flight.iter().filter(|(to, _, flying)| (*to, *flying) == (node, record)).count()
    }

    /// Whether a record is on its way to anywhere.
    pub fn is_in_flight(&self, record: Record) -> bool {
        self.in_flight.iter().any(|(_, _, flying)| plain(*flying) == record)
    }

    /// Whether a record is among what the sinks are to publish.
    pub fn is_carried(&self, record: Record) -> bool {
        self.carried.iter().any(|prepared| prepared.bytes[2..].contains(&record))
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
