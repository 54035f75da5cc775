//! A source, slowed down.

use std::{sync::Arc, time::Duration};

use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use parking_lot::Mutex;

/// Gives the records of another source, so many a second and no more: all splits and subtasks together. Their order and their
/// positions stay the inner source's, so a replay is as exact as that one's.
pub struct Paced<S> {
    source: S,
    pace: Option<Arc<Pace>>,
}

impl<S> Paced<S> {
    /// Without a rate, as fast as it is asked. A rate of 0 counts as 1.
    pub fn new(source: S, records_per_second: Option<u32>) -> Self {
        let pace = |rate: u32| {
            Arc::new(Pace { between: Duration::from_secs(1) / rate.max(1), next: Mutex::new(ProcessingTime(0)) })
        };
        Self { source, pace: records_per_second.map(pace) }
    }
}

impl<S: Source> Source for Paced<S> {
    type Record = S::Record;
    type Split = S::Split;
    type Position = S::Position;
    type Reader = PacedReader<S::Reader>;

    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<S::Split>, BoxError> {
        self.source.splits(parallelism)
    }

    fn open(&self, split: &S::Split, position: Option<&S::Position>) -> Result<Self::Reader, BoxError> {
        Ok(PacedReader { reader: self.source.open(split, position)?, pace: self.pace.clone() })
    }
}

/// Reads one split of a [`Paced`] source.
pub struct PacedReader<R> {
    reader: R,
    pace: Option<Arc<Pace>>,
}

impl<R: SplitReader> SplitReader for PacedReader<R> {
    type Record = R::Record;
    type Position = R::Position;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<R::Record>, BoxError> {
        let Some(pace) = &self.pace else { return self.reader.read(now) };
        // Locked until it is known whether there is a record, so that two readers do not take the same turn.
        let mut next = pace.next.lock();
        if now < *next {
            return Ok(Read::NotBefore(*next));
        }
        let read = self.reader.read(now)?;
        if let Read::Record(_) = read {
            *next = pace.after(*next, now);
        }
        Ok(read)
    }

    fn position(&mut self) -> Result<R::Position, BoxError> {
        self.reader.position()
    }
}

/// When the next record is due, for all readers of a source.
struct Pace {
    between: Duration,
    next: Mutex<ProcessingTime>,
}

impl Pace {
    /// How much lateness is caught up with: calls come about a millisecond apart, and records may be due more often than that.
    const CATCH_UP: Duration = Duration::from_millis(100);

    fn after(&self, due: ProcessingTime, now: ProcessingTime) -> ProcessingTime {
        let earliest = ProcessingTime(now.0.saturating_sub(Self::CATCH_UP.as_nanos() as u64));
        due.max(earliest).after(self.between)
    }
}

#[cfg(test)]
mod tests {
    use cofferdam::prelude::Collection;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;

    #[test]
    fn records_come_no_faster_than_the_rate_and_a_replay_gives_the_same() {
        let paced = Paced::new(Collection::new((0..2000u64).collect()), Some(1000));
        let split = &paced.splits(1).unwrap()[0];
        let mut reader = paced.open(split, None).unwrap();
        let start = ProcessingTime(3600 * 1000 * MILLISECOND);
        let mut given = Vec::new();
        let mut position = None;
        for millisecond in 0..=1000 {
            let now = start.after(Duration::from_millis(millisecond));
            loop {
                match reader.read(now).unwrap() {
                    Read::Record(record) => given.push(record),
                    Read::NotBefore(time) => break assert!(time > now),
                    Read::End => unreachable!("2,000 records take two seconds"),
                }
            }
            if millisecond == 500 {
                position = Some((given.len(), reader.position().unwrap()));
            }
        }
        // A thousand in a second, and a tenth of a second that was caught up with.
        assert!((1000..=1102).contains(&given.len()), "{}", given.len());

        let (before, position) = position.unwrap();
        let mut again = paced.open(split, Some(&position)).unwrap();
        for record in &given[before..] {
            assert_eq!(again.read(ProcessingTime(u64::MAX)).unwrap(), Read::Record(*record));
        }
    }
}
