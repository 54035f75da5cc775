//! Savepoints that no job has taken: made of data, or of another one.

use std::{collections::BTreeMap, path::Path, time::Duration};

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

#[derive(Clone)]
struct Mean;

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u64);
    type Out = u64;

    fn create(&self) -> (u64, u64) {
        (0, 0)
    }

    fn add(&self, (sum, count): &mut (u64, u64), value: u64) {
        *sum += value;
        *count += 1;
    }

    fn get(&self, (sum, count): &(u64, u64)) -> u64 {
        sum / count
    }
}

fn hour() -> Ttl {
    Ttl::after(Duration::from_secs(3600))
}

/// What a row says of a key: its map, its list, its sum, its mean, its last value.
type Kinds = (u64, BTreeMap<String, u64>, Vec<u64>, u64, u64, u64);

/// A state of each kind, to each of which each number is added.
fn kinds(limit: &Limit, output: &Path) -> Topology {
    let topology = Topology::new("kinds");
    let states = (
        state::map::<String, u64>("map").ttl(hour()),
        state::list::<u64>("list"),
        state::reducing("sum", |sum: &mut u64, number| *sum += number),
        state::aggregating("mean", Mean),
        state::value::<u64>("last").version(3).ttl(hour()),
    );
    let rows = topology.source("numbers", limit.clone()).key_by(|number| number % KEYS).process_with(
        "step",
        states,
        |key, number, (map, list, sum, mean, last), out| {
            map.update((number % 3).to_string(), || 0, |sum| *sum += number);
            list.push(number);
            sum.add(number);
            mean.add(number);
            let before = last.get().copied().unwrap_or_default();
            last.set(number);
            let map = map.iter().map(|(key, value)| (key.clone(), *value)).collect();
            let row: Kinds =
                (*key, map, list.iter().copied().collect(), *sum.get().unwrap(), mean.get().unwrap(), before);
            out.emit(row);
        },
    );
    rows.sink("rows", FileSink::json_lines(output));
    topology
}

/// The row of each key, of which there is one.
fn kinds_rows(output: &Path, keys: u64) -> BTreeMap<u64, Kinds> {
    let read = || {
        let files = std::fs::read_dir(output).into_iter().flatten().map(|entry| entry.unwrap().path());
        let texts = files.filter(|path| path.is_file()).map(|path| std::fs::read_to_string(path).unwrap());
        let rows = texts.flat_map(|text| text.lines().map(str::to_string).collect::<Vec<_>>());
        rows.map(|line| serde_json::from_str::<Kinds>(&line).unwrap()).collect::<Vec<_>>()
    };
    until("all is published", || read().len() as u64 >= keys);
    let rows: BTreeMap<_, _> = read().into_iter().map(|row| (row.0, row)).collect();
    assert_eq!(rows.len() as u64, keys);
    rows
}

#[test]
fn a_job_goes_on_with_state_of_each_kind_that_was_made_of_data() {
    let places = Places::new();
    let output = places.at("output");
    let entries = |key: u64| BTreeMap::from([(format!("{}", key % 3), 1_000), ("more".to_string(), key)]);
    SavepointWriter::new("kinds", 128)
        .unwrap()
        .keyed_state_as("step", &state::map::<String, u64>("map").ttl(hour()), (0..KEYS).map(|key| (key, entries(key))))
        .unwrap()
        .keyed_state_as("step", &state::list::<u64>("list"), (0..KEYS).map(|key| (key, vec![8, 9])))
        .unwrap()
        .keyed_state_as("step", &state::reducing("sum", |_: &mut u64, _| {}), (0..KEYS).map(|key| (key, 100 + key)))
        .unwrap()
        .keyed_state_as("step", &state::aggregating("mean", Mean), (0..KEYS).map(|key| (key, (30 - key, 2))))
        .unwrap()
        .keyed_state_as("step", &state::value::<u64>("last").version(3), (0..KEYS).map(|key| (key, 77)))
        .unwrap()
        .write(places.at("savepoint"))
        .unwrap();
    let builder = engine().backend(Lmdb::at(places.at("state"))).from_savepoint(places.at("savepoint"));
    let job = builder.start_blocking(kinds(&Limit::of(KEYS), &output)).unwrap();
    let rows = kinds_rows(&output, KEYS);
    job.stop_blocking().unwrap();
    for number in 0..KEYS {
        let mut map = entries(number);
        *map.get_mut(&(number % 3).to_string()).unwrap() += number;
        assert_eq!(rows[&number], (number, map, vec![8, 9, number], 100 + 2 * number, 10, 77));
    }
}

#[test]
fn what_is_changed_in_a_savepoint_keeps_its_kind_its_version_and_its_times() {
    type Key = state::EntryKey<u64, String>;
    let places = Places::new();
    let job = engine().start_blocking(kinds(&Limit::of(KEYS), &places.at("output"))).unwrap();
    until("all is read", || job.status().records_read == KEYS);
    job.stop_with_savepoint_blocking(places.at("savepoint")).unwrap();
    let original = StoredCheckpoint::from(Savepoint::open(places.at("savepoint")).unwrap());
    let sums: Result<Vec<(u64, u64)>, _> = original.entries("step", "sum").unwrap().collect();
    let sums = sums.unwrap().into_iter().map(|(key, sum)| (key, sum + 1_000));
    let map: Result<Vec<(Key, u64)>, _> = original.entries("step", "map").unwrap().collect();
    let map = map.unwrap().into_iter().map(|(key, sum)| (key, sum + 2_000));
    let last: Result<Vec<(u64, u64)>, _> = original.entries("step", "last").unwrap().collect();
    let last = last.unwrap().into_iter().map(|(key, last)| (key, last + 3_000));
    let writer = SavepointWriter::of(&original).keyed_state("step", "sum", sums).unwrap();
    let writer = writer.keyed_state("step", "map", map).unwrap().keyed_state("step", "last", last).unwrap();
    writer.write(places.at("changed")).unwrap();

    let changed = StoredCheckpoint::from(Savepoint::open(places.at("changed")).unwrap());
    for state in ["map", "last"] {
        let times = |checkpoint: &StoredCheckpoint| {
            let entries = checkpoint.json_entries("step", state).unwrap().map(Result::unwrap);
            entries.map(|entry| (entry.key, entry.version, entry.used)).collect::<Vec<_>>()
        };
        assert!(times(&original).iter().all(|(_, _, used)| used.is_some()));
        assert_eq!(times(&changed), times(&original));
    }
    let builder = engine().from_savepoint(places.at("changed"));
    let output = places.at("other output");
    let job = builder.start_blocking(kinds(&Limit::of(2 * KEYS), &output)).unwrap();
    let rows = kinds_rows(&output, KEYS);
    job.stop_blocking().unwrap();
    for key in 0..KEYS {
        let number = key + KEYS;
        let mut map = BTreeMap::from([((key % 3).to_string(), 2_000 + key)]);
        *map.entry((number % 3).to_string()).or_default() += number;
        let expected = (key, map, vec![key, number], 1_000 + key + number, (key + number) / 2, 3_000 + key);
        assert_eq!(rows[&key], expected);
    }
}

#[test]
fn an_entry_of_a_map_is_found_by_its_key_and_by_no_other_type() {
    let places = Places::new();
    let carts = (0..KEYS).map(|key| (key, BTreeMap::from([("apple".to_string(), key)])));
    let writer = SavepointWriter::new("shop", 128).unwrap();
    let writer = writer.keyed_state_as("carts", &state::map::<String, u64>("items"), carts).unwrap();
    writer.write(places.at("savepoint")).unwrap();
    let stored = StoredCheckpoint::from(Savepoint::open(places.at("savepoint")).unwrap());
    for key in 0..KEYS {
        let entry = |user: &str| state::EntryKey { key, user: user.to_string() };
        assert_eq!(stored.get("carts", "items", &entry("apple")).unwrap(), Some(key));
        assert_eq!(stored.get::<_, u64>("carts", "items", &entry("pear")).unwrap(), None);
        let error = stored.get::<_, u64>("carts", "items", &(key, "apple".to_string())).unwrap_err();
        assert!(error.message.contains("of kind 'map': its entries are found by an `EntryKey`"), "{error}");
    }
    let tuples = SavepointWriter::of(&stored).keyed_state("carts", "items", [((1u64, "apple".to_string()), 1u64)]);
    let error = tuples.map(drop).unwrap_err().to_string();
    assert!(error.contains("of kind 'map', whose keys are `EntryKey`s"), "{error}");
    let writer = SavepointWriter::new("shop", 128).unwrap();
    let entries = writer.keyed_state("carts", "items", [(state::EntryKey { key: 1u64, user: 2u64 }, 1u64)]);
    assert!(entries.map(drop).unwrap_err().to_string().contains("keyed_state_as"));
}

#[test]
fn names_that_are_empty_are_refused() {
    assert!(SavepointWriter::new("", 128).is_err());
    for (operator, state) in [("", "value"), ("count", "")] {
        let writer = SavepointWriter::new("counting", 128).unwrap();
        let error = writer.keyed_state(operator, state, [(1u64, 1u64)]).map(drop).unwrap_err();
        assert!(error.to_string().contains("is empty"), "{error}");
    }
}
