//! A job of windows whose rows come when so many records have, or when a trigger says so.

use std::{cmp::Reverse, time::Duration};

use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    topology::Topology,
    window::{Act, Count, Global, Trigger, TriggerContext, Tumbling, WindowTrigger},
};

use super::sorted;
use crate::io::Io;

const NUMBERS: u64 = 120;
const KEYS: u64 = 3;
const BETWEEN: i64 = 7;
const WINDOW: i64 = 160;
const SIX: u64 = 6;
const LAST: (u64, u64) = (5, 3);
const OF_ALL: u64 = 7;
const BEST: usize = 2;
/// A window has a row whenever its numbers come to so much.
const FULL: u64 = 150;

/// A key, and some numbers of it.
type Numbers = (u64, Vec<u64>);
/// A key, where a window begins, and some numbers in it.
type InWindow = (u64, i64, Vec<u64>);

fn key(number: u64) -> u64 {
    number % KEYS
}

/// Of those of a key, now and then two come the other way round.
fn time(number: u64) -> i64 {
    1_000 + number as i64 * BETWEEN - number as i64 * 5 % 4 * 2 * BETWEEN
}

fn window(number: u64) -> i64 {
    time(number).div_euclid(WINDOW) * WINDOW
}

/// A height without any order.
fn height(number: u64) -> u64 {
    number * 29 % 37
}

/// A row whenever the numbers come to [`FULL`], and one of what is left at the end.
#[derive(Clone)]
struct Full;

impl WindowTrigger<u64> for Full {
    type State = u64;

    fn on_record(&self, number: &u64, _time: Timestamp, sum: &mut u64, cx: &mut TriggerContext<'_>) -> Act {
        cx.wake_at(cx.complete_at());
        *sum += number;
        if *sum < FULL {
            return Act::Go;
        }
        *sum = 0;
        Act::FireAndPurge
    }

    fn on_event_time(&self, _time: Timestamp, _sum: &mut u64, _cx: &mut TriggerContext<'_>) -> Act {
        Act::FireAndPurge
    }

    fn on_merge(&self, into: &mut u64, other: u64) {
        *into += other;
    }
}

/// Windows of six numbers and of the last five, of all time, the best of each window, what a trigger of one's own makes of them; and parts of windows that come when time has gone on,
/// summed up.
pub(super) fn triggers(io: &Io) -> Topology {
    let topology = Topology::new("triggers");
    let millis = |millis: i64| Duration::from_millis(millis.unsigned_abs());
    // In one subtask till they are dealt out by key: those of a key come in their order.
    let numbers = topology
        .source("numbers", io.source((0..NUMBERS).collect()))
        .parallelism(1)
        .event_time("time", WatermarkStrategy::bounded(millis(8 * BETWEEN)), |number| {
            Timestamp::from_millis(time(*number))
        })
        .share();
    let keyed = || numbers.stream().parallelism(1).keyed(|number| (key(number), number));
    let push = |numbers: &mut Vec<u64>, number| numbers.push(number);
    let windows = || keyed().window(Tumbling::of(millis(WINDOW)));

    let sixes = keyed().window(Count::of(SIX)).process("sixes", |key, _, numbers, out| {
        out.emit((*key, numbers.iter().map(|number| **number).collect()));
    });
    let last = keyed().window(Count::sliding(LAST.0, LAST.1)).sum("last", |number| *number);
    let last = last.map(|row| (row.key, vec![row.value]));
    let of_all = keyed().window(Global).trigger(Trigger::count(OF_ALL).or_at_end().purging());
    let of_all = of_all.fold("of all", Vec::new(), push).map(|row| (row.key, row.value));
    sixes.union(last).union(of_all).sink("by number", io.sink::<Numbers>());

    let best = windows().top_n("best", BEST, |number| (height(*number), *number));
    let full = windows().trigger(Trigger::own(Full)).fold("full", Vec::new(), push);
    let in_window = best.union(full).map(|row| (row.key, row.window.start.as_millis(), row.value));
    in_window.sink("in windows", io.sink::<InWindow>());

    windows()
        .trigger(Trigger::continuous(millis(20)).purging())
        .count("parts")
        .key_by(|part| part.key)
        .window(Global)
        .sum("sums", |part| part.value)
        .map(|row| (row.key, row.value))
        .sink("sum rows", io.sink::<(u64, u64)>());
    topology
}

/// By loops over the numbers of each key.
pub(super) fn triggers_oracle() -> Vec<Vec<String>> {
    let (mut by_number, mut in_window, mut sums) = (Vec::<Numbers>::new(), Vec::<InWindow>::new(), Vec::new());
    for key in 0..KEYS {
        let numbers: Vec<_> = (0..NUMBERS).filter(|number| self::key(*number) == key).collect();
        by_number.extend(numbers.chunks_exact(SIX as usize).map(|six| (key, six.to_vec())));
        for end in (1..=numbers.len()).filter(|end| end.is_multiple_of(LAST.1 as usize)) {
            let last = &numbers[end.saturating_sub(LAST.0 as usize)..end];
            by_number.push((key, vec![last.iter().sum()]));
        }
        by_number.extend(numbers.chunks(OF_ALL as usize).map(|part| (key, part.to_vec())));
        let mut starts: Vec<_> = numbers.iter().map(|number| window(*number)).collect();
        starts.sort_unstable();
        starts.dedup();
        for start in starts {
            let inside: Vec<_> = numbers.iter().copied().filter(|number| window(*number) == start).collect();
            let mut best = inside.clone();
            best.sort_by_key(|number| Reverse((height(*number), *number)));
            best.truncate(BEST);
            in_window.push((key, start, best));
            let mut sum = 0;
            let full = inside.split_inclusive(|number| {
                sum = if sum >= FULL { *number } else { sum + number };
                sum >= FULL
            });
            in_window.extend(full.map(|part| (key, start, part.to_vec())));
        }
        sums.push((key, numbers.len() as u64));
    }
    vec![sorted(by_number), sorted(in_window), sorted(sums)]
}
