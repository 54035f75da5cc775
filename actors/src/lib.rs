//! Runs Cofferdam.

pub mod connector;
