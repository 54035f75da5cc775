//! Promises, held to by thousands of simulated runs.

mod cases;
mod exactly_once;
