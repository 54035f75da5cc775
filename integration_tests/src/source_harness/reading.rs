//! Reads splits as a subtask does, and remembers what they gave.

use std::time::{Duration, Instant};

use cofferdam_engine::{ProcessingTime, Read, SplitReader};

use super::{SourceClause, broken};
use crate::broken_clause::BrokenClause;

/// Reads in a row without a record after which a split is taken to have none for now. Each is asked at the time that the one before named.
const IDLE_READS: u32 = 10_000;

/// A reader, its clock, and where it is, for messages.
pub(super) struct Reading<R> {
    pub(super) reader: R,
    now: ProcessingTime,
    /// Records so far, from the split's beginning.
    pub(super) records: usize,
    patience: Duration,
    /// Which split, and how it was opened.
    pub(super) opened: String,
}

/// What one look at a reader came to.
#[derive(Debug, PartialEq)]
pub(super) enum Next<T> {
    Record(T),
    /// Nothing for now.
    Idle,
    End,
}

impl<R: SplitReader> Reading<R> {
    pub(super) fn new(reader: R, begin: ProcessingTime, records: usize, patience: Duration, opened: String) -> Self {
        Self { reader, now: begin, records, patience, opened }
    }

    /// Where it is now.
    pub(super) fn place(&self) -> String {
        format!("{}, behind record {}", self.opened, self.records)
    }

    /// One call of `read`; `None` if there is nothing yet. Time goes on to when there may be.
    pub(super) fn read_once(&mut self) -> Result<Option<Next<R::Record>>, BrokenClause<SourceClause>> {
        let begun = Instant::now();
        let read = self.reader.read(self.now);
        let took = begun.elapsed();
        if took > self.patience {
            let (place, patience) = (self.place(), self.patience);
            let detail = format!(
                "{place}: `read` took {took:?}, and may take {patience:?} at most: give `NotBefore` instead of waiting"
            );
            return broken(SourceClause::Prompt, detail);
        }
        match read {
            Ok(Read::Record(record)) => {
                self.records += 1;
                Ok(Some(Next::Record(record)))
            }
            Ok(Read::NotBefore(time)) => {
                self.now = self.now.max(time);
                Ok(None)
            }
            Ok(Read::End) => Ok(Some(Next::End)),
            Err(error) => broken(SourceClause::Read, format!("{}: `read` failed: {error}", self.place())),
        }
    }

    /// The next record, however often it takes to ask.
    pub(super) fn next(&mut self) -> Result<Next<R::Record>, BrokenClause<SourceClause>> {
        for _ in 0..IDLE_READS {
            if let Some(next) = self.read_once()? {
                return Ok(next);
            }
        }
        Ok(Next::Idle)
    }
}

/// What a split gave from its beginning.
pub(super) struct Records<T> {
    pub(super) records: Vec<T>,
    pub(super) left: Left,
}

/// Why no more was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    Ended,
    /// There is none for now.
    Idle,
    /// As many as the harness looks at.
    Limit,
}
