//! A source with a timetable: time is cut in ticks of 1 ms, and every record bears the tick that it was due at, however late it is released.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use cofferdam::prelude::*;

use crate::for_seconds::Released;

/// Tick 0: the first moment at which any instance was asked for a record.
#[derive(Clone, Default)]
pub struct Timetable(Arc<OnceLock<Instant>>);

impl Timetable {
    /// Since tick 0.
    pub fn elapsed(&self) -> Duration {
        self.0.get_or_init(Instant::now).elapsed()
    }

    /// How late it is now for what was due at `tick`.
    pub fn late(&self, tick: u64) -> Duration {
        self.elapsed().saturating_sub(Duration::from_millis(tick))
    }
}

/// Gives `(f(i), tick)` for *i* = 0, 1, ...; of *p* instances each gives every *p*-th, and has given `rate / p * tick / 1000` of them at `tick`, after those
/// that come at once.
pub struct Ticks<F> {
    pub f: F,
    /// The numbers below this come before tick 0, as fast as they are taken. A multiple of the number of instances.
    pub at_once: u64,
    /// Records per second of all instances together.
    pub rate: u64,
    /// The last tick.
    pub ticks: u64,
    pub timetable: Timetable,
    pub released: Released,
}

pub struct Reader<F> {
    f: F,
    at_once: u64,
    rate: u64,
    ticks: u64,
    /// The newest tick known to have come.
    reached: u64,
    split: EveryNth,
    next: u64,
    timetable: Timetable,
    released: Released,
}

impl<T: 'static, F: Fn(u64) -> T + Clone + Send + Sync + 'static> Source for Ticks<F> {
    type Record = (T, u64);
    type Split = EveryNth;
    type Position = NextNumber;
    type Reader = Reader<F>;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<EveryNth>, BoxError> {
        let step = u64::from(parallelism);
        Ok((0..step).map(|first| EveryNth { first, step }).collect())
    }

    fn open(&self, split: &EveryNth, position: Option<&NextNumber>) -> Result<Reader<F>, BoxError> {
        Ok(Reader {
            f: self.f.clone(),
            at_once: self.at_once,
            rate: self.rate,
            ticks: self.ticks,
            reached: 0,
            split: *split,
            next: position.map_or(split.first, |position| position.0),
            timetable: self.timetable.clone(),
            released: self.released.clone(),
        })
    }
}

impl<F> Reader<F> {
    /// The first tick at which the instance's quota holds the next record.
    fn due(&self) -> u64 {
        let quota = (self.next - self.at_once) / self.split.step + 1;
        (quota * 1000 * self.split.step).div_ceil(self.rate)
    }
}

impl<T, F: Fn(u64) -> T + Send + 'static> SplitReader for Reader<F> {
    type Record = (T, u64);
    type Position = NextNumber;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<(T, u64)>, BoxError> {
        let tick = if self.next < self.at_once { 0 } else { self.due() };
        if tick > self.ticks {
            self.released.note(&self.split, self.next);
            return Ok(Read::End);
        }
        if tick > self.reached {
            let elapsed = self.timetable.elapsed();
            self.reached = elapsed.as_millis() as u64;
            if tick > self.reached {
                return Ok(Read::NotBefore(now.after(Duration::from_millis(tick) - elapsed)));
            }
        }
        let number = self.next;
        self.next += self.split.step;
        Ok(Read::Record(((self.f)(number), tick)))
    }

    fn position(&mut self) -> Result<NextNumber, BoxError> {
        Ok(NextNumber(self.next))
    }
}
