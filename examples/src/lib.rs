//! Topologies people run and read.
