//! Whatever a process had committed when it was killed is there, whole.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    sync::Arc,
    time::Duration,
};

use cofferdam_engine::{
    Attempt,
    checkpoint::{
        snapshot::{BlockKind, StateDelta},
        store::StateBackend,
    },
};
use cofferdam_storage::Lmdb;

use crate::{child, enveloped::Enveloped, support::*};

const KILLS: u64 = 20;

/// What checkpoint `number` adds: a group in full, and changes of others, some large.
fn deltas(number: u64) -> Vec<Arc<StateDelta>> {
    let bytes =
        |group: u16| vec![(number as u16 ^ group) as u8; (number as usize * 131 + usize::from(group) * 2_003) % 20_000];
    let blocks = (0..GROUPS)
        .map(|group| {
            let is_full = u64::from(group) == number % u64::from(GROUPS);
            if is_full {
                full(group, &bytes(group))
            } else {
                changes(group, bytes(group).get(..number as usize % 50).unwrap_or_default())
            }
        })
        .filter(|block| block.kind == BlockKind::Full || !block.bytes.is_empty())
        .collect();
    vec![delta(number, "total", blocks)]
}

/// The state after checkpoint `last`.
fn oracle(last: u64) -> Vec<Seen> {
    let mut groups = vec![Vec::new(); usize::from(GROUPS)];
    for block in (0..=last).flat_map(deltas).flat_map(|delta| delta.blocks.clone()) {
        let group: &mut Vec<Seen> = &mut groups[usize::from(block.group.0)];
        if block.kind == BlockKind::Full {
            group.clear();
        }
        group.push(seen(&block));
    }
    groups.into_iter().flatten().collect()
}

fn plain(place: &Path) -> Box<dyn StateBackend> {
    Box::new(Lmdb::at(place))
}

fn limited(place: &Path) -> Box<dyn StateBackend> {
    Box::new(Enveloped::new(Lmdb::at(place), false))
}

/// Commits until killed, and says each number once it is durable.
fn commit_forever(backend: &dyn StateBackend) {
    let mut store = backend.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let next = newest(&mut *store).map_or(0, |newest| newest + 1);
    for number in next.. {
        commit(&mut *store, attempt, number, deltas(number));
        println!("\ncommitted {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// Lets a child commit `commits` times and for `time` more, kills it, and returns the last number that it said.
fn run_and_kill(test: &str, place: &Path, commits: usize, time: Duration) -> Option<u64> {
    let test = format!("a_killed_process_loses_no_commit::{test}");
    let mut child = child::command(&test, place).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut numbers = lines.filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    let before = numbers.by_ref().take(commits).last();
    std::thread::sleep(time);
    child.kill().unwrap();
    assert_eq!(child.wait().unwrap().code(), None, "it failed before it was killed");
    numbers.last().or(before)
}

#[test]
fn whenever_it_dies() {
    kill_again_and_again("whenever_it_dies", plain);
}

#[test]
fn whenever_it_dies_with_a_heap_limit() {
    kill_again_and_again("whenever_it_dies_with_a_heap_limit", limited);
}

fn kill_again_and_again(test: &str, backend: fn(&Path) -> Box<dyn StateBackend>) {
    if let Some(place) = child::place() {
        return commit_forever(&*backend(&place));
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut reported, mut attempts) = (None, 0);
    for kill in 0..KILLS {
        // From within the first steps to a few commits.
        let (commits, time) = (kill as usize % 4, Duration::from_micros(kill * 311));
        reported = reported.max(run_and_kill(test, directory.path(), commits, time));
        let mut store = backend(directory.path()).open().unwrap();
        let found = newest(&mut *store);
        assert!(found >= reported, "{reported:?} was reported, {found:?} is there");
        assert_eq!(read(&mut *store, "total"), found.map(oracle).unwrap_or_default());
        let Attempt(attempt) = store.begin_attempt().unwrap();
        assert!(attempt > attempts);
        attempts = attempt;
    }
    assert!(reported > Some(KILLS), "too few commits to show anything: {reported:?}");
}
