//! Streams, and the adapters on them.

use std::{marker::PhantomData, sync::Arc};

use serde::Serialize;

use crate::{
    chain::{Chain, FusedChain},
    checkpoint::snapshot::OperatorKind,
    error::BoxError,
    key::Key,
    key_group::KeyGroup,
    operator::{
        Operator,
        divert::Divert,
        filter::Filter,
        flat_map::FlatMap,
        input::{GroupOf, Input},
        inspect::Inspect,
        key_by::KeyBy,
        map::Map,
        source::SourceStep,
        try_map::TryMap,
    },
    output::{
        Tail,
        exchange::{ByKey, Exchange, InTurn, ToAll, ToConsumers},
        sides::Sides,
        sink::{AtLeastOnceTail, Recovery, SinkRecovery, TwoPhaseTail},
    },
    record::Record,
    sink::{Sink, TwoPhaseSink},
    source::Source,
    time::{NoTime, Stamp},
    topology::{
        graph::{BuildContext, ChainTemplate, EdgeIndex, EdgeKind, SharedGraph, SplitLister, StepIndex},
        keyed_stream::KeyedStream,
    },
};

/// Makes a chain's steps for one subtask. Called again for every restart.
pub(crate) type Build<O> = Box<dyn Fn(&BuildContext<'_>) -> O + Send>;

/// A stream of records: a recipe, to which each adapter adds a step. Nothing runs until the topology is started.
///
/// Neighbouring steps run fused, as one loop, until an exchange (`key_by`, `rebalance`, `broadcast`, `union`, `share`, another
/// parallelism). Closures are cloned for every subtask and every restart, and each subtask calls its own clone from one
/// thread at a time. What a closure remembers beside its state is lost on restart: keep it in state instead.
///
/// `O` is the type of the chain so far; name it as little as an iterator's.
///
/// ```
/// # use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
/// # fn example(readings: impl Source<Record = f64>, sink: impl TwoPhaseSink<f64>) {
/// let topology = Topology::new("alarms");
/// topology
///     .source("readings", readings)
///     .filter(|celsius| *celsius > 90.0) // one chain with the source: no record leaves its thread
///     .map(|celsius| celsius * 1.8 + 32.0)
///     .name("to fahrenheit")
///     .rebalance() // the chain ends here, another begins
///     .parallelism(4) // of the one that begins
///     .sink("alarms", sink);
/// # }
/// ```
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct Stream<O> {
    pub(crate) graph: SharedGraph,
    pub(crate) head: Head,
    /// The steps of the chain under construction.
    pub(crate) steps: Vec<StepIndex>,
    /// The step that this is the output of; it may belong to the chain before.
    pub(crate) last: StepIndex,
    /// A step of the chain may give a record later than it got it: it may be of another split than the one being read.
    pub(crate) delays: bool,
    pub(crate) build: Build<O>,
}

/// Where a chain under construction begins.
pub(crate) struct Head {
    pub(crate) parallelism: Option<u32>,
    pub(crate) inputs: Vec<EdgeIndex>,
    pub(crate) splits: Option<SplitLister>,
}

impl Head {
    pub(crate) fn reading(inputs: Vec<EdgeIndex>) -> Self {
        Self { parallelism: None, inputs, splits: None }
    }
}

pub(crate) fn source_stream<S: Source>(graph: SharedGraph, name: String, source: S) -> Stream<SourceStep<S>> {
    let step = {
        let mut graph = graph.lock();
        let step = graph.add_step("source", Some(OperatorKind::Source), Some(name));
        graph.step(step).is_unbounded = !source.is_bounded();
        step
    };
    let source = Arc::new(source);
    let lister = source.clone();
    let splits: SplitLister = Box::new(move |parallelism| {
        lister.splits(parallelism)?.into_iter().map(crate::operator::source::encode_new_split::<S>).collect()
    });
    Stream {
        graph,
        head: Head { parallelism: None, inputs: Vec::new(), splits: Some(splits) },
        steps: vec![step],
        last: step,
        delays: false,
        build: Box::new(move |context| SourceStep::new(step, context.address(step), source.clone())),
    }
}

impl<O: Operator> Stream<O> {
    /// Adds a step to the chain.
    pub(crate) fn then<P>(
        mut self,
        step: StepIndex,
        wrap: impl Fn(O, &BuildContext<'_>) -> P + Send + 'static,
    ) -> Stream<P> {
        self.consume_last();
        self.steps.push(step);
        let build = self.build;
        Stream {
            graph: self.graph,
            head: self.head,
            steps: self.steps,
            last: step,
            delays: self.delays,
            build: Box::new(move |context| wrap(build(context), context)),
        }
    }

    fn add(&self, kind: &'static str) -> StepIndex {
        self.graph.lock().add_step(kind, None, None)
    }

    pub(crate) fn consume_last(&self) {
        self.graph.lock().step(self.last).consumed = true;
    }

    /// Ends the chain here.
    pub(crate) fn close<T: Tail<O::Out, O::Time>>(
        self,
        outputs: &[EdgeKind],
        sink: Option<Box<dyn SinkRecovery>>,
        tail: impl Fn(&BuildContext<'_>, &[EdgeIndex]) -> T + Send + 'static,
    ) -> (SharedGraph, Vec<EdgeIndex>, usize) {
        self.consume_last();
        let build = self.build;
        let mut graph = self.graph.lock();
        let number = graph.chains.len();
        let (sides, build_sides) = graph.begin_sides(&self.steps);
        // Edges of a shared stream are added later: the tail asks the graph's final list when it is built.
        let template = ChainTemplate {
            steps: self.steps,
            parallelism: self.head.parallelism,
            inputs: self.head.inputs,
            outputs: Vec::new(),
            sides,
            splits: self.head.splits,
            sink,
            build: Box::new(move |context| -> Box<dyn Chain> {
                let sides = build_sides.iter().map(|build| build(context)).collect();
                Box::new(FusedChain::with_sides(build(context), tail(context, context.outputs), Sides::new(sides)))
            }),
        };
        let edges = graph.add_chain(template, outputs, <O::Time as Stamp>::IS_TIMED);
        drop(graph);
        (self.graph, edges, number)
    }

    /// Calls `function` on each record and passes on what it returns.
    pub fn map<T: 'static, F>(self, function: F) -> Stream<Map<O, F>>
    where
        F: FnMut(O::Out) -> T + Clone + Send + 'static,
    {
        let step = self.add("map");
        self.then(step, move |upstream, _| Map { step, upstream, function: function.clone() })
    }

    /// Calls `function` on each record and passes on what it returns; an error fails the attempt, and the job restarts. One that is
    /// [`NotRetryable`](crate::NotRetryable) ends the job.
    pub fn try_map<T: 'static, E, F>(self, function: F) -> Stream<TryMap<O, F>>
    where
        F: FnMut(O::Out) -> Result<T, E> + Clone + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let step = self.add("try_map");
        self.then(step, move |upstream, _| TryMap { step, upstream, function: function.clone() })
    }

    /// Calls `function` on each record and passes on what it returns; a record that it fails on, by an error or by a panic, fails the attempt, and the job
    /// restarts. When the same record has failed and the job has restarted `restarts` times for it, the record is *diverted* instead: it comes out as
    /// [`Diverted`](crate::Diverted), and the job goes on. With 0 it comes out at once.
    ///
    /// ```
    /// # use cofferdam_engine::{Diverted, Source, TwoPhaseSink, topology::Topology};
    /// # fn example(lines: impl Source<Record = String>, numbers: impl TwoPhaseSink<u64>, dead: impl TwoPhaseSink<Diverted<String>>) {
    /// let topology = Topology::new("numbers");
    /// let parsed = topology.source("lines", lines).try_map_or_divert(3, |line| line.parse::<u64>()).share();
    /// parsed.stream().flat_map(Result::ok).sink("numbers", numbers);
    /// parsed.stream().flat_map(Result::err).sink("dead letters", dead); // each exactly once, as any other row
    /// # }
    /// ```
    ///
    /// In a chain that reads a source a record is known by its place there, so others of the same content are other records. Behind an exchange no place is
    /// known: records of equal content count as one there while attempts fail at such records one after another, or go on from the same checkpoint.
    ///
    /// Failures are counted in the process. After it died they are counted anew, and a record whose diverting was not part of a checkpoint is diverted after
    /// `restarts` more restarts. The restart strategy has to allow as many. An error that is [`NotRetryable`](crate::NotRetryable) ends the job and diverts nothing. After a
    /// panic the next record is given to a fresh clone of `function`.
    pub fn try_map_or_divert<T: 'static, E, F>(self, restarts: u32, function: F) -> Stream<Divert<O, F>>
    where
        O::Out: Serialize,
        F: FnMut(&O::Out) -> Result<T, E> + Clone + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let step = self.add("try_map_or_divert");
        self.then(step, move |upstream, context| {
            Divert::new(step, context.address(step), upstream, restarts, function.clone())
        })
    }

    /// Passes on the records that `predicate` holds for.
    pub fn filter<F>(self, predicate: F) -> Stream<Filter<O, F>>
    where
        F: FnMut(&O::Out) -> bool + Clone + Send + 'static,
    {
        let step = self.add("filter");
        self.then(step, move |upstream, _| Filter { step, upstream, predicate: predicate.clone() })
    }

    /// Calls `function` on each record and passes on every item of what it returns. The iterator may be long: it is taken no faster than
    /// the next step takes its items.
    pub fn flat_map<I, F>(self, function: F) -> Stream<FlatMap<O, F, I>>
    where
        F: FnMut(O::Out) -> I + Clone + Send + 'static,
        I: IntoIterator<Item: 'static, IntoIter: Send> + 'static,
    {
        let step = self.add("flat_map");
        self.then(step, move |upstream, _| FlatMap { step, upstream, function: function.clone(), rest: None })
    }

    /// Lets `function` look at each record.
    pub fn inspect<F>(self, function: F) -> Stream<Inspect<O, F>>
    where
        F: FnMut(&O::Out) + Clone + Send + 'static,
    {
        let step = self.add("inspect");
        self.then(step, move |upstream, _| Inspect { step, upstream, function: function.clone() })
    }

    /// Sends each record to the subtask that owns its key. `key` is called once per record.
    pub fn key_by<K: Key, F>(self, key: F) -> KeyedStream<K, O::Out, O::Time>
    where
        O::Out: Record,
        F: FnMut(&O::Out) -> K + Clone + Send + 'static,
    {
        let step = self.add("key_by");
        self.then(step, move |upstream, _| KeyBy { step, upstream, key: key.clone() }).by_key(step)
    }

    /// Takes each record apart into a key and a value, and sends the value to the subtask that owns the key: less travels than with [`key_by`](Self::key_by),
    /// which sends the whole record beside its key. `function` is called once per record.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
    /// # struct Order { customer: u64, cents: u64, address: String }
    /// # fn example(orders: impl Source<Record = Order>, sink: impl TwoPhaseSink<(u64, u64)>) {
    /// let topology = Topology::new("turnover");
    /// topology
    ///     .source("orders", orders)
    ///     .keyed(|order| (order.customer, order.cents)) // no address leaves its thread
    ///     .fold("turnover", 0, |sum: &mut u64, cents| *sum += cents)
    ///     .sink("turnover-rows", sink);
    /// # }
    /// ```
    pub fn keyed<K: Key, V: Record, F>(self, function: F) -> KeyedStream<K, V, O::Time>
    where
        F: FnMut(O::Out) -> (K, V) + Clone + Send + 'static,
    {
        let step = self.add("keyed");
        self.then(step, move |upstream, _| Map { step, upstream, function: function.clone() }).by_key(step)
    }

    /// Distributes records evenly, in turn.
    pub fn rebalance(self) -> Stream<Input<O::Out, O::Time>>
    where
        O::Out: Record,
    {
        let step = self.add("rebalance");
        let (graph, edges, _) = self.close(&[EdgeKind::Rebalance], None, in_turn);
        received(graph, step, edges)
    }

    /// Sends every record to every subtask of what follows.
    pub fn broadcast(self) -> Stream<Input<O::Out, O::Time>>
    where
        O::Out: Record + Clone,
    {
        let step = self.add("broadcast");
        let (graph, edges, _) = self.close(&[EdgeKind::Broadcast], None, |context, edges| {
            Exchange::new(context.lanes(edges[0]), context.batch_size, ToAll)
        });
        received(graph, step, edges)
    }

    /// Runs this chain, which is every step since the last exchange, on `parallelism` subtasks. To change it midway, put a
    /// [`rebalance`](Self::rebalance) between.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.head.parallelism = Some(parallelism);
        self
    }

    /// This stream's records and `other`'s, in no particular order between the two. Both carry time, or neither does.
    ///
    /// # Panics
    /// If `other` belongs to another topology.
    pub fn union<P>(self, other: Stream<P>) -> Stream<Input<O::Out, O::Time>>
    where
        O::Out: Record,
        P: Operator<Out = O::Out, Time = O::Time>,
    {
        assert!(self.graph.is_same(&other.graph), "union of streams of two topologies");
        let step = self.add("union");
        let (graph, mut edges, _) = self.close(&[EdgeKind::Forward], None, in_turn);
        edges.extend(other.close(&[EdgeKind::Forward], None, in_turn).1);
        received(graph, step, edges)
    }

    /// Lets records go round. `body` is given a stream of this stream's records and of those that come round, and gives back two: the first comes round again,
    /// the second is the result, whatever it may be (a stream, several, or nothing). Exactly once, as everything else: what circulates is part of each
    /// checkpoint. The input of what follows ends when this stream has ended and nothing circulates any more.
    ///
    /// Ordinary records wait while much circulates, and what waits to go round beyond some batches is spilled to temporary files (the driver's `spill_directory`), so that the body may make thousands
    /// of records of one. What a checkpoint under way records of them is in memory, encoded. Records that are spilled go through their serde encoding, as they do through a checkpoint and a recovery: what
    /// does not come back from it as it was (a field with `skip`) does not go round as it was. A loop whose body makes more of each record than it lets out never ends, and fills the disk. A loop cannot stand
    /// within another.
    ///
    /// Event time stands still in the loop and behind it until the loop has ended: what comes round may be older than anything that is known of what comes in. So what is made
    /// due by time, there, is done at the end. Records keep their times.
    ///
    /// # Panics
    /// If the feedback is a stream of another topology.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
    /// # fn example(numbers: impl Source<Record = u64>, sink: impl TwoPhaseSink<(u64, u32)>) {
    /// // How many steps each number takes to 1 (Collatz).
    /// let topology = Topology::new("collatz");
    /// topology
    ///     .source("numbers", numbers)
    ///     .map(|n| (n, n, 0u32))
    ///     .iterate("step", |looped| {
    ///         let stepped = looped.map(|(first, n, steps)| match n {
    ///             0 | 1 => (first, 1, steps),
    ///             n if n % 2 == 0 => (first, n / 2, steps + 1),
    ///             n => (first, 3 * n + 1, steps + 1),
    ///         });
    ///         let stepped = stepped.share();
    ///         (stepped.stream().filter(|(_, n, _)| *n != 1), stepped.stream().filter(|(_, n, _)| *n == 1))
    ///     })
    ///     .map(|(first, _, steps)| (first, steps))
    ///     .sink("steps", sink);
    /// # }
    /// ```
    pub fn iterate<F, R>(
        self,
        name: impl Into<String>,
        body: impl FnOnce(Stream<Input<O::Out, O::Time>>) -> (Stream<F>, R),
    ) -> R
    where
        O::Out: Record,
        F: Operator<Out = O::Out, Time = O::Time>,
    {
        let name = name.into();
        let step = self.graph.lock().add_step("iterate", None, Some(name.clone()));
        let (graph, mut edges, _) = self.close(&[EdgeKind::Forward], None, in_turn);
        let back = graph.lock().add_feedback(<O::Time as Stamp>::IS_TIMED);
        edges.push(back);
        let mut looped = received(graph.clone(), step, edges);
        looped.steps.push(step);
        let (feedback, result) = body(looped);
        assert!(graph.is_same(&feedback.graph), "the feedback of a loop is a stream of another topology");
        let (_, _, chain) = feedback.close(&[], None, in_turn);
        graph.lock().close_feedback(back, chain);
        result
    }

    /// Makes this stream one that can be used more than once: each clone gets every record.
    pub fn share(self) -> SharedStream<O::Out, O::Time>
    where
        O::Out: Record + Clone,
    {
        let step = self.add("share");
        let (graph, _, chain) = self.close(&[], None, |context, edges| {
            let mut lanes = 0;
            let consumers = edges.iter().map(|edge| {
                let first = lanes;
                lanes += context.lanes(*edge);
                (first..lanes, InTurn::starting_at(context.subtask.index()))
            });
            let rule = ToConsumers { consumers: consumers.collect() };
            Exchange::new(lanes, context.batch_size, rule)
        });
        SharedStream { graph, step, chain, record: PhantomData }
    }

    /// Names the last step, for messages and metrics. Steps that keep state are named when they are made.
    pub fn name(self, name: impl Into<String>) -> Self {
        self.graph.lock().step(self.last).name = Some(name.into());
        self
    }

    /// The address of the last step's state, if it is to differ from the name: give the old name here when a step is renamed.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.graph.lock().step(self.last).uid = Some(uid.into());
        self
    }

    /// Publishes the records exactly once through a sink that commits in two phases. The name is the address of its prepared
    /// transactions.
    pub fn sink<S: TwoPhaseSink<O::Out>>(self, name: impl Into<String>, sink: S) -> SinkHandle {
        let step = self.add_sink("two-phase sink", Some(OperatorKind::TwoPhaseSink), name.into());
        let sink = Arc::new(sink);
        let recovery = Recovery { sink: sink.clone(), record: PhantomData };
        let stream = self.then_sink(step);
        let (graph, ..) = stream.close(&[], Some(Box::new(recovery)), move |context, _| {
            TwoPhaseTail::new(step, context.address(step), sink.clone())
        });
        SinkHandle { graph, step }
    }

    /// Gives the records to a sink without transactions: after a restart, some come again.
    pub fn sink_at_least_once<S: Sink<O::Out>>(self, name: impl Into<String>, sink: S) -> SinkHandle {
        let step = self.add_sink("sink", None, name.into());
        let sink = Arc::new(sink);
        let stream = self.then_sink(step);
        let (graph, ..) =
            stream.close(&[], None, move |context, _| AtLeastOnceTail::new(step, context.address(step), sink.clone()));
        SinkHandle { graph, step }
    }

    fn add_sink(&self, kind: &'static str, operator: Option<OperatorKind>, name: String) -> StepIndex {
        self.graph.lock().add_step(kind, operator, Some(name))
    }

    fn then_sink(mut self, step: StepIndex) -> Self {
        self.consume_last();
        self.steps.push(step);
        self.last = step;
        self
    }
}

impl<K: Key, T: Record, O: Operator<Out = (K, T)>> Stream<O> {
    /// Ends the chain at `step`, with an exchange by the keys that it gave.
    fn by_key(self, step: StepIndex) -> KeyedStream<K, T, O::Time> {
        let (graph, edges, _) = self.close(&[EdgeKind::Key], None, |context, edges| {
            let width = context.edges[edges[0].0];
            Exchange::new(
                context.lanes(edges[0]),
                context.batch_size,
                ByKey::new(width.parallelism, context.max_parallelism),
            )
        });
        // Nothing follows the key yet.
        graph.lock().step(step).consumed = false;
        received_keyed(graph, step, edges)
    }
}

/// Finds the group of a record that begins with its key.
pub(crate) fn group_of_key<K: Key, T>((key, _): &(K, T), max_parallelism: u16) -> KeyGroup {
    KeyGroup::of_hash(key.hash64(), max_parallelism)
}

/// A new chain that reads `edges`, all of which go by key.
pub(crate) fn received_keyed<K: Key, T: Record, S: Stamp>(
    graph: SharedGraph,
    step: StepIndex,
    edges: Vec<EdgeIndex>,
) -> KeyedStream<K, T, S> {
    KeyedStream { stream: received_by(graph, step, edges, Some(group_of_key)) }
}

/// The tail of an edge that leads straight on, or in turn over all subtasks.
pub(crate) fn in_turn<T: Record, S: Stamp>(context: &BuildContext<'_>, edges: &[EdgeIndex]) -> Exchange<T, S, InTurn> {
    Exchange::new(context.lanes(edges[0]), context.batch_size, InTurn::starting_at(context.subtask.index()))
}

/// A new chain that reads `edges`.
pub(crate) fn received<T: Record, S: Stamp>(
    graph: SharedGraph,
    step: StepIndex,
    edges: Vec<EdgeIndex>,
) -> Stream<Input<T, S>> {
    received_by(graph, step, edges, None)
}

fn received_by<T: Record, S: Stamp>(
    graph: SharedGraph,
    step: StepIndex,
    edges: Vec<EdgeIndex>,
    group: Option<GroupOf<T>>,
) -> Stream<Input<T, S>> {
    let build: Build<Input<T, S>> = Box::new(move |_| Input::new(group));
    Stream { graph, head: Head::reading(edges), steps: Vec::new(), last: step, delays: false, build }
}

/// A stream used more than once; see [`Stream::share`].
///
/// ```
/// # use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
/// # fn example(numbers: impl Source<Record = i64>, even: impl TwoPhaseSink<i64>, odd: impl TwoPhaseSink<i64>) {
/// let topology = Topology::new("parity");
/// let numbers = topology.source("numbers", numbers).share();
/// numbers.stream().filter(|n| n % 2 == 0).sink("even", even);
/// numbers.stream().filter(|n| n % 2 != 0).sink("odd", odd);
/// # }
/// ```
pub struct SharedStream<T, S = NoTime> {
    graph: SharedGraph,
    step: StepIndex,
    chain: usize,
    record: PhantomData<fn() -> (T, S)>,
}

impl<T: Record + Clone, S: Stamp> SharedStream<T, S> {
    /// One more stream of all the records, in a chain of its own. On as many subtasks as the shared one it has the records of each in their order; on any other number they are dealt out
    /// in turn, and those of a key may overtake each other: where their order counts, give both the same [`parallelism`](Stream::parallelism).
    pub fn stream(&self) -> Stream<Input<T, S>> {
        let mut graph = self.graph.lock();
        let edge = graph.add_edge(self.chain, EdgeKind::Forward, S::IS_TIMED);
        graph.step(self.step).consumed = true;
        let step = graph.add_step("shared", None, None);
        drop(graph);
        received(self.graph.clone(), step, vec![edge])
    }
}

/// A sink that was added to a topology.
pub struct SinkHandle {
    graph: SharedGraph,
    step: StepIndex,
}

impl SinkHandle {
    /// The address of the sink's prepared transactions, if it is to differ from the name.
    pub fn uid(self, uid: impl Into<String>) -> Self {
        self.graph.lock().step(self.step).uid = Some(uid.into());
        self
    }
}
