//! Promises, held to by thousands of simulated runs.

#![allow(clippy::unwrap_used)]

mod aborted;
mod alignment;
mod async_io;
mod at_least_once;
mod bounded_memory;
mod cases;
mod connect;
mod end_of_input;
mod exactly_once;
mod going_back;
mod holding_sink;
mod joins;
mod kinds;
mod loops;
mod numbers;
mod orphans;
mod panes;
mod patterns;
mod random_topology;
mod reproducible;
mod savepoints;
mod seeds;
mod sides;
mod small_heap;
mod states;
mod stop_and_drain;
mod time;
mod timers;
mod unaligned;
mod windows;
