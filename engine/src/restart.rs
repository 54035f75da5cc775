//! Whether a failed attempt is followed by another, and when.

use std::{collections::VecDeque, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{duration, id::ProcessingTime, topology::fault::TopologyFault};

/// What to do when an attempt has failed. Names and defaults are Flink's.
///
/// What no restart can help is not tried again, whatever the strategy: state that must not be continued from, and an error that is marked as
/// [`NotRetryable`](crate::NotRetryable).
///
/// ```
/// # use std::time::Duration;
/// # use cofferdam_engine::RestartStrategy;
/// let strategy = RestartStrategy::FixedDelay { attempts: 3, delay: Duration::from_millis(200) };
/// # let read: RestartStrategy = serde_json::from_str(r#"{ "FixedDelay": { "attempts": 3, "delay": "200ms" } }"#)?;
/// # assert_eq!(read, strategy);
/// # Ok::<(), serde_json::Error>(())
/// ```
/// As JSON it is `{ "FixedDelay": { "attempts": 3, "delay": "200ms" } }`; what is left out has its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum RestartStrategy {
    /// The job fails.
    None,
    /// Up to `attempts` restarts, each after `delay`.
    FixedDelay {
        /// How many restarts. 1 in Flink.
        #[serde(default = "defaults::attempts")]
        attempts: u32,
        /// Before each. 1 s in Flink.
        #[serde(default = "defaults::delay", with = "duration")]
        delay: Duration,
    },
    /// Each restart after a longer delay; back to the first delay once an attempt has run for long enough.
    ExponentialDelay {
        /// Before the first restart. 1 s in Flink.
        #[serde(default = "defaults::delay", with = "duration")]
        initial: Duration,
        /// The longest. 1 min in Flink.
        #[serde(default = "defaults::max", with = "duration")]
        max: Duration,
        /// From delay to delay. 1.5 in Flink.
        #[serde(default = "defaults::multiplier")]
        multiplier: f64,
        /// An attempt that ran this long starts delays and `attempts` anew. 1 h in Flink.
        #[serde(default = "defaults::reset_after", with = "duration")]
        reset_after: Duration,
        /// The delay is varied by this share, up and down: 0 to 1. 0.1 in Flink.
        #[serde(default = "defaults::jitter")]
        jitter: f64,
        /// How many restarts until the delays start anew; then the job fails. `None`, as in Flink: as many as it takes.
        #[serde(default)]
        attempts: Option<u32>,
    },
    /// Restarts as long as failures are rare: the job ends with the failure that makes more than `max_failures` of them within `interval`.
    FailureRate {
        /// How many failures may fall into one `interval`. 1 in Flink.
        #[serde(default = "defaults::attempts")]
        max_failures: u32,
        /// Looked at from each failure backwards. 1 min in Flink.
        #[serde(default = "defaults::max", with = "duration")]
        interval: Duration,
        /// Before each restart. 1 s in Flink.
        #[serde(default = "defaults::delay", with = "duration")]
        delay: Duration,
    },
}

/// Flink's.
mod defaults {
    use std::time::Duration;

    pub(super) fn attempts() -> u32 {
        1
    }

    pub(super) fn delay() -> Duration {
        Duration::from_secs(1)
    }

    pub(super) fn max() -> Duration {
        Duration::from_secs(60)
    }

    pub(super) fn multiplier() -> f64 {
        1.5
    }

    pub(super) fn reset_after() -> Duration {
        Duration::from_secs(3600)
    }

    pub(super) fn jitter() -> f64 {
        0.1
    }
}

impl RestartStrategy {
    /// One restart after one second, as in Flink.
    pub fn fixed_delay() -> Self {
        Self::FixedDelay { attempts: defaults::attempts(), delay: defaults::delay() }
    }

    /// From 1 s by 1.5 up to 1 min, anew after 1 h, jitter 0.1, as often as it takes, as in Flink. The default of jobs that take checkpoints.
    pub fn exponential_delay() -> Self {
        Self::ExponentialDelay {
            initial: defaults::delay(),
            max: defaults::max(),
            multiplier: defaults::multiplier(),
            reset_after: defaults::reset_after(),
            jitter: defaults::jitter(),
            attempts: None,
        }
    }

    /// One failure a minute, with a restart after one second, as in Flink.
    pub fn failure_rate() -> Self {
        Self::FailureRate { max_failures: defaults::attempts(), interval: defaults::max(), delay: defaults::delay() }
    }

    /// What cannot be.
    pub(crate) fn faults(&self) -> Vec<TopologyFault> {
        let rules = match *self {
            Self::None | Self::FixedDelay { .. } => Vec::new(),
            Self::ExponentialDelay { initial, max, multiplier, reset_after, jitter, attempts: _ } => vec![
                (initial.is_zero(), "the first restart delay is 0, which no multiplier makes longer: for restarts without delay take `FixedDelay`".to_string()),
                (max < initial, format!("the longest restart delay, {max:?}, is shorter than the first, {initial:?}")),
                (
                    !(multiplier >= 1.0 && multiplier.is_finite()),
                    format!("the multiplier of restart delays is {multiplier}: it must be a number from 1 upwards"),
                ),
                (reset_after.is_zero(), "reset_after is 0: restart delays would start anew with every failure".to_string()),
                (
                    !(0.0..=1.0).contains(&jitter),
                    format!("the jitter of restart delays is {jitter}: it is a share, and must be from 0 to 1"),
                ),
            ],
            Self::FailureRate { max_failures, interval, delay: _ } => vec![
                (
                    max_failures == 0,
                    "max_failures is 0: the first failure would end the job; say so with `RestartStrategy::None`".to_string(),
                ),
                (interval.is_zero(), "the interval of the failure rate is 0: no two failures would fall into it".to_string()),
            ],
        };
        let broken = rules.into_iter().filter(|(is_broken, _)| *is_broken);
        broken.map(|(_, message)| TopologyFault::Setting { message }).collect()
    }
}

/// A strategy, and what it has seen.
#[derive(Debug)]
pub(crate) struct Restarts {
    strategy: RestartStrategy,
    count: u32,
    attempt_began: ProcessingTime,
    /// Of the exponential strategy, without jitter.
    next_delay: Duration,
    /// Of the exponential strategy: restarts since the delays began.
    in_a_row: u32,
    /// Of the failure rate: those that may still count, oldest first.
    failures: VecDeque<ProcessingTime>,
}

impl Restarts {
    pub(crate) fn new(strategy: RestartStrategy, now: ProcessingTime) -> Self {
        let next_delay = match strategy {
            RestartStrategy::ExponentialDelay { initial, .. } => initial,
            _ => Duration::ZERO,
        };
        Self { strategy, count: 0, attempt_began: now, next_delay, in_a_row: 0, failures: VecDeque::new() }
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
            RestartStrategy::ExponentialDelay { initial, max, multiplier, reset_after, jitter, attempts } => {
                if now.since(self.attempt_began) >= reset_after {
                    self.next_delay = initial;
                    self.in_a_row = 0;
                }
                if attempts.is_some_and(|attempts| self.in_a_row >= attempts) {
                    return None;
                }
                self.in_a_row = self.in_a_row.saturating_add(1);
                let delay = self.next_delay;
                self.next_delay = times(delay, multiplier.max(1.0)).min(max);
                times(delay, (1.0 + jitter * (2.0 * random - 1.0)).max(0.0)).min(max).max(initial)
            }
            RestartStrategy::FailureRate { max_failures, interval, delay } => {
                self.failures.retain(|failure| now.since(*failure) <= interval);
                self.failures.push_back(now);
                (self.failures.len() <= max_failures as usize).then_some(delay)?
            }
        };
        self.count = self.count.saturating_add(1);
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

    /// What a strategy says to failures at these seconds, each of an attempt that began when the one before had failed: delays in milliseconds.
    fn delays(strategy: RestartStrategy, failures: &[u64], random: f64) -> Vec<Option<u64>> {
        let mut restarts = Restarts::new(strategy, at(0));
        let delays = failures.iter().map(|second| {
            let delay = restarts.after_failure(at(*second), random).map(|delay| delay.as_millis() as u64);
            restarts.attempt_began(at(*second));
            delay
        });
        delays.collect()
    }

    #[test]
    fn none_never_restarts() {
        assert_eq!(delays(RestartStrategy::None, &[1], 0.5), [None]);
    }

    #[test]
    fn fixed_delay_gives_up_after_its_attempts() {
        let twice = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::from_millis(5) };
        assert_eq!(delays(twice, &[1, 1, 1], 0.5), [Some(5), Some(5), None]);
        assert_eq!(delays(RestartStrategy::fixed_delay(), &[1, 1], 0.5), [Some(1000), None], "Flink's");
    }

    #[test]
    fn exponential_delay_grows_to_its_maximum_and_starts_anew_after_a_long_run() {
        let grown = delays(RestartStrategy::exponential_delay(), &[1; 12], 0.5);
        assert_eq!(grown[..4], [1000, 1500, 2250, 3375].map(Some));
        assert_eq!(grown[11], Some(60_000));
        let failures = [1, 2, 2 + 3599, 2 + 3599 + 3600, 7300];
        let told = delays(RestartStrategy::exponential_delay(), &failures, 0.5);
        assert_eq!(told, [1000, 1500, 2250, 1000, 1500].map(Some), "anew after an hour, and not a second earlier");
    }

    #[test]
    fn exponential_delay_is_varied_by_its_jitter_up_and_down() {
        let of = |random| delays(RestartStrategy::exponential_delay(), &[1, 1], random);
        assert_eq!(of(1.0), [Some(1100), Some(1650)], "ten per cent more, at most");
        assert_eq!(of(0.0), [Some(1000), Some(1350)], "ten per cent less, but never less than the first");
    }

    #[test]
    fn exponential_delay_gives_up_after_its_attempts_and_counts_them_anew_after_a_long_run() {
        let strategy = RestartStrategy::ExponentialDelay {
            initial: Duration::from_millis(100),
            max: Duration::from_millis(150),
            multiplier: 2.0,
            reset_after: Duration::from_secs(10),
            jitter: 0.0,
            attempts: Some(2),
        };
        let failures = [1, 2, 12, 13, 14];
        assert_eq!(delays(strategy, &failures, 0.5), [Some(100), Some(150), Some(100), Some(150), None]);
    }

    #[test]
    fn a_failure_rate_ends_the_job_when_failures_come_too_close() {
        let flinks = RestartStrategy::failure_rate();
        assert_eq!(delays(flinks.clone(), &[1, 62, 123], 0.5), [Some(1000); 3], "one each 61 s");
        assert_eq!(delays(flinks, &[1, 61], 0.5), [Some(1000), None], "two within the minute");
        let three =
            RestartStrategy::FailureRate { max_failures: 3, interval: Duration::from_secs(10), delay: Duration::ZERO };
        assert_eq!(delays(three.clone(), &[1, 2, 3, 4], 0.5), [Some(0), Some(0), Some(0), None]);
        assert_eq!(delays(three, &[1, 2, 3, 12, 13, 13], 0.5), [Some(0), Some(0), Some(0), Some(0), Some(0), None]);
    }

    #[test]
    fn numbers_without_sense_are_refused_in_words() {
        let exponential = |initial, max, multiplier, reset_after, jitter| RestartStrategy::ExponentialDelay {
            initial: Duration::from_secs(initial),
            max: Duration::from_secs(max),
            multiplier,
            reset_after: Duration::from_secs(reset_after),
            jitter,
            attempts: None,
        };
        let rate = |max_failures, seconds| RestartStrategy::FailureRate {
            max_failures,
            interval: Duration::from_secs(seconds),
            delay: Duration::ZERO,
        };
        let table: [(RestartStrategy, &[&str]); 14] = [
            (RestartStrategy::None, &[]),
            (RestartStrategy::FixedDelay { attempts: 0, delay: Duration::ZERO }, &[]),
            (RestartStrategy::fixed_delay(), &[]),
            (RestartStrategy::exponential_delay(), &[]),
            (RestartStrategy::failure_rate(), &[]),
            (exponential(1, 1, 1.0, 1, 0.0), &[]),
            (exponential(1, 1, 1.0, 1, 1.0), &[]),
            (exponential(2, 1, 1.5, 1, 0.1), &["shorter than the first"]),
            (exponential(1, 2, 0.0, 1, 0.1), &["multiplier of restart delays is 0"]),
            (exponential(1, 2, f64::NAN, 1, 1.1), &["multiplier", "jitter of restart delays is 1.1"]),
            (exponential(1, 2, f64::INFINITY, 1, f64::NAN), &["multiplier", "jitter"]),
            (exponential(0, 2, 1.5, 0, -0.1), &["first restart delay is 0", "reset_after is 0", "jitter"]),
            (rate(0, 0), &["max_failures is 0", "interval of the failure rate is 0"]),
            (rate(1, 1), &[]),
        ];
        for (strategy, expected) in table {
            let faults: Vec<_> = strategy.faults().iter().map(ToString::to_string).collect();
            assert_eq!(faults.len(), expected.len(), "{strategy:?}: {faults:?}");
            assert!(faults.iter().zip(expected).all(|(fault, part)| fault.contains(part)), "{strategy:?}: {faults:?}");
        }
    }

    #[test]
    fn a_strategy_reads_back_from_its_json_and_unknown_fields_are_refused() {
        let read = |json: &str| serde_json::from_str::<RestartStrategy>(json).map_err(|error| error.to_string());
        let all = [
            RestartStrategy::None,
            RestartStrategy::fixed_delay(),
            RestartStrategy::exponential_delay(),
            RestartStrategy::failure_rate(),
        ];
        for strategy in all {
            let json = serde_json::to_string(&strategy).map_err(|error| error.to_string());
            assert_eq!(json.and_then(|json| read(&json)), Ok(strategy));
        }
        for (json, strategy) in [
            (r#""None""#, RestartStrategy::None),
            (r#"{ "FixedDelay": {} }"#, RestartStrategy::fixed_delay()),
            (r#"{ "ExponentialDelay": { "max": "1m" } }"#, RestartStrategy::exponential_delay()),
            (r#"{ "FailureRate": { "interval": "60s", "delay": "1s" } }"#, RestartStrategy::failure_rate()),
        ] {
            assert_eq!(read(json), Ok(strategy));
        }
        for json in
            [r#"{ "FixedDelay": { "retries": 1 } }"#, r#"{ "FailureRate": { "delay": 5 } }"#, r#"{ "Fixed": {} }"#]
        {
            assert!(read(json).is_err(), "{json}");
        }
        assert!(
            read(r#"{ "FixedDelay": { "retries": 1 } }"#).is_err_and(|error| error.contains("unknown field `retries`"))
        );
    }

    #[test]
    fn numbers_without_sense_are_no_panic() {
        for (multiplier, jitter) in [(f64::NAN, 0.0), (1e300, 0.0), (f64::INFINITY, f64::INFINITY), (-1.0, f64::NAN)] {
            let (initial, max) = (Duration::from_secs(1), Duration::from_secs(60));
            let strategy = RestartStrategy::ExponentialDelay {
                initial,
                max,
                multiplier,
                reset_after: max,
                jitter,
                attempts: None,
            };
            let mut restarts = Restarts::new(strategy, at(0));
            (0..5).for_each(|_| assert!(restarts.after_failure(at(1), 0.7).is_some()));
        }
    }
}
