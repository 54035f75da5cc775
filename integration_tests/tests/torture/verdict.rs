//! A verdict is about something, and can be had again from what was printed.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use cofferdam_engine::{checkpoint::config::CheckpointMode, topology::Topology};
use cofferdam_testkit::{Broken, Fault, Io, Point, Schedule, Torture, TortureError, reference};

/// Counts by key.
fn counts(io: &Io) -> Topology {
    let topology = Topology::new("counts");
    let numbers = topology.source("numbers", io.source((0..60u64).collect()));
    numbers.key_by(|n| n % 3).fold("count", 0u64, |count, _| *count += 1).sink("out", io.sink::<(u64, u64)>());
    topology
}

/// What was published last of two sources is the state, and chance; the rows are the keys alone.
fn last_of_two(io: &Io) -> Topology {
    let topology = Topology::new("last");
    let first = topology.source("first", io.source((0..30u64).collect()));
    let second = topology.source("second", io.source((30..60u64).collect()));
    let last = first.union(second).key_by(|n| n % 3).fold("last", 0u64, |last, n| *last = n);
    last.map(|(key, _)| key).sink("out", io.sink::<u64>());
    topology
}

#[test]
#[should_panic(expected = "the state of 'last'")]
fn a_state_that_depends_on_order_is_not_passed_over() {
    Torture::new(last_of_two).state::<u64, u64>("last").orders(8).seeds(0..20).run().unwrap().assert_exactly_once();
}

#[test]
fn a_state_of_a_step_that_there_is_not_is_refused() {
    let error = Torture::new(counts).state::<u64, u64>("cuont").seeds(0..1).run().unwrap_err();
    assert!(error.to_string().contains("'cuont' cannot be read: the topology has no step of this name"), "{error}");
}

#[test]
fn a_run_that_can_be_compared_with_nothing_is_refused() {
    let error = Torture::new(counts).records(0).seeds(0..1).run().unwrap_err();
    assert!(matches!(error, TortureError::NothingToCompare), "{error}");
    let elsewhere = |io: &Io| {
        let topology = Topology::new("elsewhere");
        let (sink, _) = cofferdam::connector::CollectSink::new();
        topology.source("numbers", io.source(vec![1u64])).sink("out", sink);
        topology
    };
    let error = Torture::new(elsewhere).seeds(0..1).run().unwrap_err();
    assert!(matches!(error, TortureError::NothingToCompare), "{error}");
}

#[test]
fn a_fault_that_did_not_strike_proves_nothing() {
    let late = Schedule::order(0).at(Point::Stash, 100_000, Fault::Kill);
    let report = Torture::new(reference).schedule(late).run().unwrap();
    assert!(matches!(report.failures()[0].broken[0], Broken::NeverStruck(_)), "{}", report.failures()[0]);
    for senseless in [(Point::Stash, 0, Fault::Kill), (Point::Trigger, 1, Fault::Tear)] {
        let schedule = Schedule::order(0).at(senseless.0, senseless.1, senseless.2);
        let error = Torture::new(reference).schedule(schedule).run().unwrap_err();
        assert!(matches!(error, TortureError::Senseless(_)), "{error}");
    }
}

#[test]
fn the_line_that_is_printed_has_the_settings_that_the_failure_needs() {
    // Its output is right whatever happens, its state is not: a number that no restart takes back.
    let topology = |io: &Io| {
        let topology = Topology::new("numbered");
        let mut given = 0u64;
        let numbers = topology.source("numbers", io.source((0..60u64).collect())).parallelism(1);
        let numbered = numbers.map(move |n| {
            given += 1;
            (n, given)
        });
        let newest = numbered.key_by(|(n, _)| n % 3).fold("newest", 0u64, |newest, (_, given)| *newest = given);
        newest.map(|(key, _)| key).sink("out", io.sink::<u64>());
        topology
    };
    let report = Torture::new(topology).parallelism(3).state::<u64, u64>("newest").every_fail_point().run().unwrap();
    let printed = report.failures()[0].to_string();
    assert!(printed.contains(".parallelism(3).state::<u64, u64>(\"newest\").records("), "{printed}");
    let shrunk = report.failures()[0].shrunk.clone().unwrap();
    let again = Torture::new(topology).parallelism(3).state::<u64, u64>("newest").records(shrunk.records.unwrap());
    assert_eq!(again.schedule(shrunk.schedule).run().unwrap().failures().len(), 1, "{printed}");

    let doubled = |io: &Io| {
        let topology = Topology::new("dropped");
        let given = Arc::new(AtomicU64::new(0));
        let numbers = topology.source("numbers", io.source((0..60u64).collect())).parallelism(1);
        numbers.filter(move |_| given.fetch_add(1, Ordering::Relaxed) < 30).sink("out", io.sink::<u64>());
        topology
    };
    let report = Torture::new(doubled).mode(CheckpointMode::AtLeastOnce).every_fail_point().run().unwrap();
    let printed = report.failures()[0].to_string();
    assert!(printed.contains(".mode(CheckpointMode::AtLeastOnce)"), "{printed}");
    assert!(printed.contains(".assert_at_least_once()"), "{printed}");
}

#[test]
fn a_check_that_does_not_hold_without_faults_is_told_before_anything_fails() {
    let sixty = |outcome: &cofferdam_testkit::Outcome| match outcome.outputs[0].len() {
        61 => Ok(()),
        rows => Err(format!("{rows} rows")),
    };
    let error = Torture::new(counts).check("sixty-one rows", sixty).seeds(0..5).run().unwrap_err();
    assert!(error.to_string().contains("sixty-one rows: 60 rows"), "{error}");
}

#[test]
fn a_step_that_always_fails_is_quoted() {
    let topology = |io: &Io| {
        let topology = Topology::new("failing");
        let numbers = topology.source("numbers", io.source((0..20u64).collect()));
        numbers.try_map(|n| if n == 7 { Err("seven is bad") } else { Ok(n) }).sink("out", io.sink());
        topology
    };
    let error = Torture::new(topology).orders(1).seeds(0..1).run().unwrap_err().to_string();
    let first = error.lines().next().unwrap_or_default();
    assert!(first.contains("seven is bad"), "{first}");
}

#[test]
fn what_outlives_a_run_is_told_apart_from_what_depends_on_order() {
    let given = Arc::new(AtomicU64::new(0));
    let topology = move |io: &Io| {
        let topology = Topology::new("counted outside");
        let given = given.clone();
        let numbers = topology.source("numbers", io.source((0..20u64).collect())).parallelism(1);
        numbers.map(move |n| (n, given.fetch_add(1, Ordering::Relaxed))).sink("out", io.sink());
        topology
    };
    let error = Torture::new(topology).seeds(0..5).run().unwrap_err();
    assert!(matches!(error, TortureError::NotDeterministic { .. }), "{error}");
}
