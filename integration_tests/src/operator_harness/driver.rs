//! Runs the subtasks of the steps under test until nothing is left to do, in an order that is always the same.

use std::{
    any::Any,
    collections::BTreeMap,
    sync::Arc,
    task::{Context, Waker},
};

use cofferdam_engine::{
    Batch, BoxError, ChannelIndex, CheckpointId, Clock as _, Error, ErrorKind, Record, Request, RequestId, Stamp,
    Stamped, StreamElement,
    checkpoint::{
        config::CheckpointMode,
        coordinator::SubtaskReport,
        gate::{GateEvent, InputGate},
        snapshot::{SubtaskId, SubtaskSnapshot},
    },
    savepoint::Choices,
    subtask::{Completion, Control, SubtaskEffect, SubtaskInput},
    topology::plan::{Deployed, Plan},
};

use super::{Emitted, snapshot::Restored};
use crate::{
    channel::Channel,
    clock::VirtualClock,
    part::{Channels, Part},
};

/// Records of one turn, at most: few, so that steps are interrupted.
const TURN: u64 = 3;

/// The records of a batch that the steps gave.
pub(super) type Unpack<O> = fn(Box<dyn Batch>) -> Vec<O>;

/// Unpacks batches of records with stamps `S`.
pub(super) fn unpack<O: Record, S: Stamp>(batch: Box<dyn Batch>) -> Vec<O> {
    let batch: Box<dyn Any> = batch;
    match batch.downcast::<Vec<Stamped<O, S>>>() {
        Ok(records) => records.into_iter().map(|stamped| stamped.record).collect(),
        Err(_) => unreachable!("the last stream's type is the harness's"),
    }
}

pub(super) struct Driver<O> {
    parts: Vec<(SubtaskId, Part)>,
    channels: Channels,
    /// For each input, where its records can go: the channels of the first chain's subtasks.
    inputs: Vec<Vec<(SubtaskId, ChannelIndex)>>,
    end: SubtaskId,
    /// Aligns what leaves the last chain's subtasks.
    gate: InputGate,
    acknowledged: BTreeMap<CheckpointId, BTreeMap<SubtaskId, SubtaskSnapshot>>,
    /// Under way, with the number of the subtask that asks.
    requests: BTreeMap<(usize, RequestId), Request>,
    pub(super) clock: VirtualClock,
    pub(super) output: Vec<Emitted<O>>,
    unpack: Unpack<O>,
}

impl<O: Record> Driver<O> {
    /// Opens every subtask of `plan` but the two ends.
    pub(super) fn open(plan: &Plan, restored: &Restored, unpack: Unpack<O>) -> Result<Self, Error> {
        let place = "a snapshot of the harness";
        plan.check_restorable(&restored.metadata, place, &Choices::default())?;
        let metadata = Arc::new(restored.metadata.clone());
        let deployed = plan.deploy(restored.attempt, metadata, restored.reader.clone(), None, place);
        let (sources, deployed): (Vec<_>, Vec<_>) = deployed.into_iter().partition(|one| one.is_source);
        let (ends, steps): (Vec<_>, Vec<_>) = deployed.into_iter().partition(|one| one.outputs.is_empty());
        let [end] = ends.as_slice() else {
            let message =
                "the steps under test have a sink of their own: only what the last stream gives can be read here";
            return Err(Error::new(ErrorKind::InvalidTopology, message, None));
        };
        let outputs = sources.iter().chain(&steps).flat_map(|one| &one.outputs);
        let channels = outputs.map(|output| (*output, Channel::new(usize::MAX, false, None))).collect();
        let last = restored.metadata.checkpoint;
        let mut driver = Self {
            parts: Vec::new(),
            channels,
            inputs: sources.into_iter().map(|source| source.outputs).collect(),
            end: end.subtask.id(),
            gate: InputGate::new(end.inputs, CheckpointMode::ExactlyOnce, usize::MAX, last),
            acknowledged: BTreeMap::new(),
            requests: BTreeMap::new(),
            clock: VirtualClock::default(),
            output: Vec::new(),
            unpack,
        };
        driver.clock.advance_to(restored.time);
        for mut one in steps {
            one.subtask.open(&one.context)?;
            driver.parts.push(part(one));
        }
        Ok(driver)
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Sends a batch on an input, to the subtask whose turn it is.
    pub(super) fn send(&mut self, input: usize, turn: usize, batch: Box<dyn Batch>) -> Result<(), Error> {
        let targets = &self.inputs[input];
        let target = targets[turn % targets.len()];
        self.put(target, StreamElement::Batch(batch))?;
        self.settle()
    }

    /// Sends an element on an input, to every subtask.
    pub(super) fn send_all(&mut self, input: usize, element: impl Fn() -> StreamElement) -> Result<(), Error> {
        for target in self.inputs[input].clone() {
            self.put(target, element())?;
        }
        self.settle()
    }

    fn put(&mut self, target: (SubtaskId, ChannelIndex), element: StreamElement) -> Result<(), Error> {
        let pushed = self.channels.get_mut(&target).map_or(Ok(()), |channel| channel.push(element));
        pushed.map_err(not_encoded)
    }

    /// What every subtask acknowledged `checkpoint` with; `None` if one has not. Earlier ones cannot be asked for after it.
    pub(super) fn take_acknowledged(
        &mut self,
        checkpoint: CheckpointId,
    ) -> Option<BTreeMap<SubtaskId, SubtaskSnapshot>> {
        if self.acknowledged.get(&checkpoint)?.len() < self.parts.len() {
            return None;
        }
        let taken = self.acknowledged.remove(&checkpoint);
        self.acknowledged = self.acknowledged.split_off(&checkpoint);
        taken
    }

    /// Tells every subtask that `checkpoint` is durable.
    pub(super) fn complete(&mut self, checkpoint: CheckpointId) -> Result<(), Error> {
        for number in 0..self.parts.len() {
            let (_, part) = &mut self.parts[number];
            let effects = part.step(SubtaskInput::Control(Control::Completed(checkpoint)), &self.clock, TURN)?;
            self.note(number, effects);
        }
        self.settle()
    }

    /// Lets each subtask in turn do one thing, until none has anything to do.
    pub(super) fn settle(&mut self) -> Result<(), Error> {
        let mut moved = true;
        while moved {
            moved = false;
            for number in 0..self.parts.len() {
                moved |= self.step(number)?;
            }
            moved |= self.poll()?;
            self.read_end()?;
        }
        Ok(())
    }

    fn step(&mut self, number: usize) -> Result<bool, Error> {
        let (_, part) = &mut self.parts[number];
        let mut moves = Vec::new();
        part.moves(&self.channels, self.clock.now(), &mut moves);
        let Some(first) = moves.first() else { return Ok(false) };
        let effects = part.make(*first, &mut self.channels, &self.clock, TURN)?;
        self.note(number, effects);
        Ok(true)
    }

    /// Polls each request: whether one has been answered. What has to wait for something else is polled again whenever the harness is called.
    fn poll(&mut self) -> Result<bool, Error> {
        let mut task = Context::from_waker(Waker::noop());
        let ready = self.requests.extract_if(.., |_, request| request.as_mut().poll(&mut task).is_ready());
        let ready: Vec<_> = ready.map(|(id, _)| id).collect();
        for (number, id) in &ready {
            let (_, part) = &mut self.parts[*number];
            let answered = SubtaskInput::Completion(Completion::Answered(*id));
            let effects = part.step(answered, &self.clock, TURN)?;
            self.note(*number, effects);
        }
        Ok(!ready.is_empty())
    }

    /// Steps without sinks want nothing done but this.
    fn note(&mut self, number: usize, effects: Vec<SubtaskEffect>) {
        for effect in effects {
            match effect {
                SubtaskEffect::Report(SubtaskReport::Acknowledged(checkpoint, snapshot)) => {
                    self.acknowledged.entry(checkpoint).or_default().insert(self.parts[number].0, *snapshot);
                }
                SubtaskEffect::Ask(id, request) => drop(self.requests.insert((number, id), request)),
                SubtaskEffect::Forget(id) => drop(self.requests.remove(&(number, id))),
                _ => {}
            }
        }
    }

    fn read_end(&mut self) -> Result<(), Error> {
        for channel in (0..self.gate.channels() as u32).map(ChannelIndex) {
            let at = (self.end, channel);
            while let Some(element) = self.channels.get_mut(&at).map_or(Ok(None), Channel::pop).map_err(not_encoded)? {
                let mut events = Vec::new();
                let now = self.clock.now();
                self.gate.receive(channel, element, now, &mut events).map_err(not_encoded)?;
                while self.gate.replay(true, now, &mut events).map_err(not_encoded)? {}
                events.into_iter().for_each(|event| self.take(event));
            }
        }
        Ok(())
    }

    fn take(&mut self, event: GateEvent) {
        match event {
            GateEvent::Deliver(_, batch) => {
                self.output.extend((self.unpack)(batch).into_iter().map(Emitted::Record));
            }
            GateEvent::Aligned(aligned) => self.output.push(Emitted::Barrier(aligned.barrier.checkpoint)),
            GateEvent::Time(watermark) => self.output.push(Emitted::Watermark(watermark)),
            GateEvent::EndOfInput => self.output.push(Emitted::End),
            _ => {}
        }
    }
}

fn not_encoded(error: BoxError) -> Error {
    Error::new(ErrorKind::Operator, "a record cannot be encoded", Some(error))
}

fn part(deployed: Deployed) -> (SubtaskId, Part) {
    (deployed.subtask.id(), Part::new(deployed))
}
