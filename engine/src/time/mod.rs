//! Time: when something happened, and what a stream's records carry of it. See `docs/decisions/0018`.

pub(crate) mod group_clocks;
mod offset;
mod stamp;
pub(crate) mod strategy;
mod timestamp;

pub use offset::Offset;
pub use stamp::{ByClock, InTime, NoTime, Stamp, Stamped};
pub use strategy::{Alignment, Bounded, IntoTimestamp, Punctuated, WatermarkGenerator, WatermarkStrategy};
pub use timestamp::Timestamp;
