//! Steps that say what a stream's records carry of time.

use crate::{
    checkpoint::snapshot::OperatorKind,
    operator::{
        Operator, alignment_member::AlignmentMember, event_time::EventTime, ingestion_time::IngestionTime,
        processing_time::ProcessingTimeStep, split_clock,
    },
    time::{IntoTimestamp, Offset, WatermarkGenerator, WatermarkStrategy},
    topology::{fault::TopologyFault, graph::StepIndex, stream::Stream},
};

impl<O: Operator> Stream<O> {
    /// Gives each record the time at which it happened, as `function` finds it in the record: a [`Timestamp`](crate::Timestamp), a [`WallTime`](crate::WallTime), a
    /// [`SystemTime`](std::time::SystemTime), or an `Option` or a `Result` of one. `strategy` says how far time has come when such records have been seen. The name is the
    /// address of what is known of time in checkpoints.
    ///
    /// The record keeps its time through the steps that follow, whatever they make of it. A record that has no time (`None`, an error, or one of the ends of time) fails
    /// the attempt: where that is to be expected, filter such records out in front of this step.
    ///
    /// Best right behind the source, before the first exchange: then each split has its own watermark, and goes by it into checkpoints and to other subtasks. Behind an
    /// exchange, or a step that may keep records back, there is one watermark for all that comes to a subtask.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cofferdam_engine::{Source, Timestamp, TwoPhaseSink, WatermarkStrategy, topology::Topology};
    ///
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Reading {
    ///     sensor: u32,
    ///     at_millis: i64,
    /// }
    ///
    /// fn readings(source: impl Source<Record = Reading>, sink: impl TwoPhaseSink<(u32, u64)>) -> Topology {
    ///     let topology = Topology::new("readings");
    ///     // Out of order by 5 s at most. A split that is silent for a minute holds nothing back.
    ///     let strategy = WatermarkStrategy::bounded(Duration::from_secs(5)).idle_after(Duration::from_secs(60));
    ///     topology
    ///         .source("readings", source)
    ///         .event_time("time", strategy, |reading: &Reading| Timestamp::from_millis(reading.at_millis))
    ///         .key_by(|reading| reading.sensor)
    ///         .fold("count", 0, |count: &mut u64, _| *count += 1)
    ///         .sink("counts", sink);
    ///     topology
    /// }
    /// ```
    ///
    /// A bare number is no time, as it does not say of what:
    ///
    /// ```compile_fail
    /// # use cofferdam_engine::{Source, TwoPhaseSink, WatermarkStrategy, topology::Topology};
    /// # fn example(numbers: impl Source<Record = u64>, sink: impl TwoPhaseSink<u64>) {
    /// let topology = Topology::new("numbers");
    /// topology.source("numbers", numbers).event_time("time", WatermarkStrategy::monotonous(), |n| *n).sink("rows", sink);
    /// # }
    /// ```
    pub fn event_time<G, F, R>(
        self,
        name: impl Into<String>,
        strategy: WatermarkStrategy<G>,
        function: F,
    ) -> Stream<EventTime<O, F, G>>
    where
        G: WatermarkGenerator<O::Out>,
        F: FnMut(&O::Out) -> R + Clone + Send + 'static,
        R: IntoTimestamp,
    {
        let (name, reads_splits) = (name.into(), self.head.splits.is_some());
        let by_split = reads_splits && !self.delays;
        let faults = cut(&name, &strategy).chain(misplaced(&name, &strategy, reads_splits, by_split));
        self.graph.lock().faults.extend(faults);
        let step = self.add_clock("event_time", name, by_split);
        let group = strategy.alignment.as_ref().map(|alignment| self.graph.lock().align(step, &alignment.group));
        self.then(step, move |upstream, context| {
            let (function, strategy) = (function.clone(), strategy.clone());
            let drift = strategy.alignment.as_ref().map(|alignment| alignment.max_drift);
            let alignment = group.zip(drift).map(|(group, drift)| AlignmentMember::new(group, drift));
            EventTime::new(step, context.address(step), upstream, function, strategy, by_split).aligned(alignment)
        })
    }

    /// Gives each record the moment when it comes by as its time, in milliseconds of the wall clock. It never falls, also if the clock is behind after a restart. No record
    /// is ever late. After a recovery, a record that is read again has another time than before: results that depend on it are those of the later reading. The name is
    /// the address of what is known of time in checkpoints.
    ///
    /// Best right behind the source: there time goes on while the source has nothing, whenever it is asked.
    pub fn ingestion_time(self, name: impl Into<String>) -> Stream<IngestionTime<O>> {
        let by_split = self.head.splits.is_some();
        let step = self.add_clock("ingestion_time", name.into(), by_split);
        self.then(step, move |upstream, context| IngestionTime::new(context.address(step), upstream, by_split))
    }

    /// Lets the steps that follow go by the clock: time is what it is when they look. There are no watermarks and no late records, and what is made of such times
    /// differs from run to run.
    pub fn processing_time(self) -> Stream<ProcessingTimeStep<O>> {
        let step = {
            let mut graph = self.graph.lock();
            let step = graph.add_step("processing_time", None, None);
            graph.step(step).gives_time = true;
            step
        };
        self.then(step, move |upstream, _| ProcessingTimeStep { upstream })
    }

    /// A step with clocks: of each split, stored with it, or one that is its own state.
    fn add_clock(&self, kind: &'static str, name: String, by_split: bool) -> StepIndex {
        let mut graph = self.graph.lock();
        let step = graph.add_step(kind, (!by_split).then_some(OperatorKind::Operator), Some(name));
        graph.step(step).gives_time = true;
        if !by_split {
            graph.step(step).states = split_clock::declared();
        }
        step
    }
}

/// What could not be counted with as it was given.
fn cut<T, G: WatermarkGenerator<T>>(
    name: &str,
    strategy: &WatermarkStrategy<G>,
) -> impl Iterator<Item = TopologyFault> + use<T, G> {
    let drift = strategy.alignment.as_ref().and_then(|alignment| Offset::after(alignment.max_drift).fault("drift"));
    let faults: Vec<_> = strategy.generator.faults().into_iter().chain(drift).collect();
    let of = format!("the watermarks of '{name}'");
    faults.into_iter().map(move |message| TopologyFault::Setting { message: format!("{of}: {message}") })
}

/// What a step is to do that it would never do where it stands.
fn misplaced<G>(
    name: &str,
    strategy: &WatermarkStrategy<G>,
    reads_splits: bool,
    by_split: bool,
) -> impl Iterator<Item = TopologyFault> + use<G> {
    let never_idle = (strategy.idle_after.is_some() && !reads_splits).then(|| {
        format!(
            "'{name}' has `idle_after` and stands behind an exchange, where no source says that it has nothing: put the step in front of the exchange, or leave `idle_after` out"
        )
    });
    let never_held = (strategy.alignment.is_some() && !by_split).then(|| {
        format!(
            "'{name}' is to be aligned and does not stand right behind a source, so that nobody knows which split to hold: put the step in front of the exchange, or of the \
             step that may keep records back, or leave `align` out"
        )
    });
    never_idle.into_iter().chain(never_held).map(|message| TopologyFault::Setting { message })
}
