//! Windows that begin every so often.

use std::time::Duration;

use super::{
    Window, Windows,
    length::Length,
    tumbling::{into_cell, phase},
};
use crate::time::Timestamp;

/// Windows that begin every so often. With a slide below the size they overlap; with one above it there are moments between them, which lie in none.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::{Timestamp, window::Sliding};
///
/// let windows = Sliding::of(Duration::from_secs(10)).every(Duration::from_secs(4));
/// let starts: Vec<_> = windows.windows(Timestamp(9_000)).map(|window| window.start.0).collect();
/// assert_eq!(starts, [0, 4_000, 8_000]);
/// ```
///
/// # Panes
/// Time is cut wherever a window begins or ends. What lies between two cuts is a *pane*: a window consists of whole panes, so a record is added to one pane, and
/// windows are merged of panes. A slide is one pane if it divides the size, else two.
#[derive(Clone, Debug)]
pub struct Sliding {
    size: Length,
    slide: Length,
    offset: Option<Length>,
}

impl Sliding {
    /// As long as `size`, and one behind the other until [`every`](Self::every) is said.
    pub fn of(size: Duration) -> Self {
        Self { size: Length::of(size), slide: Length::of(size), offset: None }
    }

    /// From the start of a window to that of the next; one of them begins at the Unix epoch.
    #[must_use]
    pub fn every(mut self, slide: Duration) -> Self {
        self.slide = Length::of(slide);
        self
    }

    /// All begin so much later.
    #[must_use]
    pub fn offset(mut self, by: Duration) -> Self {
        self.offset = Some(Length::of(by)).filter(|_| !by.is_zero());
        self
    }

    /// Those that `time` lies in, the first one first. A window that begins before time does is cut there.
    pub fn windows(&self, time: Timestamp) -> impl DoubleEndedIterator<Item = Window> + use<> {
        let (size, slide) = (self.size.millis, self.slide.millis);
        let into = self.within_slide(time);
        let count = if into < size { (size - 1 - into) / slide + 1 } else { 0 };
        (0..count).rev().map(move |back| {
            let before = into + back * slide;
            Window::around(time, before, size - before)
        })
    }

    /// The pane that `time` lies in. Those between two windows belong to none.
    pub fn pane(&self, time: Timestamp) -> Window {
        let slide = self.slide.millis;
        let into = self.within_slide(time);
        match self.size.millis % slide {
            rest if into < rest => Window::around(time, into, rest - into),
            rest => Window::around(time, into - rest, slide - into),
        }
    }

    /// The windows that a pane belongs to, the first one first.
    pub fn windows_of_pane(&self, pane: Window) -> impl DoubleEndedIterator<Item = Window> + use<> {
        self.windows(pane.max_timestamp())
    }

    /// The one behind it; `None` if that would begin behind the last moment. At the end of time several windows are cut there: each of them has a row.
    pub fn after(&self, window: Window) -> Option<Window> {
        let [start, end, size, slide] =
            [window.start.0, window.end.0, self.size.millis, self.slide.millis].map(i128::from);
        // A window is not cut at both ends: no size is as long as all of time.
        let start = slide + if window.start == Timestamp::MIN { end - size } else { start };
        let cut = |at: i128| Timestamp(at.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
        let next = Window::new(cut(start), cut(start + size));
        (next.start <= Timestamp::LAST).then_some(next)
    }

    fn within_slide(&self, time: Timestamp) -> i64 {
        into_cell(time, self.slide.millis, phase(self.offset, self.slide.millis))
    }
}

impl Windows for Sliding {
    fn describe(&self) -> String {
        let slide = self.slide.millis;
        format!("sliding {}/{slide}+{}", self.size.millis, phase(self.offset, slide))
    }

    fn faults(&self) -> Vec<String> {
        let offset = self.offset.and_then(|offset| offset.fraction("offset"));
        [self.size.fault("size"), self.slide.fault("slide"), offset].into_iter().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tumbling::ms, *};

    /// All windows that end in this stretch of time, by counting.
    fn all(size: i64, slide: i64, offset: i64) -> Vec<Window> {
        let starts = (-1_000..1_000).map(|nth| offset + nth * slide);
        starts.map(|start| Window::new(Timestamp(start), Timestamp(start + size))).collect()
    }

    fn windows(size: i64, slide: i64, offset: i64) -> Sliding {
        Sliding::of(ms(size)).every(ms(slide)).offset(ms(offset))
    }

    proptest! {
        #[test]
        fn a_moment_lies_in_exactly_the_windows_that_a_search_finds(
            size in 1..40_i64, slide in 1..60_i64, offset in 0..120_i64, time in -300..300_i64,
        ) {
            let found: Vec<_> =
                all(size, slide, offset).into_iter().filter(|window| window.contains(Timestamp(time))).collect();
            let windows = windows(size, slide, offset);
            prop_assert_eq!(windows.windows(Timestamp(time)).collect::<Vec<_>>(), found);
        }

        #[test]
        fn a_pane_reaches_from_cut_to_cut_and_lies_in_the_windows_of_its_moments(
            size in 1..40_i64, slide in 1..60_i64, offset in 0..120_i64, time in -300..300_i64,
        ) {
            let all = all(size, slide, offset);
            let mut cuts: Vec<_> = all.iter().flat_map(|window| [window.start, window.end]).collect();
            cuts.sort();
            let start = *cuts.iter().rfind(|cut| cut.0 <= time).unwrap();
            let end = *cuts.iter().find(|cut| cut.0 > time).unwrap();
            let windows = windows(size, slide, offset);
            let pane = windows.pane(Timestamp(time));
            prop_assert_eq!(pane, Window::new(start, end));
            let of_pane: Vec<_> = windows.windows_of_pane(pane).collect();
            let around: Vec<_> =
                all.into_iter().filter(|window| window.start <= pane.start && pane.end <= window.end).collect();
            prop_assert_eq!(&of_pane, &around);
            prop_assert_eq!(windows.windows(Timestamp(time)).collect::<Vec<_>>(), around);
        }

        #[test]
        fn a_window_is_behind_that_which_begins_a_slide_earlier(
            size in 1..40_i64, slide in 1..60_i64, offset in 0..120_i64, nth in 0..1_000_usize,
        ) {
            let all = all(size, slide, offset);
            prop_assert_eq!(windows(size, slide, offset).after(all[nth]), Some(all[nth + 1]));
        }

        #[test]
        fn windows_at_the_ends_of_time_are_cut_there(
            size in prop_oneof![1..100_i64, (i64::MAX - 5)..=i64::MAX],
            shorter in 1..4_i64,
            offset in prop_oneof![0..100_i64, (i64::MAX - 5)..=i64::MAX],
            from_end in 0..200_i64,
            is_late in any::<bool>(),
        ) {
            let slide = (size / shorter).max(1);
            let time = if is_late { i64::MAX - 1 - from_end } else { i64::MIN + 1 + from_end };
            let windows = windows(size, slide, offset);
            let (wide, size, slide) = (i128::from(time), i128::from(size), i128::from(slide));
            let mut start = wide - (wide - i128::from(offset)).rem_euclid(slide);
            let mut expected = Vec::new();
            while start + size > wide {
                let cut = |at: i128| Timestamp(at.clamp(i64::MIN.into(), i64::MAX.into()) as i64);
                expected.insert(0, Window::new(cut(start), cut(start + size)));
                start -= slide;
            }
            prop_assert_eq!(windows.windows(Timestamp(time)).collect::<Vec<_>>(), expected.clone());
            prop_assert!(windows.pane(Timestamp(time)).contains(Timestamp(time)));
            for two in expected.windows(2) {
                prop_assert_eq!(windows.after(two[0]), Some(two[1]));
            }
            let behind = windows.after(*expected.last().unwrap());
            prop_assert!(behind.is_none_or(|behind| behind.start > Timestamp(time)));
        }
    }

    #[test]
    fn a_slide_is_one_pane_if_it_divides_the_size_and_else_two() {
        let pane = |size, slide, time| {
            let pane = windows(size, slide, 0).pane(Timestamp(time));
            (pane.start.0, pane.end.0)
        };
        assert_eq!(pane(1_000, 1, 5), (5, 6));
        assert_eq!(pane(1_000, 250, -1), (-250, 0));
        assert_eq!([pane(1_000, 999, 0), pane(1_000, 999, 1)], [(0, 1), (1, 999)]);
    }

    #[test]
    fn what_lies_between_two_windows_lies_in_none() {
        let windows = windows(10, 15, 0);
        assert_eq!(windows.windows(Timestamp(9)).count(), 1);
        assert_eq!(windows.windows(Timestamp(10)).count(), 0);
        assert!(windows.faults().is_empty());
    }

    #[test]
    fn faults_are_told_together() {
        let windows = Sliding::of(Duration::ZERO).every(Duration::from_nanos(7)).offset(Duration::from_micros(2_001));
        assert_eq!(windows.faults().len(), 3);
        assert_eq!(windows.windows(Timestamp(5)).count(), 1);
        assert_eq!(super::super::Sliding::of(ms(10)).every(ms(5)).offset(ms(12)).describe(), "sliding 10/5+2");
    }
}
