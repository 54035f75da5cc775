//! Side outputs: records that a step gives elsewhere than to the next step.

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use crate::{
    key::Key,
    operator::{Input, Operator, input::GroupOf},
    output::{
        exchange::{ByKey, Exchange, InTurn},
        sides::{Side, SideRule},
    },
    record::Record,
    time::{Stamp, Timestamp},
    topology::{
        Topology,
        graph::{EdgeIndex, EdgeKind, SharedGraph, SideIndex, StepIndex},
        keyed_stream::KeyedStream,
        stream::{Stream, group_of_key, received, received_keyed},
    },
};

pub use crate::output::sides::SideTag;

/// A stream of what a step gives beside its results: late records, alarms, records of another type. Its records have the type `X` and the stamps `S`.
///
/// It is made first, bound to the step, and read:
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::{Source, Timestamp, TwoPhaseSink, WatermarkStrategy, state, topology::Topology};
///
/// # #[derive(serde::Serialize, serde::Deserialize)]
/// # struct Order { customer: u32, cents: u64, at: Timestamp }
/// # fn example(orders: impl Source<Record = Order>, totals: impl TwoPhaseSink<(u32, u64)>, alarms: impl TwoPhaseSink<String>) {
/// let topology = Topology::new("orders");
/// let dear = topology.side_output::<String>("dear orders");
/// let tag = dear.tag();
/// topology
///     .source("orders", orders)
///     .event_time("time", WatermarkStrategy::bounded(Duration::from_secs(5)), |order: &Order| order.at)
///     .key_by(|order| order.customer)
///     .process_with_timers(
///         "totals",
///         state::value::<u64>("total"),
///         move |order, cx| {
///             if order.cents > 100_000 {
///                 cx.emit_to(&tag, format!("customer {} spends {}", order.customer, order.cents));
///             }
///             let total = cx.states().update(|| 0, |total| {
///                 *total += order.cents;
///                 *total
///             });
///             cx.emit((order.customer, total));
///         },
///         |_timer, _cx| (),
///     )
///     .with_side(&dear) // of "totals"
///     .sink("totals-out", totals);
/// dear.stream().sink("alarms", alarms);
/// # }
/// ```
///
/// What is given to it is delivered as exactly once as anything else. A step that gives nothing to it pays nothing for it. While a side output has no room its step gets no
/// input, just as if the main one had none: so all of them go at the pace of the slowest. Watermarks, barriers and the end of input go to all outputs of a chain.
pub struct SideOutput<X, S = Timestamp> {
    graph: SharedGraph,
    index: SideIndex,
    step: StepIndex,
    edge: EdgeIndex,
    tag: SideTag<X, S>,
    /// Once it is read by key.
    group: Arc<OnceLock<GroupOf<X>>>,
}

/// The same side output.
impl<X, S> Clone for SideOutput<X, S> {
    fn clone(&self) -> Self {
        let Self { graph, index, step, edge, tag, group } = self;
        let (index, step, edge) = (*index, *step, *edge);
        Self { graph: graph.clone(), index, step, edge, tag: tag.clone(), group: group.clone() }
    }
}

impl<X, S> fmt::Debug for SideOutput<X, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SideOutput").field(&self.tag.name()).finish()
    }
}

impl<X: Record, S: Stamp> SideOutput<X, S> {
    fn new(graph: &SharedGraph, name: String) -> Self {
        let tag = SideTag::new(&name);
        let mut locked = graph.lock();
        let step = locked.add_step("side_output", None, Some(name));
        let group = Arc::new(OnceLock::new());
        let (named, by) = (tag.clone(), group.clone());
        let (index, edge) = locked.add_side(step, S::IS_TIMED, |edge| {
            Box::new(move |context| {
                let rule = match by.get() {
                    Some(group) => {
                        let width = context.edges[edge.0].parallelism;
                        SideRule::ByKey(ByKey::new(width, context.max_parallelism), *group)
                    }
                    None => SideRule::InTurn(InTurn::starting_at(context.subtask.index())),
                };
                Side::new(&named, Exchange::new(context.lanes(edge), context.batch_size, rule))
            })
        });
        drop(locked);
        Self { graph: graph.clone(), index, step, edge, tag, group }
    }

    /// What names it to the step, for [`Context::emit_to`](crate::topology::Context::emit_to): goes into closures and functions.
    pub fn tag(&self) -> SideTag<X, S> {
        self.tag.clone()
    }

    /// Its records: a stream that begins a chain of its own, and leads to a sink as any other. Once; for more than one reader, [`share`](Stream::share) it.
    pub fn stream(&self) -> Stream<Input<X, S>> {
        self.graph.lock().sides[self.index.0].reads += 1;
        let mut stream = received(self.graph.clone(), self.step, vec![self.edge]);
        stream.steps.push(self.step);
        stream
    }

    /// Lets `step`, which is to be one of a chain not complete yet, give records to it.
    ///
    /// # Panics
    /// If the graph is another one.
    pub(crate) fn bind(&self, graph: &SharedGraph, step: StepIndex) {
        assert!(self.graph.is_same(graph), "a side output of another topology");
        graph.lock().sides[self.index.0].bound_to.push(step);
    }
}

impl<K: Key, V: Record, S: Stamp> SideOutput<(K, V), S> {
    /// Its records by the keys that they begin with: each goes from the step straight to the subtask that owns its key, which is one exchange less than
    /// [`stream`](Self::stream) and [`keyed`](Stream::keyed) have. In place of `stream`, and as that, once.
    pub fn keyed_stream(&self) -> KeyedStream<K, V, S> {
        let mut graph = self.graph.lock();
        graph.sides[self.index.0].reads += 1;
        graph.edges[self.edge.0].kind = EdgeKind::Key;
        drop(graph);
        self.group.get_or_init(|| group_of_key);
        received_keyed(self.graph.clone(), self.step, vec![self.edge])
    }
}

impl Topology {
    /// A side output of a stream with event time. The name says which it is in messages and metrics. See [`SideOutput`] for an example;
    /// [`Stream::side_output`] makes one of a stream without event time.
    pub fn side_output<X: Record>(&self, name: impl Into<String>) -> SideOutput<X> {
        SideOutput::new(&self.graph, name.into())
    }
}

impl<O: Operator> Stream<O> {
    /// A side output for a step that is yet to come, whose records have such stamps as this stream's: for streams without event time, where
    /// [`Topology::side_output`] makes none.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::Topology};
    /// # fn example(readings: impl Source<Record = (u32, f64)>, means: impl TwoPhaseSink<(u32, f64)>, odd: impl TwoPhaseSink<f64>) {
    /// let topology = Topology::new("means");
    /// let readings = topology.source("readings", readings);
    /// let not_finite = readings.side_output::<f64>("not finite");
    /// let tag = not_finite.tag();
    /// readings
    ///     .keyed(|reading| reading)
    ///     .process_with_timers(
    ///         "means",
    ///         state::value::<(u32, f64)>("sum"),
    ///         move |value, cx| match value.is_finite() {
    ///             true => {
    ///                 let (n, sum) = cx.states().get().copied().unwrap_or_default();
    ///                 cx.states().set((n + 1, sum + value));
    ///                 let mean = (*cx.key(), (sum + value) / f64::from(n + 1));
    ///                 cx.emit(mean);
    ///             }
    ///             false => cx.emit_to(&tag, value),
    ///         },
    ///         |_, _| (),
    ///     )
    ///     .with_side(&not_finite)
    ///     .sink("means-out", means);
    /// not_finite.stream().sink("odd", odd);
    /// # }
    /// ```
    pub fn side_output<X: Record>(&self, name: impl Into<String>) -> SideOutput<X, O::Time> {
        SideOutput::new(&self.graph, name.into())
    }

    /// Binds a side output to the last step: this step may give records to it. To be said directly behind the step, in front of an exchange. A side output belongs to one
    /// step; a step may have several. See [`SideOutput`] for an example.
    ///
    /// # Panics
    /// If the side output is one of another topology.
    pub fn with_side<X: Record>(self, side: &SideOutput<X, O::Time>) -> Self {
        side.bind(&self.graph, self.last);
        self
    }
}

impl<K, T, S: Stamp> KeyedStream<K, T, S> {
    /// As [`Stream::side_output`].
    pub fn side_output<X: Record>(&self, name: impl Into<String>) -> SideOutput<X, S> {
        SideOutput::new(&self.stream.graph, name.into())
    }
}

#[cfg(test)]
mod tests;
