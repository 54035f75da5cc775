//! Timers at every fail point.

use std::time::Duration;

use cofferdam_engine::{Timestamp, WatermarkStrategy, state, topology::Topology};
use cofferdam_testkit::{
    Backend, Fault, Io, Point, Torture,
    matrix::{Example, Variant},
};

/// What comes within ten milliseconds is counted together, by a timer.
fn counts_of_ten(io: &Io) -> Topology {
    let topology = Topology::new("timers");
    topology
        .source("numbers", io.source((0..100u64).collect()))
        .event_time("time", WatermarkStrategy::bounded(Duration::from_millis(100)), |n| Timestamp(*n as i64))
        .key_by(|n| n / 10)
        .process_with_timers(
            "count",
            state::value::<u64>("count"),
            |_, cx| {
                let end = Timestamp((*cx.key() as i64 + 1) * 10);
                cx.states().update(|| 0, |count| *count += 1);
                cx.set_timer(end);
            },
            |_, cx| {
                let row = (*cx.key(), cx.states().get().copied());
                cx.states().clear();
                cx.emit(row);
            },
        )
        .sink("rows", io.sink_in_order_of(|(key, _): &(u64, Option<u64>)| *key));
    topology
}

#[test]
fn timers_fire_once_at_every_fail_point() {
    for backend in [Backend::Memory, Backend::Lmdb] {
        let report = Torture::new(counts_of_ten).backend(backend).every_fail_point().run().unwrap();
        report.assert_exactly_once();
    }
}

/// From sources that are aligned, and with timers by the clock, too; against a loop over a map.
#[test]
fn with_barriers_that_wait_or_overtake_and_from_a_savepoint_on_each_timer_fires_once() {
    for variant in Variant::timed().into_iter().filter(|variant| variant.example == Example::Timers) {
        let report = variant.torture().each_fault_once().seeds(0..10).run().unwrap();
        report.assert_exactly_once();
        for point in [Point::TimePassed, Point::TimeFired, Point::LimitHeard] {
            assert!(
                report.cells().contains_key(&(point, Fault::Error)),
                "{variant}: nothing failed at {}",
                point.name()
            );
        }
    }
}
