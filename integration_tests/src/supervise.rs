//! What the supervisor's actor does: opens attempts, connects their subtasks, and stops them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cofferdam_engine::{
    Attempt, CheckpointId, Clock as _, Error,
    checkpoint::{
        coordinator::{Coordinator, JobEnd},
        snapshot::SubtaskId,
    },
    opening::{Opened, Opening},
    supervisor::SupervisorEffect,
};

use crate::{
    attempt::Running,
    call::{Call, Work},
    channel::Channel,
    known_time::KnownTime,
    memory_scratch::memory_scratch,
    part::{Channels, Part, State},
    post::{Letter, Message, Party, Request},
    process::Process,
    trace::Event,
    world::World,
};

impl Process {
    pub(crate) fn supervise(&mut self, effects: Vec<SupervisorEffect>, world: &mut World) {
        self.effects.extend(effects);
        while !self.is_settling
            && let Some(effect) = self.effects.pop_front()
        {
            match effect {
                SupervisorEffect::StartAttempt => {
                    self.is_opening = true;
                    let (is_first, failed) = (self.supervisor.restarts() == 0, self.supervisor.failed_records());
                    let (job, choices, orphans) = (self.new_job, world.choices.clone(), self.orphans.clone());
                    let opening = Opening { job, is_first, choices, orphans };
                    self.call(Work::Open { opening, failed }, world);
                }
                SupervisorEffect::StopAttempt => self.stop_attempt(world),
                SupervisorEffect::WaitUntil(time) => self.wait_until = Some(time),
                SupervisorEffect::SettleState => {
                    self.is_settling = true;
                    self.call(Work::Settle, world);
                }
                SupervisorEffect::End(result) => {
                    self.store.close();
                    self.ended = Some(result);
                }
            }
        }
    }

    fn call(&mut self, work: Work, world: &mut World) {
        self.calls.push(Call::new(Party::Supervisor, Attempt(0), work, world));
    }

    pub(crate) fn opened(&mut self, opened: Result<Opened, Error>, world: &mut World) {
        self.is_opening = false;
        match opened {
            _ if self.is_stopping => self.attempt_stopped(world),
            Ok(opened) => self.run(opened, world),
            Err(error) => self.fail(error, world),
        }
    }

    fn run(&mut self, opened: Opened, world: &mut World) {
        self.orphans.clear();
        world.note(Event::AttemptStarted(opened.attempt, opened.restored));
        world.progress = world.step;
        assert_eq!(Some(opened.restored), world.backend.newest(), "a run goes on from the newest checkpoint");
        assert!(world.attempts.iter().all(|(attempt, _)| *attempt < opened.attempt), "attempts are never used twice");
        world.attempts.push((opened.attempt, opened.restored));
        let in_flight = world.backend.metadata().map_or_else(Vec::new, |restored| restored.in_flight);
        world.restored_in_flight += in_flight.iter().map(|channel| channel.batches.len()).sum::<usize>();
        self.supervisor.opened(opened.restored);
        (world.choices.restore_from, world.choices.from_savepoint) = (None, None);
        if opened.finished {
            let effects = self.supervisor.done(JobEnd::Finished);
            return self.supervise(effects, world);
        }
        self.next_checkpoint = self.next_checkpoint.max(opened.next_checkpoint);
        if opened.draining && !self.requests.contains(&Request::Drain) {
            self.requests.insert(0, Request::Drain);
        }
        self.connect(opened, world);
        self.deliver_late(world);
    }

    /// What dead attempts wrote comes a second time: nobody may take it for the new attempt's.
    fn deliver_late(&mut self, world: &mut World) {
        for ((from, to), letter) in std::mem::take(&mut world.late_letters) {
            self.post.send(from, to, letter.attempt, letter.message);
        }
        for commit in std::mem::take(&mut world.late_commits) {
            let (attempt, checkpoint) = (commit.metadata.attempt, commit.metadata.checkpoint);
            let accepted = self.store.commit(&commit).is_ok();
            assert!(!accepted, "the store took checkpoint {checkpoint} from attempt {attempt}, which is dead");
            world.settle();
        }
    }

    fn connect(&mut self, opened: Opened, world: &mut World) {
        let Opened { attempt, job, subtasks, inherited, .. } = opened;
        let (config, layout) = (self.plan.settings().checkpoints.clone(), Arc::new(self.plan.layout(job)));
        let coordinator = Coordinator::new(config, layout, attempt, self.next_checkpoint, world.clock.now());
        let coordinator = coordinator.inheriting(inherited);
        let parts: BTreeMap<SubtaskId, Part> =
            subtasks.into_iter().map(|deployed| (deployed.subtask.id(), Part::new(deployed))).collect();
        let (mut channels, mut senders) = (Channels::new(), BTreeMap::new());
        let feedback: BTreeSet<_> = parts.values().flat_map(Part::feedback).collect();
        let heads: BTreeSet<_> = feedback.iter().map(|(head, _)| *head).collect();
        for (id, part) in &parts {
            if let Some(edges) = &world.edges {
                edges.name(id.chain, part.subtask.name());
            }
            for (to, channel) in &part.outputs {
                let digest = world.edges.as_ref().map(|edges| edges.digest(id.chain, to.chain));
                let made = match parts[to].subtask.loop_name().filter(|_| feedback.contains(&(*to, *channel))) {
                    Some(name) => {
                        Channel::feedback(name, world.setup.loop_mark, memory_scratch(world.spilled.clone()), digest)
                    }
                    None => Channel::new(world.setup.channel_capacity, heads.contains(to), digest),
                };
                channels.insert((*to, *channel), made);
                senders.insert((*to, *channel), *id);
            }
        }
        let left = parts.len() + 1;
        self.running = Some(Running {
            attempt,
            coordinator,
            is_committing: false,
            coordinator_state: State::Running,
            parts,
            channels,
            senders,
            triggered: CheckpointId(self.next_checkpoint.0 - 1),
            known_time: world.backend.metadata().map_or_else(KnownTime::default, |restored| KnownTime::of(&restored)),
            left,
        });
        for request in self.requests.clone() {
            self.post.send(Party::Supervisor, Party::Coordinator, attempt, Message::Request(request));
        }
    }

    fn fail(&mut self, error: Error, world: &mut World) {
        world.note(Event::Failed(error.to_string()));
        world.last_error = Some(error.to_string());
        let effects = self.supervisor.failed(error);
        self.supervise(effects, world);
    }

    fn stop_attempt(&mut self, world: &mut World) {
        match &self.running {
            Some(running) => {
                let attempt = running.attempt;
                let parties = running.parts.keys().map(|id| Party::Subtask(*id)).chain([Party::Coordinator]);
                for party in parties {
                    self.post.send(Party::Supervisor, party, attempt, Message::Stop);
                }
            }
            None if self.is_opening => self.is_stopping = true,
            None => self.attempt_stopped(world),
        }
    }

    fn attempt_stopped(&mut self, world: &mut World) {
        self.is_stopping = false;
        self.running = None;
        self.post.drop_all_but_the_supervisors();
        let random = world.random.f64();
        let effects = self.supervisor.stopped(world.clock.now(), random);
        self.supervise(effects, world);
    }

    pub(crate) fn settled(&mut self, result: Result<JobEnd, Error>, world: &mut World) {
        self.is_settling = false;
        if let Err(error) = result {
            self.effects.clear();
            self.effects.push_back(SupervisorEffect::End(Err(error)));
        }
        self.supervise(Vec::new(), world);
    }

    pub(crate) fn tell_supervisor(&mut self, letter: Letter, world: &mut World) {
        let Some(running) = self.running.as_mut().filter(|running| running.attempt == letter.attempt) else { return };
        match letter.message {
            Message::Failed(error) => self.fail(error, world),
            Message::Done(end) => {
                let effects = self.supervisor.done(end);
                self.supervise(effects, world);
            }
            Message::Stopped(next, prepared) => {
                running.left -= 1;
                let left = running.left;
                self.orphans.extend(prepared);
                self.next_checkpoint = self.next_checkpoint.max(next.unwrap_or_default());
                if left == 0 {
                    self.attempt_stopped(world);
                }
            }
            _ => {}
        }
    }

    /// Nobody is told if there is no attempt that could take one.
    fn want_savepoint(&mut self) {
        if let Some(running) = self.running.as_ref().filter(|_| self.supervisor.is_running()) {
            let message = Message::Request(Request::Savepoint);
            self.post.send(Party::Supervisor, Party::Coordinator, running.attempt, message);
        }
    }

    /// The host wants something.
    pub(crate) fn request(&mut self, request: Request, world: &mut World) {
        if request == Request::Cancel {
            let effects = self.supervisor.cancel();
            return self.supervise(effects, world);
        }
        if request == Request::Savepoint {
            return self.want_savepoint();
        }
        if self.requests.contains(&request) {
            return;
        }
        self.requests.push(request);
        if let Some(running) = &self.running {
            self.post.send(Party::Supervisor, Party::Coordinator, running.attempt, Message::Request(request));
        } else if request == Request::Stop {
            let effects = self.supervisor.stop_while_waiting();
            self.supervise(effects, world);
        }
    }
}
