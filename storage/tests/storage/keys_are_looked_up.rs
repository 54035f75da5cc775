//! With a heap limit keys are looked up in the newest checkpoint while others are committed, and damage is found at the start.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use cofferdam_engine::{
    CheckpointId, KeyGroup,
    checkpoint::{
        snapshot::{BlockKind, StateBlock},
        store::{StateBackend as _, StateLookup, StoreError, StoreErrorKind},
    },
    state::{BlockEntry, Values, begin_sorted, push_sorted},
};
use cofferdam_storage::Lmdb;

use crate::{child, support::*};

const KEYS: u64 = 3_000;
const VALUE: usize = 700;

fn group_of(key: u64) -> u16 {
    (key % u64::from(GROUPS)) as u16
}

/// What checkpoint `number` does to `key`: nothing, removes it, or sets it.
fn change(number: u64, key: u64) -> Option<Option<u64>> {
    match (key * 31 + number * 17) % 13 {
        _ if number == 0 => Some(Some(0)),
        0..3 => Some(Some(number)),
        3 => Some(None),
        _ => None,
    }
}

fn value_at(number: u64, key: u64) -> Option<u64> {
    (0..=number).rev().find_map(|number| change(number, key)).flatten()
}

fn push_varint(mut number: usize, bytes: &mut Vec<u8>) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn block(number: u64, group: u16) -> StateBlock {
    let changes: Vec<_> = (0..KEYS)
        .filter(|key| group_of(*key) == group)
        .filter_map(|key| change(number, key).map(|change| (key, change)))
        .collect();
    let gone: Vec<_> = changes.iter().filter(|(_, change)| change.is_none()).collect();
    let mut bytes = vec![2, 0];
    push_varint(gone.len(), &mut bytes);
    for (key, _) in &gone {
        bytes.push(8);
        bytes.extend(key.to_be_bytes());
    }
    for (key, change) in &changes {
        let Some(value) = change else { continue };
        bytes.push(8);
        bytes.extend(key.to_be_bytes());
        push_varint(VALUE, &mut bytes);
        bytes.extend([*value as u8; VALUE]);
    }
    let kind = if number == 0 { BlockKind::Full } else { BlockKind::Changes };
    StateBlock { group: KeyGroup(group), kind, entries: changes.len() as u32, bytes }
}

fn blocks(number: u64) -> Vec<StateBlock> {
    (0..GROUPS).map(|group| block(number, group)).collect()
}

fn look_up(lookup: &dyn StateLookup, keys: impl Iterator<Item = u64>) -> Result<Vec<(u64, Option<u64>)>, StoreError> {
    let mut keys: Vec<_> = keys.map(|key| (KeyGroup(group_of(key)), key.to_be_bytes())).collect();
    keys.sort_unstable();
    let asked: Vec<_> = keys.iter().map(|(group, key)| (*group, &key[..])).collect();
    let mut found = vec![None; keys.len()];
    lookup.get_many(&address("total"), &asked, &mut |place, _, value| {
        assert_eq!(value, [value[0]; VALUE]);
        found[place] = Some(u64::from(value[0]));
        Ok(())
    })?;
    Ok(keys.iter().map(|(_, key)| u64::from_be_bytes(*key)).zip(found).collect())
}

/// What is found was true at one of the checkpoints from the last one that had returned on.
fn look_up_until(
    lookup: &dyn StateLookup,
    last: u64,
    begun: &AtomicU64,
    returned: &AtomicU64,
    count: &AtomicU64,
    from: u64,
) {
    let mut from = from;
    while returned.load(Ordering::SeqCst) < last {
        let least = returned.load(Ordering::SeqCst);
        let found = look_up(lookup, (0..60).map(|step| (from + step * 53) % (KEYS + 100))).unwrap();
        let most = begun.load(Ordering::SeqCst);
        for (key, found) in found {
            let mut possible = (least..=most).map(|number| value_at(number, key).filter(|_| key < KEYS));
            assert!(possible.any(|value| value == found), "key {key} is {found:?}, from checkpoint {least} to {most}");
        }
        count.fetch_add(1, Ordering::SeqCst);
        from += 7;
    }
}

#[test]
fn while_others_commit_and_the_map_grows() {
    const LAST: u64 = 40;
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).map_size(1).heap_limit(1 << 20).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "total", blocks(0))]);
    let lookup = store.lookup().unwrap().unwrap();
    let (begun, returned, count) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let threads = [0, 1000].map(|from| {
            let (lookup, begun, returned, count) = (&*lookup, &begun, &returned, &count);
            scope.spawn(move || look_up_until(lookup, LAST, begun, returned, count, from))
        });
        for number in 1..=LAST {
            begun.store(number, Ordering::SeqCst);
            commit(&mut *store, attempt, number, vec![delta(number, "total", blocks(number))]);
            let before = count.load(Ordering::SeqCst);
            returned.store(number, Ordering::SeqCst);
            // One that failed ends the test.
            let goes_on = || !threads.iter().any(|thread| thread.is_finished());
            while number < LAST && count.load(Ordering::SeqCst) == before && goes_on() {
                std::thread::yield_now();
            }
        }
    });
    for (key, found) in look_up(&*lookup, 0..KEYS).unwrap() {
        assert_eq!(found, value_at(LAST, key), "{key}");
    }
}

#[test]
fn not_once_the_store_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "total", blocks(0))]);
    let lookup = store.lookup().unwrap().unwrap();
    assert_eq!(look_up(&*lookup, 0..1).unwrap(), [(0, Some(0))]);
    drop(store);
    assert_eq!(refusal(look_up(&*lookup, 0..1)).0, StoreErrorKind::Io);
    drop(Lmdb::at(directory.path()).open().unwrap());
}

#[test]
fn of_states_that_there_are() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    let lookup = store.lookup().unwrap().unwrap();
    assert_eq!(look_up(&*lookup, 0..1).unwrap(), [(0, None)]);
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "other", blocks(0))]);
    assert_eq!(look_up(&*lookup, 0..1).unwrap(), [(0, None)]);
    drop(store);
    assert_eq!(refusal(look_up(&*lookup, 0..1)).0, StoreErrorKind::Io, "others may have stored some since");
    assert!(Lmdb::at(directory.path()).open().unwrap().lookup().unwrap().is_none(), "there is no limit");
}

#[test]
fn in_what_was_written_without_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..4 {
        commit(&mut *store, attempt, number, vec![delta(number, "total", blocks(number))]);
    }
    drop(store);
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    let lookup = store.lookup().unwrap().unwrap();
    for (key, found) in look_up(&*lookup, 0..KEYS).unwrap() {
        assert_eq!(found, value_at(3, key), "{key}");
    }
}

#[test]
fn a_block_that_is_none_is_refused_and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![]);
    let (_, message) =
        refusal(store.commit(&checkpoint(attempt, 1, vec![delta(1, "total", vec![changes(3, b"no block")])])));
    assert!(message.contains("count/total, key group 3"), "{message}");
    drop(store);
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    assert_eq!(newest(&mut *store), Some(0));
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 1, vec![delta(1, "total", blocks(0))]);
}

/// Checkpoints 0 and 1, of which 1 has changed group 0 only.
fn prepare_two(path: &Path) {
    let mut store = Lmdb::at(path).heap_limit(1 << 20).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    store.commit(&retaining(2, attempt, 0, vec![delta(0, "total", blocks(0))])).unwrap();
    store.commit(&retaining(2, attempt, 1, vec![delta(1, "total", vec![block(1, 0)])])).unwrap();
}

#[test]
fn a_flipped_bit_in_any_part_is_found_by_whoever_reads_the_state_and_older_checkpoints_can_be_gone_back_to() {
    let directory = tempfile::tempdir().unwrap();
    let original = directory.path().join("original");
    prepare_two(&original);
    let clean = fs::read(original.join("data.mdb")).unwrap();
    // Values of checkpoint 1, wherever they are; each part has a few.
    let places: Vec<_> =
        clean.windows(VALUE).enumerate().filter(|(_, window)| **window == [1; VALUE]).map(|(at, _)| at).collect();
    assert!(places.len() > 30);
    for at in places.into_iter().step_by(3) {
        let copy = directory.path().join("copy");
        copy_directory(&original, &copy);
        let mut data = clean.clone();
        data[at + VALUE / 2] ^= 4;
        fs::write(copy.join("data.mdb"), data).unwrap();
        let mut store = Lmdb::at(&copy).heap_limit(1 << 20).open().unwrap();
        assert_eq!(newest(&mut *store), Some(1));
        let lookup = store.lookup().unwrap().unwrap();
        for (kind, message) in [refusal(try_read(&mut *store, "total")), refusal(look_up(&*lookup, 0..1))] {
            assert_eq!(kind, StoreErrorKind::Damaged);
            assert!(message.contains("count/total, key group 0"), "{message}");
        }
        store.go_back(CheckpointId(0)).unwrap();
        let lookup = store.lookup().unwrap().unwrap();
        assert!(look_up(&*lookup, 0..KEYS).unwrap().iter().all(|(_, found)| *found == Some(0)));
        drop(store);
        fs::remove_dir_all(&copy).unwrap();
    }
}

/// Checkpoint 0 of two states, and a flipped bit in one of them.
fn prepare_damaged(path: &Path) {
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let other = StateBlock { bytes: block(1, 0).bytes, ..block(0, 0) };
    commit(&mut *store, attempt, 0, vec![delta(0, "total", blocks(0)), delta(0, "other", vec![other])]);
    drop(store);
    let mut data = fs::read(path.join("data.mdb")).unwrap();
    let at = data.windows(VALUE).position(|window| *window == [1; VALUE]).unwrap();
    data[at] ^= 4;
    fs::write(path.join("data.mdb"), data).unwrap();
}

#[test]
fn although_a_state_that_nobody_asks_for_is_damaged_and_it_can_be_dropped() {
    let directory = tempfile::tempdir().unwrap();
    prepare_damaged(directory.path());
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    assert_eq!(newest(&mut *store), Some(0));
    assert_eq!(refusal(try_read(&mut *store, "other")).0, StoreErrorKind::Damaged);
    let attempt = store.begin_attempt().unwrap();
    let lookup = store.lookup().unwrap().unwrap();
    for number in 1..=9 {
        let empty = |group| StateBlock { group: KeyGroup(group), kind: BlockKind::Full, entries: 0, bytes: vec![] };
        let dropped = delta(number, "other", (0..GROUPS).map(empty).collect());
        let dropped = (number == 1).then_some(dropped);
        let deltas = dropped.into_iter().chain([delta(number, "total", blocks(number))]);
        commit(&mut *store, attempt, number, deltas.collect());
        for (key, found) in look_up(&*lookup, 0..KEYS).unwrap() {
            assert_eq!(found, value_at(number, key), "{key}");
        }
    }
    drop(store);
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    assert_eq!(newest(&mut *store), Some(9));
    try_read(&mut *store, "other").unwrap();
}

/// Commits until the file may not grow any more. The state that the store showed before is still there, and the store goes on when there is room.
fn fill(place: &Path, goes_on: bool) {
    let mut store = Lmdb::at(place).heap_limit(1 << 20).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "total", blocks(0))]);
    let lookup = store.lookup().unwrap().unwrap();
    let mut number = 0;
    let error = loop {
        let next = checkpoint(attempt, number + 1, vec![delta(number + 1, "total", blocks(number + 1))]);
        match store.commit(&next) {
            Ok(_) => number += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind, StoreErrorKind::NotStored, "{error}");
    assert_eq!(newest(&mut *store), Some(number));
    for (key, found) in look_up(&*lookup, 0..KEYS).unwrap() {
        assert_eq!(found, value_at(number, key), "{key}");
    }
    println!("\nfull after {number}");
    if goes_on {
        let (_, hard) = rlimit::Resource::FSIZE.get().unwrap();
        rlimit::Resource::FSIZE.set(hard, hard).unwrap();
        commit(&mut *store, attempt, number + 1, vec![delta(number + 1, "total", blocks(number + 1))]);
        for (key, found) in look_up(&*lookup, 0..KEYS).unwrap() {
            assert_eq!(found, value_at(number + 1, key), "{key}");
        }
        println!("\ngone on");
    }
}

#[cfg(unix)]
#[test]
fn also_when_the_disk_is_full() {
    if let Some(place) = child::place() {
        return fill(&place, false);
    }
    let directory = tempfile::tempdir().unwrap();
    let said = fill_in_child("keys_are_looked_up::also_when_the_disk_is_full", directory.path());
    let number = said.lines().find_map(|line| line.strip_prefix("full after ")).expect("it never was full");
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    assert_eq!(newest(&mut *store).unwrap().to_string(), number);
    let lookup = store.lookup().unwrap().unwrap();
    for (key, found) in look_up(&*lookup, 0..KEYS).unwrap() {
        assert_eq!(found, value_at(number.parse().unwrap(), key), "{key}");
    }
}

#[cfg(unix)]
#[test]
fn and_commits_go_on_when_there_is_room_again() {
    if let Some(place) = child::place() {
        return fill(&place, true);
    }
    let directory = tempfile::tempdir().unwrap();
    let said = fill_in_child("keys_are_looked_up::and_commits_go_on_when_there_is_room_again", directory.path());
    assert!(said.contains("gone on"), "{said}");
}

#[cfg(unix)]
fn fill_in_child(test: &str, place: &Path) -> String {
    let mut command = child::command(test, place);
    let output = child::with_file_limit(&mut command, 8_000).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// As a savepoint brings them along: blocks that somebody else has sorted, of more than one part.
#[test]
fn in_sorted_blocks_that_came_before_there_was_a_limit() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let mut bytes = Vec::new();
    begin_sorted(&mut bytes);
    let keys: Vec<_> = (0..5_000u64).map(u64::to_be_bytes).collect();
    for (key, number) in keys.iter().zip(0u16..) {
        push_sorted(&mut bytes, BlockEntry { key, value: Some((Values::default(), &number.to_be_bytes())) });
    }
    let block = StateBlock { group: KeyGroup(0), kind: BlockKind::Full, entries: keys.len() as u32, bytes };
    commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![block.clone()])]);
    assert_eq!(read(&mut *store, "total"), [seen(&block)]);
    drop(store);
    let mut store = Lmdb::at(directory.path()).heap_limit(1 << 20).open().unwrap();
    assert_eq!(newest(&mut *store), Some(0));
    let wanted: Vec<_> = keys.iter().map(|key| (KeyGroup(0), &key[..])).collect();
    let mut found = 0;
    let visit = &mut |place: usize, _: Values, value: &[u8]| {
        assert_eq!(value, (place as u16).to_be_bytes());
        found += 1;
        Ok(())
    };
    store.lookup().unwrap().unwrap().get_many(&address("total"), &wanted, visit).unwrap();
    assert_eq!(found, keys.len());
}
