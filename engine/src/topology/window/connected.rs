//! Windows of two streams: groups and joins.
//!
//! They are windows of one stream of either's records, each with its side: when they are complete, what is late, and what is kept is all theirs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        Operator,
        either::Either,
        process::Collector,
        process_timed::{Context, TimeRule},
    },
    record::Record,
    time::{InTime, Stamp},
    topology::{
        connect::ConnectedStreams,
        fault::TopologyFault,
        process_fn::{Fired, KeyedProcess},
        side_output::SideOutput,
        stream::Stream,
        window::{
            contents::Listed,
            firing::Firing,
            fixed::Fixed,
            late::LateOf,
            sessions::Sessions,
            timing::{AtEnd, Final, Once, Timing, TimingOf, Untriggered},
        },
    },
    window::{FixedGap, Global, Session, Sliding, Tumbling, Window, Windows},
};

/// A record of one of two streams, as windows keep it: unlike that of an edge, which no state holds, its encoding says which.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Side<A, B> {
    /// Of the first.
    Left(A),
    /// Of the second.
    Right(B),
}

impl<A, B> From<Either<A, B>> for Side<A, B> {
    #[inline]
    fn from(record: Either<A, B>) -> Self {
        match record {
            Either::Left(record) => Self::Left(record),
            Either::Right(record) => Self::Right(record),
        }
    }
}

/// A process function of sides, as one of either's records.
#[derive(Clone)]
pub struct OfSides<F>(F);

impl<K, A, B, S, F> KeyedProcess<K, Either<A, B>, S> for OfSides<F>
where
    K: Key,
    A: 'static,
    B: 'static,
    S: Stamp,
    F: KeyedProcess<K, Side<A, B>, S>,
{
    type States = F::States;
    type Timer = F::Timer;
    type Out = F::Out;

    fn states(&self) -> F::States {
        self.0.states()
    }

    #[inline]
    fn on_record(
        &mut self,
        record: Either<A, B>,
        cx: &mut Context<'_, K, F::States, F::Timer, F::Out, S>,
    ) -> Result<(), BoxError> {
        self.0.on_record(record.into(), cx)
    }

    fn on_timer(
        &mut self,
        timer: Fired<F::Timer>,
        cx: &mut Context<'_, K, F::States, F::Timer, F::Out, S>,
    ) -> Result<(), BoxError> {
        self.0.on_timer(timer, cx)
    }

    fn rule(&self) -> TimeRule {
        self.0.rule()
    }

    fn take_late(&mut self) -> u64 {
        self.0.take_late()
    }
}

/// Windows whose records, of the type `T`, a function can have. Nobody else implements it.
#[diagnostic::on_unimplemented(
    message = "the records of two streams cannot be had by such windows",
    note = "sliding windows keep a record once for each window, and ask for records that are `Clone`"
)]
pub trait Groups<K: Key, T, S: InTime>: Windows {
    #[doc(hidden)]
    type Function<R, F, M, L>: KeyedProcess<K, T, S, Out = R>
    where
        R: Send + 'static,
        F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
        M: TimingOf<T>,
        L: LateOf<T, S>;

    #[doc(hidden)]
    fn with<R, F, M, L>(self, function: F, timing: M, late: L) -> Self::Function<R, F, M, L>
    where
        R: Send + 'static,
        F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
        M: TimingOf<T>,
        L: LateOf<T, S>;
}

macro_rules! groups {
    ($($windows:ty: $step:ident<$by:ty> $is_session:literal $($clone:ident)?;)*) => {$(
        impl<K: Key, T: Record $(+ $clone)?, S: InTime> Groups<K, T, S> for $windows {
            type Function<R, F, M, L>
                = $step<$by, Listed<T, R, F>, M::Trigger, L>
            where
                R: Send + 'static,
                F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
                M: TimingOf<T>,
                L: LateOf<T, S>;

            fn with<R, F, M, L>(self, function: F, timing: M, late: L) -> Self::Function<R, F, M, L>
            where
                R: Send + 'static,
                F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
                M: TimingOf<T>,
                L: LateOf<T, S>,
            {
                let lateness = (timing.millis(), M::IS_FINAL);
                $step::new(self, Firing::new(Listed::new(function), timing.into_trigger(), lateness, $is_session), late)
            }
        }
    )*};
}
groups! {
    Tumbling: Fixed<Tumbling> false;
    Global: Fixed<Global> false;
    Sliding: Fixed<Sliding> false Clone;
    Session<FixedGap>: Sessions<FixedGap> true;
}

/// Two streams cut by one key and by windows. It becomes a stream by a join, or by [`co_group`](Self::co_group), with a name that is the address of the windows' state.
///
/// A window is complete when the watermark, that of the stream that is behind, has come to its last moment (a session: to its end); then its rows leave, with that moment as their time, and its records are
/// dropped. All rows of a key and a window are made at once.
///
/// What comes later for it is late: dropped and counted, or given to [a side output](Self::late_left_to). With [`allowed_lateness`](Self::allowed_lateness) windows are kept for late records.
///
/// For a right join connect the streams the other way round.
#[must_use = "windows do nothing until it is said what their rows are of"]
pub struct ConnectedWindows<K, A, B, S, W, M = AtEnd> {
    connected: ConnectedStreams<K, A, B, S>,
    windows: W,
    timing: M,
}

impl<K: Key, A: Record, B: Record, S: InTime> ConnectedStreams<K, A, B, S> {
    /// Cuts the records of each key, of both streams, into windows: [`Tumbling`], [`Sliding`], [`Session`] (in which records of either stream follow each other) or [`Global`]. See
    /// [`ConnectedWindows`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, TwoPhaseSink, topology::KeyedStream, window::Tumbling};
    /// # fn example(persons: KeyedStream<u64, String, Timestamp>, auctions: KeyedStream<u64, u64, Timestamp>, sink: impl TwoPhaseSink<(u64, String)>) {
    /// // Who came, and sold something within the same 10 seconds.
    /// persons
    ///     .connect(auctions)
    ///     .window(Tumbling::of(Duration::from_secs(10)))
    ///     .semi("new sellers", |person, name| (*person, name.clone()))
    ///     .sink("rows", sink);
    /// # }
    /// ```
    pub fn window<W: Groups<K, Side<A, B>, S>>(self, windows: W) -> ConnectedWindows<K, A, B, S, W> {
        ConnectedWindows { connected: self, windows, timing: AtEnd }
    }
}

impl<K, A, B, S, W, M> ConnectedWindows<K, A, B, S, W, M>
where
    K: Key,
    A: Record,
    B: Record,
    S: InTime,
    W: Groups<K, Side<A, B>, S>,
    M: Timing,
{
    /// Lets late records count, for so long after their window is complete. Windows are kept as long.
    ///
    /// [`co_group`](Self::co_group) is then called anew with each late record of either stream, with all that is in the window. Joins have no such updates: what a late record changes may be a row that was
    /// given (a record that had no partner has one), and who reads pairs cannot tell the same pair from another one. They wait: say [`final_only`](Self::final_only) too.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(ordered: KeyedStream<u64, u64, Timestamp>, paid: KeyedStream<u64, u64, Timestamp>) {
    /// // How many orders and payments a day had; anew for a day with each that comes up to a day late.
    /// let day = Duration::from_secs(86_400);
    /// let balances = ordered.connect(paid).window(Tumbling::of(day)).allowed_lateness(day).co_group("balances", |customer, day, ordered, paid, out| {
    ///     out.emit(((*customer, day.start), (ordered.len(), paid.len())));
    /// });
    /// # let _ = balances;
    /// # }
    /// ```
    ///
    /// Without `final_only` the compiler refuses a join ("would give its rows again with each late record"):
    ///
    /// ```compile_fail,E0277
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(ordered: KeyedStream<u64, u64, Timestamp>, paid: KeyedStream<u64, u64, Timestamp>) {
    /// let day = Duration::from_secs(86_400);
    /// let _ = ordered.connect(paid).window(Tumbling::of(day)).allowed_lateness(day).anti("unpaid", |customer, order| (*customer, *order));
    /// # }
    /// ```
    pub fn allowed_lateness(self, by: Duration) -> ConnectedWindows<K, A, B, S, W, M::Late> {
        let Self { connected, windows, timing } = self;
        ConnectedWindows { connected, windows, timing: timing.late_by(by) }
    }

    /// Gives late records of the first stream to a side output: those that count for none of their windows any more. Otherwise they are dropped, and the job's status says how many (`late_records`).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, TwoPhaseSink, topology::{KeyedStream, Topology}, window::Tumbling};
    /// # fn example(topology: &Topology, orders: KeyedStream<u64, u64, Timestamp>, paid: KeyedStream<u64, String, Timestamp>, late_orders: impl TwoPhaseSink<u64>, late_payments: impl TwoPhaseSink<String>) {
    /// let (late_ordered, late_paid) = (topology.side_output::<u64>("late orders"), topology.side_output::<String>("late payments"));
    /// let pairs = orders
    ///     .connect(paid)
    ///     .window(Tumbling::of(Duration::from_secs(86_400)))
    ///     .late_left_to(&late_ordered)
    ///     .late_right_to(&late_paid)
    ///     .inner("pairs", |_, order, payment| (*order, payment.clone()));
    /// late_ordered.stream().sink("late orders-out", late_orders);
    /// late_paid.stream().sink("late payments-out", late_payments);
    /// # let _ = pairs;
    /// # }
    /// ```
    ///
    /// # Panics
    /// The step that follows, if the side output is one of another topology.
    pub fn late_left_to(mut self, side: &SideOutput<A, S>) -> Self {
        self.connected.late.left = Some(side.clone());
        self
    }

    /// As [`late_left_to`](Self::late_left_to), for the second stream.
    pub fn late_right_to(mut self, side: &SideOutput<B, S>) -> Self {
        self.connected.late.right = Some(side.clone());
        self
    }
}

impl<K, A, B, S, W, M> ConnectedWindows<K, A, B, S, W, M>
where
    K: Key,
    A: Record,
    B: Record,
    S: InTime,
    W: Groups<K, Side<A, B>, S>,
    M: Untriggered,
{
    /// Gives all of a window once: when no late record counts any more, so much later as [`allowed_lateness`](Self::allowed_lateness) says. The watermark behind the step comes as much later, so that no row
    /// is late there.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(orders: KeyedStream<u64, u64, Timestamp>, payments: KeyedStream<u64, u64, Timestamp>) {
    /// // What was not paid on its day, an hour after it: until then word of a payment may come.
    /// let (day, hour) = (Duration::from_secs(86_400), Duration::from_secs(3_600));
    /// let in_days = orders.connect(payments).window(Tumbling::of(day)).allowed_lateness(hour).final_only();
    /// let unpaid = in_days.anti("unpaid", |customer, order| (*customer, *order));
    /// # let _ = unpaid;
    /// # }
    /// ```
    pub fn final_only(self) -> ConnectedWindows<K, A, B, S, W, Final> {
        let Self { connected, windows, timing } = self;
        ConnectedWindows { connected, windows, timing: Final::after(&timing) }
    }
}

impl<K, A, B, S, W, M> ConnectedWindows<K, A, B, S, W, M>
where
    K: Key,
    A: Record,
    B: Record,
    S: InTime,
    W: Groups<K, Side<A, B>, S>,
    M: TimingOf<Side<A, B>>,
{
    /// Calls `function` with the key, the window, and its records of the first stream and of the second, in the order in which they came, when a window that has any is complete. What it emits are the rows.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(ordered: KeyedStream<u64, u64, Timestamp>, paid: KeyedStream<u64, u64, Timestamp>) {
    /// // What each customer ordered and paid, by day.
    /// let day = Tumbling::of(Duration::from_secs(86_400));
    /// let balances = ordered.connect(paid).window(day).co_group("balances", |customer, day, ordered, paid, out| {
    ///     let sum = |cents: &[&u64]| cents.iter().copied().sum::<u64>();
    ///     out.emit((*customer, day.start, sum(ordered), sum(paid)));
    /// });
    /// # let _ = balances;
    /// # }
    /// ```
    pub fn co_group<R, F>(self, name: impl Into<String>, mut function: F) -> Stream<impl Operator<Out = R, Time = S>>
    where
        R: Send + 'static,
        F: FnMut(&K, Window, &[&A], &[&B], &mut Collector<'_, R>) + Clone + Send + 'static,
    {
        let (Self { connected, windows, timing }, name) = (self, name.into());
        let ConnectedStreams { either, late, .. } = connected;
        let of_timing = timing.faults(S::BY_CLOCK).into_iter();
        let of_timing = of_timing.map(|message| TopologyFault::Windows { step: name.clone(), message });
        either.stream.graph.lock().faults.extend(windows.faults_of(&name).into_iter().chain(of_timing));
        let of_both = move |key: &K, window: Window, records: &[&Side<A, B>], out: &mut Collector<'_, R>| {
            let (mut left, mut right) = (Vec::new(), Vec::new());
            for record in records {
                match record {
                    Side::Left(record) => left.push(record),
                    Side::Right(record) => right.push(record),
                }
            }
            function(key, window, &left, &right, out);
        };
        let function = windows.with(of_both, timing, late.both());
        late.bound(either.process_windows(name, OfSides(function)))
    }

    /// Gives `function` each pair of a record of the first stream and one of the second, in a window that has both.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Sliding};
    /// # fn example(clicks: KeyedStream<u64, String, Timestamp>, orders: KeyedStream<u64, u64, Timestamp>) {
    /// let hour = Sliding::of(Duration::from_secs(3600)).every(Duration::from_secs(600));
    /// let pairs = clicks.connect(orders).window(hour).inner("pairs", |_, page, cents| (page.clone(), *cents));
    /// # let _ = pairs;
    /// # }
    /// ```
    pub fn inner<R, F>(self, name: impl Into<String>, mut function: F) -> Stream<impl Operator<Out = R, Time = S>>
    where
        R: Send + 'static,
        F: FnMut(&K, &A, &B) -> R + Clone + Send + 'static,
        M: Once,
    {
        self.co_group(name, move |key, _, left, right, out| {
            for one in left {
                right.iter().for_each(|other| out.emit(function(key, one, other)));
            }
        })
    }

    /// As [`inner`](Self::inner), and each record of the first stream in a window without one of the second, with `None`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(orders: KeyedStream<u64, u64, Timestamp>, parcels: KeyedStream<u64, String, Timestamp>) {
    /// let day = Tumbling::of(Duration::from_secs(86_400));
    /// let sent = orders.connect(parcels).window(day).left("sent", |_, order, parcel| (*order, parcel.cloned()));
    /// # let _ = sent;
    /// # }
    /// ```
    pub fn left<R, F>(self, name: impl Into<String>, mut function: F) -> Stream<impl Operator<Out = R, Time = S>>
    where
        R: Send + 'static,
        F: FnMut(&K, &A, Option<&B>) -> R + Clone + Send + 'static,
        M: Once,
    {
        self.co_group(name, move |key, _, left, right, out| {
            for one in left {
                each(right, |other| out.emit(function(key, one, other)));
            }
        })
    }

    /// As [`inner`](Self::inner), and each record of either stream in a window without one of the other.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Session};
    /// # fn example(seen: KeyedStream<u64, u32, Timestamp>, heard: KeyedStream<u64, u32, Timestamp>) {
    /// let minute = Session::gap(Duration::from_secs(60));
    /// let noticed = seen.connect(heard).window(minute).full("noticed", |_, seen, heard| (seen.copied(), heard.copied()));
    /// # let _ = noticed;
    /// # }
    /// ```
    pub fn full<R, F>(self, name: impl Into<String>, mut function: F) -> Stream<impl Operator<Out = R, Time = S>>
    where
        R: Send + 'static,
        F: FnMut(&K, Option<&A>, Option<&B>) -> R + Clone + Send + 'static,
        M: Once,
    {
        self.co_group(name, move |key, _, left, right, out| {
            each(left, |one| each(right, |other| out.emit(function(key, one, other))));
        })
    }

    /// Gives `function` each record of the first stream in a window that has one of the second, once. See [`window`](ConnectedStreams::window) for an example.
    pub fn semi<R, F>(self, name: impl Into<String>, mut function: F) -> Stream<impl Operator<Out = R, Time = S>>
    where
        R: Send + 'static,
        F: FnMut(&K, &A) -> R + Clone + Send + 'static,
        M: Once,
    {
        self.co_group(name, move |key, _, left, right, out| {
            if !right.is_empty() {
                left.iter().for_each(|one| out.emit(function(key, one)));
            }
        })
    }

    /// Gives `function` each record of the first stream in a window that has none of the second.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, topology::KeyedStream, window::Tumbling};
    /// # fn example(orders: KeyedStream<u64, u64, Timestamp>, payments: KeyedStream<u64, u64, Timestamp>) {
    /// let day = Tumbling::of(Duration::from_secs(86_400));
    /// let unpaid = orders.connect(payments).window(day).anti("unpaid", |customer, order| (*customer, *order));
    /// # let _ = unpaid;
    /// # }
    /// ```
    pub fn anti<R, F>(self, name: impl Into<String>, mut function: F) -> Stream<impl Operator<Out = R, Time = S>>
    where
        R: Send + 'static,
        F: FnMut(&K, &A) -> R + Clone + Send + 'static,
        M: Once,
    {
        self.co_group(name, move |key, _, left, right, out| {
            if right.is_empty() {
                left.iter().for_each(|one| out.emit(function(key, one)));
            }
        })
    }
}

/// Each of the records; or none, once, if there is none.
fn each<T>(records: &[&T], mut give: impl FnMut(Option<&T>)) {
    if records.is_empty() {
        give(None);
    }
    records.iter().for_each(|record| give(Some(record)));
}
