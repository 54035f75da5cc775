//! A window's bounds, and its result.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// From `start`, and before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Window {
    /// The first moment in it.
    pub start: Timestamp,
    /// The first moment behind it.
    pub end: Timestamp,
}

impl Window {
    /// All of time.
    pub const ALL: Self = Self { start: Timestamp::MIN, end: Timestamp::MAX };

    /// From `start`, and before `end`.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    /// The last moment in it, which its results are stamped with. When the clock has reached it the window is complete.
    pub const fn max_timestamp(self) -> Timestamp {
        Timestamp(self.end.0.saturating_sub(1))
    }

    /// Whether `time` lies in it.
    #[inline]
    pub fn contains(self, time: Timestamp) -> bool {
        self.start <= time && time < self.end
    }

    /// Whether a moment lies in both.
    #[inline]
    pub fn overlaps(self, other: Self) -> bool {
        self.start < other.end && other.start < self.end
    }

    /// From the start of the one that begins first to the end of the one that ends last.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// From `before` milliseconds before `time` to `after` behind it, cut at the ends of time.
    #[inline]
    pub(super) fn around(time: Timestamp, before: i64, after: i64) -> Self {
        Self { start: Timestamp(time.0.saturating_sub(before)), end: Timestamp(time.0.saturating_add(after)) }
    }
}

/// What a window came to for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Windowed<K, R> {
    /// The key.
    pub key: K,
    /// The window.
    pub window: Window,
    /// The result.
    pub value: R,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_not_in_a_window() {
        let window = Window::new(Timestamp(-5), Timestamp(10));
        assert!(window.contains(Timestamp(-5)) && window.contains(window.max_timestamp()));
        assert!(!window.contains(Timestamp(10)) && !window.contains(Timestamp(-6)));
        assert_eq!(window.max_timestamp(), Timestamp(9));
        assert!(!window.overlaps(Window::new(Timestamp(10), Timestamp(11))));
        assert!(window.overlaps(Window::new(Timestamp(9), Timestamp(11))));
        assert_eq!(Window::new(Timestamp::MIN, Timestamp::MIN).max_timestamp(), Timestamp::MIN);
    }

    #[test]
    fn a_result_comes_back_from_its_encoding() {
        let window = Window::new(Timestamp(-5), Timestamp(10));
        let result = Windowed { key: "a".to_string(), window, value: Some(7_u32) };
        let bytes = crate::codec::encode(&result).unwrap();
        assert_eq!(crate::codec::decode::<Windowed<String, Option<u32>>>(&bytes).unwrap(), result);
    }
}
