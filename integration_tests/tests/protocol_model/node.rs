//! One subtask: the gate and the participant that run in production, around the least that stands for a chain. Each step does what
//! `Subtask::step` does with the same input. Where barriers overtake, a record is first taken and then handled, in a turn of its own, and so
//! is each replayed element: a barrier may overtake between any two.

use std::{collections::VecDeque, time::Duration};

use cofferdam_engine::{
    ChannelIndex, CheckpointId, Copied, ProcessingTime, StreamElement,
    checkpoint::{
        coordinator::SubtaskReport,
        gate::{Aligned, GateEvent, InputGate, Recorded},
        participant::{Boundary, Participant, ParticipantEffect},
        snapshot::{InFlightBatch, OperatorSnapshot, SnapshotStats, SubtaskSnapshot},
    },
    overtake,
    subtask::Control,
};

use crate::{
    durable::Stored,
    job::{Job, NodeIndex, Record, Role, Travelling, plain},
    model::{ALIGNED_TIMEOUT, Mistake, ProtocolModel},
};

/// When what does not overtake is handled: long before any barrier may.
const EARLY: ProcessingTime = ProcessingTime(0);

type Element = StreamElement<Travelling>;

/// What a step of a subtask leads to.
pub enum NodeEffect {
    /// Into a node's channel.
    Send(NodeIndex, usize, Element),
    Report(SubtaskReport),
    Participant(ParticipantEffect<Vec<Record>>),
}

/// What happens to records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Chain {
    Source { position: u8 },
    Operator { applied: Vec<Record> },
    Sink { written: Vec<Record> },
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    node: NodeIndex,
    pub inputs: Vec<VecDeque<Element>>,
    gate: InputGate<Travelling>,
    participant: Participant<Vec<Record>>,
    chain: Chain,
    in_turns: bool,
    /// The record that is taken and not yet handled, and where it came from.
    feeding: Option<(ChannelIndex, Record)>,
    acknowledges_early: bool,
}

impl Node {
    /// A subtask that goes on from a checkpoint.
    pub fn open(model: &ProtocolModel, node: NodeIndex, restored: &Stored) -> Self {
        let job = &model.job;
        let (role, index, inputs) = (job.role(node), job.index(node), job.inputs(node));
        let chain = match role {
            Role::Source => Chain::Source { position: restored.positions[index] },
            Role::Operator | Role::Body => Chain::Operator { applied: restored.applied[node - job.sources].clone() },
            Role::Sink => Chain::Sink { written: Vec::new() },
        };
        let sink = (role == Role::Sink).then(|| role.uid().to_string());
        let mut gate = InputGate::new(inputs, model.mode(), 1, restored.checkpoint);
        job.feedback(node).for_each(|channel| gate.set_feedback(ChannelIndex(channel as u32)));
        if model.mistake != Some(Mistake::NotPutBack) {
            let own = restored.in_flight.iter().filter(|(to, ..)| *to == node);
            own.for_each(|(_, channel, record)| gate.put_back(*channel, StreamElement::Batch(Travelling(*record))));
        }
        Self {
            node,
            inputs: vec![VecDeque::new(); inputs],
            gate,
            participant: Participant::new(sink),
            chain,
            in_turns: model.unaligned,
            feeding: None,
            acknowledges_early: model.mistake == Some(Mistake::EarlyAcknowledgement),
        }
    }

    /// Whether the next element of a channel may be taken.
    pub fn can_receive(&self, channel: usize) -> bool {
        let can_read = self.feeding.is_none() && self.gate.can_read(ChannelIndex(channel as u32));
        !self.inputs[channel].is_empty() && can_read
    }

    /// Whether something waits in a channel that the gate does not read.
    pub fn is_held_back(&self) -> bool {
        (0..self.inputs.len()).any(|channel| !self.inputs[channel].is_empty() && !self.can_receive(channel))
    }

    /// Takes the next element of a channel.
    pub fn receive(&mut self, job: &Job, channel: usize) -> Vec<NodeEffect> {
        let Some(element) = self.inputs[channel].pop_front() else { return Vec::new() };
        self.ask_gate(job, |gate, events| {
            let received = gate.receive(ChannelIndex(channel as u32), element, EARLY, events);
            assert!(received.is_ok(), "a record can always be copied");
        })
    }

    /// Whether a barrier waits in a channel that may overtake, once its moment has come.
    pub fn can_overtake(&self, channel: usize) -> bool {
        self.moment(channel).is_some()
    }

    /// The moment of the first barrier of a channel that may ever overtake.
    fn moment(&self, channel: usize) -> Option<ProcessingTime> {
        self.inputs[channel].iter().find_map(|element| match element {
            StreamElement::Barrier(barrier, _) => barrier.overtakes.map(|_| barrier.triggered.after(ALIGNED_TIMEOUT)),
            _ => None,
        })
    }

    /// The moment comes from which on a channel's first barrier that may overtake does so.
    pub fn overtake(&mut self, job: &Job, channel: usize) -> Vec<NodeEffect> {
        let Some(now) = self.moment(channel) else { return Vec::new() };
        let overtaken = overtake(&mut self.inputs[channel], now).ok().flatten();
        let Some((barrier, copies)) = overtaken else { return Vec::new() };
        self.ask_gate(job, |gate, events| {
            let taken = gate.overtaken(ChannelIndex(channel as u32), barrier, copies, now, events);
            assert!(taken.is_ok(), "a record can always be copied");
        })
    }

    /// Whether a barrier that is waited with, or that waits in the stash, overtakes some time.
    pub fn can_switch(&self) -> bool {
        self.gate.overtakes_at().is_some()
    }

    /// The moment comes from which on it does.
    pub fn switch(&mut self, job: &Job) -> Vec<NodeEffect> {
        let Some(now) = self.gate.overtakes_at() else { return Vec::new() };
        self.ask_gate(job, |gate, events| {
            assert!(gate.time_passed(now, events).is_ok(), "a record can always be copied");
        })
    }

    /// Whether something is left over that needs no input.
    pub fn can_turn(&self) -> bool {
        self.feeding.is_some() || self.gate.has_replay(true)
    }

    /// Goes on with what is left over.
    pub fn turn(&mut self, job: &Job) -> Vec<NodeEffect> {
        if let Some((_, record)) = self.feeding.take() {
            let mut effects = Vec::new();
            self.apply(job, record, &mut effects);
            self.work(job, &mut effects);
            return effects;
        }
        self.ask_gate(job, |gate, events| {
            assert!(gate.replay(true, EARLY, events).is_ok(), "a record can always be copied");
        })
    }

    fn ask_gate(
        &mut self,
        job: &Job,
        ask: impl FnOnce(&mut InputGate<Travelling>, &mut Vec<GateEvent<Travelling>>),
    ) -> Vec<NodeEffect> {
        let (mut events, mut effects) = (Vec::new(), Vec::new());
        ask(&mut self.gate, &mut events);
        events.into_iter().for_each(|event| self.gate_event(job, event, &mut effects));
        self.work(job, &mut effects);
        effects
    }

    /// Whether the source has a record left, or an end to tell.
    pub fn can_emit(&self, job: &Job, ends: bool) -> bool {
        let Chain::Source { position } = self.chain else { return false };
        !self.participant.is_halted() && (position < job.records || ends)
    }

    /// The source reads its next record, or finds that there is none.
    pub fn emit(&mut self, job: &Job) -> Vec<NodeEffect> {
        let mut effects = Vec::new();
        match &mut self.chain {
            Chain::Source { position } if *position < job.records => {
                let record = job.record(self.node, *position);
                *position += 1;
                effects.push(self.send(job, record));
            }
            _ => self.participant.end_of_input(),
        }
        self.work(job, &mut effects);
        effects
    }

    pub fn control(&mut self, job: &Job, control: Control) -> Vec<NodeEffect> {
        let mut effects = Vec::new();
        match control {
            Control::Trigger(barrier) => self.participant.trigger(barrier, EARLY),
            Control::Aborted(checkpoint) => {
                self.gate.cancel(checkpoint);
                pass_on(self.participant.give_up(checkpoint), &mut effects);
            }
            Control::Completed(checkpoint) => pass_on(self.participant.completed(checkpoint), &mut effects),
            Control::EndLoop => return self.ask_gate(job, |gate, events| gate.end_loop(events)),
            Control::EndInput | Control::Limit(..) => {}
        }
        self.work(job, &mut effects);
        effects
    }

    /// Whether a record waits in a channel.
    pub fn has_input(&self) -> bool {
        self.inputs.iter().flatten().any(|element| matches!(element, StreamElement::Batch(_)))
    }

    pub fn pre_committed(&mut self, checkpoint: CheckpointId, transaction: Option<Vec<u8>>) -> Vec<NodeEffect> {
        let mut effects = Vec::new();
        pass_on(self.participant.pre_committed(checkpoint, transaction, Duration::ZERO), &mut effects);
        effects
    }

    pub fn published(&mut self, checkpoint: CheckpointId) -> Vec<NodeEffect> {
        let mut effects = Vec::new();
        pass_on(self.participant.published(checkpoint), &mut effects);
        effects
    }

    fn gate_event(&mut self, job: &Job, event: GateEvent<Travelling>, effects: &mut Vec<NodeEffect>) {
        match event {
            GateEvent::Deliver(channel, Travelling(record)) if self.in_turns => {
                assert!(self.feeding.is_none(), "one record at a time");
                self.feeding = Some((channel, record));
            }
            GateEvent::Deliver(_, Travelling(record)) => self.apply(job, record, effects),
            GateEvent::Aligned(aligned) => self.participant.aligned(aligned),
            GateEvent::Recorded(checkpoint, Recorded { batches, is_quiet }) => {
                let batch = |(channel, copied)| match copied {
                    Copied::Batch(record) => InFlightBatch { channel, bytes: vec![record] },
                    Copied::Watermark(mark) => InFlightBatch { channel, bytes: mark.to_bytes() },
                };
                let batches = batches.into_iter().map(batch).collect();
                pass_on(self.participant.recorded(checkpoint, batches, is_quiet), effects);
            }
            GateEvent::EndOfInput => self.participant.end_of_input(),
            GateEvent::Declined(checkpoint) => {
                pass_on(self.participant.give_up(checkpoint), effects);
                effects.push(NodeEffect::Report(SubtaskReport::Declined(checkpoint, String::new())))
            }
            GateEvent::Time(_) | GateEvent::Collecting(_) | GateEvent::Stashed(_) => {}
        }
    }

    /// In order, so that states that differ only in the order of records are one.
    fn apply(&mut self, job: &Job, record: Record, effects: &mut Vec<NodeEffect>) {
        let (seen, record) = match &mut self.chain {
            Chain::Source { .. } => return,
            Chain::Operator { applied } => (applied, record),
            Chain::Sink { written } => (written, plain(record)),
        };
        seen.insert(seen.partition_point(|other| *other < record), record);
        if job.role(self.node) != Role::Sink {
            effects.push(self.send(job, record));
        }
    }

    fn send(&self, job: &Job, record: Record) -> NodeEffect {
        let (to, record) = job.route(self.node, record);
        NodeEffect::Send(to, job.channel(self.node, to), StreamElement::Batch(Travelling(record)))
    }

    fn work(&mut self, job: &Job, effects: &mut Vec<NodeEffect>) {
        loop {
            let mut events = Vec::new();
            assert!(self.gate.time_passed(EARLY, &mut events).is_ok(), "a record can always be copied");
            events.drain(..).for_each(|event| self.gate_event(job, event, effects));
            self.boundaries(job, effects);
            if self.in_turns || !self.gate.replay(true, EARLY, &mut events).unwrap_or(false) {
                return;
            }
            events.into_iter().for_each(|event| self.gate_event(job, event, effects));
        }
    }

    fn boundaries(&mut self, job: &Job, effects: &mut Vec<NodeEffect>) {
        while !(self.feeding.is_some() && self.participant.waits_for_batch())
            && let Some(boundary) = self.participant.next_boundary()
        {
            match boundary {
                Boundary::Checkpoint(aligned) => self.checkpoint(job, aligned, effects),
                Boundary::Finish => {
                    self.send_all(job, &Element::EndOfInput, effects);
                    effects.push(NodeEffect::Report(SubtaskReport::Finished));
                }
            }
        }
    }

    fn checkpoint(&mut self, job: &Job, aligned: Aligned, effects: &mut Vec<NodeEffect>) {
        let barrier = aligned.barrier;
        let (state, pre_commit) = match &mut self.chain {
            Chain::Source { position } => (vec![*position], None),
            Chain::Operator { applied } => (applied.clone(), None),
            Chain::Sink { written } => (Vec::new(), Some(std::mem::take(written))),
        };
        self.send_all(job, &StreamElement::barrier(barrier), effects);
        let operator = OperatorSnapshot { state, transactions: Vec::new() };
        let snapshot = SubtaskSnapshot {
            deltas: Vec::new(),
            operators: vec![(job.role(self.node).uid().to_string(), operator)],
            in_flight: self
                .feeding
                .map(|(channel, record)| InFlightBatch { channel, bytes: vec![record] })
                .into_iter()
                .collect(),
            finished: self.participant.is_finished(),
            is_quiet: false,
            is_pending: false,
            time: self.gate.times(),
            stats: SnapshotStats::default(),
        };
        let is_recording = aligned.is_recording && !self.acknowledges_early;
        pass_on(self.participant.frozen(barrier.checkpoint, snapshot, pre_commit, is_recording), effects);
    }

    fn send_all(&self, job: &Job, element: &Element, effects: &mut Vec<NodeEffect>) {
        let send = |to| NodeEffect::Send(to, job.channel(self.node, to), element.clone());
        effects.extend(job.downstream(self.node).map(send));
    }
}

fn pass_on(wanted: Vec<ParticipantEffect<Vec<Record>>>, effects: &mut Vec<NodeEffect>) {
    effects.extend(wanted.into_iter().map(NodeEffect::Participant));
}
