//! A source that computes its records.

use std::time::Duration;

use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use serde::{Deserialize, Serialize};

/// Gives `f(0)`, `f(1)`, `f(2)`, ..., to an end or without one, as fast as it is asked or at a rate.
///
/// With *p* subtasks at the job's first start it has *p* splits, and keeps them whatever the parallelism is later: the first gives 0, *p*, 2*p*, ..., the second 1, *p*+1, ... On more
/// subtasks than that, some have nothing to read. `f` must give the same record for the
/// same number each time, or a replay is none.
///
/// ```
/// use cofferdam::connector::Generator;
/// use cofferdam_engine::{ProcessingTime, Read, Source, SplitReader};
///
/// let squares = Generator::bounded(3, |i| i * i);
/// let split = &squares.splits(1)?[0];
/// let mut reader = squares.open(split, None)?;
/// for square in [0, 1, 4] {
///     assert_eq!(reader.read(ProcessingTime(0))?, Read::Record(square));
/// }
/// assert_eq!(reader.read(ProcessingTime(0))?, Read::End);
/// # Ok::<(), cofferdam_engine::BoxError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Generator<F> {
    count: Option<u64>,
    /// Records per second of all splits together.
    rate: Option<f64>,
    f: F,
}

impl<F> Generator<F> {
    /// `f(0)` to `f(count - 1)`.
    pub fn bounded<T>(count: u64, f: F) -> Self
    where
        F: Fn(u64) -> T,
    {
        Self { count: Some(count), rate: None, f }
    }

    /// `f(0)`, `f(1)`, ... without end.
    pub fn unbounded<T>(f: F) -> Self
    where
        F: Fn(u64) -> T,
    {
        Self { count: None, rate: None, f }
    }

    /// Gives this many records a second, all subtasks together, counted from when each split is opened. What falls behind is caught
    /// up with. Must be above 0.
    pub fn rate(self, records_per_second: impl Into<f64>) -> Self {
        Self { rate: Some(records_per_second.into()), ..self }
    }

    fn pace(&self, splits: u64) -> Result<Option<Pace>, BoxError> {
        match self.rate {
            Some(rate) if !(rate.is_finite() && rate > 0.0) => {
                Err(format!("a generator's rate must be a number of records per second above 0, but is {rate}").into())
            }
            rate => Ok(rate.map(|rate| Pace { nanos_between: 1e9 * splits as f64 / rate, given: 0, opened: None })),
        }
    }
}

/// A split of numbers: every `step`-th, from `first` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EveryNth {
    /// The first number.
    pub first: u64,
    /// From one number to the next; also how many splits there are.
    pub step: u64,
}

impl EveryNth {
    /// All numbers, dealt out to `splits` splits in turn.
    pub(super) fn deal(splits: u32) -> impl Iterator<Item = Self> {
        let step = u64::from(splits.max(1));
        (0..step).map(move |first| Self { first, step })
    }
}

/// A position among numbers: the one that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextNumber(pub u64);

impl<T: 'static, F: Fn(u64) -> T + Clone + Send + Sync + 'static> Source for Generator<F> {
    type Record = T;
    type Split = EveryNth;
    type Position = NextNumber;
    type Reader = GeneratorReader<F>;

    fn is_bounded(&self) -> bool {
        self.count.is_some()
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<EveryNth>, BoxError> {
        self.pace(1)?;
        Ok(EveryNth::deal(parallelism).collect())
    }

    fn open(&self, split: &EveryNth, position: Option<&NextNumber>) -> Result<Self::Reader, BoxError> {
        Ok(GeneratorReader {
            next: position.map_or(split.first, |position| position.0),
            step: split.step,
            // Without an end it stops at the last number there is, after some centuries.
            end: self.count.unwrap_or(u64::MAX),
            pace: self.pace(split.step)?,
            f: self.f.clone(),
        })
    }
}

/// Reads one split of a [`Generator`].
#[derive(Debug)]
pub struct GeneratorReader<F> {
    next: u64,
    step: u64,
    end: u64,
    pace: Option<Pace>,
    f: F,
}

impl<T, F: Fn(u64) -> T + Send + 'static> SplitReader for GeneratorReader<F> {
    type Record = T;
    type Position = NextNumber;

    #[inline]
    fn read(&mut self, now: ProcessingTime) -> Result<Read<T>, BoxError> {
        if self.next >= self.end {
            return Ok(Read::End);
        }
        if let Some(pace) = &mut self.pace
            && let Err(due) = pace.take(now)
        {
            return Ok(Read::NotBefore(due));
        }
        let number = self.next;
        self.next = number.saturating_add(self.step);
        Ok(Read::Record((self.f)(number)))
    }

    fn position(&mut self) -> Result<NextNumber, BoxError> {
        Ok(NextNumber(self.next))
    }
}

/// When the next record is due.
#[derive(Debug)]
struct Pace {
    nanos_between: f64,
    given: u64,
    /// Learnt at the first read, since a reader is opened on a thread that has no clock.
    opened: Option<ProcessingTime>,
}

impl Pace {
    /// Takes the next record if it is due, and else says when it will be. Each moment is computed from the opening, so that late
    /// calls and rounding do not add up.
    fn take(&mut self, now: ProcessingTime) -> Result<(), ProcessingTime> {
        let opened = *self.opened.get_or_insert(now);
        let due = opened.after(Duration::from_nanos((self.given as f64 * self.nanos_between) as u64));
        if now < due {
            return Err(due);
        }
        self.given += 1;
        Ok(())
    }
}
