//! The head of a chain that reads a source.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    checkpoint::snapshot::OperatorSnapshot,
    codec::{decode, encode},
    error::{BoxError, Error, Location},
    id::ProcessingTime,
    mutation::{self, Mutation},
    operator::{
        OpenContext, Operator, SnapshotBuilder, SourceStatus, Stateful, Step, StepError,
        split_clock::{Quiet, SplitTime, StoredClock},
    },
    panic_site::running,
    slice::{Flow, Slice, Stop},
    source::{Read, Source, SplitReader},
    time::NoTime,
    topology::graph::StepIndex,
};

/// Records read from one split of an unbounded source before the next split has its turn.
const TURN: u32 = 1024;

/// Records read between two looks at anything but the reader.
const TOGETHER: usize = 64;

/// A split and how far it has been read: what checkpoints store of a source.
#[derive(Serialize, Deserialize)]
pub(crate) struct SplitState<S, P> {
    split: S,
    position: Option<P>,
    ended: bool,
    /// The clocks of steps behind the source: they go where the split goes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    times: Vec<SplitTime>,
}

/// The stored form of a split that has not been read yet.
pub(crate) fn encode_new_split<S: Source>(split: S::Split) -> Result<Vec<u8>, BoxError> {
    encode(&vec![SplitState::<_, S::Position> { split, position: None, ended: false, times: Vec::new() }])
}

struct OpenSplit<S: Source> {
    /// Which of the subtask's splits, for [`Slice::split`].
    number: u32,
    split: S::Split,
    reader: S::Reader,
    /// Set while the reader has nothing.
    not_before: Option<ProcessingTime>,
    /// Since its last record, if it had nothing since.
    quiet: Option<Quiet>,
    /// It waits for others in its alignment group.
    is_held: bool,
    restored: Vec<SplitTime>,
}

/// Reads its share of a source's splits. A bounded source's splits are read one after the other, an unbounded one's by turns.
pub struct SourceStep<S: Source> {
    step: StepIndex,
    uid: Arc<str>,
    source: Arc<S>,
    /// The one at the front is being read.
    splits: VecDeque<OpenSplit<S>>,
    /// Splits of a bounded source that have not been opened yet.
    waiting: VecDeque<(u32, SplitState<S::Split, S::Position>)>,
    /// Splits read to their end: kept in checkpoints, so that they are not read again.
    ended: Vec<SplitState<S::Split, S::Position>>,
    turn: u32,
    /// The host asked for the end of the input.
    drained: bool,
    records_in: u64,
}

impl<S: Source> SourceStep<S> {
    pub(crate) fn new(step: StepIndex, uid: Arc<str>, source: Arc<S>) -> Self {
        Self {
            step,
            uid,
            source,
            splits: VecDeque::new(),
            waiting: VecDeque::new(),
            ended: Vec::new(),
            turn: 0,
            drained: false,
            records_in: 0,
        }
    }

    /// Opens the next split that waits, if the source is read one split after the other and none is open, or all of them.
    fn open_splits(&mut self) -> Result<(), BoxError> {
        while !self.waiting.is_empty() && (self.splits.is_empty() || !self.source.is_bounded()) {
            let Some((number, state)) = self.waiting.pop_front() else { break };
            let reader = running(self.step, || self.source.open(&state.split, state.position.as_ref()))?;
            let SplitState { split, times: restored, .. } = state;
            let (not_before, quiet, is_held) = (None, None, false);
            self.splits.push_back(OpenSplit { number, split, reader, not_before, quiet, is_held, restored });
        }
        Ok(())
    }

    /// Whether the split at the front may be asked; moves on to one that may.
    fn find_ready(&mut self, now: ProcessingTime) -> bool {
        for _ in 0..self.splits.len() {
            if !self.splits[0].is_held && self.splits[0].not_before.is_none_or(|time| time <= now) {
                self.splits[0].not_before = None;
                return true;
            }
            self.splits.rotate_left(1);
        }
        false
    }

    fn end_front(&mut self) -> Result<(), BoxError> {
        if let Some(mut open) = self.splits.pop_front() {
            let position = Some(open.reader.position()?);
            self.ended.push(SplitState { split: open.split, position, ended: true, times: Vec::new() });
        }
        self.open_splits()
    }

    fn states(
        &mut self,
        times: &mut BTreeMap<u32, Vec<SplitTime>>,
    ) -> Result<Vec<SplitState<S::Split, S::Position>>, BoxError> {
        let copy = |state: &SplitState<S::Split, S::Position>| SplitState {
            split: state.split.clone(),
            position: state.position.clone(),
            ended: state.ended,
            times: state.times.clone(),
        };
        let waiting = self.waiting.iter().map(|(_, state)| state);
        let mut states: Vec<_> = self.ended.iter().chain(waiting).map(copy).collect();
        for open in &mut self.splits {
            states.push(SplitState {
                split: open.split.clone(),
                position: Some(open.reader.position()?),
                ended: false,
                times: times.remove(&open.number).unwrap_or_default(),
            });
        }
        if self.drained {
            states.iter_mut().for_each(|state| state.ended = true);
        }
        Ok(states)
    }
}

impl<S: Source> Stateful for SourceStep<S> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let location =
            Location { job: context.job_name.to_string(), operator: self.uid.to_string(), subtask: context.subtask };
        let snapshots = context.operator_snapshots(&self.uid);
        // As many subtasks as then keep their own: what has been said of time on their channels holds.
        let is_kept = snapshots.len() == context.parallelism as usize;
        let mut next = 0u32;
        for (subtask, snapshot) in (0..).zip(snapshots) {
            let states: Vec<SplitState<S::Split, S::Position>> = decode(&snapshot.state).map_err(|error| {
                Error::refused(format!(
                    "the positions of {location} in checkpoint {} of {} cannot be read ({error}): they were written by another type of source; \
                     start with the source they belong to, or delete the state to start over",
                    context.restored.checkpoint, context.state_place
                ))
            })?;
            for state in states {
                let owner = if is_kept { subtask } else { next % context.parallelism };
                next += 1;
                if owner != context.subtask.0 {
                } else if state.ended {
                    self.ended.push(state);
                } else {
                    self.waiting.push_back((self.waiting.len() as u32, state));
                }
            }
        }
        self.open_splits().map_err(|error| Error::operator(&location, error))
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let step = self.step;
        let states =
            running(step, || self.states(&mut snapshot.split_times)).map_err(|cause| StepError { step, cause })?;
        let state = encode(&states)?;
        snapshot.operators.push((self.uid.to_string(), OperatorSnapshot { state, transactions: Vec::new() }));
        Ok(())
    }
}

impl<S: Source> Step for SourceStep<S> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        None
    }

    fn source_status(&mut self) -> Option<SourceStatus> {
        if self.drained || self.splits.is_empty() {
            return Some(SourceStatus::Ended);
        }
        let free = self.splits.iter().filter(|open| !open.is_held);
        let status = match free.map(|open| open.not_before).min() {
            Some(Some(time)) => SourceStatus::NotBefore(time),
            Some(None) => SourceStatus::Ready,
            None => SourceStatus::Held,
        };
        Some(status)
    }

    fn end_source(&mut self) {
        self.drained = true;
    }

    fn source_position(&mut self) -> Option<Result<Vec<u8>, BoxError>> {
        // The record that is asked about is the last one read, and the split is turned away from only when the next one is.
        let open = self.splits.front_mut()?;
        let position = running(self.step, || open.reader.position());
        Some(position.and_then(|position| encode(&(&open.split, position))))
    }

    fn take_records_in(&mut self) -> u64 {
        std::mem::take(&mut self.records_in)
    }

    fn splits(&mut self, visit: &mut dyn FnMut(u32, Option<Quiet>)) -> Option<bool> {
        if self.drained {
            return Some(false);
        }
        self.splits.iter().for_each(|open| visit(open.number, open.quiet));
        Some(!self.waiting.is_empty())
    }

    fn hold_splits(&mut self, is_held: &mut dyn FnMut(u32) -> bool) -> bool {
        self.splits.iter_mut().for_each(|open| open.is_held = is_held(open.number));
        self.splits.iter().any(|open| open.is_held)
    }

    fn restored_clocks(&mut self, address: &str) -> Vec<Option<StoredClock>> {
        let open = self.splits.iter().map(|open| (open.number, &open.restored));
        let waiting = self.waiting.iter().map(|(number, state)| (*number, &state.times));
        let mut clocks = vec![None; self.splits.len() + self.waiting.len()];
        for (number, times) in open.chain(waiting) {
            let own = times.iter().find(|time| time.step == address);
            let own = own.filter(|_| !mutation::is(Mutation::SplitTimeNotMoved));
            clocks[number as usize] = own.map(|time| time.clock.clone());
        }
        clocks
    }
}

impl<S: Source> Operator for SourceStep<S> {
    type Out = S::Record;
    type Time = NoTime;

    #[inline]
    fn drive<F>(&mut self, slice: &mut Slice<'_>, sink: &mut F) -> Flow
    where
        F: FnMut(&mut Slice<'_>, S::Record, NoTime) -> Flow,
    {
        if self.drained {
            return Ok(());
        }
        let by_turns = !self.source.is_bounded();
        while self.find_ready(slice.now()) {
            let Self { step, splits, turn, records_in, .. } = self;
            let Some(front) = splits.front_mut() else { break };
            slice.split = front.number;
            let before = *records_in;
            let left = read_split(*step, front, by_turns.then_some(turn), records_in, slice, sink);
            if *records_in > before {
                front.quiet = None;
            }
            match left? {
                Left::Waiting(time) => {
                    front.not_before = Some(time);
                    front.quiet = Some(Quiet::from(front.quiet, slice.now(), time));
                }
                Left::Turn => splits.rotate_left(1),
                Left::Ended => self.end_front().map_err(|error| StepError::stop(self.step, error))?,
            }
        }
        Ok(())
    }
}

/// Why a split is left.
enum Left {
    Waiting(ProcessingTime),
    Turn,
    Ended,
}

#[inline]
fn read_split<S: Source>(
    step: StepIndex,
    open: &mut OpenSplit<S>,
    mut turn: Option<&mut u32>,
    records_in: &mut u64,
    slice: &mut Slice<'_>,
    sink: &mut impl FnMut(&mut Slice<'_>, S::Record, NoTime) -> Flow,
) -> Result<Left, Stop> {
    loop {
        let taken = slice.take(TOGETHER)?;
        let now = slice.now();
        for used in 1..=taken {
            let left = match running(step, || open.reader.read(now)) {
                Ok(Read::Record(record)) => {
                    let Err(stop) = sink(slice, record, NoTime) else { continue };
                    *records_in += used as u64;
                    slice.give_back(taken - used);
                    return Err(stop);
                }
                Ok(Read::NotBefore(time)) => Left::Waiting(time),
                Ok(Read::End) => Left::Ended,
                Err(error) => return Err(StepError::stop(step, error)),
            };
            *records_in += used as u64 - 1;
            slice.give_back(taken - used + 1);
            return Ok(left);
        }
        *records_in += taken as u64;
        if let Some(turn) = &mut turn {
            **turn += taken as u32;
            if **turn >= TURN {
                **turn = 0;
                return Ok(Left::Turn);
            }
        }
    }
}
