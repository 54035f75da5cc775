//! The input gate: aligns barriers over a subtask's input channels.
//!
//! What each input does in each state. *n* is the checkpoint being collected, `last` the highest one handled (aligned, declined or cancelled). A channel
//! is *blocked* once its barrier *n* is in, in exactly-once mode.
//!
//! ```text
//!                    | waiting                      | collecting n
//! -------------------+------------------------------+--------------------------------------------------
//! batch              | deliver                      | deliver; blocked channel: stash
//! barrier m <= last  | drop                         | drop
//! barrier n          | collect n                    | mark the channel; last one: aligned
//! barrier m > n      | (= collect m)                | n can no longer come here: decline n, collect m
//!                    |                              |   blocked channel: stash
//! barrier m < n      | -                            | drop
//! end of input       | deliver; the channel has     | the same; blocked channel: stash
//!                    |   ended, but still aligns    |
//! cancel m >= n      | last = m                     | last = m, unblock
//! cancel m < n       | last = max(last, m)          | last = max(last, m)
//! ```
//! "Collect" with a single channel is "aligned" at once. At-least-once mode never blocks: it only counts.
//!
//! Each entry is reported as the [`GateEvent`] of its name: marking and dropping as `Nothing`, "decline n, collect m" as `Declined(n)`.
//!
//! # Invariants
//! - What is in a channel's stash came before everything still in the channel: it is replayed, through the same table, before the
//!   channel, or any channel, is read again.
//! - At most `limit` elements are stashed; after that [`InputGate::can_read`] is false for blocked channels, and backpressure does the rest.
//! - `last` grows.

use std::{collections::VecDeque, time::Duration};

use crate::{
    checkpoint::config::CheckpointMode,
    element::{CheckpointBarrier, StreamElement},
    id::{ChannelIndex, CheckpointId, ProcessingTime},
    mutation::{self, Mutation},
    record::Batch,
};

/// What a gate makes of an element.
#[derive(Debug)]
pub enum GateEvent<B = Box<dyn Batch>> {
    /// Records for the chain.
    Deliver(B),
    /// A channel has ended; `all` is true for the last one.
    EndOfInput {
        /// No channel is left.
        all: bool,
    },
    /// The first barrier of a checkpoint is in; others are awaited.
    Collecting(CheckpointId),
    /// Every channel has delivered its barrier.
    Aligned(Aligned),
    /// The element waits behind its channel's barrier of this checkpoint.
    Stashed(CheckpointId),
    /// A checkpoint can no longer be aligned here: a newer barrier came first.
    Declined(CheckpointId),
    /// Nothing to do: counted or dropped.
    Nothing,
}

/// A checkpoint whose barrier came on every channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aligned {
    /// The barrier.
    pub barrier: CheckpointBarrier,
    /// From the first barrier in to the last; zero in at-least-once mode, where nothing waits.
    pub alignment: Duration,
    /// Elements stashed meanwhile.
    pub stashed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Channel<B> {
    ended: bool,
    barrier_in: bool,
    stash: VecDeque<StreamElement<B>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Collecting {
    barrier: CheckpointBarrier,
    since: ProcessingTime,
    arrived: usize,
    stashed: u64,
}

/// Aligns barriers. See the module's table. It does not look into batches: `B` is what they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InputGate<B = Box<dyn Batch>> {
    mode: CheckpointMode,
    limit: usize,
    channels: Vec<Channel<B>>,
    collecting: Option<Collecting>,
    last: CheckpointId,
    stashed: usize,
    #[cfg(mutation)]
    has_new_input: bool,
}

impl<B> InputGate<B> {
    /// A gate over `channels` channels that has handled every checkpoint up to `last`.
    pub fn new(channels: usize, mode: CheckpointMode, limit: usize, last: CheckpointId) -> Self {
        let channel = || Channel { ended: false, barrier_in: false, stash: VecDeque::new() };
        Self {
            mode,
            limit,
            channels: (0..channels).map(|_| channel()).collect(),
            collecting: None,
            last,
            stashed: 0,
            #[cfg(mutation)]
            has_new_input: false,
        }
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// The checkpoint being collected.
    pub fn collecting(&self) -> Option<CheckpointId> {
        self.collecting.as_ref().map(|collecting| collecting.barrier.checkpoint)
    }

    /// Whether an element of `channel` may be taken off it now.
    pub fn can_read(&self, channel: ChannelIndex) -> bool {
        !self.has_replay() && (!self.is_blocked(channel.index()) || self.stashed < self.limit)
    }

    /// Whether [`replay`](Self::replay) has something to give.
    pub fn has_replay(&self) -> bool {
        #[cfg(mutation)]
        if mutation::is(Mutation::ReplayAfterNewInput) && !self.has_new_input {
            return false;
        }
        self.stashed > 0 && (0..self.channels.len()).any(|i| self.is_replayable(i))
    }

    fn is_blocked(&self, channel: usize) -> bool {
        if mutation::is(Mutation::NoStash) {
            return false;
        }
        self.mode == CheckpointMode::ExactlyOnce && self.collecting.is_some() && self.channels[channel].barrier_in
    }

    fn is_replayable(&self, channel: usize) -> bool {
        !self.channels[channel].stash.is_empty() && !self.is_blocked(channel)
    }

    /// Takes an element that arrived on a channel.
    pub fn receive(&mut self, channel: ChannelIndex, element: StreamElement<B>, now: ProcessingTime) -> GateEvent<B> {
        debug_assert!(self.can_read(channel), "what was stashed comes first");
        #[cfg(mutation)]
        {
            self.has_new_input = matches!(element, StreamElement::Batch(_));
        }
        let channel = channel.index();
        let is_blocked = self.is_blocked(channel);
        let Some(collecting) = self.collecting.as_mut().filter(|_| is_blocked) else {
            return self.handle(channel, element, now);
        };
        self.channels[channel].stash.push_back(element);
        self.stashed += 1;
        collecting.stashed += 1;
        GateEvent::Stashed(collecting.barrier.checkpoint)
    }

    /// Takes the oldest stashed element of a channel that is no longer blocked. `None` if there is none: channels may be read again.
    pub fn replay(&mut self, now: ProcessingTime) -> Option<GateEvent<B>> {
        if self.stashed == 0 || !self.has_replay() {
            return None;
        }
        let channel = (0..self.channels.len()).find(|i| self.is_replayable(*i))?;
        let element = self.channels[channel].stash.pop_front()?;
        self.stashed -= 1;
        Some(self.handle(channel, element, now))
    }

    /// The coordinator has aborted `checkpoint`: its barriers no longer matter.
    pub fn cancel(&mut self, checkpoint: CheckpointId) {
        if self.collecting.as_ref().is_some_and(|collecting| collecting.barrier.checkpoint <= checkpoint) {
            self.stop_collecting();
        }
        self.last = self.last.max(checkpoint);
    }

    fn handle(&mut self, channel: usize, element: StreamElement<B>, now: ProcessingTime) -> GateEvent<B> {
        match element {
            StreamElement::Batch(batch) => {
                debug_assert!(!self.channels[channel].ended, "grammar: no batch after the end of input");
                GateEvent::Deliver(batch)
            }
            StreamElement::EndOfInput => {
                debug_assert!(!self.channels[channel].ended, "grammar: one end of input");
                self.channels[channel].ended = true;
                GateEvent::EndOfInput { all: self.channels.iter().all(|channel| channel.ended) }
            }
            StreamElement::Barrier(barrier) => self.barrier(channel, barrier, now),
        }
    }

    fn barrier(&mut self, channel: usize, barrier: CheckpointBarrier, now: ProcessingTime) -> GateEvent<B> {
        if barrier.checkpoint <= self.last {
            return GateEvent::Nothing;
        }
        match &mut self.collecting {
            None => self.collect(channel, barrier, now),
            Some(collecting) if barrier.checkpoint == collecting.barrier.checkpoint => {
                let seen = std::mem::replace(&mut self.channels[channel].barrier_in, true);
                collecting.arrived += usize::from(!seen);
                self.if_aligned(now).map_or(GateEvent::Nothing, GateEvent::Aligned)
            }
            Some(collecting) if barrier.checkpoint > collecting.barrier.checkpoint => {
                let declined = collecting.barrier.checkpoint;
                self.stop_collecting();
                self.last = declined;
                self.collect(channel, barrier, now);
                GateEvent::Declined(declined)
            }
            Some(_) => GateEvent::Nothing,
        }
    }

    fn collect(&mut self, channel: usize, barrier: CheckpointBarrier, now: ProcessingTime) -> GateEvent<B> {
        self.channels[channel].barrier_in = true;
        self.collecting = Some(Collecting { barrier, since: now, arrived: 1, stashed: 0 });
        self.if_aligned(now).map_or(GateEvent::Collecting(barrier.checkpoint), GateEvent::Aligned)
    }

    fn if_aligned(&mut self, now: ProcessingTime) -> Option<Aligned> {
        let done = self.collecting.take_if(|collecting| collecting.arrived == self.channels.len())?;
        self.stop_collecting();
        self.last = done.barrier.checkpoint;
        let alignment = match self.mode {
            CheckpointMode::ExactlyOnce => now.since(done.since),
            CheckpointMode::AtLeastOnce => Duration::ZERO,
        };
        Some(Aligned { barrier: done.barrier, alignment, stashed: done.stashed })
    }

    fn stop_collecting(&mut self) {
        self.collecting = None;
        self.channels.iter_mut().for_each(|channel| channel.barrier_in = false);
    }
}
