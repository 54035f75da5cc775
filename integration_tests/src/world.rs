//! What outlives a process: the disk, the clock, the dice, and the record of what happened.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use cofferdam_engine::{Attempt, CheckpointId, Clock as _, checkpoint::snapshot::CheckpointCommit, savepoint::Choices};

use crate::{
    clock::VirtualClock,
    fault_plan::{Harm, ScheduledFaults},
    faults::Faults,
    order::Edges,
    post::{Letter, Party, Request},
    savepoints::Savepoints,
    setup::Setup,
    store::RecordingBackend,
    trace::{Event, Line},
};

pub(crate) struct World {
    pub(crate) random: fastrand::Rng,
    pub(crate) clock: VirtualClock,
    pub(crate) setup: Setup,
    pub(crate) faults: Faults,
    /// The faults at work: fail points ask it.
    pub(crate) plan: Arc<ScheduledFaults>,
    /// What the newest attempt that failed failed with.
    pub(crate) last_error: Option<String>,
    /// The process has died in the step under way.
    pub(crate) died: bool,
    /// Letters of dead attempts that come a second time when the next one runs.
    pub(crate) late_letters: Vec<((Party, Party), Letter)>,
    /// Likewise commits.
    pub(crate) late_commits: Vec<CheckpointCommit>,
    pub(crate) requests: BTreeMap<u64, Request>,
    /// What passes each edge, if somebody wants to know.
    pub(crate) edges: Option<Edges>,
    pub(crate) backend: RecordingBackend,
    /// What the host has chosen about the state to start from; what it has named, until an attempt is open.
    pub(crate) choices: Choices,
    pub(crate) savepoints: Savepoints,
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
    /// Batches in flight in the checkpoints that they went on from.
    pub(crate) restored_in_flight: usize,
    /// Bytes that loops have spilled.
    pub(crate) spilled: Arc<AtomicU64>,
    /// Steps whose subtasks are not given a turn.
    pub(crate) paused: BTreeSet<String>,
}

/// Where a job's state is, and what was counted there.
pub(crate) struct Home {
    pub(crate) backend: RecordingBackend,
    pub(crate) triggered: BTreeSet<(Attempt, CheckpointId)>,
    pub(crate) attempts: Vec<(Attempt, CheckpointId)>,
}

impl World {
    /// Longer than a checkpoint may take.
    pub(crate) fn too_long(&self) -> Duration {
        self.setup.settings.checkpoints.timeout + self.setup.step_time * 10
    }

    /// How long the outside takes for something: now and then, long.
    pub(crate) fn drawn_delay(&mut self) -> Duration {
        let longest = if self.random.u32(0..8) == 0 { 400 } else { 40 };
        self.setup.step_time * self.random.u32(0..longest)
    }

    /// The job's state is elsewhere from now on. What was on its way to where it was never arrives. Gives back what there was.
    pub(crate) fn move_to(&mut self, home: Home) -> Home {
        self.late_letters.clear();
        self.late_commits.clear();
        Home {
            backend: std::mem::replace(&mut self.backend, home.backend),
            triggered: std::mem::replace(&mut self.triggered, home.triggered),
            attempts: std::mem::replace(&mut self.attempts, home.attempts),
        }
    }

    /// Notes what the step just made reached, and does to the world what its faults want; the rest is for whoever made the step.
    pub(crate) fn settle(&mut self) -> Harm {
        let (harm, sites) = self.plan.take();
        for (site, fault) in sites {
            self.note(Event::Reached(site, fault));
        }
        match harm.clock {
            1 => self.clock.advance(self.too_long()),
            -1 => self.clock.go_back(self.too_long()),
            _ => {}
        }
        self.died |= harm.died;
        harm
    }

    pub(crate) fn note(&mut self, event: Event) {
        self.lines.push(Line { step: self.step, time: self.clock.now(), event });
    }
}
