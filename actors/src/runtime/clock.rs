//! The real clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cofferdam_engine::{Clock, ProcessingTime};
use futures_timer::Delay;

/// Monotonic time since the job's host started.
pub(crate) struct MonotonicClock {
    origin: Instant,
    /// When that was.
    epoch: Duration,
}

impl MonotonicClock {
    pub(crate) fn new() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), epoch }
    }

    /// Is ready when it is `time`, give or take what it takes to wake a thread. Tokio's own timers are of whole milliseconds, rounded up: half a millisecond more for each
    /// record of a source that keeps to a timetable.
    pub(crate) fn sleep_until(&self, time: ProcessingTime) -> Delay {
        Delay::new(time.since(self.now()))
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn epoch(&self) -> Duration {
        self.epoch
    }
}
