//! Simulation and failure injection.
//!
//! [`Simulation`] runs a topology with the engine's own state machines on one thread, in virtual time. What happens next (which subtask has a
//! turn, which message or element arrives, when a call that may block takes effect and when it returns) is drawn from a seed, and so are faults, or they come at given
//! steps. The same topology, setup, faults and seed give the same run.
//!
//! ```text
//! Simulation ── World      what outlives a process: store, clock, dice, trace
//!          └─── Process    what dies with it: supervisor, store handle, calls, letters
//!                 └─── Running    one attempt: coordinator, subtasks, channels
//! ```
//!
//! The same schedules of faults happen on real threads, and kill real processes, once they are [armed](Schedule::arm).
//!
//! Three harnesses test one part of a topology by itself, with no job around it:
//!
//! | harness | of | does |
//! |---|---|---|
//! | [`OperatorHarness`] | one step, or a chain of them | feeds records and barriers, moves time, takes and restores snapshots, shows what came out |
//! | [`SourceHarness`] | a [`Source`](cofferdam_engine::Source) | checks each clause of its contract |
//! | [`SinkHarness`] | a [`TwoPhaseSink`](cofferdam_engine::TwoPhaseSink) | checks each clause of its contract |

mod armed;
mod attempt;
mod bag;
mod broken_clause;
mod call;
mod channel;
mod clock;
mod exhaustive;
mod fault_plan;
mod faults;
mod io;
mod journey;
mod judge;
mod known_time;
#[cfg(feature = "matrix")]
pub mod matrix;
mod memory_scratch;
mod operator_harness;
mod order;
mod outcome;
mod part;
mod post;
mod process;
mod reference;
mod report;
mod savepoints;
mod schedule;
mod setup;
mod shrink;
mod simulation;
mod sink_harness;
mod source_harness;
mod store;
mod stored;
mod supervise;
mod torture;
mod trace;
mod trial;
mod world;

pub use armed::{Armed, SCHEDULE_VARIABLE};
pub use broken_clause::BrokenClause;
pub use cofferdam_engine::{
    fail_point::Point,
    operator::{Input, Operator},
    topology::{KeyedStream, Stream},
};
pub use faults::{Faults, every_fault};
pub use io::{Io, Output, Row};
pub use journey::SavepointUse;
pub use operator_harness::{Emitted, OperatorHarness, Shape, Snapshot};
pub use order::OrderDependence;
pub use outcome::{Broken, Outcome};
pub use post::Request;
pub use reference::reference;
pub use report::{Cell, Failure, Report};
pub use schedule::{Fault, Injection, NotASchedule, Schedule};
pub use setup::Setup;
pub use shrink::Shrunk;
pub use simulation::Simulation;
pub use sink_harness::{SinkClause, SinkHarness};
pub use source_harness::{SourceClause, SourceHarness};
pub use torture::{Torture, TortureError};
pub use trial::Backend;

/// Runs the programs of the chapter on torture.
#[cfg(doctest)]
#[doc = include_str!("../../docs/torture.md")]
struct Chapter;
