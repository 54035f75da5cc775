//! A start takes the place over, and the owner before it, whenever it was stopped and whenever it goes on, is refused and changes nothing.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cofferdam_engine::checkpoint::store::{StateBackend as _, StoreErrorKind};
use cofferdam_storage::FileSystem;
use object_store::{local::LocalFileSystem, memory::InMemory};
use parking_lot::Mutex;

use crate::{child, files::files, shim::Shim, support::*};

/// Files that are shared as those of a network are: without the lock that a directory has.
fn shared(path: &Path) -> FileSystem {
    let store = LocalFileSystem::new_with_prefix(path).unwrap().with_fsync(true);
    FileSystem::object_store(Arc::new(store), "job")
}

fn blocks(number: u64) -> Vec<cofferdam_engine::checkpoint::snapshot::StateBlock> {
    vec![full((number % 4) as u16, &vec![number as u8; 30_000]), changes(7, &number.to_le_bytes())]
}

fn say(what: &str) {
    println!("\n{what}");
    std::io::stdout().flush().unwrap();
}

/// Commits until it is refused, and says what it did and why it ended.
fn commit_until_refused(place: &Path) {
    let mut store = shared(place).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let next = newest(&mut *store).map_or(0, |newest| newest + 1);
    for number in next.. {
        match store.commit(&retaining(2, attempt, number, vec![delta(number, "total", blocks(number))])) {
            Ok(_) => say(&format!("committed {number}")),
            Err(error) => return say(&format!("refused {:?}", error.kind)),
        }
    }
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// Until the kernel says that it is.
fn wait_until_stopped(child: &Child) {
    let is_stopped = || {
        let status = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
        status.rsplit_once(')').unwrap().1.trim_start().starts_with('T')
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !is_stopped() {
        assert!(std::time::Instant::now() < deadline, "it was not stopped");
        std::thread::yield_now();
    }
}

#[test]
fn though_it_was_stopped_across_the_take_over() {
    if let Some(place) = child::place() {
        return commit_until_refused(&place);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::<u64, ()>::new();
    for round in 0..12u64 {
        let name = "of_two_owners_the_older_is_fenced::though_it_was_stopped_across_the_take_over";
        let mut old = child::command(name, directory.path()).spawn().unwrap();
        let lines = BufReader::new(old.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut said = lines.filter(|line| line.starts_with("committed") || line.starts_with("refused"));
        // From right after a commit to well into the next ones.
        let first: Vec<_> = said.by_ref().take(2 + round as usize % 3).collect();
        std::thread::sleep(Duration::from_micros(round * 397));
        signal(&old, "-STOP");
        wait_until_stopped(&old);

        let mut new = shared(directory.path()).open().unwrap();
        let attempt = new.begin_attempt().unwrap();
        let found = newest(&mut *new).unwrap();
        for number in found + 1..found + 4 {
            new.commit(&retaining(2, attempt, number, vec![delta(number, "total", blocks(number))])).unwrap();
        }
        let (state, before) = (read(&mut *new, "total"), files(directory.path()));

        signal(&old, "-CONT");
        let rest: Vec<_> = said.collect();
        assert!(old.wait().unwrap().success());
        assert_eq!(rest.last().map(String::as_str), Some("refused Fenced"), "{rest:?}");
        // Files that were being written when it was stopped are not the place's.
        let named = |files: BTreeMap<String, Vec<u8>>| {
            files.into_iter().filter(|(name, _)| !name.contains('#')).collect::<BTreeMap<_, _>>()
        };
        assert!(named(files(directory.path())) == named(before), "round {round}: it changed something");
        // Whatever it had said was there before the take-over.
        for line in first.iter().chain(&rest) {
            if let Some(number) = line.strip_prefix("committed ") {
                let number = number.parse().unwrap();
                assert!(number <= found, "{number} was acknowledged after the take-over at {found}");
                assert!(acknowledged.insert(number, ()).is_none(), "{number} was acknowledged twice");
            }
        }
        acknowledged.extend((found + 1..found + 4).map(|number| (number, ())));
        // The new one goes on.
        let next = found + 4;
        assert_eq!(read(&mut *new, "total"), state);
        new.commit(&retaining(2, attempt, next, vec![delta(next, "total", blocks(next))])).unwrap();
        acknowledged.insert(next, ());
        drop(new);
        let mut again = shared(directory.path()).open().unwrap();
        assert_eq!(newest(&mut *again), Some(next));
        assert!(again.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
    }
}

/// A stopped process still holds the lock of a directory, so that nobody takes it over there.
#[test]
fn and_a_directory_is_not_taken_over_while_its_owner_lives() {
    if let Some(place) = child::place() {
        let mut store = FileSystem::at(place).open().unwrap();
        store.begin_attempt().unwrap();
        say("committed nothing");
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let name = "of_two_owners_the_older_is_fenced::and_a_directory_is_not_taken_over_while_its_owner_lives";
    let mut old = child::command(name, directory.path()).spawn().unwrap();
    let mut lines = BufReader::new(old.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "committed nothing"));
    signal(&old, "-STOP");
    wait_until_stopped(&old);
    let (kind, message) = refusal(FileSystem::at(directory.path()).open());
    assert_eq!(kind, StoreErrorKind::InUse);
    assert!(message.contains(&format!("process {} holds its LOCK", old.id())), "{message}");
    old.kill().unwrap();
    old.wait().unwrap();
    assert_eq!(FileSystem::at(directory.path()).open().unwrap().begin_attempt().unwrap().0, 2);
}

/// Every way of writing, by an owner that another has followed, and that by a third.
#[test]
fn whatever_it_tries() {
    for followers in 1..4 {
        let inner = Arc::new(InMemory::new());
        let mut old = FileSystem::object_store(inner.clone(), "job").open().unwrap();
        let attempt = old.begin_attempt().unwrap();
        for number in 0..3 {
            old.commit(&retaining(3, attempt, number, vec![delta(number, "total", blocks(number))])).unwrap();
        }
        for follower in 0..followers {
            let mut new = FileSystem::object_store(inner.clone(), "job").open().unwrap();
            let attempt = new.begin_attempt().unwrap();
            for number in 0..5 {
                commit(&mut *new, attempt, 3 + follower * 5 + number, vec![]);
            }
        }
        let reader = old.reader().unwrap();
        drop(reader);
        assert_eq!(refusal(old.commit(&checkpoint(attempt, 9, vec![]))).0, StoreErrorKind::Fenced);
    }
    type Write = fn(Box<dyn cofferdam_engine::checkpoint::store::CheckpointStore>) -> StoreErrorKind;
    let writes: [Write; 3] = [
        |mut store| refusal(store.begin_attempt()).0,
        |mut store| refusal(store.go_back(cofferdam_engine::CheckpointId(0))).0,
        |store| refusal(store.delete()).0,
    ];
    for write in writes {
        let inner = Arc::new(InMemory::new());
        let mut old = FileSystem::object_store(inner.clone(), "job").open().unwrap();
        let attempt = old.begin_attempt().unwrap();
        for number in 0..2 {
            old.commit(&retaining(3, attempt, number, vec![delta(number, "total", blocks(number))])).unwrap();
        }
        let mut new = FileSystem::object_store(inner, "job").open().unwrap();
        assert_eq!(write(old), StoreErrorKind::Fenced);
        assert_eq!(newest(&mut *new), Some(1));
        assert!(new.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
    }
}

/// The number that it claims was used and deleted meanwhile: putting it succeeds, and makes nothing its own.
#[test]
fn and_a_start_that_slept_between_its_listing_and_its_claim_looks_again() {
    for commits in 1..5 {
        let inner = Arc::new(InMemory::new());
        let mut old = FileSystem::object_store(inner.clone(), "job").open().unwrap();
        let attempt = old.begin_attempt().unwrap();
        commit(&mut *old, attempt, 0, vec![delta(0, "total", blocks(0))]);
        let old = Arc::new(Mutex::new(old));
        let meanwhile = old.clone();
        let shim = Shim::surprised(inner, true, move || {
            for number in 1..=commits {
                commit(&mut **meanwhile.lock(), attempt, number, vec![delta(number, "total", blocks(number))]);
            }
        });
        let mut new = FileSystem::object_store(shim, "job").open().unwrap();
        assert_eq!(newest(&mut *new), Some(commits));
        let late = checkpoint(attempt, commits + 1, vec![]);
        assert_eq!(refusal(old.lock().commit(&late)).0, StoreErrorKind::Fenced);
        let attempt = new.begin_attempt().unwrap();
        commit(&mut *new, attempt, commits + 1, vec![]);
        assert!(new.retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
    }
}

/// Its claim is what keeps the owner before it out, whoever owns the place in the end.
#[test]
fn and_a_start_that_was_overtaken_right_after_its_claim_leaves_the_claim() {
    let inner = Arc::new(InMemory::new());
    let mut old = FileSystem::object_store(inner.clone(), "job").open().unwrap();
    let attempt = old.begin_attempt().unwrap();
    commit(&mut *old, attempt, 0, vec![delta(0, "total", blocks(0))]);
    let third = FileSystem::object_store(inner.clone(), "job");
    let shim = Shim::surprised(inner, false, move || drop(third.open().unwrap()));
    let mut new = FileSystem::object_store(shim, "job").open().unwrap();
    assert_eq!(refusal(old.commit(&checkpoint(attempt, 1, vec![]))).0, StoreErrorKind::Fenced);
    assert_eq!(newest(&mut *new), Some(0));
    let attempt = new.begin_attempt().unwrap();
    commit(&mut *new, attempt, 1, vec![]);
}

/// Owners that race: each number is acknowledged once, and what was acknowledged last is there at the end.
#[test]
fn when_many_start_at_once() {
    let inner = Arc::new(InMemory::new());
    let acknowledged = Mutex::new(BTreeMap::<u64, u32>::new());
    let fenced = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..15 {
                    // Others may be faster again and again.
                    let Ok(mut store) = FileSystem::object_store(inner.clone(), "job").open() else { continue };
                    let Ok(attempt) = store.begin_attempt() else { continue };
                    let next = store.highest().unwrap().map_or(0, |highest| highest.0 + 1);
                    for number in next..next + 4 {
                        let commit = retaining(2, attempt, number, vec![delta(number, "total", blocks(number))]);
                        match store.commit(&commit) {
                            Ok(_) => *acknowledged.lock().entry(number).or_default() += 1,
                            Err(error) => {
                                assert_eq!(error.kind, StoreErrorKind::Fenced, "{error}");
                                fenced.fetch_add(1, Ordering::Relaxed);
                                break;
                            }
                        }
                    }
                }
            });
        }
    });
    let acknowledged = acknowledged.into_inner();
    assert!(acknowledged.values().all(|times| *times == 1), "{acknowledged:?}");
    let mut store = FileSystem::object_store(inner, "job").open().unwrap();
    assert_eq!(newest(&mut *store), acknowledged.keys().next_back().copied());
    assert_eq!(
        read(&mut *store, "total").iter().filter(|block| block.0 == 7).count() as u64,
        acknowledged.len() as u64
    );
    assert!(acknowledged.len() > 20 && fenced.load(Ordering::Relaxed) > 0, "{acknowledged:?}, {fenced:?}");
}
