//! A record that always fails, while other things fail too: it ends in the dead letters once, and everything else comes out as ever.

use cofferdam_engine::{BoxError, Diverted, topology::Topology};
use cofferdam_testkit::{Fault, Io, Outcome, Point, Schedule, Torture};

const RECORDS: u64 = 60;

/// Restarts that each poison record is worth.
const RESTARTS: u32 = 2;

fn is_poison(n: &u64) -> bool {
    [17, 18, 41].contains(n)
}

fn fragile(n: &u64) -> Result<u64, BoxError> {
    assert!(*n != 41, "unlucky {n}");
    if is_poison(n) { Err("unlucky".into()) } else { Ok(*n) }
}

/// Counts per key of what is no poison; dead letters of what is, from the chain of a source.
fn at_the_source(io: &Io) -> Topology {
    let topology = Topology::new("diverting");
    let numbers = topology.source("numbers", io.source((0..RECORDS).collect()));
    let mapped = numbers.try_map_or_divert(RESTARTS, fragile).share();
    mapped
        .stream()
        .flat_map(Result::ok)
        .key_by(|n| n % 3)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", io.sink_in_order_of(|(key, _): &(u64, u64)| *key));
    mapped.stream().flat_map(Result::err).sink("dead letters", io.sink::<Diverted<u64>>());
    topology
}

/// The same, the step behind an exchange and keyed state.
fn behind_an_exchange(io: &Io) -> Topology {
    let topology = Topology::new("diverting");
    let numbers = topology.source("numbers", io.source((0..RECORDS).collect()));
    let counted = numbers.key_by(|n| *n).fold("seen", 0u64, |count, _| *count += 1);
    let mapped = counted.map(|(n, _)| n).try_map_or_divert(RESTARTS, fragile).share();
    mapped
        .stream()
        .flat_map(Result::ok)
        .key_by(|n| n % 3)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", io.sink_in_order_of(|(key, _): &(u64, u64)| *key));
    mapped.stream().flat_map(Result::err).sink("dead letters", io.sink::<Diverted<u64>>());
    topology
}

/// What a plain loop makes of the numbers.
fn as_a_loop_has_it(outcome: &Outcome) -> Result<(), String> {
    let mut counts = [0u64; 3];
    let (mut rows, mut dead) = (Vec::new(), Vec::new());
    for n in 0..RECORDS {
        if is_poison(&n) {
            let error = if n == 41 { "panicked: unlucky 41" } else { "unlucky" }.to_string();
            dead.push(format!("{:?}", Diverted { record: n, error, failures: RESTARTS + 1 }));
        } else {
            let key = n as usize % 3;
            counts[key] += 1;
            rows.push(format!("{:?}", (n % 3, counts[key])));
        }
    }
    for (output, mut expected) in outcome.outputs.iter().zip([rows, dead]) {
        let mut seen: Vec<_> = output.iter().map(|row| row.text.clone()).collect();
        seen.sort();
        expected.sort();
        if seen != expected {
            return Err(format!("published {seen:?}\nexpected {expected:?}"));
        }
    }
    Ok(())
}

fn torture(topology: fn(&Io) -> Topology) -> Torture {
    Torture::new(topology).check("as a loop has it", as_a_loop_has_it).state::<u64, u64>("count")
}

#[test]
fn diverting_is_exactly_once_at_every_fail_point() {
    torture(at_the_source).every_fail_point().run().unwrap().assert_exactly_once();
}

#[test]
fn diverting_is_exactly_once_under_drawn_schedules_at_a_source_and_behind_an_exchange() {
    for topology in [at_the_source, behind_an_exchange] {
        torture(topology).seeds(0..100).run().unwrap().assert_exactly_once();
        torture(topology).parallelism(1).seeds(100..150).run().unwrap().assert_exactly_once();
    }
}

#[test]
fn a_process_that_dies_around_the_diverting_neither_loses_nor_doubles_the_dead_letter() {
    // The counts die with it: the record fails as often again, and is diverted then.
    let mut torture = torture(at_the_source);
    for order in 0..10 {
        for (point, time) in
            [(Point::CommitDurable, 1), (Point::CommitDurable, 3), (Point::Frozen, 4), (Point::Restart, 6)]
        {
            torture = torture.schedule(Schedule::order(order).at(point, time, Fault::Kill));
        }
    }
    torture.run().unwrap().assert_exactly_once();
}
