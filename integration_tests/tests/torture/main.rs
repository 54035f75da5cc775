//! The harness: what it finds, how it says so, and that the engine passes it.

#![allow(clippy::unwrap_used)]

mod chapter;
mod diverting;
mod engine;
mod order;
mod regressions;
mod timers;
mod verdict;
mod wrong;
