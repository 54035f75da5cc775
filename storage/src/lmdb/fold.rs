//! Which groups a commit folds.
//!
//! Each commit adds a block to each group that changed, and a key that is absent is asked for in all of them. So with each commit some groups are written as one full block, those with the most blocks
//! first: each byte that changed pays for two. What a group is too large for is saved up. Where so little changes that groups would get too many blocks that way, a few are folded for nothing.

use cofferdam_engine::{KeyGroup, checkpoint::snapshot::StateAddress};

use super::{run::Runs, sorting::sorted_bytes};
use crate::plan::GroupChange;

/// What look-ups and folding go by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// The bytes of a part, with head and checksum: what fits an LMDB page of 4 KiB after the page's header. An entry that is larger has a part of its own.
    pub(super) part: usize,
    /// What each commit may fold at least, in bytes.
    pub(super) budget: u64,
    /// With more blocks than this a group is folded whatever that costs; but one in so many groups with each commit, so that none ever has more than twice as many.
    pub(super) blocks: usize,
    /// How much of what is not sorted yet one transaction sorts, in bytes.
    pub(super) at_once: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { part: 4096 - 16, budget: 1 << 20, blocks: 64, at_once: 32 << 20 }
    }
}

/// How much may be folded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Credit(u64);

impl Credit {
    /// After `bytes` have changed.
    pub(super) fn earn(&mut self, bytes: u64, limits: Limits) {
        self.0 = self.0.saturating_add(bytes.saturating_mul(2).max(limits.budget));
    }

    pub(super) fn pay(&mut self, bytes: u64) {
        self.0 = self.0.saturating_sub(bytes);
    }

    /// What is not needed now is not kept for later.
    pub(super) fn forget(&mut self) {
        self.0 = 0;
    }
}

/// A group that would have more than one block.
#[derive(Debug)]
pub(super) struct Candidate<'a> {
    pub(super) address: &'a StateAddress,
    pub(super) group: KeyGroup,
    /// What comes for it now.
    pub(super) incoming: Option<&'a GroupChange<'a>>,
    blocks: usize,
    /// What folding it writes at most.
    bytes: u64,
}

/// The groups that could be folded, in this order.
#[derive(Debug)]
pub(super) struct Candidates<'a> {
    sorted: std::vec::IntoIter<Candidate<'a>>,
    /// How many are folded for nothing.
    free: usize,
    limits: Limits,
}

impl<'a> Candidates<'a> {
    /// Of the groups in `runs`, where `incoming` is what comes for each; those that are replaced are none.
    pub(super) fn of(
        runs: &'a Runs,
        limits: Limits,
        incoming: impl Fn(&StateAddress, KeyGroup) -> Option<&'a GroupChange<'a>>,
    ) -> Self {
        let mut candidates = Vec::new();
        let mut groups = 0usize;
        for (address, state) in &runs.states {
            groups += state.groups.len();
            for (group, stored) in &state.groups {
                let incoming = incoming(address, *group);
                if incoming.is_some_and(|change| change.replaces) {
                    continue;
                }
                let bytes = stored.iter().map(|run| run.bytes).sum::<u64>();
                let bytes = bytes + incoming.map_or(0, sorted_bytes);
                let blocks = stored.len() + usize::from(incoming.is_some());
                candidates.push(Candidate { address, group: *group, incoming, blocks, bytes });
            }
        }
        candidates.retain(|candidate| candidate.blocks > 1);
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.blocks));
        Self { sorted: candidates.into_iter(), free: groups.div_ceil(limits.blocks.max(1)), limits }
    }

    /// The next one to fold.
    pub(super) fn next(&mut self, credit: &mut Credit) -> Option<Candidate<'a>> {
        let Some(candidate) = self.sorted.as_slice().first() else {
            credit.forget();
            return None;
        };
        if candidate.bytes > credit.0 {
            if candidate.blocks <= self.limits.blocks || self.free == 0 {
                return None;
            }
            self.free -= 1;
        }
        self.sorted.next()
    }
}
