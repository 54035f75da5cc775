//! A job that goes by the moments at which records come, and by the clock. Which windows there are is the run's; but each record is in one.

use std::time::Duration;

use cofferdam_engine::{
    Timestamp, WatermarkStrategy,
    topology::Topology,
    window::{Session, Trigger, Tumbling},
};

use super::sorted;
use crate::io::Io;

const NUMBERS: u64 = 90;
const KEYS: u64 = 4;
const MILLISECOND: Duration = Duration::from_millis(1);

/// Numbers in windows of ingestion time, in windows and in sessions of the clock, and in one window whose rows come when some have waited long enough.
pub(super) fn clocks(io: &Io) -> Topology {
    let topology = Topology::new("clocks");
    let push = |numbers: &mut Vec<u64>, number| numbers.push(number);
    let numbers = topology.source("numbers", io.source((0..NUMBERS).collect())).share();
    let arrived = numbers.stream().ingestion_time("arrival").keyed(|number| (number % KEYS, number));
    let arrived = arrived.window(Tumbling::of(MILLISECOND)).fold("arrived", Vec::new(), push);
    arrived.flat_map(|row| row.value).sink("arrived rows", io.sink::<u64>());

    let by_clock = || numbers.stream().processing_time().keyed(|number| (number % KEYS, number));
    let seen = by_clock().window(Tumbling::of(MILLISECOND)).fold("seen", Vec::new(), push);
    seen.flat_map(|row| row.value).sink("seen rows", io.sink::<u64>());
    let together = by_clock().window(Session::gap(MILLISECOND)).process("together", |_, _, numbers, out| {
        numbers.iter().for_each(|number| out.emit(**number));
    });
    together.sink("together rows", io.sink::<u64>());

    topology
        .source("others", io.source((0..NUMBERS).collect()))
        .event_time("time", WatermarkStrategy::bounded(MILLISECOND), |_| Timestamp::from_millis(0))
        .keyed(|number| (number % KEYS, number))
        .window(Tumbling::of(MILLISECOND))
        .trigger(Trigger::by_clock(MILLISECOND).purging())
        .fold("waited", Vec::new(), push)
        .flat_map(|row| row.value)
        .sink("waited rows", io.sink::<u64>());
    topology
}

/// All numbers, once for each way.
pub(super) fn clocks_oracle() -> Vec<Vec<String>> {
    vec![sorted(0..NUMBERS); 4]
}
