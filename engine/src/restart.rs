//! Whether a failed attempt is followed by another, and when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::ProcessingTime;

/// What to do when an attempt has failed. Names and defaults are Flink's.
///
/// ```
/// # use std::time::Duration;
/// # use cofferdam_engine::RestartStrategy;
/// let strategy = RestartStrategy::FixedDelay { attempts: 3, delay: Duration::from_millis(200) };
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum RestartStrategy {
    /// The job fails.
    None,
    /// Up to `attempts` restarts, each after `delay`.
    FixedDelay {
        /// How many restarts.
        attempts: u32,
        /// Before each.
        delay: Duration,
    },
    /// As many restarts as it takes, each after a longer delay; back to the first delay once an attempt has run for long enough.
    ExponentialDelay {
        /// Before the first restart.
        initial: Duration,
        /// The longest.
        max: Duration,
        /// From delay to delay.
        multiplier: f64,
        /// An attempt that ran this long starts the delays anew.
        reset_after: Duration,
        /// The delay is varied by this share, up and down.
        jitter: f64,
    },
}

impl RestartStrategy {
    /// One restart after one second, as in Flink.
    pub fn fixed_delay() -> Self {
        Self::FixedDelay { attempts: 1, delay: Duration::from_secs(1) }
    }

    /// From 1 s by 1.5 up to 1 min, anew after 1 h, jitter 0.1, as in Flink. The default of jobs that take checkpoints.
    pub fn exponential_delay() -> Self {
        Self::ExponentialDelay {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            multiplier: 1.5,
            reset_after: Duration::from_secs(3600),
            jitter: 0.1,
        }
    }
}

/// A strategy, and what it has seen.
#[derive(Debug)]
pub(crate) struct Restarts {
    strategy: RestartStrategy,
    count: u32,
    /// Of the exponential strategy, without jitter.
    next_delay: Duration,
    attempt_began: ProcessingTime,
}

impl Restarts {
    pub(crate) fn new(strategy: RestartStrategy, now: ProcessingTime) -> Self {
        let next_delay = match strategy {
            RestartStrategy::ExponentialDelay { initial, .. } => initial,
            _ => Duration::ZERO,
        };
        Self { strategy, count: 0, next_delay, attempt_began: now }
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(crate) fn attempt_began(&mut self, now: ProcessingTime) {
        self.attempt_began = now;
    }

    /// An attempt has failed: how long to wait before the next; `None` if there is to be none. `random` is in 0..1.
    pub(crate) fn after_failure(&mut self, now: ProcessingTime, random: f64) -> Option<Duration> {
        let delay = match self.strategy {
            RestartStrategy::None => return None,
            RestartStrategy::FixedDelay { attempts, delay } => (self.count < attempts).then_some(delay)?,
            RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after, jitter } => {
                if now.since(self.attempt_began) >= reset_after {
                    self.next_delay = initial;
                }
                let delay = self.next_delay;
                self.next_delay = times(delay, multiplier.max(1.0)).min(max);
                times(delay, (1.0 + jitter * (2.0 * random - 1.0)).max(0.0))
            }
        };
        self.count += 1;
        Some(delay)
    }
}

/// `delay` times `factor`; the longest there is where that makes no sense.
fn times(delay: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).unwrap_or(Duration::from_secs(u64::from(u32::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> ProcessingTime {
        ProcessingTime(seconds * 1_000_000_000)
    }

    #[test]
    fn none_never_restarts() {
        assert_eq!(Restarts::new(RestartStrategy::None, at(0)).after_failure(at(1), 0.5), None);
    }

    #[test]
    fn fixed_delay_gives_up_after_its_attempts() {
        let mut restarts =
            Restarts::new(RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_millis(5) }, at(0));
        let delays: Vec<_> = (0..3).map(|_| restarts.after_failure(at(1), 0.5)).collect();
        assert_eq!(delays, [Some(Duration::from_millis(5)), Some(Duration::from_millis(5)), None]);
    }

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_starts_anew_after_a_long_run() {
        let mut restarts = Restarts::new(RestartStrategy::exponential_delay(), at(0));
        let delays: Vec<_> =
            (0..12).filter_map(|_| restarts.after_failure(at(1), 0.5)).map(|d| d.as_millis()).collect();
        assert_eq!(delays[..4], [1000, 1500, 2250, 3375]);
        assert_eq!(delays[11], 60_000);
        restarts.attempt_began(at(10));
        assert_eq!(restarts.after_failure(at(3610), 0.5), Some(Duration::from_secs(1)));
        restarts.attempt_began(at(3610));
        assert_eq!(
            restarts.after_failure(at(3610), 1.0),
            Some(Duration::from_millis(1650)),
            "ten per cent more, at most"
        );
        assert_eq!(
            restarts.after_failure(at(3610), 0.0),
            Some(Duration::from_millis(2025)),
            "ten per cent less, at least"
        );
    }

    #[test]
    fn numbers_without_sense_are_no_panic() {
        for (multiplier, jitter) in [(f64::NAN, 0.0), (1e300, 0.0), (f64::INFINITY, f64::INFINITY), (-1.0, f64::NAN)] {
            let (initial, max) = (Duration::from_secs(1), Duration::from_secs(60));
            let strategy = RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after: max, jitter };
            let mut restarts = Restarts::new(strategy, at(0));
            (0..5).for_each(|_| assert!(restarts.after_failure(at(1), 0.7).is_some()));
        }
    }
}
