//! Timers against an ordered set.

use std::{collections::BTreeSet, sync::Arc};

use proptest::{prelude::*, sample::Index};

use super::job::{GROUPS, Store, context};
use crate::{
    checkpoint::snapshot::{BlockKind, StateDelta},
    id::{CheckpointId, SubtaskIndex, WallTime},
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    operator::SnapshotBuilder,
    state::{
        keyed_states::TablePlace,
        timers::{Heaps, TimerTable},
    },
    time::Timestamp,
};

type Table = TimerTable<u32, u8>;

/// By group (0, if all are in one heap), time, hash and tag; and the key.
type Model = BTreeSet<(u16, i64, u64, u8, u32)>;

struct Job {
    heaps: Heaps,
    subtasks: Vec<(KeyGroupRange, Table)>,
    store: Arc<Store>,
    checkpoint: CheckpointId,
}

impl Job {
    fn open(heaps: Heaps, store: Arc<Store>, checkpoint: CheckpointId, parallelism: u32) -> Self {
        let mut subtasks = Vec::new();
        for subtask in (0..parallelism).map(SubtaskIndex) {
            let range = KeyGroupRange::of_subtask(subtask, parallelism, GROUPS);
            let place = TablePlace { operator: "step", range, max_parallelism: GROUPS };
            let mut table = TimerTable::new("timers", &place, heaps);
            table.restore(&context(store.clone(), subtask, parallelism)).unwrap();
            subtasks.push((range, table));
        }
        Self { heaps, subtasks, store, checkpoint }
    }

    fn of_group(&mut self, group: u16) -> &mut Table {
        let found = self.subtasks.iter_mut().find(|(range, _)| range.contains(KeyGroup(group)));
        &mut found.unwrap().1
    }

    fn of(&mut self, key: u32) -> &mut Table {
        self.of_group(group_of(key))
    }

    fn snapshot(&mut self, completes: bool) -> Vec<Arc<StateDelta>> {
        self.checkpoint = self.checkpoint.next();
        let mut deltas = Vec::new();
        for (_, table) in &mut self.subtasks {
            let mut snapshot = SnapshotBuilder::new(self.checkpoint, false, WallTime(0));
            table.snapshot(&mut snapshot).unwrap();
            deltas.extend(snapshot.deltas);
        }
        if completes {
            Arc::get_mut(&mut self.store).expect("no reader is left").commit(self.checkpoint, &deltas);
            self.subtasks.iter_mut().for_each(|(_, table)| table.completed(self.checkpoint));
        }
        deltas
    }

    fn entry(&self, key: u32, time: i64, tag: u8) -> (u16, i64, u64, u8, u32) {
        let group = if self.heaps == Heaps::One { 0 } else { group_of(key) };
        (group, time, key.hash64(), tag, key)
    }
}

fn group_of(key: u32) -> u16 {
    KeyGroup::of_hash(key.hash64(), GROUPS).0
}

#[derive(Clone, Debug)]
enum Move {
    Set(u32, i64, u8),
    Cancel(u32, i64, u8),
    CancelOne(Index),
    /// Of this group up to that time, so many; one of them is cancelled in between; so many have their turn.
    Fire(u16, i64, usize, Option<Index>, usize),
    Snapshot(bool),
    Restore(u32),
}

fn moves() -> impl Strategy<Value = Move> {
    let timer = || (0..20_u32, -5..50_i64, 0..3_u8);
    let fire = (0..GROUPS, -5..50_i64, 1..20_usize, any::<Option<Index>>(), 0..20_usize);
    prop_oneof![
        8 => timer().prop_map(|(key, time, tag)| Move::Set(key, time, tag)),
        2 => timer().prop_map(|(key, time, tag)| Move::Cancel(key, time, tag)),
        3 => any::<Index>().prop_map(Move::CancelOne),
        3 => fire.prop_map(|(group, to, most, cancelled, fired)| Move::Fire(group, to, most, cancelled, fired)),
        2 => any::<bool>().prop_map(Move::Snapshot),
        1 => (1..5_u32).prop_map(Move::Restore),
    ]
}

fn check(heaps: Heaps, moves: Vec<Move>) {
    // One heap holds the timers of one subtask.
    let parallelism = |wanted: u32| if heaps == Heaps::One { 1 } else { wanted };
    let mut job = Job::open(heaps, Arc::default(), CheckpointId(0), parallelism(2));
    let (mut model, mut stored) = (Model::new(), Model::new());
    for step in moves {
        match step {
            Move::Set(key, time, tag) => {
                let is_new = model.insert(job.entry(key, time, tag));
                assert_eq!(job.of(key).set(&key, Timestamp(time), tag), is_new);
            }
            Move::Cancel(key, time, tag) => {
                let was_set = model.remove(&job.entry(key, time, tag));
                assert_eq!(job.of(key).cancel(&key, Timestamp(time), tag), was_set);
            }
            Move::CancelOne(which) => {
                let Some(entry) = model.iter().nth(which.index(model.len().max(1))).copied() else { continue };
                model.remove(&entry);
                let (_, time, _, tag, key) = entry;
                assert!(job.of(key).cancel(&key, Timestamp(time), tag));
            }
            Move::Fire(group, to, most, cancelled, fired) => {
                let entries = if heaps == Heaps::One { 0 } else { group };
                let is_due = |entry: &&(u16, i64, u64, u8, u32)| entry.0 == entries && entry.1 <= to;
                let expected: Vec<_> = model.iter().filter(is_due).take(most).copied().collect();
                let table = job.of_group(group);
                let mut due = Vec::new();
                table.due(KeyGroup(group), Timestamp(to), most, &mut due);
                let found: Vec<_> = due.iter().map(|timer| (timer.at.0.0, timer.at.1, timer.key)).collect();
                assert_eq!(
                    found,
                    expected.iter().map(|(_, time, _, tag, key)| (*time, *tag, *key)).collect::<Vec<_>>()
                );
                if let Some(timer) = cancelled.filter(|_| !due.is_empty()).map(|which| which.get(&due)) {
                    assert!(table.cancel(&timer.key, timer.at.0, timer.at.1));
                    model.retain(|entry| (entry.4, entry.1, entry.3) != (timer.key, timer.at.0.0, timer.at.1));
                }
                let mut due = due.into_iter().zip(expected);
                for (timer, entry) in due.by_ref().take(fired) {
                    assert_eq!(table.fire(&timer), model.remove(&entry));
                }
                table.put_back(due.map(|(timer, _)| timer));
            }
            Move::Snapshot(completes) => {
                job.snapshot(completes);
                if completes {
                    stored = model.clone();
                }
            }
            Move::Restore(wanted) => {
                let (store, checkpoint) = (job.store.clone(), job.checkpoint);
                drop(job);
                job = Job::open(heaps, store, checkpoint, parallelism(wanted));
                model = stored.clone();
            }
        }
        let next = job.subtasks.iter_mut().filter_map(|(_, table)| table.next()).min();
        let earliest = model.iter().map(|entry| Timestamp(entry.1)).min();
        assert!(earliest.is_none_or(|earliest| next.is_some_and(|next| next <= earliest)), "{next:?} {earliest:?}");
    }
    for group in 0..if heaps == Heaps::One { 1 } else { GROUPS } {
        let table = job.of_group(group);
        let mut due = Vec::new();
        table.due(KeyGroup(group), Timestamp::MAX, usize::MAX, &mut due);
        let expected: Vec<_> = model.iter().filter(|entry| entry.0 == group).collect();
        assert_eq!(due.len(), expected.len());
        for (timer, (_, time, _, tag, key)) in due.iter().zip(expected) {
            assert_eq!((timer.key, timer.at), (*key, (Timestamp(*time), *tag)));
            assert!(table.fire(timer));
        }
    }
    assert!(job.subtasks.iter_mut().all(|(_, table)| table.next().is_none()), "nothing stale is left");
}

proptest! {
    #[test]
    fn timers_are_those_that_were_set_and_neither_cancelled_nor_fired_in_order(moves in proptest::collection::vec(moves(), 0..200)) {
        check(Heaps::PerGroup, moves);
    }

    #[test]
    fn so_are_those_of_one_heap(moves in proptest::collection::vec(moves(), 0..200)) {
        check(Heaps::One, moves);
    }
}

#[test]
fn cancelling_does_not_let_the_heap_grow() {
    let mut job = Job::open(Heaps::PerGroup, Arc::default(), CheckpointId(0), 1);
    job.of(1).set(&1, Timestamp(1_000_000), 0);
    for time in 0..100_000 {
        assert!(job.of(1).set(&1, Timestamp(time), 0));
        assert!(job.of(1).cancel(&1, Timestamp(time), 0));
    }
    assert!(job.of(1).items() < 200, "{}", job.of(1).items());
    assert_eq!(job.of(1).next().map(|next| next >= Timestamp(90_000)), Some(true), "what is stale goes");
}

#[test]
fn a_few_timers_that_fire_are_a_few_tombstones() {
    let mut job = Job::open(Heaps::PerGroup, Arc::default(), CheckpointId(0), 1);
    let keys: Vec<u32> = (0..10_000).filter(|key| group_of(*key) == 3).collect();
    for key in &keys {
        job.of(*key).set(key, Timestamp(i64::from(*key)), 0);
    }
    let blocks = |deltas: Vec<Arc<StateDelta>>| -> Vec<_> {
        deltas.iter().flat_map(|delta| &delta.blocks).map(|block| (block.kind, block.entries as usize)).collect()
    };
    assert_eq!(blocks(job.snapshot(true)), [(BlockKind::Full, keys.len())]);
    let mut due = Vec::new();
    job.of_group(3).due(KeyGroup(3), Timestamp(i64::from(keys[2])), 16, &mut due);
    assert_eq!(due.iter().map(|timer| timer.key).collect::<Vec<_>>(), keys[..3]);
    due.iter().for_each(|timer| assert!(job.of_group(3).fire(timer)));
    assert_eq!(blocks(job.snapshot(true)), [(BlockKind::Changes, 3)]);
}
