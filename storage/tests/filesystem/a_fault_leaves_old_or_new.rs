//! Whatever call of the object store fails, before it was carried out or after it: a place opened again shows what was acknowledged, or that and the step that
//! failed, each whole; and the job goes on.

use std::{collections::BTreeMap, sync::Arc};

use cofferdam_engine::{
    CheckpointId,
    checkpoint::{
        snapshot::{BlockKind, StateBlock},
        store::{CheckpointStore, StateBackend as _, StoreError, StoreErrorKind},
    },
};
use cofferdam_storage::FileSystem;
use object_store::memory::InMemory;

use crate::{
    shim::{Fault, Shim},
    support::*,
};

const RETAINED: u32 = 2;

/// What is done to the place.
#[derive(Clone, Copy, Debug)]
enum Step {
    Commit(u64),
    Back(u64),
    Reopen,
}

fn steps() -> Vec<Step> {
    let mut steps: Vec<_> = (0..12).map(Step::Commit).collect();
    steps.extend([Step::Reopen, Step::Commit(12), Step::Commit(13), Step::Back(12), Step::Commit(14), Step::Reopen]);
    steps.extend((15..18).map(Step::Commit));
    steps
}

fn blocks(number: u64) -> Vec<StateBlock> {
    // Group 1 is only ever changed, so that its pieces are merged; group 2 is written once; the others go round.
    let mut blocks = vec![changes(1, &[number as u8; 30])];
    if number == 0 {
        blocks.push(full(2, &[7; 50]));
    }
    blocks.push(full(3 + (number % 3) as u16, &[number as u8; 2_000]));
    blocks
}

/// State of each checkpoint kept.
type Model = BTreeMap<u64, Vec<Seen>>;

fn after(model: &Model, step: Step) -> Model {
    let mut next = model.clone();
    match step {
        Step::Reopen => {}
        Step::Back(number) => next.retain(|kept, _| *kept <= number),
        Step::Commit(number) => {
            let mut groups: BTreeMap<u16, Vec<Seen>> = BTreeMap::new();
            for block in model.values().next_back().cloned().unwrap_or_default() {
                groups.entry(block.0).or_default().push(block);
            }
            for block in blocks(number) {
                let group = groups.entry(block.group.0).or_default();
                if block.kind == BlockKind::Full {
                    group.clear();
                }
                group.push(seen(&block));
            }
            next.insert(number, groups.into_values().flatten().collect());
            while next.len() > RETAINED as usize {
                next.pop_first();
            }
        }
    }
    next
}

/// What a store shows, going back through it; the place is a copy.
fn model_of(store: &mut dyn CheckpointStore) -> Model {
    let mut model = Model::new();
    let mut kept: Vec<_> =
        store.retained().unwrap().iter().map(|kept| kept.metadata.as_ref().unwrap().checkpoint).collect();
    while let Some(number) = kept.pop() {
        store.go_back(number).unwrap();
        model.insert(number.0, read(store, "total"));
    }
    model
}

struct Run {
    /// After the last step that was acknowledged.
    acknowledged: Model,
    /// And the step that failed.
    failed: Option<Step>,
    /// Commits of which it was said that they had changed nothing: the same store went on.
    not_stored: usize,
}

fn run(shim: &Arc<Shim>) -> Run {
    let backend = FileSystem::object_store(shim.clone(), "job");
    let (mut acknowledged, mut not_stored) = (Model::new(), 0);
    let open = || -> Result<_, StoreError> {
        let mut store = backend.open()?;
        let attempt = store.begin_attempt()?;
        Ok((store, attempt))
    };
    let Ok((mut store, mut attempt)) = open() else {
        return Run { acknowledged, failed: Some(Step::Reopen), not_stored };
    };
    for step in steps() {
        let result = match step {
            Step::Commit(number) => {
                let commit = retaining(RETAINED, attempt, number, vec![delta(number, "total", blocks(number))]);
                store.commit(&commit).map(drop)
            }
            Step::Back(number) => store.go_back(CheckpointId(number)).map(drop),
            Step::Reopen => {
                drop(store);
                match open() {
                    Ok(opened) => (store, attempt) = opened,
                    Err(_) => return Run { acknowledged, failed: Some(step), not_stored },
                }
                Ok(())
            }
        };
        match result {
            Ok(()) => acknowledged = after(&acknowledged, step),
            Err(error) if error.kind == StoreErrorKind::NotStored => {
                not_stored += 1;
                let shown = store.newest().ok().flatten().map(|newest| newest.checkpoint.0);
                assert!(shown.is_none() || shown == acknowledged.keys().next_back().copied(), "{step:?}: {shown:?}");
            }
            Err(_) => return Run { acknowledged, failed: Some(step), not_stored },
        }
    }
    Run { acknowledged, failed: None, not_stored }
}

/// Runs all steps under `fault`, and says how many calls there were, and commits that were not stored.
fn check(fault: Fault) -> (usize, usize) {
    let inner = Arc::new(InMemory::new());
    let shim = Shim::new(inner.clone(), fault);
    let Run { acknowledged, failed, not_stored } = run(&shim);
    let copy = Arc::new(inner.fork());
    let found = model_of(&mut *FileSystem::object_store(copy, "job").open().unwrap());
    match failed {
        None => assert_eq!(found, acknowledged, "{fault:?}"),
        Some(step) => {
            let is_old_or_new = found == acknowledged || found == after(&acknowledged, step);
            assert!(is_old_or_new, "{fault:?} at {step:?}: {:?}", found.keys().collect::<Vec<_>>());
        }
    }
    goes_on(&inner, &found, fault);
    (shim.calls(), not_stored)
}

fn goes_on(inner: &Arc<InMemory>, found: &Model, fault: Fault) {
    let mut store = FileSystem::object_store(inner.clone(), "job").open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let mut model = found.clone();
    for number in 100..110 {
        store.commit(&retaining(RETAINED, attempt, number, vec![delta(number, "total", blocks(number))])).unwrap();
        model = after(&model, Step::Commit(number));
        assert_eq!(&read(&mut *store, "total"), model.values().next_back().unwrap(), "{fault:?}");
    }
}

#[test]
fn whichever_call_fails() {
    let (calls, _) = check(Fault::None);
    assert!(calls > 60, "{calls}");
    let mut not_stored = 0;
    for call in 0..calls {
        for fault in [Fault::Before(call), Fault::After(call), Fault::From(call)] {
            not_stored += check(fault).1;
        }
    }
    // The data object of every commit, at least.
    assert!(not_stored > 36, "{not_stored}");
}

/// A request that is repeated below because its answer was lost finds its own object, and that is no other owner's.
#[test]
fn a_put_that_finds_itself_has_succeeded() {
    let inner = Arc::new(InMemory::new());
    let shim = Shim::new(inner, Fault::Repeated);
    let Run { acknowledged, failed, .. } = run(&shim);
    assert!(failed.is_none(), "{failed:?}");
    assert_eq!(acknowledged.keys().copied().collect::<Vec<_>>(), [16, 17]);
}

/// An answer that is lost says nothing: the entry that is there does.
#[test]
fn a_commit_whose_answer_is_lost_is_acknowledged_if_it_is_there() {
    let mut survived = 0;
    for call in 0..check(Fault::None).0 {
        let shim = Shim::new(Arc::new(InMemory::new()), Fault::After(call));
        survived += usize::from(run(&shim).failed.is_none());
    }
    // Every root and every deletion, at least.
    assert!(survived > 30, "{survived}");
}
