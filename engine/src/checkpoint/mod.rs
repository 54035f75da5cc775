//! The checkpoint protocol.

pub mod snapshot;
pub mod store;
