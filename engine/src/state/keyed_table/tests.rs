use std::collections::{BTreeMap, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::{
    id::SubtaskIndex,
    state::value_state::{ValueState, with_value_state},
};

const GROUPS: u16 = 4;

type Blocks = Vec<(CheckpointId, BlockKind, u32, Vec<u8>)>;

/// A store of one state that obeys the contract and does no more.
#[derive(Default)]
struct Store {
    newest: CheckpointId,
    groups: BTreeMap<u16, Blocks>,
}

impl Store {
    fn commit(&mut self, checkpoint: CheckpointId, deltas: &[Arc<StateDelta>]) {
        assert!(deltas.is_sorted_by_key(|delta| delta.checkpoint), "oldest first");
        for delta in deltas.iter().filter(|delta| delta.checkpoint > self.newest) {
            assert!(delta.checkpoint <= checkpoint);
            for block in &delta.blocks {
                let stored = self.groups.entry(block.group.0).or_default();
                if block.kind == BlockKind::Full {
                    stored.clear();
                }
                stored.push((delta.checkpoint, block.kind, block.entries, block.bytes.clone()));
            }
        }
        self.newest = checkpoint;
    }

    fn entries(&self) -> usize {
        self.groups.values().flatten().map(|(_, _, entries, _)| *entries as usize).sum()
    }
}

impl StateReader for Store {
    fn read(
        &self,
        _: &StateAddress,
        range: KeyGroupRange,
        visit: &mut dyn FnMut(KeyGroup, BlockKind, u32, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        for (group, blocks) in self.groups.range(range.start..range.end) {
            for (_, kind, entries, bytes) in blocks {
                visit(KeyGroup(*group), *kind, *entries, bytes).map_err(|error| {
                    StoreError::new(crate::checkpoint::store::StoreErrorKind::Damaged, "", Some(error))
                })?;
            }
        }
        Ok(())
    }
}

fn table(range: KeyGroupRange, groups: u16) -> KeyedTable<u32, u64> {
    KeyedTable::new(
        StateAddress { operator: "step".into(), state: "value".into() },
        ValueFormat::default(),
        range,
        groups,
    )
}

/// A table of one group.
fn small() -> KeyedTable<u32, u64> {
    table(KeyGroupRange { start: 0, end: 1 }, 1)
}

fn with_state<R>(table: &mut KeyedTable<u32, u64>, key: &u32, code: impl FnOnce(&mut ValueState<'_, u64>) -> R) -> R {
    with_value_state(table, table.find(table.hint(key), key), key, code)
}

fn remove(table: &mut KeyedTable<u32, u64>, key: &u32) -> Option<u64> {
    table.remove(table.find(table.hint(key), key), key)
}

fn set(table: &mut KeyedTable<u32, u64>, key: u32, value: u64) {
    with_state(table, &key, |state| state.set(value));
}

fn content(table: &KeyedTable<u32, u64>) -> BTreeMap<u32, u64> {
    table.groups.iter().flat_map(Group::entries).collect()
}

fn restored(store: &Store) -> BTreeMap<u32, u64> {
    let mut table = small();
    table.restore(store).unwrap();
    content(&table)
}

/// The newest delta's only block.
fn newest(deltas: &[Arc<StateDelta>]) -> (BlockKind, u32) {
    let block = &deltas.last().unwrap().blocks[0];
    (block.kind, block.entries)
}

#[test]
fn few_changes_are_stored_as_changes_and_many_in_full() {
    let mut table = small();
    (0..100).for_each(|key| set(&mut table, key, 1));
    assert_eq!(newest(&table.freeze(CheckpointId(1)).unwrap()), (BlockKind::Full, 100));
    (0..30).for_each(|key| set(&mut table, key, 2));
    assert_eq!(newest(&table.freeze(CheckpointId(2)).unwrap()), (BlockKind::Changes, 30));
    (0..50).for_each(|key| set(&mut table, key, 3));
    assert_eq!(newest(&table.freeze(CheckpointId(3)).unwrap()), (BlockKind::Full, 100), "half of them");
}

#[test]
fn an_entry_that_changes_often_is_stored_once() {
    let mut table = small();
    (0..100).for_each(|key| set(&mut table, key, 1));
    table.freeze(CheckpointId(1)).unwrap();
    (0..1000).for_each(|value| set(&mut table, 7, value));
    assert_eq!(newest(&table.freeze(CheckpointId(2)).unwrap()), (BlockKind::Changes, 1));
}

#[test]
fn reading_changes_nothing() {
    let mut table = small();
    set(&mut table, 1, 1);
    table.freeze(CheckpointId(1)).unwrap();
    table.completed(CheckpointId(1));
    assert_eq!(with_state(&mut table, &1, |state| state.get().copied()), Some(1));
    assert_eq!(with_state(&mut table, &2, |state| state.get().copied()), None);
    assert!(table.freeze(CheckpointId(2)).unwrap().is_empty());
}

#[test]
fn a_key_that_goes_and_comes_back_has_its_new_value() {
    let (mut table, mut store) = (small(), Store::default());
    (0..100).for_each(|key| set(&mut table, key, 1));
    store.commit(CheckpointId(1), &table.freeze(CheckpointId(1)).unwrap());
    remove(&mut table, &7);
    set(&mut table, 7, 2);
    remove(&mut table, &8);
    set(&mut table, 200, 3);
    remove(&mut table, &200);
    let deltas = table.freeze(CheckpointId(2)).unwrap();
    assert_eq!(newest(&deltas), (BlockKind::Changes, 4), "three that went, one that came back");
    store.commit(CheckpointId(2), &deltas);
    assert_eq!(restored(&store), content(&table));
    assert_eq!(restored(&store).get(&7), Some(&2));
}

#[test]
fn a_table_that_grows_between_change_and_freeze_loses_no_change() {
    let (mut table, mut store) = (small(), Store::default());
    (0..1000).for_each(|key| set(&mut table, key, 1));
    store.commit(CheckpointId(1), &table.freeze(CheckpointId(1)).unwrap());
    (0..10).for_each(|key| set(&mut table, key * 100, 2));
    let buckets = table.groups[0].buckets();
    let mut key = 1000;
    while table.groups[0].buckets() == buckets {
        set(&mut table, key, 3);
        key += 1;
    }
    let deltas = table.freeze(CheckpointId(2)).unwrap();
    assert_eq!(newest(&deltas), (BlockKind::Changes, 10 + key - 1000));
    store.commit(CheckpointId(2), &deltas);
    assert_eq!(restored(&store), content(&table));
}

#[test]
fn what_an_aborted_checkpoint_froze_is_owed_to_the_next() {
    let (mut table, mut store) = (small(), Store::default());
    (0..100).for_each(|key| set(&mut table, key, 1));
    store.commit(CheckpointId(1), &table.freeze(CheckpointId(1)).unwrap());
    table.completed(CheckpointId(1));
    for (checkpoint, key) in [(2, 10), (3, 11), (4, 12)] {
        set(&mut table, key, checkpoint);
        assert_eq!(table.freeze(CheckpointId(checkpoint)).unwrap().len(), checkpoint as usize - 1);
    }
    store.commit(CheckpointId(5), &table.freeze(CheckpointId(5)).unwrap());
    assert_eq!(restored(&store), content(&table));
    table.completed(CheckpointId(5));
    assert!(table.freeze(CheckpointId(6)).unwrap().is_empty());
}

#[test]
fn a_completion_heard_late_drops_only_what_it_covers() {
    let (mut table, mut store) = (small(), Store::default());
    (0..100).for_each(|key| set(&mut table, key, 1));
    store.commit(CheckpointId(1), &table.freeze(CheckpointId(1)).unwrap());
    set(&mut table, 7, 2);
    table.freeze(CheckpointId(2)).unwrap();
    table.completed(CheckpointId(1));
    // Checkpoint 2 is aborted.
    store.commit(CheckpointId(3), &table.freeze(CheckpointId(3)).unwrap());
    assert_eq!(restored(&store), content(&table));
}

#[test]
fn what_is_owed_stays_below_a_few_times_the_state_however_many_checkpoints_abort() {
    let mut table = small();
    (0..100).for_each(|key| set(&mut table, key, 1));
    for checkpoint in 1..200 {
        (0..10).for_each(|i| set(&mut table, (checkpoint as u32 * 10 + i) % 100, checkpoint));
        let owed = table.freeze(CheckpointId(checkpoint)).unwrap();
        let entries: u32 = owed.iter().flat_map(|delta| &delta.blocks).map(|block| block.entries).sum();
        assert!(entries <= 220, "{entries} entries owed at checkpoint {checkpoint}");
    }
}

#[test]
fn a_key_that_comes_and_goes_between_two_snapshots_takes_no_room_each_time() {
    for live in [0, 10, 1000] {
        let (mut table, mut store) = (small(), Store::default());
        (0..live).for_each(|key| set(&mut table, key, 1));
        store.commit(CheckpointId(1), &table.freeze(CheckpointId(1)).unwrap());
        for value in 0..100_000 {
            set(&mut table, 5000, value);
            remove(&mut table, &5000);
        }
        let removed = table.groups[0].removed();
        assert!(removed <= live as usize + 1, "{removed} removals kept of one key beside {live} live ones");
        store.commit(CheckpointId(2), &table.freeze(CheckpointId(2)).unwrap());
        assert_eq!(restored(&store), content(&table));
    }
}

#[test]
fn the_entries_stored_stay_below_three_times_the_live_ones() {
    let groups = 16;
    let mut table = table(KeyGroupRange { start: 0, end: groups }, groups);
    let mut store = Store::default();
    let mut random = 1u64;
    let mut next = |below: u64| {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (random >> 33) % below
    };
    let mut most = 0.0f64;
    for checkpoint in 1..400 {
        for _ in 0..200 {
            let key = next(4000) as u32;
            if next(3) == 0 {
                remove(&mut table, &key);
            } else {
                set(&mut table, key, checkpoint);
            }
        }
        store.commit(CheckpointId(checkpoint), &table.freeze(CheckpointId(checkpoint)).unwrap());
        table.completed(CheckpointId(checkpoint));
        let live: usize = table.groups.iter().map(Group::live).sum();
        most = most.max(store.entries() as f64 / live as f64);
    }
    assert!(most < 3.0, "{most}");
}

#[test]
fn a_snapshot_writes_at_most_a_few_times_what_changed() {
    let mut table = table(KeyGroupRange { start: 0, end: 16 }, 16);
    (0..16_000).for_each(|key| set(&mut table, key, 0));
    table.freeze(CheckpointId(1)).unwrap();
    table.completed(CheckpointId(1));
    for checkpoint in 2..300 {
        (0..160).for_each(|i| set(&mut table, (checkpoint as u32 * 977 + i * 101) % 16_000, checkpoint));
        let deltas = table.freeze(CheckpointId(checkpoint)).unwrap();
        let written: u32 = deltas.last().unwrap().blocks.iter().map(|block| block.entries).sum();
        assert!(written <= 160 + 160 + 2 * 1100, "{written} entries at checkpoint {checkpoint}");
        table.completed(CheckpointId(checkpoint));
    }
}

#[test]
fn a_key_in_the_wrong_group_is_refused() {
    let mut store = Store::default();
    let mut wide = table(KeyGroupRange { start: 0, end: GROUPS }, GROUPS);
    (0..20).for_each(|key| set(&mut wide, key, 1));
    store.commit(CheckpointId(1), &wide.freeze(CheckpointId(1)).unwrap());
    let first = store.groups[&0].clone();
    store.groups.insert(1, first);
    let error = table(KeyGroupRange { start: 1, end: 2 }, GROUPS).restore(&store).unwrap_err();
    assert_eq!(error.cause.unwrap().to_string(), "a key of group 0 was stored in group 1");
}

/// What happens to a key of a job, or to the job.
#[derive(Clone, Debug)]
enum Op {
    Fold(u32),
    Set(u32, u64),
    Remove(u32),
    Clear(u32),
    ClearAndSet(u32, u64),
    SetAndClear(u32),
    UpdateTwice(u32),
    Many(u32),
    RemoveMany(u32),
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

const KEYS: u32 = 60;

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS;
    let fate = prop_oneof![5 => Just(Fate::Completed), 2 => Just(Fate::CompletedUnheard), 2 => Just(Fate::Aborted)];
    prop_oneof![
        8 => key().prop_map(Op::Fold),
        4 => (key(), any::<u64>()).prop_map(|(key, value)| Op::Set(key, value)),
        3 => key().prop_map(Op::Remove),
        3 => key().prop_map(Op::Clear),
        2 => (key(), any::<u64>()).prop_map(|(key, value)| Op::ClearAndSet(key, value)),
        2 => key().prop_map(Op::SetAndClear),
        2 => key().prop_map(Op::UpdateTwice),
        1 => key().prop_map(Op::Many),
        1 => key().prop_map(Op::RemoveMany),
        6 => fate.prop_map(Op::Freeze),
        2 => Just(Op::HearLate),
        1 => (1..=4u32).prop_map(Op::Restore),
    ]
}

/// A keyed step at some parallelism, its store, and what both should hold.
struct Job {
    tables: Vec<KeyedTable<u32, u64>>,
    store: Store,
    checkpoint: u64,
    /// Completions that the tables have not heard of, oldest first.
    unheard: VecDeque<CheckpointId>,
    live: BTreeMap<u32, u64>,
    completed: BTreeMap<u32, u64>,
}

impl Job {
    fn new(parallelism: u32) -> Self {
        let mut job = Self {
            tables: Vec::new(),
            store: Store::default(),
            checkpoint: 0,
            unheard: VecDeque::new(),
            live: BTreeMap::new(),
            completed: BTreeMap::new(),
        };
        job.restore(parallelism);
        job
    }

    fn table(&mut self, key: u32) -> &mut KeyedTable<u32, u64> {
        let group = KeyGroup::of_hash(key.hash64(), GROUPS);
        self.tables.iter_mut().find(|table| table.range.contains(group)).unwrap()
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Fold(key) => {
                let table = self.table(key);
                *table.get_mut_or_insert_with(table.find(table.hint(&key), &key), &key, || 0) += 1;
                *self.live.entry(key).or_insert(0) += 1;
            }
            Op::Set(key, value) => {
                set(self.table(key), key, value);
                self.live.insert(key, value);
            }
            Op::Remove(key) => assert_eq!(remove(self.table(key), &key), self.live.remove(&key)),
            Op::Clear(key) => {
                with_state(self.table(key), &key, |state| state.clear());
                self.live.remove(&key);
            }
            Op::ClearAndSet(key, value) => {
                with_state(self.table(key), &key, |state| {
                    state.clear();
                    assert_eq!(state.get(), None);
                    assert_eq!(state.get_mut(), None);
                    state.set(value);
                    assert_eq!(state.get(), Some(&value));
                });
                self.live.insert(key, value);
            }
            Op::SetAndClear(key) => {
                with_state(self.table(key), &key, |state| {
                    state.set(3);
                    state.clear();
                    assert_eq!(state.get(), None);
                });
                self.live.remove(&key);
            }
            Op::UpdateTwice(key) => {
                with_state(self.table(key), &key, |state| {
                    state.update(|| 5, |value| *value = value.wrapping_add(1));
                    state.update(|| 9, |value| *value = value.wrapping_mul(2));
                });
                let value = self.live.entry(key).or_insert(5);
                *value = value.wrapping_add(1).wrapping_mul(2);
            }
            Op::Many(key) => (0..KEYS * 3).for_each(|i| self.apply(Op::Set(key + i, u64::from(i)))),
            Op::RemoveMany(key) => (0..KEYS * 3).for_each(|i| self.apply(Op::Remove(key + i))),
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
        let deltas: Vec<_> = self.tables.iter_mut().map(|table| table.freeze(checkpoint).unwrap()).collect();
        if let Fate::Aborted = fate {
            return;
        }
        let newest = self.store.newest;
        for of_subtask in deltas {
            self.store.newest = newest;
            self.store.commit(checkpoint, &of_subtask);
        }
        self.completed = self.live.clone();
        match fate {
            Fate::Completed => self.tables.iter_mut().for_each(|table| table.completed(checkpoint)),
            _ => self.unheard.push_back(checkpoint),
        }
    }

    fn restore(&mut self, parallelism: u32) {
        self.live = self.completed.clone();
        self.unheard.clear();
        self.tables.clear();
        for index in 0..parallelism {
            let mut table = table(KeyGroupRange::of_subtask(SubtaskIndex(index), parallelism, GROUPS), GROUPS);
            table.restore(&self.store).unwrap();
            self.tables.push(table);
        }
        self.check();
    }

    fn check(&self) {
        let content: BTreeMap<_, _> = self.tables.iter().flat_map(content).collect();
        assert_eq!(content, self.live);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Entries come and go between a hint and its use, and 600 keys share 128 tags.
    #[test]
    fn a_hint_however_old_leads_to_the_entry_of_its_key(
        before in prop::collection::btree_map(0u32..600, any::<u64>(), 0..600),
        ops in prop::collection::vec((0u32..600, prop::option::of(any::<u64>())), 0..600),
    ) {
        let mut table = small();
        before.iter().for_each(|(key, value)| set(&mut table, *key, *value));
        let mut expected = before;
        let hints: Vec<Slot> = ops.iter().map(|(key, _)| table.hint(key)).collect();
        for ((key, new), hint) in ops.into_iter().zip(hints) {
            let slot = table.find(hint, &key);
            prop_assert_eq!(table.value_mut(slot).copied(), expected.get(&key).copied());
            match new {
                Some(value) => {
                    *table.get_mut_or_insert_with(slot, &key, || 0) = value;
                    expected.insert(key, value);
                }
                None => prop_assert_eq!(slot.bucket().and_then(|_| table.remove(slot, &key)), expected.remove(&key)),
            }
        }
        prop_assert_eq!(content(&table), expected);
    }

    #[test]
    fn a_table_holds_what_a_map_does_through_checkpoints_aborts_and_restores_at_any_parallelism(
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
    }
}
