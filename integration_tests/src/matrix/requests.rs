//! A job that asks the outside, whose streams part.

use std::{collections::BTreeMap, future, time::Duration};

use cofferdam_engine::{
    AsyncConfig, Backoff, Timestamp, WatermarkStrategy,
    topology::{Part, Topology},
    window::Tumbling,
};

use super::sorted;
use crate::io::Io;

const NUMBERS: u64 = 90;
const WINDOW: u64 = 40;
const BETWEEN: u64 = 5;
const CAPACITY: usize = 3;

/// A key, a window's start, and what its numbers come to.
type Summed = (u64, u64, u64);

fn config(config: AsyncConfig) -> AsyncConfig {
    config.retries(u32::MAX, Backoff::constant(Duration::from_micros(50))).timeout(Duration::from_millis(3))
}

/// A service that is slow and fails: each seventh time that a subtask asks.
fn service() -> impl FnMut(u64) -> future::Ready<Result<u64, String>> + Clone + Send + 'static {
    let mut asked = 0u64;
    move |number| {
        asked += 1;
        future::ready(if asked % 7 == 6 { Err(format!("request {asked} is too much")) } else { Ok(number) })
    }
}

fn key(number: u64) -> u64 {
    number % 3
}

fn time(number: u64) -> u64 {
    1_000 + number * BETWEEN
}

fn window(number: u64) -> u64 {
    time(number) / WINDOW * WINDOW
}

/// Numbers that are asked about in their order; the even ones once more, in any order, and then summed up by window: none of them may come behind its watermark. Of the odd ones every
/// third goes aside.
pub(super) fn requests(io: &Io) -> Topology {
    let topology = Topology::new("requests");
    let strategy = WatermarkStrategy::bounded(Duration::ZERO);
    let [even, odd] = topology
        .source("numbers", io.source((0..NUMBERS).collect()))
        .event_time("time", strategy, |number| Timestamp::from_millis(time(*number) as i64))
        .map_async("in order", config(AsyncConfig::ordered(CAPACITY)), service())
        .split(|number| (number % 2) as usize);
    even.map_async("in any order", config(AsyncConfig::unordered(CAPACITY)), service())
        .keyed(|number| (key(number), number))
        .window(Tumbling::of(Duration::from_millis(WINDOW)))
        .fold("sums", 0, |sum: &mut u64, number| *sum += number)
        .map(|row| (row.key, row.window.start.as_millis() as u64, row.value))
        .sink("sum rows", io.sink::<Summed>());
    let (others, thirds) = odd.part("thirds", |number| match number % 3 {
        0 => Part::Side(number),
        _ => Part::Main(number),
    });
    others.sink("other rows", io.sink::<u64>());
    thirds.sink("third rows", io.sink::<u64>());
    topology
}

/// By a loop over a map.
pub(super) fn requests_oracle() -> Vec<Vec<String>> {
    let mut sums = BTreeMap::<(u64, u64), u64>::new();
    for number in (0..NUMBERS).filter(|number| number % 2 == 0) {
        *sums.entry((key(number), window(number))).or_default() += number;
    }
    let sums = sums.into_iter().map(|((key, window), sum)| (key, window, sum));
    let [thirds, others] =
        [true, false].map(|wanted| (0..NUMBERS).filter(move |number| number % 2 == 1 && (number % 3 == 0) == wanted));
    vec![sorted::<Summed>(sums), sorted(others), sorted(thirds)]
}
