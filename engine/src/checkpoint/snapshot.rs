//! What a checkpoint is made of.
//!
//! ```text
//! subtask --freeze--> SubtaskSnapshot --acknowledge--> coordinator --> CheckpointCommit --> store
//!                      deltas (keyed state)                             metadata, one value
//!                      operator state, transactions                     blocks, one value each
//! ```

use std::{fmt, num::NonZeroU32, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    element::Watermark,
    fail_point::FailPoints,
    id::{Attempt, ChannelIndex, CheckpointId, JobId, SavepointId, SubtaskIndex},
    key_format::KeyFormat,
    key_group::KeyGroup,
    time::Timestamp,
};

/// Where a keyed state lives: it finds its blocks again under this name, whatever else changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StateAddress {
    /// The step's `uid`.
    pub operator: String,
    /// The state's name within the step.
    pub state: String,
}

impl fmt::Display for StateAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.operator, self.state)
    }
}

/// How a block relates to older blocks of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BlockKind {
    /// All of the group's entries. Older blocks are void.
    Full,
    /// Entries that changed or went since the block before.
    Changes,
}

/// Encoded entries of one key group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateBlock {
    /// The group.
    pub group: KeyGroup,
    /// All of it, or what changed.
    pub kind: BlockKind,
    /// Number of entries, tombstones included.
    pub entries: u32,
    /// The entries; empty for a full block of a group without any.
    pub bytes: Vec<u8>,
}

/// What one snapshot adds to one keyed state, at most one block per group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StateDelta {
    /// The checkpoint whose barrier it was frozen on.
    pub checkpoint: CheckpointId,
    /// The state.
    pub address: StateAddress,
    /// The blocks, by growing group.
    pub blocks: Vec<StateBlock>,
}

/// Something a two-phase sink has made durable and not yet published.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PreparedTransaction {
    /// The checkpoint whose barrier closed it.
    pub checkpoint: CheckpointId,
    /// The sink's own description.
    pub bytes: Vec<u8>,
}

/// One operator's share of a subtask's snapshot, apart from keyed state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Source positions, operator state, or a sink writer's state; the operator's own encoding.
    pub state: Vec<u8>,
    /// Transactions not yet known to be published, oldest first.
    pub transactions: Vec<PreparedTransaction>,
}

/// What a subtask acknowledges a checkpoint with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubtaskSnapshot {
    /// Changes to keyed state that may not be stored yet, oldest first; shared with the subtask, which keeps them until a
    /// checkpoint completed.
    pub deltas: Vec<Arc<StateDelta>>,
    /// Operator states, by `uid`.
    pub operators: Vec<(String, OperatorSnapshot)>,
    /// Batches and watermarks that were on their way to the subtask, in the order of each channel.
    pub in_flight: Vec<InFlightBatch>,
    /// Whether the input had ended and everything it led to had been sent before the barrier.
    pub finished: bool,
    /// The head of a loop: its ordinary input had ended, and nothing came round.
    pub is_quiet: bool,
    /// Requests were under way.
    pub is_pending: bool,
    /// What the subtask's inputs had said of time.
    pub time: GateTime,
    /// What it took.
    pub stats: SnapshotStats,
}

/// What a subtask's inputs had said of time when a snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GateTime {
    /// What followed from it.
    pub event_time: Timestamp,
    /// The last watermark of each channel; [`Watermark::NONE`] of those without time. Empty if none has.
    pub channels: Vec<Watermark>,
}

impl Default for GateTime {
    /// Of inputs without time.
    fn default() -> Self {
        Self { event_time: Timestamp::MIN, channels: Vec::new() }
    }
}

/// What one subtask's part of a checkpoint took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SnapshotStats {
    /// From the trigger to the first barrier in; at a source, to the trigger's arrival.
    pub start_delay: Duration,
    /// First barrier in to last barrier in, or to the moment when they were waited for no longer.
    pub alignment: Duration,
    /// Records that waited in the alignment buffer.
    pub stashed: u64,
    /// On the data path: freezing.
    pub sync: Duration,
    /// Off the data path: `pre_commit`.
    pub r#async: Duration,
    /// Encoded state that is new in this checkpoint, in bytes.
    pub bytes: u64,
    /// Encoded state in all, what older checkpoints have stored of it included, in bytes.
    pub bytes_full: u64,
    /// Encoded records in flight, in bytes.
    pub bytes_in_flight: u64,
    /// Whether the barrier overtook: the snapshot did not wait for every channel's.
    pub is_unaligned: bool,
}

/// A batch or a watermark that was on its way when a snapshot was taken.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InFlightBatch {
    /// The subtask's input channel.
    pub channel: ChannelIndex,
    /// Its records, encoded; or [the watermark](Watermark::to_bytes).
    pub bytes: Vec<u8>,
}

/// All of a checkpoint but its blocks: what is stored as its record.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CheckpointMetadata {
    /// The job that it belongs to.
    pub job: JobId,
    /// The job's name.
    pub job_name: String,
    /// Its number.
    pub checkpoint: CheckpointId,
    /// The attempt that took it.
    pub attempt: Attempt,
    /// Key groups; fixed for the job's life.
    pub max_parallelism: u16,
    /// Every subtask had finished: nothing is left to do but to publish.
    pub finished: bool,
    /// The host had asked for the input to end, and some sources may have ended for it: whoever goes on from here ends the others too.
    pub draining: bool,
    /// What the topology was, and each operator's snapshots.
    pub operators: Vec<OperatorRecord>,
    /// Records that were on their way.
    pub in_flight: Vec<InFlightRecord>,
    /// What was known of time at the ends of edges that carry any. Its own form leaves them out: what is stored has them behind it, so that what was stored without is
    /// still read.
    #[serde(skip)]
    pub times: Vec<EdgeTime>,
    /// The savepoint that the job was started from, if it was.
    pub origin: Option<Origin>,
}

/// The savepoint that a job was started from. Every checkpoint since then names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Origin {
    /// Which.
    pub savepoint: SavepointId,
    /// The checkpoint that it was written from, and the job's first one in its place.
    pub checkpoint: CheckpointId,
}

/// What was in flight on one channel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InFlightRecord {
    /// The edge's name.
    pub edge: String,
    /// The subtask at its end.
    pub subtask: SubtaskIndex,
    /// How many subtasks there were.
    pub parallelism: u32,
    /// How many channels the edge had at each of them: one, if it led from each subtask to the one of its number.
    pub channels: u32,
    /// Which of them.
    pub channel: ChannelIndex,
    /// Encoded batches, and [watermarks](Watermark::to_bytes) between them, in order.
    pub batches: Vec<Vec<u8>>,
}

impl InFlightRecord {
    /// Whether there is a batch among them, and not watermarks alone.
    pub fn has_records(&self) -> bool {
        self.batches.iter().any(|bytes| Watermark::of_bytes(bytes).is_none())
    }
}

/// What was known of time at one end of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EdgeTime {
    /// The edge's name.
    pub edge: String,
    /// The subtask at its end.
    pub subtask: SubtaskIndex,
    /// How many subtasks there were.
    pub parallelism: u32,
    /// The subtask's event time.
    pub event_time: Timestamp,
    /// The last watermark of each of the edge's channels.
    pub channels: Vec<Watermark>,
}

/// One operator in a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct OperatorRecord {
    /// Its address.
    pub uid: String,
    /// What it was.
    pub kind: OperatorKind,
    /// Its states.
    pub states: Vec<StateRecord>,
    /// One for each subtask.
    pub subtasks: Vec<OperatorSnapshot>,
}

/// What a state is, beside its entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StateRecord {
    /// Its name within the operator.
    pub name: String,
    /// What the entries of one key make.
    pub kind: StateKind,
    /// How the keys of its entries are encoded; `()` where there are none.
    pub key: KeyFormat,
    /// The version of its values, as their user counts.
    pub version: u32,
}

/// What the entries of one key make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum StateKind {
    /// One value.
    Value,
    /// Elements in order; an entry's key is the key and the position.
    List,
    /// Entries; an entry's key is the key and the user's key.
    Map,
    /// One value, made of those that were added.
    Reducing,
    /// One accumulator.
    Aggregating,
    /// Elements of an operator without a key; they are dealt out.
    OperatorList,
    /// Elements of an operator without a key; everybody gets all.
    Union,
    /// Entries of an operator without a key, the same everywhere.
    Broadcast,
}

impl StateKind {
    /// Whether entries' keys are a key of the step and something behind it.
    pub(crate) fn has_entries(self) -> bool {
        matches!(self, Self::Map | Self::List)
    }
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Reducing => "reducing",
            Self::Aggregating => "aggregating",
            Self::OperatorList => "operator list",
            Self::Union => "union",
            Self::Broadcast => "broadcast",
        })
    }
}

/// The operators that have something to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OperatorKind {
    /// Reads splits.
    Source,
    /// Holds keyed state.
    Keyed,
    /// Prepares transactions.
    TwoPhaseSink,
    /// Holds state that belongs to no key.
    Operator,
}

impl fmt::Display for OperatorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "source",
            Self::Keyed => "keyed step",
            Self::TwoPhaseSink => "two-phase sink",
            Self::Operator => "step with operator state",
        })
    }
}

/// What the store is asked to make durable in one step.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CheckpointCommit {
    /// The record.
    pub metadata: CheckpointMetadata,
    /// Keyed state of all subtasks; per address and group the oldest first. May hold deltas that are stored already.
    pub deltas: Vec<Arc<StateDelta>>,
    /// How many checkpoints are kept from now on, this one among them.
    pub num_retained: NonZeroU32,
    /// Where a harness makes the store fail: a store tells it of its steps.
    pub fail_points: FailPoints,
}

/// Names one subtask: which chain, and which parallel instance of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubtaskId {
    /// The chain's number in the plan.
    pub chain: u32,
    /// The instance.
    pub index: SubtaskIndex,
}
