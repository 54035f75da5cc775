//! Look-ups find what a map has, whatever was committed, folded, gone back from; with parts and budgets so small that all of it happens.

use std::{collections::BTreeMap, num::NonZeroU32, path::Path, sync::Arc};

use cofferdam_engine::{
    CheckpointId, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock, StateDelta},
        store::{CheckpointStore, CommitStats},
    },
    state::{Block, Values},
};
use proptest::{collection::vec, prelude::*};

use super::{fold::Limits, start, store::Store};

fn address() -> StateAddress {
    StateAddress { operator: "count".into(), state: "total".into() }
}

/// Encoded key to version and value.
type Map = BTreeMap<Vec<u8>, (u32, Vec<u8>)>;

fn varint(mut number: usize, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A block as a subtask freezes it.
#[derive(Default)]
struct Frozen {
    gone: Vec<Vec<u8>>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Frozen {
    fn block(&self, group: u16, kind: BlockKind, version: u8) -> StateBlock {
        let mut bytes = vec![2, version];
        let delimited = |slice: &[u8], bytes: &mut Vec<u8>| {
            varint(slice.len(), bytes);
            bytes.extend_from_slice(slice);
        };
        varint(self.gone.len(), &mut bytes);
        self.gone.iter().for_each(|key| delimited(key, &mut bytes));
        for (key, value) in &self.entries {
            delimited(key, &mut bytes);
            delimited(value, &mut bytes);
        }
        let entries = (self.gone.len() + self.entries.len()) as u32;
        StateBlock { group: KeyGroup(group), kind, entries, bytes: if entries == 0 { vec![] } else { bytes } }
    }
}

fn commit(store: &mut Store, number: u64, groups: u16, num_retained: u32, deltas: Vec<Arc<StateDelta>>) -> CommitStats {
    let metadata = CheckpointMetadata {
        job: JobId(1),
        job_name: "test".into(),
        checkpoint: CheckpointId(number),
        attempt: store.standing().attempt,
        max_parallelism: groups,
        finished: false,
        draining: false,
        in_flight: Vec::new(),
        times: Vec::new(),
        operators: vec![],
        origin: None,
    };
    let (num_retained, fail_points) = (NonZeroU32::new(num_retained).unwrap(), Default::default());
    store.commit(&CheckpointCommit { metadata, deltas, num_retained, fail_points }).unwrap()
}

fn delta(number: u64, blocks: Vec<StateBlock>) -> Arc<StateDelta> {
    Arc::new(StateDelta { checkpoint: CheckpointId(number), address: address(), blocks })
}

fn open(path: &Path, limits: Option<Limits>) -> Store {
    let store = start::open(path, 1 << 20).unwrap();
    match limits {
        Some(limits) => store.with_lookups(limits),
        None => store,
    }
}

fn look_up(store: &mut Store, keys: &[(KeyGroup, &[u8])]) -> Option<Map> {
    let lookup = store.lookup().unwrap()?;
    let mut found = Map::new();
    let visit = &mut |place: usize, form: Values, value: &[u8]| {
        let before = found.insert(keys[place].1.to_vec(), (form.version, value.to_vec()));
        assert_eq!(before, None, "visited twice");
        Ok(())
    };
    lookup.get_many(&address(), keys, visit).unwrap();
    Some(found)
}

fn read(store: &mut Store, groups: u16) -> Map {
    let mut map = Map::new();
    let visit = &mut |_, _, _, bytes: &[u8]| {
        for entry in Block::parse(bytes)? {
            let entry = entry?;
            match entry.value {
                Some((form, value)) => drop(map.insert(entry.key.to_vec(), (form.version, value.to_vec()))),
                None => drop(map.remove(entry.key)),
            }
        }
        Ok(())
    };
    store.reader().unwrap().read(&address(), KeyGroupRange { start: 0, end: groups }, visit).unwrap();
    map
}

const GROUPS: u16 = 4;
const KEYS: u8 = 60;

/// Of varying length.
fn key(key: u8) -> Vec<u8> {
    let mut bytes = vec![key];
    bytes.resize(1 + usize::from(key % 5) * 7, key);
    bytes
}

fn group_of(key: u8) -> u16 {
    u16::from(key) % GROUPS
}

#[derive(Clone, Debug)]
enum Op {
    Put(u16),
    Remove,
    RemoveAndPut(u16),
}

#[derive(Clone, Debug)]
struct Step {
    ops: BTreeMap<u8, Op>,
    full: Vec<bool>,
    aborted: bool,
    num_retained: u32,
    /// With a limit or without.
    reopened: Option<bool>,
    back: Option<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let op = prop_oneof![(0u16..300).prop_map(Op::Put), Just(Op::Remove), (0u16..300).prop_map(Op::RemoveAndPut)];
    let step = (
        prop::collection::btree_map(0..KEYS, op, 0..12),
        vec(prop::bool::weighted(0.1), usize::from(GROUPS)),
        prop::bool::weighted(0.2),
        1u32..4,
        prop::option::weighted(0.25, prop::bool::weighted(0.6)),
        prop::option::weighted(0.15, 0usize..3),
    );
    let step = step.prop_map(|(ops, full, aborted, num_retained, reopened, back)| Step {
        ops,
        full,
        aborted,
        num_retained,
        reopened,
        back,
    });
    vec(step, 1..30)
}

/// Changes `live`, and freezes that as checkpoint `number`.
fn freeze(live: &mut Map, number: u64, step: &Step) -> Arc<StateDelta> {
    let version = number as u8 % 100;
    let mut groups: BTreeMap<u16, Frozen> = BTreeMap::new();
    for (name, op) in &step.ops {
        let frozen = groups.entry(group_of(*name)).or_default();
        if matches!(op, Op::Remove | Op::RemoveAndPut(_)) {
            live.remove(&key(*name));
            frozen.gone.push(key(*name));
        }
        if let Op::Put(length) | Op::RemoveAndPut(length) = op {
            let value = vec![number as u8; usize::from(*length)];
            live.insert(key(*name), (version.into(), value.clone()));
            frozen.entries.push((key(*name), value));
        }
    }
    for group in (0..GROUPS).filter(|group| step.full[usize::from(*group)]) {
        let of_group = live.iter_mut().filter(|(key, _)| group_of(key[0]) == group);
        let entries = of_group.map(|(key, (written, value))| {
            // A subtask writes everything in its newest version.
            *written = version.into();
            (key.clone(), value.clone())
        });
        groups.insert(group, Frozen { gone: Vec::new(), entries: entries.collect() });
    }
    let blocks = groups.iter().map(|(group, frozen)| {
        let kind = if step.full[usize::from(*group)] { BlockKind::Full } else { BlockKind::Changes };
        frozen.block(*group, kind, version)
    });
    delta(number, blocks.collect())
}

fn check(store: &mut Store, map: &Map) {
    assert_eq!(read(store, GROUPS), *map);
    for stride in [1, 3] {
        // Some of them are absent.
        let mut keys: Vec<_> =
            (0..KEYS + 10).step_by(stride).map(|name| (KeyGroup(group_of(name)), key(name))).collect();
        keys.sort();
        let asked: Vec<_> = keys.iter().map(|(group, key)| (*group, &key[..])).collect();
        let Some(found) = look_up(store, &asked) else { return };
        let expected: Map =
            map.clone().into_iter().filter(|(key, _)| asked.iter().any(|(_, asked)| asked == key)).collect();
        assert_eq!(found, expected);
    }
}

fn run(steps: &[Step], limits: Limits) {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path(), Some(limits));
    store.begin_attempt().unwrap();
    let (mut live, mut owed, mut kept) = (Map::new(), Vec::new(), Vec::<(u64, Map)>::new());
    for (number, step) in (0..).zip(steps) {
        owed.push(freeze(&mut live, number, step));
        if step.aborted {
            continue;
        }
        commit(&mut store, number, GROUPS, step.num_retained, std::mem::take(&mut owed));
        kept.push((number, live.clone()));
        kept.drain(..kept.len().saturating_sub(step.num_retained as usize));
        check(&mut store, &live);
        if let Some(limited) = step.reopened {
            drop(store);
            store = open(directory.path(), limited.then_some(limits));
            check(&mut store, &live);
        }
        if let Some(chosen) = step.back.and_then(|back| kept.len().checked_sub(back + 1)) {
            kept.truncate(chosen + 1);
            let (number, map) = &kept[chosen];
            store.go_back(CheckpointId(*number)).unwrap();
            live = map.clone();
            check(&mut store, &live);
        }
        assert!(store.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
    }
    while let Some((number, map)) = kept.pop() {
        store.go_back(CheckpointId(number)).unwrap();
        check(&mut store, &map);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn look_ups_agree_with_a_map(steps in steps(), part in 22usize..400, budget in 0u64..1500, blocks in 1usize..8, at_once in 0u64..1000) {
        run(&steps, Limits { part, budget, blocks, at_once });
    }
}

#[test]
fn a_crash_between_sorting_and_its_note_is_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = open(directory.path(), None);
    store.begin_attempt().unwrap();
    let mut map = Map::new();
    let ops = (0..KEYS).map(|key| (key, Op::Put(20))).collect();
    let step = Step { ops, full: vec![true; 4], aborted: false, num_retained: 1, reopened: None, back: None };
    let delta = freeze(&mut map, 3, &step);
    commit(&mut store, 3, GROUPS, 1, vec![delta]);
    drop(store);
    let note = std::fs::read(directory.path().join("NOTE")).unwrap();
    let mut store = open(directory.path(), Some(Limits::default()));
    check(&mut store, &map);
    drop(store);
    assert_ne!(std::fs::read(directory.path().join("NOTE")).unwrap(), note, "nothing was sorted");
    std::fs::write(directory.path().join("NOTE"), note).unwrap();
    for limits in [None, Some(Limits::default())] {
        check(&mut open(directory.path(), limits), &map);
    }
}

/// A little generator.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Commits 1 % random changes 200 times, and returns bytes written per byte changed, the file's length per byte of the full state, and the most blocks that a group had.
fn amplification(limits: Limits, changed_keys: u64) -> (f64, f64, usize) {
    const KEYS: u64 = 200_000;
    const GROUPS: u16 = 128;
    let directory = tempfile::tempdir().unwrap();
    let mut store = start::open(directory.path(), 1 << 30).unwrap().with_lookups(limits);
    store.begin_attempt().unwrap();
    let blocks = |keys: &mut dyn Iterator<Item = u64>, number: u64, kind| -> Vec<StateBlock> {
        let mut groups: BTreeMap<u16, Frozen> = BTreeMap::new();
        for key in keys {
            let entry = (key.to_be_bytes().to_vec(), vec![number as u8; 60]);
            groups.entry((key % u64::from(GROUPS)) as u16).or_default().entries.push(entry);
        }
        groups.iter().map(|(group, frozen)| frozen.block(*group, kind, 0)).collect()
    };
    let full = blocks(&mut (0..KEYS), 0, BlockKind::Full);
    let full_bytes: usize = full.iter().map(|block| block.bytes.len()).sum();
    commit(&mut store, 0, GROUPS, 1, vec![delta(0, full)]);
    let (mut written, mut changed, mut most, mut state) = (0, 0, 0, 42);
    for number in 1..=200 {
        let keys: std::collections::BTreeSet<_> = (0..changed_keys).map(|_| random(&mut state) % KEYS).collect();
        let blocks = blocks(&mut keys.into_iter(), number, BlockKind::Changes);
        changed += blocks.iter().map(|block| block.bytes.len() as u64).sum::<u64>();
        written += commit(&mut store, number, GROUPS, 1, vec![delta(number, blocks)]).bytes;
        most = most.max(store.most_blocks());
    }
    let length = directory.path().join("data.mdb").metadata().unwrap().len();
    (written as f64 / changed as f64, length as f64 / full_bytes as f64, most)
}

#[test]
fn what_is_written_stays_below_three_and_a_half_times_what_changed() {
    let (written, length, most) = amplification(Limits { budget: 0, ..Limits::default() }, 2_000);
    assert!(written <= 3.5, "{written} bytes written for each that changed");
    assert!(length <= 3.0, "the file has {length} times the full state");
    assert!(most <= 64, "a group had {most} blocks");
    eprintln!(
        "1 %: {written:.2} bytes written for each that changed, file {length:.2} times full, at most {most} blocks"
    );
}

#[test]
fn where_little_changes_the_blocks_of_a_group_stay_few_all_the_same() {
    let (written, length, most) = amplification(Limits { budget: 0, blocks: 16, ..Limits::default() }, 400);
    assert!(most <= 32, "a group had {most} blocks");
    eprintln!(
        "0.2 %: {written:.2} bytes written for each that changed, file {length:.2} times full, at most {most} blocks"
    );
}
