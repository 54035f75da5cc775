//! Windows of two streams: groups and joins.
//!
//! They are windows of one stream of either's records, each with its side: when they are complete, what is late, and what is kept is all theirs.

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
        process_fn::{Fired, KeyedProcess},
        stream::Stream,
        window::{
            contents::Listed,
            firing::Firing,
            fixed::Fixed,
            late::Late,
            sessions::Sessions,
            timing::{AtEnd, TimingOf},
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
    note = "sliding windows keep a record once for each window, and ask for records that are `Clone`; the stream needs time"
)]
pub trait Groups<K: Key, T, S: Stamp>: Windows {
    #[doc(hidden)]
    type Function<R, F>: KeyedProcess<K, T, S, Out = R>
    where
        R: Send + 'static,
        F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static;

    #[doc(hidden)]
    fn with<R, F>(self, function: F) -> Self::Function<R, F>
    where
        R: Send + 'static,
        F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static;
}

macro_rules! groups {
    ($($windows:ty: $step:ident<$by:ty> $is_session:literal $($clone:ident)?;)*) => {$(
        impl<K: Key, T: Record $(+ $clone)?, S: InTime> Groups<K, T, S> for $windows {
            type Function<R, F>
                = $step<T, S, $by, Listed<T, R, F>, <AtEnd as TimingOf<T>>::Trigger>
            where
                R: Send + 'static,
                F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static;

            fn with<R, F>(self, function: F) -> Self::Function<R, F>
            where
                R: Send + 'static,
                F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
            {
                let trigger = TimingOf::<T>::into_trigger(AtEnd);
                $step::new(self, Firing::new(Listed::new(function), trigger, (0, false), $is_session), Late::to(None))
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
/// dropped. What comes later for it is late, and dropped (and counted). All rows of a key and a window are made at once.
///
/// For a right join connect the streams the other way round.
#[must_use = "windows do nothing until it is said what their rows are of"]
pub struct ConnectedWindows<K, A, B, S, W> {
    connected: ConnectedStreams<K, A, B, S>,
    windows: W,
}

impl<K: Key, A: Record, B: Record, S: Stamp> ConnectedStreams<K, A, B, S> {
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
        ConnectedWindows { connected: self, windows }
    }
}

impl<K, A, B, S, W> ConnectedWindows<K, A, B, S, W>
where
    K: Key,
    A: Record,
    B: Record,
    S: Stamp,
    W: Groups<K, Side<A, B>, S>,
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
        let (Self { connected, windows }, name) = (self, name.into());
        connected.either.stream.graph.lock().faults.extend(windows.faults_of(&name));
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
        connected.either.process_windows(name, OfSides(windows.with(of_both)))
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
