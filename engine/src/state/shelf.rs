//! What the store has of one key group, and what that says of the next block: in full, or changes alone. See `docs/decisions/0002`.
//!
//! # Invariants
//! - `stored_changes` is the number of entries in `Changes` blocks that the store holds, or will once what is unconfirmed completes, since the group's last
//!   full block.

use crate::checkpoint::snapshot::{BlockKind, StateBlock};

/// See the module.
#[derive(Default)]
pub(super) struct Shelf {
    must_be_full: bool,
    stored_changes: usize,
    /// Size of the last full block: what to reserve for the next.
    full_bytes: usize,
    /// Of the blocks of changes since.
    changes_bytes: usize,
    /// The last full block's memory, once it is stored: fresh memory costs a page fault per 4 KiB.
    spare: Vec<u8>,
}

impl Shelf {
    /// The next block is a full one.
    pub(super) fn be_full(&mut self) {
        self.must_be_full = true;
    }

    pub(super) fn must_be_full(&self) -> bool {
        self.must_be_full
    }

    /// Whether a full block of `live` entries costs no more than about twice what a block of `changes` does.
    pub(super) fn mostly_changed(&self, changes: usize, live: usize) -> bool {
        self.must_be_full || changes * 2 >= live
    }

    /// What block the group is due for, if it is for any. A full one that stands for many small ones takes its entries off `fold_budget`, and needs some of it.
    pub(super) fn due(&self, changes: usize, live: usize, fold_budget: &mut usize) -> Option<BlockKind> {
        if changes == 0 && !self.must_be_full {
            return None;
        }
        if self.mostly_changed(changes, live) {
            return Some(BlockKind::Full);
        }
        // Changes, stored and new, outnumber the entries.
        if self.stored_changes + changes >= live && *fold_budget > 0 {
            *fold_budget = fold_budget.saturating_sub(live);
            return Some(BlockKind::Full);
        }
        Some(BlockKind::Changes)
    }

    /// Memory for a block.
    pub(super) fn begin(&mut self, kind: BlockKind) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.spare);
        match kind {
            BlockKind::Full => {
                bytes.clear();
                bytes.reserve(self.full_bytes + self.full_bytes / 8);
                bytes
            }
            BlockKind::Changes => Vec::new(),
        }
    }

    /// A block is made, or read.
    pub(super) fn note(&mut self, kind: BlockKind, entries: usize, bytes: usize) {
        match kind {
            BlockKind::Full => {
                (self.full_bytes, self.changes_bytes) = (bytes, 0);
                self.stored_changes = 0;
                self.must_be_full = false;
            }
            BlockKind::Changes => {
                self.stored_changes += entries;
                self.changes_bytes += bytes;
            }
        }
    }

    /// Size of all blocks that hold the group: stored, or on their way there.
    pub(super) fn stored_bytes(&self) -> usize {
        self.full_bytes + self.changes_bytes
    }

    /// Takes back the memory of a block that is stored.
    pub(super) fn recycle(&mut self, block: StateBlock) {
        if block.kind == BlockKind::Full {
            self.spare = block.bytes;
        }
    }
}
