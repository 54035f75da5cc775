//! Where a stream's times and watermarks come from.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    error::BoxError,
    id::WallTime,
    record::Record,
    time::{Offset, Timestamp},
};

/// How watermarks follow from records, for [`event_time`](crate::topology::Stream::event_time).
///
/// ```
/// # use std::time::Duration;
/// # use cofferdam_engine::WatermarkStrategy;
/// // Records may be 5 s out of order; a split that has had none for a minute holds nothing back.
/// let strategy = WatermarkStrategy::bounded(Duration::from_secs(5)).idle_after(Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
#[must_use = "give it to `event_time`"]
pub struct WatermarkStrategy<G> {
    pub(crate) generator: G,
    pub(crate) idle_after: Option<Duration>,
    pub(crate) splits_in_order: bool,
    pub(crate) alignment: Option<Alignment>,
}

/// Sources that are read no further apart than they may be, for [`align`](WatermarkStrategy::align).
#[derive(Clone, Debug)]
pub struct Alignment {
    pub(crate) group: String,
    pub(crate) max_drift: Duration,
}

impl Alignment {
    /// A split waits while its watermark is more than `max_drift` ahead of the slowest one in the group of this name: whole milliseconds.
    pub fn group(name: impl Into<String>, max_drift: Duration) -> Self {
        Self { group: name.into(), max_drift }
    }
}

impl WatermarkStrategy<Bounded> {
    /// The times of one split never fall.
    pub fn monotonous() -> Self {
        Self::bounded(Duration::ZERO)
    }

    /// A record is at most `lateness` earlier than one in front of it in the same split: whole milliseconds. Those that are earlier still are late.
    pub fn bounded(lateness: Duration) -> Self {
        Self::own(Bounded { lateness })
    }
}

impl<F> WatermarkStrategy<Punctuated<F>> {
    /// Some records say themselves how far time has come: `function` is given each record and its time, and returns a moment that no record behind this one is
    /// earlier than or at, if it knows one.
    ///
    /// ```
    /// # use cofferdam_engine::{Timestamp, WatermarkStrategy};
    /// struct Reading {
    ///     ends_minute: bool,
    /// }
    ///
    /// let strategy = WatermarkStrategy::punctuated(|reading: &Reading, time| reading.ends_minute.then_some(time));
    /// # fn is_strategy<G: cofferdam_engine::time::WatermarkGenerator<Reading>>(_: WatermarkStrategy<G>) {}
    /// # is_strategy(strategy);
    /// ```
    pub fn punctuated<T>(function: F) -> Self
    where
        F: Fn(&T, Timestamp) -> Option<Timestamp> + Clone + Send + 'static,
    {
        Self::own(Punctuated { function })
    }
}

impl<G> WatermarkStrategy<G> {
    /// Any other way.
    pub fn own(generator: G) -> Self {
        Self { generator, idle_after: None, splits_in_order: false, alignment: None }
    }

    /// A split whose reader has had nothing for so long is *idle*: time does not wait for it, until its next record. Time in which the reader is not asked, for want of
    /// room further on, does not count. Without this, a split without records holds time back for ever.
    pub fn idle_after(mut self, idle_after: Duration) -> Self {
        self.idle_after = Some(idle_after);
        self
    }

    /// Records of a split that a bounded source has not opened yet are no earlier than those of the splits in front of it, as in files listed by date. Without this, time
    /// stands still in a subtask until its last split has been opened.
    pub fn splits_in_order(mut self) -> Self {
        self.splits_in_order = true;
        self
    }

    /// Does not let the source's splits run ahead of the slowest split in a group, which may have splits of several sources: what they are read ahead by waits in state
    /// further on. A split that is idle, or has ended, is waited for no longer; one that has had no record yet is, so give [`idle_after`](Self::idle_after) where a split
    /// may be empty. Only in front of the first exchange, and once in a chain.
    ///
    /// ```
    /// # use std::time::Duration;
    /// use cofferdam_engine::{Source, Timestamp, TwoPhaseSink, WatermarkStrategy, time::Alignment, topology::Topology};
    ///
    /// fn both(calls: impl Source<Record = i64>, bills: impl Source<Record = i64>, sink: impl TwoPhaseSink<i64>) -> Topology {
    ///     let topology = Topology::new("both");
    ///     // Neither is read more than an hour ahead of the other.
    ///     let hour = Alignment::group("calls and bills", Duration::from_secs(3600));
    ///     let strategy = WatermarkStrategy::monotonous().align(hour);
    ///     let calls = topology.source("calls", calls);
    ///     let calls = calls.event_time("call time", strategy.clone(), |at| Timestamp::from_millis(*at));
    ///     let bills = topology.source("bills", bills);
    ///     let bills = bills.event_time("bill time", strategy, |at| Timestamp::from_millis(*at));
    ///     calls.union(bills).sink("rows", sink);
    ///     topology
    /// }
    /// ```
    pub fn align(mut self, alignment: Alignment) -> Self {
        self.alignment = Some(alignment);
        self
    }
}

/// Makes watermarks of one split's records.
pub trait WatermarkGenerator<T>: Clone + Send + 'static {
    /// What it remembers of one split. Part of each checkpoint.
    type State: Record + Clone + Default;

    /// A record has come.
    fn observe(&self, state: &mut Self::State, record: &T, time: Timestamp);

    /// No record that is still to come is at this moment or earlier; [`MIN`](Timestamp::MIN) if nothing is known. Where it falls, the engine keeps to the highest.
    fn watermark(&self, state: &Self::State) -> Timestamp;

    /// Why it makes no sense, one sentence each.
    fn faults(&self) -> Vec<String> {
        Vec::new()
    }
}

/// See [`WatermarkStrategy::bounded`].
#[derive(Clone, Copy, Debug)]
pub struct Bounded {
    lateness: Duration,
}

impl<T> WatermarkGenerator<T> for Bounded {
    /// The highest time so far.
    type State = Option<Timestamp>;

    #[inline]
    fn observe(&self, highest: &mut Option<Timestamp>, _record: &T, time: Timestamp) {
        if *highest < Some(time) {
            *highest = Some(time);
        }
    }

    fn watermark(&self, highest: &Option<Timestamp>) -> Timestamp {
        // A record of the very lowest time that may come is not late.
        highest.map_or(Timestamp::MIN, |highest| Timestamp(highest.before(self.lateness).0.saturating_sub(1)))
    }

    fn faults(&self) -> Vec<String> {
        Offset::after(self.lateness).fault("disorder").into_iter().collect()
    }
}

/// See [`WatermarkStrategy::punctuated`].
#[derive(Clone, Copy, Debug)]
pub struct Punctuated<F> {
    function: F,
}

impl<T, F> WatermarkGenerator<T> for Punctuated<F>
where
    F: Fn(&T, Timestamp) -> Option<Timestamp> + Clone + Send + 'static,
{
    /// The highest that was said.
    type State = Option<Timestamp>;

    #[inline]
    fn observe(&self, highest: &mut Option<Timestamp>, record: &T, time: Timestamp) {
        *highest = (*highest).max((self.function)(record, time));
    }

    fn watermark(&self, highest: &Option<Timestamp>) -> Timestamp {
        highest.unwrap_or(Timestamp::MIN)
    }
}

/// What the function given to [`event_time`](crate::topology::Stream::event_time) may return. Not a bare number, which would not say of what.
pub trait IntoTimestamp {
    /// The moment; an error if there is none.
    fn into_timestamp(self) -> Result<Timestamp, BoxError>;
}

impl IntoTimestamp for Timestamp {
    #[inline]
    fn into_timestamp(self) -> Result<Timestamp, BoxError> {
        Ok(self)
    }
}

impl IntoTimestamp for WallTime {
    #[inline]
    fn into_timestamp(self) -> Result<Timestamp, BoxError> {
        Ok(self.into())
    }
}

/// What is less than a millisecond is cut off, towards the earlier.
impl IntoTimestamp for SystemTime {
    fn into_timestamp(self) -> Result<Timestamp, BoxError> {
        let millis = match self.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).ok(),
            Err(before) => i64::try_from(before.duration().as_nanos().div_ceil(1_000_000)).ok().map(|millis| -millis),
        };
        millis.map(Timestamp).ok_or_else(|| format!("{self:?} is too far from the Unix epoch").into())
    }
}

impl<I: IntoTimestamp> IntoTimestamp for Option<I> {
    #[inline]
    fn into_timestamp(self) -> Result<Timestamp, BoxError> {
        self.map_or_else(|| Err("its function gave `None` as the time of a record".into()), I::into_timestamp)
    }
}

impl<I: IntoTimestamp, E: Into<BoxError>> IntoTimestamp for Result<I, E> {
    #[inline]
    fn into_timestamp(self) -> Result<Timestamp, BoxError> {
        self.map_err(Into::into).and_then(I::into_timestamp)
    }
}

/// The time of a record, unless it is one that none can have.
#[inline]
pub(crate) fn time_of_record(time: impl IntoTimestamp) -> Result<Timestamp, BoxError> {
    match time.into_timestamp()? {
        end @ (Timestamp::MIN | Timestamp::MAX) => {
            Err(format!("its function gave {end} as the time of a record, which is not a moment but an end of time")
                .into())
        }
        time => Ok(time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after<G: WatermarkGenerator<i64>>(strategy: &WatermarkStrategy<G>, times: &[i64]) -> Timestamp {
        let mut state = G::State::default();
        times.iter().for_each(|time| strategy.generator.observe(&mut state, time, Timestamp(*time)));
        strategy.generator.watermark(&state)
    }

    #[test]
    fn a_bounded_watermark_is_just_below_the_lowest_time_that_may_still_come() {
        let strategy = WatermarkStrategy::bounded(Duration::from_millis(10));
        assert_eq!(after(&strategy, &[]), Timestamp::MIN);
        assert_eq!(after(&strategy, &[100]), Timestamp(89));
        assert_eq!(after(&strategy, &[100, 95, 120, 3]), Timestamp(109));
        assert_eq!(after(&strategy, &[-5]), Timestamp(-16));
        assert_eq!(after(&strategy, &[i64::MIN + 5]), Timestamp::MIN);
        assert_eq!(after(&WatermarkStrategy::monotonous(), &[7, 7, 9]), Timestamp(8), "another 9 may come");
    }

    #[test]
    fn a_punctuated_watermark_is_the_highest_that_records_have_said() {
        let strategy =
            WatermarkStrategy::punctuated(|record: &i64, time| (record % 2 == 0).then_some(Timestamp(time.0 - 1)));
        assert_eq!(after(&strategy, &[1, 3]), Timestamp::MIN);
        assert_eq!(after(&strategy, &[1, 8, 3, 99]), Timestamp(7));
        assert_eq!(after(&strategy, &[8, 4]), Timestamp(7));
    }

    #[test]
    fn a_record_has_a_time_or_an_error_that_says_why_not() {
        let error = |time: Result<Timestamp, BoxError>| time.map_err(|error| error.to_string());
        assert_eq!(error(time_of_record(Some(Timestamp(5)))), Ok(Timestamp(5)));
        assert_eq!(error(time_of_record(WallTime(5))), Ok(Timestamp(5)));
        assert_eq!(error(time_of_record(Ok::<_, BoxError>(Timestamp(5)))), Ok(Timestamp(5)));
        assert_eq!(error(time_of_record(Err::<Timestamp, _>("no date"))), Err("no date".into()));
        assert!(error(time_of_record(None::<Timestamp>)).is_err_and(|error| error.contains("`None`")));
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert!(error(time_of_record(end)).is_err_and(|error| error.contains(&end.to_string())));
        }
    }

    #[test]
    fn system_times_are_milliseconds_on_either_side_of_the_epoch() {
        let by = Duration::from_micros(1_500);
        assert_eq!((UNIX_EPOCH + by).into_timestamp().ok(), Some(Timestamp(1)));
        assert_eq!((UNIX_EPOCH - by).into_timestamp().ok(), Some(Timestamp(-2)), "towards the earlier");
    }
}
