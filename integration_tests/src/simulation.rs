//! A job, run by one thread in virtual time, with every choice drawn from a seed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use cofferdam_engine::{
    Attempt, CheckpointId, Clock as _, Error, ErrorKind,
    checkpoint::{coordinator::JobEnd, snapshot::CheckpointMetadata, store::StateBackend},
    fail_point::{FailPoints, Point},
    opening::StoreSlot,
    savepoint::{Choices, SavepointInfo},
    subtask::RecordCounts,
    topology::{Topology, plan::Plan},
};
use cofferdam_storage::Memory;

use crate::{
    clock::VirtualClock,
    fault_plan::{Means, ScheduledFaults},
    faults::Faults,
    order::Edges,
    post::Request,
    process::Process,
    savepoints::Savepoints,
    schedule::Injection,
    setup::Setup,
    store::RecordingBackend,
    trace::Event,
    world::{Home, World},
};

/// Steps without progress after which a run is given up.
const PATIENCE: u64 = 20_000;

/// Steps after which a run is given up, whatever it did.
const LIMIT: u64 = 1_000_000;

/// One job on one store, through any number of processes.
///
/// # Panics
/// A run panics, with its seed, when a promise is broken: a checkpoint announced before it is durable, a number used twice, a call that outlived its attempt, an older
/// checkpoint restored, or no progress for too long.
pub struct Simulation {
    seed: u64,
    world: World,
    topology: Box<dyn Fn() -> Topology>,
    process: Option<Process>,
}

impl Simulation {
    /// A job that `topology` makes anew for each process. Sinks in it must share what they published.
    pub fn new(seed: u64, mut setup: Setup, faults: Faults, topology: impl Fn() -> Topology + 'static) -> Self {
        let plan = Arc::new(ScheduledFaults::new(faults.injections.clone(), Means::Noted));
        setup.settings.fail_points = FailPoints::armed(plan.clone());
        let world = World {
            random: fastrand::Rng::with_seed(seed),
            clock: VirtualClock::default(),
            setup,
            faults,
            plan,
            edges: None,
            last_error: None,
            died: false,
            late_letters: Vec::new(),
            late_commits: Vec::new(),
            requests: BTreeMap::new(),
            backend: RecordingBackend::new(Arc::new(Memory::new())),
            choices: Choices::default(),
            savepoints: Savepoints::default(),
            step: 0,
            progress: 0,
            lines: Vec::new(),
            triggered: BTreeSet::new(),
            aborted: BTreeSet::new(),
            attempts: Vec::new(),
            restored_in_flight: 0,
            spilled: Arc::default(),
            paused: BTreeSet::new(),
        };
        Self { seed, world, topology: Box::new(topology), process: None }
    }

    /// Batches that were in flight in the checkpoints from which attempts went on.
    pub fn restored_in_flight(&self) -> usize {
        self.world.restored_in_flight
    }

    /// Bytes that loops have spilled.
    pub fn spilled(&self) -> u64 {
        self.world.spilled.load(Ordering::Relaxed)
    }

    /// Keeps checkpoints in another place than memory.
    #[must_use]
    pub fn backend(self, backend: impl StateBackend) -> Self {
        self.backend_shared(Arc::new(backend))
    }

    pub(crate) fn backend_shared(mut self, backend: Arc<dyn StateBackend>) -> Self {
        self.world.backend = RecordingBackend::new(backend);
        self
    }

    /// Notes what passes each edge. What a restart sends again counts again.
    pub(crate) fn watch(mut self, edges: Edges) -> Self {
        self.world.edges = Some(edges);
        self
    }

    /// The host asks for something in a step to come.
    pub fn request_at(mut self, step: u64, request: Request) -> Self {
        self.world.requests.insert(step, request);
        self
    }

    /// Subtasks of this name (their steps' names, ` -> ` between) get no turn from now on, or get it again. Meanwhile time passes only step by
    /// step, so that others do not skip to a timeout when they have nothing to do.
    pub fn pause(&mut self, name: &str, paused: bool) {
        if paused {
            self.world.paused.insert(name.to_string());
        } else {
            self.world.paused.remove(name);
        }
        self.world.progress = self.world.step;
    }

    /// The process dies, now.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Whoever starts the job next names this checkpoint to go back to, again and again until an attempt is open.
    pub fn restore_from(&mut self, checkpoint: CheckpointId) {
        self.world.choices.restore_from = Some(checkpoint);
    }

    /// Whoever starts the job next starts it from this savepoint, again and again until an attempt is open.
    pub fn from_savepoint(&mut self, path: impl Into<PathBuf>) {
        self.world.choices.from_savepoint = Some(path.into());
    }

    /// Writes savepoints into this directory, which is there.
    #[must_use]
    pub fn savepoints_in(mut self, directory: impl Into<PathBuf>) -> Self {
        self.world.savepoints.directory = directory.into();
        self
    }

    pub(crate) fn write_savepoints_to(&mut self, directory: &Path) {
        self.world.savepoints.directory = directory.to_owned();
    }

    /// Whoever starts the job from a savepoint gives up transactions that no sink finds.
    pub(crate) fn discard_prepared(&mut self) {
        self.world.choices.discard_prepared = true;
    }

    /// The process is gone, and the job goes on from a savepoint, in another place; gives back the one before.
    pub(crate) fn go_on_from(&mut self, savepoint: &Path, backend: Arc<dyn StateBackend>) -> Home {
        let home = Home { backend: RecordingBackend::new(backend), triggered: BTreeSet::new(), attempts: Vec::new() };
        let before = self.go_on_in(home);
        self.from_savepoint(savepoint);
        before
    }

    /// The process is gone, and the job goes on in a place where it was before.
    pub(crate) fn go_on_in(&mut self, home: Home) -> Home {
        self.process = None;
        self.world.choices.from_savepoint = None;
        self.world.setup.settings.heap_limit = home.backend.heap_limit();
        self.world.move_to(home)
    }

    /// Writes the savepoint of a job that has stopped; `None` if that fails, or the process dies.
    pub(crate) fn export_last(&mut self, path: PathBuf) -> Option<SavepointInfo> {
        let fail_points = self.world.setup.settings.fail_points.clone();
        let pinned = StoreSlot::new(Arc::new(self.world.backend.clone())).pin();
        let written = pinned.and_then(|pinned| self.world.savepoints.last(pinned, path).run(&fail_points));
        self.world.settle();
        // Named or not: who is dead goes on from nothing.
        written.ok().filter(|_| !std::mem::take(&mut self.world.died))
    }

    /// The savepoints that were written, and how many failed.
    pub fn savepoints(&self) -> (&[SavepointInfo], u32) {
        (&self.world.savepoints.written, self.world.savepoints.failed)
    }

    /// The host asks for something, now.
    pub fn request(&mut self, request: Request) {
        self.world.requests.insert(self.world.step + 1, request);
    }

    /// Changes the numbers that the next process runs with.
    pub fn set_up(&mut self, change: impl FnOnce(&mut Setup)) {
        change(&mut self.world.setup);
    }

    /// Runs the job until it ends, through as many processes as die; starts it again if it had ended.
    pub fn run(&mut self) -> Result<JobEnd, Error> {
        loop {
            if let Some(end) = self.run_steps(LIMIT) {
                return end;
            }
        }
    }

    /// As [`run`](Self::run), for `steps` steps at most; `None` if it is not over then.
    pub fn run_steps(&mut self, steps: u64) -> Option<Result<JobEnd, Error>> {
        let last = self.world.step + steps;
        while self.world.step < last {
            let mut process = match self.process.take() {
                Some(process) => process,
                None => self.start_process(),
            };
            let alive = self.step(&mut process);
            if let Some(end) = process.ended.take() {
                if self.was_refused_by_a_fault(&end) {
                    continue;
                }
                let how = end.as_ref().map_or_else(Error::to_string, |end| format!("{end:?}"));
                self.world.note(Event::Ended(how));
                return Some(end);
            }
            self.process = alive.then_some(process);
        }
        None
    }

    /// A process's first attempt takes a sink that cannot have its place for a refusal. Whoever had started the job would do so again.
    fn was_refused_by_a_fault(&self, end: &Result<JobEnd, Error>) -> bool {
        const PLACE: [Point; 4] = [Point::OwnerBefore, Point::OwnerAfter, Point::ClaimBefore, Point::ClaimAfter];
        let last = self.world.plan.done().pop();
        end.as_ref().is_err_and(|error| error.kind() == ErrorKind::Refused)
            && last.is_some_and(|injection| PLACE.contains(&injection.point))
    }

    fn start_process(&mut self) -> Process {
        match Plan::new((self.topology)(), self.world.setup.settings.clone()) {
            Ok(plan) => Process::new(plan, &mut self.world),
            Err(error) => panic!("{error}"),
        }
    }

    /// One step of the process; whether it lives on.
    fn step(&mut self, process: &mut Process) -> bool {
        let world = &mut self.world;
        world.step += 1;
        let longest = u64::try_from(world.setup.step_time.as_nanos()).unwrap_or(u64::MAX);
        let passes = Duration::from_nanos(world.random.u64(0..=longest));
        world.clock.advance(passes);
        let due = world.faults.due(world.step, &mut world.random);
        for (point, fault) in due {
            world.note(Event::Armed(point, fault));
            world.plan.arm(point, fault);
        }
        if let Some(request) = world.requests.remove(&world.step) {
            world.note(Event::Request(request));
            process.request(request, world);
        }
        if process.ended.is_none() && !process.act(world) {
            match process.next_deadline(world.clock.now()).filter(|_| world.paused.is_empty()) {
                Some(time) => world.clock.advance_to(time),
                None if world.paused.is_empty() => self.give_up(process, "nothing can ever happen again"),
                None => {}
            }
        }
        if self.world.paused.is_empty() && self.world.step - self.world.progress > PATIENCE {
            self.give_up(process, "no progress for too long");
        }
        if self.world.step > LIMIT {
            self.give_up(process, "no end in sight");
        }
        !std::mem::take(&mut self.world.died)
    }

    fn give_up(&mut self, process: &mut Process, why: &str) {
        let mut state = String::new();
        if let Some(running) = &mut process.running {
            for part in running.parts.values_mut() {
                // Writing to a string cannot fail.
                let _ = writeln!(state, "{}", part.describe(&running.channels, &self.world.clock));
            }
            let _ = writeln!(state, "coordinator: deadline {:?}", running.coordinator_deadline());
        }
        let first = self.world.lines.len().saturating_sub(60);
        self.world.lines[first..].iter().for_each(|line| {
            let _ = writeln!(state, "{line}");
        });
        let error = self.world.last_error.as_ref();
        let error = error.map_or_else(String::new, |error| format!("; the last attempt that failed: {error}"));
        panic!("seed {}, step {}: {why}{error}\n{state}", self.seed, self.world.step);
    }

    /// Everything that happened, a line each. The same for the same topology, setup, faults, requests and seed.
    pub fn trace(&self) -> String {
        self.world.lines.iter().fold(String::new(), |mut text, line| {
            let _ = writeln!(text, "{line}");
            text
        })
    }

    /// How often each fail point was reached.
    pub fn reached(&self) -> BTreeMap<Point, u32> {
        self.world.plan.reached()
    }

    /// What has gone wrong, in order.
    pub fn injected(&self) -> Vec<Injection> {
        self.world.plan.done()
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.world.step
    }

    /// Every checkpoint that became durable, and the attempt that took it.
    pub fn committed(&self) -> Vec<(Attempt, CheckpointId)> {
        self.world.backend.committed()
    }

    /// The record of the newest checkpoint that became durable.
    pub fn stored(&self) -> Option<CheckpointMetadata> {
        self.world.backend.metadata()
    }

    /// Every checkpoint that was triggered, and the attempt that did.
    pub fn triggered(&self) -> &BTreeSet<(Attempt, CheckpointId)> {
        &self.world.triggered
    }

    /// Every checkpoint that was aborted.
    pub fn aborted(&self) -> &BTreeSet<CheckpointId> {
        &self.world.aborted
    }

    /// Every attempt, and the checkpoint that it went on from.
    pub fn attempts(&self) -> &[(Attempt, CheckpointId)] {
        &self.world.attempts
    }

    /// Records that passed subtasks of this name in the attempt under way.
    pub fn records(&mut self, name: &str) -> RecordCounts {
        let running = self.process.as_mut().and_then(|process| process.running.as_mut());
        let parts = running.into_iter().flat_map(|running| running.parts.values());
        parts.filter(|part| part.subtask.name() == name).fold(RecordCounts::default(), |sum, part| RecordCounts {
            records_in: sum.records_in + part.records.records_in,
            records_out: sum.records_out + part.records.records_out,
            late_records: sum.late_records + part.records.late_records,
        })
    }
}
