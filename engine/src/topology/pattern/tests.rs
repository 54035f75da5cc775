//! Patterns on steps that are driven by hand: whatever order records come in, and whatever happens in between.

#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    operator::{Operator, Stateful, Step},
    topology::by_hand::{Event, Job, built, interruptions, keyed},
};

/// A log-in: its number, and whether it succeeded.
type Login = (u32, bool);

/// Of whom, the numbers of the log-ins, and when the first one was.
type Row = (u32, Vec<u32>, i64);

const TIME: i64 = 60;

fn guessed(parallelism: u32, is_overlapping: bool) -> Job<impl Operator<Out = Row, Time = Timestamp>> {
    let pattern = Pattern::begin("failed", |login: &Login| !login.1)
        .times(3)
        .next("succeeded", |login| login.1)
        .within(Duration::from_millis(TIME as u64));
    let pattern = if is_overlapping { pattern.overlapping() } else { pattern };
    let stream = keyed::<Login, Timestamp>().pattern("step", pattern, |found: Match<'_, u32, Login>| {
        let numbers = found.records().map(|login| login.0).collect();
        assert_eq!(found.all("failed").len() + found.all("succeeded").len(), 4);
        (*found.key(), numbers, found.began().0)
    });
    Job::new(stream, parallelism)
}

/// A loop over what is not late, sorted: a match is four in a row, of which the last succeeds. And how many are late.
fn oracle(events: &[Event<Login>]) -> (BTreeMap<u32, Vec<(Row, i64)>>, u64) {
    let (mut clock, mut late, mut seen) = (i64::MIN, 0, BTreeMap::<u32, Vec<(i64, Login)>>::new());
    for event in events {
        match event {
            Event::Mark(time) => clock = clock.max(*time),
            Event::Batch(records) => {
                for (user, time, login) in records {
                    if *time > clock {
                        seen.entry(*user).or_default().push((*time, *login));
                    } else {
                        late += 1;
                    }
                }
            }
        }
    }
    let mut rows = BTreeMap::<u32, Vec<_>>::new();
    for (user, mut logins) in seen {
        logins.sort_by_key(|(time, _)| *time);
        for four in logins.windows(4) {
            let is_match = four[3].1.1 && four[..3].iter().all(|login| !login.1.1) && four[3].0 - four[0].0 <= TIME;
            if is_match {
                let numbers = four.iter().map(|login| login.1.0).collect();
                rows.entry(user).or_default().push(((user, numbers, four[0].0), four[3].0));
            }
        }
    }
    (rows, late)
}

fn events() -> impl Strategy<Value = Vec<Event<Login>>> {
    let record = (0..4_u32, 0..400_i64, proptest::bool::weighted(0.3));
    let event = prop_oneof![
        2 => proptest::collection::vec(record, 1..40).prop_map(Some),
        1 => Just(None),
    ];
    proptest::collection::vec((event, 0..430_i64), 0..12).prop_map(|events| {
        let mut number = 0;
        let event = |(records, mark): (Option<Vec<(u32, i64, bool)>>, i64)| match records {
            None => Event::Mark(mark),
            Some(records) => {
                let login = |(user, time, succeeded)| {
                    number += 1;
                    (user, time, (number, succeeded))
                };
                Event::Batch(records.into_iter().map(login).collect())
            }
        };
        events.into_iter().map(event).chain([Event::Mark(i64::MAX)]).collect()
    })
}

fn by_key(rows: &[(Row, Timestamp)]) -> BTreeMap<u32, Vec<(Row, i64)>> {
    let mut by_key: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    rows.iter().for_each(|(row, time)| by_key.entry(row.0).or_default().push((row.clone(), time.0)));
    by_key
}

proptest! {
    #[test]
    fn each_match_is_found_once_whatever_is_interrupted(
        events in events(),
        interruptions in interruptions(),
        parallelism in 1..4_u32,
        slice in 1..20_u64,
        is_overlapping in any::<bool>(),
    ) {
        let mut job = guessed(parallelism, is_overlapping);
        job.slice = slice;
        let late = job.do_interrupted(&events, interruptions);
        prop_assert_eq!((by_key(&job.rows), late), oracle(&events));
    }
}

#[test]
fn the_order_in_which_records_come_is_not_that_in_which_they_are_looked_at() {
    let mut logins: Vec<(u32, i64, Login)> =
        vec![(1, 10, (0, false)), (1, 20, (1, false)), (1, 30, (2, false)), (1, 40, (3, true))];
    for _ in 0..logins.len() {
        logins.rotate_left(1);
        let mut job = guessed(2, false);
        job.do_all(&[Event::Batch(logins.clone()), Event::Mark(39)]);
        assert_eq!(job.rows, []);
        job.do_all(&[Event::<Login>::Mark(40)]);
        assert_eq!(job.rows, [((1, vec![0, 1, 2, 3], 10), Timestamp(40))], "at the time of the last");
    }
}

#[test]
fn a_record_behind_the_watermark_is_dropped_and_counted() {
    let mut job = guessed(1, false);
    job.do_all(&[
        Event::<Login>::Batch(vec![(1, 10, (0, false)), (1, 20, (1, false))]),
        Event::Mark(25),
        Event::Batch(vec![(1, 25, (2, false)), (1, 26, (3, false)), (1, 27, (4, true))]),
        Event::Mark(i64::MAX),
    ]);
    assert_eq!(job.rows, [((1, vec![0, 1, 3, 4], 10), Timestamp(27))]);
    assert_eq!(job.subtasks[0].take_late(), 1);
}

/// Entries of each state, by the blocks of a first checkpoint.
fn kept<const N: usize>(job: &mut Job<impl Operator>, states: [&str; N]) -> [u32; N] {
    assert!(job.snapshot());
    let (_, deltas) = &job.stored.deltas[0];
    states.map(|state| {
        let blocks = deltas.iter().filter(|delta| &*delta.address.state == state).flat_map(|delta| &delta.blocks);
        blocks.map(|block| block.entries).sum()
    })
}

#[test]
fn keys_that_fall_silent_keep_nothing_once_they_are_out_of_time() {
    for (time, expected) in [(9 + TIME, 50), (10 + TIME, 0)] {
        let mut job = guessed(1, false);
        job.do_all(&[Event::Batch((0..50).map(|user| (user, 10, (user, false))).collect()), Event::Mark(time)]);
        assert_eq!(kept(&mut job, ["begun"]), [expected], "at {time}");
    }
}

proptest! {
    #[test]
    fn timers_are_those_of_what_waits_and_of_the_first_match_begun(events in events(), is_overlapping in any::<bool>()) {
        let before_the_end = &events[..events.len() - 1];
        let mut job = guessed(1, is_overlapping);
        job.do_all(before_the_end);
        let [waiting, begun, timers] = kept(&mut job, ["waiting", "begun", "timers"]);
        prop_assert!(timers <= waiting + begun, "{timers} timers for {waiting} times and {begun} keys");

        let mut job = guessed(1, is_overlapping);
        job.do_all(before_the_end);
        job.do_all(&[Event::<Login>::Mark(400 + TIME)]);
        prop_assert_eq!(kept(&mut job, ["waiting", "begun", "timers"]), [0, 0, 0]);
    }
}

#[test]
fn a_record_waiting_for_the_moment_a_broken_match_would_have_been_out_of_time_is_looked_at() {
    let mut job = guessed(1, false);
    let logins = [(10, false), (20, true), (10 + TIME, false)];
    let logins = (0..).zip(logins).map(|(number, (time, succeeded))| (1, time, (number, succeeded)));
    job.do_all(&[Event::<Login>::Batch(logins.collect()), Event::Mark(10), Event::Mark(20), Event::Mark(10 + TIME)]);
    assert_eq!(kept(&mut job, ["waiting", "begun", "timers"]), [0, 1, 1]);
}

#[test]
fn what_is_wrong_with_a_pattern_is_a_fault_of_the_topology() {
    let pattern = Pattern::begin("a", |login: &Login| login.1).times(0).next("a", |login| !login.1);
    let stream = keyed::<Login, Timestamp>().pattern("step", pattern, |found| *found.key());
    let faults = stream.graph.lock().faults.clone();
    let texts: Vec<_> = faults.iter().map(|fault| fault.to_string()).collect();
    assert_eq!(texts.len(), 2);
    assert!(texts.iter().all(|text| text.starts_with("the pattern of 'step': ")), "{texts:?}");
}

#[test]
fn a_checkpoint_is_not_gone_on_with_by_another_pattern() {
    let mut job = guessed(1, false);
    job.mark_all(5);
    assert!(job.snapshot());
    let mut other = built(&guessed(1, true).stream, 0, 1);
    let error = other.open(&job.stored.context(0, 1)).unwrap_err().to_string();
    assert!(error.contains("'step'") && error.contains("within 60 overlapping"), "{error}");
}
