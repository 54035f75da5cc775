//! How long commits to LMDB and to plain files take and how far what is stored grows, with groups rewritten in full and with small changes.
//!
//! `cargo run --release -p cofferdam-storage --example commit_times [directory]`
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use cofferdam_engine::{
    Attempt, CheckpointId, JobId, KeyGroup, KeyGroupRange,
    checkpoint::{
        snapshot::{BlockKind, CheckpointCommit, CheckpointMetadata, StateAddress, StateBlock, StateDelta},
        store::{CheckpointStore, StateBackend},
    },
};
use cofferdam_storage::{FileSystem, Lmdb};

const GROUPS: u16 = 128;
/// How much larger or smaller than the mean a block may be, as a fraction.
const SPREAD: usize = 4;

type Size = fn(u64, BlockKind) -> usize;
type Kind = fn(u64, u16) -> Option<BlockKind>;

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("commit_times");
    let scenarios: [(&str, u64, Size, Kind); 6] = [
        ("full, 125 KB", 50, |_, _| 125_000, |_, _| Some(BlockKind::Full)),
        ("full, 1.2 KB", 50, |_, _| 1_200, |_, _| Some(BlockKind::Full)),
        ("changes, 1.2 KB", 50, |_, _| 1_200, |_, _| Some(BlockKind::Changes)),
        (
            "1 of 8 full, 125 KB",
            50,
            |_, _| 125_000,
            |round, group| (round == 0 || u64::from(group) % 8 == round % 8).then_some(BlockKind::Full),
        ),
        (
            "mixed",
            1000,
            |_, kind| if kind == BlockKind::Full { 125_000 } else { 3_000 },
            |round, group| {
                let draw = (round * u64::from(GROUPS) + u64::from(group)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
                match draw % 32 {
                    0 => Some(BlockKind::Full),
                    1..16 if round > 0 => Some(BlockKind::Changes),
                    _ => (round == 0).then_some(BlockKind::Full),
                }
            },
        ),
        ("nothing", 50, |_, _| 0, |_, _| None),
    ];
    println!(
        "{:26} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "p50 ms", "p90 ms", "max ms", "file MB", "live MB", "open ms", "read ms"
    );
    for (name, rounds, size, kind) in scenarios {
        let backends: [(&str, &dyn StateBackend); 2] = [("LMDB", &Lmdb::at(&base)), ("files", &FileSystem::at(&base))];
        for (kept, backend) in backends {
            let _ = std::fs::remove_dir_all(&base);
            run(&format!("{kept}: {name}"), backend, &base, rounds, size, kind);
        }
    }
    let _ = std::fs::remove_dir_all(&base);
}

fn run(name: &str, backend: &dyn StateBackend, path: &Path, rounds: u64, size: Size, kind: Kind) {
    let mut store = backend.open().unwrap();
    let attempt = store.begin_attempt().unwrap();
    let mut times: Vec<Duration> = (0..rounds)
        .map(|round| {
            let commit = checkpoint(attempt, round, size, kind);
            let start = Instant::now();
            store.commit(&commit).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    drop(store);
    let start = Instant::now();
    let mut store = backend.open().unwrap();
    let open = start.elapsed();
    let (read, live) = read(&mut *store);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let mega = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{name:26} {:9.2} {:9.2} {:9.2} {:9.2} {:9.2} {:9.2} {:9.2}",
        millis(times[times.len() / 2]),
        millis(times[times.len() * 9 / 10]),
        millis(times[times.len() - 1]),
        mega(length(path)),
        mega(live),
        millis(open),
        millis(read),
    );
}

/// Of all files below `path`.
fn length(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries
        .map(|entry| if entry.path().is_dir() { length(&entry.path()) } else { entry.metadata().unwrap().len() })
        .sum()
}

fn checkpoint(attempt: Attempt, round: u64, size: Size, kind: Kind) -> CheckpointCommit {
    let checkpoint = CheckpointId(round);
    let block = |group: u16| {
        let kind = kind(round, group)?;
        let mean = size(round, kind);
        // Sizes vary, as those of groups do: blocks of one size would fit each other's holes.
        let size = mean + (usize::from(group) * 7919 + round as usize * 104_729) % (mean / SPREAD).max(1);
        Some(StateBlock { group: KeyGroup(group), kind, entries: 1, bytes: vec![round as u8; size] })
    };
    let blocks = (0..GROUPS).filter_map(block).collect();
    CheckpointCommit {
        num_retained: NonZeroU32::MIN,
        fail_points: Default::default(),
        metadata: CheckpointMetadata {
            job: JobId(1),
            job_name: "commit_times".into(),
            checkpoint,
            attempt,
            max_parallelism: GROUPS,
            finished: false,
            draining: false,
            in_flight: Vec::new(),
            times: Vec::new(),
            origin: None,
            operators: vec![],
        },
        deltas: vec![Arc::new(StateDelta { checkpoint, address: address(), blocks })],
    }
}

fn address() -> StateAddress {
    StateAddress { operator: "step".into(), state: "state".into() }
}

fn read(store: &mut dyn CheckpointStore) -> (Duration, u64) {
    let start = Instant::now();
    let mut live = 0;
    let reader = store.reader().unwrap();
    let all = KeyGroupRange { start: 0, end: GROUPS };
    reader
        .read(&address(), all, &mut |_, _, _, bytes| {
            live += bytes.len() as u64;
            Ok(())
        })
        .unwrap();
    (start.elapsed(), live)
}
