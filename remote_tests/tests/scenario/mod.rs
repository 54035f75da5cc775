//! What is asked of a server, whichever it is.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    time::Duration,
};

use cofferdam_engine::checkpoint::store::{CheckpointStore, StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;

use crate::{child, support::*};

/// Opens `backend` twice, as two machines would: each its own value.
pub fn of_two_owners_the_older_is_fenced(backend: impl Fn() -> FileSystem) {
    let mut old = backend().open().unwrap();
    let attempt = old.begin_attempt().unwrap();
    for number in 0..3 {
        commit_one(&mut *old, attempt, number);
    }
    let mut new = backend().open().unwrap();
    let next = checkpoint(attempt, 3, vec![delta(3, "total", vec![full(0, b"late")])]);
    assert_eq!(refusal(old.commit(&next)).0, StoreErrorKind::Fenced);
    assert_eq!(newest(&mut *new), Some(2));
    let attempt = new.begin_attempt().unwrap();
    commit_one(&mut *new, attempt, 3);
    drop(old);
    let mut again = backend().open().unwrap();
    assert_eq!(newest(&mut *again), Some(3));
    assert_eq!(again.retained().unwrap().iter().filter(|kept| kept.metadata.is_ok()).count(), 2);
    again.delete().unwrap();
    assert_eq!(newest(&mut *backend().open().unwrap()), None);
}

/// Looks from another machine, and deletes a checkpoint from there.
pub fn who_looks_sees_all_and_who_deletes_fences_the_owner(backend: impl Fn() -> FileSystem) {
    assert_eq!(refusal(backend().inspect()).0, StoreErrorKind::Foreign);
    let mut owner = backend().open().unwrap();
    let attempt = owner.begin_attempt().unwrap();
    for number in 0..5 {
        commit_one(&mut *owner, attempt, number);
    }
    let looked = backend().inspect().unwrap();
    assert_eq!(looked.checkpoints().iter().map(|number| number.0).collect::<Vec<_>>(), [3, 4]);
    let found = looked.checkpoint(looked.checkpoints()[1]).unwrap();
    assert_eq!(read_from(&*found.reader(), "total", ALL).unwrap(), read(&mut *owner, "total"));
    assert!(looked.length() > looked.stored_bytes(looked.checkpoints()[1]).unwrap());
    assert!(looked.last_commit().elapsed().unwrap() < Duration::from_secs(600));
    for number in 5..30 {
        commit_one(&mut *owner, attempt, number);
    }
    // What was found then has gone meanwhile.
    assert_eq!(refusal(looked.checkpoint(looked.checkpoints()[0])).0, StoreErrorKind::NotRetained);
    assert_eq!(refusal(read_from(&*found.reader(), "total", ALL)).0, StoreErrorKind::NotRetained);
    let kept = backend().inspect().unwrap().checkpoints();
    backend().delete_checkpoint(kept[0]).unwrap();
    assert_eq!(backend().inspect().unwrap().checkpoints(), kept[1..]);
    let late = checkpoint(attempt, 30, vec![delta(30, "total", vec![full(0, b"late")])]);
    assert_eq!(refusal(owner.commit(&late)).0, StoreErrorKind::Fenced);
    assert_eq!(newest(&mut *backend().open().unwrap()), Some(29));
}

/// Larger than what is uploaded in one go.
pub fn large_blocks_come_back(backend: &FileSystem) {
    let mut store = backend.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let large = |number: u64| (0..GROUPS).map(move |group| full(group, &vec![(number as u8) ^ group as u8; 5_000_000]));
    for number in 0..2 {
        commit(&mut *store, attempt, number, vec![delta(number, "total", large(number).collect())]);
    }
    drop(store);
    let mut store = backend.open().unwrap();
    assert_eq!(read(&mut *store, "total"), large(1).map(|block| seen(&block)).collect::<Vec<_>>());
}

fn commit_one(store: &mut dyn CheckpointStore, attempt: cofferdam_engine::Attempt, number: u64) {
    let blocks = vec![full((number % 3) as u16, &vec![number as u8; 20_000]), changes(7, &number.to_le_bytes())];
    store.commit(&retaining(2, attempt, number, vec![delta(number, "total", blocks)])).unwrap();
}

/// In a child: commits until killed, and says each number once it is durable.
pub fn commit_forever(backend: &FileSystem) {
    let mut store = backend.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in newest(&mut *store).map_or(0, |newest| newest + 1).. {
        commit_one(&mut *store, attempt, number);
        println!("\ncommitted {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// Kills the child that test `name` becomes at `place`, again and again: what it said is there.
pub fn a_killed_process_loses_no_commit(name: &str, place: &str, backend: &FileSystem, kills: u64) {
    let mut reported = None;
    for kill in 0..kills {
        let mut child = child::command(name, place.as_ref()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok());
        let before = numbers.by_ref().take(1 + kill as usize % 4).last();
        std::thread::sleep(Duration::from_micros(kill * 1_311));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it failed before it was killed");
        reported = reported.max(numbers.last()).max(before);
        let mut store = backend.open().unwrap();
        let found = newest(&mut *store);
        assert!(found >= reported, "{reported:?} was reported, {found:?} is there");
        assert!(store.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
        let changes = read(&mut *store, "total").into_iter().filter(|block| block.0 == 7);
        let expected = (0..=found.unwrap()).map(|number| seen(&changes_of(number)));
        assert_eq!(changes.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    }
    assert!(reported > Some(kills), "too few commits to show anything: {reported:?}");
}

fn changes_of(number: u64) -> cofferdam_engine::checkpoint::snapshot::StateBlock {
    changes(7, &number.to_le_bytes())
}
