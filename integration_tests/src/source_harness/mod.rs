//! A user's source, held to its contract.
//!
//! | file | holds |
//! |---|---|
//! | here | what a test calls, and one function for each clause |
//! | `clause` | the clauses |
//! | `reading` | how a split is read |

mod clause;
mod reading;

use std::{fmt::Debug, time::Duration};

use cofferdam_engine::{ProcessingTime, Source, SplitReader};

pub use self::clause::SourceClause;
use self::reading::{Left, Next, Reading, Records};
use crate::{bag::difference, broken_clause::BrokenClause, stored::through_storage};

/// The highest parallelism that splits are listed for.
const PARALLELISM_MAX: u32 = 4;

/// Where the clock stands for a reader that goes on from a position: it means nothing across processes.
const LATER: ProcessingTime = ProcessingTime(86_400_000_000_000);

type Checked<T> = Result<T, BrokenClause<SourceClause>>;

/// Checks that a [`Source`] keeps its contract, and says which clause it breaks.
///
/// | row of the contract | clause | checked |
/// |---|---|---|
/// | `splits` lists every split, and is stored | [`Splits`](SourceClause::Splits) | each split goes through a checkpoint's encoding; a bounded source gives the same records at parallelism 1 to 4 |
/// | `is_bounded` | [`Bounded`](SourceClause::Bounded) | a bounded source's splits all end, an unbounded one's do not |
/// | `open` with `None` | [`Beginning`](SourceClause::Beginning) | again from the same source, from one made anew, and in turn with all other splits: the same records |
/// | `open` with a position | [`Replay`](SourceClause::Replay) | from the position behind every record, by a source made anew, and by the same one again, at another time: the same records |
/// | `read` gives records until it says `End` | [`Read`](SourceClause::Read) | no call fails, and behind `End` there is `End` |
/// | `read` does not block | [`Prompt`](SourceClause::Prompt) | the time that each call takes |
/// | `position` | [`Position`](SourceClause::Position) | asked wherever a checkpoint may come, twice: it can be stored, both answers lead to the same place, and the records stay the same |
///
/// A checkpoint may come before the first record, behind each, while there is none, behind `End`, and right after a restore.
///
/// Not checked: that `open` fails where the records can no longer be given, since the harness cannot take them away. That `splits` is called
/// once in the job's life is the engine's part.
///
/// A position that names the wrong place, and a reader that opens the right place wrongly, look alike from outside: both break [`Replay`](SourceClause::Replay).
///
/// ```
/// use cofferdam::connector::Generator;
/// use cofferdam_testkit::SourceHarness;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// SourceHarness::new(|| Generator::bounded(100, |i| i * i)).check()?;
/// # Ok(())
/// # }
/// ```
pub struct SourceHarness<F> {
    make: F,
    limit: usize,
    parallelism: u32,
    patience: Duration,
}

impl<S, F> SourceHarness<F>
where
    S: Source<Record: PartialEq + Debug>,
    F: Fn() -> S,
{
    /// For the source that `make` makes, as a program does each time it starts: on the same data each time.
    pub fn new(make: F) -> Self {
        Self { make, limit: 300, parallelism: 2, patience: Duration::from_secs(1) }
    }

    /// Reads this many records of each split, and not 300. The checks take time in proportion to the square of it.
    pub fn limit(self, records: usize) -> Self {
        Self { limit: records, ..self }
    }

    /// Reads the splits that there are at this parallelism, and not at 2.
    pub fn parallelism(self, parallelism: u32) -> Self {
        Self { parallelism, ..self }
    }

    /// Allows each `read` this long, and not a second.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Checks every clause; the first that is broken is the error.
    pub fn check(&self) -> Result<(), BrokenClause<SourceClause>> {
        let splits = self.splits(self.parallelism)?;
        let mut all = Vec::new();
        for number in 0..splits.len() {
            all.push(self.first_time(&splits, number)?);
        }
        self.check_bounded(&all)?;
        for (number, first) in all.iter().enumerate() {
            self.check_beginning(&splits, number, first)?;
        }
        self.check_together(&splits, &all)?;
        for (number, first) in all.iter().enumerate() {
            let positions = self.check_asking(&splits, number, first)?;
            for (at, position) in &positions {
                self.check_replay(&splits, number, first, *at, position)?;
            }
        }
        self.check_every_split_listed()
    }

    fn source(&self) -> S {
        (self.make)()
    }

    /// As a checkpoint gives them back.
    fn splits(&self, parallelism: u32) -> Checked<Vec<S::Split>> {
        let at = format!("at parallelism {parallelism}");
        let listed = match self.source().splits(parallelism) {
            Ok(listed) => listed,
            Err(error) => return broken(SourceClause::Splits, format!("{at}, `splits` failed: {error}")),
        };
        let stored = listed.iter().enumerate().map(|(number, split)| {
            through_storage(split).or_else(|error| {
                broken(
                    SourceClause::Splits,
                    format!("{at}, split {number} of {} cannot be stored: {error}", listed.len()),
                )
            })
        });
        stored.collect()
    }

    fn open(&self, source: &S, splits: &[S::Split], number: usize) -> Checked<Reading<S::Reader>> {
        let place = format!("split {number} of {}, opened with `None`", splits.len());
        match source.open(&splits[number], None) {
            Ok(reader) => Ok(Reading::new(reader, ProcessingTime(0), 0, self.patience, place)),
            Err(error) => broken(SourceClause::Beginning, format!("{place}: `open` failed: {error}")),
        }
    }

    /// What a split gives: what all later readings are compared with.
    fn first_time(&self, splits: &[S::Split], number: usize) -> Checked<Records<S::Record>> {
        let mut reading = self.open(&self.source(), splits, number)?;
        let mut records = Vec::new();
        while records.len() < self.limit {
            match reading.next()? {
                Next::Record(record) => records.push(record),
                Next::Idle => return Ok(Records { records, left: Left::Idle }),
                Next::End => {
                    check_end(&mut reading)?;
                    return Ok(Records { records, left: Left::Ended });
                }
            }
        }
        Ok(Records { records, left: Left::Limit })
    }

    fn check_bounded(&self, all: &[Records<S::Record>]) -> Checked<()> {
        let idle = all.iter().position(|split| split.left == Left::Idle);
        match (self.source().is_bounded(), idle) {
            (true, Some(number)) => {
                let records = all[number].records.len();
                let detail = format!(
                    "it is true, and split {number} has neither a record nor an end behind record {records}, however late it is asked"
                );
                broken(SourceClause::Bounded, detail)
            }
            (false, _) if !all.is_empty() && all.iter().all(|split| split.left == Left::Ended) => {
                let lens: Vec<_> = all.iter().map(|split| split.records.len()).collect();
                broken(SourceClause::Bounded, format!("it is false, and every split has ended, after {lens:?} records"))
            }
            _ => Ok(()),
        }
    }

    fn check_beginning(&self, splits: &[S::Split], number: usize, first: &Records<S::Record>) -> Checked<()> {
        let source = self.source();
        for who in ["a source made anew", "the same source, a second time"] {
            let reading = self.open(&source, splits, number)?;
            compare(SourceClause::Beginning, who, reading, first)?;
        }
        Ok(())
    }

    /// One subtask may read several splits by turns.
    fn check_together(&self, splits: &[S::Split], all: &[Records<S::Record>]) -> Checked<()> {
        let source = self.source();
        let mut readings = Vec::new();
        for number in 0..splits.len() {
            readings.push(self.open(&source, splits, number)?);
        }
        let longest = all.iter().map(|split| split.records.len()).max().unwrap_or(0);
        for nth in 0..longest {
            for (reading, first) in readings.iter_mut().zip(all) {
                if nth < first.records.len() {
                    compare_next(SourceClause::Beginning, "in turn with the other splits", reading, first)?;
                }
            }
        }
        Ok(())
    }

    /// Every place that a checkpoint can find the reader in, and what it says its position is there.
    fn check_asking(
        &self,
        splits: &[S::Split],
        number: usize,
        first: &Records<S::Record>,
    ) -> Checked<Vec<(usize, S::Position)>> {
        let mut reading = self.open(&self.source(), splits, number)?;
        let mut positions = Vec::new();
        // The second answer to the same question is the one kept now and then.
        let mut ask = |reading: &mut Reading<S::Reader>| -> Checked<()> {
            let asked = [position::<S>(reading)?, position::<S>(reading)?];
            positions.extend(asked.into_iter().map(|position| (reading.records, position)));
            Ok(())
        };
        let who = "a reader whose position was asked before each call of `read`";
        ask(&mut reading)?;
        while reading.records < first.records.len() {
            let before = reading.records;
            match reading.read_once()? {
                None => ask(&mut reading)?,
                Some(next) => {
                    compare_one(SourceClause::Position, who, &reading, before, next, first)?;
                    ask(&mut reading)?;
                }
            }
        }
        if first.left == Left::Ended {
            check_ended(SourceClause::Position, who, &mut reading)?;
            ask(&mut reading)?;
        }
        Ok(positions)
    }

    fn check_replay(
        &self,
        splits: &[S::Split],
        number: usize,
        first: &Records<S::Record>,
        at: usize,
        position: &S::Position,
    ) -> Checked<()> {
        let source = self.source();
        let mut opened = self.open_at(&source, splits, number, at, position)?;
        // A checkpoint may come before the first record.
        let again = self::position::<S>(&mut opened)?;
        compare(SourceClause::Replay, "a source made anew", opened, first)?;
        // After a failure that the process survives.
        let opened = self.open_at(&source, splits, number, at, position)?;
        compare_one_more(SourceClause::Replay, "the same source, a second time,", opened, first)?;
        let opened = self.open_at(&self.source(), splits, number, at, &again)?;
        let who = "a reader opened at what another gave as its position before its first record";
        compare_one_more(SourceClause::Position, who, opened, first)
    }

    fn open_at(
        &self,
        source: &S,
        splits: &[S::Split],
        number: usize,
        at: usize,
        position: &S::Position,
    ) -> Checked<Reading<S::Reader>> {
        let place = format!("split {number} of {}, opened at the position behind record {at}", splits.len());
        match source.open(&splits[number], Some(position)) {
            Ok(reader) => Ok(Reading::new(reader, LATER, at, self.patience, place)),
            Err(error) => broken(SourceClause::Replay, format!("{place}: `open` failed: {error}")),
        }
    }

    /// However the source is cut, it is all of it.
    fn check_every_split_listed(&self) -> Checked<()> {
        if !self.source().is_bounded() {
            return Ok(());
        }
        let Some(whole) = self.everything(1)? else { return Ok(()) };
        for parallelism in 2..=PARALLELISM_MAX {
            let Some(cut) = self.everything(parallelism)? else { continue };
            let (missing, more) = difference(&whole, &cut);
            if !missing.is_empty() || !more.is_empty() {
                let detail = format!(
                    "at parallelism 1 its splits have {} records, at parallelism {parallelism} {}: missing {missing:?}, too many {more:?}",
                    whole.len(),
                    cut.len()
                );
                return broken(SourceClause::Splits, detail);
            }
        }
        Ok(())
    }

    /// The records of all splits; `None` if there are more than the harness looks at.
    fn everything(&self, parallelism: u32) -> Checked<Option<Vec<S::Record>>> {
        let splits = self.splits(parallelism)?;
        let mut all = Vec::new();
        for number in 0..splits.len() {
            let split = self.first_time(&splits, number)?;
            if split.left != Left::Ended {
                return Ok(None);
            }
            all.extend(split.records);
        }
        Ok(Some(all))
    }
}

fn broken<T>(clause: SourceClause, detail: impl Into<String>) -> Checked<T> {
    Err(BrokenClause::new(clause, detail))
}

/// The reader's position, as a checkpoint gives it back.
fn position<S: Source>(reading: &mut Reading<S::Reader>) -> Checked<S::Position> {
    let position = reading.reader.position().and_then(|position| through_storage(&position));
    position.or_else(|error| {
        broken(SourceClause::Position, format!("{}: `position` has none that can be stored: {error}", reading.place()))
    })
}

/// `reading` gives what the split gave the first time, to its end.
fn compare<R, T>(clause: SourceClause, who: &str, mut reading: Reading<R>, first: &Records<T>) -> Checked<()>
where
    R: SplitReader<Record = T>,
    T: PartialEq + Debug,
{
    while reading.records < first.records.len() {
        compare_next(clause, who, &mut reading, first)?;
    }
    if first.left == Left::Ended { check_ended(clause, who, &mut reading) } else { Ok(()) }
}

/// As [`compare`], but only the next record, or the end.
fn compare_one_more<R, T>(clause: SourceClause, who: &str, mut reading: Reading<R>, first: &Records<T>) -> Checked<()>
where
    R: SplitReader<Record = T>,
    T: PartialEq + Debug,
{
    if reading.records < first.records.len() {
        compare_next(clause, who, &mut reading, first)
    } else if first.left == Left::Ended {
        check_ended(clause, who, &mut reading)
    } else {
        Ok(())
    }
}

fn compare_next<R, T>(clause: SourceClause, who: &str, reading: &mut Reading<R>, first: &Records<T>) -> Checked<()>
where
    R: SplitReader<Record = T>,
    T: PartialEq + Debug,
{
    let before = reading.records;
    let next = reading.next()?;
    compare_one(clause, who, reading, before, next, first)
}

fn compare_one<R, T>(
    clause: SourceClause,
    who: &str,
    reading: &Reading<R>,
    before: usize,
    seen: Next<T>,
    first: &Records<T>,
) -> Checked<()>
where
    R: SplitReader<Record = T>,
    T: PartialEq + Debug,
{
    let expected = &first.records[before];
    match &seen {
        Next::Record(record) if record == expected => Ok(()),
        _ => {
            let (opened, nth) = (&reading.opened, before + 1);
            broken(clause, format!("{opened}: record {nth} was {expected:?} the first time; {who} gave {seen:?}"))
        }
    }
}

fn check_ended<R>(clause: SourceClause, who: &str, reading: &mut Reading<R>) -> Checked<()>
where
    R: SplitReader<Record: Debug>,
{
    match reading.next()? {
        Next::End => check_end(reading),
        seen => {
            broken(clause, format!("{}: the split ended here the first time; {who} gave {seen:?}", reading.place()))
        }
    }
}

/// Behind `End` there is `End`.
fn check_end<R>(reading: &mut Reading<R>) -> Checked<()>
where
    R: SplitReader<Record: Debug>,
{
    for again in 1..=3 {
        let place = reading.place();
        match reading.read_once()? {
            Some(Next::End) => {}
            seen => {
                return broken(
                    SourceClause::Read,
                    format!("{place}: behind `End`, call {again} of `read` gave {seen:?}"),
                );
            }
        }
    }
    Ok(())
}
