//! How long a step may run before others get their turn.

use std::time::Duration;

use crate::{
    error::BoxError,
    id::{ProcessingTime, WallTime},
};

/// The one door to time: a monotonic clock, real in production and virtual in simulation.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> ProcessingTime;

    /// How long after the Unix epoch the moment 0 of [`now`](Self::now) was. The same for the clock's whole life: so the wall clock, too, never goes back within a
    /// process, whoever sets it.
    fn epoch(&self) -> Duration;
}

/// Whether to hand out more records.
pub type Flow = Result<(), Stop>;

/// Why no more records can be handed out. The record just given was accepted.
#[derive(Debug)]
pub enum Stop {
    /// Nothing is wrong: an output is full, or the time slice is spent. Go on later, from the same place.
    Yield,
    /// A step failed.
    Failed(BoxError),
}

impl From<BoxError> for Stop {
    fn from(error: BoxError) -> Self {
        Self::Failed(error)
    }
}

/// The most records between two looks at the clock.
const STRIDE_MAX: u32 = 1024;

/// A step's turn. Looks at the clock every few records: the fewer, the slower they are.
pub struct Slice<'a> {
    clock: &'a dyn Clock,
    now: ProcessingTime,
    end: ProcessingTime,
    /// Nanoseconds from the Unix epoch to the clock's zero.
    epoch: u64,
    /// Records until the next look at the clock.
    countdown: u32,
    /// Records between looks; kept by the subtask from slice to slice.
    stride: &'a mut u32,
    /// Records that may be handled after that look, whatever the clock says.
    left: u64,
    /// Heads give nothing.
    only_rest: bool,
    /// Which split the record at hand is of, in a chain that reads a source; else 0.
    pub(crate) split: u32,
}

impl<'a> Slice<'a> {
    /// A turn of `length` from now, and of at most `records`.
    pub fn new(clock: &'a dyn Clock, length: Duration, records: u64, stride: &'a mut u32) -> Self {
        let now = clock.now();
        *stride = (*stride).clamp(1, STRIDE_MAX);
        let (end, epoch) = (now.after(length), u64::try_from(clock.epoch().as_nanos()).unwrap_or(u64::MAX));
        let mut slice =
            Self { clock, now, end, epoch, countdown: 0, stride, left: records, only_rest: false, split: 0 };
        slice.grant();
        slice
    }

    /// Takes what may be handled up to the next look from what is left.
    fn grant(&mut self) {
        self.countdown = self.left.min(u64::from(*self.stride)) as u32;
        self.left -= u64::from(self.countdown);
    }

    /// The time of the last look at the clock.
    #[inline]
    pub fn now(&self) -> ProcessingTime {
        self.now
    }

    /// [`now`](Self::now) on the wall clock.
    #[inline]
    pub fn wall_time(&self) -> WallTime {
        WallTime(self.epoch.saturating_add(self.now.0) / 1_000_000)
    }

    /// When the wall clock shows `time`; the moment 0, if that was before.
    pub(crate) fn when(&self, time: WallTime) -> ProcessingTime {
        ProcessingTime(time.0.saturating_mul(1_000_000).saturating_sub(self.epoch))
    }

    /// Whether the turn is over.
    pub fn is_over(&self) -> bool {
        (self.left == 0 && self.countdown == 0) || self.now >= self.end
    }

    /// Looks at the clock.
    pub fn refresh(&mut self) {
        self.now = self.clock.now();
    }

    /// To be called before each record: `Yield` once the turn is over.
    #[inline]
    pub fn tick(&mut self) -> Flow {
        if self.countdown == 0 {
            self.look()?;
        }
        self.countdown -= 1;
        Ok(())
    }

    /// Whether only what is left over of a record may be handed out: heads give no other one.
    pub(crate) fn only_rest(&mut self, only_rest: bool) {
        self.only_rest = only_rest;
    }

    /// [`tick`](Self::tick) for up to `most` records at once: how many, at least one.
    #[inline]
    pub fn take(&mut self, most: usize) -> Result<usize, Stop> {
        if self.countdown == 0 || self.only_rest {
            self.look()?;
        }
        let taken = (self.countdown as usize).min(most);
        self.countdown -= taken as u32;
        Ok(taken)
    }

    /// Gives back what was taken and not used.
    #[inline]
    pub fn give_back(&mut self, unused: usize) {
        self.countdown += unused as u32;
    }

    #[cold]
    fn look(&mut self) -> Flow {
        let before = self.now;
        self.now = self.clock.now();
        let took = self.now.since(before);
        if took < Duration::from_micros(50) {
            *self.stride = (*self.stride * 2).min(STRIDE_MAX);
        } else if took > Duration::from_micros(300) {
            *self.stride = (*self.stride / 4).max(1);
        }
        if self.is_over() || self.only_rest {
            return Err(Stop::Yield);
        }
        self.grant();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct StoppedClock;

    impl Clock for StoppedClock {
        fn now(&self) -> ProcessingTime {
            ProcessingTime(7)
        }

        fn epoch(&self) -> Duration {
            Duration::ZERO
        }
    }

    #[test]
    fn a_slice_of_n_records_hands_out_n() {
        for records in [0, 1, 2, 3, 10, 5000] {
            for stride in [1, 2, 3, 1024] {
                let mut kept = stride;
                let mut slice = Slice::new(&StoppedClock, Duration::from_millis(1), records, &mut kept);
                let handed_out = (0..10_000).take_while(|_| slice.tick().is_ok()).count() as u64;
                assert_eq!(handed_out, records, "stride {stride}");
                assert!(slice.is_over());
            }
        }
    }
}
