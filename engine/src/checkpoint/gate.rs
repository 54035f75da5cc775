//! The input gate: aligns barriers over a subtask's input channels, and records what is in flight where a snapshot does not wait for them.
//!
//! What each input does in each state. *n* is the checkpoint being collected, `last` the highest one handled (aligned, declined or cancelled). A channel
//! is *blocked* once its barrier *n* is in, in exactly-once mode, as long as *n* is being collected.
//!
//! ```text
//!                    | waiting                      | collecting n
//! -------------------+------------------------------+--------------------------------------------------
//! batch              | deliver                      | deliver; blocked channel: stash
//! watermark          | heard by `InputTimes`        | the same; blocked channel: stash, in the place of one at the stash's end
//! barrier m <= last  | drop                         | drop
//! barrier n          | collect n                    | mark the channel; last one: aligned
//! barrier m > n      | (= collect m)                | channel not marked: n can no longer come here: decline n
//!                    |                              |   collect m; blocked channel: stash
//! end of input       | deliver; the channel has     | the same; blocked channel: stash
//!                    |   ended, but still aligns    |
//! n becomes due      | -                            | aligned at once, and recording
//! cancel n           | n never counts               | unblock
//! ```
//! "Collect" with a single channel is "aligned" at once. At-least-once mode never blocks: it only counts, several checkpoints at once if they overlap.
//!
//! # Recording
//! A checkpoint is aligned early if its barrier overtakes ([`CheckpointBarrier::is_due`]), and, at the head of a loop, when the ordinary channels have
//! delivered it: a feedback channel is not waited for. Then a *recording* begins, of the channels whose barrier *n* is missing: every batch and watermark that
//! they deliver until barrier *n* is in flight, and so part of *n*; and so is every one that a barrier *n* has overtaken, wherever it waits. It ends with the last barrier
//! (`Recorded`), or is given up: a barrier *m > n* comes first (`Declined`), or *n* is cancelled. See `docs/decisions/0010` and `0011`.
//!
//! Watermarks of channels that come round, or whose records have no time, are dropped.
//!
//! # Invariants
//! - What is in a channel's stash came before everything still in the channel: it is replayed, through the same table, before the
//!   channel, or any channel, is read again.
//! - At most `limit` elements are stashed, beside what a restart put back; after that [`InputGate::can_read`] is false for blocked channels, and backpressure does the rest.
//! - `last` grows, and no checkpoint is aligned twice.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use crate::{
    checkpoint::{config::CheckpointMode, input_times::InputTimes, snapshot::GateTime},
    element::{
        CheckpointBarrier, Copied, InFlight, StreamElement, Watermark, copy, overtake, overtakes_at, push_or_replace,
    },
    error::BoxError,
    id::{ChannelIndex, CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
    record::Batch,
};

/// What a gate makes of an element.
#[derive(Debug)]
pub enum GateEvent<B: InFlight = Box<dyn Batch>> {
    /// Records for the chain.
    Deliver(ChannelIndex, B),
    /// The inputs say this of time now.
    Time(Watermark),
    /// The last channel has ended, and with it time.
    EndOfInput,
    /// The first barrier of a checkpoint is in; others are awaited.
    Collecting(CheckpointId),
    /// Now is the time for the snapshot.
    Aligned(Aligned),
    /// Every barrier of a checkpoint that was aligned early is in.
    Recorded(CheckpointId, Recorded<B::Copy>),
    /// The element waits behind its channel's barrier of this checkpoint.
    Stashed(CheckpointId),
    /// A checkpoint can no longer be completed here: a newer barrier came first.
    Declined(CheckpointId),
}

/// A checkpoint whose snapshot is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aligned {
    /// The barrier.
    pub barrier: CheckpointBarrier,
    /// From the trigger to the first barrier in.
    pub start_delay: Duration,
    /// From the first barrier in to this moment; zero in at-least-once mode, where nothing waits.
    pub alignment: Duration,
    /// Records stashed meanwhile.
    pub stashed: u64,
    /// [`GateEvent::Recorded`] will follow, and belongs to the snapshot.
    pub is_recording: bool,
    /// The barrier has overtaken: the snapshot does not wait for the rest of the batch under way, which belongs to it too.
    pub is_early: bool,
}

/// What was in flight.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recorded<C> {
    /// Batches and watermarks, in the order of each channel.
    pub batches: Vec<(ChannelIndex, Copied<C>)>,
    /// The head of a loop: its ordinary channels had ended, and no record came round.
    pub is_quiet: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Channel<B: InFlight> {
    is_feedback: bool,
    ended: bool,
    stash: VecDeque<StreamElement<B>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Collecting<C> {
    barrier: CheckpointBarrier,
    since: ProcessingTime,
    arrived: Vec<bool>,
    /// Of what its barriers have overtaken.
    copies: Vec<(ChannelIndex, Copied<C>)>,
    stashed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Recording<C> {
    checkpoint: CheckpointId,
    arrived: Vec<bool>,
    had_ended: bool,
    batches: Vec<(ChannelIndex, Copied<C>)>,
}

impl<C> Recording<C> {
    /// A watermark of a channel whose barrier is missing. It takes the place of one that was the last of its channel.
    fn push_mark(&mut self, channel: ChannelIndex, mark: Watermark) {
        match self.batches.iter_mut().rfind(|(of, _)| *of == channel) {
            Some((_, Copied::Watermark(last))) => last.replace(mark),
            _ => self.batches.push((channel, Copied::Watermark(mark))),
        }
    }
}

/// Aligns barriers. See the module's table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InputGate<B: InFlight = Box<dyn Batch>> {
    mode: CheckpointMode,
    limit: usize,
    channels: Vec<Channel<B>>,
    times: InputTimes,
    /// Oldest first; in exactly-once mode one at most.
    collecting: VecDeque<Collecting<B::Copy>>,
    /// Oldest first.
    recordings: VecDeque<Recording<B::Copy>>,
    last: CheckpointId,
    /// Checkpoints after `last` that will not be.
    cancelled: BTreeSet<CheckpointId>,
    stashed: usize,
    /// The job is being stopped: what comes round is kept for the checkpoint, and goes nowhere.
    is_halted: bool,
    #[cfg(mutation)]
    has_new_input: bool,
}

impl<B: InFlight> InputGate<B> {
    /// A gate over `channels` channels that has handled every checkpoint up to `last`.
    pub fn new(channels: usize, mode: CheckpointMode, limit: usize, last: CheckpointId) -> Self {
        let channel = || Channel { is_feedback: false, ended: false, stash: VecDeque::new() };
        Self {
            mode,
            limit,
            channels: (0..channels).map(|_| channel()).collect(),
            times: InputTimes::new(channels),
            collecting: VecDeque::new(),
            recordings: VecDeque::new(),
            last,
            cancelled: BTreeSet::new(),
            stashed: 0,
            is_halted: false,
            #[cfg(mutation)]
            has_new_input: false,
        }
    }

    /// Says that a channel comes round from this very gate: nothing waits for its barriers, nor for its end.
    pub fn set_feedback(&mut self, channel: ChannelIndex) {
        self.channels[channel.index()].is_feedback = true;
        self.times.leave_out(channel);
    }

    /// Says that a channel's records have no time: what it says of it does not count.
    pub fn set_untimed(&mut self, channel: ChannelIndex) {
        self.times.leave_out(channel);
    }

    /// What the inputs say of time together.
    pub fn watermark(&self) -> Watermark {
        self.times.combined()
    }

    /// What the inputs say of time, each: for a snapshot.
    pub fn times(&self) -> GateTime {
        self.times.save()
    }

    /// Takes up what the inputs had said of time in a snapshot. To be called before anything is received.
    pub fn restore_times(&mut self, saved: &GateTime) {
        self.times.restore(saved);
    }

    /// The input has ended, whatever the channels say of time. A gate without channels, a source's, is told.
    pub fn end_time(&mut self) {
        self.times.end();
    }

    /// Puts back a batch or a watermark that was in flight when the restored checkpoint was taken. To be called before anything is received, in order.
    pub fn put_back(&mut self, channel: ChannelIndex, element: StreamElement<B>) {
        self.stash(channel.index(), element);
    }

    fn stash(&mut self, channel: usize, element: StreamElement<B>) {
        let stash = &mut self.channels[channel].stash;
        match element {
            StreamElement::Watermark(mark) => self.stashed += usize::from(!push_or_replace(stash, mark)),
            element => {
                stash.push_back(element);
                self.stashed += 1;
            }
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// The oldest checkpoint being collected.
    pub fn collecting(&self) -> Option<CheckpointId> {
        self.collecting.front().map(|collecting| collecting.barrier.checkpoint)
    }

    /// Whether an element of `channel` may be taken off it now.
    pub fn can_read(&self, channel: ChannelIndex) -> bool {
        !self.has_replay(true) && (!self.is_blocked(channel.index()) || self.stashed < self.limit)
    }

    /// Whether [`replay`](Self::replay) has something to give.
    pub fn has_replay(&self, wants_batch: bool) -> bool {
        #[cfg(mutation)]
        if mutation::is(Mutation::ReplayAfterNewInput) && !self.has_new_input {
            return false;
        }
        self.stashed > 0 && (0..self.channels.len()).any(|i| self.is_replayable(i, wants_batch))
    }

    /// When to tell the gate that [time has passed](Self::time_passed).
    pub fn overtakes_at(&self) -> Option<ProcessingTime> {
        let collecting = self.collecting.front().and_then(|collecting| collecting.barrier.overtakes);
        let channels =
            self.channels.iter().enumerate().filter(|(index, _)| self.stashed > 0 && !self.is_blocked(*index));
        let stashed = channels.filter_map(|(_, one)| overtakes_at(&one.stash));
        stashed.chain(collecting).min()
    }

    fn is_blocked(&self, channel: usize) -> bool {
        if mutation::is(Mutation::NoStash) || self.mode == CheckpointMode::AtLeastOnce {
            return false;
        }
        self.collecting.front().is_some_and(|collecting| collecting.arrived[channel])
    }

    fn is_replayable(&self, channel: usize, wants_batch: bool) -> bool {
        let next = self.channels[channel].stash.front();
        next.is_some_and(|next| wants_batch || !matches!(next, StreamElement::Batch(_)))
            && !self.is_blocked(channel)
            && !self.is_kept(channel)
    }

    /// Whether a channel's records are kept, as nothing may follow the barrier that halts.
    fn is_kept(&self, channel: usize) -> bool {
        self.is_halted && self.channels[channel].is_feedback
    }

    /// Takes an element that arrived on a channel. Fails only if a record in flight cannot be encoded.
    pub fn receive(
        &mut self,
        channel: ChannelIndex,
        element: StreamElement<B>,
        now: ProcessingTime,
        events: &mut Vec<GateEvent<B>>,
    ) -> Result<(), BoxError> {
        debug_assert!(self.can_read(channel), "what was stashed comes first");
        #[cfg(mutation)]
        {
            self.has_new_input = matches!(element, StreamElement::Batch(_));
        }
        if self.is_kept(channel.index())
            && let StreamElement::Batch(batch) = &element
        {
            self.record(channel, batch)?;
            self.stash(channel.index(), element);
            return Ok(());
        }
        let is_blocked = self.is_blocked(channel.index());
        let Some(collecting) = self.collecting.front_mut().filter(|_| is_blocked) else {
            return self.pass(channel, element, now, events);
        };
        if let StreamElement::Batch(batch) = &element {
            collecting.stashed += batch.records();
        }
        events.push(GateEvent::Stashed(collecting.barrier.checkpoint));
        self.stash(channel.index(), element);
        Ok(())
    }

    /// Takes a barrier that has overtaken: `copies` are of what is still in the channel.
    pub fn overtaken(
        &mut self,
        channel: ChannelIndex,
        barrier: CheckpointBarrier,
        copies: Vec<Copied<B::Copy>>,
        now: ProcessingTime,
        events: &mut Vec<GateEvent<B>>,
    ) -> Result<(), BoxError> {
        self.time_passed(now, events)?;
        let mut all = self.copy_stash(channel.index())?;
        all.extend(copies);
        self.barrier(channel, barrier, all, now, events)
    }

    /// Takes the oldest stashed element of a channel that is no longer blocked, if it is no batch or one is wanted. `false` if there is none: with batches wanted, channels may be
    /// read again.
    pub fn replay(
        &mut self,
        wants_batch: bool,
        now: ProcessingTime,
        events: &mut Vec<GateEvent<B>>,
    ) -> Result<bool, BoxError> {
        if self.stashed == 0 || !self.has_replay(wants_batch) {
            return Ok(false);
        }
        let next = (0..self.channels.len()).find(|i| self.is_replayable(*i, wants_batch));
        let Some(channel) = next else { return Ok(false) };
        let Some(element) = self.channels[channel].stash.pop_front() else { return Ok(false) };
        self.stashed -= 1;
        self.pass(ChannelIndex(channel as u32), element, now, events)?;
        Ok(true)
    }

    /// The coordinator has aborted `checkpoint`: its barriers no longer matter.
    pub fn cancel(&mut self, checkpoint: CheckpointId) {
        self.recordings.retain(|recording| recording.checkpoint != checkpoint);
        self.collecting.retain(|collecting| collecting.barrier.checkpoint != checkpoint);
        if checkpoint > self.last {
            self.cancelled.insert(checkpoint);
        }
    }

    /// The loop that this gate is the head of is empty for good: its feedback channels have ended.
    pub fn end_loop(&mut self, events: &mut Vec<GateEvent<B>>) {
        let was_open = self.channels.iter().any(|channel| !channel.ended);
        self.channels.iter_mut().filter(|channel| channel.is_feedback).for_each(|channel| channel.ended = true);
        if was_open {
            self.if_all_ended(events);
        }
    }

    /// A barrier may have become due.
    pub fn time_passed(&mut self, now: ProcessingTime, events: &mut Vec<GateEvent<B>>) -> Result<(), BoxError> {
        if self.collecting.front().is_some_and(|collecting| collecting.barrier.is_due(now)) {
            self.align(now, events)?;
        }
        for index in 0..self.channels.len() {
            while self.stashed > 0
                && !self.is_blocked(index)
                && let Some((barrier, copies)) = overtake(&mut self.channels[index].stash, now)?
            {
                self.stashed -= 1;
                self.barrier(ChannelIndex(index as u32), barrier, copies, now, events)?;
            }
        }
        Ok(())
    }

    fn pass(
        &mut self,
        channel: ChannelIndex,
        element: StreamElement<B>,
        now: ProcessingTime,
        events: &mut Vec<GateEvent<B>>,
    ) -> Result<(), BoxError> {
        let state = &mut self.channels[channel.index()];
        match element {
            StreamElement::Batch(batch) => {
                debug_assert!(!state.ended, "grammar: no batch after the end of input");
                self.record(channel, &batch)?;
                if self.times.batch(channel) {
                    events.push(GateEvent::Time(self.times.combined()));
                }
                events.push(GateEvent::Deliver(channel, batch));
            }
            StreamElement::Watermark(mark) => {
                debug_assert!(!state.ended, "grammar: no watermark after the end of input");
                self.mark(channel, mark, events);
            }
            // The end of the loop's own input comes round.
            StreamElement::EndOfInput if state.is_feedback => {}
            StreamElement::EndOfInput => {
                debug_assert!(!state.ended, "grammar: one end of input");
                state.ended = true;
                let has_moved = self.times.ended(channel);
                if !self.if_all_ended(events) && has_moved {
                    events.push(GateEvent::Time(self.times.combined()));
                }
            }
            StreamElement::Barrier(barrier, copies) => return self.barrier(channel, barrier, copies, now, events),
        }
        Ok(())
    }

    fn record(&mut self, channel: ChannelIndex, batch: &B) -> Result<(), BoxError> {
        for recording in self.recordings.iter_mut().filter(|recording| !recording.arrived[channel.index()]) {
            recording.batches.push((channel, Copied::Batch(batch.copy()?)));
        }
        Ok(())
    }

    fn mark(&mut self, channel: ChannelIndex, mark: Watermark, events: &mut Vec<GateEvent<B>>) {
        if !self.times.counts(channel) {
            return;
        }
        for recording in self.recordings.iter_mut().filter(|recording| !recording.arrived[channel.index()]) {
            recording.push_mark(channel, mark);
        }
        if self.times.heard(channel, mark) {
            events.push(GateEvent::Time(self.times.combined()));
        }
    }

    /// Copies of the batches and watermarks that wait in a channel's stash.
    fn copy_stash(&self, channel: usize) -> Result<Vec<Copied<B::Copy>>, BoxError> {
        self.channels[channel].stash.iter().filter_map(|element| copy(element).transpose()).collect()
    }

    fn if_all_ended(&mut self, events: &mut Vec<GateEvent<B>>) -> bool {
        let is_over = self.channels.iter().all(|channel| channel.ended);
        if is_over {
            self.times.end();
            events.push(GateEvent::EndOfInput);
        }
        is_over
    }

    fn barrier(
        &mut self,
        channel: ChannelIndex,
        barrier: CheckpointBarrier,
        copies: Vec<Copied<B::Copy>>,
        now: ProcessingTime,
        events: &mut Vec<GateEvent<B>>,
    ) -> Result<(), BoxError> {
        self.decline_before(channel, barrier.checkpoint, events);
        if let Some(recording) = self.recordings.iter_mut().find(|one| one.checkpoint == barrier.checkpoint) {
            if !std::mem::replace(&mut recording.arrived[channel.index()], true) {
                recording.batches.extend(copies.into_iter().map(|copy| (channel, copy)));
            }
            self.if_recorded(barrier.checkpoint, events);
            return Ok(());
        }
        if barrier.checkpoint <= self.last || self.cancelled.contains(&barrier.checkpoint) {
            return Ok(());
        }
        self.collect(channel, barrier, copies, now, events)
    }

    /// Checkpoints before `checkpoint` whose barrier this channel has not delivered: it never will.
    fn decline_before(&mut self, channel: ChannelIndex, checkpoint: CheckpointId, events: &mut Vec<GateEvent<B>>) {
        let mut declined = Vec::new();
        self.collecting.retain(|collecting| {
            let before = collecting.barrier.checkpoint;
            let is_lost = before < checkpoint && !collecting.arrived[channel.index()];
            declined.extend(is_lost.then_some(before));
            !is_lost
        });
        self.recordings.retain(|recording| {
            let is_lost = recording.checkpoint < checkpoint && !recording.arrived[channel.index()];
            declined.extend(is_lost.then_some(recording.checkpoint));
            !is_lost
        });
        for checkpoint in declined {
            self.handled(checkpoint);
            events.push(GateEvent::Declined(checkpoint));
        }
    }

    fn collect(
        &mut self,
        channel: ChannelIndex,
        barrier: CheckpointBarrier,
        copies: Vec<Copied<B::Copy>>,
        now: ProcessingTime,
        events: &mut Vec<GateEvent<B>>,
    ) -> Result<(), BoxError> {
        let known = self.collecting.iter().position(|one| one.barrier.checkpoint == barrier.checkpoint);
        let newest = self.collecting.back().map(|one| one.barrier.checkpoint);
        if known.is_none() && newest.is_some_and(|newest| newest > barrier.checkpoint) {
            // Some channel has delivered the newer one without this.
            return Ok(());
        }
        let place = known.unwrap_or_else(|| {
            let arrived = vec![false; self.channels.len()];
            self.collecting.push_back(Collecting { barrier, since: now, arrived, copies: Vec::new(), stashed: 0 });
            self.collecting.len() - 1
        });
        let collecting = &mut self.collecting[place];
        if !std::mem::replace(&mut collecting.arrived[channel.index()], true) {
            collecting.barrier.overtakes = barrier.overtakes.min(collecting.barrier.overtakes);
            collecting.copies.extend(copies.into_iter().map(|copy| (channel, copy)));
        }
        let is_whole = self.channels.iter().zip(&collecting.arrived).all(|(one, arrived)| one.is_feedback || *arrived);
        if is_whole || collecting.barrier.is_due(now) {
            // Older ones here were aborted, and this is not known yet: else they would have been aligned before.
            for older in self.collecting.drain(..place).map(|older| older.barrier.checkpoint).collect::<Vec<_>>() {
                self.handled(older);
                events.push(GateEvent::Declined(older));
            }
            self.align(now, events)?;
        } else if known.is_none() {
            events.push(GateEvent::Collecting(barrier.checkpoint));
        }
        Ok(())
    }

    /// The oldest checkpoint waits no longer.
    fn align(&mut self, now: ProcessingTime, events: &mut Vec<GateEvent<B>>) -> Result<(), BoxError> {
        let Some(Collecting { barrier, since, arrived, mut copies, stashed }) = self.collecting.pop_front() else {
            return Ok(());
        };
        // Kept since a checkpoint that was to be the last one, and was not.
        for index in (0..self.channels.len()).filter(|index| self.is_kept(*index)) {
            let channel = ChannelIndex(index as u32);
            copies.extend(self.copy_stash(index)?.into_iter().map(|copy| (channel, copy)));
        }
        self.is_halted |= barrier.halt;
        let checkpoint = barrier.checkpoint;
        self.handled(checkpoint);
        let is_recording = !copies.is_empty() || arrived.contains(&false);
        let alignment = match self.mode {
            CheckpointMode::ExactlyOnce => now.since(since),
            CheckpointMode::AtLeastOnce => Duration::ZERO,
        };
        let start_delay = since.since(barrier.triggered);
        let is_early = barrier.is_due(now);
        events.push(GateEvent::Aligned(Aligned { barrier, start_delay, alignment, stashed, is_recording, is_early }));
        if is_recording {
            let had_ended = self.channels.iter().all(|channel| channel.is_feedback || channel.ended);
            self.recordings.push_back(Recording { checkpoint, arrived, had_ended, batches: copies });
            self.if_recorded(checkpoint, events);
        }
        Ok(())
    }

    fn if_recorded(&mut self, checkpoint: CheckpointId, events: &mut Vec<GateEvent<B>>) {
        let is_whole = |one: &Recording<_>| one.checkpoint == checkpoint && !one.arrived.contains(&false);
        let Some(place) = self.recordings.iter().position(is_whole) else { return };
        if let Some(Recording { had_ended, batches, .. }) = self.recordings.remove(place) {
            let has_records = batches.iter().any(|(_, copied)| matches!(copied, Copied::Batch(_)));
            let is_quiet = had_ended && (!has_records || mutation::is(Mutation::LoopEndedEarly));
            events.push(GateEvent::Recorded(checkpoint, Recorded { batches, is_quiet }));
        }
    }

    fn handled(&mut self, checkpoint: CheckpointId) {
        self.last = self.last.max(checkpoint);
        let last = self.last;
        self.cancelled.retain(|cancelled| *cancelled > last);
    }
}
