//! Every state of the job and every step between them.

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::{
        config::{CheckpointConfig, CheckpointMode},
        coordinator::{CoordinatorEffect, CoordinatorInput, SubtaskReport},
        layout::JobLayout,
        participant::ParticipantEffect,
        snapshot::PreparedTransaction,
        store::CommitStats,
    },
    subtask::Control,
};
use parking_lot::Mutex;
use stateright::{Model, Property};

use crate::{
    durable::{Place, Stored, encode, transaction},
    job::{Job, NodeIndex, Record, Role},
    node::{Node, NodeEffect},
    properties,
    running::{Pending, Running, forged},
    shared::Shared,
};

/// A mistake made on purpose, which the properties must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// The last subtask's acknowledgement is taken for granted.
    ForgedAcknowledgement,
    /// The gates do not wait for the other channels' barriers.
    NoAlignment,
    /// A restart does not wait until the calls of the attempt before have returned.
    HastyRestart,
    /// A restart does not publish what the checkpoint carries.
    ForgottenTransaction,
    /// A sink publishes what it was to prepare.
    EarlyPublication,
    /// The completion is announced when the checkpoint is handed to the store.
    EarlyCompletion,
    /// A pending checkpoint is waited for without end.
    NoTimeout,
    /// A restart forgets the records that were in flight.
    NotPutBack,
    /// A snapshot is acknowledged before all that was in flight is known.
    EarlyAcknowledgement,
    /// A loop is ended as soon as its sources have finished.
    EarlyLoopEnd,
}

/// How long after its trigger a barrier overtakes: longer than all that is explored takes, so that it is of no matter what else happens meanwhile.
pub const ALIGNED_TIMEOUT: Duration = Duration::from_secs(1000);

/// What is explored, and how far.
pub struct ProtocolModel {
    pub job: Job,
    pub layout: Arc<JobLayout>,
    /// Checkpoints that may be triggered.
    pub checkpoints: u64,
    /// Checkpoints that may be under way at once.
    pub concurrent: u32,
    /// Whether barriers overtake, each at whatever moment.
    pub unaligned: bool,
    /// Whether a checkpoint may time out with barriers, reports and calls of it still under way: so that two numbers are alive.
    pub overlap: bool,
    /// Whether the input ends.
    pub ends: bool,
    pub losses: u8,
    pub failures: u8,
    pub mistake: Option<Mistake>,
    /// States from which the next checkpoint is known to come.
    pub live: Mutex<HashSet<u64>>,
}

/// Work that was handed out, and has not returned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    PreCommit(NodeIndex, CheckpointId, Vec<Record>),
    Publish(NodeIndex, CheckpointId, Vec<PreparedTransaction>),
    /// `whole` if every subtask's acknowledgement had come.
    Commit {
        stored: Box<Stored>,
        whole: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    pub attempt: Attempt,
    pub work: Work,
}

impl Call {
    /// The order in which calls are kept: which was made first is of no matter.
    fn rank(&self) -> (u64, usize, usize) {
        let (kind, node) = match &self.work {
            Work::PreCommit(node, ..) => (0, *node),
            Work::Publish(node, ..) => (1, *node),
            Work::Commit { .. } => (2, 0),
        };
        (self.attempt.0, kind, node)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub attempt: Attempt,
    /// The least number that the next attempt may use.
    pub next: CheckpointId,
    /// `None` between a failure and the restart, and when the job is done.
    pub running: Option<Running>,
    pub calls: Vec<Call>,
    pub store: Shared<Stored>,
    pub place: Shared<Place>,
    pub losses: u8,
    pub failures: u8,
    pub done: bool,
    /// The coordinator failed by itself.
    pub broken: bool,
}

impl State {
    /// The attempt is over, but for its calls.
    fn stop(&mut self, next: CheckpointId) {
        self.running = None;
        self.failures += 1;
        self.next = next;
    }

    /// Whether the newest checkpoint has the record in its cut.
    pub fn is_counted(&self, job: &Job, record: Record) -> bool {
        let (source, position) = job.origin(record);
        position < self.store.positions[source]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next element of a channel is taken.
    Receive(NodeIndex, usize),
    /// A subtask goes on with what it has.
    Turn(NodeIndex),
    /// The moment comes for a barrier in a channel to overtake.
    Overtake(NodeIndex, usize),
    /// The moment comes for a barrier that the gate knows of.
    Switch(NodeIndex),
    Control(NodeIndex),
    Report(NodeIndex),
    LoseControl(NodeIndex),
    LoseReport(NodeIndex),
    /// A call does its work and returns.
    Return(usize),
    /// After a failure: the first call ends without having done its work.
    Vanish,
    Emit(NodeIndex),
    /// Time passes up to the coordinator's deadline.
    Tick,
    /// The attempt fails.
    Fail,
    /// The process dies: numbers that no checkpoint was stored under may come again.
    Die,
    Restart,
}

impl ProtocolModel {
    /// Without faults, and without an end of the input.
    pub fn new(job: Job, checkpoints: u64) -> Self {
        Self {
            job,
            layout: job.layout(),
            checkpoints,
            concurrent: 1,
            unaligned: false,
            overlap: false,
            ends: false,
            losses: 0,
            failures: 0,
            mistake: None,
            live: Mutex::default(),
        }
    }

    /// With less time for a checkpoint than until the next needs its place, each trigger has its moment, whatever happened before.
    pub fn config(&self) -> CheckpointConfig {
        let every = CheckpointConfig::every(Duration::from_nanos(2));
        let config = every.timeout(self.timeout()).max_concurrent(self.concurrent);
        if self.unaligned { config.unaligned(ALIGNED_TIMEOUT) } else { config }
    }

    fn timeout(&self) -> Duration {
        Duration::from_nanos(2 * u64::from(self.concurrent) - 1)
    }

    pub fn mode(&self) -> CheckpointMode {
        if self.mistake == Some(Mistake::NoAlignment) {
            CheckpointMode::AtLeastOnce
        } else {
            CheckpointMode::ExactlyOnce
        }
    }

    /// What can happen without a fault, what is under way before what is new, and what only time brings at the end.
    pub fn faultless(&self, state: &State, actions: &mut Vec<Action>) {
        if self.mistake == Some(Mistake::EarlyLoopEnd) && !properties::is_empty(self, state) {
            // No gate takes a record after the end.
            return;
        }
        let Some(running) = &state.running else {
            if !state.calls.is_empty() {
                actions.push(Action::Return(0));
            } else if !state.done {
                actions.push(Action::Restart);
            }
            return;
        };
        for node in 0..self.job.nodes() {
            let channels = (0..self.job.inputs(node)).filter(|channel| running.nodes[node].can_receive(*channel));
            actions.extend(channels.map(|channel| Action::Receive(node, channel)));
        }
        let nodes = || 0..self.job.nodes();
        actions.extend(nodes().filter(|node| running.nodes[*node].can_turn()).map(Action::Turn));
        actions.extend(nodes().filter(|node| !running.controls[*node].is_empty()).map(Action::Control));
        actions.extend(nodes().filter(|node| !running.reports[*node].is_empty()).map(Action::Report));
        actions.extend((0..state.calls.len()).map(Action::Return));
        let is_quiet = actions.is_empty();
        let emitting = nodes().filter(|node| running.nodes[*node].can_emit(&self.job, self.ends));
        actions.extend(emitting.map(Action::Emit));
        if self.may_tick(state, running, is_quiet) {
            actions.push(Action::Tick);
        }
        for node in nodes().filter(|_| self.unaligned) {
            let channels = (0..self.job.inputs(node)).filter(|channel| running.nodes[node].can_overtake(*channel));
            actions.extend(channels.map(|channel| Action::Overtake(node, channel)));
            actions.extend(running.nodes[node].can_switch().then_some(Action::Switch(node)));
        }
    }

    fn may_tick(&self, state: &State, running: &Running, is_quiet: bool) -> bool {
        let may = match (running.is_expiring(), state.store.finished) {
            (true, _) => (is_quiet || self.overlap) && self.mistake != Some(Mistake::NoTimeout),
            // The last completion is announced again only when the first is no longer under way: else there were no end of states.
            (false, true) => is_quiet,
            (false, false) => true,
        };
        may && running.deadline().is_some()
    }

    /// That a loop has ended is told once.
    fn may_lose_control(&self, running: &Running, node: NodeIndex) -> bool {
        running.controls[node].front().is_some_and(|control| *control != Control::EndLoop)
    }

    /// That the input has ended is told once; snapshots say it too, but where barriers overtake, a loop is not looked at before it is told.
    fn may_lose_report(&self, running: &Running, node: NodeIndex) -> bool {
        let is_needed =
            |report: &SubtaskReport| self.unaligned && self.job.has_loop() && *report == SubtaskReport::Finished;
        running.reports[node].front().is_some_and(|report| !is_needed(report))
    }

    fn restart(&self, state: &mut State) {
        state.attempt = state.attempt.next();
        let forgets = self.mistake == Some(Mistake::ForgottenTransaction);
        let carried = if forgets { &[] } else { &state.store.carried[..] };
        state.place.change(|place| place.recover(carried));
        state.next = state.next.max(state.store.checkpoint.next());
        state.done = state.store.finished;
        state.running = (!state.done).then(|| Running::new(self, state.attempt, state.next, &state.store));
    }

    /// Tells the coordinator, and carries out what it wants.
    fn coordinate(&self, state: &mut State, input: CoordinatorInput) {
        let Some(running) = &mut state.running else { return };
        let Ok(effects) = running.ask_coordinator(input) else {
            state.broken = true;
            return;
        };
        let mut committing = None;
        for effect in effects {
            match effect {
                CoordinatorEffect::Trigger(barrier) => {
                    let expires = barrier.triggered.after(self.timeout());
                    running.pending.insert(barrier.checkpoint, Pending { expires, acknowledged: BTreeSet::new() });
                    running.tell(self.job.range(Role::Source), Control::Trigger(barrier));
                }
                // A gate without channels has nothing to cancel, and who is no sink nothing to publish: they are not told.
                CoordinatorEffect::Aborted(checkpoint) => {
                    running.pending.remove(&checkpoint);
                    running.tell(self.job.sources..self.job.nodes(), Control::Aborted(checkpoint));
                }
                CoordinatorEffect::Completed(checkpoint) => {
                    running.tell(self.job.range(Role::Sink), Control::Completed(checkpoint));
                }
                CoordinatorEffect::Commit(commit) => {
                    let checkpoint = commit.metadata.checkpoint;
                    let pending = running.pending.remove(&checkpoint);
                    let whole = pending.is_some_and(|pending| pending.acknowledged.len() == self.job.nodes());
                    committing = Some(checkpoint);
                    let stored = Box::new(Stored::new(&self.job, commit.metadata));
                    state.calls.push(Call { attempt: state.attempt, work: Work::Commit { stored, whole } });
                }
                CoordinatorEffect::Done(_) => state.done = true,
                CoordinatorEffect::EndLoop(_) => running.tell(self.job.range(Role::Operator), Control::EndLoop),
                CoordinatorEffect::Record(_) | CoordinatorEffect::EndInput => {}
                // No source is aligned.
                CoordinatorEffect::Limit(_) => {}
                // Nobody asks for one.
                CoordinatorEffect::CommitSavepoint(..) | CoordinatorEffect::SavepointFailed(..) => {}
            }
        }
        if state.done {
            state.running = None;
        }
        state.calls.sort_by_key(Call::rank);
        if let Some(checkpoint) = committing.filter(|_| self.mistake == Some(Mistake::EarlyCompletion)) {
            self.coordinate(state, CoordinatorInput::Committed(checkpoint, CommitStats::default()));
        }
    }

    fn report(&self, state: &mut State, node: NodeIndex, report: SubtaskReport) {
        let Some(running) = &mut state.running else { return };
        running.note(node, &report);
        if self.mistake == Some(Mistake::EarlyLoopEnd) && report == SubtaskReport::Finished && node < self.job.sources {
            running.tell(self.job.range(Role::Operator), Control::EndLoop);
        }
        let last = self.job.nodes() - 1;
        let forged = match &report {
            SubtaskReport::Acknowledged(checkpoint, snapshot)
                if self.mistake == Some(Mistake::ForgedAcknowledgement) =>
            {
                Some(forged(*checkpoint, snapshot))
            }
            _ => None,
        };
        self.coordinate(state, CoordinatorInput::Report(self.job.id(node), report));
        if let Some(forged) = forged {
            self.coordinate(state, CoordinatorInput::Report(self.job.id(last), forged));
        }
    }

    /// Lets a subtask do something, and carries out what it wants.
    fn step(&self, state: &mut State, node: NodeIndex, step: impl FnOnce(&mut Node) -> Vec<NodeEffect>) {
        let Some(running) = &mut state.running else { return };
        for effect in running.nodes[node].change(step) {
            let mut call = |work| state.calls.push(Call { attempt: state.attempt, work });
            match effect {
                NodeEffect::Send(to, channel, element) => {
                    running.nodes[to].change(|to| to.inputs[channel].push_back(element));
                }
                NodeEffect::Report(report) => running.reports[node].push_back(report),
                NodeEffect::Participant(effect) => match effect {
                    ParticipantEffect::PreCommit(checkpoint, records) => {
                        call(Work::PreCommit(node, checkpoint, records));
                    }
                    ParticipantEffect::Publish(checkpoint, due, _) => call(Work::Publish(node, checkpoint, due)),
                    ParticipantEffect::Acknowledge(checkpoint, snapshot) => {
                        running.reports[node].push_back(SubtaskReport::Acknowledged(checkpoint, snapshot));
                    }
                    ParticipantEffect::Published(checkpoint) => {
                        running.reports[node].push_back(SubtaskReport::Published(checkpoint));
                    }
                },
            }
        }
        state.calls.sort_by_key(Call::rank);
    }

    /// A call does its work, and its attempt, if it is still there, hears of it.
    fn call_returns(&self, state: &mut State, call: usize) {
        let Call { attempt, work } = state.calls.remove(call);
        let is_heard = attempt == state.attempt && state.running.is_some();
        match work {
            Work::PreCommit(node, checkpoint, records) => {
                let prepared = (!records.is_empty()).then(|| encode(attempt, node, &records));
                if let Some(bytes) = &prepared {
                    state.place.change(|place| {
                        place.pending.insert((checkpoint, bytes.clone()));
                        if self.mistake == Some(Mistake::EarlyPublication) {
                            place.publish((checkpoint, bytes.clone()));
                        }
                    });
                }
                if is_heard {
                    self.step(state, node, |node| node.pre_committed(checkpoint, prepared));
                }
            }
            Work::Publish(node, checkpoint, due) => {
                state.place.change(|place| due.iter().for_each(|prepared| place.publish(transaction(prepared))));
                if is_heard {
                    self.step(state, node, |node| node.published(checkpoint));
                }
            }
            // The store's own fence: an attempt before the newest is refused.
            Work::Commit { .. } if attempt != state.attempt => {}
            Work::Commit { stored, .. } => {
                let checkpoint = stored.checkpoint;
                state.store = Shared::new(*stored);
                self.coordinate(state, CoordinatorInput::Committed(checkpoint, CommitStats::default()));
            }
        }
    }
}

impl Model for ProtocolModel {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let store = Shared::new(Stored::genesis(&self.job));
        let (attempt, next) = (Attempt(1), CheckpointId(1));
        vec![State {
            attempt,
            next,
            running: Some(Running::new(self, attempt, next, &store)),
            calls: Vec::new(),
            store,
            place: Shared::new(Place::default()),
            losses: 0,
            failures: 0,
            done: false,
            broken: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.faultless(state, actions);
        let Some(running) = &state.running else {
            if !state.calls.is_empty() {
                actions.push(Action::Vanish);
                if self.mistake == Some(Mistake::HastyRestart) {
                    actions.push(Action::Restart);
                }
            }
            return;
        };
        let may_lose = state.losses < self.losses;
        let nodes = 0..self.job.nodes();
        // Without an overlap nothing overtakes a report: it comes before anything else, or is lost.
        if let Some(node) = nodes.clone().find(|node| !self.overlap && !running.reports[*node].is_empty()) {
            actions.clear();
            actions.push(Action::Report(node));
            actions.extend((may_lose && self.may_lose_report(running, node)).then_some(Action::LoseReport(node)));
            return;
        }
        if may_lose {
            actions.extend(nodes.clone().filter(|n| self.may_lose_control(running, *n)).map(Action::LoseControl));
            actions.extend(nodes.filter(|n| self.may_lose_report(running, *n)).map(Action::LoseReport));
        }
        if state.failures < self.failures {
            actions.extend([Action::Fail, Action::Die]);
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        let mut state = before.clone();
        match action {
            Action::Receive(node, channel) => self.step(&mut state, node, |node| node.receive(&self.job, channel)),
            Action::Turn(node) => self.step(&mut state, node, |node| node.turn(&self.job)),
            Action::Overtake(node, channel) => self.step(&mut state, node, |node| node.overtake(&self.job, channel)),
            Action::Switch(node) => self.step(&mut state, node, |node| node.switch(&self.job)),
            Action::Emit(node) => self.step(&mut state, node, |node| node.emit(&self.job)),
            Action::Control(node) => {
                let control = state.running.as_mut()?.controls[node].pop_front()?;
                self.step(&mut state, node, |node| node.control(&self.job, control));
            }
            Action::Report(node) => {
                let report = state.running.as_mut()?.reports[node].pop_front()?;
                self.report(&mut state, node, report);
            }
            Action::LoseControl(node) => {
                state.running.as_mut()?.controls[node].pop_front()?;
                state.losses += 1;
            }
            Action::LoseReport(node) => {
                state.running.as_mut()?.reports[node].pop_front()?;
                state.losses += 1;
            }
            Action::Return(call) => self.call_returns(&mut state, call),
            Action::Vanish => drop(state.calls.remove(0)),
            Action::Tick => {
                let running = state.running.as_mut()?;
                running.now = running.deadline()?;
                self.coordinate(&mut state, CoordinatorInput::Tick);
            }
            Action::Fail => {
                let next = state.running.as_ref()?.next_checkpoint();
                state.stop(next);
            }
            Action::Die => state.stop(CheckpointId(0)),
            Action::Restart => self.restart(&mut state),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        properties::all(self)
    }

    fn within_boundary(&self, state: &State) -> bool {
        state.running.as_ref().is_none_or(|running| running.next_checkpoint().0 <= self.checkpoints + 1)
    }
}
