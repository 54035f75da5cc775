//! A moment of event time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{id::WallTime, key_newtype};

/// Milliseconds since the Unix epoch, negative before it: when something happened. [`MIN`](Self::MIN) and [`MAX`](Self::MAX) cannot be a record's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

key_newtype!(Timestamp(i64));

impl Timestamp {
    /// Nothing is known of time yet.
    pub const MIN: Self = Self(i64::MIN);
    /// Nothing will come any more.
    pub const MAX: Self = Self(i64::MAX);

    /// The last moment that a record can have.
    pub(crate) const LAST: Self = Self(i64::MAX - 1);

    /// The moment so many milliseconds after the Unix epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment, `by` later; what is less than a millisecond does not count. At most [`MAX`](Self::MAX), and `MIN` and `MAX` stay what they are.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        if self == Self::MIN { self } else { Self(self.0.saturating_add(millis(by))) }
    }

    /// This moment, `by` earlier; what is less than a millisecond does not count. At least [`MIN`](Self::MIN), and `MIN` and `MAX` stay what they are.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        if self == Self::MAX { self } else { Self(self.0.saturating_sub(millis(by))) }
    }
}

fn millis(of: Duration) -> i64 {
    i64::try_from(of.as_millis()).unwrap_or(i64::MAX)
}

impl std::fmt::Display for Timestamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A wall time that no `i64` holds, 292 million years from now, is [`MAX`](Timestamp::MAX).
impl From<WallTime> for Timestamp {
    #[inline]
    fn from(time: WallTime) -> Self {
        i64::try_from(time.0).map_or(Self::MAX, Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_moved_by_whole_milliseconds_and_never_past_the_ends() {
        let (moment, by) = (Timestamp::from_millis(-5), Duration::from_micros(7_999));
        assert_eq!((moment.after(by), moment.before(by)), (Timestamp(2), Timestamp(-12)));
        assert_eq!(moment.before(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp(5).after(Duration::MAX), Timestamp::MAX);
        for end in [Timestamp::MIN, Timestamp::MAX] {
            assert_eq!((end.after(by), end.before(by)), (end, end));
        }
    }
}
