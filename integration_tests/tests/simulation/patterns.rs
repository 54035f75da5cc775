//! Patterns: each match is found once, by what records say of their time, whatever goes wrong and on however many subtasks.

use std::{collections::BTreeMap, time::Duration};

use cofferdam::connector::CollectSink;
use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    pattern::{Match, Pattern},
    topology::Topology,
};
use cofferdam_testkit::{Faults, Setup};

use super::{
    seeds::{all, finish, starts},
    time::{LATENESS, Readings, SPLITS, aligned, length, time, unaligned},
};

const WITHIN: i64 = 240;

/// A split and the time of one of its readings stand for a log-in.
type Login = (u64, i64);

/// A user, when the log-ins were, and when the row says that it is.
type Row = (u64, Vec<i64>, i64);

fn user(split: u64) -> u64 {
    split % 3
}

/// No two log-ins are at one time, whose order would be that in which they come.
fn when((split, time): &Login) -> i64 {
    time * SPLITS as i64 + *split as i64
}

/// Some succeed: by a hash of what they are.
fn succeeds((split, time): &Login) -> bool {
    (*time as u64 + split).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62 == 0
}

/// All log-ins of a user in order; a match is four in a row, of which only the last succeeds.
fn oracle() -> Vec<Row> {
    let mut logins = BTreeMap::<u64, Vec<Login>>::new();
    for split in 0..SPLITS {
        logins.entry(user(split)).or_default().extend((0..length(split)).map(|number| (split, time(split, number))));
    }
    let mut rows = Vec::new();
    for (user, mut logins) in logins {
        logins.sort_by_key(when);
        for four in logins.windows(4) {
            let succeeded: Vec<_> = four.iter().map(succeeds).collect();
            if succeeded == [false, false, false, true] && when(&four[3]) - when(&four[0]) <= WITHIN {
                rows.push((user, four.iter().map(when).collect(), when(&four[3])));
            }
        }
    }
    rows.sort_unstable();
    assert!(rows.len() > 5, "{rows:?}");
    rows
}

fn run(seed: u64, setup: Setup, faults: Faults, rescales: bool) -> Vec<Row> {
    let (sink, rows) = CollectSink::new();
    let starts = starts(seed, rescales);
    let topology = move || {
        let start = starts();
        let strategy = WatermarkStrategy::bounded(Duration::from_millis((LATENESS + 1) * SPLITS));
        let pattern = Pattern::begin("failed", |login| !succeeds(login))
            .times(3)
            .next("succeeded", succeeds)
            .within(Duration::from_millis(WITHIN as u64));
        let topology = Topology::new("patterns");
        topology
            .source("log-ins", Readings { is_bounded: false })
            .parallelism(1 + start % 3)
            .event_time("time", strategy, |login| Timestamp::from_millis(when(login)))
            .key_by(|(split, _)| user(*split))
            .parallelism(1 + start / 3 % 3)
            .pattern("guessed", pattern, |found: Match<'_, u64, Login>| {
                (*found.key(), found.records().map(when).collect::<Vec<_>>(), found.ended().as_millis())
            })
            .sink("rows", sink.clone());
        topology
    };
    finish(seed, setup, faults, topology, &rows)
}

#[test]
fn with_any_faults_each_match_is_found_once() {
    all(0..150, aligned, false, run, &oracle());
}

#[test]
fn with_barriers_that_overtake_too() {
    all(1_000..1_150, unaligned, false, run, &oracle());
}

#[test]
fn and_on_another_number_of_subtasks_after_each_death() {
    all(2_000..2_120, aligned, true, run, &oracle());
    all(3_000..3_120, unaligned, true, run, &oracle());
}
