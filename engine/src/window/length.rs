//! A length of time in whole milliseconds.

use std::time::Duration;

/// What a user gave, and the milliseconds that are counted with: at least one, so that nothing is divided by zero before the fault is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    given: Duration,
    pub millis: i64,
}

impl Length {
    pub fn of(given: Duration) -> Self {
        Self { given, millis: millis(given).max(1) }
    }

    /// What is wrong with it; `name` begins the sentence.
    pub fn fault(self, name: &str) -> Option<String> {
        let must = "it must be at least 1ms";
        if self.given < Duration::from_millis(1) { Some(self.broken(name, must)) } else { self.fraction(name) }
    }

    /// What is wrong with it if it may be nothing.
    pub fn fraction(self, name: &str) -> Option<String> {
        if Duration::from_millis(millis(self.given).unsigned_abs()) == self.given {
            return None;
        }
        let is_long = self.given.as_millis() > i64::MAX as u128;
        let must = if is_long { "time is not as long as that" } else { "it must be whole milliseconds" };
        Some(self.broken(name, must))
    }

    fn broken(self, name: &str, must: &str) -> String {
        format!("the {name} is {}: {must}", humantime::format_duration(self.given))
    }
}

/// At most `i64::MAX`.
pub(crate) fn millis(of: Duration) -> i64 {
    i64::try_from(of.as_millis()).unwrap_or(i64::MAX)
}
