//! State that outgrows the map is committed all the same, with readers at work.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use cofferdam_engine::checkpoint::store::StateBackend as _;
use cofferdam_storage::Lmdb;

use crate::support::*;

fn blocks(number: u64) -> Vec<cofferdam_engine::checkpoint::snapshot::StateBlock> {
    (0..GROUPS).map(|group| full(group, &vec![number as u8; 100_000 * (number as usize + 1)])).collect()
}

#[test]
fn and_what_was_committed_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Lmdb::at(directory.path()).map_size(1);
    let mut store = backend.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..8 {
        commit(&mut *store, attempt, number, vec![delta(number, "total", blocks(number))]);
        assert_eq!(read(&mut *store, "total"), blocks(number).iter().map(seen).collect::<Vec<_>>());
    }
    drop(store);
    let mut store = backend.open().unwrap();
    assert_eq!(newest(&mut *store), Some(7));
    assert_eq!(read(&mut *store, "total"), blocks(7).iter().map(seen).collect::<Vec<_>>());
}

#[test]
fn under_readers() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).map_size(1).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit(&mut *store, attempt, 0, vec![delta(0, "total", vec![full(0, &[1; 300_000])])]);
    let reader = parking_lot::Mutex::new(store.reader().unwrap());
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let current = Arc::clone(&reader.lock());
                    // A commit may have come in between.
                    if let Ok(state) = read_from(&*current, "total", ALL) {
                        assert!(!state.is_empty());
                        assert!(state.iter().all(|(_, _, _, bytes)| bytes.iter().all(|byte| *byte == bytes[0])));
                        reads.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        for number in 1..8 {
            commit(&mut *store, attempt, number, vec![delta(number, "total", blocks(number))]);
            *reader.lock() = store.reader().unwrap();
            let before = reads.load(Ordering::Relaxed);
            while reads.load(Ordering::Relaxed) == before {
                std::thread::yield_now();
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}
