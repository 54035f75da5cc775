//! `kill -9` of real processes: at every fail point, of every example, with every type of state. One binary, as each one is linked with the whole engine.

#![cfg(unix)]
// Helpers of tests are tests too.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod inputs;
#[path = "../kill_support/mod.rs"]
mod kill_support;
mod loops;
mod nexmark;
mod points;
#[path = "../reaching/mod.rs"]
mod reaching;
mod savepoints;
mod sqlite;
mod starts;
mod states;
