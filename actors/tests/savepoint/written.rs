//! Savepoints that no job has taken: made of data, or of another one.

use std::collections::BTreeMap;

use cofferdam::{Savepoint, SavepointWriter, StoredCheckpoint, prelude::*};

use crate::support::*;

/// What numbers lead to, if the count of each digit began with what `initial` says: each digit's last row.
fn counts(initial: &BTreeMap<u64, u64>, numbers: u64) -> BTreeMap<u64, u64> {
    let mut counts = initial.clone();
    for number in 0..numbers {
        *counts.entry(number % KEYS).or_default() += 1;
    }
    counts
}

fn last_rows(output: &std::path::Path) -> BTreeMap<u64, u64> {
    let mut last = BTreeMap::new();
    for (key, count) in published(output) {
        let highest: &mut u64 = last.entry(key).or_default();
        *highest = count.max(*highest);
    }
    last
}

#[test]
fn a_job_starts_with_the_state_that_was_made_of_data() {
    for backend in ["lmdb", "memory"] {
        let places = Places::new();
        let (savepoint, output) = (places.at("first"), places.at("output"));
        let initial = BTreeMap::from([(3, 1_000), (7, 5), (123_456, 1)]);
        let writer = SavepointWriter::new("counting", 128).unwrap();
        let info = writer.keyed_state("count", "value", initial.clone()).unwrap().write(&savepoint).unwrap();
        assert_eq!((info.checkpoint, info.prepared.len()), (CheckpointId(0), 0));

        let start = |limit: &Limit| {
            let builder = engine().from_savepoint(&savepoint);
            let builder = match backend {
                "lmdb" => builder.backend(Lmdb::at(places.at("state"))),
                _ => builder.backend(Memory::new()),
            };
            builder.start_blocking(counting(limit, &output)).unwrap()
        };
        let job = start(&Limit::of(100));
        run_to(&job, &output, 100);
        let expected = counts(&initial, 100);
        assert_eq!(last_rows(&output).len(), 10, "{backend}");
        assert!(last_rows(&output).iter().all(|(key, count)| expected[key] == *count), "{backend}");
        if backend == "lmdb" {
            // It goes on with the job that began with this savepoint.
            run_to(&start(&Limit::of(200)), &output, 200);
            assert!(last_rows(&output).iter().all(|(key, count)| counts(&initial, 200)[key] == *count));
            let stored = Lmdb::at(places.at("state")).inspect().unwrap();
            let newest = stored.checkpoint(*stored.checkpoints().last().unwrap()).unwrap();
            let read: Result<BTreeMap<u64, u64>, _> = newest.entries("count", "value").unwrap().collect();
            assert_eq!(read.unwrap(), counts(&initial, 200));
        }
    }
}

#[test]
fn state_made_for_another_job_is_refused() {
    let places = Places::new();
    let write = |path: &str, job: &str, groups, operator: &str| {
        let writer = SavepointWriter::new(job, groups).unwrap();
        writer.keyed_state(operator, "value", [(1u64, 1u64)]).unwrap().write(places.at(path)).unwrap();
        let builder = engine().backend(Memory::new()).from_savepoint(places.at(path));
        refused(builder, counting(&Limit::of(0), &places.at("output")))
    };
    assert!(write("name", "other", 128, "count").contains("it is the state of job 'other'"));
    assert!(write("groups", "counting", 64, "count").contains("64 key groups"));
    assert!(write("operator", "counting", 128, "counts").contains("it has a keyed step 'counts'"));
    let writer = SavepointWriter::new("counting", 128).unwrap();
    writer.keyed_state("count", "value", [("1".to_string(), 1u64)]).unwrap().write(places.at("keys")).unwrap();
    let builder = engine().backend(Memory::new()).from_savepoint(places.at("keys"));
    let message = refused(builder, counting(&Limit::of(0), &places.at("output")));
    assert!(message.contains("keys of type string, and the topology's are u64"), "{message}");
}

#[test]
fn a_savepoint_is_read_changed_and_gone_on_from() {
    let places = Places::new();
    stopped(&places, 100);
    let original = StoredCheckpoint::from(Savepoint::open(places.at("savepoint")).unwrap());
    let read: Result<BTreeMap<u64, u64>, _> = original.entries("count", "value").unwrap().collect();
    let read = read.unwrap();
    assert_eq!(read, counts(&BTreeMap::new(), 100));
    assert_eq!(original.get("count", "value", &3u64).unwrap(), Some(10u64));
    assert_eq!(original.get::<u64, u64>("count", "value", &33).unwrap(), None);

    let doubled: BTreeMap<_, _> = read.into_iter().map(|(key, count)| (key, 2 * count)).collect();
    let writer = SavepointWriter::of(&original).keyed_state("count", "value", doubled.clone()).unwrap();
    let info = writer.write(places.at("changed")).unwrap();
    assert_eq!(info.job, original.metadata().job);
    let job = engine()
        .backend(Lmdb::at(places.at("other state")))
        .from_savepoint(places.at("changed"))
        .start_blocking(counting(&Limit::of(150), &places.at("other output")))
        .unwrap();
    // The positions are the savepoint's: 50 numbers more, and none of the first 100.
    run_to(&job, &places.at("other output"), 50);
    let mut expected = doubled;
    (100..150u64).for_each(|number| *expected.get_mut(&(number % KEYS)).unwrap() += 1);
    assert_eq!(last_rows(&places.at("other output")), expected);
    assert_eq!(published(&places.at("other output")).len(), 50);
}

#[test]
fn what_is_taken_out_starts_empty() {
    let places = Places::new();
    stopped(&places, 100);
    let original = StoredCheckpoint::from(Savepoint::open(places.at("savepoint")).unwrap());
    assert!(SavepointWriter::of(&original).without_state("count", "other").is_err());
    let writer = SavepointWriter::of(&original).without_state("count", "value").unwrap();
    writer.write(places.at("changed")).unwrap();
    let job = engine()
        .backend(Memory::new())
        .from_savepoint(places.at("changed"))
        .start_blocking(counting(&Limit::of(150), &places.at("other output")))
        .unwrap();
    run_to(&job, &places.at("other output"), 50);
    assert_eq!(last_rows(&places.at("other output")), (0..KEYS).map(|key| (key, 5)).collect());
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let places = Places::new();
    assert!(SavepointWriter::new("counting", 0).is_err());
    let writer = || SavepointWriter::new("counting", 128).unwrap();
    let twice = writer().keyed_state("count", "value", [(1u64, 1u64), (2, 2), (1, 3)]).map(drop).unwrap_err();
    assert_eq!(twice.to_string(), "state count/value: key 1 was given twice");
    std::fs::write(places.at("taken"), "mine").unwrap();
    assert!(writer().write(places.at("taken")).is_err());
    assert_eq!(std::fs::read_to_string(places.at("taken")).unwrap(), "mine");
    let stopped = stopped(&places, 10);
    let original = StoredCheckpoint::from(Savepoint::open(stopped.path).unwrap());
    let error = SavepointWriter::of(&original).keyed_state("numbers", "value", [(1u64, 1u64)]).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "'numbers' is a source in this savepoint, and has no state by key");
}
