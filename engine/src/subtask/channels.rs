//! A subtask's channels, as its driver sees them.

use super::Subtask;
use crate::{
    element::StreamElement,
    error::Error,
    id::{ChannelIndex, ProcessingTime},
};

/// Records that passed since last asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordCounts {
    /// Into the chain.
    pub records_in: u64,
    /// Out of it, into outputs, side outputs or a sink.
    pub records_out: u64,
    /// Dropped by its steps, as they came too late.
    pub late_records: u64,
}

/// Elements that wait on feedback channels when the head of a loop stops taking ordinary input.
const BACKLOG: usize = 8;

impl Subtask {
    /// Whether an element of `channel` may be given to the next step. At the head of a loop in which much is about ordinary records wait; not so a barrier
    /// or an end, and what is in front of it: say whether there `is_line` in the channel.
    pub fn can_read(&self, channel: ChannelIndex, is_line: bool) -> bool {
        self.gate.can_read(channel) && (self.backlog < BACKLOG || is_line || self.is_feedback(channel))
    }

    /// Whether a channel comes round from this very subtask's chain: then it has no bound, and [spills](crate::ChannelQueue::spilling).
    pub fn is_feedback(&self, channel: ChannelIndex) -> bool {
        self.inputs.iter().any(|edge| edge.is_feedback && edge.layout.all().any(|one| one == channel))
    }

    /// Tells how many elements wait on all feedback channels together: above a mark no other channel is read.
    pub fn set_backlog(&mut self, elements: usize) {
        self.backlog = elements;
    }

    /// The number of output channels.
    pub fn output_channels(&mut self) -> usize {
        self.chain.tail().channels()
    }

    /// Whether an element is ready for an output channel.
    pub fn has_ready(&mut self, channel: ChannelIndex) -> bool {
        self.chain.tail().has_ready(channel)
    }

    /// Whether a barrier or an end is among them. A channel to the head of a loop has room for it, and for what is in front of it, in any case: the head reads up
    /// to it, however much comes round.
    pub fn has_line(&mut self, channel: ChannelIndex) -> bool {
        self.chain.tail().has_line(channel)
    }

    /// Takes the next element that is ready for an output channel.
    pub fn take_ready(&mut self, channel: ChannelIndex) -> Option<StreamElement> {
        self.chain.tail().take_ready(channel)
    }

    /// Takes a barrier for an output channel that leaves before what is ready there, with copies of that.
    pub fn take_overtaking(
        &mut self,
        channel: ChannelIndex,
        now: ProcessingTime,
    ) -> Result<Option<StreamElement>, Error> {
        let taken = self.chain.tail().take_overtaking(channel, now).map_err(|error| self.failed(error))?;
        Ok(taken.map(|(barrier, copies)| StreamElement::Barrier(barrier, copies)))
    }

    /// Records that passed since last asked.
    pub fn take_record_counts(&mut self) -> RecordCounts {
        RecordCounts {
            records_in: self.chain.head().take_records_in(),
            records_out: self.chain.tail().take_records_out(),
            late_records: self.chain.head().take_late(),
        }
    }
}
