//! Whole jobs, on real threads. One binary: each takes its time to build.

mod abort;
mod async_io;
mod async_sink;
mod checkpoint_stats;
mod diverting;
mod failures;
mod host;
mod lifecycle;
mod loops;
mod modes;
mod restore;
mod retention;
mod short_jobs;
mod sides;
mod state_types;
mod time;
mod topology_faults;
mod until;
mod whole;
