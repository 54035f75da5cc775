//! What happened in a run, line by line.

use std::fmt;

use cofferdam_engine::{Attempt, CheckpointId, ProcessingTime, checkpoint::snapshot::SubtaskId};

use crate::{
    fault::Fault,
    part::Move,
    post::{Party, Request},
};

#[derive(Clone)]
pub(crate) enum Event {
    Data(SubtaskId, Move),
    Delivered(Party, Party, &'static str, Option<CheckpointId>),
    Lost(Party, Party, &'static str, Option<CheckpointId>),
    CallRan(Party, &'static str),
    CallReturned(Party, &'static str),
    Ticked(Party),
    Fault(Fault),
    Request(Request),
    ProcessStarted,
    AttemptStarted(Attempt, CheckpointId),
    Ended(String),
}

/// One line of a trace.
#[derive(Clone)]
pub(crate) struct Line {
    pub(crate) step: u64,
    pub(crate) time: ProcessingTime,
    pub(crate) event: Event,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>6} {:>9} us  ", self.step, self.time.0 / 1000)?;
        let about = |checkpoint: &Option<CheckpointId>| checkpoint.map_or_else(String::new, |n| format!(" {n}"));
        match &self.event {
            Event::Data(id, data) => write!(f, "{} {data}", Party::Subtask(*id)),
            Event::Delivered(from, to, word, checkpoint) => write!(f, "{from} -> {to}: {word}{}", about(checkpoint)),
            Event::Lost(from, to, word, checkpoint) => write!(f, "LOST {from} -> {to}: {word}{}", about(checkpoint)),
            Event::CallRan(party, call) => write!(f, "{party}: {call} takes effect"),
            Event::CallReturned(party, call) => write!(f, "{party}: {call} returns"),
            Event::Ticked(party) => write!(f, "{party} ticks"),
            Event::Fault(fault) => write!(f, "FAULT {fault:?}"),
            Event::Request(request) => write!(f, "host: {request:?}"),
            Event::ProcessStarted => f.write_str("process starts"),
            Event::AttemptStarted(attempt, restored) => write!(f, "attempt {attempt} from checkpoint {restored}"),
            Event::Ended(how) => write!(f, "ended: {how}"),
        }
    }
}
