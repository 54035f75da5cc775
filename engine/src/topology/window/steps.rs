//! Which step windows of each kind take.
//!
//! | | aggregated | processed |
//! |---|---|---|
//! | tumbling by event time, with no more said | [`PaneWindow`] | [`Fixed`] |
//! | tumbling otherwise, global | [`Fixed`] | [`Fixed`] |
//! | sliding | [`Panes`]; with a trigger [`Fixed`] | [`Fixed`] |
//! | session | [`Sessions`] | [`Sessions`] |
//! | count | [`Counts`] | [`CountLists`] |

use crate::{
    key::Key,
    operator::{
        Operator, keyed::table_place, pane_window::PaneWindow, process::Collector, process_timed::ProcessTimed,
        timed::Timed,
    },
    record::Record,
    state::{Aggregate, Merge},
    time::{ByClock, InTime, Stamp, Timestamp},
    topology::{
        SideOutput,
        fault::TopologyFault,
        process_fn::KeyedProcess,
        stream::Stream,
        window::{
            WindowedStream,
            contents::{Folded, Listed},
            counts::{CountLists, Counts},
            firing::Firing,
            fixed::Fixed,
            late::Late,
            panes::Panes,
            sessions::Sessions,
            timing::{AtEnd, Final, Timing, TimingOf, Triggered, Updating},
        },
    },
    window::{Count, Global, Session, SessionGap, Sliding, Tumbling, Window, WindowTrigger, Windowed, Windows},
};

/// Windows that an aggregate `A` can be had of. Nobody else implements it.
#[diagnostic::on_unimplemented(
    message = "no such windows can be had of this aggregate",
    note = "windows that overlap, grow together or count records ask for an aggregate that is `Merge`, sliding ones for a `Clone` accumulator too; `fold` is for tumbling and global windows",
    note = "sliding windows with a trigger ask for records that are `Clone`; count windows have no trigger"
)]
pub trait Aggregates<A: Aggregate> {
    /// What the stream carries of time.
    #[doc(hidden)]
    type Time: Stamp;
    /// Their key.
    #[doc(hidden)]
    type Key;
    #[doc(hidden)]
    type Step: Operator<Out = Windowed<Self::Key, A::Out>, Time = Self::Time>;

    #[doc(hidden)]
    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step>;
}

/// Windows whose records can be had by a function `F`, which makes `R` of them. Nobody else implements it.
#[diagnostic::on_unimplemented(
    message = "a function cannot have the records of these windows",
    note = "sliding windows keep a record once for each window, and ask for records that are `Clone`; count windows have no trigger"
)]
pub trait Lists<R, F> {
    #[doc(hidden)]
    type Time: Stamp;
    #[doc(hidden)]
    type Step: Operator<Out = R, Time = Self::Time>;

    #[doc(hidden)]
    fn listed(self, name: String, function: F) -> Stream<Self::Step>;
}

/// The step of a process function.
type StepOf<K, T, S, F> = Timed<K, ProcessTimed<K, T, S, F>>;

impl<K: Key, T: Record, S: Stamp, W: Windows, M: Timing> WindowedStream<K, T, S, W, M> {
    /// Notes what is wrong with the step to be: with its windows, and what else was found.
    fn check(&self, name: &str, is_by_clock: bool, others: Vec<String>) {
        let others = self.timing.faults(is_by_clock).into_iter().chain(others);
        let others = others.map(|message| TopologyFault::Windows { step: name.to_string(), message });
        self.stream.stream.graph.lock().faults.extend(self.windows.faults_of(name).into_iter().chain(others));
    }

    /// Adds the step that `function` makes of windows, timing, and where late records go.
    fn step<F: KeyedProcess<K, T, S>>(
        self,
        name: String,
        function: impl FnOnce(W, M, Late<T, S>) -> F,
    ) -> Stream<StepOf<K, T, S, F>> {
        let Self { stream, windows, timing, late_to } = self;
        let late = Late::to(late_to.as_ref().map(SideOutput::tag));
        let stream = stream.process_windows(name, function(windows, timing, late));
        if let Some(side) = late_to {
            side.bind(&stream.graph, stream.last);
        }
        stream
    }
}

impl<K: Key, T: Record, S: InTime, W: Windows, M: TimingOf<T>> WindowedStream<K, T, S, W, M> {
    /// Adds a step that asks the trigger; `is_session`: windows that grow together.
    fn triggered_step<C, F: KeyedProcess<K, T, S>>(
        self,
        name: String,
        contents: C,
        is_session: bool,
        function: impl FnOnce(W, Firing<C, M::Trigger>, Late<T, S>) -> F,
    ) -> Stream<StepOf<K, T, S, F>> {
        self.check(&name, S::BY_CLOCK, self.timing.clone().into_trigger().faults());
        self.step(name, |windows, timing, late| {
            let lateness = (timing.millis(), M::IS_FINAL);
            function(windows, Firing::new(contents, timing.into_trigger(), lateness, is_session), late)
        })
    }
}

/// Windows that are aggregated as entries of their own.
macro_rules! fixed_aggregates {
    ($([$($of:tt)*] $time:ty, $windows:ident, $timing:ty)*) => {$(
        impl<K, T, A, $($of)*> Aggregates<A> for WindowedStream<K, T, $time, $windows, $timing>
        where
            K: Key,
            T: Record,
            A: Aggregate<In = T, Out: Send + 'static>,
        {
            type Time = $time;
            type Key = K;
            type Step =
                StepOf<K, T, $time, Fixed<$windows, Folded<A>, <$timing as TimingOf<T>>::Trigger, Late<T, $time>>>;

            fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
                self.triggered_step(name, Folded(aggregate), false, Fixed::new)
            }
        }
    )*};
}
fixed_aggregates! {
    [S: InTime, M: TimingOf<T>] S, Global, M
    [S: InTime] S, Tumbling, Updating
    [S: InTime] S, Tumbling, Final
    [S: InTime, G: WindowTrigger<T>] S, Tumbling, Triggered<G>
    [] ByClock, Tumbling, AtEnd
}

/// All that ends with one watermark is one pane.
impl<K, T, A> Aggregates<A> for WindowedStream<K, T, Timestamp, Tumbling, AtEnd>
where
    K: Key,
    T: Record,
    A: Aggregate<In = T, Out: Send + 'static>,
{
    type Time = Timestamp;
    type Key = K;
    type Step = Timed<K, PaneWindow<K, T, A>>;

    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
        self.check(&name, false, Vec::new());
        let Self { stream, windows, late_to, .. } = self;
        let step = stream.add("window", name, PaneWindow::<K, T, A>::declared());
        if let Some(side) = &late_to {
            side.bind(&stream.stream.graph, step);
        }
        let late_to = late_to.as_ref().map(SideOutput::tag);
        stream.stream.then(step, move |input, context| {
            let (place, late_to) = (context.address(step), late_to.clone());
            let logic = PaneWindow::new(windows.clone(), aggregate.clone(), late_to, &table_place(&place, context));
            Timed::new(step, input, logic, context)
        })
    }
}

/// Windows whose records are given to a function, of windows that the time says.
macro_rules! fixed_lists {
    ($($windows:ident)*) => {$(
        impl<K, T, S, R, F, M> Lists<R, F> for WindowedStream<K, T, S, $windows, M>
        where
            K: Key,
            T: Record,
            S: InTime,
            R: Send + 'static,
            F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
            M: TimingOf<T>,
        {
            type Time = S;
            type Step = StepOf<K, T, S, Fixed<$windows, Listed<T, R, F>, M::Trigger, Late<T, S>>>;

            fn listed(self, name: String, function: F) -> Stream<Self::Step> {
                self.triggered_step(name, Listed::new(function), false, Fixed::new)
            }
        }
    )*};
}
fixed_lists!(Tumbling Global);

/// Sliding windows without a trigger of their own.
macro_rules! panes {
    ($($timing:ident)*) => {$(
        impl<K, T, S, A> Aggregates<A> for WindowedStream<K, T, S, Sliding, $timing>
        where
            K: Key,
            T: Record,
            S: InTime,
            A: Merge<In = T, Accumulator: Clone, Out: Send + 'static>,
        {
            type Time = S;
            type Key = K;
            type Step = StepOf<K, T, S, Panes<K, S, A>>;

            fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
                self.check(&name, S::BY_CLOCK, Vec::new());
                self.step(name, |windows, timing, late| {
                    Panes::new(windows, aggregate, (timing.millis(), $timing::IS_FINAL), late)
                })
            }
        }
    )*};
}
panes!(AtEnd Updating Final);

impl<K, T, S, A, G> Aggregates<A> for WindowedStream<K, T, S, Sliding, Triggered<G>>
where
    K: Key,
    T: Record + Clone,
    S: InTime,
    A: Aggregate<In = T, Out: Send + 'static>,
    G: WindowTrigger<T>,
{
    type Time = S;
    type Key = K;
    type Step = StepOf<K, T, S, Fixed<Sliding, Folded<A>, G, Late<T, S>>>;

    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
        self.triggered_step(name, Folded(aggregate), false, Fixed::new)
    }
}

impl<K, T, S, R, F, M> Lists<R, F> for WindowedStream<K, T, S, Sliding, M>
where
    K: Key,
    T: Record + Clone,
    S: InTime,
    R: Send + 'static,
    F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
    M: TimingOf<T>,
{
    type Time = S;
    type Step = StepOf<K, T, S, Fixed<Sliding, Listed<T, R, F>, M::Trigger, Late<T, S>>>;

    fn listed(self, name: String, function: F) -> Stream<Self::Step> {
        self.triggered_step(name, Listed::new(function), false, Fixed::new)
    }
}

impl<K, T, S, A, P, M> Aggregates<A> for WindowedStream<K, T, S, Session<P>, M>
where
    K: Key,
    T: Record,
    S: InTime,
    A: Merge<In = T, Out: Send + 'static>,
    P: SessionGap<T>,
    Session<P>: Windows,
    M: TimingOf<T>,
{
    type Time = S;
    type Key = K;
    type Step = StepOf<K, T, S, Sessions<P, Folded<A>, M::Trigger, Late<T, S>>>;

    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
        self.triggered_step(name, Folded(aggregate), true, Sessions::new)
    }
}

impl<K, T, S, R, F, P, M> Lists<R, F> for WindowedStream<K, T, S, Session<P>, M>
where
    K: Key,
    T: Record,
    S: InTime,
    R: Send + 'static,
    F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
    P: SessionGap<T>,
    Session<P>: Windows,
    M: TimingOf<T>,
{
    type Time = S;
    type Step = StepOf<K, T, S, Sessions<P, Listed<T, R, F>, M::Trigger, Late<T, S>>>;

    fn listed(self, name: String, function: F) -> Stream<Self::Step> {
        self.triggered_step(name, Listed::new(function), true, Sessions::new)
    }
}

impl<K, T, S, A> Aggregates<A> for WindowedStream<K, T, S, Count, AtEnd>
where
    K: Key,
    T: Record,
    S: Stamp,
    A: Merge<In = T, Accumulator: Clone, Out: Send + 'static>,
{
    type Time = S;
    type Key = K;
    type Step = StepOf<K, T, S, Counts<K, A>>;

    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
        self.check(&name, false, Vec::new());
        self.step(name, |windows, _, _| Counts::new(windows, aggregate))
    }
}

impl<K, T, S, R, F> Lists<R, F> for WindowedStream<K, T, S, Count, AtEnd>
where
    K: Key,
    T: Record,
    S: Stamp,
    R: Send + 'static,
    F: FnMut(&K, Window, &[&T], &mut Collector<'_, R>) + Clone + Send + 'static,
{
    type Time = S;
    type Step = StepOf<K, T, S, CountLists<T, R, F>>;

    fn listed(self, name: String, function: F) -> Stream<Self::Step> {
        self.check(&name, false, Vec::new());
        self.step(name, |windows, _, _| CountLists::new(windows, function))
    }
}
