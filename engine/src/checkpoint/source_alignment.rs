//! Sources that are read no further apart than they may be: the coordinator's side of it. It knows how far each member of a group has come, and tells each how far the
//! slowest of the others is. The side of a member is in `operator/alignment_member.rs`.
//!
//! ```text
//! what is known of another member    it counts as
//!   nothing, in this attempt         behind everybody
//!   a watermark                      that
//!   idle, or finished                not at all; if no other counts, there is no limit
//! ```
//!
//! # Invariants
//! - Each member is told when what it has to know has changed, and whenever it has spoken: what is lost on the way is made good.

use std::collections::BTreeMap;

use crate::{
    checkpoint::{layout::JobLayout, snapshot::SubtaskId},
    element::Watermark,
    id::AlignmentGroup,
    time::Timestamp,
};

/// What a member is told: how far the slowest of the others in its group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Limit {
    /// Who is told.
    pub subtask: SubtaskId,
    /// In which group.
    pub group: AlignmentGroup,
    /// [`MIN`](Timestamp::MIN): somebody has not spoken yet. [`MAX`](Timestamp::MAX): nobody else counts.
    pub slowest: Timestamp,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceAlignment {
    groups: Vec<Group>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Group {
    number: AlignmentGroup,
    /// Those that have not finished.
    members: BTreeMap<SubtaskId, Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Member {
    mark: Watermark,
    told: Timestamp,
}

impl SourceAlignment {
    /// Nobody has spoken yet.
    pub fn new(layout: &JobLayout) -> Self {
        let groups = (0u32..).zip(&layout.alignment).map(|(number, chains)| {
            let members = layout.subtasks.keys().filter(|subtask| chains.contains(&subtask.chain));
            let silent = Member { mark: Watermark::NONE, told: Timestamp::MIN };
            Group {
                number: AlignmentGroup(number),
                members: members.map(|subtask| (*subtask, silent.clone())).collect(),
            }
        });
        Self { groups: groups.collect() }
    }

    /// A member says how far its slowest split is. Whoever is to be told something by that.
    pub fn heard(&mut self, subtask: SubtaskId, group: AlignmentGroup, mark: Watermark) -> Vec<Limit> {
        let found = self.groups.get_mut(group.0 as usize);
        let Some((group, member)) = found.and_then(|group| Some((group.number, group.members.get_mut(&subtask)?)))
        else {
            return Vec::new();
        };
        member.mark = mark;
        self.groups[group.0 as usize].limits(Some(subtask))
    }

    /// A subtask has finished: nobody waits for it.
    pub fn finished(&mut self, subtask: SubtaskId) -> Vec<Limit> {
        let left = self.groups.iter_mut().filter_map(|group| group.members.remove(&subtask).map(|_| group));
        left.flat_map(|group| group.limits(None)).collect()
    }
}

impl Group {
    /// What those are to be told for whom it has changed, and `asker` in any case.
    fn limits(&mut self, asker: Option<SubtaskId>) -> Vec<Limit> {
        let counting = self.members.iter().filter(|(_, member)| !member.mark.is_idle);
        let mut marks: Vec<_> = counting.map(|(subtask, member)| (member.mark.time, *subtask)).collect();
        marks.sort_unstable();
        let slowest_but = |subtask: &SubtaskId| {
            let other = marks.iter().find(|(_, other)| other != subtask);
            other.map_or(Timestamp::MAX, |(time, _)| *time)
        };
        let mut limits = Vec::new();
        for (subtask, member) in &mut self.members {
            let slowest = slowest_but(subtask);
            if member.told != slowest || asker == Some(*subtask) {
                member.told = slowest;
                limits.push(Limit { subtask: *subtask, group: self.number, slowest });
            }
        }
        limits
    }
}
