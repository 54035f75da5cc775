//! How long a step may run before others get their turn.

use std::{
    cell::{Cell, RefCell},
    time::Duration,
};

use crate::{
    error::BoxError,
    id::{ProcessingTime, WallTime},
    operator::StepError,
    output::sides::{SideTag, Sides},
    record::Record,
    time::Stamp,
    topology::graph::StepIndex,
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

/// What a chain lends while it runs.
#[derive(Default)]
struct Lent {
    sides: Sides,
    /// Why a record could not be given to them, if the step that gave it could not say so itself.
    failed: Option<BoxError>,
    /// As it was before the chain ran.
    only_rest: bool,
}

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
    only_rest: Cell<bool>,
    /// The side outputs of the chain that runs.
    sides: RefCell<Lent>,
    /// Which split the record at hand is of, in a chain that reads a source; else 0.
    pub(crate) split: u32,
}

impl<'a> Slice<'a> {
    /// A turn of `length` from now, and of at most `records`.
    pub fn new(clock: &'a dyn Clock, length: Duration, records: u64, stride: &'a mut u32) -> Self {
        let now = clock.now();
        *stride = (*stride).clamp(1, STRIDE_MAX);
        let (end, epoch) = (now.after(length), u64::try_from(clock.epoch().as_nanos()).unwrap_or(u64::MAX));
        let (only_rest, sides) = (Cell::new(false), RefCell::default());
        let mut slice =
            Self { clock, now, end, epoch, countdown: 0, stride, left: records, only_rest, sides, split: 0 };
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
        self.only_rest.set(only_rest);
    }

    /// Takes the side outputs of a chain that is about to run.
    pub(crate) fn lend(&mut self, sides: &mut Sides) {
        let only_rest = self.only_rest.get();
        *self.sides.get_mut() = Lent { sides: std::mem::take(sides), failed: None, only_rest };
    }

    /// Gives them back; an error if a record could not be given to one.
    pub(crate) fn take_back(&mut self, sides: &mut Sides) -> Flow {
        let lent = std::mem::take(self.sides.get_mut());
        *sides = lent.sides;
        self.only_rest.set(lent.only_rest);
        lent.failed.map_or(Ok(()), |error| Err(Stop::Failed(error)))
    }

    /// Gives a record of `step`'s to a side output. `Stop::Yield` when no more should come for now; an error if the chain has no such side output. A step that can hand the
    /// answer on does so; one that cannot calls [`give_aside`](Self::give_aside).
    pub(crate) fn emit_to<X: Record, S: Stamp>(
        &self,
        step: StepIndex,
        tag: &SideTag<X, S>,
        record: X,
        time: S,
    ) -> Flow {
        match self.sides.borrow_mut().sides.accept(tag, record, time) {
            Some(flow) => flow,
            None => Err(StepError::stop(step, not_bound(tag.name()))),
        }
    }

    /// As [`emit_to`](Self::emit_to); when no more should come, heads give nothing more in this turn.
    pub(crate) fn give_aside<X: Record, S: Stamp>(&self, step: StepIndex, tag: &SideTag<X, S>, record: X, time: S) {
        let Err(stop) = self.emit_to(step, tag, record, time) else { return };
        self.only_rest.set(true);
        if let Stop::Failed(error) = stop {
            self.sides.borrow_mut().failed.get_or_insert(error);
        }
    }

    /// [`tick`](Self::tick) for up to `most` records at once: how many, at least one.
    #[inline]
    pub fn take(&mut self, most: usize) -> Result<usize, Stop> {
        if self.countdown == 0 || self.only_rest.get() {
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
        if self.is_over() || self.only_rest.get() {
            return Err(Stop::Yield);
        }
        self.grant();
        Ok(())
    }
}

fn not_bound(side: &str) -> BoxError {
    format!(
        "it gives a record to side output '{side}', which is not one of its chain's: say `with_side` with that side output directly behind the step"
    )
    .into()
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
