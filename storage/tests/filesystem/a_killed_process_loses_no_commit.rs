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
        store::StateBackend as _,
    },
};
use cofferdam_storage::FileSystem;

use crate::{
    child,
    files::{data, files, log},
    support::*,
};

const KILLS: u64 = 20;

/// What checkpoint `number` adds: a group in full, and changes of others, some large.
fn deltas(number: u64) -> Vec<Arc<StateDelta>> {
    let bytes =
        |group: u16| vec![(number as u16 ^ group) as u8; (number as usize * 131 + usize::from(group) * 2_003) % 20_000];
    let blocks = (0..GROUPS).filter_map(|group| match number % u64::from(GROUPS) {
        turn if turn == u64::from(group) => Some(full(group, &bytes(group))),
        _ => bytes(group).get(..number as usize % 50).map(|bytes| changes(group, bytes)),
    });
    vec![delta(number, "total", blocks.collect())]
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

/// Commits until killed, and says each number once it is durable.
fn commit_forever(place: &Path) {
    let mut store = FileSystem::at(place).open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let next = newest(&mut *store).map_or(0, |newest| newest + 1);
    for number in next.. {
        store.commit(&retaining(2, attempt, number, deltas(number))).unwrap();
        println!("\ncommitted {number}");
        std::io::stdout().flush().unwrap();
    }
}

/// Lets a child commit `commits` times and for `time` more, kills it, and returns the last number that it said.
fn run_and_kill(place: &Path, commits: usize, time: Duration) -> Option<u64> {
    let mut child = child::command("a_killed_process_loses_no_commit::whenever_it_dies", place).spawn().unwrap();
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
    if let Some(place) = child::place() {
        return commit_forever(&place);
    }
    let directory = tempfile::tempdir().unwrap();
    let (mut reported, mut attempts) = (None, 0);
    for kill in 0..KILLS {
        // From within the first steps to a few commits.
        let (commits, time) = (kill as usize % 4, Duration::from_micros(kill * 311));
        reported = reported.max(run_and_kill(directory.path(), commits, time));
        let mut store = FileSystem::at(directory.path()).open().unwrap();
        let found = newest(&mut *store);
        assert!(found >= reported, "{reported:?} was reported, {found:?} is there");
        assert_eq!(read(&mut *store, "total"), found.map(oracle).unwrap_or_default());
        let retained = store.retained().unwrap();
        assert!(retained.iter().all(|kept| kept.metadata.is_ok()));
        let Attempt(attempt) = store.begin_attempt().unwrap();
        assert!(attempt > attempts);
        attempts = attempt;
        drop(store);
        let files = files(directory.path());
        assert!(files.keys().all(|name| !name.contains('#')), "{:?}", files.keys());
        assert!(data(&files).len() <= 30, "a start removes what was given up: {:?}", data(&files));
        assert!(
            log(&files).len() as u64 <= 2 * (kill + 1) + 1,
            "of roots there is one, of claims one a start: {:?}",
            log(&files)
        );
    }
    assert!(reported > Some(KILLS), "too few commits to show anything: {reported:?}");
}
