//! A result that depends on the order in which channels are read.

use cofferdam_engine::topology::Topology;
use cofferdam_testkit::{Io, Torture};

/// Running sums of two sources: what they are on their way to the same total is chance.
fn running_sums(io: &Io) -> Topology {
    let topology = Topology::new("running sums");
    let first = topology.source("first", io.source((0..30u64).collect()));
    let second = topology.source("second", io.source((30..60u64).collect()));
    let first = first.map(|n| n + 1).name("plus one");
    first
        .union(second)
        .key_by(|n| n % 3)
        .fold("sum", 0u64, |sum, n| *sum += n)
        .key_by(|(key, _)| *key)
        .fold("again", 0u64, |total, (_, sum)| *total += sum)
        .sink("out", io.sink::<(u64, u64)>());
    topology
}

#[test]
fn the_step_that_depends_on_order_is_named() {
    let report = Torture::new(running_sums).seeds(0..5).run().unwrap();
    let order = report.order_dependence().unwrap();
    assert_eq!(order.steps, ["sum -> key_by-6"], "{order}");
    assert_eq!(order.outputs.iter().copied().collect::<Vec<_>>(), [0]);
}

#[test]
fn a_check_counts_also_where_only_a_later_order_shows_the_dependence() {
    let rows = |outcome: &cofferdam_testkit::Outcome| match outcome.outputs[0].len() {
        60 => Ok(()),
        rows => Err(format!("{rows} rows instead of 60")),
    };
    let report = Torture::new(running_sums).orders(1).seeds(1..20).check("a row for each record", rows).run().unwrap();
    assert!(report.order_dependence().is_some());
    report.assert_exactly_once();
}

#[test]
fn an_order_that_the_first_runs_did_not_try_is_not_blamed_on_faults() {
    let report = Torture::new(running_sums).orders(1).seeds(1..20).run().unwrap();
    assert_eq!(report.order_dependence().unwrap().steps, ["sum -> key_by-6"]);
    assert!(report.failures().is_empty(), "{}", report.failures()[0]);
}

#[test]
#[should_panic(expected = "an output or a state was compared with nothing: step 'sum -> key_by-6'")]
fn a_verdict_on_what_depends_on_order_is_refused() {
    Torture::new(running_sums).seeds(0..5).run().unwrap().assert_exactly_once();
}

#[test]
fn what_depends_on_order_can_be_judged_by_a_check() {
    let rows = |report: &cofferdam_testkit::Outcome| match report.outputs[0].len() {
        60 => Ok(()),
        rows => Err(format!("{rows} rows instead of 60")),
    };
    Torture::new(running_sums).seeds(0..20).check("a row for each record", rows).run().unwrap().assert_exactly_once();
}
