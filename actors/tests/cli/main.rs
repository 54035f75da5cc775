//! The command `cofferdam`, run as the process that operators run. Needs the feature `cli`: `cargo test -p cofferdam --features cli --test cli`, or the whole workspace.
#![allow(clippy::unwrap_used)]

mod command;
mod damage;
mod deleting;
mod fields;
mod files;
mod interruption;
mod operator_state;
mod running_job;
mod stopped_job;
#[allow(dead_code, reason = "savepoints are tested with the same job")]
#[path = "../savepoint/support.rs"]
mod support;
mod times;
mod usage;
