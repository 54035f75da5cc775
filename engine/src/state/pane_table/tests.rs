#![allow(clippy::unwrap_used)]
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
};

use proptest::prelude::*;

use super::*;
use crate::{
    id::SubtaskIndex,
    state::{
        read_keyed_state,
        tests::job::{GROUPS, Store},
    },
};

fn start_of(time: i64, size: i64) -> Timestamp {
    Timestamp(time.div_euclid(size) * size)
}

fn address() -> StateAddress {
    StateAddress { operator: "step".into(), state: "windows".into() }
}

fn table(range: KeyGroupRange, groups: u16, size: i64) -> PaneTable<u32, u64> {
    let pane_of = move |time: Timestamp| {
        let start = start_of(time.0, size);
        Window::new(start, Timestamp(start.0 + size))
    };
    PaneTable::new(address(), ValueFormat::default(), range, groups, Box::new(pane_of))
}

/// A table of one group.
fn small() -> PaneTable<u32, u64> {
    table(KeyGroupRange { start: 0, end: 1 }, 1, 10)
}

fn add(table: &mut PaneTable<u32, u64>, key: u32, time: i64, value: u64) {
    let hint = table.hint(&key, Timestamp(time));
    let sum = table.get_mut_or_insert_with(hint, key, Timestamp(time), || 0);
    *sum = sum.wrapping_add(value);
}

/// By start and key.
type Content = BTreeMap<(Timestamp, u32), u64>;

fn content(table: &PaneTable<u32, u64>) -> Content {
    let groups = table.panes.iter().flat_map(|pane| pane.groups.iter().map(move |group| (pane.window.start, group)));
    groups.flat_map(|(start, group)| group.table.iter().map(move |entry| ((start, entry.key), entry.value))).collect()
}

/// What anybody reads who knows no more than that it is a map.
fn stored(store: &Store) -> Content {
    let entries = read_keyed_state::<EntryKey<u32, Timestamp>, u64>(store, address(), GROUPS).unwrap();
    entries.into_iter().map(|(key, value)| ((key.user, key.key), value)).collect()
}

fn fire(table: &mut PaneTable<u32, u64>, to: i64) -> usize {
    let mut rows = 0;
    for group in table.range.iter() {
        assert!(table.fire(group, Timestamp(to - 1), |_, _, _| {
            rows += 1;
            true
        }));
    }
    rows
}

/// The newest delta's only block.
fn newest(deltas: &[Arc<StateDelta>]) -> (BlockKind, u32) {
    let block = &deltas.last().unwrap().blocks[0];
    (block.kind, block.entries)
}

#[test]
fn a_window_that_lives_between_two_snapshots_leaves_no_trace() {
    let mut table = small();
    (0..100).for_each(|key| add(&mut table, key, 1, 1));
    assert_eq!(fire(&mut table, 10), 100);
    assert!(table.freeze(CheckpointId(1)).unwrap().is_empty());
    assert_eq!(table.stored_bytes(), 0);
}

#[test]
fn a_window_that_was_stored_leaves_tombstones_beside_others_that_stay() {
    let mut table = small();
    (0..100).for_each(|key| add(&mut table, key, 25, 1));
    (0..20).for_each(|key| add(&mut table, key, 1, 1));
    assert_eq!(newest(&table.freeze(CheckpointId(1)).unwrap()), (BlockKind::Full, 120));
    assert_eq!(fire(&mut table, 10), 20);
    add(&mut table, 7, 15, 1);
    assert_eq!(fire(&mut table, 20), 1, "never stored");
    assert_eq!(newest(&table.freeze(CheckpointId(2)).unwrap()), (BlockKind::Changes, 20));
}

#[test]
fn a_window_most_of_its_group_is_written_in_full_without_it_and_no_key_is_encoded() {
    let mut table = small();
    (0..100).for_each(|key| add(&mut table, key, 1, 1));
    (0..30).for_each(|key| add(&mut table, key, 11, 1));
    table.freeze(CheckpointId(1)).unwrap();
    assert_eq!(fire(&mut table, 10), 100);
    assert!(table.shelves[0].tombstones.is_empty());
    assert_eq!(newest(&table.freeze(CheckpointId(2)).unwrap()), (BlockKind::Full, 30));
}

#[test]
fn what_fires_after_an_aborted_checkpoint_that_had_it_is_gone_from_the_next() {
    let (mut table, mut store) = (small(), Store::default());
    (0..100).for_each(|key| add(&mut table, key, 11, 1));
    store.commit(CheckpointId(1), &table.freeze(CheckpointId(1)).unwrap());
    table.completed(CheckpointId(1));
    add(&mut table, 5, 1, 1);
    table.freeze(CheckpointId(2)).unwrap();
    assert_eq!(fire(&mut table, 10), 1);
    store.commit(CheckpointId(3), &table.freeze(CheckpointId(3)).unwrap());
    let mut restored = small();
    restored.restore(&store).unwrap();
    assert_eq!(content(&restored), content(&table));
}

#[test]
fn the_tables_of_a_window_that_is_over_serve_the_next() {
    let mut table = small();
    (0..1000).for_each(|key| add(&mut table, key, 1, 1));
    let place =
        |table: &PaneTable<u32, u64>| (table.panes[0].groups.as_ptr(), table.panes[0].groups[0].table.capacity());
    let first = place(&table);
    for window in 1..10 {
        fire(&mut table, window * 10);
        assert_eq!(table.next_due(), None);
        (0..1000).for_each(|key| add(&mut table, key, window * 10, 1));
        assert_eq!(place(&table), first);
    }
    fire(&mut table, 100);
    add(&mut table, 1, 100, 1);
    fire(&mut table, 110);
    add(&mut table, 1, 110, 1);
    assert!(place(&table).1 < first.1, "a window with few keys gives back what it does not need");
}

#[test]
fn a_window_that_begins_where_none_does_now_is_refused() {
    let (mut ten, mut store) = (small(), Store::default());
    add(&mut ten, 1, 10, 1);
    store.commit(CheckpointId(1), &ten.freeze(CheckpointId(1)).unwrap());
    let error = table(KeyGroupRange { start: 0, end: 1 }, 1, 15).restore(&store).unwrap_err();
    assert_eq!(error.cause.unwrap().to_string(), "a window begins at 10, and now one from 0 to 15");
}

#[derive(Clone, Debug)]
enum Op {
    Add(u32, i64, u64),
    /// With a hint of now, later.
    Hint(u32, i64),
    AddHinted,
    Many(u32, i64),
    Fire(i64),
    /// Of one group, so many rows.
    FireSome(u16, i64, usize),
    Freeze(Fate),
    HearLate,
    Restore(u32),
}

/// What becomes of a checkpoint, and what the table hears of it.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Completed,
    CompletedUnheard,
    Aborted,
}

fn op() -> impl Strategy<Value = Op> {
    let (key, time) = (|| 0..40u32, || -20..50i64);
    let fate = prop_oneof![5 => Just(Fate::Completed), 2 => Just(Fate::CompletedUnheard), 2 => Just(Fate::Aborted)];
    prop_oneof![
        12 => (key(), time(), any::<u64>()).prop_map(|(key, time, value)| Op::Add(key, time, value)),
        4 => (key(), time()).prop_map(|(key, time)| Op::Hint(key, time)),
        4 => Just(Op::AddHinted),
        2 => (key(), time()).prop_map(|(key, time)| Op::Many(key, time)),
        2 => time().prop_map(Op::Fire),
        6 => (0..GROUPS, time(), 1..8usize).prop_map(|(group, to, rows)| Op::FireSome(group, to, rows)),
        6 => fate.prop_map(Op::Freeze),
        2 => Just(Op::HearLate),
        1 => (1..=4u32).prop_map(Op::Restore),
    ]
}

/// A step with windows at some parallelism, its store, and what both should hold.
struct Job {
    tables: Vec<PaneTable<u32, u64>>,
    hinted: VecDeque<(PaneSlot, u32, i64)>,
    store: Store,
    checkpoint: u64,
    unheard: VecDeque<CheckpointId>,
    live: Content,
    completed: Content,
}

impl Job {
    fn new(parallelism: u32) -> Self {
        let (store, unheard) = (Store::default(), VecDeque::new());
        let (live, completed) = (Content::new(), Content::new());
        let (tables, hinted) = (Vec::new(), VecDeque::new());
        let mut job = Self { tables, hinted, store, checkpoint: 0, unheard, live, completed };
        job.restore(parallelism);
        job
    }

    fn of_group(&mut self, group: KeyGroup) -> &mut PaneTable<u32, u64> {
        self.tables.iter_mut().find(|table| table.range.contains(group)).unwrap()
    }

    fn add(&mut self, key: u32, time: i64, value: u64, hint: Option<PaneSlot>) {
        let table = self.of_group(group_of(key));
        let hint = hint.unwrap_or_else(|| table.hint(&key, Timestamp(time)));
        let sum = table.get_mut_or_insert_with(hint, key, Timestamp(time), || 3);
        *sum = sum.wrapping_add(value);
        let expected = self.live.entry((start_of(time, 10), key)).or_insert(3);
        *expected = expected.wrapping_add(value);
    }

    fn fire(&mut self, group: KeyGroup, to: i64, most: usize) {
        let mut rows = Vec::new();
        let is_done = self.of_group(group).fire(group, Timestamp(to - 1), |window, key, value| {
            assert_eq!(window.end.0, window.start.0 + 10);
            rows.push(((window.start, key), value));
            rows.len() < most
        });
        assert!(rows.is_sorted_by_key(|((start, _), _)| *start), "oldest first");
        assert!(rows.len() <= most);
        for (window, value) in rows {
            assert_eq!(group_of(window.1), group);
            assert!(window.0.0 + 10 <= to);
            assert_eq!(self.live.remove(&window), Some(value));
        }
        let due = (Bound::Unbounded, Bound::Included((Timestamp(to - 10), u32::MAX)));
        let is_left = self.live.range(due).any(|((_, key), _)| group_of(*key) == group);
        assert_eq!(is_done, !is_left);
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Add(key, time, value) => self.add(key, time, value, None),
            Op::Hint(key, time) => {
                let hint = self.of_group(group_of(key)).hint(&key, Timestamp(time));
                self.hinted.push_back((hint, key, time));
            }
            Op::AddHinted => {
                if let Some((hint, key, time)) = self.hinted.pop_front() {
                    self.add(key, time, 1, Some(hint));
                }
            }
            Op::Many(key, time) => (0..150).for_each(|i| self.add(key + i, time, u64::from(i), None)),
            Op::Fire(to) => (0..GROUPS).for_each(|group| self.fire(KeyGroup(group), to, usize::MAX)),
            Op::FireSome(group, to, rows) => self.fire(KeyGroup(group), to, rows),
            Op::Freeze(fate) => self.freeze(fate),
            Op::HearLate => {
                if let Some(checkpoint) = self.unheard.pop_front() {
                    self.tables.iter_mut().for_each(|table| table.completed(checkpoint));
                }
            }
            Op::Restore(parallelism) => self.restore(parallelism),
        }
    }

    fn freeze(&mut self, fate: Fate) {
        self.checkpoint += 1;
        let checkpoint = CheckpointId(self.checkpoint);
        let deltas: Vec<_> = self.tables.iter_mut().flat_map(|table| table.freeze(checkpoint).unwrap()).collect();
        if let Fate::Aborted = fate {
            return;
        }
        self.store.commit(checkpoint, &deltas);
        self.completed = self.live.clone();
        assert_eq!(stored(&self.store), self.completed);
        match fate {
            Fate::Completed => self.tables.iter_mut().for_each(|table| table.completed(checkpoint)),
            _ => self.unheard.push_back(checkpoint),
        }
    }

    fn restore(&mut self, parallelism: u32) {
        self.live = self.completed.clone();
        self.unheard.clear();
        self.hinted.clear();
        self.tables.clear();
        for index in 0..parallelism {
            let mut table = table(KeyGroupRange::of_subtask(SubtaskIndex(index), parallelism, GROUPS), GROUPS, 10);
            table.restore(&self.store).unwrap();
            self.tables.push(table);
        }
    }

    fn check(&self) {
        let found: Content = self.tables.iter().flat_map(content).collect();
        assert_eq!(found, self.live);
        let first = self.live.keys().next().map(|(start, _)| Timestamp(start.0 + 9));
        assert_eq!(self.tables.iter().filter_map(PaneTable::next_due).min(), first);
    }
}

fn group_of(key: u32) -> KeyGroup {
    KeyGroup::of_hash(key.group_hash(), GROUPS)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_what_a_map_holds_through_fires_in_pieces_checkpoints_aborts_and_restores_at_any_parallelism(
        ops in prop::collection::vec(op(), 1..150),
        parallelism in 1..=4u32,
    ) {
        let mut job = Job::new(parallelism);
        for op in ops {
            job.apply(op);
            job.check();
        }
        job.freeze(Fate::Completed);
        job.restore(parallelism % 4 + 1);
        job.check();
    }
}
