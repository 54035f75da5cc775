//! How much later something is than something else.

use std::{fmt, ops::Neg, time::Duration};

/// How much later something is than something else, or how much earlier: a duration with a sign. Where it is compared with event time it is to be whole milliseconds; one that is longer than
/// time is no limit.
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
pub struct Offset {
    /// Fewer than an `i128` holds.
    nanos: i128,
}

const MILLISECOND: i128 = 1_000_000;

impl Offset {
    /// At the same moment.
    pub const NONE: Self = Self { nanos: 0 };

    /// So much later.
    pub fn after(by: Duration) -> Self {
        Self { nanos: i128::from(by.as_secs()) * 1_000 * MILLISECOND + i128::from(by.subsec_nanos()) }
    }

    /// So much earlier.
    pub fn before(by: Duration) -> Self {
        -Self::after(by)
    }

    /// Whole milliseconds; negative: earlier.
    pub const fn as_millis(self) -> i64 {
        let millis = self.nanos / MILLISECOND;
        if millis > i64::MAX as i128 {
            i64::MAX
        } else if millis < -(i64::MAX as i128) {
            -i64::MAX
        } else {
            millis as i64
        }
    }

    /// Why it cannot be compared with event time; `name` begins the sentence.
    pub(crate) fn fault(self, name: &str) -> Option<String> {
        let is_of_time = self.as_millis().abs() < i64::MAX;
        let is_cut = is_of_time && self.nanos % MILLISECOND != 0;
        is_cut.then(|| format!("the {name} is {self}: it must be whole milliseconds"))
    }
}

/// Earlier with a sign, later without.
impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanos.unsigned_abs();
        let by = Duration::new((nanos / 1_000_000_000) as u64, (nanos % 1_000_000_000) as u32);
        let sign = if self.nanos < 0 { "-" } else { "" };
        write!(f, "{sign}{}", humantime::format_duration(by))
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
        Self { nanos: -self.nanos }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_milliseconds_later_or_earlier_and_no_more_than_time_has() {
        let by = Duration::from_micros(7_999);
        assert_eq!((Offset::after(by).as_millis(), Offset::before(by).as_millis()), (7, -7));
        assert_eq!(Offset::after(Duration::MAX).as_millis(), i64::MAX);
        assert_eq!(Offset::before(Duration::MAX).as_millis(), -i64::MAX);
        assert_eq!(-Offset::before(Duration::MAX), Offset::after(Duration::MAX));
        assert!(Offset::before(by) < Offset::NONE && Offset::NONE < Offset::after(Duration::from_nanos(1)));
    }

    #[test]
    fn an_offset_of_parts_of_a_millisecond_is_a_fault_and_one_beyond_time_is_none() {
        let fault = Offset::before(Duration::from_micros(1_500)).fault("bound");
        assert_eq!(fault.unwrap(), "the bound is -1ms 500us: it must be whole milliseconds");
        for by in [Duration::ZERO, Duration::from_millis(1), Duration::MAX] {
            assert_eq!((Offset::after(by).fault("bound"), Offset::before(by).fault("bound")), (None, None));
        }
    }
}
