//! Windows as long as records follow each other.

use std::{marker::PhantomData, time::Duration};

use super::{
    Window, Windows,
    length::{Length, millis},
};
use crate::time::Timestamp;

/// A key's records that follow each other: a record's session lasts for its gap behind it, and what comes until then belongs to it.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::{Timestamp, window::{Session, Window}};
///
/// let clicks = Session::gap(Duration::from_secs(30));
/// assert_eq!(clicks.window(Timestamp(5), &"click"), Window::new(Timestamp(5), Timestamp(30_005)));
/// # struct Click { patience: Duration }
/// let patient = Session::gap_by(|click: &Click| click.patience);
/// # let click = Click { patience: Duration::from_millis(7) };
/// assert_eq!(patient.window(Timestamp(5), &click).end, Timestamp(12));
/// ```
///
/// A record exactly a gap behind another one belongs to its session, so a session is complete when time has reached its end, and not a millisecond before, as other windows are.
#[derive(Clone, Debug)]
pub struct Session<G> {
    gap: G,
}

/// How long a record's session lasts behind it.
pub trait SessionGap<T>: Clone + Send + 'static {
    /// In milliseconds, at least one.
    fn millis(&self, record: &T) -> i64;
}

/// The same gap behind each record.
#[derive(Clone, Debug)]
pub struct FixedGap(Length);

/// A function that says a record's gap.
pub struct GapBy<T, F> {
    function: F,
    of: PhantomData<fn(&T)>,
}

impl Session<FixedGap> {
    /// The same gap behind each record.
    pub fn gap(gap: Duration) -> Self {
        Self { gap: FixedGap(Length::of(gap)) }
    }
}

impl<T, F: Fn(&T) -> Duration> Session<GapBy<T, F>> {
    /// A gap that depends on the record: whole milliseconds of it, and at least one.
    pub fn gap_by(function: F) -> Self {
        Self { gap: GapBy { function, of: PhantomData } }
    }
}

impl<G> Session<G> {
    /// The session that a record is of if no other one is near.
    pub fn window<T>(&self, time: Timestamp, record: &T) -> Window
    where
        G: SessionGap<T>,
    {
        Window::around(time, 0, self.gap.millis(record))
    }
}

impl<T> SessionGap<T> for FixedGap {
    #[inline]
    fn millis(&self, _record: &T) -> i64 {
        self.0.millis
    }
}

impl<T: 'static, F: Fn(&T) -> Duration + Clone + Send + 'static> SessionGap<T> for GapBy<T, F> {
    #[inline]
    fn millis(&self, record: &T) -> i64 {
        millis((self.function)(record)).max(1)
    }
}

impl<T, F: Clone> Clone for GapBy<T, F> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), of: PhantomData }
    }
}

impl Windows for Session<FixedGap> {
    fn describe(&self) -> String {
        format!("session {}", self.gap.0.millis)
    }

    fn faults(&self) -> Vec<String> {
        self.gap.0.fault("gap").into_iter().collect()
    }
}

/// State goes on with another function: the gaps of the records in it are part of it.
impl<T: 'static, F: Clone + Send + 'static> Windows for Session<GapBy<T, F>> {
    fn describe(&self) -> String {
        "session by record".to_string()
    }

    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What becomes of a key's sessions when a record comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// How many sessions become one with it: neighbours, the last of those that were looked at.
    pub count: usize,
    /// From the first of their starts to the last of their ends.
    pub window: Window,
}

impl Joined {
    /// What becomes of `new` and the sessions of its key. `sessions` are those that begin no later than it ends, the last one first; none meets another.
    ///
    /// ```
    /// use cofferdam_engine::{Timestamp, window::{Joined, Window}};
    ///
    /// let window = |start, end| Window::new(Timestamp(start), Timestamp(end));
    /// let sessions = [window(0, 10), window(12, 25), window(40, 50)];
    /// let joined = Joined::of(window(25, 41), sessions.into_iter().rev());
    /// assert_eq!(joined, Joined { count: 2, window: window(12, 50) });
    /// ```
    pub fn of(new: Window, sessions: impl Iterator<Item = Window>) -> Self {
        let met = sessions.take_while(|session| session.end >= new.start);
        met.fold(Self { count: 0, window: new }, |joined, session| Self {
            count: joined.count + 1,
            window: joined.window.cover(session),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tumbling::ms, *};

    fn window(start: i64, end: i64) -> Window {
        Window::new(Timestamp(start), Timestamp(end))
    }

    /// Merges any two that overlap or touch until none do.
    fn union(windows: &[Window]) -> Vec<Window> {
        let mut all = windows.to_vec();
        'again: loop {
            for one in 0..all.len() {
                for other in 0..one {
                    if all[one].start.max(all[other].start) <= all[one].end.min(all[other].end) {
                        let merged = all.remove(one);
                        let kept = &mut all[other];
                        *kept = window(kept.start.0.min(merged.start.0), kept.end.0.max(merged.end.0));
                        continue 'again;
                    }
                }
            }
            all.sort();
            return all;
        }
    }

    proptest! {
        #[test]
        fn sessions_are_the_union_of_all_intervals_in_any_order(
            records in proptest::collection::vec((-200..200_i64, 1..25_i64), 0..40),
        ) {
            let sessions = Session::gap_by(|gap: &i64| ms(*gap));
            let intervals: Vec<_> =
                records.iter().map(|(time, gap)| sessions.window(Timestamp(*time), gap)).collect();
            let mut kept: Vec<Window> = Vec::new();
            for (nth, new) in intervals.iter().enumerate() {
                let (before, after) = kept.split_at(kept.partition_point(|session| session.start <= new.end));
                let joined = Joined::of(*new, before.iter().rev().copied());
                // What was told as met, and nothing else, is what the new one meets.
                let meets = |session: &&Window| session.start <= new.end && new.start <= session.end;
                prop_assert_eq!(joined.count, kept.iter().filter(meets).count());
                let apart = &before[..before.len() - joined.count];
                kept = [apart, &[joined.window], after].concat();
                prop_assert_eq!(&kept, &union(&intervals[..=nth]));
            }
        }
    }

    #[test]
    fn a_record_exactly_a_gap_later_is_of_the_session_and_one_behind_it_is_not() {
        let gap = Session::gap(ms(10));
        let session = gap.window(Timestamp(0), &());
        let join = |time| Joined::of(gap.window(Timestamp(time), &()), [session].into_iter());
        assert_eq!(join(10), Joined { count: 1, window: window(0, 20) });
        assert_eq!(join(11), Joined { count: 0, window: window(11, 21) });
        assert_eq!(join(-10), Joined { count: 1, window: window(-10, 10) });
    }

    #[test]
    fn gaps_are_cut_at_the_end_of_time_and_never_nothing() {
        let long = Session::gap(ms(i64::MAX));
        assert_eq!(long.window(Timestamp(5), &()).end, Timestamp::MAX);
        let none = Session::gap_by(|(): &()| Duration::ZERO);
        assert_eq!(none.window(Timestamp(5), &()), window(5, 6));
        assert_eq!(Session::gap(Duration::ZERO).faults().len(), 1);
        assert_eq!(long.describe(), format!("session {}", i64::MAX));
    }
}
