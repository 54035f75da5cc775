//! What a subtask can use next.

use super::{Subtask, boundary::REST_TURNS};
use crate::{id::ProcessingTime, operator::SourceStatus};

/// What a subtask can use next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its outputs must be emptied first.
    Room,
    /// A turn: it has something to do.
    Turn,
    /// An element from a channel that can be read; from this moment on (if any) also a turn.
    Input(Option<ProcessingTime>),
    /// Something that is under way to return; from this moment on (if any) a turn. Of its channels, no batch is read: what is in front of the first one is. Also while it does
    /// what comes before any further record: then a turn at once.
    Wait(Option<ProcessingTime>),
}

impl Subtask {
    /// What the subtask can use next.
    pub fn need(&mut self) -> Need {
        if self.is_early_boundary() {
            return Need::Turn;
        }
        if self.chain.tail().is_blocked() {
            return Need::Room;
        }
        let is_full = self.is_full();
        let wants_batch = !is_full && !self.chain.head().holds_records();
        let has_replay = self.gate.has_replay(wants_batch);
        if self.chain.head().has_leftover() || self.participant.has_boundary() || has_replay {
            return self.need_before_end(has_replay).unwrap_or(Need::Turn);
        }
        if self.participant.is_halted() {
            return Need::Input(None);
        }
        if self.time_moved {
            return Need::Turn;
        }
        if self.chain.head().holds_records() {
            return Need::Wait(Some(ProcessingTime::default()));
        }
        let wake_at = self.chain.head().wake_at();
        if is_full {
            return Need::Wait(wake_at);
        }
        match self.chain.head().source_status() {
            None | Some(SourceStatus::Held) => Need::Input(wake_at),
            Some(SourceStatus::NotBefore(time)) => Need::Input(wake_at.into_iter().chain([time]).min()),
            Some(SourceStatus::Ready | SourceStatus::Ended) => Need::Turn,
        }
    }

    /// Whether a snapshot can be taken between two records, or as soon as the rest of one has been handed out.
    fn is_early_boundary(&mut self) -> bool {
        self.participant.has_boundary()
            && !self.participant.waits_for_batch()
            && (self.rest_turns < REST_TURNS || !self.chain.head().is_within_record())
    }

    /// What is needed while the end is due and what it makes due is done, or under way. Nothing but barriers comes any more, and they need not wait for that.
    fn need_before_end(&mut self, has_replay: bool) -> Option<Need> {
        let is_end = self.participant.is_finishing() && !self.participant.is_halted() && !self.time_moved;
        let head = self.chain.head();
        if !is_end || head.has_leftover() || has_replay {
            return None;
        }
        let at_once = head.has_due().then(ProcessingTime::default);
        at_once.map(Some).or_else(|| head.is_pending().then(|| head.wake_at())).map(Need::Input)
    }

    pub(super) fn is_full(&mut self) -> bool {
        self.asks && self.chain.head().is_full()
    }

    /// From when on a turn is needed, whatever else is: a barrier stops waiting.
    pub fn overtakes_at(&mut self) -> Option<ProcessingTime> {
        self.gate.overtakes_at().into_iter().chain(self.chain.tail().overtakes_at()).min()
    }
}
