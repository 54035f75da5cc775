//! A source whose records come in another order.

use std::{time::Duration, vec};

use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader, Timestamp};
use serde::{Deserialize, Serialize};

/// Gives the records of a bounded source as if word of each came up to so much later than its time, each at random but in every run alike: of two records, the later one may come first if it is no more than
/// so much later. Where the other source had put them does not count.
///
/// A split is read whole when it is opened, and kept in memory: for files that are small.
pub struct Disordered<S: Source> {
    source: S,
    by: Duration,
    time: fn(&S::Record) -> Timestamp,
}

impl<S: Source> Disordered<S> {
    /// Whole milliseconds count.
    pub fn new(source: S, by: Duration, time: fn(&S::Record) -> Timestamp) -> Self {
        Self { source, by, time }
    }

    fn millis(&self) -> u64 {
        u64::try_from(self.by.as_millis()).unwrap_or(u64::MAX - 1)
    }
}

/// A split of the other source, and by how many milliseconds its records are out of order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DisorderedSplit<S> {
    split: S,
    by: u64,
}

impl<S: Source<Record: Send>> Source for Disordered<S> {
    type Record = S::Record;
    type Split = DisorderedSplit<S::Split>;
    /// How many records were given.
    type Position = u64;
    type Reader = DisorderedReader<S::Record>;

    fn is_bounded(&self) -> bool {
        self.source.is_bounded()
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<Self::Split>, BoxError> {
        let splits = self.source.splits(parallelism)?.into_iter();
        Ok(splits.map(|split| DisorderedSplit { split, by: self.millis() }).collect())
    }

    fn open(&self, split: &Self::Split, position: Option<&u64>) -> Result<Self::Reader, BoxError> {
        if split.by != self.millis() {
            let (then, now) = (Duration::from_millis(split.by), self.by);
            return Err(format!("the records came out of order by {then:?} when the job first started, and now by {now:?}: say {then:?} again, or start over").into());
        }
        let mut reader = self.source.open(&split.split, None)?;
        let mut records = Vec::new();
        loop {
            match reader.read(ProcessingTime(0))? {
                Read::Record(record) => {
                    let by = i64::try_from(random(records.len() as u64) % (split.by + 1))?;
                    records.push(((self.time)(&record).as_millis().saturating_add(by), record));
                }
                Read::NotBefore(_) => {
                    return Err("only a source that has all its records at once can be read in another order".into());
                }
                Read::End => break,
            }
        }
        // Stable: those that come at one time come as the other source has them.
        records.sort_by_key(|(told, _)| *told);
        let mut records: vec::IntoIter<_> = records.into_iter();
        let given = position.copied().unwrap_or(0);
        if let Some(last) = usize::try_from(given)?.checked_sub(1) {
            records.nth(last);
        }
        Ok(DisorderedReader { records, given })
    }
}

/// The finalizer of SplitMix64: a number that looks like chance, the same for the same record.
fn random(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// Reads a split of a [`Disordered`] source.
pub struct DisorderedReader<T> {
    records: vec::IntoIter<(i64, T)>,
    given: u64,
}

impl<T: Send + 'static> SplitReader for DisorderedReader<T> {
    type Record = T;
    type Position = u64;

    fn read(&mut self, _: ProcessingTime) -> Result<Read<T>, BoxError> {
        let Some((_, record)) = self.records.next() else { return Ok(Read::End) };
        self.given += 1;
        Ok(Read::Record(record))
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.given)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use cofferdam::prelude::Generator;

    use super::*;

    const BY: i64 = 500;

    fn source(by: i64) -> Disordered<impl Source<Record = i64>> {
        let backwards = Generator::bounded(1_000, |n| 10 * (1_000 - n as i64));
        Disordered::new(backwards, Duration::from_millis(by as u64), |at| Timestamp::from_millis(*at))
    }

    fn rest(reader: &mut impl SplitReader<Record = i64>) -> Vec<i64> {
        let next =
            || if let Read::Record(record) = reader.read(ProcessingTime(0)).unwrap() { Some(record) } else { None };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn all_records_come_out_of_order_by_no_more_than_was_said() {
        let source = source(BY);
        let [split] = source.splits(1).unwrap().try_into().unwrap_or_else(|_| unreachable!());
        let mut all = rest(&mut source.open(&split, None).unwrap());
        let (mut latest, mut most) = (i64::MIN, 0);
        for at in &all {
            latest = latest.max(*at);
            most = most.max(latest - at);
        }
        assert!((BY / 2..=BY).contains(&most), "{most}");
        all.sort_unstable();
        assert_eq!(all, (1..=1_000).map(|n| 10 * n).collect::<Vec<_>>());
    }

    #[test]
    fn a_reader_that_is_opened_at_a_position_goes_on_from_there() {
        let source = source(BY);
        let split = &source.splits(1).unwrap()[0];
        let all = rest(&mut source.open(split, None).unwrap());
        for given in [0, 1, 500, 999, 1_000] {
            let mut reader = source.open(split, None).unwrap();
            for _ in 0..given {
                reader.read(ProcessingTime(0)).unwrap();
            }
            let position = reader.position().unwrap();
            assert_eq!(rest(&mut source.open(split, Some(&position)).unwrap()), all[given..]);
        }
    }

    #[test]
    fn another_disorder_than_at_first_is_refused() {
        let split = &source(BY).splits(1).unwrap()[0];
        let error = source(BY + 1).open(split, Some(&5)).err().unwrap().to_string();
        assert!(error.contains("500ms") && error.contains("501ms"), "{error}");
    }
}
