//! Side outputs, parts and splits of steps by themselves: what each stream gets, across snapshots and other numbers of subtasks.

use std::collections::BTreeMap;

use cofferdam_engine::{
    Error, Timestamp,
    operator::{Input, Operator},
    state,
    topology::{Part, Stream},
};
use cofferdam_testkit::{Emitted, OperatorHarness, Shape};

/// What came out, and of which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
enum Row {
    Main(u64),
    Side(u64),
    /// A timer's: for which key it was set, and for when.
    Timer(u64, i64),
}

/// Numbers below 10 behind their key go aside, the others on; each sets a timer at the next ten, which goes aside.
fn small_aside(numbers: Stream<Input<u64, Timestamp>>) -> Stream<impl Operator<Out = Row, Time = Timestamp> + use<>> {
    let small = numbers.side_output::<Row>("small");
    let (tag, of_timer) = (small.tag(), small.tag());
    let main = numbers
        .key_by(|n| n / 100)
        .process_with_timers(
            "sizes",
            state::value::<u64>("seen"),
            move |n, cx| {
                let seen = cx.states().update(
                    || 0,
                    |seen| {
                        *seen += 1;
                        *seen
                    },
                );
                let time = cx.timestamp().0;
                cx.set_timer(Timestamp(time / 10 * 10 + 10));
                match n % 100 {
                    0..10 => cx.emit_to(&tag, Row::Side(n)),
                    _ => cx.emit(Row::Main(1_000 * seen + n)),
                }
            },
            move |timer, cx| {
                let row = Row::Timer(*cx.key(), timer.time.0);
                cx.emit_to(&of_timer, row);
            },
        )
        .with_side(&small);
    main.map(|row| row).union(small.stream().map(|row| row))
}

fn harness(parallelism: u32) -> OperatorHarness<u64, Row, Timestamp> {
    let shape = Shape { parallelism, ..Shape::default() };
    OperatorHarness::timed(shape, small_aside).unwrap()
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_unstable();
    rows
}

#[test]
fn a_snapshot_falls_between_the_same_records_of_the_main_and_the_side_output() -> Result<(), Error> {
    let mut steps = harness(1);
    for (time, n) in [(1, 115), (2, 105), (11, 203), (12, 250)] {
        steps.push_at(Timestamp(time), n)?;
    }
    let snapshot = steps.snapshot()?;
    assert_eq!(
        sorted(steps.take_records()),
        [Row::Main(1_115), Row::Main(2_250), Row::Side(105), Row::Side(203)],
        "each left in front of the barrier"
    );
    steps.watermark(Timestamp(10))?;
    assert_eq!(steps.take_records(), [Row::Timer(1, 10)]);
    // Three subtasks know of the timers, and of what they have seen.
    for parallelism in [1, 2, 3] {
        let mut restored = steps.restore(&snapshot, parallelism)?;
        restored.push_at(Timestamp(13), 130)?;
        restored.watermark(Timestamp(20))?;
        restored.end()?;
        let output = restored.take_output();
        let records = output.iter().filter_map(|output| match output {
            Emitted::Record(row) => Some(*row),
            _ => None,
        });
        let expected = [Row::Main(3_130), Row::Timer(1, 10), Row::Timer(1, 20), Row::Timer(2, 20)];
        assert_eq!(sorted(records.collect()), expected, "on {parallelism}");
        assert_eq!(output.last(), Some(&Emitted::End), "both outputs have ended");
    }
    Ok(())
}

#[test]
fn a_watermark_comes_behind_both_outputs() -> Result<(), Error> {
    let mut steps = harness(2);
    steps.push_at(Timestamp(1), 115)?;
    steps.push_at(Timestamp(2), 105)?;
    steps.watermark(Timestamp(9))?;
    let output = steps.take_output();
    let mark = output.iter().position(|one| matches!(one, Emitted::Watermark(mark) if mark.time == Timestamp(9)));
    assert_eq!(mark, Some(2), "{output:?}");
    Ok(())
}

#[test]
fn a_part_takes_each_record_one_way_without_a_clone() -> Result<(), Error> {
    /// Not `Clone`.
    #[derive(serde::Serialize, serde::Deserialize)]
    struct Parcel(u64);
    let mut parted = OperatorHarness::<u64, _>::new(|numbers| {
        let (even, odd) = numbers.map(Parcel).part("odd", |Parcel(n)| match n % 2 {
            0 => Part::Main(n.to_string()),
            _ => Part::Side(Parcel(n)),
        });
        even.map(|text| (text, true)).union(odd.map(|Parcel(n)| (n.to_string(), false)))
    })?;
    (0..50).try_for_each(|n| parted.push(n))?;
    let rows: BTreeMap<_, _> = parted.take_records().into_iter().collect();
    assert_eq!(rows, (0..50).map(|n| (n.to_string(), n % 2 == 0)).collect());
    Ok(())
}

#[test]
fn a_split_takes_each_record_to_the_stream_that_its_function_names() -> Result<(), Error> {
    let mut split = OperatorHarness::<u64, _>::with_shape(Shape { parallelism: 2, ..Shape::default() }, |numbers| {
        let [zero, one, two] = numbers.split(|n| (n % 3) as usize);
        zero.map(|n| (0, n)).union(one.rebalance().map(|n| (1, n))).union(two.map(|n| (2, n)))
    })?;
    split.push_to(0, (0..60).collect())?;
    split.end()?;
    let mut rows = split.take_records();
    rows.sort_unstable_by_key(|(_, n)| *n);
    assert_eq!(rows, (0..60).map(|n| (n % 3, n)).collect::<Vec<_>>());
    Ok(())
}

#[test]
fn a_part_that_a_split_does_not_have_fails_it_by_its_name() -> Result<(), Error> {
    let mut split = OperatorHarness::<u64, _>::new(|numbers| {
        let [low, high] = numbers.map(|n| n).name("numbered").split(|n| (n / 10) as usize);
        low.union(high)
    })?;
    split.push(15)?;
    let error = split.push(20).unwrap_err().to_string();
    assert!(error.contains("'split-") && error.contains("part 2 of 2"), "{error}");
    Ok(())
}

#[test]
fn a_side_output_that_was_not_bound_fails_the_step_by_both_names() -> Result<(), Error> {
    // It is bound to the step before, and that is another chain's.
    let mut steps = OperatorHarness::<u64, _, _>::timed(Shape::default(), |numbers| {
        let numbers = numbers.map(|n| n);
        let side = numbers.side_output::<u64>("aside");
        let tag = side.tag();
        let keyed = numbers.with_side(&side).key_by(|n| *n);
        let main = keyed.process_with_timers(
            "giver",
            state::value::<u64>("seen"),
            move |n, cx| cx.emit_to(&tag, n),
            |_, cx| cx.emit(0),
        );
        main.map(|n| n).union(side.stream())
    })?;
    let error = steps.push_at(Timestamp(1), 5).unwrap_err().to_string();
    assert!(error.contains("'giver'") && error.contains("'aside'"), "{error}");
    Ok(())
}
