//! Short names for what the tests below feed to the machines and see of them.

use std::{any::Any, time::Duration};

use cofferdam_engine::{
    Attempt, BoxError, ChannelIndex, CheckpointBarrier, CheckpointId, Copied, NoTime, ProcessingTime, Stamped,
    StreamElement, Timestamp, Watermark,
    checkpoint::{
        config::CheckpointMode,
        gate::{GateEvent, InputGate},
    },
    codec,
};

pub fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The moment `milliseconds` after the beginning.
pub fn at(milliseconds: u64) -> ProcessingTime {
    ProcessingTime::default().after(ms(milliseconds))
}

pub fn batch(record: u64) -> StreamElement {
    StreamElement::Batch(Box::new(vec![Stamped::from(record)]))
}

pub fn mark(time: i64) -> StreamElement {
    StreamElement::Watermark(active(time))
}

pub fn idle_mark(time: i64) -> StreamElement {
    StreamElement::Watermark(idle(time))
}

pub fn active(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: false }
}

pub fn idle(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: true }
}

pub fn barrier(checkpoint: u64) -> StreamElement {
    overtaking(checkpoint, None)
}

/// A barrier that overtakes from `time` on.
pub fn overtaking(checkpoint: u64, time: Option<ProcessingTime>) -> StreamElement {
    let (attempt, triggered) = (Attempt(1), at(0));
    let barrier =
        CheckpointBarrier { checkpoint: CheckpointId(checkpoint), attempt, triggered, overtakes: time, halt: false };
    StreamElement::barrier(barrier)
}

pub fn end() -> StreamElement {
    StreamElement::EndOfInput
}

/// A gate's event, comparable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Delivered(u64),
    Ended,
    Time(Watermark),
    Aligned(u64),
    /// All that was in flight: batches by their numbers, watermarks below zero by their times.
    Recorded(u64, Vec<i64>),
    Collecting(u64),
    Declined(u64),
    Stashed(u64),
    Nothing,
}

/// What one call on a gate led to; alone, an event is as good as the list of it, and `Nothing` as the empty one.
#[derive(Debug)]
pub struct Events(pub Vec<Seen>);

impl PartialEq<Seen> for Events {
    fn eq(&self, other: &Seen) -> bool {
        match (&self.0[..], other) {
            ([], Seen::Nothing) => true,
            ([one], other) => one == other,
            _ => false,
        }
    }
}

impl<const N: usize> PartialEq<[Seen; N]> for Events {
    fn eq(&self, other: &[Seen; N]) -> bool {
        self.0 == other
    }
}

impl From<GateEvent> for Seen {
    fn from(event: GateEvent) -> Self {
        match event {
            GateEvent::Deliver(_, batch) => {
                let batch: Box<dyn Any> = batch;
                let records = batch.downcast_ref::<Vec<Stamped<u64, NoTime>>>();
                Self::Delivered(
                    records.map_or_else(|| panic!("batches here hold numbers"), |records| records[0].record),
                )
            }
            GateEvent::EndOfInput => Self::Ended,
            GateEvent::Recorded(checkpoint, recorded) => {
                let decode = |copied: &Copied<Vec<u8>>| match copied {
                    Copied::Batch(bytes) => codec::decode::<Vec<i64>>(bytes).unwrap_or_default(),
                    Copied::Watermark(mark) => vec![-mark.time.0],
                };
                Self::Recorded(checkpoint.0, recorded.batches.iter().flat_map(|(_, copied)| decode(copied)).collect())
            }
            GateEvent::Time(mark) => Self::Time(mark),
            GateEvent::Aligned(aligned) => Self::Aligned(aligned.barrier.checkpoint.0),
            GateEvent::Collecting(checkpoint) => Self::Collecting(checkpoint.0),
            GateEvent::Declined(checkpoint) => Self::Declined(checkpoint.0),
            GateEvent::Stashed(checkpoint) => Self::Stashed(checkpoint.0),
        }
    }
}

/// A gate and the words to talk to it.
pub struct Gate(pub InputGate);

impl Gate {
    pub fn new(channels: usize, mode: CheckpointMode, limit: usize) -> Self {
        Self(InputGate::new(channels, mode, limit, CheckpointId(0)))
    }

    pub fn receive(&mut self, channel: u32, element: StreamElement) -> Events {
        self.receive_at(channel, element, at(0))
    }

    pub fn receive_at(&mut self, channel: u32, element: StreamElement, now: ProcessingTime) -> Events {
        self.ask(|gate, events| gate.receive(ChannelIndex(channel), element, now, events))
    }

    /// A barrier has overtaken batches of these numbers, one each, and watermarks of the times that are below zero.
    pub fn overtaken(&mut self, channel: u32, checkpoint: u64, copies: &[i64]) -> Events {
        let StreamElement::Barrier(barrier, _) = overtaking(checkpoint, Some(at(0))) else { return Events(Vec::new()) };
        let copy = |number: &i64| match *number {
            time @ ..0 => Copied::Watermark(active(-time)),
            batch => Copied::Batch(codec::encode(&vec![batch]).unwrap_or_default()),
        };
        let copies = copies.iter().map(copy).collect();
        self.ask(|gate, events| gate.overtaken(ChannelIndex(channel), barrier, copies, at(0), events))
    }

    pub fn time_passed(&mut self, now: ProcessingTime) -> Events {
        self.ask(|gate, events| gate.time_passed(now, events))
    }

    fn ask(&mut self, ask: impl FnOnce(&mut InputGate, &mut Vec<GateEvent>) -> Result<(), BoxError>) -> Events {
        let mut events = Vec::new();
        let asked = ask(&mut self.0, &mut events);
        assert!(asked.is_ok(), "{asked:?}");
        Events(events.into_iter().map(Seen::from).collect())
    }

    /// Everything that is replayed now.
    pub fn replay(&mut self) -> Vec<Seen> {
        let mut all = Vec::new();
        loop {
            let mut went_on = false;
            let events = self.ask(|gate, events| {
                went_on = gate.replay(true, at(0), events)?;
                Ok(())
            });
            all.extend(events.0);
            if !went_on {
                return all;
            }
        }
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
