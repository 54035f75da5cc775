//! A looker (as the command `cofferdam` is one) lives while the owner is killed. It keeps `lock.mdb` alive, which may still name the transaction before the one that the owner had just put into the
//! meta page: a read transaction follows `lock.mdb`, a write transaction the meta page. The next start goes on all the same, and so does the next look.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::Child,
    time::{Duration, Instant},
};

use cofferdam_engine::checkpoint::store::StateBackend as _;
use cofferdam_storage::Lmdb;

use crate::{child, support::*};

const LOOKS: usize = 3000;

fn spawn(test: &str, place: &Path, until: &str) -> (Child, impl Iterator<Item = String> + use<>) {
    let mut child = child::command(&format!("an_owner_killed_beside_a_looker::{test}"), place).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with(until)), "it failed");
    (child, lines)
}

fn say(what: impl std::fmt::Display) {
    println!("\n{what}");
    std::io::stdout().flush().unwrap();
}

#[test]
fn looker() {
    let Some(place) = child::place() else { return };
    let _inspection = Lmdb::at(&place).inspect().unwrap();
    say("looking");
    loop {
        std::thread::park();
    }
}

#[test]
fn owner() {
    let Some(place) = child::place() else { return };
    let mut store = Lmdb::at(&place).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let next = newest(&mut *store).map_or(0, |newest| newest + 1);
    for number in next.. {
        commit(&mut *store, attempt, number, vec![delta(number, "total", vec![full(0, b"state")])]);
        say(format_args!("committed {number}"));
    }
}

#[test]
fn and_the_next_start_goes_on() {
    if child::place().is_some() {
        return;
    }
    let mut failures = Vec::new();
    for round in 0..40u64 {
        let directory = tempfile::tempdir().unwrap();
        let (mut owner, lines) = spawn("owner", directory.path(), "committed 2");
        let (mut looker, _) = spawn("looker", directory.path(), "looking");
        std::thread::sleep(Duration::from_micros(round * 311));
        owner.kill().unwrap();
        owner.wait().unwrap();
        let last = lines.filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok()).last();
        let looked = Instant::now();
        let (mut second, _) = spawn("looker", directory.path(), "looking");
        assert!(looked.elapsed() < Duration::from_secs(10), "it looked for a commit that came to nothing");
        let started = Lmdb::at(directory.path()).open().and_then(|mut store| {
            let found = newest(&mut *store);
            assert!(found >= last, "acknowledged {last:?}, found {found:?}");
            store.begin_attempt()
        });
        if let Err(error) = started {
            let again = Lmdb::at(directory.path()).open().and_then(|mut store| store.begin_attempt());
            failures.push(format!("round {round}: {error}\n    tried again: {again:?}"));
        }
        for looker in [&mut looker, &mut second] {
            looker.kill().unwrap();
            looker.wait().unwrap();
        }
    }
    assert!(failures.is_empty(), "{} of 40 starts were refused:\n{}", failures.len(), failures.join("\n"));
}

/// The owner writes a meta page just while it is read, now and then.
#[test]
fn and_no_look_at_a_living_owner_finds_damage() {
    if child::place().is_some() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut owner, lines) = spawn("owner", directory.path(), "committed 2");
    let drain = std::thread::spawn(move || lines.count());
    let refused: Vec<_> = (0..LOOKS).filter_map(|_| Lmdb::at(directory.path()).inspect().err()).collect();
    owner.kill().unwrap();
    owner.wait().unwrap();
    drain.join().unwrap();
    assert!(refused.is_empty(), "{} of {LOOKS}: {refused:?}", refused.len());
}
