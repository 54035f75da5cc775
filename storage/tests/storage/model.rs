//! Both backends agree with a plain map, whatever is committed, aborted, reopened.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    Attempt,
    checkpoint::{
        snapshot::{BlockKind, StateBlock, StateDelta},
        store::StateBackend,
    },
};
use cofferdam_storage::{Lmdb, Memory};
use proptest::{collection::vec, prelude::*};

use crate::support::*;

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
}

const STATES: [&str; 2] = ["total", "window"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let block = (0..STATES.len(), 0..GROUPS, any::<bool>(), any::<u16>());
    let flags =
        (prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2), prop::bool::weighted(0.2));
    let step = (vec(block, 0..6), flags).prop_map(|(blocks, (aborted, forgotten, reopened, new_attempt))| Step {
        blocks,
        aborted,
        forgotten,
        reopened,
        new_attempt,
    });
    vec(step, 1..20)
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

#[derive(Default)]
struct Oracle {
    newest: Option<u64>,
    blocks: BTreeMap<(String, u16), Vec<Seen>>,
}

impl Oracle {
    fn commit(&mut self, number: u64, deltas: &[Arc<StateDelta>]) {
        for delta in deltas.iter().filter(|delta| self.newest.is_none_or(|newest| delta.checkpoint.0 > newest)) {
            for block in &delta.blocks {
                let stored = self.blocks.entry((delta.address.state.clone(), block.group.0)).or_default();
                if block.kind == BlockKind::Full {
                    stored.clear();
                }
                stored.push(seen(block));
            }
        }
        self.newest = Some(number);
    }

    fn state(&self, state: &str) -> Vec<Seen> {
        self.blocks.iter().filter(|((name, _), _)| name == state).flat_map(|(_, blocks)| blocks.clone()).collect()
    }
}

fn run(backend: &dyn StateBackend, steps: &[Step]) {
    let mut store = backend.open().unwrap();
    let mut attempt = store.begin_attempt().unwrap();
    let mut oracle = Oracle::default();
    let mut owed = Vec::new();
    for (number, step) in (0..).zip(steps) {
        owed.extend(deltas_of(number, step));
        if step.aborted {
            continue;
        }
        oracle.commit(number, &owed);
        commit(&mut *store, attempt, number, owed.clone());
        if !step.forgotten {
            owed.clear();
        }
        if step.reopened {
            drop(store);
            store = backend.open().unwrap();
        }
        if step.new_attempt {
            let next = store.begin_attempt().unwrap();
            assert_eq!(next, Attempt(attempt.0 + 1));
            attempt = next;
        }
        assert_eq!(newest(&mut *store), oracle.newest);
        for state in STATES {
            assert_eq!(read(&mut *store, state), oracle.state(state));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn memory_agrees_with_a_map(steps in steps()) {
        run(&Memory::new(), &steps);
    }

    #[test]
    fn lmdb_agrees_with_a_map(steps in steps()) {
        let directory = tempfile::tempdir().unwrap();
        run(&Lmdb::at(directory.path()).map_size(1 << 20), &steps);
    }
}
