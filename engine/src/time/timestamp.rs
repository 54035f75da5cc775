//! A moment of event time.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// Milliseconds since the Unix epoch: when something happened, whenever it is handled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// Before every record: nothing is known of the time.
    pub const MIN: Self = Self(i64::MIN);
    /// After every record: nothing will come.
    pub const MAX: Self = Self(i64::MAX);

    /// This moment, `by` later; [`MAX`](Self::MAX) if that is past all moments. What is less than a millisecond does not count.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This moment, `by` earlier; [`MIN`](Self::MIN) if that is before all moments. What is less than a millisecond does not count.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
