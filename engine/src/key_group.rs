//! Key groups: the unit in which keyed state is stored and redistributed.
//!
//! ```text
//! key --hash--> 64 bits --low 32, fastrange--> key group --range--> subtask
//! ```
//! The hash and this mapping are part of the format on disk: changing either loses every stored key.
//! The reduction is Lemire's (arXiv 1805.10941): a multiplication and a shift instead of a division.

use serde::{Deserialize, Serialize};

use crate::id::SubtaskIndex;

/// A set of keys that always live on the same subtask, from 0 to `max_parallelism - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(pub u16);

impl KeyGroup {
    /// The group of a key with this hash, among `max_parallelism` groups.
    #[inline]
    pub fn of_hash(hash: u64, max_parallelism: u16) -> Self {
        Self(((u64::from(hash as u32) * u64::from(max_parallelism)) >> 32) as u16)
    }
}

impl std::fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The groups `start..end` of one subtask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyGroupRange {
    /// First group in the range.
    pub start: u16,
    /// First group after the range.
    pub end: u16,
}

impl KeyGroupRange {
    /// What subtask `subtask` of `parallelism` owns. Ranges are contiguous, disjoint, cover every group and differ in
    /// size by at most one.
    pub fn of_subtask(subtask: SubtaskIndex, parallelism: u32, max_parallelism: u16) -> Self {
        let bound = |i: u32| (u64::from(i) * u64::from(max_parallelism)).div_ceil(u64::from(parallelism)) as u16;
        Self { start: bound(subtask.0), end: bound(subtask.0 + 1) }
    }

    /// Whether `group` lies in this range.
    pub fn contains(&self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&group.0)
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        usize::from(self.end - self.start)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Each group, in order.
    pub fn iter(&self) -> impl Iterator<Item = KeyGroup> + use<> {
        (self.start..self.end).map(KeyGroup)
    }
}

/// For each group the subtask that owns it, at `parallelism`.
pub(crate) fn owners(parallelism: u32, max_parallelism: u16) -> Vec<u32> {
    (0..parallelism)
        .flat_map(|i| {
            let range = KeyGroupRange::of_subtask(SubtaskIndex(i), parallelism, max_parallelism);
            std::iter::repeat_n(i, range.len())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_cover_every_group_once_whatever_the_parallelism() {
        for max in [1u16, 2, 7, 128, 1000] {
            for parallelism in 1..=u32::from(max.min(40)) {
                let owners = owners(parallelism, max);
                assert_eq!(owners.len(), usize::from(max));
                assert!(owners.is_sorted());
                let sizes: Vec<_> = (0..parallelism)
                    .map(|i| KeyGroupRange::of_subtask(SubtaskIndex(i), parallelism, max).len())
                    .collect();
                assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
            }
        }
    }
}
