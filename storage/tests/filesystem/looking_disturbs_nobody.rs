//! Who looks sees one checkpoint whole, or is told that it went; the owner goes on meanwhile, and nothing is written.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::store::{StateBackend as _, StoreError, StoreErrorKind},
};
use cofferdam_storage::{FileSystem, Inspection};
use object_store::memory::InMemory;

use crate::{
    child,
    files::{data, files, lay, log},
    support::*,
};

/// What group `group` holds since checkpoint `number`: of its own length, so that objects become sparse and go.
fn content(number: u64, group: u16) -> Vec<u8> {
    [&number.to_le_bytes()[..], &vec![group as u8; 400 * usize::from(group)]].concat()
}

/// Commits `numbers`; each changes some groups, and group 0 says which it was.
fn commit_to(files: &FileSystem, num_retained: u32, is_over: &dyn Fn(u64) -> bool) {
    let mut store = files.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let first = newest(&mut *store).map_or(0, |newest| newest + 1);
    for number in (first..).take_while(|number| !is_over(*number)) {
        let changed = (1..GROUPS).filter(|group| number.is_multiple_of(u64::from(*group)) || number == 0);
        let blocks = changed.chain([0]).map(|group| full(group, &content(number, group))).collect();
        store.commit(&retaining(num_retained, attempt, number, vec![delta(number, "total", blocks)])).unwrap();
    }
}

/// The oracle: what checkpoint `number` is made of.
fn expected(number: u64) -> Vec<Seen> {
    let last = |group: u16| if group == 0 { number } else { number - number % u64::from(group) };
    (0..GROUPS).map(|group| seen(&full(group, &content(last(group), group)))).collect()
}

fn read_all(inspection: &Inspection, number: CheckpointId) -> Result<Vec<Seen>, StoreError> {
    read_from(&*inspection.checkpoint(number)?.reader(), "total", ALL)
}

/// Looks until `looks` checkpoints were read whole; how many went while they were read.
fn look(files: &FileSystem, looks: usize, is_over: impl Fn() -> bool) -> usize {
    let (mut whole, mut went) = (0, 0);
    while whole < looks {
        assert!(!is_over(), "the owner ended before {looks} were seen: {whole}");
        let inspection = files.inspect().unwrap();
        for number in inspection.checkpoints() {
            match read_all(&inspection, number) {
                Ok(state) => {
                    assert_eq!(state, expected(number.0), "checkpoint {number}");
                    whole += 1;
                }
                Err(error) => {
                    assert_eq!(error.kind, StoreErrorKind::NotRetained, "checkpoint {number}: {error}");
                    went += 1;
                }
            }
        }
    }
    went
}

#[test]
fn while_checkpoints_are_committed() {
    let directory = tempfile::tempdir().unwrap();
    for (files, num_retained) in [
        (FileSystem::at(directory.path().join("one")), 1),
        (FileSystem::at(directory.path().join("three")), 3),
        (FileSystem::object_store(Arc::new(InMemory::new()), "job"), 1),
        (FileSystem::object_store(Arc::new(InMemory::new()), "job"), 3),
    ] {
        let enough = AtomicBool::new(false);
        commit_to(&files, num_retained, &|number| number == 3);
        thread::scope(|scope| {
            let owner = scope.spawn(|| commit_to(&files, num_retained, &|_| enough.load(Ordering::SeqCst)));
            look(&files, 300, || owner.is_finished());
            enough.store(true, Ordering::SeqCst);
        });
        assert!(files.open().unwrap().retained().unwrap().iter().all(|kept| kept.metadata.is_ok()));
    }
}

#[test]
fn of_another_process() {
    if let Some(place) = child::place() {
        return commit_to(&FileSystem::at(place.join("state")), 1, &|_| place.join("enough").exists());
    }
    let directory = tempfile::tempdir().unwrap();
    let files = FileSystem::at(directory.path().join("state"));
    commit_to(&files, 1, &|number| number == 3);
    let command = &mut child::command("looking_disturbs_nobody::of_another_process", directory.path());
    let mut owner = command.stdout(std::process::Stdio::null()).spawn().unwrap();
    look(&files, 300, || false);
    fs::write(directory.path().join("enough"), "").unwrap();
    assert!(owner.wait().unwrap().success());
}

/// On a local disk.
#[test]
fn and_a_checkpoint_that_was_found_stays_readable() {
    let directory = tempfile::tempdir().unwrap();
    let place = FileSystem::at(directory.path());
    commit_to(&place, 1, &|number| number == 10);
    let inspection = place.inspect().unwrap();
    let found = inspection.checkpoint(CheckpointId(9)).unwrap();
    let before = data(&files(directory.path()));
    commit_to(&place, 1, &|number| number == 60);
    let after = data(&files(directory.path()));
    assert!(before.iter().any(|name| !after.contains(name)), "nothing went: this test shows nothing");
    assert_eq!(read_from(&*found.reader(), "total", ALL).unwrap(), expected(9));
    // Who asks now is too late, and is told so.
    let (kind, message) = refusal(inspection.checkpoint(CheckpointId(9)));
    assert_eq!(kind, StoreErrorKind::NotRetained);
    assert!(message.contains("any more") && message.contains("num_retained"), "{message}");
}

#[test]
fn and_nothing_is_written() {
    let directory = tempfile::tempdir().unwrap();
    let place = FileSystem::at(directory.path());
    commit_to(&place, 3, &|number| number == 10);
    fs::remove_file(directory.path().join("LOCK")).unwrap();
    let before = files(directory.path());
    let inspection = place.inspect().unwrap();
    assert_eq!(inspection.checkpoints(), [7, 8, 9].map(CheckpointId));
    assert_eq!((inspection.attempt(), inspection.job()), (Attempt(1), Some(JOB)));
    assert_eq!(inspection.highest(), Some(CheckpointId(9)));
    assert_eq!(inspection.length(), before.values().map(|bytes| bytes.len() as u64).sum::<u64>());
    assert!(inspection.stored_bytes(CheckpointId(9)).unwrap() > 400 * 28);
    assert!(inspection.last_commit().elapsed().unwrap().as_secs() < 600);
    assert_eq!(read_all(&inspection, CheckpointId(8)).unwrap(), expected(8));
    assert_eq!(refusal(inspection.checkpoint(CheckpointId(2))).0, StoreErrorKind::NotRetained);
    assert_eq!(before, files(directory.path()));
}

#[test]
fn and_no_place_is_made_or_taken_for_one_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    let refused = |path: &Path| refusal(FileSystem::at(path).inspect());
    assert_eq!(refused(&directory.path().join("missing")).0, StoreErrorKind::Io);
    assert!(!directory.path().join("missing").exists());
    assert_eq!(refused(directory.path()).0, StoreErrorKind::Foreign);
    fs::create_dir(directory.path().join("log")).unwrap();
    fs::write(directory.path().join("log/messages"), "not ours").unwrap();
    let (kind, message) = refused(directory.path());
    assert_eq!(kind, StoreErrorKind::Foreign);
    assert!(message.contains("holds no state of Cofferdam's"), "{message}");
    assert_eq!(refused(&directory.path().join("log/messages")).0, StoreErrorKind::Foreign);
    let store = FileSystem::object_store(Arc::new(InMemory::new()), "job");
    assert_eq!(refusal(store.inspect()).0, StoreErrorKind::Foreign);
}

/// Whatever is flipped, cut or gone, what is read is as it was, or is called damaged by the object's name.
#[test]
fn and_damage_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let place = FileSystem::at(directory.path());
    commit_to(&place, 2, &|number| number == 6);
    let clean = files(directory.path());
    let mut named = 0;
    let mut check = |files: &std::collections::BTreeMap<String, Vec<u8>>, name: &str| {
        lay(directory.path(), files);
        let read = place.inspect().and_then(|inspection| {
            let mut states = Vec::new();
            for number in inspection.checkpoints() {
                states.push((number, read_all(&inspection, number)?));
            }
            Ok(states)
        });
        match read {
            Ok(states) => {
                assert!(states.iter().all(|(number, state)| *state == expected(number.0)), "{name}");
                assert_eq!(states.len(), 2, "{name}");
            }
            Err(error) => {
                assert!(matches!(error.kind, StoreErrorKind::Damaged | StoreErrorKind::Newer), "{name}: {error}");
                assert!(error.message.contains(name) || error.message.contains("log/"), "{name}: {error}");
                named += 1;
            }
        }
    };
    for name in data(&clean).into_iter().chain(log(&clean)) {
        for at in (0..clean[&name].len()).step_by(97) {
            let mut files = clean.clone();
            files.get_mut(&name).unwrap()[at] ^= 1 << (at % 8);
            check(&files, &name);
        }
        let mut files = clean.clone();
        files.get_mut(&name).unwrap().truncate(clean[&name].len() / 2);
        check(&files, &name);
        files.remove(&name);
        check(&files, &name);
    }
    assert!(named > 50, "{named}");
}
