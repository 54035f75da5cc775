//! Savepoints: taken, copied, started from, refused.
#![allow(clippy::unwrap_used)]

mod changed_topologies;
mod damage;
mod refusals;
mod rescaled;
mod started_elsewhere;
mod support;
mod taking_one;
mod two_phases;
mod written;
