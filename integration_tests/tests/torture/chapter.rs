//! `docs/torture.md`: what it says the harness prints is what the harness prints.

use cofferdam_engine::topology::Topology;
use cofferdam_testkit::{Fault, Io, Point, Schedule, Torture};

const CHAPTER: &str = include_str!("../../../docs/torture.md");

/// Counts, published as they come and not with their checkpoint.
fn direct_counts(io: &Io) -> Topology {
    let topology = Topology::new("counts");
    topology
        .source("numbers", io.source((0..60u64).collect()))
        .key_by(|n| n % 3)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink_at_least_once("counts", io.output::<(u64, u64)>());
    topology
}

/// Sums of two sources: what they are on the way depends on which source is read first.
fn running_sums(io: &Io) -> Topology {
    let topology = Topology::new("sums");
    let small = topology.source("small", io.source((0..30u64).collect()));
    let large = topology.source("large", io.source((100..130u64).collect()));
    small.union(large).key_by(|n| n % 3).fold("sum", 0u64, |sum, n| *sum += n).sink("sums", io.sink::<(u64, u64)>());
    topology
}

/// All else in what it prints may change with the engine; the line to be pasted is what the chapter explains.
#[test]
fn the_failure_of_a_sink_that_writes_directly_is_told_as_the_chapter_has_it() {
    let report = Torture::new(direct_counts).every_fail_point().run().unwrap();
    let told = report.failures()[0].to_string();
    let pasted = told.lines().find(|line| line.contains(".schedule(")).unwrap();
    assert!(CHAPTER.contains(pasted), "{told}");
}

#[test]
fn the_line_that_the_chapter_pastes_fails() {
    let pasted = Schedule::order(0).at(Point::Trigger, 1, Fault::Error);
    assert!(CHAPTER.contains(&pasted.to_rust()));
    let report = Torture::new(direct_counts).records(1).schedule(pasted).run().unwrap();
    assert_eq!(report.failures().len(), 1);
    report.assert_at_least_once();
}

#[test]
fn dependence_on_order_is_told_as_the_chapter_has_it() {
    let report = Torture::new(running_sums).seeds(0..20).run().unwrap();
    let told = report.order_dependence().unwrap().to_string();
    assert!(CHAPTER.contains(&told), "{told}");
}

#[test]
fn the_chapter_lists_every_fault() {
    for fault in Fault::ALL {
        assert!(CHAPTER.contains(&format!("| `{fault}` |")), "{fault}");
    }
}
