//! One subtask: the gate and the participant that run in production, around the least that stands for a chain. Each step does what
//! `Subtask::step` does with the same input.

use std::{collections::VecDeque, time::Duration};

use cofferdam_engine::{
    ChannelIndex, CheckpointId, ProcessingTime, StreamElement,
    checkpoint::{
        config::CheckpointMode,
        coordinator::SubtaskReport,
        gate::{Aligned, GateEvent, InputGate},
        participant::{Boundary, Participant, ParticipantEffect},
        snapshot::{OperatorSnapshot, SnapshotStats, SubtaskSnapshot},
    },
    subtask::Control,
};

use crate::{
    durable::Stored,
    job::{Job, NodeIndex, Record, Role, Travelling},
};

type Element = StreamElement<Travelling>;

/// What a step of a subtask leads to.
pub enum NodeEffect {
    Send(NodeIndex, Element),
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
}

impl Node {
    /// A subtask that goes on from a checkpoint.
    pub fn open(job: &Job, node: NodeIndex, mode: CheckpointMode, restored: &Stored) -> Self {
        let (role, index, inputs) = (job.role(node), job.index(node), job.inputs(node));
        let chain = match role {
            Role::Source => Chain::Source { position: restored.positions[index] },
            Role::Operator => Chain::Operator { applied: restored.applied[index].clone() },
            Role::Sink => Chain::Sink { written: Vec::new() },
        };
        let sink = (role == Role::Sink).then(|| role.uid().to_string());
        Self {
            node,
            inputs: vec![VecDeque::new(); inputs],
            gate: InputGate::new(inputs, mode, 1, restored.checkpoint),
            participant: Participant::new(sink),
            chain,
        }
    }

    /// Whether the next element of a channel may be taken.
    pub fn can_receive(&self, channel: usize) -> bool {
        !self.inputs[channel].is_empty() && self.gate.can_read(ChannelIndex(channel as u32))
    }

    /// Whether something waits in a channel that the gate does not read.
    pub fn is_held_back(&self) -> bool {
        (0..self.inputs.len()).any(|channel| !self.inputs[channel].is_empty() && !self.can_receive(channel))
    }

    /// Takes the next element of a channel.
    pub fn receive(&mut self, job: &Job, channel: usize) -> Vec<NodeEffect> {
        let mut effects = Vec::new();
        if let Some(element) = self.inputs[channel].pop_front() {
            let mut events = Vec::new();
            let received = self.gate.receive(ChannelIndex(channel as u32), element, ProcessingTime(0), &mut events);
            assert!(received.is_ok(), "a record can always be copied");
            events.into_iter().for_each(|event| self.gate_event(job, event, &mut effects));
            self.work(job, &mut effects);
        }
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
                effects.push(NodeEffect::Send(job.route(self.node, record), StreamElement::Batch(Travelling(record))));
            }
            _ => self.participant.end_of_input(),
        }
        self.work(job, &mut effects);
        effects
    }

    pub fn control(&mut self, job: &Job, control: Control) -> Vec<NodeEffect> {
        let mut effects = Vec::new();
        match control {
            Control::Trigger(barrier) => self.participant.trigger(barrier, ProcessingTime(0)),
            Control::Aborted(checkpoint) => {
                self.gate.cancel(checkpoint);
                pass_on(self.participant.give_up(checkpoint), &mut effects);
            }
            Control::Completed(checkpoint) => pass_on(self.participant.completed(checkpoint), &mut effects),
            Control::EndInput | Control::EndLoop => {}
        }
        self.work(job, &mut effects);
        effects
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
            GateEvent::Deliver(_, Travelling(record)) => self.apply(job, record, effects),
            GateEvent::Aligned(aligned) => self.participant.aligned(aligned),
            GateEvent::EndOfInput => self.participant.end_of_input(),
            GateEvent::Declined(checkpoint) => {
                pass_on(self.participant.give_up(checkpoint), effects);
                effects.push(NodeEffect::Report(SubtaskReport::Declined(checkpoint, String::new())))
            }
            _ => {}
        }
    }

    /// In order, so that states that differ only in the order of records are one.
    fn apply(&mut self, job: &Job, record: Record, effects: &mut Vec<NodeEffect>) {
        let Self { chain: Chain::Operator { applied: seen } | Chain::Sink { written: seen }, .. } = self else {
            return;
        };
        seen.insert(seen.partition_point(|other| *other < record), record);
        if !job.downstream(self.node).is_empty() {
            effects.push(NodeEffect::Send(job.route(self.node, record), StreamElement::Batch(Travelling(record))));
        }
    }

    fn work(&mut self, job: &Job, effects: &mut Vec<NodeEffect>) {
        loop {
            while let Some(boundary) = self.participant.next_boundary() {
                match boundary {
                    Boundary::Checkpoint(aligned) => self.checkpoint(job, aligned, effects),
                    Boundary::Finish => {
                        self.send_all(job, &Element::EndOfInput, effects);
                        effects.push(NodeEffect::Report(SubtaskReport::Finished));
                    }
                }
            }
            let mut events = Vec::new();
            if !self.gate.replay(ProcessingTime(0), &mut events).unwrap_or(false) {
                return;
            }
            events.into_iter().for_each(|event| self.gate_event(job, event, effects));
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
            in_flight: Vec::new(),
            finished: self.participant.is_finished(),
            is_quiet: false,
            stats: SnapshotStats::default(),
        };
        pass_on(self.participant.frozen(barrier.checkpoint, snapshot, pre_commit, aligned.is_recording), effects);
    }

    fn send_all(&self, job: &Job, element: &Element, effects: &mut Vec<NodeEffect>) {
        effects.extend(job.downstream(self.node).map(|to| NodeEffect::Send(to, element.clone())));
    }
}

fn pass_on(wanted: Vec<ParticipantEffect<Vec<Record>>>, effects: &mut Vec<NodeEffect>) {
    effects.extend(wanted.into_iter().map(NodeEffect::Participant));
}
