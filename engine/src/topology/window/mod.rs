//! Windows of streams: which, how long late records count, when there are rows, and of what.
//!
//! ```text
//! keyed.window(Tumbling::of(minute))      which windows
//!      .allowed_lateness(hour)            how long late records count      | may be left out
//!      .trigger(Trigger::count(100))      when there are rows              | may be left out
//!      .max_by("highest", |bid| ...)      what they are of: a stream again
//! ```
//! The steps are process functions with timers: see `docs/decisions/0021`.

mod connected;
mod contents;
mod counts;
mod firing;
mod fixed;
pub(super) mod late;
mod panes;
mod sessions;
mod steps;
mod timing;

use std::{ops::AddAssign, time::Duration};

pub use connected::{ConnectedWindows, Groups, Side};
pub use steps::{Aggregates, Lists};
pub use timing::{AtEnd, Final, Once, Timing, TimingOf, Triggered, Untriggered, Updating};

use crate::{
    key::Key,
    operator::{Operator, process::Collector},
    record::Record,
    state::Aggregate,
    time::{InTime, Stamp},
    topology::{SideOutput, fault::TopologyFault, keyed_stream::KeyedStream, stream::Stream},
    window::{
        Count, Global, Session, Sliding, Trigger, Tumbling, Window, Windows,
        aggregates::{Counted, Folding, MaxBy, MinBy, Present, Reduced, Summed, Top},
    },
};

/// Windows that a stream whose records carry the time `S` can have: all of them if it has time, and [`Count`] if it has none.
pub trait WindowsOver<S: Stamp>: Windows {}

impl<S: InTime> WindowsOver<S> for Tumbling {}
impl<S: InTime> WindowsOver<S> for Sliding {}
impl<S: InTime> WindowsOver<S> for Global {}
impl<S: InTime, G: 'static> WindowsOver<S> for Session<G> where Session<G>: Windows {}
impl<S: Stamp> WindowsOver<S> for Count {}

/// Windows of time, which [`Count`] is not.
#[diagnostic::on_unimplemented(
    message = "windows that count records are not of time",
    note = "nothing is late for them, and they have a row when they are full: for a trigger, take `Global`"
)]
pub trait OfTime: Windows {}

impl OfTime for Tumbling {}
impl OfTime for Sliding {}
impl OfTime for Global {}
impl<G> OfTime for Session<G> where Session<G>: Windows {}

/// A stream cut by key and by windows. It becomes a stream again by saying what rows are of: [`count`](Self::count), [`sum`](Self::sum), [`process`](Self::process) and so on, with a name that is
/// the address of the windows' state.
///
/// A row is a [`Windowed`](crate::window::Windowed): key, window and value; it bears the last moment of its window, so windows of windows nest.
///
/// # When there are rows
/// A window is complete when the watermark has come to its last moment: then it has its row, and what comes later for it is late and dropped (and counted). With
/// [`allowed_lateness`](Self::allowed_lateness) late records count for so long, and each gives another row; [`final_only`](Self::final_only) waits for them instead, and gives one row; a
/// [`trigger`](Self::trigger) says otherwise. Windows without records have no rows.
///
/// Exactly once: windows, their rows, and what they wait for are in one checkpoint or in none, and go along with their keys to another number of subtasks.
///
/// ```
/// # use std::time::Duration;
/// # use cofferdam_engine::{Source, Timestamp, TwoPhaseSink, WatermarkStrategy, topology::Topology, window::{Tumbling, Windowed}};
/// # #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// # struct Bid { auction: u64, price: u64, at: i64 }
/// # fn example(bids: impl Source<Record = Bid>, sink: impl TwoPhaseSink<Windowed<u64, Bid>>) {
/// // The highest bid of each auction in every 10 seconds, when no earlier bid can come.
/// let topology = Topology::new("highest");
/// topology
///     .source("bids", bids)
///     .event_time("time", WatermarkStrategy::bounded(Duration::from_secs(2)), |bid: &Bid| Timestamp::from_millis(bid.at))
///     .key_by(|bid| bid.auction)
///     .window(Tumbling::of(Duration::from_secs(10)))
///     .max_by("highest", |bid| bid.price)
///     .sink("rows", sink);
/// # }
/// ```
#[must_use = "windows do nothing until it is said what their rows are of"]
pub struct WindowedStream<K, T, S, W, M = AtEnd> {
    stream: KeyedStream<K, T, S>,
    windows: W,
    timing: M,
    late_to: Option<SideOutput<T, S>>,
}

impl<K: Key, T: Record, S: Stamp> KeyedStream<K, T, S> {
    /// Cuts each key's records into windows: [`Tumbling`], [`Sliding`], [`Session`], [`Global`] or [`Count`]. See [`WindowedStream`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::{Session, Sliding}};
    /// # fn example(clicks: KeyedStream<u64, String, Timestamp>, bids: KeyedStream<u64, u64, Timestamp>) {
    /// // How many clicks a visit has: nothing for half an hour ends it.
    /// let visits = clicks.window(Session::gap(Duration::from_secs(1800))).count("visits");
    /// // What was bid in the last hour, every minute.
    /// let hour = Sliding::of(Duration::from_secs(3600)).every(Duration::from_secs(60));
    /// let turnover = bids.window(hour).sum("turnover", |price| *price);
    /// # let _ = (visits, turnover);
    /// # }
    /// ```
    ///
    /// On a stream of [`processing_time`](Stream::processing_time) windows are those of the clock. A stream without time is refused by the compiler ("the records of this stream have no time"), but for
    /// [`Count`], which needs none:
    ///
    /// ```compile_fail,E0277
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{NoTime, topology::KeyedStream, window::Tumbling};
    /// # fn example(bids: KeyedStream<u64, u64, NoTime>) {
    /// let _ = bids.window(Tumbling::of(Duration::from_secs(10)));
    /// # }
    /// ```
    pub fn window<W: WindowsOver<S>>(self, windows: W) -> WindowedStream<K, T, S, W> {
        WindowedStream { stream: self, windows, timing: AtEnd, late_to: None }
    }
}

impl<O: Operator<Out: Record>> Stream<O> {
    /// Cuts all records into windows, whatever they are of: they go to one subtask, and the rows' key is `()`. Where it can be, aggregate by key first, and then what came of that.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(bids: KeyedStream<u64, u64, Timestamp>) {
    /// // The auction with the most bids, of every minute: counted by auction, on as many subtasks as there are.
    /// let minute = Tumbling::of(Duration::from_secs(60));
    /// let hottest = bids.window(minute.clone()).count("bids").window_all(minute).max_by("hottest", |bids| bids.value);
    /// # let _ = hottest;
    /// # }
    /// ```
    pub fn window_all<W: WindowsOver<O::Time>>(self, windows: W) -> WindowedStream<(), O::Out, O::Time, W> {
        self.keyed(|record| ((), record)).parallelism(1).window(windows)
    }
}

impl<K: Key, T: Record, S: Stamp, W: OfTime, M: Timing> WindowedStream<K, T, S, W, M> {
    /// Lets late records count, for so long after their window is complete; each of them gives another row of the window at once, of all that is in it then. Windows are kept as long.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(readings: KeyedStream<u64, f64, Timestamp>) {
    /// let hour = Duration::from_secs(3600);
    /// let counts = readings.window(Tumbling::of(hour)).allowed_lateness(24 * hour).count("readings");
    /// # let _ = counts;
    /// # }
    /// ```
    pub fn allowed_lateness(self, by: Duration) -> WindowedStream<K, T, S, W, M::Late> {
        let Self { stream, windows, timing, late_to } = self;
        WindowedStream { stream, windows, timing: timing.late_by(by), late_to }
    }

    /// Gives late records to a side output: those that count for none of their windows any more. Otherwise they are dropped, and the job's status says how many (`late_records`).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, TwoPhaseSink, topology::{KeyedStream, Topology}, window::Tumbling};
    /// # fn example(topology: &Topology, readings: KeyedStream<u64, f64, Timestamp>, late_readings: impl TwoPhaseSink<f64>) {
    /// let minute = Duration::from_secs(60);
    /// let late = topology.side_output::<f64>("late");
    /// let counts = readings.window(Tumbling::of(minute)).allowed_lateness(5 * minute).late_to(&late).count("readings");
    /// late.stream().sink("late readings", late_readings);
    /// # let _ = counts;
    /// # }
    /// ```
    ///
    /// # Panics
    /// The step that follows, if the side output is one of another topology.
    pub fn late_to(self, side: &SideOutput<T, S>) -> Self {
        Self { late_to: Some(side.clone()), ..self }
    }
}

impl<K: Key, T: Record, S: Stamp, W: OfTime, M: Untriggered> WindowedStream<K, T, S, W, M> {
    /// One row for each window: when no late record counts any more, so much later as [`allowed_lateness`](Self::allowed_lateness) says. The watermark behind the step comes as much later, so that no row
    /// is late there.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(readings: KeyedStream<u64, f64, Timestamp>) {
    /// let hour = Duration::from_secs(3600);
    /// let counts = readings.window(Tumbling::of(hour)).allowed_lateness(hour).final_only().count("readings");
    /// # let _ = counts;
    /// # }
    /// ```
    pub fn final_only(self) -> WindowedStream<K, T, S, W, Final> {
        let Self { stream, windows, timing, late_to } = self;
        WindowedStream { stream, windows, timing: Final::after(&timing), late_to }
    }

    /// Says when a window has a row: see [`Trigger`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::{Global, Trigger, Tumbling}};
    /// # fn example(readings: KeyedStream<u64, f64, Timestamp>, orders: KeyedStream<u64, u64, Timestamp>) {
    /// // How the day is going, every minute.
    /// let day = Tumbling::of(Duration::from_secs(24 * 3600));
    /// let so_far = readings.window(day).trigger(Trigger::continuous(Duration::from_secs(60))).count("so far");
    /// // Orders in hundreds, and what is left at the end.
    /// let hundreds = orders.window(Global).trigger(Trigger::count(100).or_at_end().purging()).sum("sums", |cents| *cents);
    /// # let _ = (so_far, hundreds);
    /// # }
    /// ```
    pub fn trigger<G: Clone + Send + 'static>(self, trigger: Trigger<G>) -> WindowedStream<K, T, S, W, Triggered<G>> {
        let Self { stream, windows, timing, late_to } = self;
        let timing = Triggered::by(trigger.into_inner(), &timing);
        WindowedStream { stream, windows, timing, late_to }
    }
}

impl<K: Key, T: Record, S: Stamp, W: Windows, M: Timing> WindowedStream<K, T, S, W, M> {
    /// How many records there are.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(clicks: KeyedStream<String, u64, Timestamp>) {
    /// let clicks = clicks.window(Tumbling::of(Duration::from_secs(60))).count("clicks");
    /// let rows = clicks.map(|row| format!("{} had {} clicks from {} on", row.key, row.value, row.window.start.as_millis()));
    /// # let _ = rows;
    /// # }
    /// ```
    pub fn count(self, name: impl Into<String>) -> Stream<<Self as Aggregates<Counted<T>>>::Step>
    where
        Self: Aggregates<Counted<T>>,
    {
        self.aggregated(name.into(), Counted::new())
    }

    /// The sum of what `function` gives.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(orders: KeyedStream<u64, (String, u64), Timestamp>) {
    /// let turnover = orders.window(Tumbling::of(Duration::from_secs(3600))).sum("turnover", |(_, cents)| *cents);
    /// # let _ = turnover;
    /// # }
    /// ```
    pub fn sum<N, F>(self, name: impl Into<String>, function: F) -> Stream<<Self as Aggregates<Summed<T, F>>>::Step>
    where
        N: Record + Default + Clone + AddAssign,
        F: Fn(&T) -> N + Clone + Send + 'static,
        Self: Aggregates<Summed<T, F>>,
    {
        self.aggregated(name.into(), Summed::by(function))
    }

    /// The record for which `function` gives the least; the first of several.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(offers: KeyedStream<u64, (String, u64), Timestamp>) {
    /// let cheapest = offers.window(Tumbling::of(Duration::from_secs(60))).min_by("cheapest", |(_, cents)| *cents);
    /// # let _ = cheapest;
    /// # }
    /// ```
    pub fn min_by<B, F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<<Self as Aggregates<Present<MinBy<T, F>>>>::Step>
    where
        T: Clone,
        B: Ord,
        F: Fn(&T) -> B + Clone + Send + 'static,
        Self: Aggregates<Present<MinBy<T, F>>>,
    {
        self.aggregated(name.into(), Present::of(MinBy::by(function)))
    }

    /// The record for which `function` gives the most; the first of several.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(bids: KeyedStream<u64, (String, u64), Timestamp>) {
    /// let highest = bids.window(Tumbling::of(Duration::from_secs(10))).max_by("highest", |(_, price)| *price);
    /// # let _ = highest;
    /// # }
    /// ```
    pub fn max_by<B, F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<<Self as Aggregates<Present<MaxBy<T, F>>>>::Step>
    where
        T: Clone,
        B: Ord,
        F: Fn(&T) -> B + Clone + Send + 'static,
        Self: Aggregates<Present<MaxBy<T, F>>>,
    {
        self.aggregated(name.into(), Present::of(MaxBy::by(function)))
    }

    /// The records put together: `function` puts the second one into the first. It is to be associative where windows overlap or grow together.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Session};
    /// # fn example(lines: KeyedStream<u64, String, Timestamp>) {
    /// let talks = lines.window(Session::gap(Duration::from_secs(60))).reduce("talks", |talk, line| talk.push_str(&line));
    /// # let _ = talks;
    /// # }
    /// ```
    pub fn reduce<F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<<Self as Aggregates<Present<Reduced<T, F>>>>::Step>
    where
        T: Clone,
        F: Fn(&mut T, T) + Clone + Send + 'static,
        Self: Aggregates<Present<Reduced<T, F>>>,
    {
        self.aggregated(name.into(), Present::of(Reduced::by(function)))
    }

    /// A value, `initial` at first, that `function` changes with each record. For tumbling and global windows: others ask for what can be merged, by [`aggregate`](Self::aggregate).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(visits: KeyedStream<u64, String, Timestamp>) {
    /// let pages = visits.window(Tumbling::of(Duration::from_secs(60))).fold("pages", Vec::new(), |pages, page| pages.push(page));
    /// # let _ = pages;
    /// # }
    /// ```
    pub fn fold<V, F>(
        self,
        name: impl Into<String>,
        initial: V,
        function: F,
    ) -> Stream<<Self as Aggregates<Folding<T, V, F>>>::Step>
    where
        V: Record + Clone,
        F: Fn(&mut V, T) + Clone + Send + 'static,
        Self: Aggregates<Folding<T, V, F>>,
    {
        self.aggregated(name.into(), Folding::from(initial, function))
    }

    /// What an [`Aggregate`] makes of them. Sliding windows, sessions and count windows ask for one that is [`Merge`](crate::state::Merge).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, state::{Aggregate, Merge}, topology::KeyedStream, window::Session};
    /// #[derive(Clone)]
    /// struct Mean;
    ///
    /// impl Aggregate for Mean {
    ///     type In = f64;
    ///     type Accumulator = (f64, u64);
    ///     type Out = f64;
    ///
    ///     fn create(&self) -> (f64, u64) {
    ///         (0.0, 0)
    ///     }
    ///     fn add(&self, (sum, count): &mut (f64, u64), value: f64) {
    ///         (*sum, *count) = (*sum + value, *count + 1);
    ///     }
    ///     fn get(&self, (sum, count): &(f64, u64)) -> f64 {
    ///         sum / *count as f64
    ///     }
    /// }
    ///
    /// impl Merge for Mean {
    ///     fn merge(&self, into: &mut (f64, u64), other: (f64, u64)) {
    ///         *into = (into.0 + other.0, into.1 + other.1);
    ///     }
    /// }
    ///
    /// # fn example(readings: KeyedStream<u64, f64, Timestamp>) {
    /// let means = readings.window(Session::gap(Duration::from_secs(60))).aggregate("means", Mean);
    /// # let _ = means;
    /// # }
    /// ```
    pub fn aggregate<A>(self, name: impl Into<String>, aggregate: A) -> Stream<<Self as Aggregates<A>>::Step>
    where
        A: Aggregate<In = T>,
        Self: Aggregates<A>,
    {
        self.aggregated(name.into(), aggregate)
    }

    /// The `n` records for which `by` gives the most, the greatest first. Where two can be equal let `by` say the tie-break too: in what order records of several subtasks come is no promise.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(bids: KeyedStream<u64, (u64, u64), Timestamp>) {
    /// let dearest = bids.window(Tumbling::of(Duration::from_secs(60))).top_n("dearest", 10, |(number, price)| (*price, *number));
    /// # let _ = dearest;
    /// # }
    /// ```
    pub fn top_n<B, F>(self, name: impl Into<String>, n: usize, by: F) -> Stream<<Self as Aggregates<Top<T, F>>>::Step>
    where
        T: Clone,
        B: Ord,
        F: Fn(&T) -> B + Clone + Send + 'static,
        Self: Aggregates<Top<T, F>>,
    {
        let (name, top) = (name.into(), Top::by(n, by));
        let faults = top.faults().into_iter().map(|message| TopologyFault::Windows { step: name.clone(), message });
        self.stream.stream.graph.lock().faults.extend(faults);
        self.aggregated(name, top)
    }

    /// Calls `function` with the key, the window and all its records in the order in which they came; what it emits is stamped with the last moment of the window.
    ///
    /// The records are kept until then, each an entry of its own in checkpoints: where an aggregate will do, it is the cheaper.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(prices: KeyedStream<u64, u64, Timestamp>) {
    /// let medians = prices.window(Tumbling::of(Duration::from_secs(60))).process("medians", |auction, window, records, out| {
    ///     let mut prices = records.to_vec();
    ///     prices.sort_unstable();
    ///     out.emit((*auction, window.end, *prices[prices.len() / 2]));
    /// });
    /// # let _ = medians;
    /// # }
    /// ```
    pub fn process<R, F>(self, name: impl Into<String>, function: F) -> Stream<<Self as Lists<R, F>>::Step>
    where
        R: Send + 'static,
        F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
        Self: Lists<R, F>,
    {
        self.listed(name.into(), function)
    }
}

#[cfg(test)]
mod tests;
