//! Virtual time: it stands still unless the simulation moves it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use cofferdam_engine::{Clock, ProcessingTime};

#[derive(Debug, Default)]
pub(crate) struct VirtualClock(AtomicU64);

impl VirtualClock {
    pub(crate) fn advance(&self, by: Duration) {
        self.0.store(self.now().after(by).0, Ordering::Relaxed);
    }

    /// Goes back, to the beginning of time at most.
    pub(crate) fn go_back(&self, by: Duration) {
        let by = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        self.0.store(self.now().0.saturating_sub(by), Ordering::Relaxed);
    }

    /// Moves on to `time`, if that is not past.
    pub(crate) fn advance_to(&self, time: ProcessingTime) {
        self.0.fetch_max(time.0, Ordering::Relaxed);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> ProcessingTime {
        ProcessingTime(self.0.load(Ordering::Relaxed))
    }

    /// Time begins in 1970, and goes on from process to process.
    fn epoch(&self) -> Duration {
        Duration::ZERO
    }
}
