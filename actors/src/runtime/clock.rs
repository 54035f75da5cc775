//! The real clock.

use std::time::Instant;

use cofferdam_engine::{Clock, ProcessingTime};

/// Monotonic time since the job's host started.
pub(crate) struct MonotonicClock {
    origin: Instant,
}

impl MonotonicClock {
    pub(crate) fn new() -> Self {
        Self { origin: Instant::now() }
    }

    /// The moment on tokio's clock that `time` is.
    pub(crate) fn instant(&self, time: ProcessingTime) -> Instant {
        self.origin + std::time::Duration::from_nanos(time.0)
    }
}

impl Clock for MonotonicClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}
