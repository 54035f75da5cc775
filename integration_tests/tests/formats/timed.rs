//! A job in the midst of windows and timers: the clocks of its splits and of its key groups are in the record of its checkpoint.

use std::{collections::BTreeMap, fs, thread, time::Duration};

use super::{fixture, pack, unpacked, with_newest};
use cofferdam::{StoredCheckpoint, prelude::*};
use cofferdam_engine::{BoxError, ProcessingTime, Read, Source, SplitReader, savepoint::Savepoint, window::Sliding};

/// What was read when the savepoint was taken, and what there is.
const HELD: u64 = 200;
const ALL: u64 = 400;

/// Numbers in two splits, some of them or all.
struct Numbers {
    to: u64,
}

impl Source for Numbers {
    type Record = u64;
    type Split = u64;
    type Position = u64;
    type Reader = Reader;

    fn is_bounded(&self) -> bool {
        false
    }

    fn splits(&self, _: u32) -> Result<Vec<u64>, BoxError> {
        Ok(vec![0, 1])
    }

    fn open(&self, first: &u64, position: Option<&u64>) -> Result<Reader, BoxError> {
        Ok(Reader { next: position.copied().unwrap_or(*first), to: self.to, goes_on: position.is_some() })
    }
}

struct Reader {
    next: u64,
    to: u64,
    /// What the splits knew of time goes ahead.
    goes_on: bool,
}

impl SplitReader for Reader {
    type Record = u64;
    type Position = u64;

    fn read(&mut self, now: ProcessingTime) -> Result<Read<u64>, BoxError> {
        if std::mem::take(&mut self.goes_on) || (self.next >= self.to && self.to < ALL) {
            return Ok(Read::NotBefore(ProcessingTime(now.0 + 1_000_000)));
        }
        if self.next >= self.to {
            return Ok(Read::End);
        }
        self.next += 2;
        Ok(Read::Record(self.next - 2))
    }

    fn position(&mut self) -> Result<u64, BoxError> {
        Ok(self.next)
    }
}

/// Whether a number comes when its time is long past: of those behind the savepoint some do.
fn is_late(n: u64) -> bool {
    n >= HELD && n.is_multiple_of(4)
}

fn time_of(n: u64) -> i64 {
    match n as i64 {
        n if is_late(n as u64) => n % 100,
        n if n % 5 == 0 => 10 * n - 80,
        n => 10 * n,
    }
}

fn key_of(n: u64) -> u32 {
    (n % 3) as u32
}

/// What it is a row of, its key, when it begins, and how many records it has.
type Row = (String, u32, i64, u64);

const GAP: i64 = 25;

/// Windows of each kind, and timers. Behind the savepoint there is one step more: it knows of time what the splits say.
fn topology(numbers: Numbers, has_new: bool) -> Topology {
    let topology = Topology::new("timed");
    let ms = Duration::from_millis;
    let timed = topology
        .source("numbers", numbers)
        .event_time("time", WatermarkStrategy::bounded(ms(100)), |n| Timestamp::from_millis(time_of(*n)))
        .share();
    let keyed = || timed.stream().key_by(|n| key_of(*n));
    let row = |kind: &'static str| {
        move |row: Windowed<u32, u64>| -> Row { (kind.to_string(), row.key, row.window.start.0, row.value) }
    };
    let tumbling = keyed().window(Tumbling::of(ms(100))).count("tumbling").map(row("tumbling"));
    let sliding = keyed().window(Sliding::of(ms(200)).every(ms(100))).count("sliding").map(row("sliding"));
    let sessions = keyed().window(Session::gap(ms(GAP as u64))).count("sessions").map(row("session"));
    let timers = keyed().process_with_timers(
        "timers",
        state::value::<bool>("seen"),
        |_, cx| {
            if cx.states().get().is_none() {
                cx.states().set(true);
                cx.set_wall_timer(Duration::from_secs(86_400));
            }
            if cx.timestamp() > cx.event_time() {
                cx.set_timer(Timestamp(cx.timestamp().0.div_euclid(50) * 50 + 50));
            }
        },
        |timer, cx| {
            let (kind, time) = if timer.is_wall { ("wall", 0) } else { ("timer", timer.time.0) };
            let row: Row = (kind.to_string(), *cx.key(), time, 0);
            cx.emit(row);
        },
    );
    let mut rows = tumbling.union(sliding).union(sessions).union(timers);
    if has_new {
        rows = rows.union(keyed().window(Tumbling::of(ms(100))).count("new").map(row("new")));
    }
    let (sink, _) = CollectSink::new();
    rows.key_by(|row| row.0.clone())
        .fold("rows", Vec::new(), |all: &mut Vec<Row>, row| all.push(row))
        .sink("out", sink);
    topology
}

/// What there is a row of in the end, by a plain loop.
fn expected() -> Vec<Row> {
    let mut counts = BTreeMap::<(&str, u32, i64), u64>::new();
    let mut times = BTreeMap::<u32, Vec<i64>>::new();
    for n in (0..ALL).filter(|n| !is_late(*n)) {
        let (key, time) = (key_of(n), time_of(n));
        let hundred = time.div_euclid(100) * 100;
        let mut count = |kind, start| *counts.entry((kind, key, start)).or_default() += 1;
        [("tumbling", hundred), ("sliding", hundred), ("sliding", hundred - 100)]
            .into_iter()
            .for_each(|(kind, start)| count(kind, start));
        if n >= HELD {
            count("new", hundred);
        }
        counts.insert(("timer", key, time.div_euclid(50) * 50 + 50), 0);
        counts.insert(("wall", key, 0), 0);
        times.entry(key).or_default().push(time);
    }
    for (key, mut times) in times {
        times.sort_unstable();
        for session in times.chunk_by(|one, next| next - one <= GAP) {
            counts.insert(("session", key, session[0]), session.len() as u64);
        }
    }
    counts.into_iter().map(|((kind, key, start), count)| (kind.to_string(), key, start, count)).collect()
}

/// What there has been a row of.
fn rows(stored: &StoredCheckpoint) -> Vec<Row> {
    let of_kinds = stored.entries::<String, Vec<Row>>("rows", "value").unwrap().map(Result::unwrap);
    let mut rows: Vec<_> = of_kinds.flat_map(|(_, rows)| rows).collect();
    rows.sort();
    rows
}

#[test]
fn a_job_in_the_midst_of_windows_and_timers_goes_on_from_what_was_written() {
    let (_directory, place) = unpacked("timed.2");
    let memory = Memory::new();
    let engine = Engine::builder().parallelism(1).checkpoints(CheckpointConfig::every(Duration::from_secs(3_600)));
    let engine = engine.backend(memory.clone()).from_savepoint(place.join("file"));
    engine.start_blocking(topology(Numbers { to: ALL }, true)).unwrap().wait_blocking().unwrap();
    with_newest(&memory, |stored| assert_eq!(rows(stored), expected()));
}

#[test]
#[ignore = "writes a fixture: by hand, see `formats`"]
fn write_the_fixture() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    let engine = Engine::builder().parallelism(2).checkpoints(CheckpointConfig::every(Duration::from_millis(20)));
    let job = engine.start_blocking(topology(Numbers { to: HELD }, false)).unwrap();
    while job.status().records_read < HELD || job.status().last_checkpoint.is_none_or(|last| last.checkpoint.0 < 20) {
        thread::sleep(Duration::from_millis(10));
    }
    job.stop_with_savepoint_blocking(&file).unwrap();
    let rows = rows(&StoredCheckpoint::from(Savepoint::open(&file).unwrap()));
    assert_eq!(rows.iter().filter(|row| row.0 == "tumbling" && row.2 == 1_700).count(), 3, "{rows:?}");
    assert!(!fixture("timed.2").exists(), "it is there already: a format that was written never changes");
    fs::create_dir(fixture("timed.2")).unwrap();
    pack(&file, &fixture("timed.2").join("file"));
}
