//! The machines of one attempt: what the actors of the coordinator and of the subtasks do.

use std::collections::BTreeMap;

use cofferdam_engine::{
    Attempt, ChannelIndex, CheckpointId, Clock as _, Error, ErrorKind, ProcessingTime,
    checkpoint::{
        coordinator::{Coordinator, CoordinatorEffect, CoordinatorInput},
        snapshot::SubtaskId,
        source_alignment::Limit,
        store::CommitStats,
    },
    mutation::{self, Mutation},
    subtask::{Completion, Control, SubtaskEffect, SubtaskInput},
};

use crate::{
    call::{Call, Returned, Work},
    fault_plan::Harm,
    known_time::KnownTime,
    part::{Channels, Move, Part, State},
    post::{Letter, Message, Party, Request},
    process::Process,
    world::World,
};

pub(crate) struct Running {
    pub(crate) attempt: Attempt,
    pub(crate) coordinator: Coordinator,
    pub(crate) is_committing: bool,
    pub(crate) coordinator_state: State,
    pub(crate) parts: BTreeMap<SubtaskId, Part>,
    pub(crate) channels: Channels,
    /// Who writes to each of them.
    pub(crate) senders: BTreeMap<(SubtaskId, ChannelIndex), SubtaskId>,
    /// The newest checkpoint triggered.
    pub(crate) triggered: CheckpointId,
    /// What the newest checkpoint knows of time.
    pub(crate) known_time: KnownTime,
    /// Parts, the coordinator among them, that have not reported that they stopped.
    pub(crate) left: usize,
}

impl Running {
    pub(crate) fn coordinator_deadline(&self) -> Option<ProcessingTime> {
        self.coordinator.deadline().filter(|_| self.coordinator_state == State::Running)
    }

    fn sources(&self) -> Vec<SubtaskId> {
        self.parts.iter().filter(|(_, part)| part.is_source).map(|(id, _)| *id).collect()
    }

    fn all(&self) -> Vec<SubtaskId> {
        self.parts.keys().copied().collect()
    }

    /// Those at the other end of the channels that a move changes may have something else to do then.
    fn touch_neighbours(&mut self, id: SubtaskId, data: Move) {
        let Self { parts, senders, .. } = self;
        let part = &parts[&id];
        let neighbours = match data {
            Move::Resume | Move::Flush => Vec::new(),
            Move::Send(channel) => vec![part.outputs[channel.index()].0],
            Move::Read(channel) => senders.get(&(id, channel)).copied().into_iter().collect(),
            Move::Overtake => {
                let senders = (0..part.inputs as u32).filter_map(|channel| senders.get(&(id, ChannelIndex(channel))));
                senders.chain(part.outputs.iter().map(|(to, _)| to)).copied().collect()
            }
        };
        for neighbour in neighbours {
            if let Some(part) = parts.get_mut(&neighbour) {
                part.touch();
            }
        }
    }

    /// Numbers are never used twice, and grow.
    fn check_number(&mut self, checkpoint: CheckpointId, world: &mut World) {
        assert!(world.triggered.insert((self.attempt, checkpoint)), "checkpoint {checkpoint} was triggered before");
        assert!(checkpoint > self.triggered, "checkpoint {checkpoint} triggered after {}", self.triggered);
        let newest = world.backend.newest();
        assert!(newest.is_some_and(|newest| newest < checkpoint), "{newest:?} is stored, {checkpoint} triggered");
        self.triggered = checkpoint;
    }
}

impl Process {
    /// Asks the coordinator, and carries out what it wants.
    pub(crate) fn coordinate(&mut self, world: &mut World, input: CoordinatorInput) {
        let Some(running) = &mut self.running else { return };
        let attempt = running.attempt;
        let effects = running.coordinator.step(input, world.clock.now());
        let harm = self.settle(Party::Coordinator, world);
        let Self { running: Some(running), post, calls, .. } = self else { return };
        if harm.died {
            return;
        }
        let effects = match effects {
            Ok(effects) => effects,
            Err(error) => {
                return post.send(Party::Coordinator, Party::Supervisor, attempt, Message::Failed(error));
            }
        };
        let mut tell = |to: Vec<SubtaskId>, control| {
            to.into_iter()
                .for_each(|id| post.send(Party::Coordinator, Party::Subtask(id), attempt, Message::Control(control)));
        };
        let mut done = None;
        for effect in effects {
            match effect {
                CoordinatorEffect::Trigger(barrier) => {
                    running.check_number(barrier.checkpoint, world);
                    tell(running.sources(), Control::Trigger(barrier));
                }
                CoordinatorEffect::EndLoop(chain) => {
                    let heads = running.all().into_iter().filter(|id| id.chain == chain);
                    tell(heads.collect(), Control::EndLoop);
                }
                CoordinatorEffect::EndInput => tell(running.sources(), Control::EndInput),
                CoordinatorEffect::Limit(Limit { subtask, group, slowest }) => {
                    tell(vec![subtask], Control::Limit(group, slowest));
                }
                CoordinatorEffect::Completed(checkpoint) => {
                    let stored = world.backend.committed().contains(&(attempt, checkpoint));
                    assert!(stored, "checkpoint {checkpoint} was announced before it was durable");
                    tell(running.all(), Control::Completed(checkpoint));
                }
                CoordinatorEffect::Aborted(checkpoint) => {
                    world.aborted.insert(checkpoint);
                    tell(running.all(), Control::Aborted(checkpoint));
                }
                CoordinatorEffect::Commit(commit) => {
                    running.known_time.go_on(&commit.metadata);
                    running.is_committing = true;
                    calls.push(Call::new(Party::Coordinator, attempt, Work::Commit(commit), world));
                }
                CoordinatorEffect::CommitSavepoint(commit, tickets) => {
                    running.known_time.go_on(&commit.metadata);
                    running.is_committing = true;
                    // One is as good as all of them.
                    world.savepoints.failed += tickets.len() as u32 - 1;
                    let work = Work::CommitSavepoint(commit, tickets[0]);
                    calls.push(Call::new(Party::Coordinator, attempt, work, world));
                }
                CoordinatorEffect::SavepointFailed(tickets, _) => world.savepoints.failed += tickets.len() as u32,
                CoordinatorEffect::Record(_) => {}
                CoordinatorEffect::Done(end) => done = Some(end),
            }
        }
        if let Some(end) = done {
            post.send(Party::Coordinator, Party::Supervisor, attempt, Message::Done(end));
        }
    }

    pub(crate) fn tell_coordinator(&mut self, from: Option<SubtaskId>, letter: Letter, world: &mut World) {
        let Some(running) = self.running.as_mut().filter(|running| running.attempt == letter.attempt) else { return };
        let is_running = running.coordinator_state == State::Running;
        match (from, letter.message) {
            (_, Message::Stop) => {
                running.coordinator_state = State::Stopping;
                self.if_coordinator_stopped();
            }
            (_, Message::Request(Request::Stop)) if is_running => self.coordinate(world, CoordinatorInput::Stop),
            (_, Message::Request(Request::Drain)) if is_running => self.coordinate(world, CoordinatorInput::Drain),
            (_, Message::Request(Request::Savepoint)) if is_running => {
                let ticket = world.savepoints.ticket();
                self.coordinate(world, CoordinatorInput::Savepoint(ticket));
            }
            (Some(id), Message::Report(report)) if is_running => {
                self.coordinate(world, CoordinatorInput::Report(id, report));
            }
            _ => {}
        }
    }

    pub(crate) fn tell_subtask(&mut self, id: SubtaskId, letter: Letter, world: &mut World) {
        let Some(running) = self.running.as_mut().filter(|running| running.attempt == letter.attempt) else { return };
        let Some(part) = running.parts.get_mut(&id) else { return };
        match letter.message {
            Message::Control(control) if part.state == State::Running => {
                let harm = self.step(id, world, |part, world| {
                    part.step(SubtaskInput::Control(control), &world.clock, world.setup.slice_records)
                });
                if harm.late {
                    let copy = Letter { attempt: letter.attempt, message: Message::Control(control) };
                    world.late_letters.push(((Party::Coordinator, Party::Subtask(id)), copy));
                }
            }
            Message::Stop => {
                part.state = State::Stopping;
                self.calls.retain(|call| call.party != Party::Subtask(id) || call.request().is_none());
                // What only waits to be tried again is not tried any more.
                let now = world.clock.now();
                let before = self.calls.len();
                self.calls.retain(|call| call.party != Party::Subtask(id) || !call.is_paused(now));
                part.calls -= before - self.calls.len();
                self.if_subtask_stopped(id);
            }
            _ => {}
        }
    }

    pub(crate) fn move_data(&mut self, id: SubtaskId, data: Move, world: &mut World) {
        let Some(running) = &mut self.running else { return };
        running.touch_neighbours(id, data);
        let mut channels = std::mem::take(&mut running.channels);
        self.step(id, world, |part, world| part.make(data, &mut channels, &world.clock, world.setup.slice_records));
        if let Some(running) = &mut self.running {
            running.channels = channels;
        }
    }

    /// Lets a subtask do something, and carries out what it wants.
    fn step(
        &mut self,
        id: SubtaskId,
        world: &mut World,
        step: impl FnOnce(&mut Part, &World) -> Result<Vec<SubtaskEffect>, Error>,
    ) -> Harm {
        let Some(running) = &mut self.running else { return Harm::default() };
        let attempt = running.attempt;
        let Some(part) = running.parts.get_mut(&id) else { return Harm::default() };
        let before = part.records;
        let effects = step(part, world);
        let moved = part.records != before;
        let harm = self.settle(Party::Subtask(id), world);
        if harm.died {
            return harm;
        }
        if moved {
            assert!(world.backend.newest().is_some(), "a record was read before checkpoint 0 was stored");
            world.progress = world.step;
        }
        let Self { running: Some(running), post, calls, .. } = self else { return harm };
        let Some(part) = running.parts.get_mut(&id) else { return harm };
        if harm.late {
            post.copy();
        }
        let from = Party::Subtask(id);
        match effects {
            Ok(effects) => {
                for effect in effects {
                    match effect {
                        SubtaskEffect::PreCommit(checkpoint, call) => {
                            part.calls += 1;
                            calls.push(Call::new(from, attempt, Work::PreCommit(checkpoint, call), world));
                        }
                        SubtaskEffect::Publish(checkpoint, call, pause) => {
                            part.calls += 1;
                            let call = Call::new(from, attempt, Work::Publish(checkpoint, call), world);
                            calls.push(Call { not_before: world.clock.now().after(pause), ..call });
                        }
                        SubtaskEffect::Ask(id, request) => {
                            let call = Call::new(from, attempt, Work::Ask(id, request), world);
                            let not_before = world.clock.now().after(world.drawn_delay());
                            calls.push(Call { not_before, ..call });
                        }
                        SubtaskEffect::Forget(id) => {
                            calls.retain(|call| call.party != from || call.request() != Some(id));
                        }
                        SubtaskEffect::Report(report) => {
                            post.send(from, Party::Coordinator, attempt, Message::Report(report));
                        }
                    }
                }
            }
            Err(error) => self.fail_subtask(id, error),
        }
        world.late_letters.extend(self.post.take_copies());
        harm
    }

    /// A subtask does no more, and says why.
    pub(crate) fn fail_subtask(&mut self, id: SubtaskId, error: Error) {
        let Some(running) = &mut self.running else { return };
        if let Some(part) = running.parts.get_mut(&id) {
            part.state = State::Failed;
            self.calls.retain(|call| call.party != Party::Subtask(id) || call.request().is_none());
            self.post.send(Party::Subtask(id), Party::Supervisor, running.attempt, Message::Failed(error));
        }
    }

    /// A call of the attempt's has returned.
    pub(crate) fn returned(&mut self, party: Party, attempt: Attempt, returned: Returned, world: &mut World) {
        match (party, returned) {
            (Party::Subtask(id), Returned::Completion(Completion::Answered(request))) => {
                self.step(id, world, |part, world| {
                    let answered = SubtaskInput::Completion(Completion::Answered(request));
                    part.step(answered, &world.clock, world.setup.slice_records)
                });
            }
            (Party::Subtask(id), Returned::Completion(completion)) => self.completed(id, attempt, completion, world),
            (_, Returned::Committed(checkpoint, result)) => self.committed(attempt, checkpoint, result, world),
            (_, Returned::Pinned(ticket, pinned, checkpoint, stats)) => {
                match pinned {
                    Ok(pinned) => {
                        let work = Work::Export(world.savepoints.export(ticket, pinned));
                        self.calls.push(Call::new(Party::Supervisor, Attempt(0), work, world));
                    }
                    Err(error) => world.savepoints.take(Err(error)),
                }
                self.committed(attempt, checkpoint, Ok(stats), world);
            }
            (_, Returned::Exported(result)) => world.savepoints.take(result),
            (_, Returned::Opened(opened)) => self.opened(*opened, world),
            (_, Returned::Settled(result)) => self.settled(result, world),
            (_, Returned::Completion(_)) => {}
        }
    }

    fn completed(&mut self, id: SubtaskId, attempt: Attempt, completion: Completion, world: &mut World) {
        let Some(running) = self.running.as_mut().filter(|running| running.attempt == attempt) else {
            panic!("a call of attempt {attempt} outlived it");
        };
        let Some(part) = running.parts.get_mut(&id) else { return };
        part.calls -= 1;
        if part.state == State::Running {
            self.step(id, world, |part, world| {
                part.step(SubtaskInput::Completion(completion), &world.clock, world.setup.slice_records)
            });
        } else {
            part.subtask.returned_late(completion);
        }
        self.if_subtask_stopped(id);
    }

    fn committed(
        &mut self,
        attempt: Attempt,
        checkpoint: CheckpointId,
        result: Result<CommitStats, Error>,
        world: &mut World,
    ) {
        let Some(running) = self.running.as_mut().filter(|running| running.attempt == attempt) else {
            panic!("a commit of attempt {attempt} outlived it");
        };
        running.is_committing = false;
        match result {
            Ok(stats) => {
                world.progress = world.step;
                self.coordinate(world, CoordinatorInput::Committed(checkpoint, stats));
            }
            Err(error) if error.kind() == ErrorKind::NotStored => {
                self.coordinate(world, CoordinatorInput::NotStored(checkpoint, error.to_string()));
            }
            Err(error) => self.post.send(Party::Coordinator, Party::Supervisor, attempt, Message::Failed(error)),
        }
        self.if_coordinator_stopped();
    }

    fn if_coordinator_stopped(&mut self) {
        let Some(running) = &mut self.running else { return };
        let may_go = !running.is_committing || mutation::is(Mutation::RestoreBeforeCallsReturned);
        if running.coordinator_state == State::Stopping && may_go {
            running.coordinator_state = State::Stopped;
            let next = Some(running.coordinator.next_checkpoint());
            self.post.send(Party::Coordinator, Party::Supervisor, running.attempt, Message::Stopped(next, Vec::new()));
        }
    }

    fn if_subtask_stopped(&mut self, id: SubtaskId) {
        let Some(running) = &mut self.running else { return };
        if let Some(part) = running.parts.get_mut(&id)
            && part.state == State::Stopping
            && (part.calls == 0 || mutation::is(Mutation::RestoreBeforeCallsReturned))
        {
            part.state = State::Stopped;
            let prepared = part.subtask.take_prepared();
            self.post.send(Party::Subtask(id), Party::Supervisor, running.attempt, Message::Stopped(None, prepared));
        }
    }
}
