//! Windows one behind the other.

use std::time::Duration;

#[cfg(feature = "time-zones")]
use super::TimeZone;
use super::{Window, Windows, length::Length};
use crate::time::Timestamp;

/// Windows one behind the other: each moment lies in one.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::{Timestamp, window::Tumbling};
///
/// let windows = Tumbling::of(Duration::from_secs(60)).offset(Duration::from_secs(15));
/// let window = windows.window(Timestamp::from_millis(80_000));
/// assert_eq!((window.start, window.end), (Timestamp(75_000), Timestamp(135_000)));
/// ```
#[derive(Clone, Debug)]
pub struct Tumbling(Cut);

#[derive(Clone, Debug)]
enum Cut {
    Even {
        size: Length,
        /// As it was given; counts modulo `size`.
        offset: Option<Length>,
    },
    #[cfg(feature = "time-zones")]
    Days { zone: TimeZone, offset: Option<Length> },
}

impl Tumbling {
    /// As long as `size`; one of them begins at the Unix epoch.
    pub fn of(size: Duration) -> Self {
        Self(Cut::Even { size: Length::of(size), offset: None })
    }

    /// The civil days of a zone: 23, 24 or 25 hours.
    #[cfg(feature = "time-zones")]
    pub fn days(zone: TimeZone) -> Self {
        Self(Cut::Days { zone, offset: None })
    }

    /// All begin so much later. For days this makes no sense: that is what the zone is for.
    #[must_use]
    pub fn offset(mut self, by: Duration) -> Self {
        match &mut self.0 {
            Cut::Even { offset, .. } => *offset = Some(Length::of(by)).filter(|_| !by.is_zero()),
            #[cfg(feature = "time-zones")]
            Cut::Days { offset, .. } => *offset = Some(Length::of(by)).filter(|_| !by.is_zero()),
        }
        self
    }

    /// The one that `time` lies in.
    pub fn window(&self, time: Timestamp) -> Window {
        match &self.0 {
            Cut::Even { size, offset } => {
                let into = into_cell(time, size.millis, phase(*offset, size.millis));
                Window::around(time, into, size.millis - into)
            }
            #[cfg(feature = "time-zones")]
            Cut::Days { zone, .. } => zone.day(time),
        }
    }
}

impl Windows for Tumbling {
    fn describe(&self) -> String {
        match &self.0 {
            Cut::Even { size, offset } => format!("tumbling {}+{}", size.millis, phase(*offset, size.millis)),
            #[cfg(feature = "time-zones")]
            Cut::Days { zone, .. } => format!("days of {zone}"),
        }
    }

    fn faults(&self) -> Vec<String> {
        match &self.0 {
            Cut::Even { size, offset } => {
                let offset = offset.and_then(|offset| offset.fraction("offset"));
                size.fault("size").into_iter().chain(offset).collect()
            }
            #[cfg(feature = "time-zones")]
            Cut::Days { offset, .. } => {
                let fault = "days have no offset: take the zone in which they begin when they should";
                offset.iter().map(|_| fault.to_string()).collect()
            }
        }
    }
}

/// An offset modulo the length of what repeats.
pub(super) fn phase(offset: Option<Length>, every: i64) -> i64 {
    offset.map_or(0, |offset| offset.millis.rem_euclid(every))
}

/// How far `time` is into its cell of a grid. Nothing overflows: both operands of the difference are below `every`.
#[inline]
pub(super) fn into_cell(time: Timestamp, every: i64, phase: i64) -> i64 {
    (time.0.rem_euclid(every) - phase).rem_euclid(every)
}

/// For tests: the duration of so many milliseconds.
#[cfg(test)]
pub(super) fn ms(of: i64) -> Duration {
    Duration::from_millis(u64::try_from(of).unwrap())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_moment_lies_in_the_one_window_that_a_search_finds(
            size in 1..50_i64, offset in 0..120_i64, time in -300..300_i64,
        ) {
            let windows = Tumbling::of(ms(size)).offset(ms(offset));
            let found: Vec<_> = (-20_000..20_000_i64)
                .map(|nth| offset + nth * size)
                .filter(|start| (*start..start + size).contains(&time))
                .map(|start| Window::new(Timestamp(start), Timestamp(start + size)))
                .collect();
            prop_assert_eq!(vec![windows.window(Timestamp(time))], found);
        }

        #[test]
        fn windows_at_the_ends_of_time_are_cut_there(
            size in prop_oneof![1..100_i64, (i64::MAX - 5)..=i64::MAX],
            offset in prop_oneof![0..100_i64, (i64::MAX - 5)..=i64::MAX],
            from_end in 0..200_i64,
            is_late in any::<bool>(),
        ) {
            let time = if is_late { i64::MAX - 1 - from_end } else { i64::MIN + 1 + from_end };
            let window = Tumbling::of(ms(size)).offset(ms(offset)).window(Timestamp(time));
            let (size, wide) = (i128::from(size), i128::from(time));
            let start = wide - (wide - i128::from(offset)).rem_euclid(size);
            prop_assert!(window.contains(Timestamp(time)));
            prop_assert_eq!(i128::from(window.start.0), start.max(i128::from(i64::MIN)));
            prop_assert_eq!(i128::from(window.end.0), (start + size).min(i128::from(i64::MAX)));
        }
    }

    #[test]
    fn equal_windows_are_described_alike() {
        let plain = Tumbling::of(ms(10));
        assert_eq!(plain.describe(), "tumbling 10+0");
        assert_eq!(plain.clone().offset(ms(20)).describe(), plain.describe());
        assert_eq!(plain.offset(ms(13)).describe(), "tumbling 10+3");
    }

    #[test]
    fn lengths_that_make_no_sense_are_faults_and_all_are_told() {
        let faults = Tumbling::of(Duration::ZERO).offset(Duration::from_micros(1_500)).faults_of("highest");
        let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "the windows of 'highest': the size is 0s: it must be at least 1ms",
                "the windows of 'highest': the offset is 1ms 500us: it must be whole milliseconds",
            ]
        );
        assert_eq!(Tumbling::of(Duration::from_micros(999)).faults().len(), 1);
        assert_eq!(Tumbling::of(Duration::from_micros(1_001)).faults().len(), 1);
        assert!(Tumbling::of(Duration::MAX).faults()[0].ends_with("time is not as long as that"));
        assert!(Tumbling::of(ms(1)).offset(ms(1)).faults().is_empty());
        assert!(Tumbling::of(ms(i64::MAX)).faults().is_empty());
        assert_eq!(Tumbling::of(Duration::ZERO).window(Timestamp(5)), Window::new(Timestamp(5), Timestamp(6)));
    }
}
