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

mod armed;
mod attempt;
mod call;
mod channel;
mod clock;
mod fault_plan;
mod faults;
mod part;
mod post;
mod process;
mod schedule;
mod setup;
mod simulation;
mod store;
mod supervise;
mod trace;
mod world;

pub use armed::{Armed, SCHEDULE_VARIABLE};
pub use cofferdam_engine::fail_point::Point;
pub use faults::{Faults, every_fault};
pub use post::Request;
pub use schedule::{Fault, Injection, NotASchedule, Schedule};
pub use setup::Setup;
pub use simulation::Simulation;
