//! What is promised of checkpoints' size, of what has expired, and of states that change their type.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use super::job::{GROUPS, Job, Store, context};
use crate::{
    checkpoint::snapshot::{BlockKind, OperatorKind, OperatorRecord, OperatorSnapshot, StateAddress},
    codec,
    error::Error,
    id::{SubtaskIndex, WallTime},
    key::Key,
    state::{
        self, EntryKey, OperatorStates, Ttl, keyed_states::KeyedStates, operator_states::StoredStates, read_keyed_state,
    },
};

const START: WallTime = WallTime(1_700_000_000_000);

fn ten_ms() -> Ttl {
    Ttl::after(Duration::from_millis(10))
}

fn start<D: KeyedStates<u32>>(states: &D) -> Job<u32, D> {
    Job::open(states, Arc::new(Store::default()), 1, START).unwrap()
}

fn again<D: KeyedStates<u32>>(states: &D, job: Job<u32, impl KeyedStates<u32>>, parallelism: u32) -> Job<u32, D> {
    let (store, time) = (job.store.clone(), job.time);
    drop(job);
    Job::open(states, store, parallelism, time).unwrap()
}

#[test]
fn changing_one_of_a_million_entries_writes_one() {
    let mut job = start(&state::map::<u32, u64>("map"));
    job.with(&7, |map| (0..1_000_000).for_each(|i| assert_eq!(map.insert(i, 1), None)));
    job.snapshot(true);
    job.with(&7, |map| {
        *map.get_mut(&400_000).unwrap() += 1;
        map.get(&3);
    });
    let deltas = job.snapshot(true);
    assert_eq!(deltas.len(), 1);
    let [block] = deltas[0].blocks.as_slice() else { panic!("{} blocks", deltas[0].blocks.len()) };
    assert_eq!((block.kind, block.entries), (BlockKind::Changes, 1));
    assert!(block.bytes.len() < 20, "{} bytes", block.bytes.len());
}

#[test]
fn adding_to_a_long_list_writes_what_is_added() {
    let mut job = start(&state::list::<u64>("list"));
    job.with(&7, |list| list.extend(0..100_000));
    job.snapshot(true);
    job.with(&7, |list| list.push(1));
    job.with(&7, |list| list.push(2));
    let entries: Vec<_> =
        job.snapshot(true).iter().flat_map(|delta| &delta.blocks).map(|block| block.entries).collect();
    assert_eq!(entries, [2]);
}

#[test]
fn clearing_a_map_leaves_nothing_of_it_and_nothing_of_others_goes() {
    let states = state::map::<u32, u64>("map");
    let mut job = start(&states);
    for key in 0..50 {
        job.with(&key, |map| (0..20).for_each(|i| assert_eq!(map.insert(i, 1), None)));
    }
    job.snapshot(true);
    job.with(&7, |map| map.clear());
    job.snapshot(true);
    let mut job = again(&states, job, 3);
    for key in 0..50 {
        assert_eq!(job.with(&key, |map| map.len()), if key == 7 { 0 } else { 20 });
    }
}

#[test]
fn a_map_can_be_read_whole_without_the_job() {
    let mut job = start(&state::map::<String, u64>("map"));
    job.with(&7, |map| map.insert("a".into(), 1));
    job.with(&8, |map| map.insert("b".into(), 2));
    job.snapshot(true);
    let address = StateAddress { operator: "step".into(), state: "map".into() };
    let mut entries = read_keyed_state::<EntryKey<u32, String>, u64>(&*job.store, address, GROUPS).unwrap();
    entries.sort_by_key(|(entry, _)| entry.key);
    let entry = |key, user: &str| EntryKey { key, user: user.to_string() };
    assert_eq!(entries, [(entry(7, "a"), 1), (entry(8, "b"), 2)]);
}

#[test]
fn what_cannot_be_encoded_is_named_by_its_state() {
    let mut job = start(&state::value::<Broken>("value"));
    job.with(&7, |value| value.set(Broken));
    let error = job.try_snapshot().unwrap_err().to_string();
    assert_eq!(error, "a value of state 'step/value' cannot be encoded: no number");
}

#[derive(serde::Deserialize)]
struct Broken;

impl serde::Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("no number"))
    }
}

#[test]
fn what_has_expired_has_left_every_block_after_sixty_four_snapshots_and_nothing_else_has() {
    let states = (
        state::value::<u64>("value").ttl(ten_ms()),
        state::map::<u32, u64>("map").ttl(ten_ms()),
        state::list::<u64>("list").ttl(ten_ms()),
        state::value::<u64>("for ever"),
    );
    let mut job = start(&states);
    for (passed, written) in [(0, 0..200), (5, 20..200)] {
        job.time.0 += passed;
        for key in written {
            job.with(&key, |(value, map, list, forever)| {
                value.set(1);
                map.insert(key, 1);
                list.push(1);
                forever.set(1);
            });
        }
        job.snapshot(true);
    }
    job.time.0 += 5;
    // In between the job starts anew, at another parallelism.
    for _ in 0..32 {
        job.snapshot(true);
    }
    let mut job = again(&states, job, 2);
    for _ in 0..64 {
        job.snapshot(true);
    }
    for state in ["value", "map", "list"] {
        assert_eq!(job.store.keys(state).len(), 180, "{state}");
    }
    for key in 0..200 {
        let is_there = key >= 20;
        let expected = (is_there.then_some(1), is_there.then_some(1), usize::from(is_there));
        job.with(&key, |(value, map, list, _)| {
            assert_eq!((value.get().copied(), map.get(&key).copied(), list.len()), expected, "key {key}");
        });
    }
    assert_eq!(job.store.keys("for ever").len(), 200);
}

#[test]
fn what_expires_leaves_memory_too() {
    let mut job = start(&state::map::<u32, u64>("map").ttl(ten_ms()));
    job.with(&1, |map| (0..1_000).for_each(|i| assert_eq!(map.insert(i, 1), None)));
    job.time.0 += 10;
    for _ in 0..64 {
        job.snapshot(true);
    }
    assert_eq!(job.with(&1, |map| map.0.users().count()), 0, "the index");
    assert_eq!(job.store.keys("map").len(), 0, "the table, of which the last block holds all");
    job.with(&1, |map| map.clear());
    assert!(job.snapshot(true).is_empty(), "nothing is left to be forgotten");
}

#[test]
fn a_sweep_over_what_lives_writes_nothing() {
    let mut job = start(&state::value::<u64>("value").ttl(ten_ms()));
    (0..100).for_each(|key| job.with(&key, |value| value.set(1)));
    job.snapshot(true);
    job.time.0 += 9;
    assert!((0..64).all(|_| job.snapshot(true).is_empty()));
}

#[test]
fn time_goes_on_over_a_restart_and_another_duration_holds_for_what_is_there() {
    let states = |after| state::value::<u64>("value").ttl(Ttl::after(Duration::from_millis(after)));
    let mut job = start(&states(10));
    job.with(&1, |value| value.set(1));
    job.snapshot(true);
    job.time.0 += 9;
    let mut job = again(&states(10), job, 4);
    assert_eq!(job.with(&1, |value| value.get().copied()), Some(1));
    job.time.0 += 1;
    assert_eq!(job.with(&1, |value| value.get().copied()), None);
    let mut job = again(&states(11), job, 1);
    assert_eq!(job.with(&1, |value| value.get().copied()), Some(1));
}

#[test]
fn a_state_can_get_a_time_to_live_and_lose_it() {
    let plain = || (state::value::<u64>("value"), state::map::<u32, u64>("map"));
    let timed = || {
        let (value, map) = plain();
        (value.ttl(ten_ms()), map.ttl(ten_ms()))
    };
    let mut job = start(&plain());
    (0..100).for_each(|key| {
        job.with(&key, |(value, map)| {
            value.set(1);
            map.insert(key, 1);
        })
    });
    job.snapshot(true);

    let mut job = again(&timed(), job, 2);
    job.time.0 += 1_000;
    job.with(&0, |(value, _)| value.set(2));
    job.snapshot(true);
    // Blocks with times and blocks without stand beside each other.
    let mut job = again(&timed(), job, 2);
    let mut seen = |key: u32| job.with(&key, |(value, map)| (value.get().copied(), map.get(&key).copied()));
    assert_eq!((seen(0), seen(1)), ((Some(2), Some(1)), (Some(1), Some(1))), "it is not known since when");
    (0..64).for_each(|_| drop(job.snapshot(true)));
    job.time.0 += 9;

    let mut job = again(&plain(), job, 3);
    assert_eq!(job.with(&1, |(value, map)| (value.get().copied(), map.get(&1).copied())), (Some(1), Some(1)));
    job.with(&2, |(value, _)| value.set(3));
    job.snapshot(true);
    let mut job = again(&timed(), job, 1);
    job.time.0 += 1;
    let mut seen = |key: u32| job.with(&key, |(value, _)| value.get().copied());
    assert_eq!((seen(0), seen(1)), (None, None), "ten milliseconds after the write, and after the sweep");
    assert_eq!(seen(2), Some(3), "written without a time");
    (0..64).for_each(|_| drop(job.snapshot(true)));
    assert_eq!(job.store.keys("map").len(), 0);
    assert_eq!(job.store.keys("value").len(), 1);
}

#[test]
fn older_versions_are_read_with_and_without_their_time() {
    let old = || state::value::<u32>("value");
    let new = || state::value::<String>("value").version(1).migrate_from(0, |n: u32| n.to_string());
    for was_timed in [false, true] {
        for is_timed in [false, true] {
            let store = Arc::new(Store::default());
            let store = if was_timed {
                let mut job = Job::open(&old().ttl(ten_ms()), store, 1, START).unwrap();
                job.with(&1u32, |value| value.set(7));
                job.snapshot(true);
                job.store
            } else {
                let mut job = Job::open(&old(), store, 1, START).unwrap();
                job.with(&1u32, |value| value.set(7));
                job.snapshot(true);
                job.store
            };
            let seen = if is_timed {
                Job::open(&new().ttl(ten_ms()), store, 1, START).unwrap().with(&1u32, |value| value.get().cloned())
            } else {
                Job::open(&new(), store, 1, START).unwrap().with(&1u32, |value| value.get().cloned())
            };
            assert_eq!(seen.as_deref(), Some("7"), "{was_timed} then {is_timed}");
        }
    }
}

#[test]
fn a_value_of_another_type_is_refused_by_its_state_and_keys() {
    let mut job = start(&state::map::<u32, String>("map"));
    job.with(&7, |map| map.insert(5, "text".into()));
    job.snapshot(true);
    let Err(error) = Job::<u32, _>::open(&state::map::<u32, u64>("map").ttl(ten_ms()), job.store, 1, START) else {
        panic!("it was read")
    };
    let error = error.to_string();
    assert!(error.contains("state 'step/map' of job 'job', subtask 0"), "{error}");
    assert!(error.contains("the value of key [7,5]") && error.contains("\"text\""), "{error}");
}

/// What opening says that finds the text "seven" under key 7 in version 0.
fn refused<D: KeyedStates<u32>>(states: &D) -> Error {
    let mut job = start(&state::value::<String>("value"));
    job.with(&7, |value| value.set("seven".into()));
    job.snapshot(true);
    match Job::open(states, job.store, 1, START) {
        Ok(_) => panic!("it was read"),
        Err(error) => error,
    }
}

#[test]
fn a_migration_that_fails_or_panics_is_refused_by_state_key_and_version() {
    let new = || state::value::<u64>("value").version(1);
    let fails = new().try_migrate_from(0, |old: String| old.parse::<u64>());
    let panics = new().migrate_from(0, |old: String| old.parse().unwrap_or_else(|error| panic!("{error}")));
    for error in [refused(&fails), refused(&panics), refused(&fails.ttl(ten_ms())), refused(&panics.ttl(ten_ms()))] {
        let text = error.to_string();
        assert!(!error.is_retryable(), "{text}");
        for part in ["state 'step/value' of job 'job'", "the value of key 7: it is of version 0", "invalid digit"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("mend the function given to `migrate_from`"), "{text}");
    }
}

#[test]
fn a_migration_that_may_fail_and_does_not_gives_its_value() {
    let mut job = start(&state::value::<String>("value"));
    job.with(&7, |value| value.set("7000".into()));
    job.snapshot(true);
    let new = state::value::<u64>("value").version(1).try_migrate_from(0, |old: String| old.parse::<u64>());
    let mut job = again(&new, job, 1);
    assert_eq!(job.with(&7, |value| value.get().copied()), Some(7000));
}

#[test]
fn a_value_with_a_time_to_live_names_its_field_as_its_user_knows_it() {
    #[derive(Serialize, Deserialize)]
    struct Wide {
        count: u64,
    }
    #[derive(Serialize, Deserialize)]
    struct Narrow {
        count: u8,
    }
    let mut job = start(&state::value::<Wide>("value").ttl(ten_ms()));
    job.with(&7, |value| value.set(Wide { count: 700 }));
    job.snapshot(true);
    let Err(error) = Job::<u32, _>::open(&state::value::<Narrow>("value").ttl(ten_ms()), job.store, 1, START) else {
        panic!("it was read")
    };
    assert!(error.to_string().contains(": field 'count': "), "{error}");
}

#[test]
fn changing_a_maps_entry_in_place_refreshes_its_time_to_live() {
    let mut job = start(&state::map::<u8, u64>("map").ttl(ten_ms()));
    job.with(&7, |map| (0..3).for_each(|entry| assert_eq!(map.insert(entry, 0), None)));
    job.time.0 += 9;
    job.with(&7, |map| {
        *map.get_mut(&0).unwrap() += 1;
        map.update(1, || 10, |value| *value += 1);
        assert_eq!(map.get(&2), Some(&0));
    });
    job.time.0 += 9;
    let seen: Vec<_> = job.with(&7, |map| map.iter().map(|(entry, value)| (*entry, *value)).collect());
    assert_eq!(seen, [(0, 1), (1, 1)], "the one that was only read has expired");
}

#[test]
fn what_has_expired_leaves_a_job_that_never_takes_many_snapshots_in_one_attempt() {
    let states = state::map::<u32, u64>("map").ttl(ten_ms());
    let mut job = start(&states);
    (0..100).for_each(|key| assert_eq!(job.with(&key, |map| map.insert(key, 1)), None));
    job.snapshot(true);
    job.time.0 += 10;
    for _ in 0..22 {
        job = again(&states, job, 2);
        (0..3).for_each(|_| drop(job.snapshot(true)));
    }
    assert_eq!(job.store.keys("map").len(), 0);
}

#[test]
fn each_subtask_takes_the_broadcast_state_of_another_one() {
    let rules = state::broadcast::<u8, u64>("rules");
    let subtasks = (0..2u64).map(|subtask| {
        let mut saved = Vec::new();
        rules.save(&[(1, subtask)].into(), &mut saved).unwrap();
        OperatorSnapshot { state: codec::encode(&saved).unwrap(), transactions: Vec::new() }
    });
    let states = rules.declared().into_iter().map(|state| state.record).collect();
    let subtasks: Vec<_> = subtasks.collect();
    let record = OperatorRecord { uid: "step".into(), kind: OperatorKind::Operator, states, subtasks };
    let restored = (0..5).map(|subtask| {
        let mut context = context(Arc::default(), SubtaskIndex(subtask), 5);
        Arc::get_mut(&mut context.restored).unwrap().operators.push(record.clone());
        rules.restore(&StoredStates::of("step", &context).unwrap()).unwrap()[&1]
    });
    assert_eq!(restored.collect::<Vec<_>>(), [0, 1, 0, 1, 0]);
}

#[test]
fn entries_of_a_key_lie_together_in_the_order_of_their_keys() {
    let bytes = |key: i32, user: &str| {
        let mut bytes = Vec::new();
        EntryKey { key, user: user.to_string() }.encode(&mut bytes);
        bytes
    };
    let sorted = [bytes(-1, "z"), bytes(0, ""), bytes(0, "a"), bytes(0, "a\0"), bytes(0, "b"), bytes(1, "")];
    assert!(sorted.is_sorted());
    let groups: Vec<_> =
        ["a", "b", "c"].map(|user| EntryKey { key: 5i32, user: user.to_string() }.group_hash()).to_vec();
    assert!(groups.iter().all(|hash| *hash == 5i32.hash64()), "of {GROUPS} groups one");
}
