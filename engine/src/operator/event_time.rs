//! Gives each record its time, and makes the watermark.
//!
//! ```text
//! splits that are read now   watermark
//!   some are active          the minimum of the active ones; nothing, if others wait to be opened and may be earlier
//!   all are idle             the maximum of them, and idle
//!   none is left             what it was; the end follows
//! ```
//! Behind a source in the same chain each split has a clock. Behind an exchange, or a step that may keep records back, nobody knows which split a record is of, and there
//! is one clock for the subtask.
//!
//! In an [alignment](crate::time::Alignment) group a split whose clock is ahead of the others' is held: its reader is not asked.
//!
//! # Invariants
//! - The watermark never falls: a split that wakes behind it changes nothing until it has caught up.
//! - A held split is at most one record beyond the limit that was known when it was read.
//! - A split is idle from the moment when its reader has had nothing for long enough, up to its next record, whatever is restored between.

use std::sync::Arc;

use crate::{
    codec::{decode, encode},
    element::Watermark,
    error::{BoxError, Error, Location},
    id::{AlignmentGroup, ProcessingTime},
    mutation::{self, Mutation},
    operator::{
        OpenContext, Operator, SnapshotBuilder, Stateful, Step, StepError,
        alignment_member::AlignmentMember,
        split_clock::{self, Quiet, SplitTime, StoredClock},
    },
    panic_site::running,
    slice::{Flow, Slice, Stop},
    time::{
        Timestamp,
        strategy::{IntoTimestamp, WatermarkGenerator, WatermarkStrategy, time_of_record},
    },
    topology::graph::StepIndex,
};

pub struct EventTime<U: Operator, F, G: WatermarkGenerator<U::Out>> {
    step: StepIndex,
    address: Arc<str>,
    upstream: U,
    function: F,
    strategy: WatermarkStrategy<G>,
    clocks: Vec<SplitClock<G::State>>,
    /// All ones if each split has a clock, else 0.
    split_mask: u32,
    said: Watermark,
    alignment: Option<AlignmentMember>,
    /// A clock that is beyond belongs to a split that is to be held.
    limit: Timestamp,
}

struct SplitClock<S> {
    state: S,
    watermark: Timestamp,
    is_idle: bool,
}

/// The highest watermark that a record can stand behind.
const LAST: Timestamp = Timestamp(i64::MAX - 1);

impl<S: Default> Default for SplitClock<S> {
    fn default() -> Self {
        Self { state: S::default(), watermark: Timestamp::MIN, is_idle: false }
    }
}

impl<S> SplitClock<S> {
    fn advance<T>(&mut self, generator: &impl WatermarkGenerator<T, State = S>) -> Timestamp {
        self.watermark = self.watermark.max(generator.watermark(&self.state).min(LAST));
        self.watermark
    }

    /// Whether the record that has just come is of a split that waits for others now, or that others wait for again.
    #[cold]
    fn is_turning<T>(&mut self, generator: &impl WatermarkGenerator<T, State = S>, limit: Timestamp) -> bool {
        std::mem::take(&mut self.is_idle) | (self.advance(generator) > limit)
    }
}

impl<U: Operator, F, G: WatermarkGenerator<U::Out>> EventTime<U, F, G> {
    pub(crate) fn new(
        step: StepIndex,
        address: Arc<str>,
        upstream: U,
        function: F,
        strategy: WatermarkStrategy<G>,
        by_split: bool,
    ) -> Self {
        let split_mask = if by_split { u32::MAX } else { 0 };
        let clocks = vec![SplitClock::default()];
        let (said, limit) = (Watermark::NONE, Timestamp::MAX);
        Self { step, address, upstream, function, strategy, clocks, split_mask, said, alignment: None, limit }
    }

    /// The same as a member of a group, if it is one; each split has a clock.
    pub(crate) fn aligned(self, alignment: Option<AlignmentMember>) -> Self {
        Self { alignment, ..self }
    }

    fn has_clock_by_split(&self) -> bool {
        self.split_mask != 0
    }

    fn stored(&mut self, number: u32) -> Result<StoredClock, BoxError> {
        let (step, generator) = (self.step, &self.strategy.generator);
        let clock = &mut self.clocks[number as usize];
        let watermark = running(step, || clock.advance(generator));
        let state = encode(&clock.state).map_err(|cause| StepError { step, cause })?;
        Ok(StoredClock { watermark, is_idle: clock.is_idle, state })
    }

    fn restored(&self, stored: StoredClock, context: &OpenContext) -> Result<SplitClock<G::State>, Error> {
        let StoredClock { watermark, is_idle, state } = stored;
        let is_idle = is_idle && !mutation::is(Mutation::IdleForgotten);
        match decode(&state) {
            Ok(state) => Ok(SplitClock { state, watermark, is_idle }),
            Err(error) => {
                let (job, operator) = (context.job_name.to_string(), self.address.to_string());
                let location = Location { job, operator, subtask: context.subtask };
                Err(Error::refused(format!(
                    "what {location} knew of time in checkpoint {} of {} cannot be read ({error}): it was written with another watermark strategy; start with that one, or give \
                     the step another `uid` to begin without",
                    context.restored.checkpoint, context.state_place
                )))
            }
        }
    }

    /// Each open split's clock, advanced, and how long the split has been quiet.
    fn watermark_of_splits(&mut self, now: ProcessingTime) -> Watermark {
        let Self { step, upstream, strategy, clocks, said, alignment, .. } = self;
        let (mut active, mut idle, mut read) = (None::<Timestamp>, None::<Timestamp>, 0);
        let mut visit = |number: u32, quiet: Option<Quiet>| {
            let clock = &mut clocks[number as usize];
            let time = running(*step, || clock.advance(&strategy.generator));
            clock.is_idle |= is_idle(strategy, quiet, now);
            read += u32::from(!clock.is_idle);
            match clock.is_idle {
                true => idle = idle.max(Some(time)),
                false => active = Some(active.map_or(time, |active| active.min(time))),
            }
        };
        let is_all = upstream.splits(&mut visit) != Some(true) || strategy.splits_in_order;
        let known = match (active, idle) {
            (Some(time), _) => Watermark { time, is_idle: false },
            (None, Some(time)) => Watermark { time, is_idle: true },
            (None, None) => *said,
        };
        if let Some(alignment) = alignment {
            alignment.has_come_to(known, read > 1);
            self.hold();
        }
        if is_all { known } else { Watermark { is_idle: false, ..self.said } }
    }

    /// Holds the splits that are too far ahead, and no others.
    fn hold(&mut self) {
        let Some(alignment) = &mut self.alignment else { return };
        let (clocks, limit) = (&self.clocks, alignment.limit());
        self.limit = limit;
        alignment.set_holding(self.upstream.hold_splits(&mut |number| clocks[number as usize].watermark > limit));
    }

    /// The one clock. It is idle if what comes to it is, or if nothing is read.
    fn watermark_of_all(&mut self, is_input_idle: bool, now: ProcessingTime) -> Watermark {
        let Self { step, upstream, strategy, clocks, .. } = self;
        let (mut open, mut quiet_ones) = (0, 0);
        upstream.splits(&mut |_, quiet| {
            open += 1;
            quiet_ones += u32::from(is_idle(strategy, quiet, now));
        });
        let clock = &mut clocks[0];
        clock.is_idle |= open > 0 && open == quiet_ones;
        let time = running(*step, || clock.advance(&strategy.generator));
        Watermark { time, is_idle: clock.is_idle || is_input_idle }
    }
}

fn is_idle<G>(strategy: &WatermarkStrategy<G>, quiet: Option<Quiet>, now: ProcessingTime) -> bool {
    matches!((strategy.idle_after, quiet), (Some(after), Some(quiet)) if quiet.lasts(now) >= after)
}

impl<U: Operator, F: Send, G: WatermarkGenerator<U::Out>> Stateful for EventTime<U, F, G> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        if self.has_clock_by_split() {
            return Ok(());
        }
        // On another number of subtasks records of any of them may come: the least is known.
        let least = |all: Vec<StoredClock>| all.into_iter().min_by_key(|clock| clock.watermark);
        if let Some(stored) = split_clock::restore(&self.address, context, least)? {
            self.clocks = vec![self.restored(stored, context)?];
        }
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        if !self.has_clock_by_split() {
            let clock = self.stored(0)?;
            return split_clock::save(&self.address, clock, snapshot);
        }
        let mut open = Vec::new();
        self.upstream.splits(&mut |number, _| open.push(number));
        for number in open {
            let time = SplitTime { step: self.address.to_string(), clock: self.stored(number)? };
            snapshot.split_times.entry(number).or_default().push(time);
        }
        Ok(())
    }
}

impl<U: Operator, F: Send, G: WatermarkGenerator<U::Out>> Step for EventTime<U, F, G> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        Some(&mut self.upstream)
    }

    fn begin(&mut self, context: &OpenContext) -> Result<(), Error> {
        if self.has_clock_by_split() {
            let stored = self.upstream.restored_clocks(&self.address).into_iter();
            let clocks = stored.map(|stored| {
                stored.map_or_else(|| Ok(SplitClock::default()), |stored| self.restored(stored, context))
            });
            self.clocks = clocks.collect::<Result<_, _>>()?;
        }
        Ok(())
    }

    fn watermark(&mut self, head: Watermark, slice: &Slice<'_>) -> Watermark {
        let input = self.upstream.watermark(head, slice);
        if input == Watermark::END {
            self.said = input;
            if let Some(alignment) = &mut self.alignment {
                alignment.has_come_to(input, false);
            }
            return input;
        }
        let Watermark { time, is_idle } = match self.has_clock_by_split() {
            true => self.watermark_of_splits(slice.now()),
            false => self.watermark_of_all(input.is_idle, slice.now()),
        };
        self.said = Watermark { time: self.said.time.max(time), is_idle };
        self.said
    }

    fn moves_time(&mut self) -> bool {
        true
    }

    fn wake_at(&mut self) -> Option<ProcessingTime> {
        let by_split = self.has_clock_by_split();
        let Self { upstream, strategy, clocks, alignment, .. } = self;
        let speaks_at = alignment.as_ref().map(AlignmentMember::speaks_at);
        let before = upstream.wake_at().into_iter().chain(speaks_at).min();
        let Some(after) = strategy.idle_after else { return before };
        let (mut first, mut last, mut are_all_quiet) = (None, None, true);
        upstream.splits(&mut |number, quiet| {
            let is_idle = clocks[if by_split { number as usize } else { 0 }].is_idle;
            match quiet.filter(|_| !is_idle).and_then(|quiet| quiet.reaches(after)) {
                Some(moment) => {
                    first = Some(first.map_or(moment, |first: ProcessingTime| first.min(moment)));
                    last = last.max(Some(moment));
                }
                None => are_all_quiet = false,
            }
        });
        // One clock for all falls idle with the last of them.
        let moment = if by_split { first } else { last.filter(|_| are_all_quiet) };
        moment.into_iter().chain(before).min()
    }

    fn source_time(&mut self, now: ProcessingTime) -> Option<(AlignmentGroup, Watermark)> {
        match &mut self.alignment {
            Some(alignment) => alignment.speak(now),
            None => self.upstream.source_time(now),
        }
    }

    fn limit(&mut self, group: AlignmentGroup, slowest: Timestamp) {
        match &mut self.alignment {
            Some(alignment) => alignment.hear(group, slowest),
            None => return self.upstream.limit(group, slowest),
        }
        self.hold();
    }
}

impl<U, F, G, R> Operator for EventTime<U, F, G>
where
    U: Operator,
    F: FnMut(&U::Out) -> R + Send + 'static,
    G: WatermarkGenerator<U::Out>,
    R: IntoTimestamp,
{
    type Out = U::Out;
    type Time = Timestamp;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, U::Out, Timestamp) -> Flow,
    {
        let Self { step, upstream, function, strategy, clocks, split_mask, limit, .. } = self;
        let limit = *limit;
        upstream.drive(slice, &mut |slice, record, _| {
            let clock = &mut clocks[(slice.split & *split_mask) as usize];
            let time = running(*step, || {
                let time = time_of_record(function(&record))?;
                strategy.generator.observe(&mut clock.state, &record, time);
                Ok(time)
            });
            let time = time.map_err(|cause| StepError::stop(*step, cause))?;
            if !(clock.is_idle | (time > limit)) {
                return sink(slice, record, time);
            }
            // All outputs learn at once that time waits for this split again; and it is held behind the first record that is too far ahead.
            let is_turning = running(*step, || clock.is_turning(&strategy.generator, limit));
            sink(slice, record, time)?;
            if is_turning { Err(Stop::Yield) } else { Ok(()) }
        })
    }
}

#[cfg(test)]
mod tests;
