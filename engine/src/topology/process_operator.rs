//! Steps that keep state which belongs to no key.

use crate::{
    checkpoint::snapshot::OperatorKind,
    operator::{Operator, process::Collector, process_operator::ProcessOperator},
    state::operator_states::OperatorStates,
    topology::stream::Stream,
};

impl<O: Operator> Stream<O> {
    /// Calls `function` with each record and the state that its subtask keeps; what it emits goes to the next step. `states` is [`list`](crate::state::list),
    /// [`union`](crate::state::union) or [`broadcast`](crate::state::broadcast), or a tuple of up to six; the function is given a `Vec` or a `BTreeMap` for each. They
    /// differ in what becomes of them when the job goes on with another number of subtasks.
    ///
    /// Such state is in each checkpoint whole, and encoded on the way of the records: for much, key the stream.
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::Topology};
    /// # fn example(events: impl Source<Record = u64>, sink: impl TwoPhaseSink<Vec<u64>>) {
    /// // Events in packets of a hundred. The last few, of which there are fewer, stay with the job.
    /// let topology = Topology::new("packets");
    /// topology
    ///     .source("events", events)
    ///     .process_operator("packets", state::list::<u64>("waiting"), |event, waiting, out| {
    ///         waiting.push(event);
    ///         if waiting.len() >= 100 {
    ///             out.emit(std::mem::take(waiting));
    ///         }
    ///     })
    ///     .sink("packets-out", sink);
    /// # }
    /// ```
    ///
    /// Rules that go to every subtask, and what they are applied to, in one stream:
    ///
    /// ```
    /// # use cofferdam_engine::{Source, TwoPhaseSink, state, topology::Topology};
    /// # fn example(changes: impl Source<Record = (u32, String)>, sink: impl TwoPhaseSink<(u32, usize)>) {
    /// let topology = Topology::new("rules");
    /// topology
    ///     .source("changes", changes)
    ///     .parallelism(1) // so that each subtask gets them in the same order
    ///     .broadcast()
    ///     .process_operator("rules", state::broadcast::<u32, String>("rules"), |(number, rule), rules, out| {
    ///         rules.insert(number, rule);
    ///         out.emit((number, rules.len()));
    ///     })
    ///     .sink("sizes", sink);
    /// # }
    /// ```
    pub fn process_operator<D, R, F>(
        self,
        name: impl Into<String>,
        states: D,
        function: F,
    ) -> Stream<ProcessOperator<O, D, R, F>>
    where
        D: OperatorStates,
        R: Send + 'static,
        F: FnMut(O::Out, &mut D::Live, &mut Collector<'_, R>) + Clone + Send + 'static,
    {
        let step = {
            let mut graph = self.graph.lock();
            let step = graph.add_step("process_operator", Some(OperatorKind::Operator), Some(name.into()));
            graph.step(step).states = states.declared();
            step
        };
        let mut stream = self.then(step, move |upstream, context| {
            ProcessOperator::new(step, context.address(step), upstream, states.clone(), function.clone())
        });
        stream.delays = true;
        stream
    }
}
