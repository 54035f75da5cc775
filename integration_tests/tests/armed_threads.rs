//! Every fault but the process's death at every fail point where it makes sense, in jobs on real threads that keep their state in LMDB.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod reaching;

use std::{collections::HashMap, fs, num::NonZeroUsize, path::Path, thread, time::Duration};

use cofferdam::prelude::*;
use cofferdam_testkit::{Armed, Fault, Point, Schedule, every_fault};
use reaching::{is_of_every_job, is_of_opening, reaching};

const RECORDS: u64 = 2000;
const KEYS: u64 = 7;
const TIMEOUT: Duration = Duration::from_millis(150);
/// Longer than a checkpoint may take.
const DELAY: Duration = Duration::from_millis(200);

/// Numbers, in two splits: about one a millisecond in each until everything that is to go wrong has gone wrong, so that no fault comes too late; and then
/// as fast as they are read.
struct Numbers {
    inner: Collection<u64>,
    armed: Armed,
    faults: usize,
}

struct Reader {
    inner: <Collection<u64> as Source>::Reader,
    armed: Armed,
    faults: usize,
    next: ProcessingTime,
}

impl Source for Numbers {
    type Record = u64;
    type Split = <Collection<u64> as Source>::Split;
    type Position = <Collection<u64> as Source>::Position;
    type Reader = Reader;

    fn is_bounded(&self) -> bool {
        true
    }

    fn splits(&self, parallelism: u32) -> Result<Vec<Self::Split>, BoxError> {
        self.inner.splits(parallelism)
    }

    fn open(&self, split: &Self::Split, position: Option<&Self::Position>) -> Result<Reader, BoxError> {
        let inner = self.inner.open(split, position)?;
        Ok(Reader { inner, armed: self.armed.clone(), faults: self.faults, next: ProcessingTime(0) })
    }
}

impl SplitReader for Reader {
    type Record = u64;
    type Position = <Collection<u64> as Source>::Position;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        if now < self.next {
            return Ok(Read::NotBefore(self.next));
        }
        if self.armed.done().len() < self.faults {
            self.next = now.after(Duration::from_millis(1));
        }
        self.inner.read(now)
    }

    fn position(&mut self) -> Result<Self::Position, BoxError> {
        self.inner.position()
    }
}

/// For each number how many of its key there have been, as lines in `out`.
fn topology(schedule: &Schedule, armed: &Armed, out: &Path) -> Topology {
    // The end of input comes by itself; whatever waits for it must not hold it up.
    let faults = schedule.injections.iter().filter(|injection| injection.point != Point::InputEnded).count();
    let numbers = Numbers { inner: Collection::new((0..RECORDS).collect()), armed: armed.clone(), faults };
    let topology = Topology::new("counts");
    topology
        .source("numbers", numbers)
        .key_by(|number| number % KEYS)
        .fold("count", 0u64, |count, _| *count += 1)
        .map(|(key, count)| format!("{key} {count}"))
        .sink("lines", FileSink::lines(out));
    topology
}

fn oracle() -> Vec<String> {
    let mut counts: HashMap<u64, u64> = HashMap::new();
    let mut lines = Vec::new();
    for number in 0..RECORDS {
        let count = counts.entry(number % KEYS).or_default();
        *count += 1;
        lines.push(format!("{} {count}", number % KEYS));
    }
    lines.sort();
    lines
}

fn published(out: &Path) -> Vec<String> {
    let files = fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let mut lines: Vec<_> = files
        .flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    lines.sort();
    lines
}

/// In a process's first attempt a sink that cannot have its place is refused. A host that knows better starts the job again.
fn is_refused_by_design(schedule: &Schedule) -> bool {
    let place = [Point::OwnerBefore, Point::OwnerAfter, Point::ClaimBefore, Point::ClaimAfter];
    schedule.injections.iter().any(|injection| place.contains(&injection.point))
}

/// Runs the job to its end.
fn run(schedule: &Schedule) {
    let temp = tempfile::tempdir().unwrap();
    let (state, out) = (temp.path().join("state"), temp.path().join("out"));
    let armed = schedule.arm(DELAY);
    let start = || {
        let job = Engine::builder()
            .parallelism(2)
            .workers(NonZeroUsize::MIN.saturating_add(1))
            .checkpoints(CheckpointConfig::every(Duration::from_millis(10)).timeout(TIMEOUT))
            .backend(Lmdb::at(&state))
            .restart(RestartStrategy::FixedDelay { attempts: 3, delay: Duration::from_millis(1) })
            .fail_points(armed.fail_points())
            .start_blocking(topology(schedule, &armed, &out))?;
        job.wait_blocking()
    };
    let end = start().or_else(|error| {
        assert!(error.kind() == ErrorKind::Refused && is_refused_by_design(schedule), "{schedule}: {error}");
        start()
    });
    assert_eq!(end.unwrap(), JobEnd::Finished, "{schedule}");
    let (mut done, mut planned) = (armed.done(), schedule.injections.clone());
    done.sort();
    planned.sort();
    assert_eq!(done, planned, "{schedule}: not all of it has happened");
    assert!(published(&out) == oracle(), "{schedule}: rows are lost, or came twice");
}

/// The fault at a point, at the first time there and at a later one: that of an attempt after a failure where the point is passed while an attempt is
/// opened. The first time that the store is called it is for the empty checkpoint 0.
fn first_and_later(point: Point, fault: Fault) -> [Schedule; 2] {
    let later = if is_of_opening(point) {
        Schedule::default().at(Point::CommitBefore, 2, Fault::Panic).at(point, in_an_attempt(point) + 1, fault)
    } else {
        reaching(point).at(point, 2, fault)
    };
    [reaching(point).at(point, 1, fault), later]
}

/// Jobs that run side by side: they wait more than they work.
const LANES: usize = 3;

fn at_every_point(fault: Fault) {
    let points = every_fault().into_iter().filter(|(_, known)| *known == fault).map(|(point, _)| point);
    let points = points.filter(|point| is_of_every_job(*point));
    let schedules: Vec<_> = points.flat_map(|point| first_and_later(point, fault)).collect();
    thread::scope(|scope| {
        for lane in 0..LANES {
            let schedules = schedules.iter().skip(lane).step_by(LANES);
            scope.spawn(move || schedules.for_each(run));
        }
    });
}

/// How often a point is passed while an attempt of this job is opened.
fn in_an_attempt(point: Point) -> u32 {
    match point {
        // Every subtask.
        Point::RestoreApplied => 4,
        // Those of the sink, and those of the source.
        Point::OpenBefore | Point::OpenAfter | Point::ReplayBegun => 2,
        _ => 1,
    }
}

#[test]
fn an_error_anywhere_loses_no_row_and_publishes_none_twice() {
    at_every_point(Fault::Error);
}

#[test]
fn a_panic_anywhere_loses_no_row_and_publishes_none_twice() {
    at_every_point(Fault::Panic);
}

#[test]
fn a_delay_anywhere_loses_no_row_and_publishes_none_twice() {
    at_every_point(Fault::Delay);
}

// Left out are the death of the process, which has suites of its own, and what only the simulation can do.
#[test]
fn a_lost_message_or_a_failing_disk_anywhere_loses_no_row_and_publishes_none_twice() {
    for fault in [Fault::Lose, Fault::Full, Fault::SyncFails, Fault::Tear] {
        at_every_point(fault);
    }
}

#[test]
fn a_fault_that_only_the_simulation_can_do_is_not_passed_over() {
    for fault in [Fault::ClockForward, Fault::ClockBack, Fault::Late] {
        let fail_points = Schedule::default().at(Point::TriggerHeard, 1, fault).arm(DELAY).fail_points();
        let error = fail_points.reach(Point::TriggerHeard, None, CheckpointId(1)).unwrap_err().to_string();
        assert_eq!(error, format!("only the simulation can do trigger.heard#1={fault}"));
    }
}
