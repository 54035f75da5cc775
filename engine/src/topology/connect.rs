//! Two streams cut by one key, and steps that see both.

use std::marker::PhantomData;

use crate::{
    error::BoxError,
    key::Key,
    operator::{
        Operator,
        co_process::CoProcessStep,
        either::{Either, Lift},
        keyed::table_place,
        process::Collector,
        process_timed::{ProcessTimed, TimeRule},
        timed::Timed,
    },
    record::Record,
    state::keyed_states::KeyedStates,
    time::{NoTime, Stamp, Timestamp},
    topology::{
        functions::Functions,
        graph::EdgeIndex,
        join::LateSides,
        keyed_stream::KeyedStream,
        process_fn::{Context, Fired, KeyedProcess},
        stream::{Stream, received},
    },
};

/// Two streams cut by the same key: records of one key come to one subtask, from whichever stream. Made by [`connect`](KeyedStream::connect).
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct ConnectedStreams<K, A, B, S = NoTime> {
    pub(crate) either: KeyedStream<K, Either<A, B>, S>,
    /// The edges of the second.
    pub(crate) right: Vec<EdgeIndex>,
    /// For joins.
    pub(crate) late: LateSides<A, B, S>,
}

/// A function of the records of two streams with one key, that key's states, and timers: for [`process_fn`](ConnectedStreams::process_fn). As
/// [`KeyedProcess`], with a call for each stream.
///
/// ```
/// use cofferdam_engine::{BoxError, Timestamp, state::{self, StateDescriptor, OneValue}, topology::{ConnectedStreams, Context, Fired, KeyedCoProcess}};
/// # use serde::{Deserialize, Serialize};
/// use std::time::Duration;
///
/// # #[derive(Clone, Serialize, Deserialize)]
/// # struct Order { cents: u64 }
/// # #[derive(Serialize, Deserialize)]
/// # struct Payment { cents: u64 }
/// /// Says which orders were not paid within a day.
/// #[derive(Clone)]
/// struct Unpaid;
///
/// impl KeyedCoProcess<u64, Order, Payment> for Unpaid {
///     type States = StateDescriptor<OneValue, Order>;
///     type Timer = ();
///     type Out = (u64, Order);
///
///     fn states(&self) -> Self::States {
///         state::value("order")
///     }
///
///     fn on_left(&mut self, order: Order, cx: &mut Context<'_, u64, Self::States, (), Self::Out>) -> Result<(), BoxError> {
///         cx.states().set(order);
///         cx.set_timer(cx.timestamp().after(Duration::from_secs(86_400)));
///         Ok(())
///     }
///
///     fn on_right(&mut self, _: Payment, cx: &mut Context<'_, u64, Self::States, (), Self::Out>) -> Result<(), BoxError> {
///         cx.states().clear();
///         Ok(())
///     }
///
///     fn on_timer(&mut self, _: Fired, cx: &mut Context<'_, u64, Self::States, (), Self::Out>) -> Result<(), BoxError> {
///         if let Some(order) = cx.states().get().cloned() {
///             cx.states().clear();
///             let row = (*cx.key(), order);
///             cx.emit(row);
///         }
///         Ok(())
///     }
/// }
///
/// fn unpaid(connected: ConnectedStreams<u64, Order, Payment, Timestamp>) {
///     let unpaid = connected.process_fn("unpaid", Unpaid);
///     # let _ = unpaid;
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no process function of records `{A}` and `{B}` by `{K}` with the time `{S}`",
    note = "`KeyedCoProcess<K, A, B>` is one of streams with event time; for streams without, implement `KeyedCoProcess<K, A, B, S>` for every `S: Stamp`"
)]
pub trait KeyedCoProcess<K: Key, A, B, S: Stamp = Timestamp>: Clone + Send + 'static {
    /// The descriptors of what is kept for each key: one of [`state`](crate::state), or a tuple of up to six.
    type States: KeyedStates<K>;
    /// What tells timers of one key and one time apart; `()` if nothing has to.
    type Timer: Key + Ord;
    /// What is given to the next step.
    type Out: Send + 'static;

    /// The descriptors. Their names are addresses in checkpoints; "timers" and "wall timers" are taken.
    fn states(&self) -> Self::States;

    /// Called with each record of the first stream. An error fails the attempt, and the job restarts.
    fn on_left(
        &mut self,
        record: A,
        cx: &mut Context<'_, K, Self::States, Self::Timer, Self::Out, S>,
    ) -> Result<(), BoxError>;

    /// Called with each record of the second stream. An error fails the attempt, and the job restarts.
    fn on_right(
        &mut self,
        record: B,
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
}

/// A [`KeyedCoProcess`] as a function of either record.
pub struct CoProcess<F, A, B> {
    function: F,
    _records: PhantomData<fn(A, B)>,
}

impl<F: Clone, A, B> Clone for CoProcess<F, A, B> {
    fn clone(&self) -> Self {
        Self { function: self.function.clone(), _records: PhantomData }
    }
}

impl<K, A, B, S, F> KeyedProcess<K, Either<A, B>, S> for CoProcess<F, A, B>
where
    K: Key,
    A: 'static,
    B: 'static,
    S: Stamp,
    F: KeyedCoProcess<K, A, B, S>,
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
        record: Either<A, B>,
        cx: &mut Context<'_, K, F::States, F::Timer, F::Out, S>,
    ) -> Result<(), BoxError> {
        match record {
            Either::Left(record) => self.function.on_left(record, cx),
            Either::Right(record) => self.function.on_right(record, cx),
        }
    }

    fn on_timer(
        &mut self,
        timer: Fired<F::Timer>,
        cx: &mut Context<'_, K, F::States, F::Timer, F::Out, S>,
    ) -> Result<(), BoxError> {
        self.function.on_timer(timer, cx)
    }

    fn rule(&self) -> TimeRule {
        self.function.rule()
    }

    fn take_late(&mut self) -> u64 {
        self.function.take_late()
    }
}

impl<K, A, B, S, D, R, F, G, H> KeyedCoProcess<K, A, B, S> for Functions<D, R, (F, G, H)>
where
    K: Key,
    S: Stamp,
    D: KeyedStates<K> + Clone,
    R: Send + 'static,
    F: FnMut(A, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
    G: FnMut(B, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
    H: FnMut(Fired, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
{
    type States = D;
    type Timer = ();
    type Out = R;

    fn states(&self) -> D {
        self.states.clone()
    }

    #[inline]
    fn on_left(&mut self, record: A, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.0)(record, cx);
        Ok(())
    }

    #[inline]
    fn on_right(&mut self, record: B, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.1)(record, cx);
        Ok(())
    }

    #[inline]
    fn on_timer(&mut self, timer: Fired, cx: &mut Context<'_, K, D, (), R, S>) -> Result<(), BoxError> {
        (self.calls.2)(timer, cx);
        Ok(())
    }
}

impl<K: Key, A: Record, S: Stamp> KeyedStream<K, A, S> {
    /// This stream and `other`, for a step that sees both: a record of either comes to the subtask that has its key. Records of one stream stay in order; those of the two come in no
    /// particular one. Event time behind the step is that of the stream that is behind.
    ///
    /// What follows runs on as many subtasks as this stream says, else as `other` says.
    ///
    /// # Panics
    /// If `other` belongs to another topology.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::Topology};
    /// # fn example(orders: impl Source<Record = (u64, String)>, limits: impl Source<Record = (u64, u32)>, sink: impl TwoPhaseSink<(u64, String)>) {
    /// // Orders of each customer, as many as the last limit for that customer says.
    /// let topology = Topology::new("limited");
    /// let orders = topology.source("orders", orders).keyed(|order| order);
    /// let limits = topology.source("limits", limits).keyed(|limit| limit);
    /// orders
    ///     .connect(limits)
    ///     .process_with_timers(
    ///         "limited",
    ///         (state::value::<u32>("taken"), state::value::<u32>("limit")),
    ///         |order, cx| {
    ///             let (taken, limit) = cx.states();
    ///             let taken = taken.update(|| 0, |taken| {
    ///                 *taken += 1;
    ///                 *taken
    ///             });
    ///             if taken <= limit.get().copied().unwrap_or(u32::MAX) {
    ///                 let row = (*cx.key(), order);
    ///                 cx.emit(row);
    ///             }
    ///         },
    ///         |limit, cx| cx.states().1.set(limit),
    ///         |_timer, _| (),
    ///     )
    ///     .sink("accepted", sink);
    /// # }
    /// ```
    pub fn connect<B: Record>(self, other: KeyedStream<K, B, S>) -> ConnectedStreams<K, A, B, S> {
        let (first, second) = (self.stream, other.stream);
        assert!(first.graph.is_same(&second.graph), "connect of streams of two topologies");
        second.consume_last();
        let (left, right) = (Lift::left::<K, A, B, S>(), Lift::right::<K, A, B, S>());
        for (edges, lift) in [(&first.head.inputs, left), (&second.head.inputs, right)] {
            let mut graph = first.graph.lock();
            edges.iter().for_each(|edge| graph.edges[edge.0].lift = Some(lift));
        }
        let edges = first.head.inputs.iter().chain(&second.head.inputs).copied().collect();
        let mut stream = received(first.graph.clone(), first.last, edges);
        stream.head.parallelism = first.head.parallelism.or(second.head.parallelism);
        let right = second.head.inputs;
        ConnectedStreams { either: KeyedStream { stream }, right, late: LateSides::default() }
    }
}

impl<K: Key, A: Record, B: Record, S: Stamp> ConnectedStreams<K, A, B, S> {
    /// What follows runs on `parallelism` subtasks, which share the key groups.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.either = self.either.parallelism(parallelism);
        self
    }

    /// Calls `on_left` with each record of the first stream and `on_right` with each of the second, with its key and the key's states, which both see; what they emit goes to the next
    /// step. As [`KeyedStream::process_with`], and as fast: what needs timers or the time of its records takes [`process_with_timers`](Self::process_with_timers).
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::Topology};
    /// # fn example(sales: impl Source<Record = (u64, u32)>, prices: impl Source<Record = (u64, u32)>, sink: impl TwoPhaseSink<(u64, u32)>) {
    /// // What each sale comes to, once its article has a price.
    /// let topology = Topology::new("sales");
    /// let sales = topology.source("sales", sales).keyed(|sale| sale);
    /// let prices = topology.source("prices", prices).keyed(|price| price);
    /// sales
    ///     .connect(prices)
    ///     .process_with(
    ///         "priced",
    ///         state::value::<u32>("price"),
    ///         |article, pieces, price, out| {
    ///             if let Some(price) = price.get() {
    ///                 out.emit((*article, pieces * price));
    ///             }
    ///         },
    ///         |_, new, price, _| price.set(new),
    ///     )
    ///     .sink("priced", sink);
    /// # }
    /// ```
    pub fn process_with<D, R, F, G>(
        self,
        name: impl Into<String>,
        states: D,
        on_left: F,
        on_right: G,
    ) -> Stream<impl Operator<Out = R, Time = S>>
    where
        D: KeyedStates<K>,
        R: Send + 'static,
        F: FnMut(&K, A, &mut D::View<'_>, &mut Collector<'_, R>) + Clone + Send + 'static,
        G: FnMut(&K, B, &mut D::View<'_>, &mut Collector<'_, R>) + Clone + Send + 'static,
    {
        let name = name.into();
        self.late.are_none(&name, &self.either.stream.graph);
        let step = self.either.add("process", name, states.declared());
        for edge in &self.either.stream.head.inputs {
            let is_right = self.right.contains(edge);
            let lift = if is_right { Lift::right_input::<K, B, S>() } else { Lift::left_input::<K, A, S>() };
            self.either.stream.graph.lock().edges[edge.0].lift = Some(lift);
        }
        self.late.bound(self.either.stream.then(step, move |_, context| {
            let tables = states.tables(&table_place(&context.address(step), context));
            CoProcessStep::<K, A, B, D, R, F, G, S>::new(step, tables, on_left.clone(), on_right.clone())
        }))
    }

    /// Calls a [`KeyedCoProcess`] with each record of either stream and each timer that it sets. All that is said of [timers](KeyedStream::process_fn) holds.
    pub fn process_fn<F: KeyedCoProcess<K, A, B, S>>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<Timed<K, ProcessTimed<K, Either<A, B>, S, CoProcess<F, A, B>>>> {
        let name = name.into();
        self.late.are_none(&name, &self.either.stream.graph);
        self.late.bound(self.either.process_fn(name, CoProcess { function, _records: PhantomData }))
    }

    /// The same with closures: `on_left` is called with each record of the first stream, `on_right` with those of the second, `on_timer` with each timer that they set.
    pub fn process_with_timers<D, R, F, G, H>(
        self,
        name: impl Into<String>,
        states: D,
        on_left: F,
        on_right: G,
        on_timer: H,
    ) -> Stream<Timed<K, ProcessTimed<K, Either<A, B>, S, CoProcess<Functions<D, R, (F, G, H)>, A, B>>>>
    where
        D: KeyedStates<K> + Clone,
        R: Send + 'static,
        F: FnMut(A, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
        G: FnMut(B, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
        H: FnMut(Fired, &mut Context<'_, K, D, (), R, S>) + Clone + Send + 'static,
    {
        self.process_fn(name, Functions::new(states, (on_left, on_right, on_timer)))
    }
}
