//! What a table has frozen and no completed checkpoint is known to hold.
//!
//! # Invariants
//! - A delta is kept until a checkpoint at or after it has completed: whatever happens to its own checkpoint, the next acknowledgement has it.
//! - What the store holds of a group, with what is kept here, is the group's last full block and every block of changes since.

use std::sync::Arc;

use crate::{
    checkpoint::snapshot::{BlockKind, StateAddress, StateBlock, StateDelta},
    id::CheckpointId,
    key_group::KeyGroup,
    mutation::{self, Mutation},
};

/// See the module.
pub(super) struct DeltaLedger {
    address: StateAddress,
    /// Oldest first.
    unconfirmed: Vec<Arc<StateDelta>>,
}

impl DeltaLedger {
    /// Of a table whose blocks are stored at `address`.
    pub(super) fn new(address: StateAddress) -> Self {
        Self { address, unconfirmed: Vec::new() }
    }

    pub(super) fn address(&self) -> &StateAddress {
        &self.address
    }

    /// Takes in what was frozen for `checkpoint`; gives back all that is not known to be stored, oldest first.
    pub(super) fn add(&mut self, checkpoint: CheckpointId, blocks: Vec<StateBlock>) -> Vec<Arc<StateDelta>> {
        if !blocks.is_empty() {
            self.supersede(&blocks);
            self.unconfirmed.push(Arc::new(StateDelta { checkpoint, address: self.address.clone(), blocks }));
        }
        let owed = if mutation::is(Mutation::OnlyNewestDelta) { 1 } else { self.unconfirmed.len() };
        self.unconfirmed.iter().rev().take(owed).rev().cloned().collect()
    }

    /// Drops what a completed checkpoint holds; gives back the blocks that nobody else has, whose memory may be used again.
    pub(super) fn completed(&mut self, checkpoint: CheckpointId) -> impl Iterator<Item = StateBlock> + use<> {
        let (stored, unconfirmed) = self.unconfirmed.drain(..).partition(|delta| delta.checkpoint <= checkpoint);
        self.unconfirmed = unconfirmed;
        let stored: Vec<Arc<StateDelta>> = stored;
        stored.into_iter().filter_map(Arc::into_inner).flat_map(|delta| delta.blocks)
    }

    /// Drops older blocks of groups that are now frozen in full: what is owed stays below twice the state.
    fn supersede(&mut self, newer: &[StateBlock]) {
        if self.unconfirmed.is_empty() {
            return;
        }
        let is_full = |group: KeyGroup| newer.iter().any(|block| block.group == group && block.kind == BlockKind::Full);
        for delta in &mut self.unconfirmed {
            if delta.blocks.iter().any(|block| is_full(block.group)) {
                let blocks = delta.blocks.iter().filter(|block| !is_full(block.group)).cloned().collect();
                *delta = Arc::new(StateDelta { checkpoint: delta.checkpoint, address: delta.address.clone(), blocks });
            }
        }
        self.unconfirmed.retain(|delta| !delta.blocks.is_empty());
    }
}
