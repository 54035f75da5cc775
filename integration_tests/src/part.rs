//! A subtask and what the runtime's actor keeps beside it.

use std::{collections::BTreeMap, fmt};

use cofferdam_engine::{
    ChannelIndex, Clock as _, Error, ProcessingTime, Slice,
    checkpoint::snapshot::SubtaskId,
    subtask::{Need, RecordCounts, Subtask, SubtaskEffect, SubtaskInput},
    topology::plan::Deployed,
};

use crate::{channel::Channel, clock::VirtualClock};

/// Every input channel of an attempt.
pub(crate) type Channels = BTreeMap<(SubtaskId, ChannelIndex), Channel>;

/// Something that a subtask's data plane can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Send(ChannelIndex),
    Read(ChannelIndex),
    Resume,
    Flush,
    /// Lets barriers pass that may overtake now: those that come in, and those that go out.
    Overtake,
}

impl fmt::Display for Move {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(channel) => write!(f, "sends on {channel}"),
            Self::Read(channel) => write!(f, "reads {channel}"),
            Self::Resume => f.write_str("goes on"),
            Self::Flush => f.write_str("flushes"),
            Self::Overtake => f.write_str("lets barriers overtake"),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Waits to be stopped.
    Failed,
    Stopping,
    Stopped,
}

pub(crate) struct Part {
    pub(crate) subtask: Subtask,
    pub(crate) outputs: Vec<(SubtaskId, ChannelIndex)>,
    pub(crate) inputs: usize,
    pub(crate) is_source: bool,
    pub(crate) state: State,
    /// Calls that have not returned.
    pub(crate) calls: usize,
    /// Records so far.
    pub(crate) records: RecordCounts,
    /// Its input channels that come round from its own chain.
    feedback: Vec<ChannelIndex>,
    /// A flush may have something to do.
    may_flush: bool,
    known: Known,
}

/// What a part was last found to be able to do.
#[derive(Default)]
struct Known {
    moves: Vec<Move>,
    /// Nothing has happened to it or its channels since.
    holds: bool,
    at: ProcessingTime,
    /// When time alone makes it something else.
    until: Option<ProcessingTime>,
}

impl Known {
    fn holds_at(&self, now: ProcessingTime) -> bool {
        // A clock may go back.
        self.holds && self.at <= now && self.until.is_none_or(|until| now < until)
    }
}

impl Part {
    pub(crate) fn new(deployed: Deployed) -> Self {
        let Deployed { subtask, inputs, outputs, is_source, .. } = deployed;
        let channels = (0..inputs as u32).map(ChannelIndex);
        Self {
            outputs,
            inputs,
            is_source,
            state: State::Running,
            calls: 0,
            records: RecordCounts::default(),
            feedback: channels.filter(|channel| subtask.is_feedback(*channel)).collect(),
            may_flush: true,
            known: Known::default(),
            subtask,
        }
    }

    /// What the data plane can do now: found anew only if it may be something else than before.
    pub(crate) fn known_moves(&mut self, channels: &Channels, now: ProcessingTime) -> &[Move] {
        if self.state != State::Running {
            return &[];
        }
        if !self.known.holds_at(now) {
            let mut moves = std::mem::take(&mut self.known.moves);
            moves.clear();
            self.moves(channels, now, &mut moves);
            let until = self.deadlines(channels).filter(|time| *time > now).min();
            self.known = Known { moves, holds: true, at: now, until };
        }
        &self.known.moves
    }

    /// Something has happened to it, or to a channel that it shares.
    pub(crate) fn touch(&mut self) {
        self.known.holds = false;
    }

    /// What the data plane can do now.
    pub(crate) fn moves(&mut self, channels: &Channels, now: ProcessingTime, found: &mut Vec<Move>) {
        if self.state != State::Running {
            return;
        }
        if self.overtakes_at(channels).is_some_and(|time| time <= now) {
            found.push(Move::Overtake);
        }
        let id = self.subtask.id();
        self.subtask.set_backlog(self.feedback().map(|channel| channels[&channel].len()).sum());
        match self.subtask.need() {
            Need::Room => {
                for (channel, output) in (0u32..).map(ChannelIndex).zip(&self.outputs) {
                    if self.subtask.has_ready(channel) && channels[output].has_room(self.subtask.has_line(channel)) {
                        found.push(Move::Send(channel));
                    }
                }
            }
            Need::Turn => found.push(Move::Resume),
            need @ (Need::Input(until) | Need::Wait(until)) => {
                let (before, wants_batch) = (found.len(), matches!(need, Need::Input(_)));
                for channel in (0..self.inputs as u32).map(ChannelIndex) {
                    let queue = &channels[&(id, channel)];
                    let is_wanted = queue.len() > 0 && (wants_batch || !queue.has_batch_next());
                    if is_wanted && self.subtask.can_read(channel, queue.has_line()) {
                        found.push(Move::Read(channel));
                    }
                }
                if found.len() == before {
                    self.waits(until, now, found);
                }
            }
        }
    }

    fn waits(&self, until: Option<ProcessingTime>, now: ProcessingTime, found: &mut Vec<Move>) {
        if until.is_some_and(|time| time <= now) {
            found.push(Move::Resume);
        } else if self.may_flush {
            found.push(Move::Flush);
        }
    }

    /// Its input channels that come round from its own chain.
    pub(crate) fn feedback(&self) -> impl Iterator<Item = (SubtaskId, ChannelIndex)> + '_ {
        self.feedback.iter().map(|channel| (self.subtask.id(), *channel))
    }

    /// When a barrier that waits for its turn stops doing so.
    fn overtakes_at(&mut self, channels: &Channels) -> Option<ProcessingTime> {
        let id = self.subtask.id();
        let inputs =
            (0..self.inputs as u32).filter_map(|channel| channels[&(id, ChannelIndex(channel))].overtakes_at());
        inputs.chain(self.subtask.overtakes_at()).min()
    }

    /// When a source may be asked again, or a barrier may overtake.
    pub(crate) fn deadline(&mut self, channels: &Channels) -> Option<ProcessingTime> {
        if self.state != State::Running {
            return None;
        }
        self.deadlines(channels).min()
    }

    fn deadlines(&mut self, channels: &Channels) -> impl Iterator<Item = ProcessingTime> + use<> {
        let until = if let Need::Input(until) | Need::Wait(until) = self.subtask.need() { until } else { None };
        until.into_iter().chain(self.overtakes_at(channels))
    }

    fn overtake(
        &mut self,
        channels: &mut Channels,
        clock: &VirtualClock,
        records: u64,
    ) -> Result<Vec<SubtaskEffect>, Error> {
        let (id, mut effects) = (self.subtask.id(), Vec::new());
        for channel in (0..self.inputs as u32).map(ChannelIndex) {
            let Some(queue) = channels.get_mut(&(id, channel)) else { continue };
            while let Some((barrier, copies)) =
                queue.overtake(clock.now()).map_err(|error| self.subtask.fault(error))?
            {
                effects.extend(self.step(SubtaskInput::Overtaken(channel, barrier, copies), clock, records)?);
            }
        }
        self.send_overtaking(channels, clock)?;
        if self.subtask.overtakes_at().is_some_and(|time| time <= clock.now()) {
            effects.extend(self.step(SubtaskInput::Resume, clock, records)?);
            self.send_overtaking(channels, clock)?;
        }
        Ok(effects)
    }

    fn send_overtaking(&mut self, channels: &mut Channels, clock: &VirtualClock) -> Result<(), Error> {
        for (channel, output) in (0u32..).map(ChannelIndex).zip(&self.outputs) {
            while let Some(barrier) = self.subtask.take_overtaking(channel, clock.now())? {
                if let Some(to) = channels.get_mut(output) {
                    to.push(barrier).map_err(|error| self.subtask.fault(error))?;
                }
            }
        }
        Ok(())
    }

    /// Makes a move.
    pub(crate) fn make(
        &mut self,
        data: Move,
        channels: &mut Channels,
        clock: &VirtualClock,
        records: u64,
    ) -> Result<Vec<SubtaskEffect>, Error> {
        self.touch();
        match data {
            Move::Send(channel) => {
                let output = self.outputs[channel.index()];
                if let (Some(element), Some(to)) = (self.subtask.take_ready(channel), channels.get_mut(&output)) {
                    to.push(element).map_err(|error| self.subtask.fault(error))?;
                }
                Ok(Vec::new())
            }
            Move::Read(channel) => {
                let from = channels.get_mut(&(self.subtask.id(), channel));
                let popped = from.map_or(Ok(None), Channel::pop);
                match popped.map_err(|error| self.subtask.fault(error))? {
                    Some(element) => self.step(SubtaskInput::Element(channel, element), clock, records),
                    None => Ok(Vec::new()),
                }
            }
            Move::Resume => self.step(SubtaskInput::Resume, clock, records),
            Move::Overtake => self.overtake(channels, clock, records),
            Move::Flush => {
                self.may_flush = self.subtask.flush();
                Ok(Vec::new())
            }
        }
    }

    /// One step of the machine.
    pub(crate) fn step(
        &mut self,
        input: SubtaskInput,
        clock: &VirtualClock,
        records: u64,
    ) -> Result<Vec<SubtaskEffect>, Error> {
        self.may_flush = true;
        self.touch();
        let mut effects = Vec::new();
        let mut stride = 1;
        let mut slice = Slice::new(clock, std::time::Duration::from_millis(1), records, &mut stride);
        self.subtask.step(input, &mut slice, &mut effects)?;
        let RecordCounts { records_in, records_out, late_records } = self.subtask.take_record_counts();
        self.records.records_in += records_in;
        self.records.records_out += records_out;
        self.records.late_records += late_records;
        Ok(effects)
    }

    /// For a run that makes no progress.
    pub(crate) fn describe(&mut self, channels: &Channels, clock: &VirtualClock) -> String {
        let id = self.subtask.id();
        let inputs: Vec<_> = (0..self.inputs as u32)
            .map(ChannelIndex)
            .map(|channel| {
                let queued = channels[&(id, channel)].len();
                format!("{queued}{}", if self.subtask.can_read(channel, true) { "" } else { " unread" })
            })
            .collect();
        let ready: Vec<_> =
            (0..self.outputs.len() as u32).filter(|i| self.subtask.has_ready(ChannelIndex(*i))).collect();
        format!(
            "{}.{} '{}': {:?}, needs {:?} at {} ns, inputs [{}], ready outputs {ready:?}, {} calls, {:?}",
            id.chain,
            id.index,
            self.subtask.name(),
            self.state,
            self.subtask.need(),
            clock.now(),
            inputs.join(", "),
            self.calls,
            self.records,
        )
    }
}
