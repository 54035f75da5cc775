//! Steps that ask the outside.

use std::time::Duration;

use crate::{
    checkpoint::snapshot::OperatorKind,
    error::BoxError,
    operator::{
        Operator,
        async_map::{self, AsyncMap, DivertRecord, FailAttempt, OnFailure},
    },
    record::Record,
    topology::{
        fault::TopologyFault,
        graph::EdgeKind,
        stream::{Stream, in_turn, received},
    },
};

/// How [`map_async`](Stream::map_async) asks.
///
/// ```
/// # use std::time::Duration;
/// use cofferdam_engine::{AsyncConfig, Backoff};
///
/// // Up to 200 requests at once, given on in the order of the records. Each has a second to be answered; after an error or a timeout it is made again
/// // up to four times: 100, 200, 400 and 500 ms later.
/// let config = AsyncConfig::ordered(200)
///     .timeout(Duration::from_secs(1))
///     .retries(4, Backoff::exponential(Duration::from_millis(100), Duration::from_millis(500)));
/// # let _ = config;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a configuration does nothing until it is given to a step"]
pub struct AsyncConfig {
    pub(crate) is_ordered: bool,
    pub(crate) capacity: usize,
    pub(crate) timeout: Option<Duration>,
    pub(crate) retries: u32,
    pub(crate) backoff: Backoff,
}

/// How long to wait between two tries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    first: Duration,
    max: Duration,
}

impl AsyncConfig {
    /// Up to `capacity` requests of each subtask are under way at once, and what they give leaves in the order of the records: so one that takes long holds up those behind it. No timeout, no
    /// retries.
    pub fn ordered(capacity: usize) -> Self {
        let (timeout, backoff) = (None, Backoff::constant(Duration::ZERO));
        Self { is_ordered: true, capacity, timeout, retries: 0, backoff }
    }

    /// As [`ordered`](Self::ordered), but what a request gives leaves when it is there, whatever the order; only watermarks keep their place.
    pub fn unordered(capacity: usize) -> Self {
        Self { is_ordered: false, ..Self::ordered(capacity) }
    }

    /// Gives a try up that has not been answered after this time: its future is dropped, and it counts as failed.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// Asks again up to `retries` times, when a try has failed, with pauses between. An error that is [`NotRetryable`](crate::NotRetryable) is never asked again.
    pub fn retries(self, retries: u32, backoff: Backoff) -> Self {
        Self { retries, backoff, ..self }
    }

    /// What makes no sense.
    fn faults(&self) -> Vec<&'static str> {
        let all = [
            (self.capacity == 0, "the capacity is 0, and nothing could be asked: it must be at least 1"),
            (self.timeout == Some(Duration::ZERO), "the timeout is 0: leave it out, if requests may take any time"),
            (self.backoff.first > self.backoff.max, "the first pause of the backoff is longer than the longest"),
            (self.backoff.is_stuck(), "the first pause of the backoff is 0, and would never grow"),
        ];
        all.into_iter().filter(|(is_fault, _)| *is_fault).map(|(_, message)| message).collect()
    }
}

impl Backoff {
    /// The same pause each time; none, if it is 0.
    pub fn constant(pause: Duration) -> Self {
        Self { first: pause, max: pause }
    }

    /// Pauses that double from `first` on, up to `max`.
    pub fn exponential(first: Duration, max: Duration) -> Self {
        Self { first, max }
    }

    fn is_stuck(&self) -> bool {
        self.first.is_zero() && !self.max.is_zero()
    }

    /// After so many tries, at least one.
    pub(crate) fn pause(&self, tries: u32) -> Duration {
        let factor = 2u32.saturating_pow(tries.saturating_sub(1));
        self.first.saturating_mul(factor).min(self.max)
    }
}

impl<O: Operator> Stream<O> {
    /// Calls `function` with each record, and passes on what the future that it returns comes to: a request to a service, which others can be waiting for at the same time. Any future does that runs on
    /// tokio, on one thread with the subtask, which it must not block. The name is the address of the records under way in checkpoints.
    ///
    /// Exactly once, as everything else: a record is in each checkpoint until its answer has been passed on. After a failure or a restart it is *asked again*, so the service may see it more than once; what is
    /// passed on counts once. No checkpoint waits for an answer.
    ///
    /// An error, a panic or a timeout is a failed try. When there are no more [`retries`](AsyncConfig::retries), the attempt fails, and the job restarts; to go on without the record, use
    /// [`map_async_or_divert`](Self::map_async_or_divert). When [`capacity`](AsyncConfig::ordered) requests are under way, no more input is read. A record keeps its time, and no answer is late because it was
    /// waited for: a watermark stays behind the records that it was behind. The end of the input waits for all answers, and so does a drain; a stop does not.
    ///
    /// A chain of steps begins here, on as many subtasks as the one before unless it says otherwise: records change threads. `ordered` they go straight on, and the order is that in which a subtask is given them;
    /// unordered they are dealt out evenly.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{AsyncConfig, Backoff, Source, TwoPhaseSink, topology::Topology};
    /// # #[derive(Clone)] struct Client;
    /// # impl Client { async fn city_of(&self, _: &str) -> Result<String, std::io::Error> { Ok(String::new()) } }
    /// # fn example(client: Client, visits: impl Source<Record = String>, sink: impl TwoPhaseSink<(String, String)>) {
    /// let topology = Topology::new("cities");
    /// let config = AsyncConfig::unordered(100)
    ///     .timeout(Duration::from_secs(2))
    ///     .retries(3, Backoff::exponential(Duration::from_millis(100), Duration::from_secs(1)));
    /// topology
    ///     .source("visits", visits)
    ///     .map_async("city", config, move |address: String| {
    ///         let client = client.clone();
    ///         async move {
    ///             let city = client.city_of(&address).await?;
    ///             Ok::<_, std::io::Error>((address, city))
    ///         }
    ///     })
    ///     .sink("cities", sink);
    /// # }
    /// ```
    pub fn map_async<R, E, F, U>(
        self,
        name: impl Into<String>,
        config: AsyncConfig,
        function: F,
    ) -> Stream<AsyncMap<O::Out, O::Time, F, R, FailAttempt>>
    where
        O::Out: Record + Clone,
        F: FnMut(O::Out) -> U + Clone + Send + 'static,
        U: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: Into<BoxError> + 'static,
    {
        self.ask("map_async", name.into(), config, function)
    }

    /// As [`map_async`](Self::map_async), but a record whose last try has failed does not fail the attempt: it comes out as [`Diverted`](crate::Diverted), with the last error and the number of tries, in its place.
    /// An error that is [`NotRetryable`](crate::NotRetryable) ends the job, and diverts nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{AsyncConfig, Diverted, Source, TwoPhaseSink, topology::Topology};
    /// # async fn price_of(_: u32) -> Result<u64, std::io::Error> { Ok(0) }
    /// # fn example(items: impl Source<Record = u32>, prices: impl TwoPhaseSink<u64>, unknown: impl TwoPhaseSink<u32>) {
    /// let topology = Topology::new("prices");
    /// let config = AsyncConfig::ordered(20).timeout(Duration::from_secs(2));
    /// let priced = topology.source("items", items).map_async_or_divert("price", config, price_of).share();
    /// priced.stream().flat_map(Result::ok).sink("prices", prices);
    /// priced.stream().flat_map(|row| row.err().map(|diverted| diverted.record)).sink("unknown", unknown);
    /// # }
    /// ```
    pub fn map_async_or_divert<R, E, F, U>(
        self,
        name: impl Into<String>,
        config: AsyncConfig,
        function: F,
    ) -> Stream<AsyncMap<O::Out, O::Time, F, R, DivertRecord>>
    where
        O::Out: Record + Clone,
        F: FnMut(O::Out) -> U + Clone + Send + 'static,
        U: Future<Output = Result<R, E>> + Send + 'static,
        R: Send + 'static,
        E: Into<BoxError> + 'static,
    {
        self.ask("map_async_or_divert", name.into(), config, function)
    }

    /// Ends the chain, and begins one with a step that asks.
    fn ask<R, F, J>(
        self,
        kind: &'static str,
        name: String,
        config: AsyncConfig,
        function: F,
    ) -> Stream<AsyncMap<O::Out, O::Time, F, R, J>>
    where
        O::Out: Record + Clone,
        F: Clone + Send + 'static,
        R: Send + 'static,
        J: OnFailure<O::Out, R>,
    {
        let parallelism = self.head.parallelism;
        // Where the order is gone anyhow, all are given as much to do, and go on with what was in flight on any number of subtasks.
        let edge = if config.is_ordered { EdgeKind::Forward } else { EdgeKind::Rebalance };
        let (graph, edges, _) = self.close(&[edge], None, in_turn);
        let step = {
            let mut graph = graph.lock();
            let fault = |message| TopologyFault::Setting { message: format!("'{name}': {message}") };
            graph.faults.extend(config.faults().into_iter().map(fault));
            let step = graph.add_step(kind, Some(OperatorKind::Operator), Some(name));
            graph.step(step).states = async_map::declared::<O::Out, O::Time>();
            step
        };
        let mut input = received(graph.clone(), step, edges);
        input.head.parallelism = parallelism;
        let stream = input.then(step, move |input, context| {
            AsyncMap::new(step, context.address(step), input, config.clone(), function.clone())
        });
        // Nothing follows it yet.
        graph.lock().step(step).consumed = false;
        stream
    }
}

#[cfg(test)]
mod tests;
