//! What happened in a run, line by line.

use std::fmt;

use cofferdam_engine::{
    Attempt, CheckpointId, ProcessingTime,
    checkpoint::snapshot::SubtaskId,
    fail_point::{Point, Site},
};

use crate::{
    part::Move,
    post::{Party, Request},
    schedule::Fault,
};

#[derive(Clone)]
pub(crate) enum Event {
    Data(SubtaskId, Move),
    Delivered(Party, Party, &'static str, Option<CheckpointId>),
    Reached(Site, Option<Fault>),
    /// A fault waits for its point.
    Armed(Point, Fault),
    CallRan(Party, &'static str),
    CallReturned(Party, &'static str),
    Ticked(Party),
    Request(Request),
    Failed(String),
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
            Event::Reached(Site { point, subtask, checkpoint }, fault) => {
                let who = subtask.map_or_else(String::new, |id| format!(" by {}", Party::Subtask(id)));
                let fault = fault.map_or_else(String::new, |fault| format!(": {}", fault.name().to_uppercase()));
                write!(f, "  {} {checkpoint}{who}{fault}", point.name())
            }
            Event::Armed(point, fault) => write!(f, "{fault} waits for {}", point.name()),
            Event::CallRan(party, call) => write!(f, "{party}: {call} takes effect"),
            Event::CallReturned(party, call) => write!(f, "{party}: {call} returns"),
            Event::Ticked(party) => write!(f, "{party} ticks"),
            Event::Request(request) => write!(f, "host: {request:?}"),
            Event::Failed(error) => write!(f, "the attempt failed: {error}"),
            Event::ProcessStarted => f.write_str("process starts"),
            Event::AttemptStarted(attempt, restored) => write!(f, "attempt {attempt} from checkpoint {restored}"),
            Event::Ended(how) => write!(f, "ended: {how}"),
        }
    }
}
