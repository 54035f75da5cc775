//! Jobs of windows: those that records come too late for, and those of a query of Nexmark.

use std::{collections::BTreeMap, time::Duration};

use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    state::{Aggregate, Merge},
    topology::Topology,
    window::{Session, Sliding, Tumbling},
};

use super::sorted;
use crate::io::Io;

const fn millis(millis: i64) -> Duration {
    Duration::from_millis(millis.unsigned_abs())
}

/// Records come in groups, the last one of each far too late.
const GROUPS: u64 = 12;
const OF_GROUP: u64 = 9;
/// When the others come: some close a gap between two before them.
const STEPS: [i64; OF_GROUP as usize - 1] = [0, 20, 10, 30, 80, 100, 90, 110];
const GROUP: i64 = 160;
const LATENESS: i64 = 400;
const PANE: i64 = 50;
const GAP: i64 = 12;

/// A window's start, and the number of a record in it.
type Placed = (i64, u64);
/// A key, where a session begins, and how many records it has, and their sum.
type Counted = (u64, i64, (u64, u64));

fn is_late(number: u64) -> bool {
    number % OF_GROUP == OF_GROUP - 1
}

fn group(number: u64) -> u64 {
    number / OF_GROUP
}

fn time(number: u64) -> i64 {
    let begin = group(number) as i64 * GROUP;
    STEPS.get((number % OF_GROUP) as usize).map_or(begin - LATENESS, |step| begin + step)
}

fn pane(number: u64) -> i64 {
    time(number).div_euclid(PANE) * PANE
}

/// How many there are, and their sum.
#[derive(Clone)]
struct Sum;

impl Aggregate for Sum {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = (u64, u64);

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (count, sum): &mut (u64, u64), number: u64) {
        (*count, *sum) = (*count + 1, *sum + number);
    }

    fn get(&self, sum: &(u64, u64)) -> (u64, u64) {
        *sum
    }
}

impl Merge for Sum {
    fn merge(&self, (count, sum): &mut (u64, u64), other: (u64, u64)) {
        (*count, *sum) = (*count + other.0, *sum + other.1);
    }
}

/// Numbers in panes; those that are late go round them by a side output, and which these are nobody can say: but each number has its place once. And sessions that wait for
/// what is late.
pub(super) fn late_windows(io: &Io) -> Topology {
    let topology = Topology::new("late_windows");
    let strategy = WatermarkStrategy::bounded(millis(5));
    let numbers = topology
        .source("numbers", io.source((0..GROUPS * OF_GROUP).collect()))
        .event_time("time", strategy, |number| Timestamp::from_millis(time(*number)))
        .share();
    let late = topology.side_output::<u64>("late");
    numbers
        .stream()
        .key_by(|number| number % 5)
        .window(Tumbling::of(millis(PANE)))
        .late_to(&late)
        .fold("panes", Vec::new(), |numbers: &mut Vec<u64>, number| numbers.push(number))
        .flat_map(|row| {
            let start = row.window.start.as_millis();
            row.value.into_iter().map(move |number| (start, number))
        })
        .union(late.stream().map(|number| (pane(number), number)))
        .sink("placed", io.sink::<Placed>());
    numbers
        .stream()
        .filter(|number| !is_late(*number))
        .key_by(|number| group(*number))
        .window(Session::gap(millis(GAP)))
        .allowed_lateness(millis(40))
        .final_only()
        .aggregate("sessions", Sum)
        .map(|row| (row.key, row.window.start.as_millis(), row.value))
        .sink("session rows", io.sink::<Counted>());
    topology
}

/// By a loop over the numbers, and one over each group's times.
pub(super) fn late_windows_oracle() -> Vec<Vec<String>> {
    let numbers = 0..GROUPS * OF_GROUP;
    let placed = numbers.clone().map(|number| (time(number).div_euclid(PANE) * PANE, number));
    let mut groups = BTreeMap::<u64, Vec<(i64, u64)>>::new();
    for number in numbers.filter(|number| !is_late(*number)) {
        groups.entry(group(number)).or_default().push((time(number), number));
    }
    let mut sessions = Vec::<Counted>::new();
    for (group, mut timed) in groups {
        timed.sort_unstable();
        for session in timed.chunk_by(|one, next| next.0 - one.0 <= GAP) {
            let sum = session.iter().map(|(_, number)| number).sum();
            sessions.push((group, session[0].0, (session.len() as u64, sum)));
        }
    }
    vec![sorted::<Placed>(placed), sorted(sessions)]
}

const BIDS: u64 = 130;
const LENGTH: i64 = 500;
const EVERY: i64 = 100;

/// An auction, and when somebody bids.
type Bid = (u64, i64);
/// When a window ends, its most bids, and an auction that has as many.
type Hot = (i64, u64, u64);

fn bid(number: u64) -> Bid {
    let time = number * 20 + number * 7 % 5 * 12;
    (number * number / 7 % 5, time as i64)
}

/// The auctions with the most bids of late, every so often: query 5 of Nexmark.
pub(super) fn hot_items(io: &Io) -> Topology {
    let topology = Topology::new("hot_items");
    let strategy = WatermarkStrategy::bounded(millis(30));
    topology
        .source("all bids", io.source((0..BIDS).map(bid).collect()))
        .event_time("time", strategy, |(_, time)| Timestamp::from_millis(*time))
        .keyed(|(auction, _)| (auction, ()))
        .window(Sliding::of(millis(LENGTH)).every(millis(EVERY)))
        .count("bids")
        .map(|count| (count.key, count.value))
        // A count bears its window's last moment: of those that end together, and no others.
        .window_all(Tumbling::of(millis(EVERY)))
        .fold("most", (0, Vec::new()), |(most, auctions): &mut (u64, Vec<u64>), (auction, count)| {
            if count > *most {
                (*most, *auctions) = (count, Vec::new());
            }
            if count == *most {
                auctions.push(auction);
            }
        })
        .flat_map(|row| {
            let (end, (most, auctions)) = (row.window.end.as_millis(), row.value);
            auctions.into_iter().map(move |auction| (end, most, auction))
        })
        .sink("hot", io.sink::<Hot>());
    topology
}

/// Counts anew for each window.
pub(super) fn hot_items_oracle() -> Vec<Vec<String>> {
    let mut rows = Vec::<Hot>::new();
    for end in (1..).map(|nth| nth * EVERY).take_while(|end| *end <= bid(BIDS - 1).1 + LENGTH) {
        let mut counts = BTreeMap::<u64, u64>::new();
        for (auction, _) in (0..BIDS).map(bid).filter(|(_, time)| (end - LENGTH..end).contains(time)) {
            *counts.entry(auction).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        rows.extend(counts.iter().filter(|(_, count)| **count == most).map(|(auction, _)| (end, most, *auction)));
    }
    vec![sorted(rows)]
}
