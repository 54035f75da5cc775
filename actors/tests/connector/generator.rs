//! Sources of numbers and of vectors: every element once over all splits, from any position again, and no sooner than the rate allows.

#![allow(clippy::unwrap_used, reason = "helpers outside of test functions unwrap too")]

use std::time::Duration;

use cofferdam::connector::{Collection, Generator, NextNumber};
use cofferdam_engine::{ProcessingTime, Read, Source, SplitReader};

const NOW: ProcessingTime = ProcessingTime(0);

fn read_all<R: SplitReader>(reader: &mut R) -> Vec<R::Record> {
    let mut records = Vec::new();
    while let Read::Record(record) = reader.read(NOW).unwrap() {
        records.push(record);
    }
    records
}

#[test]
fn splits_share_the_numbers_out_in_turn() {
    let source = Generator::bounded(8, |i| i * 10);
    assert!(source.is_bounded());
    let splits = source.splits(3).unwrap();
    let given: Vec<_> = splits.iter().map(|split| read_all(&mut source.open(split, None).unwrap())).collect();
    assert_eq!(given, [vec![0, 30, 60], vec![10, 40, 70], vec![20, 50]]);
}

#[test]
fn a_generator_without_an_end_goes_on() {
    let source = Generator::unbounded(|i| i);
    assert!(!source.is_bounded());
    let mut reader = source.open(&source.splits(1).unwrap()[0], None).unwrap();
    for i in 0..100_000 {
        assert_eq!(reader.read(NOW).unwrap(), Read::Record(i));
    }
}

#[test]
fn numbers_replay_from_every_position() {
    let source = Generator::bounded(20, |i| i);
    for (first, split) in source.splits(3).unwrap().iter().enumerate() {
        let mut reader = source.open(split, None).unwrap();
        let expected: Vec<u64> = (first as u64..20).step_by(3).collect();
        for given in 0..=expected.len() {
            let position = reader.position().unwrap();
            assert_eq!(read_all(&mut source.open(split, Some(&position)).unwrap()), expected[given..]);
            reader.read(NOW).unwrap();
        }
    }
}

#[test]
fn the_last_numbers_there_are_end_it_without_overflow() {
    let source = Generator::unbounded(|i| i);
    let split = &source.splits(2).unwrap()[1];
    let mut reader = source.open(split, Some(&NextNumber(u64::MAX - 2))).unwrap();
    assert_eq!(read_all(&mut reader), [u64::MAX - 2]);
}

#[test]
fn a_paced_record_comes_when_it_is_due_counted_from_the_first_read() {
    let source = Generator::unbounded(|i| i).rate(10);
    // Two splits share ten records a second: each has one every 200 ms.
    let splits = source.splits(2).unwrap();
    let mut reader = source.open(&splits[0], None).unwrap();
    let start = ProcessingTime(5_000_000_000);
    let after = |ms| start.after(Duration::from_millis(ms));
    assert_eq!(reader.read(start).unwrap(), Read::Record(0));
    assert_eq!(reader.read(start).unwrap(), Read::NotBefore(after(200)));
    assert_eq!(reader.read(after(199)).unwrap(), Read::NotBefore(after(200)));
    assert_eq!(reader.read(after(200)).unwrap(), Read::Record(2));
    // Late calls catch up and do not shift what follows.
    assert_eq!(reader.read(after(690)).unwrap(), Read::Record(4));
    assert_eq!(reader.read(after(690)).unwrap(), Read::Record(6));
    assert_eq!(reader.read(after(690)).unwrap(), Read::NotBefore(after(800)));
}

#[test]
fn a_reopened_generator_is_paced_from_its_own_opening() {
    let source = Generator::bounded(10, |i| i).rate(1_000.0);
    let split = &source.splits(1).unwrap()[0];
    let mut reader = source.open(split, Some(&NextNumber(8))).unwrap();
    let start = ProcessingTime(77);
    assert_eq!(reader.read(start).unwrap(), Read::Record(8));
    assert_eq!(reader.read(start).unwrap(), Read::NotBefore(start.after(Duration::from_millis(1))));
    assert_eq!(reader.read(start.after(Duration::from_millis(1))).unwrap(), Read::Record(9));
    assert_eq!(reader.read(start).unwrap(), Read::End, "an end is not waited for");
}

#[test]
fn over_a_long_time_the_rate_is_kept_exactly() {
    let source = Generator::unbounded(|i| i).rate(3_000);
    let mut reader = source.open(&source.splits(1).unwrap()[0], None).unwrap();
    let mut now = NOW;
    let mut given = 0;
    while now < NOW.after(Duration::from_secs(60)) {
        match reader.read(now).unwrap() {
            Read::Record(_) => given += 1,
            Read::NotBefore(due) => now = due,
            Read::End => unreachable!(),
        }
    }
    assert_eq!(given, 60 * 3_000);
}

#[test]
fn a_rate_that_is_none_is_refused() {
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let error = Generator::bounded(1, |i| i).rate(rate).splits(1).unwrap_err().to_string();
        assert!(error.contains("rate"), "{error}");
    }
}

#[test]
fn a_collection_gives_every_element_once_and_again_from_every_position() {
    let words = ["to", "be", "or", "not", "to"];
    let source = Collection::new(words.to_vec());
    for (first, split) in source.splits(2).unwrap().iter().enumerate() {
        let expected: Vec<&str> = words.iter().skip(first).step_by(2).copied().collect();
        let mut reader = source.open(split, None).unwrap();
        for given in 0..=expected.len() {
            let position = reader.position().unwrap();
            assert_eq!(read_all(&mut source.open(split, Some(&position)).unwrap()), expected[given..]);
            reader.read(NOW).unwrap();
        }
    }
}

#[test]
fn another_collection_is_refused() {
    let split = &Collection::new(vec![1, 2, 3]).splits(1).unwrap()[0];
    let error = Collection::new(vec![1, 2]).open(split, None).unwrap_err().to_string();
    assert!(error.contains('3') && error.contains('2'), "{error}");
}
