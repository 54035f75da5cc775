//! What outlives a process: the disk, the clock, the dice, and the record of what happened.

use std::collections::{BTreeMap, BTreeSet};

use cofferdam_engine::{Attempt, CheckpointId, Clock as _};

use crate::{
    clock::VirtualClock,
    fault::Faults,
    post::Request,
    setup::Setup,
    store::FaultyBackend,
    trace::{Event, Line},
};

pub(crate) struct World {
    pub(crate) random: fastrand::Rng,
    pub(crate) clock: VirtualClock,
    pub(crate) setup: Setup,
    pub(crate) faults: Faults,
    pub(crate) requests: BTreeMap<u64, Request>,
    pub(crate) backend: FaultyBackend,
    pub(crate) step: u64,
    /// The step in which a record moved, a checkpoint was stored or an attempt began.
    pub(crate) progress: u64,
    pub(crate) lines: Vec<Line>,
    /// Every number that was ever triggered.
    pub(crate) triggered: BTreeSet<(Attempt, CheckpointId)>,
    /// Checkpoints that were aborted.
    pub(crate) aborted: BTreeSet<CheckpointId>,
    /// Every attempt that ran, and the checkpoint it went on from.
    pub(crate) attempts: Vec<(Attempt, CheckpointId)>,
    /// Steps whose subtasks are not given a turn.
    pub(crate) paused: BTreeSet<String>,
}

impl World {
    pub(crate) fn note(&mut self, event: Event) {
        self.lines.push(Line { step: self.step, time: self.clock.now(), event });
    }
}
