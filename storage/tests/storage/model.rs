//! Every backend agrees with plain maps, one for each checkpoint kept, whatever is committed, aborted, reopened, gone back from, pinned.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::{
        snapshot::{BlockKind, StateBlock, StateDelta},
        store::{CheckpointStore, StateBackend, StateReader, StoreErrorKind},
    },
};
#[cfg(feature = "filesystem")]
use cofferdam_storage::FileSystem;
use cofferdam_storage::{Lmdb, Memory};
#[cfg(feature = "filesystem")]
use object_store::memory::InMemory;
use proptest::{collection::vec, prelude::*};

use crate::{enveloped::Enveloped, support::*};

/// One checkpoint: what was frozen for it, and what became of it.
#[derive(Clone, Debug)]
struct Step {
    /// (state, group, full?, seed): the bytes follow from the seed.
    blocks: Vec<(usize, u16, bool, u16)>,
    /// An aborted checkpoint's deltas are owed to the next.
    aborted: bool,
    /// A lost completion leaves stored deltas owed.
    forgotten: bool,
    reopened: bool,
    new_attempt: bool,
    num_retained: u32,
    /// Goes back to the checkpoint so many before the newest, if it is kept.
    back: Option<usize>,
    /// The newest is pinned, or the oldest pin goes.
    pins: Option<bool>,
}

const STATES: [&str; 2] = ["total", "window"];
const NUM_RETAINED: u32 = 3;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = (0..STATES.len(), 0..GROUPS, any::<bool>(), any::<u16>());
    let flags =
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let retention = (1..=NUM_RETAINED, prop::option::weighted(0.2, 0..NUM_RETAINED as usize + 1));
    let pins = prop::option::weighted(0.3, any::<bool>());
    let step = (vec(block, 0..6), flags, retention, pins).prop_map(
        |(blocks, (aborted, forgotten, reopened, new_attempt), (num_retained, back), pins)| Step {
            blocks,
            aborted,
            forgotten,
            reopened,
            new_attempt,
            num_retained,
            back,
            pins,
        },
    );
    vec(step, 1..20)
}

/// The number does not change in most runs.
fn settle(mut steps: Vec<Step>, changes: bool) -> Vec<Step> {
    let first = steps[0].num_retained;
    steps.iter_mut().filter(|_| !changes).for_each(|step| step.num_retained = first);
    steps
}

/// From nothing to a few parts.
fn bytes_of(seed: u16) -> Vec<u8> {
    let length = match seed % 5 {
        0 => 0,
        1 => usize::from(seed),
        _ => usize::from(seed % 300),
    };
    (0..length).map(|at| (at as u16 ^ seed) as u8).collect()
}

fn deltas_of(number: u64, step: &Step) -> Vec<Arc<StateDelta>> {
    let mut states: BTreeMap<usize, BTreeMap<u16, StateBlock>> = BTreeMap::new();
    for &(state, group, is_full, seed) in &step.blocks {
        let block = if is_full { full(group, &bytes_of(seed)) } else { changes(group, &bytes_of(seed)) };
        states.entry(state).or_default().insert(group, block);
    }
    states.into_iter().map(|(state, blocks)| delta(number, STATES[state], blocks.into_values().collect())).collect()
}

/// A checkpoint as a plain map.
#[derive(Clone, Default)]
struct Model {
    number: Option<u64>,
    blocks: BTreeMap<(String, u16), Vec<Seen>>,
}

/// Every checkpoint kept, the oldest first.
#[derive(Default)]
struct Oracle {
    kept: Vec<Model>,
}

impl Model {
    fn commit(&mut self, number: u64, deltas: &[Arc<StateDelta>]) {
        for delta in deltas.iter().filter(|delta| self.number.is_none_or(|newest| delta.checkpoint.0 > newest)) {
            for block in &delta.blocks {
                let stored = self.blocks.entry((delta.address.state.clone(), block.group.0)).or_default();
                if block.kind == BlockKind::Full {
                    stored.clear();
                }
                stored.push(seen(block));
            }
        }
        self.number = Some(number);
    }

    fn state(&self, state: &str) -> Vec<Seen> {
        self.blocks.iter().filter(|((name, _), _)| name == state).flat_map(|(_, blocks)| blocks.clone()).collect()
    }
}

impl Oracle {
    fn commit(&mut self, number: u64, deltas: &[Arc<StateDelta>], num_retained: u32) {
        let mut next = self.newest();
        next.commit(number, deltas);
        self.kept.push(next);
        let outdated = self.kept.len().saturating_sub(num_retained as usize);
        self.kept.drain(..outdated);
    }

    fn newest(&self) -> Model {
        self.kept.last().cloned().unwrap_or_default()
    }

    fn numbers(&self) -> Vec<u64> {
        self.kept.iter().filter_map(|kept| kept.number).collect()
    }
}

/// What reads a pinned checkpoint, and what that is.
type Pinned = (Arc<dyn StateReader>, Model);

/// Goes back, or is refused what is not kept.
fn go_back(store: &mut dyn CheckpointStore, oracle: &mut Oracle, back: usize, was_pinned: bool) {
    let highest = store.highest().unwrap();
    match oracle.kept.len().checked_sub(back + 1) {
        Some(chosen) => {
            oracle.kept.truncate(chosen + 1);
            let number = oracle.newest().number.unwrap();
            assert_eq!(store.go_back(CheckpointId(number)).unwrap().checkpoint.0, number);
        }
        None if was_pinned => {}
        None => {
            let dropped = oracle.numbers().first().map_or(0, |oldest| oldest.wrapping_sub(1));
            assert_eq!(refusal(store.go_back(CheckpointId(dropped))).0, StoreErrorKind::NotRetained);
        }
    }
    assert_eq!(store.highest().unwrap(), highest);
}

fn run(backend: &dyn StateBackend, steps: &[Step]) {
    let mut store = backend.open().unwrap();
    let mut attempt = store.begin_attempt().unwrap();
    let mut oracle = Oracle::default();
    let (mut owed, mut pins, mut was_pinned) = (Vec::new(), Vec::new(), false);
    for (number, step) in (0..).zip(steps) {
        owed.extend(deltas_of(number, step));
        if step.aborted {
            continue;
        }
        oracle.commit(number, &owed, step.num_retained);
        store.commit(&retaining(step.num_retained, attempt, number, owed.clone())).unwrap();
        if !step.forgotten {
            owed.clear();
        }
        if step.reopened {
            pins.clear();
            drop(store);
            store = backend.open().unwrap();
        }
        if step.new_attempt {
            let next = store.begin_attempt().unwrap();
            assert_eq!(next, Attempt(attempt.0 + 1));
            attempt = next;
        }
        if let Some(back) = step.back {
            go_back(&mut *store, &mut oracle, back, was_pinned);
            // Going back belongs to a start, which owes nothing.
            owed.clear();
            pins.retain(|(_, pinned): &Pinned| pinned.number <= oracle.newest().number);
        }
        match step.pins {
            Some(true) => pins.push((store.pin().unwrap(), oracle.newest())),
            Some(false) if !pins.is_empty() => drop(pins.remove(0)),
            _ => {}
        }
        was_pinned |= !pins.is_empty();
        for (reader, pinned) in &pins {
            STATES.iter().for_each(|state| assert_eq!(read_from(&**reader, state, ALL).unwrap(), pinned.state(state)));
        }
        assert_eq!(newest(&mut *store), oracle.newest().number);
        for state in STATES {
            assert_eq!(read(&mut *store, state), oracle.newest().state(state));
        }
        let retained = store.retained().unwrap();
        let whole: Vec<_> = retained.iter().map(|kept| kept.metadata.as_ref().unwrap().checkpoint.0).collect();
        // One that is or was pinned may be kept beside them.
        let expected: Vec<_> = whole.iter().copied().filter(|number| oracle.numbers().contains(number)).collect();
        assert_eq!(expected, oracle.numbers());
        assert!(was_pinned || whole == expected, "{whole:?} instead of {expected:?}");
    }
    // Each one kept is exactly what it was.
    while let Some(model) = oracle.kept.pop() {
        store.go_back(CheckpointId(model.number.unwrap())).unwrap();
        for state in STATES {
            assert_eq!(read(&mut *store, state), model.state(state));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_agrees_with_a_map(steps in steps(), changes in prop::bool::weighted(0.3)) {
        run(&Memory::new(), &settle(steps, changes));
    }

    #[test]
    fn lmdb_agrees_with_a_map(steps in steps(), changes in prop::bool::weighted(0.3)) {
        let directory = tempfile::tempdir().unwrap();
        run(&Lmdb::at(directory.path()).map_size(1 << 20), &settle(steps, changes));
    }

    #[test]
    fn lmdb_with_a_heap_limit_agrees_with_a_map(
        steps in steps(),
        changes in prop::bool::weighted(0.3),
        alternates in any::<bool>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let lmdb = Lmdb::at(directory.path()).map_size(1 << 20);
        run(&Enveloped::new(lmdb, alternates), &settle(steps, changes));
    }
}

#[cfg(feature = "filesystem")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn files_agree_with_a_map(steps in steps(), changes in prop::bool::weighted(0.3)) {
        let directory = tempfile::tempdir().unwrap();
        run(&FileSystem::at(directory.path()), &settle(steps, changes));
    }

    #[test]
    fn objects_agree_with_a_map(steps in steps(), changes in prop::bool::weighted(0.3)) {
        run(&FileSystem::object_store(Arc::new(InMemory::new()), ""), &settle(steps, changes));
    }
}
