//! The harnesses: they find nothing wrong where nothing is, and name what is wrong where something is.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

mod broken_sinks;
mod broken_sources;
mod operator;
mod operator_state;
mod sides;
mod sinks;
mod sources;
mod state_types;
mod time;
