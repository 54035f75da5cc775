//! What the checkpoints of an attempt take over from the one that it went on from.

use crate::checkpoint::snapshot::{Origin, StateDelta};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Inherited {
    /// The savepoint that the job was started from.
    pub origin: Option<Origin>,
    /// State of steps that the topology has no more: an empty block for each group that has something. The first checkpoint that completes stores them, as of
    /// its own number, so that a later step of the same name does not find the old state.
    pub dropped: Vec<StateDelta>,
}
