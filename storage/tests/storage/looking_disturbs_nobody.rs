//! Another process sees what was committed when it looked, the owner goes on meanwhile, and a looker that is killed leaves nothing that costs.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::Child,
};

use cofferdam_engine::{
    Attempt, CheckpointId,
    checkpoint::store::{CheckpointStore, StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::{Inspection, Lmdb};

use crate::{child, support::*};

fn seen_by(inspection: &Inspection, number: u64) -> Vec<Seen> {
    read_from(&*inspection.checkpoint(CheckpointId(number)).unwrap().reader(), "total", ALL).unwrap()
}

fn content(number: u64) -> Vec<u8> {
    vec![number as u8; 60_000]
}

fn commit_to(store: &mut dyn CheckpointStore, attempt: Attempt, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let blocks = (0..GROUPS).map(|group| full(group, &content(number))).collect();
        commit(store, attempt, number, vec![delta(number, "total", blocks)]);
    }
}

/// The child: looks, reads all that is there, says so, and keeps looking until it is killed.
fn look_forever(place: &Path) {
    let inspection = Lmdb::at(place).inspect().unwrap();
    let newest = inspection.checkpoints().pop().unwrap();
    let state = seen_by(&inspection, newest.0);
    assert_eq!(state.len(), usize::from(GROUPS));
    assert!(state.iter().all(|(_, _, _, bytes)| *bytes == content(newest.0)));
    println!("\nlooking at {newest}");
    std::io::stdout().flush().unwrap();
    loop {
        std::thread::park();
    }
}

fn looker(place: &Path) -> Child {
    let mut child = child::command("looking_disturbs_nobody::whenever_the_looker_dies", place).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("looking at ")), "it failed");
    child
}

fn length(place: &Path) -> u64 {
    fs::metadata(place.join("data.mdb")).unwrap().len()
}

#[test]
fn whenever_the_looker_dies() {
    if let Some(place) = child::place() {
        return look_forever(&place);
    }
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit_to(&mut *store, attempt, 0..20);
    let mut child = looker(directory.path());
    let before = length(directory.path());
    commit_to(&mut *store, attempt, 20..40);
    let looked_at = length(directory.path());
    assert!(looked_at > before + 5_000_000, "the looker kept no pages: this test shows nothing");
    child.kill().unwrap();
    child.wait().unwrap();
    commit_to(&mut *store, attempt, 40..120);
    let grown = length(directory.path()) - looked_at;
    assert!(grown < 2_000_000, "the dead looker's pages were not used again: {grown} bytes more");
    assert_eq!(
        read(&mut *store, "total"),
        (0..GROUPS).map(|group| seen(&full(group, &content(119)))).collect::<Vec<_>>()
    );
    drop(store);
    assert_eq!(newest(&mut *Lmdb::at(directory.path()).open().unwrap()), Some(119));
}

#[test]
fn many_of_them_while_checkpoints_are_committed() {
    if let Some(place) = child::place() {
        let mut newest = CheckpointId(0);
        while newest < CheckpointId(40) {
            let inspection = Lmdb::at(&place).inspect().unwrap();
            newest = inspection.checkpoints().pop().unwrap();
            let state = seen_by(&inspection, newest.0);
            assert!(state.iter().all(|(_, _, _, bytes)| *bytes == content(newest.0)), "a mix of checkpoints");
        }
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut store = Lmdb::at(directory.path()).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    commit_to(&mut *store, attempt, 0..1);
    let name = "looking_disturbs_nobody::many_of_them_while_checkpoints_are_committed";
    let mut child = child::command(name, directory.path()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let mut next = 1;
    let status = loop {
        commit_to(&mut *store, attempt, next..next + 1);
        next += 1;
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success());
}

#[test]
fn but_not_in_the_owners_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state");
    directory_up_to(&path, 2);
    let store = Lmdb::at(&path).open().unwrap();
    let (kind, message) = refusal(Lmdb::at(&path).inspect());
    assert_eq!(kind, StoreErrorKind::InUse);
    assert!(message.contains("open already, in this process"), "{message}");
    drop(store);
    let inspection = Lmdb::at(&path).inspect().unwrap();
    assert_eq!(refusal(Lmdb::at(&path).open()).0, StoreErrorKind::InUse);
    drop(inspection);
    Lmdb::at(&path).open().unwrap();
}

fn names(path: &Path) -> Vec<(PathBuf, u64)> {
    let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.map(|path| (path.clone(), fs::metadata(path).unwrap().len())).collect();
    files.sort();
    files
}

#[test]
fn and_what_is_looked_at_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (directory.path().join("state"), directory.path().join("copy"));
    directory_up_to(&path, 3);
    let before = (names(&path), fs::read(path.join("NOTE")).unwrap(), fs::read(path.join("data.mdb")).unwrap());
    let inspection = Lmdb::at(&path).inspect().unwrap();
    assert_eq!(inspection.checkpoints(), [CheckpointId(3)]);
    assert_eq!((inspection.attempt(), inspection.job()), (Attempt(1), Some(JOB)));
    assert!(inspection.stored_bytes(CheckpointId(3)).unwrap() >= 70);
    assert_eq!(refusal(inspection.checkpoint(CheckpointId(2))).0, StoreErrorKind::NotRetained);
    fs::create_dir(&copy).unwrap();
    let seen = seen_by(&inspection, 3);
    drop(inspection);
    Lmdb::at(&path).copy_to(&copy).unwrap();
    assert_eq!(seen_by(&Lmdb::at(&copy).inspect().unwrap(), 3), seen);
    let after = (names(&path), fs::read(path.join("NOTE")).unwrap(), fs::read(path.join("data.mdb")).unwrap());
    assert_eq!(before, after);
}

#[test]
fn and_no_directory_is_made_or_taken_for_one_of_ours() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(refusal(Lmdb::at(directory.path()).inspect()).0, StoreErrorKind::Foreign);
    let missing = directory.path().join("missing");
    assert_eq!(refusal(Lmdb::at(&missing).inspect()).0, StoreErrorKind::Io);
    assert!(!missing.exists());
    directory_up_to(&missing, 2);
    let file = fs::File::options().write(true).open(missing.join("data.mdb")).unwrap();
    file.set_len(6_000).unwrap();
    let (kind, message) = refusal(Lmdb::at(&missing).inspect());
    assert_eq!(kind, StoreErrorKind::Damaged);
    assert!(message.contains("cut short"), "{message}");
}
