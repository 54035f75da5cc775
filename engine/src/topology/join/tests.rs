//! Joins, driven by hand and interrupted, against nested loops.

#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use crate::{
    operator::{Operator, Stateful, Step, either::Either, process::Collector},
    record::Record,
    state::{self, Ttl},
    time::{ByClock, Offset, Stamp, Timestamp},
    topology::{
        ConnectedStreams, Stream,
        by_hand::{Event, Interruption, Job, built, interruptions, kept, keyed},
        join::LateSides,
        window::{ConnectedWindows, Groups, Side},
    },
    window::{Session, Sliding, Tumbling, Window},
};

use Either::{Left, Right};

type Of<A, B> = Event<Either<A, B>>;

const END: i64 = i64::MAX;

fn connected<A: Record, B: Record, S: Stamp>() -> ConnectedStreams<u32, A, B, S> {
    ConnectedStreams { either: keyed(), right: Vec::new(), late: LateSides::default() }
}

fn millis(lower: i64, upper: i64) -> std::ops::RangeInclusive<Offset> {
    let offset = |of: i64| {
        let by = Duration::from_millis(of.unsigned_abs());
        if of < 0 { Offset::before(by) } else { Offset::after(by) }
    };
    offset(lower)..=offset(upper)
}

/// Batches of few keys and near times, and marks.
fn events<B: std::fmt::Debug + Clone>(right: impl Strategy<Value = B>) -> impl Strategy<Value = Vec<Of<u32, B>>> {
    let value = prop_oneof![any::<u32>().prop_map(Left), right.prop_map(Right)];
    let event = prop_oneof![
        2 => proptest::collection::vec((0..6_u32, 0..100_i64, value), 1..40).prop_map(Event::Batch),
        1 => (0..130_i64).prop_map(Event::Mark),
    ];
    proptest::collection::vec(event, 0..12).prop_map(|events| events.into_iter().chain([Event::Mark(END)]).collect())
}

/// The records that are not late, in the order in which they came; and how many are.
fn timely<V: Clone>(events: &[Event<V>]) -> (Vec<(u32, i64, V)>, u64) {
    let (mut records, mut late, mut clock) = (Vec::new(), 0, i64::MIN);
    for event in events {
        match event {
            Event::Mark(time) => clock = clock.max(*time),
            Event::Batch(batch) => {
                let (of_time, too_late): (Vec<_>, Vec<_>) = batch.iter().cloned().partition(|record| record.1 > clock);
                records.extend(of_time);
                late += too_late.len() as u64;
            }
        }
    }
    (records, late)
}

/// Both sides of them.
fn sides<A: Clone, B: Clone>(records: &[(u32, i64, Either<A, B>)]) -> (Vec<(u32, i64, A)>, Vec<(u32, i64, B)>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    for (key, time, value) in records {
        match value {
            Left(value) => left.push((*key, *time, value.clone())),
            Right(value) => right.push((*key, *time, value.clone())),
        }
    }
    (left, right)
}

type Pair = (u32, u32, u32);

fn pairs(parallelism: u32, lower: i64, upper: i64) -> Job<impl Operator<Out = Pair, Time = Timestamp>> {
    Job::new(
        connected().interval_join("step", millis(lower, upper), |key, a: &u32, b: &u32| (*key, *a, *b)),
        parallelism,
    )
}

fn near(events: &[Of<u32, u32>], lower: i64, upper: i64) -> Vec<(Pair, Timestamp)> {
    let (left, right) = sides(&timely(events).0);
    let mut rows = Vec::new();
    for (key, at, a) in &left {
        for (other, bt, b) in &right {
            if key == other && (lower..=upper).contains(&(bt - at)) {
                rows.push(((*key, *a, *b), Timestamp(*at.max(bt))));
            }
        }
    }
    rows.sort_unstable();
    rows
}

type Versioned = (u32, u32, Option<u32>);

fn versioned(parallelism: u32) -> Job<impl Operator<Out = Versioned, Time = Timestamp>> {
    let join = |key: &u32, a: u32, version: Option<&u32>| Some((*key, a, version.copied()));
    Job::new(connected().temporal_join("step", join), parallelism)
}

type Rows<R> = BTreeMap<u32, Vec<(R, Timestamp)>>;

/// The rows of each key in order of time, and how many keys have a version at last.
fn at_their_time(events: &[Of<u32, Option<u32>>]) -> (Rows<Versioned>, usize) {
    let (mut left, right) = sides(&timely(events).0);
    left.sort_by_key(|(_, time, _)| *time);
    let valid = |key: u32, at: i64| {
        let known = right.iter().filter(|(other, time, _)| *other == key && *time <= at);
        known.max_by_key(|(_, time, _)| *time).and_then(|(.., version)| *version)
    };
    let mut rows: Rows<Versioned> = BTreeMap::new();
    for (key, time, a) in left {
        rows.entry(key).or_default().push(((key, a, valid(key, time)), Timestamp(time)));
    }
    (rows, (0..6).filter(|key| valid(*key, END).is_some()).count())
}

fn by_key<R: Clone>(rows: &[(R, Timestamp)], key: impl Fn(&R) -> u32) -> Rows<R> {
    let mut by_key: Rows<R> = BTreeMap::new();
    rows.iter().for_each(|row| by_key.entry(key(&row.0)).or_default().push(row.clone()));
    by_key
}

/// The same events without the records that are late.
fn without_late<V: Clone>(events: Vec<Event<V>>) -> Vec<Event<V>> {
    let mut clock = i64::MIN;
    let keep = |event| match event {
        Event::Mark(time) => {
            clock = clock.max(time);
            Event::Mark(time)
        }
        Event::Batch(batch) => Event::Batch(batch.into_iter().filter(|record| record.1 > clock).collect()),
    };
    events.into_iter().map(keep).collect()
}

/// A key, the bounds of a window, and its records of either side as they came.
type Group = ((u32, i64, i64), Vec<u32>, Vec<u32>);

/// Groups the records: `windows` says of all times of a key which windows there are.
fn grouped(events: &[Of<u32, u32>], windows: impl Fn(&BTreeSet<i64>) -> Vec<(i64, i64)>) -> Vec<Group> {
    let (records, _) = timely(events);
    let mut groups = Vec::new();
    for key in 0..6 {
        let of_key = records.iter().filter(|record| record.0 == key);
        for (start, end) in windows(&of_key.clone().map(|record| record.1).collect()) {
            let within: Vec<_> = of_key.clone().filter(|record| (start..end).contains(&record.1)).cloned().collect();
            let (left, right) = sides(&within);
            if !within.is_empty() {
                let values = |side: Vec<(u32, i64, u32)>| side.into_iter().map(|record| record.2).collect();
                groups.push(((key, start, end), values(left), values(right)));
            }
        }
    }
    groups
}

fn co_group(key: &u32, window: Window, left: &[&u32], right: &[&u32], out: &mut Collector<'_, Group>) {
    let values = |side: &[&u32]| side.iter().map(|value| **value).collect();
    out.emit(((*key, window.start.0, window.end.0), values(left), values(right)));
}

/// What windows give that are interrupted; nothing of them is kept.
fn windowed<W: Groups<u32, Side<u32, u32>, Timestamp>>(
    windows: W,
    events: &[Of<u32, u32>],
    (interruptions, parallelism, slice): (Vec<Option<Interruption>>, u32, u64),
) -> Vec<Group> {
    let mut job = Job::new(connected().window(windows).co_group("step", co_group), parallelism);
    job.slice = slice;
    job.do_interrupted(events, interruptions);
    let rows = job.taken();
    assert!(rows.iter().all(|(((_, _, end), ..), time)| time.0 == end - 1));
    assert_eq!(kept(&mut job, &["windows", "records", "arrivals", "timers"]), [0, 0, 0, 0]);
    let mut groups: Vec<_> = rows.into_iter().map(|(group, _)| group).collect();
    groups.sort_unstable();
    groups
}

proptest! {
    #[test]
    fn an_interval_join_gives_each_pair_that_is_near_once_and_keeps_nothing_in_the_end(
        events in events(any::<u32>()),
        bounds in (-30..30_i64, 0..30_i64),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
        slice in 1..20_u64,
    ) {
        let (lower, upper) = (bounds.0, bounds.0 + bounds.1);
        let mut job = pairs(parallelism, lower, upper);
        job.slice = slice;
        prop_assert_eq!(job.do_interrupted(&events, interruptions), timely(&events).1);
        let mut rows = job.taken();
        rows.sort_unstable();
        prop_assert_eq!(rows, near(&events, lower, upper));
        prop_assert_eq!(kept(&mut job, &["left", "right", "timers"]), [0, 0, 0]);
    }

    #[test]
    fn an_interval_join_keeps_what_can_match_and_one_timer_a_key(
        events in events(any::<u32>()),
        bounds in (-30..30_i64, 0..30_i64),
    ) {
        let (lower, upper) = (bounds.0, bounds.0 + bounds.1);
        let (mut job, mut clock) = (pairs(1, lower, upper), i64::MIN);
        for (nth, event) in events.iter().enumerate() {
            job.do_all(std::slice::from_ref(event));
            if let Event::Mark(time) = event {
                clock = clock.max(*time);
            }
            let (left, right) = sides(&timely(&events[..=nth]).0);
            let left: Vec<_> = left.iter().filter(|(_, time, _)| time + upper > clock).map(|record| record.0).collect();
            let right: Vec<_> = right.iter().filter(|(_, time, _)| time - lower > clock).map(|record| record.0).collect();
            let keys: BTreeSet<_> = left.iter().chain(&right).collect();
            prop_assert_eq!(kept(&mut job, &["left", "right", "timers"]), [left.len(), right.len(), keys.len()]);
        }
    }

    #[test]
    fn a_temporal_join_finds_the_version_of_each_moment_and_keeps_the_last_ones(
        events in events(any::<Option<u32>>()),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
        slice in 1..20_u64,
    ) {
        let mut job = versioned(parallelism);
        job.slice = slice;
        prop_assert_eq!(job.do_interrupted(&events, interruptions), timely(&events).1);
        let (rows, last) = at_their_time(&events);
        prop_assert_eq!(by_key(&job.taken(), |row| row.0), rows);
        prop_assert_eq!(kept(&mut job, &["waiting", "versions", "timers"]), [0, last, 0]);
    }

    #[test]
    fn a_lookup_join_finds_what_came_last(
        events in events(any::<Option<u32>>()),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
    ) {
        let join = |key: &u32, a: u32, row: Option<&u32>| Some((*key, a, row.copied()));
        let mut job = Job::new(connected::<_, _, Timestamp>().lookup_join("step", state::value("table"), join), parallelism);
        job.do_interrupted(&events, interruptions);
        let (mut table, mut rows): (BTreeMap<u32, u32>, Rows<Versioned>) = Default::default();
        for (key, time, value) in events.iter().filter_map(|event| if let Event::Batch(batch) = event { Some(batch) } else { None }).flatten() {
            match value {
                Left(a) => rows.entry(*key).or_default().push(((*key, *a, table.get(key).copied()), Timestamp(*time))),
                Right(Some(row)) => drop(table.insert(*key, *row)),
                Right(None) => drop(table.remove(key)),
            }
        }
        prop_assert_eq!(by_key(&job.taken(), |row| row.0), rows);
        prop_assert_eq!(kept(&mut job, &["table"]), [table.len()]);
    }
}

/// Records for joins of numbers, and of numbers with versions.
fn batch(records: Vec<(u32, i64, Either<u32, u32>)>) -> Of<u32, u32> {
    Event::Batch(records)
}

fn versions(records: Vec<(u32, i64, Either<u32, Option<u32>>)>) -> Of<u32, Option<u32>> {
    Event::Batch(records)
}

proptest! {
    #[test]
    fn windows_of_two_streams_have_the_records_of_both_once(
        events in events(any::<u32>()),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
        slice in 1..20_u64,
    ) {
        let (events, how) = (without_late(events), (interruptions, parallelism, slice));
        let ms = Duration::from_millis;
        let every = |size: i64, slide: i64, offset: i64| {
            move |_: &BTreeSet<i64>| (-20..20).map(|nth| (offset + nth * slide, offset + nth * slide + size)).collect()
        };
        let tumbling = windowed(Tumbling::of(ms(30)).offset(ms(7)), &events, how.clone());
        prop_assert_eq!(tumbling, grouped(&events, every(30, 30, 7)));
        let sliding = windowed(Sliding::of(ms(50)).every(ms(20)), &events, how.clone());
        prop_assert_eq!(sliding, grouped(&events, every(50, 20, 0)));
        let sessions = windowed(Session::gap(ms(5)), &events, how);
        let runs = |times: &BTreeSet<i64>| {
            let times: Vec<_> = times.iter().copied().collect();
            let runs = times.chunk_by(|one, next| next - one <= 5);
            runs.map(|run| (run[0], run[run.len() - 1] + 5)).collect()
        };
        prop_assert_eq!(sessions, grouped(&events, runs));
    }

    #[test]
    fn joins_of_windows_are_nested_loops_over_their_groups(events in events(any::<u32>())) {
        type Row = (u32, Option<u32>, Option<u32>);
        fn rows(events: &[Of<u32, u32>], stream: Stream<impl Operator<Out = Row, Time = Timestamp>>) -> Vec<Row> {
            let mut job = Job::new(stream, 2);
            job.do_all(events);
            let mut rows: Vec<_> = job.taken().into_iter().map(|(row, _)| row).collect();
            rows.sort_unstable();
            rows
        }
        fn in_windows() -> ConnectedWindows<u32, u32, u32, Timestamp, Tumbling> {
            connected().window(Tumbling::of(Duration::from_millis(10)))
        }
        let events = without_late(events);
        let (mut pairs, mut only_left, mut only_right, mut met) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for ((key, ..), left, right) in grouped(&events, |_| (-20..20).map(|nth| (nth * 10, nth * 10 + 10)).collect()) {
            for a in &left {
                right.iter().for_each(|b| pairs.push((key, Some(*a), Some(*b))));
                if right.is_empty() { &mut only_left } else { &mut met }.push((key, Some(*a), None));
            }
            if left.is_empty() {
                right.iter().for_each(|b| only_right.push((key, None, Some(*b))));
            }
        }
        let sorted = |parts: &[&Vec<Row>]| {
            let mut rows: Vec<_> = parts.iter().copied().flatten().copied().collect();
            rows.sort_unstable();
            rows
        };
        let inner = in_windows().inner("step", |key, a, b| (*key, Some(*a), Some(*b)));
        prop_assert_eq!(rows(&events, inner), sorted(&[&pairs]));
        let left = in_windows().left("step", |key, a, b| (*key, Some(*a), b.copied()));
        prop_assert_eq!(rows(&events, left), sorted(&[&pairs, &only_left]));
        let full = in_windows().full("step", |key, a, b| (*key, a.copied(), b.copied()));
        prop_assert_eq!(rows(&events, full), sorted(&[&pairs, &only_left, &only_right]));
        prop_assert_eq!(rows(&events, in_windows().semi("step", |key, a| (*key, Some(*a), None))), sorted(&[&met]));
        prop_assert_eq!(rows(&events, in_windows().anti("step", |key, a| (*key, Some(*a), None))), sorted(&[&only_left]));
    }
}

/// What each window of a key gave, one after the other: the records of either side.
type Given = BTreeMap<(u32, i64, i64), Vec<(Vec<u32>, Vec<u32>)>>;

fn given(rows: impl IntoIterator<Item = (Group, Timestamp)>) -> Given {
    let mut given = Given::new();
    for ((window, left, right), time) in rows {
        assert_eq!(time.0, window.2 - 1);
        given.entry(window).or_default().push((left, right));
    }
    given
}

/// The windows `of` times, with all that had come for them at their end and with each record behind it, or once if `is_final`; and how many records were late for all of theirs.
fn kept_for_late(
    events: &[Of<u32, u32>],
    of: impl Fn(i64) -> Vec<(i64, i64)>,
    lateness: i64,
    is_final: bool,
) -> (Given, u64) {
    type Came = (i64, (u32, i64, Either<u32, u32>));
    let (mut windows, mut late, mut clock) = (BTreeMap::<(u32, i64, i64), Vec<Came>>::new(), 0, i64::MIN);
    for event in events {
        match event {
            Event::Mark(time) => clock = clock.max(*time),
            Event::Batch(batch) => {
                for record in batch {
                    let all = of(record.1);
                    let open: Vec<_> = all.iter().filter(|(_, end)| end - 1 + lateness > clock).collect();
                    late += u64::from(open.is_empty() && !all.is_empty());
                    for (start, end) in open {
                        windows.entry((record.0, *start, *end)).or_default().push((clock, *record));
                    }
                }
            }
        }
    }
    let rows = windows.into_iter().map(|(window, came)| {
        let timely = came.iter().filter(|(clock, _)| *clock < window.2 - 1).count().max(1);
        let lengths = if is_final { came.len()..=came.len() } else { timely..=came.len() };
        let records: Vec<_> = came.into_iter().map(|(_, record)| record).collect();
        let row = |length: usize| {
            let (left, right) = sides(&records[..length]);
            let values = |side: Vec<(u32, i64, u32)>| side.into_iter().map(|record| record.2).collect();
            (values(left), values(right))
        };
        (window, lengths.map(row).collect())
    });
    (rows.collect(), late)
}

proptest! {
    #[test]
    fn windows_of_two_streams_wait_for_late_records_as_long_as_they_are_allowed_to(
        events in events(any::<u32>()),
        interruptions in interruptions(),
        (parallelism, slice) in (1..4_u32, 1..20_u64),
        (size, slide, lateness) in (1..40_i64, 1..40_i64, 0..60_i64),
    ) {
        let ms = |of: i64| Duration::from_millis(of as u64);
        let states = ["windows", "records", "arrivals", "timers"];
        macro_rules! check {
            ($windows:expr, $size:expr, $slide:expr) => {
                let of = |time: i64| {
                    let all = (-100..200).map(|nth| (nth * $slide, nth * $slide + $size));
                    all.filter(|(start, end)| (*start..*end).contains(&time)).collect::<Vec<_>>()
                };
                let windows = || connected().window($windows).allowed_lateness(ms(lateness));
                let mut job = Job::new(windows().co_group("step", co_group), parallelism);
                job.slice = slice;
                let late = job.do_interrupted(&events, interruptions.clone());
                prop_assert_eq!((given(job.taken()), late), kept_for_late(&events, of, lateness, false));
                prop_assert_eq!(kept(&mut job, &states), [0, 0, 0, 0]);

                let mut job = Job::new(windows().final_only().co_group("step", co_group), parallelism);
                job.slice = slice;
                let late = job.do_interrupted(&events, interruptions.clone());
                let expected = kept_for_late(&events, of, lateness, true);
                prop_assert_eq!((given(job.taken()), late), expected.clone());
                prop_assert_eq!(kept(&mut job, &states), [0, 0, 0, 0]);

                let full = windows().final_only().full("step", |key, a, b| (*key, a.copied(), b.copied()));
                let mut job = Job::new(full, parallelism);
                job.slice = slice;
                job.do_interrupted(&events, interruptions.clone());
                let mut rows = Vec::new();
                for ((key, ..), groups) in expected.0 {
                    let or_none = |side: &Vec<u32>| match side.as_slice() {
                        [] => vec![None],
                        side => side.iter().copied().map(Some).collect(),
                    };
                    let (left, right) = (or_none(&groups[0].0), or_none(&groups[0].1));
                    rows.extend(left.iter().flat_map(|a| right.iter().map(move |b| (key, *a, *b))));
                }
                let mut joined: Vec<_> = job.taken().into_iter().map(|(row, _)| row).collect();
                joined.sort_unstable();
                rows.sort_unstable();
                prop_assert_eq!(joined, rows);
            };
        }
        check!(Tumbling::of(ms(size)), size, size);
        check!(Sliding::of(ms(size)).every(ms(slide)), size, slide);
    }
}

#[test]
fn sessions_of_two_streams_grow_together_by_a_late_record() {
    let windows = || connected::<u32, u32, Timestamp>().window(Session::gap(Duration::from_millis(5)));
    let lateness = Duration::from_millis(20);
    let events = [
        batch(vec![(1, 10, Left(1)), (1, 18, Right(2))]),
        // Both were complete.
        Event::Mark(24),
        batch(vec![(1, 14, Right(3))]),
        // It is kept up to 43.
        Event::Mark(42),
        batch(vec![(1, 23, Left(4))]),
        Event::Mark(50),
        batch(vec![(1, 24, Left(5))]),
        Event::Mark(END),
    ];
    let mut job = Job::new(windows().allowed_lateness(lateness).co_group("step", co_group), 1);
    job.do_all(&events);
    let rows: Vec<_> = job.taken().into_iter().map(|(group, _)| group).collect();
    let updates = [
        ((1, 10, 15), vec![1], vec![]),
        ((1, 18, 23), vec![], vec![2]),
        ((1, 10, 23), vec![1], vec![2, 3]),
        ((1, 10, 28), vec![1, 4], vec![2, 3]),
    ];
    assert_eq!(rows, updates);
    assert_eq!(job.subtasks[0].take_late(), 1);
    let mut job = Job::new(windows().allowed_lateness(lateness).final_only().co_group("step", co_group), 1);
    job.do_all(&events);
    let rows: Vec<_> = job.taken().into_iter().map(|(group, _)| group).collect();
    assert_eq!(rows, updates[3..]);
}

#[test]
fn lateness_that_makes_no_sense_is_a_fault_of_windows_of_two_streams_too() {
    let streams = connected::<u32, u32, ByClock>();
    let graph = streams.either.stream.graph.clone();
    let day = Tumbling::of(Duration::from_millis(10));
    let _ = streams.window(day).allowed_lateness(Duration::from_nanos(1_500_000)).co_group("step", co_group);
    let faults: Vec<_> = graph.lock().faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("'step'") && faults[0].contains("allowed lateness"), "{faults:?}");
    assert!(faults[1].contains("'step'") && faults[1].contains("by the clock nothing is late"), "{faults:?}");
}

#[test]
fn bounds_belong_to_the_interval_and_a_row_has_the_later_time() {
    let mut job = pairs(1, -2, 3);
    let right = (0..10).map(|time| (1, time, Right(time as u32)));
    job.do_all(&[batch([(1, 5, Left(100))].into_iter().chain(right).collect())]);
    let rows: Vec<_> = job.taken().into_iter().map(|((_, _, b), time)| (b, time.0)).collect();
    assert_eq!(rows, [(3, 5), (4, 5), (5, 5), (6, 6), (7, 7), (8, 8)]);
}

#[test]
fn what_can_match_nothing_that_is_still_to_come_is_joined_and_not_kept() {
    // A payment at least 10 before its order.
    let mut job = pairs(1, -20, -10);
    job.do_all(&[batch(vec![(1, 5, Right(1)), (1, 12, Right(2))]), Event::Mark(12)]);
    job.do_all(&[batch(vec![(1, 22, Left(7)), (1, 23, Left(8))])]);
    let rows: Vec<_> = job.taken().into_iter().map(|((_, a, b), _)| (a, b)).collect();
    assert_eq!(rows, [(7, 1), (7, 2), (8, 1), (8, 2)]);
    assert_eq!(kept(&mut job, &["left", "right", "timers"]), [1, 2, 1], "of 22 no partner can come");
}

#[test]
fn late_records_are_counted_and_join_nothing() {
    let mut job = pairs(1, -100, 100);
    job.do_all(&[batch(vec![(1, 50, Left(1)), (1, 50, Right(2))]), Event::Mark(50)]);
    assert_eq!((job.taken().len(), job.subtasks[0].take_late()), (1, 0));
    job.do_all(&[batch(vec![(1, 50, Left(3)), (1, 51, Left(4)), (1, 49, Right(5)), (2, 1, Right(6))])]);
    let rows: Vec<_> = job.taken().into_iter().map(|((_, a, b), _)| (a, b)).collect();
    assert_eq!((rows, job.subtasks[0].take_late(), job.subtasks[0].take_late()), (vec![(4, 2)], 3, 0));
    let mut job = versioned(1);
    job.do_all(&[
        Event::Mark(50),
        versions(vec![(1, 50, Left(3)), (1, 50, Right(Some(5))), (1, 51, Left(4))]),
        Event::Mark(51),
    ]);
    assert_eq!(job.taken(), [((1, 4, None), Timestamp(51))]);
    assert_eq!(job.subtasks[0].take_late(), 2);
}

#[test]
fn of_versions_that_time_has_passed_the_newest_is_kept_and_a_deletion_not() {
    let mut job = versioned(1);
    let known = [(1, 10, Some(1)), (1, 20, Some(2)), (1, 30, Some(3)), (2, 10, Some(4)), (2, 25, None)];
    job.do_all(&[versions(known.map(|(key, time, version)| (key, time, Right(version))).to_vec())]);
    let states = ["versions", "timers"];
    assert_eq!(kept(&mut job, &states), [5, 2]);
    for (time, left) in [(10, [5, 2]), (19, [5, 2]), (20, [4, 2]), (25, [2, 1]), (29, [2, 1]), (30, [1, 0])] {
        job.do_all(&[Event::<Either<u32, Option<u32>>>::Mark(time)]);
        assert_eq!(kept(&mut job, &states), left, "at {time}");
    }
    job.do_all(&[
        versions(vec![(1, 31, Left(7)), (2, 31, Left(8)), (1, 31, Right(None)), (1, 32, Left(9))]),
        Event::Mark(40),
    ]);
    let mut rows = job.taken();
    rows.sort_unstable();
    let row = |key, a, time| ((key, a, None), Timestamp(time));
    assert_eq!(rows, [row(1, 7, 31), row(1, 9, 32), row(2, 8, 31)]);
    assert_eq!(kept(&mut job, &states), [0, 0]);
}

#[test]
fn a_table_with_a_time_to_live_forgets_rows() {
    let table = state::value("table").ttl(Ttl::after(Duration::from_millis(10)));
    let join = |_: &u32, a: u32, row: Option<&u32>| row.map(|row| (a, *row));
    let mut job = Job::new(connected::<_, _, Timestamp>().lookup_join("step", table, join), 1);
    job.do_all(&[versions(vec![(1, 0, Left(1)), (1, 0, Right(Some(5))), (1, 0, Left(2))])]);
    job.clock.set(9);
    job.do_all(&[versions(vec![(1, 0, Left(3))])]);
    job.clock.set(10);
    job.do_all(&[versions(vec![(1, 0, Left(4))])]);
    let rows: Vec<_> = job.taken().into_iter().map(|(row, _)| row).collect();
    assert_eq!(rows, [(2, 5), (3, 5)]);
}

/// What is kept follows the interval, whatever came before.
#[test]
fn of_300_k_records_what_can_still_match_is_kept() {
    const RECORDS: u64 = 300_000;
    const KEYS: u64 = 30_000;
    let upper = 10_000;
    let mut job = pairs(2, 0, upper);
    job.slice = 100_000;
    let at = |number: u64| {
        // About a record a millisecond, out of order by less than 50.
        let (key, time) = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32, number + number * 7 % 50);
        let value = if number.is_multiple_of(2) { Left(number as u32) } else { Right(number as u32) };
        ((key % KEYS) as u32, time as i64, value)
    };
    for nth in 1..=RECORDS / 1_000 {
        let numbers = (nth - 1) * 1_000..nth * 1_000;
        let clock = numbers.end as i64 - 1;
        job.do_all(&[batch(numbers.map(at).collect()), Event::Mark(clock)]);
        if nth % 60 == 0 {
            let came: Vec<_> = (0..nth * 1_000).map(at).collect();
            let keys = |is_left: bool, after: i64| {
                let side = came.iter().filter(move |record| matches!(record.2, Left(_)) == is_left);
                side.filter(move |record| record.1 + after > clock).map(|record| record.0).collect::<Vec<_>>()
            };
            let (left, right) = (keys(true, upper), keys(false, 0));
            let due: BTreeSet<_> = left.iter().chain(&right).collect();
            assert_eq!(kept(&mut job, &["left", "right", "timers"]), [left.len(), right.len(), due.len()]);
            assert!(left.len() < 5_100 && right.len() < 50);
            // Read what was joined: it is checked elsewhere.
            job.taken();
        }
    }
}

#[test]
fn other_bounds_over_the_same_state_are_refused() {
    let mut job = pairs(1, -10, 10);
    job.do_all(&[batch(vec![(1, 5, Left(1))])]);
    assert!(job.snapshot());
    let opened = |lower, upper| {
        let join = |key: &u32, a: &u32, b: &u32| (*key, *a, *b);
        let stream = connected::<u32, u32, Timestamp>().interval_join("step", millis(lower, upper), join);
        built(&stream, 0, 1).open(&job.stored.context(0, 1)).map_err(|error| error.to_string())
    };
    assert_eq!(opened(-10, 10), Ok(()));
    for (lower, upper) in [(-10, 9), (-11, 10)] {
        let error = opened(lower, upper).unwrap_err();
        assert!(error.contains("from -10 ms to 10 ms") && error.contains("give it another name"), "{error}");
    }
}

#[test]
fn an_interval_that_nothing_is_within_is_a_fault() {
    let streams = connected::<u32, u32, Timestamp>();
    let graph = streams.either.stream.graph.clone();
    let _ = streams.interval_join("step", millis(5, -5), |_, a, b| (*a, *b));
    let faults: Vec<_> = graph.lock().faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].contains("'step'") && faults[0].contains("within 5 ms and -5 ms"), "{faults:?}");
}

#[test]
fn bounds_of_an_interval_that_are_not_whole_milliseconds_are_faults() {
    let streams = connected::<u32, u32, Timestamp>();
    let graph = streams.either.stream.graph.clone();
    let micros = |of| Offset::after(Duration::from_micros(of));
    let _ = streams.interval_join("step", -micros(1_500)..=micros(999), |_, a, b| (*a, *b));
    let faults: Vec<_> = graph.lock().faults.iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "join 'step': the first bound is -1ms 500us: it must be whole milliseconds",
            "join 'step': the second bound is 999us: it must be whole milliseconds",
        ]
    );
}

#[test]
fn an_interval_without_end_is_no_fault() {
    let streams = connected::<u32, u32, Timestamp>();
    let graph = streams.either.stream.graph.clone();
    let all = Offset::before(Duration::MAX)..=Offset::after(Duration::MAX);
    let _ = streams.interval_join("step", all, |_, a, b| (*a, *b));
    assert!(graph.lock().faults.is_empty());
}

#[test]
fn records_that_are_not_near_are_no_pair_at_the_ends_of_time_either() {
    let (first, last) = (i64::MIN + 1, i64::MAX - 1);
    for (lower, upper) in [(5, 10), (-10, -5)] {
        let stream = connected::<u32, u32, Timestamp>().interval_join("step", millis(lower, upper), |_, a, b| (*a, *b));
        let mut job = Job::new(stream, 1);
        let at = |time, value: Either<u32, u32>| (1, time, value);
        job.do_all(&[
            Event::Batch(vec![
                at(first, Left(0)),
                at(first, Right(0)),
                at(first + 1, Left(1)),
                at(first + 1, Right(1)),
            ]),
            Event::Mark(0),
            Event::Batch(vec![at(last, Left(2)), at(last, Right(2)), at(last - 1, Left(3)), at(last - 1, Right(3))]),
            Event::Mark(END),
        ]);
        assert_eq!(job.rows, []);
    }
}

#[test]
fn a_side_output_for_late_records_of_a_step_that_has_none_is_a_fault_that_says_so() {
    let streams = connected::<u32, Option<u32>, Timestamp>();
    let graph = streams.either.stream.graph.clone();
    let late = streams.either.side_output::<u32>("late");
    let none = streams.either.side_output::<Option<u32>>("none");
    let table = state::value("table");
    let streams = streams.late_left_to(&late).late_right_to(&none);
    let _ = streams.lookup_join("step", table, |_, a, b| Some((a, b.copied())));
    let graph = graph.lock();
    let faults: Vec<_> = graph.faults.iter().map(ToString::to_string).collect();
    assert_eq!(faults.len(), 2, "{faults:?}");
    assert!(faults[0].contains("'step'") && faults[0].contains("leave `late_left_to` out"), "{faults:?}");
    assert!(faults[1].contains("'step'") && faults[1].contains("leave `late_right_to` out"), "{faults:?}");
    assert!(graph.sides.iter().all(|side| side.bound_to.len() == 1), "nothing else is said of them");
}
