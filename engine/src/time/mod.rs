//! Event time.

mod timestamp;

pub use timestamp::Timestamp;
