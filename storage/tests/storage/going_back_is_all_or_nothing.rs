//! A process that dies while it goes back leaves the newest checkpoint, or the one chosen; whole, and noted.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    time::Duration,
};

use cofferdam_engine::{
    CheckpointId,
    checkpoint::store::{StateBackend as _, StoreErrorKind},
};
use cofferdam_storage::Lmdb;

use crate::{child, flip::show, support::*};

const LAST: u64 = 6;
const CHOSEN: u64 = 2;

fn block(number: u64) -> Vec<u8> {
    vec![number as u8; 200_000]
}

fn prepare(path: &Path) {
    let mut store = Lmdb::at(path).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    for number in 0..=LAST {
        let deltas =
            vec![delta(number, "total", vec![full(number as u16 % GROUPS, &block(number)), full(7, &block(number))])];
        store.commit(&retaining(10, attempt, number, deltas)).unwrap();
    }
}

fn state(number: u64) -> Vec<Seen> {
    let own = (0..=number).map(|number| seen(&full(number as u16, &block(number))));
    own.chain([seen(&full(7, &block(number)))]).collect()
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    copy_directory(from, to);
}

#[test]
fn whenever_it_dies() {
    if let Some(place) = child::place() {
        let mut store = Lmdb::at(place).open().unwrap();
        println!("\nbegun");
        std::io::stdout().flush().unwrap();
        store.go_back(CheckpointId(CHOSEN)).unwrap();
        println!("\ndone");
        std::io::stdout().flush().unwrap();
        std::thread::sleep(Duration::from_secs(600));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (original, place) = (directory.path().join("original"), directory.path().join("place"));
    prepare(&original);
    let (mut before, mut after) = (0, 0);
    // As long as it takes to see both ends, and no less than some kills in between.
    for kill in 0..200 {
        copy(&original, &place);
        let mut child = child::command("going_back_is_all_or_nothing::whenever_it_dies", &place).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.by_ref().any(|line| line == "begun"));
        std::thread::sleep(Duration::from_micros(kill * 137));
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None, "it failed before it was killed");
        let is_done = lines.any(|line| line == "done");
        let (metadata, found) = show(&place).unwrap();
        let number = metadata.unwrap().checkpoint.0;
        assert!(number == CHOSEN || (number == LAST && !is_done), "checkpoint {number}");
        assert_eq!(found, state(number));
        let mut store = Lmdb::at(&place).open().unwrap();
        assert_eq!(store.highest().unwrap(), Some(CheckpointId(LAST)));
        let retained = store.retained().unwrap();
        assert_eq!(retained.iter().map(|kept| kept.checkpoint.0).collect::<Vec<_>>(), (0..=number).collect::<Vec<_>>());
        assert!(retained.iter().all(|kept| kept.metadata.is_ok()));
        if number == LAST {
            before += 1
        } else {
            after += 1
        }
        if kill >= 30 && before > 0 && after > 0 {
            return;
        }
    }
    panic!("all kills came too early ({before}) or too late ({after})");
}

/// The note from before, as if the process had died between the commit and the note.
#[test]
fn before_the_note_it_has_gone_back() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let note = fs::read(directory.path().join("NOTE")).unwrap();
    Lmdb::at(directory.path()).open().unwrap().go_back(CheckpointId(CHOSEN)).unwrap();
    fs::write(directory.path().join("NOTE"), &note).unwrap();
    for _ in 0..2 {
        assert_eq!(show(directory.path()).unwrap().1, state(CHOSEN));
    }
    // And two transactions ahead are no crash.
    Lmdb::at(directory.path()).open().unwrap().begin_attempt().unwrap();
    fs::write(directory.path().join("NOTE"), note).unwrap();
    assert_eq!(refusal(show(directory.path())).0, StoreErrorKind::Damaged);
}

/// The environment from before is older than the note, though its checkpoint is newer.
#[test]
fn what_was_given_up_does_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    prepare(directory.path());
    let data = fs::read(directory.path().join("data.mdb")).unwrap();
    Lmdb::at(directory.path()).open().unwrap().go_back(CheckpointId(CHOSEN)).unwrap();
    fs::write(directory.path().join("data.mdb"), data).unwrap();
    assert_eq!(refusal(show(directory.path())).0, StoreErrorKind::Damaged);
}
