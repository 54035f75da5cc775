//! Which step windows of each kind take.
//!
//! | | aggregated | processed |
//! |---|---|---|
//! | tumbling, global | [`Fixed`] | [`Fixed`] |
//! | sliding | [`Panes`]; with a trigger [`Fixed`] | [`Fixed`] |
//! | session | [`Sessions`] | [`Sessions`] |
//! | count | [`Counts`] | [`CountLists`] |
//!
//! A step that is better for some of them, such as tumbling windows with [`AtEnd`], gets its place here.

use crate::{
    key::Key,
    operator::{Operator, process::Collector, process_timed::ProcessTimed, timed::Timed},
    record::Record,
    state::{Aggregate, Merge},
    time::{InTime, Stamp},
    topology::{
        process_fn::KeyedProcess,
        stream::Stream,
        window::{
            WindowedStream,
            contents::{Folded, Listed},
            counts::{CountLists, Counts},
            fixed::Fixed,
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
    /// Adds the step, and what is wrong with it.
    fn step<F: KeyedProcess<K, T, S>>(
        self,
        name: String,
        is_by_clock: bool,
        trigger_faults: Vec<String>,
        function: impl FnOnce(W, M) -> F,
    ) -> Stream<StepOf<K, T, S, F>> {
        let Self { stream, windows, timing, .. } = self;
        let mut faults = windows.faults_of(&name);
        let others = timing.faults(is_by_clock).into_iter().chain(trigger_faults);
        faults.extend(
            others.map(|message| crate::topology::fault::TopologyFault::Windows { step: name.clone(), message }),
        );
        stream.stream.graph.lock().faults.extend(faults);
        stream.process_windows(name, function(windows, timing))
    }
}

impl<K: Key, T: Record, S: InTime, W: Windows, M: TimingOf<T>> WindowedStream<K, T, S, W, M> {
    /// Adds a step that asks the trigger.
    fn triggered_step<F: KeyedProcess<K, T, S>>(
        self,
        name: String,
        function: impl FnOnce(W, M::Trigger, i64) -> F,
    ) -> Stream<StepOf<K, T, S, F>> {
        let faults = self.timing.clone().into_trigger().faults();
        self.step(name, S::BY_CLOCK, faults, |windows, timing| {
            let lateness = timing.millis();
            function(windows, timing.into_trigger(), lateness)
        })
    }
}

macro_rules! fixed {
    ($($windows:ident)*) => {$(
        impl<K, T, S, A, M> Aggregates<A> for WindowedStream<K, T, S, $windows, M>
        where
            K: Key,
            T: Record,
            S: InTime,
            A: Aggregate<In = T, Out: Send + 'static>,
            M: TimingOf<T>,
        {
            type Time = S;
            type Key = K;
            type Step = StepOf<K, T, S, Fixed<$windows, Folded<A>, M::Trigger>>;

            fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
                self.triggered_step(name, |windows, trigger, lateness| {
                    Fixed::new(windows, Folded(aggregate), trigger, lateness)
                })
            }
        }

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
            type Step = StepOf<K, T, S, Fixed<$windows, Listed<T, R, F>, M::Trigger>>;

            fn listed(self, name: String, function: F) -> Stream<Self::Step> {
                self.triggered_step(name, |windows, trigger, lateness| {
                    Fixed::new(windows, Listed::new(function), trigger, lateness)
                })
            }
        }
    )*};
}
fixed!(Tumbling Global);

/// Sliding windows without a trigger of their own: whether their one row is the final one.
macro_rules! panes {
    ($($timing:ident $is_final:literal)*) => {$(
        impl<K, T, S, A> Aggregates<A> for WindowedStream<K, T, S, Sliding, $timing>
        where
            K: Key,
            T: Record,
            S: InTime,
            A: Merge<In = T, Accumulator: Clone, Out: Send + 'static>,
        {
            type Time = S;
            type Key = K;
            type Step = StepOf<K, T, S, Panes<K, A>>;

            fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
                self.step(name, S::BY_CLOCK, Vec::new(), |windows, timing| {
                    Panes::new(windows, aggregate, timing.millis(), $is_final)
                })
            }
        }
    )*};
}
panes!(AtEnd false Updating false Final true);

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
    type Step = StepOf<K, T, S, Fixed<Sliding, Folded<A>, G>>;

    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
        self.triggered_step(name, |windows, trigger, lateness| {
            Fixed::new(windows, Folded(aggregate), trigger, lateness)
        })
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
    type Step = StepOf<K, T, S, Fixed<Sliding, Listed<T, R, F>, M::Trigger>>;

    fn listed(self, name: String, function: F) -> Stream<Self::Step> {
        self.triggered_step(name, |windows, trigger, lateness| {
            Fixed::new(windows, Listed::new(function), trigger, lateness)
        })
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
    type Step = StepOf<K, T, S, Sessions<P, Folded<A>, M::Trigger>>;

    fn aggregated(self, name: String, aggregate: A) -> Stream<Self::Step> {
        self.triggered_step(name, |windows, trigger, lateness| {
            Sessions::new(windows, Folded(aggregate), trigger, lateness)
        })
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
    type Step = StepOf<K, T, S, Sessions<P, Listed<T, R, F>, M::Trigger>>;

    fn listed(self, name: String, function: F) -> Stream<Self::Step> {
        self.triggered_step(name, |windows, trigger, lateness| {
            Sessions::new(windows, Listed::new(function), trigger, lateness)
        })
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
        self.step(name, false, Vec::new(), |windows, _| Counts::new(windows, aggregate))
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
        self.step(name, false, Vec::new(), |windows, _| CountLists::new(windows, function))
    }
}
