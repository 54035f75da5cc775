//! The real clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cofferdam_engine::{Clock, ProcessingTime};

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

    /// The moment on tokio's clock that `time` is.
    pub(crate) fn instant(&self, time: ProcessingTime) -> Instant {
        self.origin + Duration::from_nanos(time.0)
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
