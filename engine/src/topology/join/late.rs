//! Where late records of joins end.

use crate::{
    key::Key,
    operator::Operator,
    record::Record,
    time::{Stamp, Timestamp},
    topology::{
        connect::{ConnectedStreams, KeyedCoProcess},
        fault::TopologyFault,
        graph::SharedGraph,
        side_output::SideOutput,
        stream::Stream,
        window::late::Late,
    },
};

/// Where the late records of two connected streams are to go.
pub struct LateSides<A, B, S = Timestamp> {
    pub(in crate::topology) left: Option<SideOutput<A, S>>,
    pub(in crate::topology) right: Option<SideOutput<B, S>>,
}

impl<A, B, S> Default for LateSides<A, B, S> {
    fn default() -> Self {
        Self { left: None, right: None }
    }
}

impl<A: Record, B: Record, S: Stamp> LateSides<A, B, S> {
    /// For a join's function.
    pub(in crate::topology) fn both(&self) -> (Late<A, S>, Late<B, S>) {
        let tag = (self.left.as_ref().map(SideOutput::tag), self.right.as_ref().map(SideOutput::tag));
        (Late::to(tag.0), Late::to(tag.1))
    }

    /// Notes that `step` has no late records, where some were to go somewhere.
    pub(in crate::topology) fn are_none(&self, step: &str, graph: &SharedGraph) {
        let calls = [self.left.as_ref().map(|_| "late_left_to"), self.right.as_ref().map(|_| "late_right_to")];
        let faults = calls.into_iter().flatten().map(|call| TopologyFault::Setting {
            message: format!(
                "'{step}' is no join by event time, and nothing is late there: leave `{call}` out (a function of your own gives to a side output by `emit_to`, bound to its step by `with_side`)"
            ),
        });
        graph.lock().faults.extend(faults);
    }

    /// Lets the last step of `joined` give to them.
    pub(in crate::topology) fn bound<O: Operator<Time = S>>(self, joined: Stream<O>) -> Stream<O> {
        let joined = self.left.iter().fold(joined, |joined, side| joined.with_side(side));
        self.right.iter().fold(joined, |joined, side| joined.with_side(side))
    }
}

impl<K: Key, A: Record, B: Record> ConnectedStreams<K, A, B, Timestamp> {
    /// Gives those records of the first stream to a side output that come too late for the join that follows. Without it they are dropped, and counted. Nothing is late in a
    /// [`lookup_join`](Self::lookup_join).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cofferdam_engine::{TwoPhaseSink, Timestamp, topology::{ConnectedStreams, Topology}};
    /// # fn example(topology: &Topology, connected: ConnectedStreams<u64, String, u32, Timestamp>, pairs: impl TwoPhaseSink<(String, u32)>, too_late: impl TwoPhaseSink<String>) {
    /// let late = topology.side_output::<String>("late clicks");
    /// connected
    ///     .late_left_to(&late)
    ///     .interval_join("near", Duration::ZERO..=Duration::from_secs(60), |_, click, price| (click.clone(), *price))
    ///     .sink("pairs", pairs);
    /// late.stream().sink("too late", too_late);
    /// # }
    /// ```
    pub fn late_left_to(mut self, side: &SideOutput<A>) -> Self {
        self.late.left = Some(side.clone());
        self
    }

    /// As [`late_left_to`](Self::late_left_to), for the second stream.
    pub fn late_right_to(mut self, side: &SideOutput<B>) -> Self {
        self.late.right = Some(side.clone());
        self
    }
}

impl<K: Key, A: Record, B: Record> ConnectedStreams<K, A, B, Timestamp> {
    /// The step of a join; `function` is made of what becomes of late records.
    pub(super) fn joined<F: KeyedCoProcess<K, A, B, Timer = ()>>(
        mut self,
        name: String,
        function: impl FnOnce((Late<A>, Late<B>)) -> F,
    ) -> Stream<impl Operator<Out = F::Out, Time = Timestamp>> {
        let late = std::mem::take(&mut self.late);
        let function = function(late.both());
        late.bound(self.process_fn(name, function))
    }
}
