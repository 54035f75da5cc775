//! How much later something is than something else.

use std::{ops::Neg, time::Duration};

use crate::time::Timestamp;

/// How much later something is than something else, or how much earlier: a duration with a sign, in milliseconds. What is less than a millisecond does not count.
///
/// ```
/// use std::time::Duration;
/// use cofferdam_engine::time::Offset;
///
/// let within = Offset::before(Duration::from_secs(5))..=Offset::after(Duration::from_secs(10));
/// assert!(within.contains(&Offset::NONE));
/// assert_eq!(Offset::from(Duration::from_secs(10)), *within.end()); // later, if nothing else is said
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl Offset {
    /// At the same moment.
    pub const NONE: Self = Self(0);

    /// So much later.
    pub fn after(by: Duration) -> Self {
        Self(i64::try_from(by.as_millis()).unwrap_or(i64::MAX))
    }

    /// So much earlier.
    pub fn before(by: Duration) -> Self {
        -Self::after(by)
    }

    /// Milliseconds; negative: earlier.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// The moment that is so much later than `time`, and one that a record can have.
    #[inline]
    pub(crate) fn from(self, time: Timestamp) -> Timestamp {
        Timestamp(time.0.saturating_add(self.0).clamp(i64::MIN + 1, i64::MAX - 1))
    }
}

/// Later.
impl From<Duration> for Offset {
    fn from(by: Duration) -> Self {
        Self::after(by)
    }
}

impl Neg for Offset {
    type Output = Self;

    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_whole_milliseconds_and_lead_to_moments_of_records() {
        let by = Duration::from_micros(7_999);
        assert_eq!(
            (Offset::after(by).from(Timestamp(-5)), Offset::before(by).from(Timestamp(-5))),
            (Timestamp(2), Timestamp(-12))
        );
        assert_eq!(Offset::after(Duration::MAX).from(Timestamp(5)), Timestamp(i64::MAX - 1));
        assert_eq!(Offset::before(Duration::MAX).from(Timestamp(-5)), Timestamp(i64::MIN + 1));
        assert_eq!(-Offset::before(Duration::MAX), Offset::after(Duration::MAX));
    }
}
