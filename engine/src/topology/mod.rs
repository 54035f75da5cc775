//! From a user's adapters to chains.

pub(crate) mod async_map;
#[cfg(test)]
pub(crate) mod by_hand;
mod check;
pub(crate) mod connect;
pub(crate) mod connect_broadcast;
pub mod fault;
pub(crate) mod functions;
pub(crate) mod graph;
mod join;
mod keyed_stream;
mod pattern;
pub mod plan;
pub(crate) mod process_fn;
mod process_operator;
pub(crate) mod restorable;
mod side_output;
mod sinks;
mod split;
mod state_check;
mod stream;
#[cfg(test)]
mod tests;
mod time;
pub mod window;

pub use crate::operator::part::Part;
pub use async_map::{AsyncConfig, Backoff};
pub use connect::{ConnectedStreams, KeyedCoProcess};
pub use connect_broadcast::{BroadcastConnected, KeyedBroadcastProcess};
pub use keyed_stream::KeyedStream;
pub use pattern::PatternStream;
pub use process_fn::{Context, Fired, HasEventTime, KeyedProcess};
pub use side_output::{SideOutput, SideTag};
pub use stream::{SharedStream, SinkHandle, Stream};
pub use window::WindowedStream;

use crate::{operator::source::SourceStep, source::Source, topology::graph::SharedGraph};

/// A job's recipe: sources, steps and sinks. Building it runs nothing.
///
/// ```
/// use cofferdam_engine::{Source, TwoPhaseSink, topology::Topology};
///
/// /// Written for any source and sink, so that a test can give it its own.
/// fn word_count(lines: impl Source<Record = String>, counts: impl TwoPhaseSink<(String, u64)>) -> Topology {
///     let topology = Topology::new("word-count");
///     topology
///         .source("lines", lines)
///         .flat_map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
///         .key_by(|word| word.clone())
///         .fold("count", 0, |count: &mut u64, _word| *count += 1)
///         .sink("counts", counts);
///     topology
/// }
/// ```
pub struct Topology {
    pub(crate) name: String,
    pub(crate) graph: SharedGraph,
}

impl Topology {
    /// An empty topology. The name says which job it is, in messages, logs and file names.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), graph: SharedGraph::default() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds a source. The name is the address of its positions in checkpoints.
    pub fn source<S: Source>(&self, name: impl Into<String>, source: S) -> Stream<SourceStep<S>> {
        stream::source_stream(self.graph.clone(), name.into(), source)
    }
}
