//! Functions of a record, its key's states, and timers.

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        aside::Aside,
        keyed::table_place,
        process_timed::{ProcessTimed, TIMERS, TimeRule, WALL_TIMERS},
        timed::Timed,
    },
    record::Record,
    state::{DeclaredState, keyed_states::KeyedStates, timers::TimerTable},
    time::{Stamp, Timestamp},
    topology::{functions::Functions, graph::BuildContext, keyed_stream::KeyedStream, stream::Stream},
};

pub use crate::operator::process_timed::{Context, HasEventTime};

/// A timer that fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fired<N = ()> {
    /// For when it was set: event time, or that of the wall clock.
    pub time: Timestamp,
    /// What it was set with.
    pub tag: N,
    /// Whether it is one by the wall clock.
    pub is_wall: bool,
}

/// A function of a record and its key's states that can set timers: for [`process_fn`](KeyedStream::process_fn). `S` is what the records carry of time.
///
/// Each subtask has a clone of its own. What it remembers beside [states](Context::states) and timers is lost on restart.
///
/// ```no_run
/// use std::time::Duration;
/// use cofferdam_engine::{BoxError, Timestamp, state::{self, StateDescriptor, OneValue}, topology::{Context, Fired, KeyedProcess, KeyedStream}};
///
/// /// Says when a sensor has been silent for a minute.
/// #[derive(Clone)]
/// struct Silence;
///
/// impl KeyedProcess<u32, f64> for Silence {
///     type States = StateDescriptor<OneValue, Timestamp>;
///     type Timer = ();
///     type Out = (u32, Timestamp);
///
///     fn states(&self) -> Self::States {
///         state::value("last heard")
///     }
///
///     fn on_record(&mut self, _: f64, cx: &mut Context<'_, u32, Self::States, (), Self::Out>) -> Result<(), BoxError> {
///         let (minute, now) = (Duration::from_secs(60), cx.timestamp());
///         if let Some(before) = cx.states().get().copied() {
///             cx.cancel_timer(before.after(minute));
///         }
///         cx.states().set(now);
///         cx.set_timer(now.after(minute));
///         Ok(())
///     }
///
///     fn on_timer(&mut self, timer: Fired, cx: &mut Context<'_, u32, Self::States, (), Self::Out>) -> Result<(), BoxError> {
///         let row = (*cx.key(), timer.time);
///         cx.emit(row); // at `timer.time`
///         Ok(())
///     }
/// }
///
/// fn silences(readings: KeyedStream<u32, f64, Timestamp>) {
///     let silences = readings.process_fn("silences", Silence);
///     # let _ = silences;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no process function of records `{T}` by `{K}` with the time `{S}`",
    note = "`KeyedProcess<K, T>` is one of a stream with event time; for a stream without, implement `KeyedProcess<K, T, S>` for every `S: Stamp`"
)]
pub trait KeyedProcess<K: Key, T, S: Stamp = Timestamp>: Clone + Send + 'static {
    /// The descriptors of what is kept for each key: one of [`state`](crate::state), or a tuple of up to six.
    type States: KeyedStates<K>;
    /// What tells timers of one key and one time apart; `()` if nothing has to.
    type Timer: Key + Ord;
    /// What is given to the next step.
    type Out: Send + 'static;

    /// The descriptors. Their names are addresses in checkpoints; "timers" and "wall timers" are taken.
    fn states(&self) -> Self::States;

    /// Called with each record. An error fails the attempt, and the job restarts.
    fn on_record(
        &mut self,
        record: T,
        cx: &mut Context<'_, K, Self::States, Self::Timer, Self::Out, S>,
    ) -> Result<(), BoxError>;

    /// Called with each timer that fires, once; it is set no longer. An error fails the attempt, and the job restarts.
    fn on_timer(
        &mut self,
        timer: Fired<Self::Timer>,
        cx: &mut Context<'_, K, Self::States, Self::Timer, Self::Out, S>,
    ) -> Result<(), BoxError> {
        let _ = (timer, cx);
        Ok(())
    }

    #[doc(hidden)]
    fn rule(&self) -> TimeRule {
        TimeRule::default()
    }

    /// Records dropped as late since the last call.
    #[doc(hidden)]
    fn take_late(&mut self) -> u64 {
        0
    }

    #[doc(hidden)]
    fn aside(&mut self) -> Option<&mut dyn Aside> {
        None
    }
}

impl<K, T, S, D, R, F, G> KeyedProcess<K, T, S> for Functions<D, R, (F, G)>
where
    K: Key,
    T: 'static,
    S: Stamp,
    D: KeyedStates<K> + Clone,
    R: Send + 'static,
    F: FnMut(T, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
    G: FnMut(Fired, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
{
    type States = D;
    type Timer = ();
    type Out = R;

    fn states(&self) -> D {
        self.states.clone()
    }

    #[inline]
    fn on_record(&mut self, record: T, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.0)(record, cx);
        Ok(())
    }

    #[inline]
    fn on_timer(&mut self, timer: Fired, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.1)(timer, cx);
        Ok(())
    }
}

impl<K: Key, T: Record, S: Stamp> KeyedStream<K, T, S> {
    /// Calls a [`KeyedProcess`] with each record and each timer that it sets.
    ///
    /// Timers are part of each checkpoint, and fire once, whatever fails: what a timer gives, changes and sets is in the same checkpoint as its being gone. Those
    /// of one key fire in order of time, behind the records that came before the watermark that makes them due, and before that watermark goes on. At the end of input all of them
    /// fire, the ones by the wall clock last; when the job is stopped, none.
    ///
    /// Timers are in memory, some 100 bytes each beside the key.
    pub fn process_fn<F: KeyedProcess<K, T, S>>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, F>>> {
        let states = function.states().declared();
        self.process_made(name, states, move |_| function.clone())
    }

    /// The same for a step of another kind.
    pub(super) fn process_windows<F: KeyedProcess<K, T, S>>(
        self,
        name: String,
        function: F,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, F>>> {
        let states = function.states().declared();
        self.process_as("window", name, states, move |_| function.clone())
    }

    /// The same with a function that is made for each subtask; `states` are those that it has.
    pub(crate) fn process_made<F: KeyedProcess<K, T, S>>(
        self,
        name: impl Into<String>,
        states: Vec<DeclaredState>,
        make: impl Fn(&BuildContext<'_>) -> F + Send + 'static,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, F>>> {
        self.process_as("process_fn", name.into(), states, make)
    }

    pub(super) fn process_as<F: KeyedProcess<K, T, S>>(
        self,
        kind: &'static str,
        name: String,
        mut states: Vec<DeclaredState>,
        make: impl Fn(&BuildContext<'_>) -> F + Send + 'static,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, F>>> {
        states.extend(TimerTable::<K, F::Timer>::declared(TIMERS));
        states.extend(TimerTable::<K, F::Timer>::declared(WALL_TIMERS));
        let step = self.add(kind, name, states);
        self.stream.then(step, move |input, context| {
            let logic = ProcessTimed::new(make(context), &table_place(&context.address(step), context));
            Timed::new(step, input, logic, context)
        })
    }

    /// Calls `on_record` with each record, and `on_timer` with each timer that they set. `states` is a descriptor of [`state`](crate::state), or a tuple of up to six. See
    /// [`process_fn`](Self::process_fn), also for functions that can fail and timers with tags.
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{Timestamp, state, topology::KeyedStream};
    /// # fn sessions(clicks: KeyedStream<u32, String, Timestamp>) {
    /// // Clicks of a visitor until half an hour after the first one.
    /// let visits = clicks.process_with_timers(
    ///     "visits",
    ///     state::value::<u64>("clicks"),
    ///     |_page, cx| {
    ///         let clicks = cx.states().update(|| 0, |clicks| {
    ///             *clicks += 1;
    ///             *clicks
    ///         });
    ///         if clicks == 1 {
    ///             cx.set_timer(cx.timestamp().after(Duration::from_secs(1800)));
    ///         }
    ///     },
    ///     |_timer, cx| {
    ///         let row = (*cx.key(), cx.states().get().copied());
    ///         cx.states().clear();
    ///         cx.emit(row);
    ///     },
    /// );
    /// # let _ = visits;
    /// # }
    /// ```
    ///
    /// Timers by the wall clock can be set on any stream:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{state, topology::KeyedStream};
    /// # fn late_orders(orders: KeyedStream<u64, String>) {
    /// let overdue = orders.process_with_timers(
    ///     "overdue",
    ///     state::value::<String>("order"),
    ///     |order, cx| {
    ///         cx.states().set(order);
    ///         cx.set_wall_timer(Duration::from_secs(3600));
    ///     },
    ///     |_timer, cx| {
    ///         if let Some(order) = cx.states().get().cloned() {
    ///             cx.states().clear();
    ///             cx.emit(order);
    ///         }
    ///     },
    /// );
    /// # let _ = overdue;
    /// # }
    /// ```
    ///
    /// Timers by event time on a stream without time are refused by the compiler:
    ///
    /// ```compile_fail
    /// # use cofferdam_engine::{Timestamp, state, topology::KeyedStream};
    /// # fn refused(orders: KeyedStream<u64, String>) {
    /// let refused = orders.process_with_timers(
    ///     "refused",
    ///     state::value::<String>("order"),
    ///     |order, cx| {
    ///         cx.emit(order);
    ///         cx.set_timer(Timestamp::from_millis(5));
    ///     },
    ///     |_, _| (),
    /// );
    /// # let _ = refused;
    /// # }
    /// ```
    pub fn process_with_timers<D, R, F, G>(
        self,
        name: impl Into<String>,
        states: D,
        on_record: F,
        on_timer: G,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, Functions<D, R, (F, G)>>>>
    where
        D: KeyedStates<K> + Clone,
        R: Send + 'static,
        F: FnMut(T, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
        G: FnMut(Fired, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
    {
        self.process_fn(name, Functions::new(states, (on_record, on_timer)))
    }
}

#[cfg(test)]
mod tests;
