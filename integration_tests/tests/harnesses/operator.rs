//! What goes into steps and what comes out, against a plain loop.

use std::time::Duration;

use cofferdam_engine::{CheckpointId, ErrorKind};
use cofferdam_testkit::{Emitted, OperatorHarness, Shape};

fn barrier(number: u64) -> Emitted<u64> {
    Emitted::Barrier(CheckpointId(number))
}

fn doubled(shape: Shape) -> OperatorHarness<u64, u64> {
    OperatorHarness::with_shape(shape, |numbers| numbers.map(|n| n * 2)).unwrap()
}

#[test]
fn a_barrier_leaves_between_the_records_that_came_before_it_and_those_behind() {
    for parallelism in 1..4 {
        let mut harness = doubled(Shape { parallelism, ..Shape::default() });
        harness.push(1).unwrap();
        harness.push(2).unwrap();
        assert_eq!(harness.barrier().unwrap(), CheckpointId(1));
        harness.push(3).unwrap();
        harness.barrier().unwrap();
        harness.end().unwrap();
        harness.barrier().unwrap();
        let expected = [
            Emitted::Record(2),
            Emitted::Record(4),
            barrier(1),
            Emitted::Record(6),
            barrier(2),
            Emitted::End,
            barrier(3),
        ];
        assert_eq!(harness.take_output(), expected, "parallelism {parallelism}");
    }
}

#[test]
fn records_behind_a_barrier_wait_until_it_has_come_on_every_input() {
    for parallelism in 1..4 {
        let mut harness = doubled(Shape { inputs: 2, parallelism, ..Shape::default() });
        harness.barrier_to(0).unwrap();
        harness.push_to(0, vec![1]).unwrap();
        harness.push_to(1, vec![2]).unwrap();
        // In turn over the subtasks, so that one of each number meets a channel that waits.
        harness.push_to(0, vec![3]).unwrap();
        assert_eq!(harness.take_output(), [Emitted::Record(4)], "parallelism {parallelism}");
        harness.barrier_to(1).unwrap();
        let mut output = harness.take_output();
        assert_eq!(output.remove(0), barrier(1));
        output.sort_by_key(|output| if let Emitted::Record(record) = output { *record } else { 0 });
        assert_eq!(output, [Emitted::Record(2), Emitted::Record(6)], "parallelism {parallelism}");
    }
}

#[test]
fn a_barrier_on_every_input_brings_the_late_ones_up() {
    let mut harness = doubled(Shape { inputs: 3, ..Shape::default() });
    harness.barrier_to(1).unwrap();
    harness.barrier_to(1).unwrap();
    harness.barrier_to(2).unwrap();
    assert_eq!(harness.barrier().unwrap(), CheckpointId(3));
    assert_eq!(harness.take_output(), [barrier(1), barrier(2), barrier(3)]);
}

#[test]
fn the_output_ends_when_every_input_has() {
    let mut harness = OperatorHarness::<u64, _>::new(|numbers| numbers.flat_map(|n| 0..n).rebalance()).unwrap();
    harness.push_to(0, vec![3, 0, 2]).unwrap();
    harness.advance(Duration::from_secs(1)).unwrap();
    harness.end().unwrap();
    let records = [0, 1, 2, 0, 1].map(Emitted::Record);
    assert_eq!(harness.take_output(), [&records[..], &[Emitted::End]].concat());
    let error = harness.push(1).unwrap_err();
    assert!(error.to_string().contains("input 0 has ended"), "{error}");
}

#[test]
fn a_step_that_fails_has_failed_for_good_and_its_state_of_before_can_be_restored() {
    let mut harness = OperatorHarness::<u64, _>::new(|numbers| {
        numbers
            .try_map(|n| if n == 13 { Err("thirteen") } else { Ok(n) })
            .key_by(|n| n % 2)
            .fold("sum", 0, |sum, n| *sum += n)
    })
    .unwrap();
    harness.push(3).unwrap();
    let snapshot = harness.snapshot().unwrap();
    let error = harness.push(13).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Operator);
    assert!(error.to_string().contains("try_map") && error.to_string().contains("thirteen"), "{error}");
    assert_eq!(harness.push(5).unwrap_err().to_string(), error.to_string());
    assert!(harness.snapshot().is_err());

    let mut restored = harness.restore(&snapshot, 2).unwrap();
    restored.push(5).unwrap();
    assert_eq!(restored.take_records(), [(1, 8)]);
}

#[test]
fn a_panic_is_an_error_that_names_the_step() {
    let mut harness = OperatorHarness::<u64, _>::new(|numbers| numbers.map(|n| 10 / n).name("tenths")).unwrap();
    let error = harness.push(0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Panic);
    assert!(error.to_string().contains("tenths"), "{error}");
}

#[test]
fn steps_that_cannot_run_are_refused() {
    let two = |numbers: cofferdam_testkit::Stream<cofferdam_testkit::Input<u64>>| {
        numbers.key_by(|n| *n).fold("sum", 0, |sum, n| *sum += n).key_by(|(n, _)| *n).fold("sum", 0, |n, _| *n += 1)
    };
    let error = OperatorHarness::new(two).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidTopology);
    assert!(error.to_string().contains("'sum'"), "{error}");

    let (sink, _rows) = cofferdam::connector::CollectSink::<u64>::new();
    let with_a_sink = OperatorHarness::<u64, _>::new(move |numbers| {
        let shared = numbers.share();
        shared.stream().sink("rows", sink.clone());
        shared.stream()
    });
    assert!(with_a_sink.err().unwrap().to_string().contains("sink of their own"));
}
