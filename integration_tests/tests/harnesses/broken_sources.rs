//! Sources that break one clause each: the harness names it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader};
use cofferdam_testkit::{SourceClause, SourceHarness};
use serde::{Deserialize, Serialize};

const COUNT: u64 = 20;

/// What is wrong with a [`Numbers`].
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The last split is forgotten when there are three.
    SplitForgotten,
    /// A split has what does not survive a checkpoint.
    SplitNotStored,
    /// Says that it has no end.
    Unbounded,
    /// Says that it has an end, and has none.
    Endless,
    /// A source goes on where its last reader stopped, whatever it is asked.
    GoesOnByItself,
    /// All readers of a source share one place.
    SharedByReaders,
    /// The position is the last record, not the one behind it.
    LastRecordAgain,
    /// The position is right but behind the seventh record.
    SeventhSkipped,
    /// The position at the end is that of the beginning.
    EndForgotten,
    /// A position opens only at the same time of day.
    TimeMatters,
    /// Opening at a position fails.
    NoReplay,
    /// A source goes on from a position only once.
    ReplaysOnce,
    /// To ask for the position takes a record out.
    AskingReads,
    /// The position cannot be stored.
    PositionNotStored,
    /// The first position is that of an earlier run, until something was read.
    StaleUntilRead,
    /// Begins again behind its end.
    EndsTwice,
    /// A read fails.
    ReadFails,
    /// A read waits.
    Waits,
}

/// The numbers below [`COUNT`], every n-th in a split.
struct Numbers {
    fault: Fault,
    place: Arc<AtomicU64>,
    replays: AtomicU64,
}

#[derive(Clone, Serialize, Deserialize)]
struct Split {
    first: u64,
    step: u64,
    lossy: Lossy,
}

/// Encoded as a text, if at all, and decoded as a number.
#[derive(Clone, Copy)]
struct Lossy(bool);

impl Serialize for Lossy {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 { serializer.serialize_str("a text") } else { serializer.serialize_u64(0) }
    }
}

impl<'de> Deserialize<'de> for Lossy {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(|_| Self(false))
    }
}

#[derive(Clone, Serialize, Deserialize)]
struct Position {
    next: u64,
    lossy: Lossy,
}

impl Source for Numbers {
    type Record = u64;
    type Split = Split;
    type Position = Position;
    type Reader = Reader;

    fn is_bounded(&self) -> bool {
        self.fault != Fault::Unbounded
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<Split>, BoxError> {
        let step = u64::from(parallelism);
        let listed = if self.fault == Fault::SplitForgotten && step == 3 { 2 } else { step };
        let lossy = Lossy(self.fault == Fault::SplitNotStored);
        Ok((0..listed).map(|first| Split { first, step, lossy }).collect())
    }

    fn open(&self, split: &Split, position: Option<&Position>) -> Result<Reader, BoxError> {
        if self.fault == Fault::NoReplay && position.is_some() {
            return Err("the connection is gone".into());
        }
        let mut next = position.map_or(split.first, |position| position.next);
        if position.is_some() && self.replays.fetch_add(1, Ordering::Relaxed) > 0 && self.fault == Fault::ReplaysOnce {
            next = split.first;
        }
        if self.fault == Fault::GoesOnByItself {
            next = next.max(self.place.load(Ordering::Relaxed));
        }
        self.place.store(next, Ordering::Relaxed);
        let restored = position.is_some();
        Ok(Reader { fault: self.fault, next, split: split.clone(), given: 0, restored, place: self.place.clone() })
    }
}

struct Reader {
    fault: Fault,
    next: u64,
    split: Split,
    given: u64,
    restored: bool,
    place: Arc<AtomicU64>,
}

impl SplitReader for Reader {
    type Record = u64;
    type Position = Position;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        if self.fault == Fault::SharedByReaders {
            self.next = self.place.load(Ordering::Relaxed);
        }
        if self.next >= COUNT {
            match self.fault {
                Fault::Endless => return Ok(Read::NotBefore(now.after(Duration::from_secs(1)))),
                Fault::EndsTwice => self.next = self.split.first,
                _ => {}
            }
            return Ok(Read::End);
        }
        match self.fault {
            Fault::ReadFails if self.next > 10 => return Err("the disk is on fire".into()),
            Fault::Waits if self.next > 10 => thread::sleep(Duration::from_millis(30)),
            _ => {}
        }
        let number = self.next + if self.fault == Fault::TimeMatters { now.0 } else { 0 };
        self.next += self.split.step;
        self.given += 1;
        self.place.store(self.next, Ordering::Relaxed);
        Ok(Read::Record(number))
    }

    fn position(&mut self) -> Result<Position, BoxError> {
        let (next, step) = (self.next, self.split.step);
        let next = match self.fault {
            Fault::LastRecordAgain if self.given > 0 => next - step,
            Fault::SeventhSkipped if self.given == 7 => next + step,
            Fault::EndForgotten if next >= COUNT => self.split.first,
            Fault::AskingReads => {
                self.next += step;
                next
            }
            Fault::StaleUntilRead if self.restored && self.given == 0 => self.split.first,
            _ => next,
        };
        Ok(Position { next, lossy: Lossy(self.fault == Fault::PositionNotStored) })
    }
}

fn check(fault: Fault) -> Result<(), cofferdam_testkit::BrokenClause<SourceClause>> {
    let make = move || Numbers { fault, place: Arc::default(), replays: AtomicU64::new(0) };
    // Short only where it matters: a busy machine may keep any read waiting.
    let patience = if fault == Fault::Waits { Duration::from_millis(20) } else { Duration::from_secs(60) };
    SourceHarness::new(make).patience(patience).check()
}

#[test]
fn the_source_without_a_fault_keeps_the_contract() {
    check(Fault::None).unwrap();
}

#[test]
fn each_broken_clause_of_a_source_is_named() {
    let faults = [
        (Fault::SplitForgotten, SourceClause::Splits),
        (Fault::SplitNotStored, SourceClause::Splits),
        (Fault::Unbounded, SourceClause::Bounded),
        (Fault::Endless, SourceClause::Bounded),
        (Fault::GoesOnByItself, SourceClause::Beginning),
        (Fault::SharedByReaders, SourceClause::Beginning),
        (Fault::LastRecordAgain, SourceClause::Replay),
        (Fault::SeventhSkipped, SourceClause::Replay),
        (Fault::EndForgotten, SourceClause::Replay),
        (Fault::TimeMatters, SourceClause::Replay),
        (Fault::NoReplay, SourceClause::Replay),
        (Fault::ReplaysOnce, SourceClause::Replay),
        (Fault::AskingReads, SourceClause::Position),
        (Fault::PositionNotStored, SourceClause::Position),
        (Fault::StaleUntilRead, SourceClause::Position),
        (Fault::EndsTwice, SourceClause::Read),
        (Fault::ReadFails, SourceClause::Read),
        (Fault::Waits, SourceClause::Prompt),
    ];
    for (fault, clause) in faults {
        let broken = check(fault).expect_err(&format!("{fault:?} is not found"));
        assert_eq!(broken.clause, clause, "{fault:?}: {broken}");
    }
}

#[test]
fn what_is_broken_says_what_was_expected_what_was_seen_and_where() {
    let broken = check(Fault::SeventhSkipped).unwrap_err();
    let message = broken.to_string();
    assert!(message.contains("`open` with a position gives the same records"), "{message}");
    assert!(message.contains("split 0 of 2, opened at the position behind record 7"), "{message}");

    let broken = check(Fault::LastRecordAgain).unwrap_err();
    let expected = "split 0 of 2, opened at the position behind record 1: record 2 was 2 the first time; a source made anew gave Record(0)";
    assert_eq!(broken.detail, expected);

    let broken = check(Fault::ReadFails).unwrap_err();
    let expected = "split 0 of 2, opened with `None`, behind record 6: `read` failed: the disk is on fire";
    assert_eq!(broken.detail, expected);
}
