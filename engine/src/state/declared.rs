//! A state as a step declares it.

use crate::checkpoint::snapshot::StateRecord;

/// What checkpoints record of a state, and what only the program knows that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeclaredState {
    /// What is recorded.
    pub record: StateRecord,
    /// The versions of its values that can be read.
    pub readable: Vec<u32>,
    /// With a limit for the heap, its tables share it. Others are on the heap whole, whatever the limit.
    pub shares_heap: bool,
}
