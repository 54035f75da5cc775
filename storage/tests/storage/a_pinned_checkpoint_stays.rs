//! A pinned checkpoint is read as it was, whatever is committed, for as long as somebody holds the pin; then it goes.

use std::collections::BTreeMap;

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::{
        snapshot::StateBlock,
        store::{CheckpointStore, StateBackend as _, StateReader},
    },
};
use cofferdam_storage::Lmdb;

use crate::support::*;

/// The blocks that a group has, oldest first, worked out one commit after the other.
#[derive(Clone, Default)]
struct Groups(BTreeMap<(String, u16), Vec<StateBlock>>);

impl Groups {
    fn add(&mut self, state: &str, block: &StateBlock) {
        let blocks = self.0.entry((state.to_string(), block.group.0)).or_default();
        if block.kind == cofferdam_engine::checkpoint::snapshot::BlockKind::Full {
            blocks.clear();
        }
        blocks.push(block.clone());
    }

    fn seen(&self, state: &str) -> Vec<Seen> {
        self.0.iter().filter(|((of, _), _)| of == state).flat_map(|(_, blocks)| blocks).map(seen).collect()
    }
}

/// Checkpoint `number`: groups come and go, in full and as changes; a second state begins late.
fn blocks_of(number: u64) -> Vec<(&'static str, Vec<StateBlock>)> {
    let byte = number as u8;
    let group = 1 + (number % 5) as u16;
    let mut states = vec![("total", vec![full(0, &[byte; 3_000]), changes(group, &[byte; 7])])];
    if number.is_multiple_of(3) {
        states[0].1.push(full(6, &[byte; 20_000]));
    }
    if number >= 4 {
        states.push(("late", vec![full(2, &[byte; 900])]));
    }
    states
}

fn commit_one(store: &mut dyn CheckpointStore, attempt: Attempt, number: u64, num_retained: u32, groups: &mut Groups) {
    let states = blocks_of(number);
    states.iter().for_each(|(state, blocks)| blocks.iter().for_each(|block| groups.add(state, block)));
    let deltas = states.into_iter().map(|(state, blocks)| delta(number, state, blocks)).collect();
    store.commit(&retaining(num_retained, attempt, number, deltas)).unwrap();
}

fn all_of(reader: &dyn StateReader) -> [Vec<Seen>; 2] {
    ["total", "late"].map(|state| read_from(reader, state, ALL).unwrap())
}

fn expected(groups: &Groups) -> [Vec<Seen>; 2] {
    ["total", "late"].map(|state| groups.seen(state))
}

fn numbers(store: &mut dyn CheckpointStore) -> Vec<u64> {
    store.retained().unwrap().iter().map(|kept| kept.metadata.as_ref().unwrap().checkpoint.0).collect()
}

#[test]
fn it_shows_what_it_showed_through_any_number_of_commits() {
    for num_retained in 1..=3 {
        for pinned_at in 0..6 {
            each_backend(|backend| {
                let mut store = backend.open().unwrap();
                let attempt = store.begin_attempt().unwrap();
                let (mut groups, mut pins) = (Groups::default(), Vec::new());
                for number in 0..12 {
                    commit_one(&mut *store, attempt, number, num_retained, &mut groups);
                    if number == pinned_at || number == pinned_at + 2 {
                        pins.push((store.pin().unwrap(), groups.clone()));
                    }
                    for (reader, groups) in &pins {
                        assert_eq!(all_of(&**reader), expected(groups));
                    }
                    assert_eq!(all_of(&*store.reader().unwrap()), expected(&groups));
                }
                // One after the other.
                let (_, last) = (pins.remove(0), pins.remove(0));
                commit_one(&mut *store, attempt, 12, num_retained, &mut groups);
                assert_eq!(all_of(&*last.0), expected(&last.1));
                drop(last);
                for number in 13..16 {
                    commit_one(&mut *store, attempt, number, num_retained, &mut groups);
                    assert_eq!(all_of(&*store.reader().unwrap()), expected(&groups));
                }
                assert_eq!(numbers(&mut *store), (16 - u64::from(num_retained)..16).collect::<Vec<_>>());
            });
        }
    }
}

#[test]
fn a_part_is_read_as_by_any_reader() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        assert_eq!(read_from(&*store.pin().unwrap(), "total", ALL).unwrap(), [], "nothing is stored yet");
        let attempt = store.begin_attempt().unwrap();
        (0..4).for_each(|number| commit_one(&mut *store, attempt, number, 1, &mut Groups::default()));
        let (pinned, reader) = (store.pin().unwrap(), store.reader().unwrap());
        for (start, end) in [(0, 0), (0, 1), (1, 3), (2, 7), (6, GROUPS), (5, 2)] {
            let range = cofferdam_engine::KeyGroupRange { start, end };
            let [part, expected] = [&pinned, &reader].map(|reader| read_from(&**reader, "total", range).unwrap());
            assert_eq!(part, expected, "{start}..{end}");
        }
    });
}

#[test]
fn a_pin_does_not_outlive_a_crash() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let mut groups = Groups::default();
        commit_one(&mut *store, attempt, 0, 1, &mut groups);
        let pinned = store.pin().unwrap();
        (1..5).for_each(|number| commit_one(&mut *store, attempt, number, 1, &mut groups));
        // As good as a crash: nothing is told to the store.
        drop(store);
        let mut store = backend.open().unwrap();
        assert_eq!(all_of(&*store.reader().unwrap()), expected(&groups));
        let attempt = store.begin_attempt().unwrap();
        (5..7).for_each(|number| commit_one(&mut *store, attempt, number, 1, &mut groups));
        assert_eq!(all_of(&*store.reader().unwrap()), expected(&groups));
        assert_eq!(numbers(&mut *store), [6]);
        drop(pinned);
    });
}

#[test]
fn going_back_behind_it_ends_it_and_it_shows_nothing_else() {
    each_backend(|backend| {
        let mut store = backend.open().unwrap();
        let attempt = store.begin_attempt().unwrap();
        let mut groups = Groups::default();
        (0..2).for_each(|number| commit_one(&mut *store, attempt, number, 2, &mut groups));
        let (pinned, as_it_was) = (store.pin().unwrap(), groups.clone());
        store.go_back(CheckpointId(0)).unwrap();
        commit_one(&mut *store, attempt, 2, 2, &mut groups);
        if let Ok(seen) = read_from(&*pinned, "total", ALL) {
            assert_eq!(seen, as_it_was.seen("total"));
        }
    });
}

/// The map begins as small as it can be, and doubles again and again while a reader is half-way through.
#[test]
fn the_map_grows_under_a_pin() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).map_size(1).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let mut groups = Groups::default();
    commit_one(&mut *store, attempt, 0, 1, &mut groups);
    let pinned = store.pin().unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = scope.spawn(|| {
            let mut times = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) || times == 0 {
                assert_eq!(all_of(&*pinned), expected(&groups));
                times += 1;
            }
        });
        for number in 1..8 {
            let large = vec![full(0, &vec![number as u8; 4 << 20])];
            store.commit(&checkpoint(attempt, number, vec![delta(number, "total", large)])).unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        reading.join().unwrap();
    });
    assert_eq!(all_of(&*pinned), expected(&groups));
}
