//! One process: everything that is lost when it dies. Draws what happens next from all that could.
//!
//! Does what the runtime's actors do, one thing at a time: `supervise` is the supervisor's actor, `attempt` those of the coordinator and of the
//! subtasks.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use cofferdam_engine::{
    CheckpointId, Clock as _, Error, JobId, ProcessingTime,
    checkpoint::{
        coordinator::{CoordinatorInput, JobEnd},
        snapshot::{PreparedTransaction, SubtaskId},
    },
    opening::StoreSlot,
    supervisor::{Supervisor, SupervisorEffect},
    topology::plan::Plan,
};

use crate::{
    attempt::Running,
    call::{Call, Stage, Work},
    fault_plan::Harm,
    part::Move,
    post::{Party, Post, Request},
    trace::Event,
    world::World,
};

pub(crate) struct Process {
    pub(crate) supervisor: Supervisor,
    pub(crate) effects: VecDeque<SupervisorEffect>,
    /// When the supervisor wants to be asked again.
    pub(crate) wait_until: Option<ProcessingTime>,
    pub(crate) plan: Plan,
    pub(crate) store: StoreSlot,
    pub(crate) new_job: JobId,
    pub(crate) running: Option<Running>,
    pub(crate) is_opening: bool,
    /// The attempt is to be stopped as soon as it is open.
    pub(crate) is_stopping: bool,
    pub(crate) is_settling: bool,
    pub(crate) requests: Vec<Request>,
    pub(crate) next_checkpoint: CheckpointId,
    /// What the last attempt that ran has prepared and may not have published, with the `uid` of the sink.
    pub(crate) orphans: Vec<(String, PreparedTransaction)>,
    pub(crate) post: Post,
    pub(crate) calls: Vec<Call>,
    /// Parties that stand still, and until when.
    pub(crate) stalled: BTreeMap<Party, ProcessingTime>,
    weights: Weights,
    pub(crate) ended: Option<Result<JobEnd, Error>>,
}

/// How likely each is to be next: drawn once a process, so that some are slow.
struct Weights {
    post: u32,
    calls: u32,
    subtasks: Vec<u32>,
}

/// Steps between two looks whether what is known of subtasks is so.
const CHECK_EVERY: u64 = 64;

/// What can happen next.
#[derive(Clone, Copy)]
enum Choice {
    Data(SubtaskId, Move),
    Deliver((Party, Party)),
    Call(usize),
    TickCoordinator,
    TickSupervisor,
}

impl Process {
    pub(crate) fn new(plan: Plan, world: &mut World) -> Self {
        world.note(Event::ProcessStarted);
        let (supervisor, effects) = Supervisor::new(plan.settings().restart.clone(), world.clock.now());
        let random = &mut world.random;
        let new_job = JobId(u128::from(random.u64(..)));
        let mut weight = || 1 << random.u32(0..5);
        let weights = Weights { post: weight(), calls: weight(), subtasks: (0..16).map(|_| weight()).collect() };
        let mut process = Self {
            supervisor,
            effects: VecDeque::new(),
            wait_until: None,
            plan,
            store: StoreSlot::new(Arc::new(world.backend.clone())),
            new_job,
            running: None,
            is_opening: false,
            is_stopping: false,
            is_settling: false,
            requests: Vec::new(),
            next_checkpoint: CheckpointId(0),
            orphans: Vec::new(),
            post: Post::default(),
            calls: Vec::new(),
            stalled: BTreeMap::new(),
            weights,
            ended: None,
        };
        process.supervise(effects, world);
        process
    }

    /// Lets one thing happen. False if nothing can before time passes.
    pub(crate) fn act(&mut self, world: &mut World) -> bool {
        let choices = self.choices(world);
        let total: u32 = choices.iter().map(|(weight, _)| weight).sum();
        if total == 0 {
            return false;
        }
        let mut drawn = world.random.u32(0..total);
        for (weight, choice) in choices {
            if drawn < weight {
                self.take(choice, world);
                break;
            }
            drawn -= weight;
        }
        true
    }

    fn choices(&mut self, world: &World) -> Vec<(u32, Choice)> {
        let now = world.clock.now();
        let mut choices = Vec::new();
        let letters = self.post.pairs().filter(|(_, to)| !self.is_stalled(*to, now));
        choices.extend(letters.map(|pair| (self.weights.post, Choice::Deliver(pair))));
        for (number, call) in self.calls.iter().enumerate() {
            if call.not_before > now || self.is_stalled(call.party, now) {
                continue;
            }
            // Nothing else goes on while an attempt is being opened.
            let weight = if call.party == Party::Supervisor { 16 } else { self.weights.calls };
            choices.push((weight, Choice::Call(number)));
        }
        if self.wait_until.is_some_and(|time| time <= now) {
            choices.push((16, Choice::TickSupervisor));
        }
        let coordinator_is_stalled = self.is_stalled(Party::Coordinator, now);
        let Self { running: Some(running), stalled, .. } = self else { return choices };
        if !coordinator_is_stalled && running.coordinator_deadline().is_some_and(|time| time <= now) {
            choices.push((8, Choice::TickCoordinator));
        }
        for (number, (id, part)) in running.parts.iter_mut().enumerate() {
            if !world.paused.is_empty() && world.paused.contains(&part.subtask.name()) {
                continue;
            }
            if stalled.get(&Party::Subtask(*id)).is_some_and(|until| *until > now) {
                continue;
            }
            let moves = part.known_moves(&running.channels, now);
            let weight = self.weights.subtasks[number % self.weights.subtasks.len()];
            choices.extend(moves.iter().map(|data| (weight, Choice::Data(*id, *data))));
            if world.step.is_multiple_of(CHECK_EVERY) {
                let (known, mut anew) = (moves.to_vec(), Vec::new());
                part.moves(&running.channels, now, &mut anew);
                assert_eq!(known, anew, "step {}: of {id:?} something else is known than is so", world.step);
            }
        }
        choices
    }

    /// When something can happen that cannot yet.
    pub(crate) fn next_deadline(&mut self, now: ProcessingTime) -> Option<ProcessingTime> {
        self.stalled.retain(|_, until| *until > now);
        let calls = self.calls.iter().map(|call| call.not_before);
        let mut all: Vec<_> = calls.chain(self.wait_until).chain(self.stalled.values().copied()).collect();
        if let Some(running) = &mut self.running {
            all.extend(running.coordinator_deadline());
            all.extend(running.parts.values_mut().filter_map(|part| part.deadline(&running.channels)));
        }
        all.into_iter().min()
    }

    fn take(&mut self, choice: Choice, world: &mut World) {
        match choice {
            Choice::Data(id, data) => {
                world.note(Event::Data(id, data));
                self.move_data(id, data, world);
            }
            Choice::Deliver(pair) => self.deliver(pair, world),
            Choice::Call(number) => self.go_on_with(number, world),
            Choice::TickCoordinator => {
                world.note(Event::Ticked(Party::Coordinator));
                self.coordinate(world, CoordinatorInput::Tick);
            }
            Choice::TickSupervisor => {
                world.note(Event::Ticked(Party::Supervisor));
                self.wait_until = None;
                let effects = self.supervisor.tick(world.clock.now());
                self.supervise(effects, world);
            }
        }
    }

    fn deliver(&mut self, pair: (Party, Party), world: &mut World) {
        let Some(letter) = self.post.take(pair) else { return };
        let (from, to) = pair;
        let (word, checkpoint) = letter.message.summary();
        world.note(Event::Delivered(from, to, word, checkpoint));
        match (from, to) {
            (_, Party::Supervisor) => self.tell_supervisor(letter, world),
            (Party::Subtask(id), _) => self.tell_coordinator(Some(id), letter, world),
            (_, Party::Coordinator) => self.tell_coordinator(None, letter, world),
            (_, Party::Subtask(id)) => self.tell_subtask(id, letter, world),
        }
    }

    /// Whoever is stalled does nothing until then.
    fn is_stalled(&self, party: Party, now: ProcessingTime) -> bool {
        self.stalled.get(&party).is_some_and(|until| *until > now)
    }

    /// After a step of `party`'s: whether the process lives on, and the party with it.
    pub(crate) fn settle(&mut self, party: Party, world: &mut World) -> Harm {
        let harm = world.settle();
        if harm.stalled {
            self.stalled.insert(party, world.clock.now().after(world.too_long()));
        }
        harm
    }

    fn go_on_with(&mut self, number: usize, world: &mut World) {
        let call = self.calls.remove(number);
        let name = call.stage.name();
        match call.stage {
            Stage::Waiting(work) => {
                world.note(Event::CallRan(call.party, name));
                let copy = match &work {
                    Work::Commit(commit) | Work::CommitSavepoint(commit, _) => Some(commit.clone()),
                    _ => None,
                };
                let ran = work.run(&self.store, &self.plan);
                let harm = world.settle();
                if harm.late {
                    world.late_commits.extend(copy.map(|commit| *commit));
                }
                let delay = match &ran {
                    Stage::Waiting(_) => world.drawn_delay(),
                    Stage::Ran(_) if harm.stalled => world.too_long(),
                    Stage::Ran(_) => Duration::ZERO,
                };
                let not_before = world.clock.now().after(delay);
                self.calls.push(Call { stage: ran, not_before, ..call });
            }
            Stage::Ran(returned) => {
                world.note(Event::CallReturned(call.party, name));
                self.returned(call.party, call.attempt, returned, world);
            }
        }
    }
}
