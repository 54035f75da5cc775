//! Windows: which a moment lies in, what panes and sessions come to, and when there is a row. See `docs/decisions/0021`.
//!
//! Everything here is a plain value that is asked; tables and operators keep the state.
//!
//! | | of | |
//! |---|---|---|
//! | [`Tumbling`] | time | one behind the other; civil days too |
//! | [`Sliding`] | time | a window begins every so often |
//! | [`Session`] | time | as long as records follow each other |
//! | [`Global`] | time | all of it |
//! | [`Count`] | records of a key | so many of them |
//!
//! [`Trigger`] says when a window has a row other than at its end, [`aggregates`] are ready-made ones that can be merged.

pub mod aggregates;
mod bounds;
mod count;
mod global;
mod kind;
pub(crate) mod length;
mod session;
mod sliding;
mod stacks;
#[cfg(feature = "time-zones")]
mod time_zone;
mod top;
pub mod trigger;
mod tumbling;

pub use bounds::{Window, Windowed};
pub use count::Count;
pub use global::Global;
pub use kind::Windows;
pub use session::{FixedGap, GapBy, Joined, Session, SessionGap};
pub use sliding::Sliding;
pub use stacks::Stacks;
#[cfg(feature = "time-zones")]
pub use time_zone::{TimeZone, UnknownTimeZone};
pub use trigger::{Act, Trigger, TriggerContext, Wake, WindowTrigger};
pub use tumbling::Tumbling;
