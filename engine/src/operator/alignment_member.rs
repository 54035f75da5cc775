//! A subtask's part in an alignment group: how far its splits may be read, and when it says how far they are. The other side is in `checkpoint/source_alignment.rs`.
//!
//! ```text
//! limit   the slowest of the other members, as last heard, and the slowest of its own splits, whichever is less; and the drift
//! says    at once if it begins to hold a split, or if idleness begins or ends, and at its end
//!         50 ms after its last word, if it has come further since or holds a split; else a second after that
//! ```

use std::time::Duration;

use crate::{
    element::Watermark,
    id::{AlignmentGroup, ProcessingTime},
    time::Timestamp,
};

/// Between two words while there is something to say, or to hear.
const EVERY: Duration = Duration::from_millis(50);

/// Between two words that say the same: the first may have been lost.
const AGAIN: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct AlignmentMember {
    group: AlignmentGroup,
    max_drift: Duration,
    /// How far the slowest of the others is.
    others: Timestamp,
    /// How far the slowest split is that is read and not idle.
    mark: Watermark,
    /// There is another split that it could be ahead of.
    is_several: bool,
    is_holding: bool,
    /// What was last said, and when.
    said: Option<(Watermark, ProcessingTime)>,
    /// What was said while a split was held.
    said_holding: bool,
}

impl AlignmentMember {
    pub(crate) fn new(group: AlignmentGroup, max_drift: Duration) -> Self {
        Self {
            group,
            max_drift,
            others: Timestamp::MIN,
            mark: Watermark::NONE,
            is_several: false,
            is_holding: false,
            said: None,
            said_holding: false,
        }
    }

    /// What of its splits counts, and whether more than one does.
    pub(crate) fn has_come_to(&mut self, mark: Watermark, is_several: bool) {
        (self.mark, self.is_several) = (mark, is_several);
    }

    /// How far the slowest of the others in a group is.
    pub(crate) fn hear(&mut self, group: AlignmentGroup, others: Timestamp) {
        if group == self.group {
            self.others = others;
        }
    }

    /// A split that is beyond is not to be read.
    pub(crate) fn limit(&self) -> Timestamp {
        let own = if self.is_several { self.mark.time } else { Timestamp::MAX };
        self.others.min(own).after(self.max_drift)
    }

    /// Whether a split is held.
    pub(crate) fn set_holding(&mut self, is_holding: bool) {
        self.is_holding = is_holding;
        self.said_holding &= is_holding;
    }

    /// When there will be something to say, if nothing changes before.
    pub(crate) fn speaks_at(&self) -> ProcessingTime {
        let Some((said, at)) = self.said else { return ProcessingTime::default() };
        let is_urgent = self.is_holding != self.said_holding || said.is_idle != self.mark.is_idle;
        if is_urgent || (self.mark == Watermark::END && said != self.mark) {
            return at;
        }
        at.after(if self.is_holding || said != self.mark { EVERY } else { AGAIN })
    }

    /// What there is to say now.
    pub(crate) fn speak(&mut self, now: ProcessingTime) -> Option<(AlignmentGroup, Watermark)> {
        // Should the clock have gone back, what is due would be so for long.
        let is_due = now >= self.speaks_at() || self.said.is_some_and(|(_, at)| now < at);
        is_due.then(|| {
            (self.said, self.said_holding) = (Some((self.mark, now)), self.is_holding);
            (self.group, self.mark)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> ProcessingTime {
        ProcessingTime(millis * 1_000_000)
    }

    fn member() -> AlignmentMember {
        AlignmentMember::new(AlignmentGroup(3), Duration::from_millis(10))
    }

    fn active(time: i64) -> Watermark {
        Watermark { time: Timestamp(time), is_idle: false }
    }

    /// When it speaks within a second, a millisecond at a time.
    fn spoken(member: &mut AlignmentMember, from: u64) -> Vec<u64> {
        (from..from + 1000).filter(|now| member.speak(at(*now)).is_some()).collect()
    }

    #[test]
    fn it_says_at_once_where_it_begins_and_then_once_a_second() {
        assert_eq!(spoken(&mut member(), 7), [7]);
        let mut member = member();
        assert_eq!(member.speak(at(0)), Some((AlignmentGroup(3), Watermark::NONE)));
        assert_eq!(member.speaks_at(), at(1000));
    }

    #[test]
    fn while_it_moves_or_holds_a_split_it_speaks_every_fifty_milliseconds() {
        let mut member = member();
        let moving: Vec<_> = (0..200)
            .filter(|now| {
                member.has_come_to(active(*now as i64), false);
                member.speak(at(*now)).is_some()
            })
            .collect();
        assert_eq!(moving, [0, 50, 100, 150]);
        member.set_holding(true);
        assert_eq!(spoken(&mut member, 210)[..3], [210, 260, 310], "at once, and then as before");
    }

    #[test]
    fn idleness_and_the_end_are_told_at_once() {
        let mut member = member();
        member.speak(at(0));
        for mark in [Watermark { time: Timestamp(5), is_idle: true }, active(5), Watermark::END] {
            member.has_come_to(mark, false);
            assert_eq!(member.speak(at(1)), Some((AlignmentGroup(3), mark)));
            assert_eq!(member.speak(at(1)), None);
        }
    }

    #[test]
    fn the_limit_is_that_of_the_others_and_of_its_own_splits_if_there_are_several() {
        let mut member = member();
        assert_eq!(member.limit(), Timestamp::MIN, "somebody has not spoken");
        member.has_come_to(active(50), false);
        member.hear(AlignmentGroup(3), Timestamp(100));
        member.hear(AlignmentGroup(2), Timestamp(7));
        assert_eq!(member.limit(), Timestamp(110));
        member.has_come_to(active(50), true);
        assert_eq!(member.limit(), Timestamp(60));
        member.hear(AlignmentGroup(3), Timestamp(20));
        assert_eq!(member.limit(), Timestamp(30));
        member.hear(AlignmentGroup(3), Timestamp::MAX);
        member.has_come_to(Watermark::END, false);
        assert_eq!(member.limit(), Timestamp::MAX);
    }

    #[test]
    fn a_clock_that_goes_back_silences_nobody() {
        let mut member = member();
        member.speak(at(5_000));
        assert!(member.speak(at(100)).is_some());
    }
}
