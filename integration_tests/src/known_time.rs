//! What checkpoints know of time. Much of it is known twice, in a sender and in its receiver, so that a result seldom shows that one of the two was wrong: here each is
//! looked at by itself.
//!
//! - From one checkpoint to the next no time falls, and who was idle still is, unless it has read something.
//! - A checkpoint is a cut through time, too: each channel knows what its sender says, from a watermark that it had or from one that is in flight.

use std::collections::BTreeMap;

use cofferdam_engine::{
    Timestamp, Watermark,
    checkpoint::snapshot::{CheckpointMetadata, EdgeTime},
    codec::decode_json,
};
use serde::Deserialize;

/// See the module.
#[derive(Default)]
pub(crate) struct KnownTime {
    /// Of each edge, the least that is known at its far end.
    edges: BTreeMap<String, Timestamp>,
    /// Of each split, for each step that has a clock of it.
    splits: BTreeMap<(String, String), SplitTime>,
    /// Of each step, for each key group.
    groups: BTreeMap<(String, u16), i64>,
}

struct SplitTime {
    position: String,
    clock: Clock,
    /// Which subtask reads it.
    subtask: usize,
    ended: bool,
    /// No other one of its subtask has more to come.
    is_only: bool,
}

#[derive(Clone, Deserialize)]
struct Clock {
    watermark: i64,
    is_idle: bool,
}

/// As a source stores a split.
#[derive(Deserialize)]
struct StoredSplit {
    split: serde_json::Value,
    position: serde_json::Value,
    ended: bool,
    #[serde(default)]
    times: Vec<StoredTime>,
}

#[derive(Deserialize)]
struct StoredTime {
    step: String,
    clock: Clock,
}

/// As a keyed step stores the clocks of its groups.
#[derive(Deserialize)]
struct StoredGroups {
    first: u16,
    clocks: Vec<(u16, i64)>,
}

impl KnownTime {
    /// What a checkpoint knows. What stores no times is passed over.
    pub(crate) fn of(metadata: &CheckpointMetadata) -> Self {
        let mut known = Self::default();
        for EdgeTime { edge, event_time, .. } in &metadata.times {
            let least = known.edges.entry(edge.clone()).or_insert(*event_time);
            *least = (*least).min(*event_time);
        }
        for operator in &metadata.operators {
            for (subtask, stored) in operator.subtasks.iter().enumerate() {
                let Some(json) = decode_json(&stored.state) else { continue };
                if let Ok(splits) = Vec::<StoredSplit>::deserialize(&json) {
                    known.add_splits(subtask, splits);
                } else if let Ok(groups) = StoredGroups::deserialize(&json) {
                    known.add_groups(&operator.uid, &groups);
                }
            }
        }
        known
    }

    fn add_splits(&mut self, subtask: usize, splits: Vec<StoredSplit>) {
        let is_only = splits.iter().filter(|split| !split.ended).count() == 1;
        for StoredSplit { split, position, ended, times } in splits {
            for StoredTime { step, clock } in times {
                let time = SplitTime { position: position.to_string(), clock, subtask, ended, is_only };
                self.splits.insert((step, split.to_string()), time);
            }
        }
    }

    fn add_groups(&mut self, uid: &str, stored: &StoredGroups) {
        let clocks = stored.clocks.iter().flat_map(|(groups, clock)| (0..*groups).map(|_| *clock));
        self.groups.extend((stored.first..).zip(clocks).map(|(group, clock)| ((uid.to_string(), group), clock)));
    }

    /// Goes on to the next checkpoint of the job.
    pub(crate) fn go_on(&mut self, metadata: &CheckpointMetadata) {
        let next = Self::of(metadata);
        let number = metadata.checkpoint;
        for (edge, before) in &self.edges {
            let fell = next.edges.get(edge).is_some_and(|now| now < before);
            assert!(!fell, "checkpoint {number}: time on '{edge}' fell from {before}");
        }
        for ((step, split), before) in &self.splits {
            let Some(now) = next.splits.get(&(step.clone(), split.clone())) else { continue };
            let (clock, was) = (&now.clock, &before.clock);
            assert!(clock.watermark >= was.watermark, "checkpoint {number}: time of split {split} at '{step}' fell");
            let is_woken = was.is_idle && !clock.is_idle && now.position == before.position;
            assert!(!is_woken, "checkpoint {number}: split {split} at '{step}' is not idle, and has read nothing");
        }
        for ((uid, group), before) in &self.groups {
            let fell = next.groups.get(&(uid.clone(), *group)).is_some_and(|now| now < before);
            assert!(!fell, "checkpoint {number}: the clock of key group {group} at '{uid}' fell from {before}");
        }
        next.assert_is_cut(metadata);
        *self = next;
    }

    /// Where it is known who sends: a step with clocks of splits is the last in front of an edge, and each subtask of it reads one split.
    fn assert_is_cut(&self, metadata: &CheckpointMetadata) {
        for EdgeTime { edge, subtask, channels, .. } in &metadata.times {
            let from = edge.split_once(": ").and_then(|(_, ends)| ends.split_once(" -> ")).map(|(from, _)| from);
            for (channel, received) in channels.iter().enumerate() {
                let sender = if channels.len() == 1 { subtask.index() } else { channel };
                let is_of_sender = |(step, time): (&str, &SplitTime)| {
                    Some(step) == from && time.subtask == sender && time.is_only && !time.ended
                };
                let mut splits = self.splits.iter();
                let Some((_, time)) = splits.find(|((step, _), time)| is_of_sender((step, time))) else { continue };
                let in_flight = metadata.in_flight.iter().filter(|stored| {
                    (&stored.edge, stored.subtask, stored.channel.index()) == (edge, *subtask, channel)
                });
                let mut marks =
                    in_flight.flat_map(|stored| &stored.batches).filter_map(|bytes| Watermark::of_bytes(bytes));
                let known = marks.next_back().unwrap_or(*received).time.max(received.time);
                assert!(
                    known >= Timestamp(time.clock.watermark),
                    "checkpoint {}: channel {channel} of subtask {subtask} of '{edge}' knows {known}, and its sender says {}",
                    metadata.checkpoint,
                    time.clock.watermark
                );
            }
        }
    }
}
