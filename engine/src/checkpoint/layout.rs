//! What the coordinator has to know of the job, and how by it the subtasks' snapshots become the record of a checkpoint.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    checkpoint::snapshot::{
        EdgeTime, GateTime, InFlightRecord, OperatorKind, OperatorRecord, OperatorSnapshot, SubtaskId, SubtaskSnapshot,
    },
    element::Watermark,
    fail_point::FailPoints,
    id::{ChannelIndex, JobId, ProcessingTime, SubtaskIndex},
    state::DeclaredState,
    time::Timestamp,
};

/// Who has acknowledged a checkpoint, when, and with what.
pub(super) type Acknowledged = BTreeMap<SubtaskId, (ProcessingTime, SubtaskSnapshot)>;

/// An operator as the coordinator knows it: where its snapshots come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OperatorLayout {
    /// Its address.
    pub uid: String,
    /// What it is.
    pub kind: OperatorKind,
    /// Its states.
    pub states: Vec<DeclaredState>,
    /// The chain it is part of.
    pub chain: u32,
}

/// An edge between two chains, as the coordinator knows it: where records may be in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeLayout {
    /// Its address in checkpoints.
    pub name: String,
    /// The chain at its end.
    pub chain: u32,
    /// Its first input channel at each subtask there.
    pub first: ChannelIndex,
    /// How many it has there.
    pub channels: u32,
}

impl OperatorLayout {
    /// What a checkpoint records of it.
    pub(super) fn record(&self, acknowledged: &Acknowledged) -> OperatorRecord {
        let of_chain = acknowledged.iter().filter(|(subtask, _)| subtask.chain == self.chain);
        let subtasks = of_chain.map(|(_, (_, snapshot))| {
            let own = snapshot.operators.iter().find(|(uid, _)| *uid == self.uid);
            own.map_or_else(OperatorSnapshot::default, |(_, own)| own.clone())
        });
        OperatorRecord {
            uid: self.uid.clone(),
            kind: self.kind,
            states: self.states.iter().map(|state| state.record.clone()).collect(),
            subtasks: subtasks.collect(),
        }
    }
}

impl EdgeLayout {
    /// Its input channels at each subtask that it leads to.
    pub fn all(&self) -> impl Iterator<Item = ChannelIndex> + use<> {
        (self.first.0..self.first.0 + self.channels).map(ChannelIndex)
    }

    /// Whether a channel is one of those.
    pub(crate) fn contains(&self, channel: ChannelIndex) -> bool {
        (self.first.0..self.first.0 + self.channels).contains(&channel.0)
    }

    /// What was in flight on it, channel by channel.
    pub(super) fn take_in_flight(&self, acknowledged: &mut Acknowledged) -> Vec<InFlightRecord> {
        let mut records = Vec::new();
        let parallelism = acknowledged.keys().filter(|subtask| subtask.chain == self.chain).count() as u32;
        for (subtask, (_, snapshot)) in acknowledged.iter_mut().filter(|(subtask, _)| subtask.chain == self.chain) {
            let mut by_channel: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
            for batch in snapshot.in_flight.iter_mut().filter(|batch| self.contains(batch.channel)) {
                by_channel.entry(batch.channel.0 - self.first.0).or_default().push(std::mem::take(&mut batch.bytes));
            }
            records.extend(by_channel.into_iter().map(|(channel, batches)| InFlightRecord {
                edge: self.name.clone(),
                subtask: subtask.index,
                parallelism,
                channels: self.channels,
                channel: ChannelIndex(channel),
                batches,
            }));
        }
        records
    }

    /// What was known of time at each subtask that it leads to, where anything was. `snapshots` are those of all subtasks.
    pub fn times<'a>(&self, snapshots: impl Iterator<Item = (SubtaskId, &'a SubtaskSnapshot)>) -> Vec<EdgeTime> {
        let own: Vec<_> = snapshots.filter(|(subtask, _)| subtask.chain == self.chain).collect();
        let channels = self.first.index()..(self.first.0 + self.channels) as usize;
        let times = own.iter().filter_map(|(subtask, snapshot)| {
            Some(EdgeTime {
                edge: self.name.clone(),
                subtask: subtask.index,
                parallelism: own.len() as u32,
                event_time: snapshot.time.event_time,
                channels: snapshot.time.channels.get(channels.clone())?.to_vec(),
            })
        });
        times.collect()
    }

    /// What a subtask begins with on this edge. Laid out as it was, what it had; else, or if it is not said which subtask it was, on each channel the least that any
    /// subtask had: what was behind that is no later now. Nothing is known of an edge that is new.
    pub(crate) fn restored_time(&self, times: &[EdgeTime], was: Option<SubtaskIndex>, parallelism: u32) -> GateTime {
        let own = || times.iter().filter(|one| one.edge == self.name);
        let is_like = |one: &&EdgeTime| one.parallelism == parallelism && one.channels.len() == self.channels as usize;
        if let Some(one) = own().filter(is_like).find(|one| Some(one.subtask) == was) {
            return GateTime { event_time: one.event_time, channels: one.channels.clone() };
        }
        let event_time = own().map(|one| one.event_time).min().unwrap_or(Timestamp::MIN);
        let channel = Watermark { time: event_time, is_idle: false };
        GateTime { event_time, channels: vec![channel; self.channels as usize] }
    }
}

/// What the coordinator has to know of the job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobLayout {
    /// The job.
    pub job: JobId,
    /// Its name.
    pub job_name: String,
    /// Key groups.
    pub max_parallelism: u16,
    /// Every subtask, and its name for messages.
    pub subtasks: BTreeMap<SubtaskId, Arc<str>>,
    /// Every operator with something to restore.
    pub operators: Vec<OperatorLayout>,
    /// Every edge.
    pub edges: Vec<EdgeLayout>,
    /// The chains that read sources.
    pub sources: BTreeSet<u32>,
    /// The chains at the heads of loops; for each, the chains outside of the loop that lead into it.
    pub loops: BTreeMap<u32, BTreeSet<u32>>,
    /// Of each alignment group, the chains that have a step in it.
    pub alignment: Vec<BTreeSet<u32>>,
    /// Where a harness makes it fail.
    pub fail_points: FailPoints,
}
