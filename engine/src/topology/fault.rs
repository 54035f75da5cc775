//! What makes a topology impossible to run. All faults are found before anything starts, and listed together.

use std::fmt;

/// One reason why a topology cannot run. Names are the steps' own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopologyFault {
    /// Nothing is read.
    NoSource,
    /// The stream that ends with this step goes nowhere.
    NoSink {
        /// The last step.
        step: String,
    },
    /// Two states of a step have one name.
    DuplicateState {
        /// The step.
        step: String,
        /// The name.
        state: String,
    },
    /// A state has an empty name.
    UnnamedState {
        /// The step.
        step: String,
    },
    /// Two steps have one name, or one `uid`.
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A step that keeps state, reads splits or publishes has an empty name, so that nothing could find its state again.
    Unnamed {
        /// What sort of step.
        kind: &'static str,
    },
    /// Nothing can run on no subtask, and no subtask on less than a key group.
    Parallelism {
        /// The step, or "the job".
        step: String,
        /// What was asked for.
        parallelism: u32,
        /// The number of key groups.
        max_parallelism: u16,
    },
    /// Its transactions would never be published.
    UnpublishedSink {
        /// The sink.
        sink: String,
        /// The source without an end.
        source: String,
    },
    /// Records come into a loop otherwise than by its head, which then cannot hold them back.
    FedLoop {
        /// The loop.
        name: String,
        /// The last step of what feeds it.
        by: String,
    },
    /// The heads of two loops, each of which leads to the other.
    NestedLoop {
        /// The one.
        inner: String,
        /// The other.
        outer: String,
    },
    /// A side output that no step gives records to.
    SideWithoutStep {
        /// The side output.
        side: String,
    },
    /// A side output that was bound to an exchange, which gives it nothing.
    SideOfExchange {
        /// The side output.
        side: String,
        /// The exchange.
        exchange: String,
    },
    /// A side output that was bound to two steps, or twice to one.
    SideTwice {
        /// The side output.
        side: String,
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A side output that leads to no sink.
    SideWithoutSink {
        /// The side output.
        side: String,
    },
    /// A side output that was asked for its stream more than once.
    SideReadTwice {
        /// The side output.
        side: String,
    },
    /// A chain has a side output with time, and a step behind gives records another time: it can tell only one to all outputs.
    TimeBehindSide {
        /// The side output.
        side: String,
        /// The step.
        step: String,
    },
    /// Windows, or what fires them, that make no sense.
    Windows {
        /// The step.
        step: String,
        /// What, and why.
        message: String,
    },
    /// A pattern that makes no sense.
    Pattern {
        /// The step.
        step: String,
        /// What, and why.
        message: String,
    },
    /// A setting that makes no sense.
    Setting {
        /// What, and why.
        message: String,
    },
}

impl fmt::Display for TopologyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSource => f.write_str("it has no source: add one with `Topology::source`"),
            Self::NoSink { step } => {
                write!(f, "the stream that ends with '{step}' leads to no sink: end it with `sink`, or drop the step")
            }
            Self::DuplicateName { name } => write!(
                f,
                "more than one step is named '{name}': a name is the address of a step's state, so each needs its own"
            ),
            Self::DuplicateState { step, state } => write!(
                f,
                "more than one state of '{step}' is named '{state}': a name is a state's address within its step, so each needs its own"
            ),
            Self::UnnamedState { step } => {
                write!(f, "a state of '{step}' has an empty name: it needs one, so that it is found again")
            }
            Self::Unnamed { kind } => {
                write!(f, "a {kind} has an empty name: it needs one, so that its state is found again")
            }
            Self::Parallelism { step, parallelism: 0, .. } => {
                write!(f, "'{step}' has parallelism 0: it needs at least 1")
            }
            Self::Parallelism { step, parallelism, max_parallelism } => write!(
                f,
                "'{step}' has parallelism {parallelism}, but there are only {max_parallelism} key groups: lower it, or raise max_parallelism before the job's first start"
            ),
            Self::UnpublishedSink { sink, source } => write!(
                f,
                "two-phase sink '{sink}' is fed by '{source}', which never ends, and without a checkpoint interval nothing would ever be published: set one"
            ),
            Self::FedLoop { name, by } => write!(
                f,
                "records of '{by}' come into loop '{name}' otherwise than by its head, which could not hold them back: unite them with what is given to `iterate`"
            ),
            Self::NestedLoop { inner, outer } => write!(
                f,
                "loop '{inner}' stands within loop '{outer}', and neither could tell that it is empty: make one loop of the two, or put one behind the other"
            ),
            Self::SideWithoutStep { side } => write!(
                f,
                "side output '{side}' is that of no step: say `with_side` directly behind the step that gives records to it, or drop it"
            ),
            Self::SideOfExchange { side, exchange } => write!(
                f,
                "side output '{side}' is bound to '{exchange}', which is an exchange and gives it nothing: say `with_side` directly behind the step that gives records to it"
            ),
            Self::SideTwice { side, first, second } => write!(
                f,
                "side output '{side}' is bound to '{first}' and once more to '{second}': it belongs to one step, so make one for each and unite their streams"
            ),
            Self::SideWithoutSink { side } => {
                write!(f, "side output '{side}' leads to no sink: end its `stream()` with `sink`, or drop it")
            }
            Self::SideReadTwice { side } => {
                write!(f, "side output '{side}' is read more than once: call `stream()` once, and `share` it")
            }
            Self::TimeBehindSide { side, step } => write!(
                f,
                "'{step}' gives records another time, in the chain of side output '{side}', and a chain says one time to all its outputs: put `rebalance` in front of '{step}', which begins another chain"
            ),
            Self::Windows { step, message } => write!(f, "the windows of '{step}': {message}"),
            Self::Pattern { step, message } => write!(f, "the pattern of '{step}': {message}"),
            Self::Setting { message } => f.write_str(message),
        }
    }
}

/// Everything that keeps a topology from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyError {
    /// The topology's name.
    pub topology: String,
    /// Its faults, at least one.
    pub faults: Vec<TopologyFault>,
}

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topology '{}' cannot run", self.topology)?;
        for fault in &self.faults {
            write!(f, "\n  - {fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TopologyError {}
