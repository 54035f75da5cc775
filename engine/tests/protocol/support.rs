//! Short names for what the tests below feed to the machines and see of them.

use std::{any::Any, time::Duration};

use cofferdam_engine::{
    Attempt, ChannelIndex, CheckpointBarrier, CheckpointId, ProcessingTime, StreamElement,
    checkpoint::{
        config::CheckpointMode,
        gate::{GateEvent, InputGate},
    },
};

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The moment `milliseconds` after the beginning.
pub fn at(milliseconds: u64) -> ProcessingTime {
    ProcessingTime::default().after(ms(milliseconds))
}

pub fn batch(record: u64) -> StreamElement {
    StreamElement::Batch(Box::new(vec![record]))
}

pub fn barrier(checkpoint: u64) -> StreamElement {
    StreamElement::Barrier(CheckpointBarrier { checkpoint: CheckpointId(checkpoint), attempt: Attempt(1), halt: false })
}

pub fn end() -> StreamElement {
    StreamElement::EndOfInput
}

/// A gate's event, comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Delivered(u64),
    Ended { all: bool },
    Aligned(u64),
    Collecting(u64),
    Declined(u64),
    Stashed(u64),
    Nothing,
}

impl From<GateEvent> for Seen {
    fn from(event: GateEvent) -> Self {
        match event {
            GateEvent::Deliver(batch) => {
                let batch: Box<dyn Any> = batch;
                let records = batch.downcast_ref::<Vec<u64>>();
                Self::Delivered(records.map_or_else(|| panic!("batches here hold numbers"), |records| records[0]))
            }
            GateEvent::EndOfInput { all } => Self::Ended { all },
            GateEvent::Aligned(aligned) => Self::Aligned(aligned.barrier.checkpoint.0),
            GateEvent::Collecting(checkpoint) => Self::Collecting(checkpoint.0),
            GateEvent::Declined(checkpoint) => Self::Declined(checkpoint.0),
            GateEvent::Stashed(checkpoint) => Self::Stashed(checkpoint.0),
            GateEvent::Nothing => Self::Nothing,
        }
    }
}

/// A gate and the words to talk to it.
pub struct Gate(pub InputGate);

impl Gate {
    pub fn new(channels: usize, mode: CheckpointMode, limit: usize) -> Self {
        Self(InputGate::new(channels, mode, limit, CheckpointId(0)))
    }

    pub fn receive(&mut self, channel: u32, element: StreamElement) -> Seen {
        self.0.receive(ChannelIndex(channel), element, at(0)).into()
    }

    /// Everything that is replayed now.
    pub fn replay(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.0.replay(at(0))).map(Seen::from).collect()
    }

    pub fn cancel(&mut self, checkpoint: u64) {
        self.0.cancel(CheckpointId(checkpoint));
    }

    pub fn can_read(&self, channel: u32) -> bool {
        self.0.can_read(ChannelIndex(channel))
    }

    pub fn collecting(&self) -> Option<u64> {
        self.0.collecting().map(|checkpoint| checkpoint.0)
    }
}
