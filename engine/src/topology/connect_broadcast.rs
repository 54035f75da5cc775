//! A stream cut by key, and beside it one that every subtask gets whole: the broadcast state pattern.

use std::marker::PhantomData;

use crate::{
    checkpoint::snapshot::OperatorKind,
    error::BoxError,
    key::Key,
    operator::{
        Operator,
        aside::{Aside, BroadcastState},
        either::Lift,
        process_timed::ProcessTimed,
        timed::Timed,
    },
    record::Record,
    state::{keyed_states::KeyedStates, operator_states::OperatorStates},
    time::{Stamp, Timestamp},
    topology::{
        functions::Functions,
        graph::StepIndex,
        keyed_stream::KeyedStream,
        process_fn::{Context, Fired, KeyedProcess},
        stream::Stream,
    },
};

/// A keyed stream, and a state that every subtask has and that the records of another stream change. Made by [`connect_broadcast`](KeyedStream::connect_broadcast).
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct BroadcastConnected<K, T, S, R, Z, D, C> {
    keyed: KeyedStream<K, T, S>,
    /// The step that has the broadcast state.
    step: StepIndex,
    states: D,
    change: C,
    _broadcast: PhantomData<fn(R, Z)>,
}

/// A function of a record, its key's states, timers, and a broadcast state, which it reads: for [`process_fn`](BroadcastConnected::process_fn). `L` is what the broadcast state is
/// given as: a `BTreeMap` for [`broadcast`](crate::state::broadcast). Otherwise as [`KeyedProcess`].
pub trait KeyedBroadcastProcess<K: Key, T, L, S: Stamp = Timestamp>: Clone + Send + 'static {
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
        broadcast: &L,
        cx: &mut Context<'_, K, Self::States, Self::Timer, Self::Out, S>,
    ) -> Result<(), BoxError>;

    /// Called with each timer that fires, once; it is set no longer. An error fails the attempt, and the job restarts.
    fn on_timer(
        &mut self,
        timer: Fired<Self::Timer>,
        broadcast: &L,
        cx: &mut Context<'_, K, Self::States, Self::Timer, Self::Out, S>,
    ) -> Result<(), BoxError> {
        let _ = (timer, broadcast, cx);
        Ok(())
    }
}

/// A [`KeyedBroadcastProcess`] and the state that it reads.
pub struct BroadcastProcess<F, R: Record, Z: Stamp, D: OperatorStates, C> {
    function: F,
    broadcast: BroadcastState<R, Z, D, C>,
}

impl<F: Clone, R: Record, Z: Stamp, D: OperatorStates, C: Clone> Clone for BroadcastProcess<F, R, Z, D, C> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), broadcast: self.broadcast.anew() }
    }
}

impl<K, T, S, F, R, Z, D, C> KeyedProcess<K, T, S> for BroadcastProcess<F, R, Z, D, C>
where
    K: Key,
    T: 'static,
    S: Stamp,
    R: Record,
    Z: Stamp,
    D: OperatorStates,
    F: KeyedBroadcastProcess<K, T, D::Live, S>,
    C: FnMut(R, &mut D::Live) + Clone + Send + 'static,
{
    type States = F::States;
    type Timer = F::Timer;
    type Out = F::Out;

    fn states(&self) -> F::States {
        self.function.states()
    }

    #[inline]
    fn on_record(
        &mut self,
        record: T,
        cx: &mut Context<'_, K, F::States, F::Timer, F::Out, S>,
    ) -> Result<(), BoxError> {
        self.function.on_record(record, &self.broadcast.live, cx)
    }

    fn on_timer(
        &mut self,
        timer: Fired<F::Timer>,
        cx: &mut Context<'_, K, F::States, F::Timer, F::Out, S>,
    ) -> Result<(), BoxError> {
        self.function.on_timer(timer, &self.broadcast.live, cx)
    }

    fn aside(&mut self) -> Option<&mut dyn Aside> {
        Some(&mut self.broadcast)
    }
}

impl<K, T, L, S, D, R, F, G> KeyedBroadcastProcess<K, T, L, S> for Functions<D, R, (F, G)>
where
    K: Key,
    S: Stamp,
    D: KeyedStates<K> + Clone,
    R: Send + 'static,
    F: FnMut(T, &L, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
    G: FnMut(Fired, &L, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
{
    type States = D;
    type Timer = ();
    type Out = R;

    fn states(&self) -> D {
        self.states.clone()
    }

    #[inline]
    fn on_record(&mut self, record: T, broadcast: &L, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.0)(record, broadcast, cx);
        Ok(())
    }

    #[inline]
    fn on_timer(&mut self, timer: Fired, broadcast: &L, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.1)(timer, broadcast, cx);
        Ok(())
    }
}

impl<K: Key, T: Record, S: Stamp> KeyedStream<K, T, S> {
    /// Gives every subtask of the next step a copy of a state that the records of `broadcast` change: rules, prices, settings, a small table to look things up in. `change` is called with
    /// each of these records on every subtask; it must do the same everywhere, from the record and the state alone. Keyed records find the state as it is when their turn comes:
    /// between the two streams there is no order.
    ///
    /// The name is the state's address in checkpoints. It is in each checkpoint whole, once for each subtask. Run the stream that is broadcast on one subtask, so that each copy sees its
    /// records in one order. A stream without time holds no watermark back, nor does one that is idle.
    ///
    /// # Panics
    /// If `broadcast` belongs to another topology.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::Topology};
    /// # fn example(orders: impl Source<Record = (u64, String, u64)>, prices: impl Source<Record = (String, u64)>, sink: impl TwoPhaseSink<(u64, u64)>) {
    /// // What each customer has spent, at the prices of the day.
    /// let topology = Topology::new("spent");
    /// let prices = topology.source("prices", prices).parallelism(1);
    /// topology
    ///     .source("orders", orders)
    ///     .keyed(|(customer, article, count)| (customer, (article, count)))
    ///     .connect_broadcast("prices-of-the-day", prices, state::broadcast::<String, u64>("prices"), |(article, price), prices| {
    ///         prices.insert(article, price);
    ///     })
    ///     .process_with_timers(
    ///         "spent",
    ///         state::value::<u64>("cents"),
    ///         |(article, count), prices, cx| {
    ///             let cents = prices.get(&article).copied().unwrap_or(0) * count;
    ///             let spent = cx.states().update(|| 0, |spent| {
    ///                 *spent += cents;
    ///                 *spent
    ///             });
    ///             let row = (*cx.key(), spent);
    ///             cx.emit(row);
    ///         },
    ///         |_timer, _prices, _cx| (),
    ///     )
    ///     .sink("rows", sink);
    /// # }
    /// ```
    pub fn connect_broadcast<P, D, C>(
        self,
        name: impl Into<String>,
        broadcast: Stream<P>,
        states: D,
        change: C,
    ) -> BroadcastConnected<K, T, S, P::Out, P::Time, D, C>
    where
        P: Operator<Out: Record + Clone>,
        D: OperatorStates,
        C: FnMut(P::Out, &mut D::Live) + Clone + Send + 'static,
    {
        let mut keyed = self;
        let graph = keyed.stream.graph.clone();
        assert!(graph.is_same(&broadcast.graph), "connect_broadcast of streams of two topologies");
        let broadcast = broadcast.broadcast();
        broadcast.consume_last();
        let step = {
            let mut graph = graph.lock();
            let step = graph.add_step("connect_broadcast", Some(OperatorKind::Operator), Some(name.into()));
            graph.step(step).states = states.declared();
            graph.step(step).consumed = true;
            for edge in &broadcast.head.inputs {
                graph.edges[edge.0].lift = Some(Lift::aside::<P::Out, P::Time>());
            }
            step
        };
        keyed.stream.head.inputs.extend(broadcast.head.inputs);
        keyed.stream.steps.push(step);
        BroadcastConnected { keyed, step, states, change, _broadcast: PhantomData }
    }
}

impl<K, T, S, R, Z, D, C> BroadcastConnected<K, T, S, R, Z, D, C>
where
    K: Key,
    T: Record,
    S: Stamp,
    R: Record,
    Z: Stamp,
    D: OperatorStates,
    C: FnMut(R, &mut D::Live) + Clone + Send + 'static,
{
    /// What follows runs on `parallelism` subtasks, which share the key groups.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.keyed = self.keyed.parallelism(parallelism);
        self
    }

    /// Calls a [`KeyedBroadcastProcess`] with each keyed record and each timer that it sets. All that is said of [timers](KeyedStream::process_fn) holds.
    pub fn process_fn<F: KeyedBroadcastProcess<K, T, D::Live, S>>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, BroadcastProcess<F, R, Z, D, C>>>> {
        let Self { keyed, step, states, change, .. } = self;
        keyed.process_made(name, function.states().declared(), move |context| {
            let broadcast = BroadcastState::new(step, context.address(step), states.clone(), change.clone());
            BroadcastProcess { function: function.clone(), broadcast }
        })
    }

    /// The same with closures: `on_record` is called with each keyed record, `on_timer` with each timer that it sets.
    pub fn process_with_timers<V, O, F, G>(
        self,
        name: impl Into<String>,
        states: V,
        on_record: F,
        on_timer: G,
    ) -> Stream<Timed<K, ProcessTimed<K, T, S, BroadcastProcess<Functions<V, O, (F, G)>, R, Z, D, C>>>>
    where
        V: KeyedStates<K> + Clone,
        O: Send + 'static,
        F: FnMut(T, &D::Live, &mut Context<'_, K, V, (), O, S>) + Clone + Send + 'static,
        G: FnMut(Fired, &D::Live, &mut Context<'_, K, V, (), O, S>) + Clone + Send + 'static,
    {
        self.process_fn(name, Functions::new(states, (on_record, on_timer)))
    }
}
