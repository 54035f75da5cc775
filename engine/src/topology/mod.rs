//! Topologies.

pub mod fault;
