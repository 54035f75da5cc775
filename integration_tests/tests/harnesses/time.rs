//! Steps on streams with time, fed and read by hand.

use std::time::Duration;

use cofferdam_engine::{Error, Timestamp, Watermark, WatermarkStrategy};
use cofferdam_testkit::{Emitted, OperatorHarness, Shape};

fn active(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: false }
}

fn idle(time: i64) -> Watermark {
    Watermark { time: Timestamp(time), is_idle: true }
}

/// Counts by key behind an exchange, on a stream with time.
fn counts(shape: Shape) -> OperatorHarness<u64, (u64, u64), Timestamp> {
    let counts = OperatorHarness::<u64, _, _>::timed(shape, |numbers| {
        numbers.rebalance().key_by(|n| n % 7).fold("count", 0u64, |count, _| *count += 1)
    });
    counts.unwrap()
}

fn times<T>(output: Vec<Emitted<T>>) -> Vec<Watermark> {
    let time = |emitted| match emitted {
        Emitted::Watermark(watermark) => Some(watermark),
        _ => None,
    };
    output.into_iter().filter_map(time).collect()
}

#[test]
fn time_behind_the_steps_is_the_least_that_an_input_says_and_an_idle_one_holds_nothing_back() -> Result<(), Error> {
    for parallelism in [1, 2, 3] {
        let mut counts = counts(Shape { inputs: 2, parallelism, ..Shape::default() });
        counts.watermark_to(0, active(10))?;
        assert_eq!(times(counts.take_output()), []);
        counts.watermark_to(1, active(7))?;
        assert_eq!(times(counts.take_output()).last(), Some(&active(7)));
        counts.watermark_to(1, idle(7))?;
        assert_eq!(times(counts.take_output()).last(), Some(&active(10)));
        counts.watermark_to(0, idle(10))?;
        assert_eq!(times(counts.take_output()).last(), Some(&idle(10)));
        counts.watermark_to(1, active(8))?;
        assert_eq!(times(counts.take_output()).last(), Some(&active(10)), "it does not fall");
        counts.end()?;
        assert_eq!(counts.take_output().last(), Some(&Emitted::End));
    }
    Ok(())
}

#[test]
fn a_watermark_leaves_behind_every_record_that_came_before_it() -> Result<(), Error> {
    let mut counts = counts(Shape { parallelism: 2, ..Shape::default() });
    for round in 1..=20 {
        counts.push_to_at(0, (0..10).map(|n| (Timestamp(round * 10 + n), n as u64)).collect())?;
        counts.watermark(Timestamp(round * 10 + 9))?;
        let output = counts.take_output();
        assert_eq!(output.last(), Some(&Emitted::Watermark(active(round * 10 + 9))));
        assert_eq!(output.iter().filter(|emitted| matches!(emitted, Emitted::Record(_))).count(), 10);
    }
    Ok(())
}

#[test]
fn restored_steps_know_how_far_time_had_come_also_at_another_parallelism() -> Result<(), Error> {
    let mut counts = counts(Shape { inputs: 2, parallelism: 2, ..Shape::default() });
    counts.push_at(Timestamp(3), 1)?;
    counts.watermark_to(0, active(10))?;
    counts.watermark_to(1, idle(7))?;
    let snapshot = counts.snapshot()?;
    counts.watermark(Timestamp(50))?;
    for parallelism in [1, 2, 3] {
        let mut restored = counts.restore(&snapshot, parallelism)?;
        restored.advance(Duration::ZERO)?;
        assert_eq!(restored.take_output(), [Emitted::Watermark(active(10))], "at parallelism {parallelism}");
        restored.push_at(Timestamp(4), 1)?;
        assert_eq!(restored.take_output(), [Emitted::Record((1, 2))], "at parallelism {parallelism}");
    }
    Ok(())
}

#[test]
fn what_records_say_of_time_leaves_a_bound_behind_the_latest_and_comes_back_with_a_snapshot() -> Result<(), Error> {
    let mut timed = OperatorHarness::<i64, _>::new(|millis| {
        millis.event_time("time", WatermarkStrategy::bounded(Duration::from_millis(5)), |n| Timestamp(*n))
    })?;
    for n in [100, 90, 103] {
        timed.push(n)?;
    }
    assert_eq!(times(timed.take_output()).last(), Some(&active(97)));
    let snapshot = timed.snapshot()?;
    let mut restored = timed.restore(&snapshot, 2)?;
    restored.push(1)?;
    restored.push(2)?;
    assert_eq!(times(restored.take_output()), [active(97)], "late records move nothing");
    restored.push(110)?;
    restored.push(120)?;
    assert_eq!(times(restored.take_output()).last(), Some(&active(104)), "the least of two subtasks");
    Ok(())
}

#[test]
fn a_record_without_a_time_fails_the_step_that_asked_for_it() {
    let timed = OperatorHarness::<i64, _>::new(|millis| {
        millis.event_time("when", WatermarkStrategy::monotonous(), |n| (*n > 0).then_some(Timestamp(*n)))
    });
    let mut timed = timed.unwrap();
    timed.push(5).unwrap();
    let error = timed.push(-5).unwrap_err().to_string();
    assert!(error.contains("when"), "{error}");
    for end in [i64::MIN, i64::MAX] {
        let timed = OperatorHarness::<i64, _>::new(|millis| {
            millis.event_time("when", WatermarkStrategy::monotonous(), |n| Timestamp(*n))
        });
        let error = timed.unwrap().push(end).unwrap_err().to_string();
        assert!(error.contains("when"), "{error}");
    }
}
