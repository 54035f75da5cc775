use std::{
    collections::{BTreeMap, HashMap},
    sync::Mutex,
};

use proptest::prelude::*;

use super::*;
use crate::{
    checkpoint::snapshot::StateDelta,
    state::{Block, keyed_table::KeyedTable},
};

const GROUPS: u16 = 4;

/// What a store has that does as the contract says: the newest checkpoint's entries.
#[derive(Default)]
struct Store {
    newest: Mutex<(CheckpointId, BTreeMap<Vec<u8>, (Values, Vec<u8>)>)>,
    asked: Mutex<usize>,
}

impl Store {
    fn commit(&self, checkpoint: CheckpointId, deltas: &[Arc<StateDelta>]) {
        let mut newest = self.newest.lock().unwrap();
        assert!(deltas.is_sorted_by_key(|delta| delta.checkpoint), "oldest first");
        for delta in deltas.iter().filter(|delta| delta.checkpoint > newest.0).cloned().collect::<Vec<_>>() {
            for entry in delta.blocks.iter().flat_map(|block| Block::parse(&block.bytes).unwrap()) {
                let entry = entry.unwrap();
                match entry.value {
                    Some((version, value)) => newest.1.insert(entry.key.to_vec(), (version, value.to_vec())),
                    None => newest.1.remove(entry.key),
                };
            }
        }
        newest.0 = checkpoint;
    }
}

impl StateLookup for Store {
    fn get_many(
        &self,
        _: &StateAddress,
        keys: &[(KeyGroup, &[u8])],
        visit: &mut dyn FnMut(usize, Values, &[u8]) -> Result<(), BoxError>,
    ) -> Result<(), StoreError> {
        assert!(keys.is_sorted() && keys.windows(2).all(|pair| pair[0] != pair[1]), "keys grow");
        *self.asked.lock().unwrap() += keys.len();
        let newest = self.newest.lock().unwrap();
        for (place, (_, key)) in keys.iter().enumerate() {
            if let Some((version, value)) = newest.1.get(*key) {
                visit(place, *version, value)?;
            }
        }
        Ok(())
    }
}

fn table(store: &Arc<Store>, bytes: u64) -> KeyedTable<u32, String> {
    let address = StateAddress { operator: "step".into(), state: "value".into() };
    let range = KeyGroupRange { start: 0, end: GROUPS };
    let mut table = KeyedTable::new(address, ValueFormat::default(), range, GROUPS);
    table.share_heap(HeapShare { lookup: store.clone(), bytes });
    table
}

fn get(table: &mut KeyedTable<u32, String>, key: u32) -> Option<String> {
    let slot = table.find(table.hint(&key), &key);
    table.value_mut(slot).cloned()
}

fn set(table: &mut KeyedTable<u32, String>, key: u32, value: Option<String>) {
    let slot = table.find(table.hint(&key), &key);
    match value {
        Some(value) => *table.get_mut_or_insert_with(slot, &key, String::new) = value,
        None => drop(table.remove(slot, &key)),
    }
}

#[derive(Clone, Debug)]
enum Event {
    /// Writes, or removes, each key in turn; what a key was is checked first.
    Batch(Vec<(u32, Option<u16>)>),
    Freeze,
    /// The oldest frozen checkpoint is stored, and heard of at once or later.
    Store {
        heard: bool,
    },
    /// The oldest frozen checkpoint will not be.
    Abort,
    /// The completion of what was stored last is heard (again), after so many records of a batch.
    Hear(Vec<(u32, Option<u16>)>, usize),
    Crash,
}

fn batch() -> impl Strategy<Value = Vec<(u32, Option<u16>)>> {
    prop::collection::vec((0u32..200, prop::option::weighted(0.8, any::<u16>())), 0..60)
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        5 => batch().prop_map(Event::Batch),
        4 => Just(Event::Freeze),
        4 => any::<bool>().prop_map(|heard| Event::Store { heard }),
        1 => Just(Event::Abort),
        2 => (batch(), 0usize..60).prop_map(|(batch, after)| Event::Hear(batch, after)),
        1 => Just(Event::Crash),
    ];
    prop::collection::vec(event, 1..60)
}

type Frozen = (CheckpointId, Vec<Arc<StateDelta>>, HashMap<u32, String>);

/// A table beside a map that holds everything.
struct Run {
    store: Arc<Store>,
    table: KeyedTable<u32, String>,
    limit: u64,
    expected: HashMap<u32, String>,
    frozen: Vec<Frozen>,
    stored: (CheckpointId, HashMap<u32, String>),
    last: CheckpointId,
}

impl Run {
    fn batch(&mut self, batch: &[(u32, Option<u16>)], hear_after: Option<usize>) {
        self.table.batch_came();
        for (place, (key, value)) in batch.iter().enumerate() {
            if hear_after == Some(place) {
                self.table.completed(self.stored.0);
            }
            if !self.table.is_loaded() {
                self.table.load(batch[place..].iter().map(|(key, _)| key)).unwrap();
            }
            assert_eq!(get(&mut self.table, *key).as_ref(), self.expected.get(key), "key {key}");
            let value = value.map(|value| format!("value {value}"));
            set(&mut self.table, *key, value.clone());
            match value {
                Some(value) => self.expected.insert(*key, value),
                None => self.expected.remove(key),
            };
        }
    }

    fn run(&mut self, event: Event) {
        match event {
            Event::Batch(batch) => self.batch(&batch, None),
            Event::Hear(batch, after) => self.batch(&batch, Some(after)),
            Event::Freeze => {
                self.last = self.last.next();
                let deltas = self.table.freeze(self.last).unwrap();
                self.frozen.push((self.last, deltas, self.expected.clone()));
            }
            Event::Store { heard } if !self.frozen.is_empty() => {
                let (checkpoint, deltas, expected) = self.frozen.remove(0);
                self.store.commit(checkpoint, &deltas);
                self.stored = (checkpoint, expected);
                if heard {
                    self.table.completed(checkpoint);
                }
            }
            Event::Abort if !self.frozen.is_empty() => drop(self.frozen.remove(0)),
            Event::Store { .. } | Event::Abort => {}
            Event::Crash => {
                self.table = table(&self.store, self.limit);
                self.expected = self.stored.1.clone();
                self.frozen.clear();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn a_table_of_which_little_is_on_the_heap_is_like_one_that_is_there_whole(events in events(), limit in prop_oneof![Just(0u64), Just(2000), Just(u64::MAX)]) {
        let store = Arc::new(Store::default());
        let table = table(&store, limit);
        let mut run = Run { store, table, limit, expected: HashMap::new(), frozen: Vec::new(), stored: Default::default(), last: CheckpointId(0) };
        events.into_iter().for_each(|event| run.run(event));
        let all: Vec<_> = (0..200).map(|key| (key, None)).collect();
        run.batch(&all, None);
    }
}

/// Checkpoints overlap all the time: one is always under way.
#[test]
fn what_is_stored_leaves_the_heap_although_a_checkpoint_is_always_under_way() {
    let store = Arc::new(Store::default());
    let mut table = table(&store, 0);
    let mut before = Vec::new();
    for round in 0..20u32 {
        table.batch_came();
        let keys: Vec<_> = (round * 1000..(round + 1) * 1000).collect();
        table.load(keys.iter()).unwrap();
        keys.iter().for_each(|key| set(&mut table, *key, Some("x".into())));
        let checkpoint = CheckpointId(u64::from(round) + 1);
        let deltas = table.freeze(checkpoint).unwrap();
        let older = std::mem::replace(&mut before, deltas);
        if round > 0 {
            store.commit(CheckpointId(u64::from(round)), &older);
            table.completed(CheckpointId(u64::from(round)));
        }
    }
    assert!(table.heap_entries() <= 3000, "{} of 20000", table.heap_entries());
}

#[test]
fn a_batch_asks_the_store_once_for_each_key_that_is_not_there() {
    let store = Arc::new(Store::default());
    let mut table = table(&store, u64::MAX);
    table.load([1, 2, 2, 1, 3].iter()).unwrap();
    assert_eq!(*store.asked.lock().unwrap(), 3);
    set(&mut table, 1, Some("a".into()));
    set(&mut table, 2, Some("b".into()));
    set(&mut table, 2, None);
    table.batch_came();
    assert!(!table.is_loaded());
    table.load([1, 2, 4].iter()).unwrap();
    assert_eq!(*store.asked.lock().unwrap(), 4, "1 is there, 2 has gone, 4 is not known");
}

#[test]
fn the_heap_is_given_back_when_keys_have_come_and_gone() {
    let store = Arc::new(Store::default());
    let mut table = table(&store, 100_000);
    let keys: Vec<u32> = (0..50_000).collect();
    table.load(keys.iter()).unwrap();
    keys.iter().for_each(|key| set(&mut table, *key, Some("x".into())));
    keys.iter().for_each(|key| set(&mut table, *key, None));
    table.batch_came();
    table.load([1].iter()).unwrap();
    assert!(table.heap_is_spent());
    let deltas = table.freeze(CheckpointId(1)).unwrap();
    store.commit(CheckpointId(1), &deltas);
    table.completed(CheckpointId(1));
    table.batch_came();
    table.load([1].iter()).unwrap();
    assert!(!table.heap_is_spent());
}
