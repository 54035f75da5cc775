//! Windows as long as records follow each other.

use std::{marker::PhantomData, ops::Range, time::Duration};

use super::{
    Window, Windows,
    length::{Length, millis},
};
use crate::time::Timestamp;

/// A key's records that follow each other: a record's session lasts for its gap behind it, and what comes before that belongs to it.
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
/// A record exactly a gap behind another one begins a session of its own: by then the first one is complete.
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
    /// A gap that depends on the record. Less than a millisecond counts as one.
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
    /// The sessions that become one with it, by place: none, or neighbours. The new one stands where they stood.
    pub taken: Range<usize>,
    /// From the first of their starts to the last of their ends.
    pub window: Window,
}

impl Joined {
    /// Which of a key's `count` sessions `new` is one with. They are in order of start, and none overlaps another.
    ///
    /// ```
    /// use cofferdam_engine::{Timestamp, window::{Joined, Window}};
    ///
    /// let window = |start, end| Window::new(Timestamp(start), Timestamp(end));
    /// let sessions = [window(0, 10), window(10, 25), window(40, 50)];
    /// let joined = Joined::of(sessions.len(), |place| sessions[place], window(22, 41));
    /// assert_eq!(joined, Joined { taken: 1..3, window: window(10, 50) });
    /// ```
    pub fn of(count: usize, session: impl Fn(usize) -> Window, new: Window) -> Self {
        let first = first_where(0..count, |place| session(place).end > new.start);
        let behind = first_where(first..count, |place| session(place).start >= new.end);
        let taken = first..behind;
        let window = taken.clone().fold(new, |window, place| window.cover(session(place)));
        Self { taken, window }
    }
}

/// The first place from which on it holds; the end if it holds for none.
fn first_where(places: Range<usize>, holds: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (places.start, places.end);
    while low < high {
        let middle = low + (high - low) / 2;
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tumbling::ms, *};

    fn window(start: i64, end: i64) -> Window {
        Window::new(Timestamp(start), Timestamp(end))
    }

    /// Merges any two that overlap until none do.
    fn union(windows: &[Window]) -> Vec<Window> {
        let mut all = windows.to_vec();
        'again: loop {
            for one in 0..all.len() {
                for other in 0..one {
                    if all[one].start.max(all[other].start) < all[one].end.min(all[other].end) {
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
                let before = kept.clone();
                let joined = Joined::of(kept.len(), |place| kept[place], *new);
                kept.splice(joined.taken.clone(), [joined.window]);
                prop_assert_eq!(&kept, &union(&intervals[..=nth]));
                // What was told as taken, and nothing else, is what the new one overlapped.
                let overlapped: Vec<_> = (0..before.len()).filter(|place| before[*place].overlaps(*new)).collect();
                prop_assert_eq!(joined.taken.collect::<Vec<_>>(), overlapped);
            }
        }
    }

    #[test]
    fn a_record_exactly_a_gap_later_begins_a_session() {
        let gap = Session::gap(ms(10));
        let sessions = [gap.window(Timestamp(0), &())];
        let join = |time| Joined::of(1, |place| sessions[place], gap.window(Timestamp(time), &()));
        assert_eq!(join(10), Joined { taken: 1..1, window: window(10, 20) });
        assert_eq!(join(9), Joined { taken: 0..1, window: window(0, 19) });
        assert_eq!(join(-10), Joined { taken: 0..0, window: window(-10, 0) });
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
