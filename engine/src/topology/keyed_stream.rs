//! A stream cut by key: each key's records come to one subtask, in order.

use crate::{
    checkpoint::snapshot::OperatorKind,
    key::Key,
    operator::{
        emitted::Emitted,
        fold::Fold,
        input::Input,
        keyed::{KeyedInput, only_state, only_table, table_place},
        process::{Collector, Process},
        reduce::Reduce,
    },
    record::Record,
    state::{
        DeclaredState,
        descriptor::{OneValue, StateDescriptor},
        keyed_states::KeyedStates,
        value_state::ValueState,
    },
    time::{NoTime, Stamp},
    topology::{graph::StepIndex, stream::Stream},
};

/// Records with their key, on the subtask that owns it. Steps here keep state for each key; the name is the state's address.
///
/// ```
/// # use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
/// # fn example(orders: impl Source<Record = (String, u64)>, sink: impl TwoPhaseSink<(String, u64)>) {
/// let topology = Topology::new("turnover");
/// topology
///     .source("orders", orders)
///     .key_by(|(customer, _cents)| customer.clone())
///     .fold("turnover", 0, |sum: &mut u64, (_customer, cents)| *sum += cents)
///     .sink("turnover-rows", sink); // (customer, turnover) after each order
/// # }
/// ```
#[must_use = "a stream does nothing until it ends in a sink"]
pub struct KeyedStream<K, T, S = NoTime> {
    pub(crate) stream: Stream<Input<(K, T), S>>,
}

impl<K: Key, T: Record, Z: Stamp> KeyedStream<K, T, Z> {
    /// What follows runs on `parallelism` subtasks, which share the key groups.
    pub fn parallelism(mut self, parallelism: u32) -> Self {
        self.stream.head.parallelism = Some(parallelism);
        self
    }

    pub(super) fn add(&self, kind: &'static str, name: String, states: Vec<DeclaredState>) -> StepIndex {
        let mut graph = self.stream.graph.lock();
        let step = graph.add_step(kind, Some(OperatorKind::Keyed), Some(name));
        graph.step(step).states = states;
        step
    }

    /// Keeps a value for each key, `initial` at first; `function` changes it with each record. Gives the key and its value after each record.
    pub fn fold<S, F>(self, name: impl Into<String>, initial: S, function: F) -> Stream<Fold<K, T, S, F, Z>>
    where
        S: Record + Clone,
        F: FnMut(&mut S, T) + Clone + Send + 'static,
    {
        self.fold_with(name, only_state(), initial, function)
    }

    /// As [`fold`](Self::fold), with a descriptor of the value, which [`fold`](Self::fold) calls "value": for values of which the type has changed.
    ///
    /// ```
    /// # use cofferdam_engine::{state, topology::KeyedStream};
    /// # fn totals(orders: KeyedStream<u32, u64>) {
    /// // The first version was a number of euros.
    /// let cents = state::value("value").version(1).migrate_from(0, |euros: u32| u64::from(euros) * 100);
    /// let totals = orders.fold_with("totals", cents, 0, |sum, cents| *sum += cents);
    /// # let _ = totals;
    /// # }
    /// ```
    pub fn fold_with<S, F>(
        self,
        name: impl Into<String>,
        state: StateDescriptor<OneValue, S>,
        initial: S,
        function: F,
    ) -> Stream<Fold<K, T, S, F, Z>>
    where
        S: Record + Clone,
        F: FnMut(&mut S, T) + Clone + Send + 'static,
    {
        let step = self.add("fold", name.into(), KeyedStates::<K>::declared(&state));
        // A clone per build: the initial value need not be shared between threads.
        self.stream.then(step, move |upstream, context| Fold {
            step,
            upstream: KeyedInput::new(upstream, only_table(&context.address(step), &state, context)),
            initial: initial.clone(),
            function: function.clone(),
        })
    }

    /// Combines the records of each key: `function` puts the second one into the first. Gives the key and the combination after each record.
    pub fn reduce<F>(self, name: impl Into<String>, function: F) -> Stream<Reduce<K, T, F, Z>>
    where
        T: Clone,
        F: FnMut(&mut T, T) + Clone + Send + 'static,
    {
        self.reduce_with(name, only_state(), function)
    }

    /// As [`reduce`](Self::reduce), with a descriptor of the value: see [`fold_with`](Self::fold_with).
    pub fn reduce_with<F>(
        self,
        name: impl Into<String>,
        state: StateDescriptor<OneValue, T>,
        function: F,
    ) -> Stream<Reduce<K, T, F, Z>>
    where
        T: Clone,
        F: FnMut(&mut T, T) + Clone + Send + 'static,
    {
        let step = self.add("reduce", name.into(), KeyedStates::<K>::declared(&state));
        self.stream.then(step, move |upstream, context| Reduce {
            step,
            upstream: KeyedInput::new(upstream, only_table(&context.address(step), &state, context)),
            function: function.clone(),
        })
    }

    /// Calls `function` with each record, its key and the key's state; what it emits goes to the next step.
    ///
    /// ```
    /// # use cofferdam_engine::{Collector, ValueState, topology::KeyedStream};
    /// # fn changes(readings: KeyedStream<u32, f64>) {
    /// // Only readings that differ from the last one of their sensor.
    /// let changes = readings.process("last", |sensor: &u32, reading: f64, last: &mut ValueState<f64>, out: &mut Collector<(u32, f64)>| {
    ///     if last.get() != Some(&reading) {
    ///         last.set(reading);
    ///         out.emit((*sensor, reading));
    ///     }
    /// });
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn process<S, R, F>(
        self,
        name: impl Into<String>,
        function: F,
    ) -> Stream<Process<K, T, StateDescriptor<OneValue, S>, R, F, Z>>
    where
        S: Record,
        R: Send + 'static,
        F: FnMut(&K, T, &mut ValueState<'_, S>, &mut Collector<'_, R>) + Clone + Send + 'static,
    {
        self.process_with(name, only_state(), function)
    }

    /// Calls `function` with each record, its key and the key's states; what it emits goes to the next step. `states` is a descriptor of
    /// [`state`](crate::state), or a tuple of up to six, and the function is given what each of them keeps.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{state::{self, Ttl}, topology::KeyedStream};
    /// # fn sessions(clicks: KeyedStream<u32, String>) {
    /// // How often each visitor was there, and on how many pages in the last hour.
    /// let hour = Ttl::after(Duration::from_secs(3600));
    /// let states = (state::value::<u64>("clicks"), state::map::<String, u64>("pages").ttl(hour));
    /// let sessions = clicks.process_with("sessions", states, |visitor, page, (clicks, pages), out| {
    ///     let clicks = clicks.update(|| 0, |clicks| {
    ///         *clicks += 1;
    ///         *clicks
    ///     });
    ///     pages.update(page, || 0, |times| *times += 1);
    ///     out.emit((*visitor, clicks, pages.len()));
    /// });
    /// # let _ = sessions;
    /// # }
    /// ```
    pub fn process_with<D, R, F>(
        self,
        name: impl Into<String>,
        states: D,
        function: F,
    ) -> Stream<Process<K, T, D, R, F, Z>>
    where
        D: KeyedStates<K>,
        R: Send + 'static,
        F: FnMut(&K, T, &mut D::View<'_>, &mut Collector<'_, R>) + Clone + Send + 'static,
    {
        let step = self.add("process", name.into(), states.declared());
        self.stream.then(step, move |upstream, context| Process {
            step,
            upstream: KeyedInput::new(upstream, states.tables(&table_place(&context.address(step), context))),
            out: Emitted::nothing(),
            function: function.clone(),
        })
    }

    /// The records with their keys, as an ordinary stream.
    pub fn entries(self) -> Stream<Input<(K, T), Z>> {
        self.stream
    }
}
