//! The checkpoint protocol.

pub mod config;
pub mod coordinator;
pub mod gate;
pub mod snapshot;
pub mod stats;
pub mod store;
