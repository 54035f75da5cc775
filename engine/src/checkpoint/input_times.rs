//! What a subtask's input channels say of time, and what follows from it: the subtask's event time.
//!
//! ```text
//! of the channels that count and have not ended     event time
//!   some are active                                 the minimum of the active ones
//!   all are idle                                    the maximum of them, and idle
//!   there is none                                   the end
//! ```
//! That all idle channels give their maximum makes it indifferent which of them fell idle first. Channels without time do not count, nor do those that come
//! round in a loop: what is on them may be older than what the others say. Without any channel that counts nothing is known before the end.
//!
//! # Invariants
//! - The event time never falls: a channel that wakes behind it, or says less than before, changes nothing until it has caught up.
//! - What was said twice changes nothing: after a restart senders say again what they had said.

use crate::{checkpoint::snapshot::GateTime, element::Watermark, id::ChannelIndex, time::Timestamp};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct InputTimes {
    channels: Vec<ChannelTime>,
    event_time: Timestamp,
    is_idle: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct ChannelTime {
    counts: bool,
    ended: bool,
    last: Watermark,
}

impl InputTimes {
    /// Of so many channels, which all count and have said nothing.
    pub fn new(channels: usize) -> Self {
        let channel = ChannelTime { counts: true, ended: false, last: Watermark::NONE };
        Self { channels: vec![channel; channels], event_time: Timestamp::MIN, is_idle: false }
    }

    /// The channel does not count.
    pub fn leave_out(&mut self, channel: ChannelIndex) {
        self.channels[channel.index()].counts = false;
    }

    /// Whether the channel counts.
    pub fn counts(&self, channel: ChannelIndex) -> bool {
        self.channels[channel.index()].counts
    }

    /// A watermark came; whether the combination changed by it.
    pub fn heard(&mut self, channel: ChannelIndex, mark: Watermark) -> bool {
        let one = &mut self.channels[channel.index()];
        if !one.counts {
            return false;
        }
        one.last.replace(mark);
        self.combine()
    }

    /// A batch came: its channel is not idle. Whether the combination changed by it.
    #[inline]
    pub fn batch(&mut self, channel: ChannelIndex) -> bool {
        let one = &mut self.channels[channel.index()];
        if !one.last.is_idle {
            return false;
        }
        one.last.is_idle = false;
        self.combine()
    }

    /// The channel has ended; whether the combination changed by it.
    pub fn ended(&mut self, channel: ChannelIndex) -> bool {
        self.channels[channel.index()].ended = true;
        self.combine()
    }

    /// All of the input has ended.
    pub fn end(&mut self) {
        (self.event_time, self.is_idle) = (Watermark::END.time, Watermark::END.is_idle);
    }

    /// What the channels say together.
    pub fn combined(&self) -> Watermark {
        Watermark { time: self.event_time, is_idle: self.is_idle }
    }

    fn combine(&mut self) -> bool {
        let before = self.combined();
        let open = || self.channels.iter().filter(|one| one.counts && !one.ended).map(|one| one.last);
        let active = open().filter(|mark| !mark.is_idle).map(|mark| mark.time).min();
        let idle = open().map(|mark| mark.time).max();
        let now = match (active, idle) {
            (Some(time), _) => Watermark { time, is_idle: false },
            (None, Some(time)) => Watermark { time, is_idle: true },
            (None, None) if self.channels.iter().any(|one| one.counts) => Watermark::END,
            (None, None) => before,
        };
        self.event_time = self.event_time.max(now.time);
        self.is_idle = now.is_idle;
        self.combined() != before
    }

    /// For a snapshot. Nothing if no channel counts.
    pub fn save(&self) -> GateTime {
        if !self.channels.iter().any(|one| one.counts) {
            return GateTime::default();
        }
        GateTime { event_time: self.event_time, channels: self.channels.iter().map(|one| one.last).collect() }
    }

    /// As it was at a snapshot. To be called before anything came, with as many channels.
    pub fn restore(&mut self, saved: &GateTime) {
        for (one, last) in self.channels.iter_mut().zip(&saved.channels).filter(|(one, _)| one.counts) {
            one.last = *last;
        }
        self.event_time = saved.event_time;
        self.combine();
    }
}
