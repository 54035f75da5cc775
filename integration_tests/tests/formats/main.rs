//! State that released versions have written is read for good: a fixture of each format is kept in `fixtures/`, as `NAME.FORMAT`.
//!
//! When a format number goes up, `cargo test -p cofferdam-testkit --test formats -- --ignored` writes the fixtures of the new one beside the old ones; list it in `NEWEST`, and what was there in `OLDER`. `timed` has a savepoint of its own.

#![allow(clippy::unwrap_used)]

mod timed;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use cofferdam::{SavepointWriter, StoredCheckpoint, prelude::*};
use cofferdam_engine::{
    ChannelIndex, SubtaskIndex, Timestamp, Watermark,
    checkpoint::{
        snapshot::{CheckpointCommit, CheckpointMetadata, EdgeTime, InFlightRecord},
        store::StateBackend,
    },
    savepoint::Savepoint,
    state::{EntryKey, Ttl},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

/// What is kept of formats that are written no more. They have no times.
const OLDER: [&str; 3] = ["lmdb.3", "files.1", "savepoint.1"];

/// The newest format of each.
const NEWEST: [&str; 3] = ["lmdb.4", "files.2", "savepoint.2"];

const KEYS: u32 = 20;
const RECORDS: u32 = 200;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Total {
    sum: i64,
    last: Option<String>,
}

/// A state of every kind that a keyed step can have.
fn topology() -> Topology {
    let topology = Topology::new("formats");
    let (sink, _) = CollectSink::new();
    let numbers: Vec<u32> = (0..RECORDS).collect();
    let states = (
        state::value::<Total>("total"),
        state::map::<String, u32>("seen"),
        state::list::<u32>("all"),
        state::value::<u32>("recent").ttl(Ttl::after(Duration::from_secs(100 * 365 * 86_400))),
    );
    topology
        .source("numbers", Collection::new(numbers))
        .key_by(|n| format!("key {}", n % KEYS))
        .process_with("step", states, |_, n, (total, seen, all, recent), out: &mut Collector<'_, u32>| {
            total.update(Total::default, |total| {
                total.sum -= i64::from(n);
                total.last = n.is_multiple_of(3).then(|| format!("{n}"));
            });
            seen.insert(format!("n{}", n % 7), n);
            all.push(n);
            recent.set(n);
            out.emit(n);
        })
        .sink("numbers out", sink);
    topology
}

/// What the states hold in the end, by a plain loop.
#[derive(Default)]
struct Expected {
    totals: BTreeMap<String, Total>,
    seen: BTreeMap<(String, String), u32>,
    all: BTreeMap<(String, u64), u32>,
    recent: BTreeMap<String, u32>,
}

fn expected() -> Expected {
    let mut expected = Expected::default();
    let mut lengths = BTreeMap::<String, u64>::new();
    for n in 0..RECORDS {
        let key = format!("key {}", n % KEYS);
        let total = expected.totals.entry(key.clone()).or_default();
        total.sum -= i64::from(n);
        total.last = (n % 3 == 0).then(|| n.to_string());
        expected.seen.insert((key.clone(), format!("n{}", n % 7)), n);
        let place = lengths.entry(key.clone()).or_default();
        expected.all.insert((key.clone(), *place), n);
        *place += 1;
        expected.recent.insert(key, n);
    }
    expected
}

/// As if the edge had carried watermarks: one subtask has heard of one channel only, and of the other channel's watermarks two are on their way.
fn times() -> Vec<EdgeTime> {
    let of = |subtask, event_time, channels: [Watermark; 2]| EdgeTime {
        edge: "0: numbers -> step".to_string(),
        subtask: SubtaskIndex(subtask),
        parallelism: 2,
        event_time: Timestamp(event_time),
        channels: channels.to_vec(),
    };
    let said = |time, is_idle| Watermark { time: Timestamp(time), is_idle };
    vec![
        of(0, i64::MIN, [said(1_436_918_400_000, false), said(i64::MIN, false)]),
        of(1, -5, [said(-5, true), said(i64::MAX, false)]),
    ]
}

fn in_flight() -> Vec<InFlightRecord> {
    vec![InFlightRecord {
        edge: "0: numbers -> step".to_string(),
        subtask: SubtaskIndex(0),
        parallelism: 2,
        channels: 2,
        channel: ChannelIndex(1),
        batches: vec![vec![0xc1, 0, 5, 0, 0, 0, 0, 0, 0, 0], vec![0xc1, 1, 7, 1, 0, 0, 0, 0, 0, 0]],
    }]
}

/// A checkpoint as `check` wants it, and what it knows of time.
fn check_all(stored: &StoredCheckpoint, is_timed: bool) {
    check(stored);
    check_times(stored.metadata(), is_timed);
}

fn check_times(metadata: &CheckpointMetadata, is_timed: bool) {
    let expected = if is_timed { (times(), in_flight()) } else { Default::default() };
    assert_eq!((&metadata.times, &metadata.in_flight), (&expected.0, &expected.1));
}

/// Goes on by hand: one more checkpoint of the same state, with times, as no public step has them yet; the one before is kept.
fn commit_timed(backend: &dyn StateBackend) {
    let mut store = backend.open().unwrap();
    let newest = store.newest().unwrap().unwrap();
    let metadata = CheckpointMetadata {
        attempt: store.begin_attempt().unwrap(),
        checkpoint: CheckpointId(newest.checkpoint.0 + 1),
        times: times(),
        in_flight: in_flight(),
        ..newest
    };
    let num_retained = NonZeroU32::new(2).unwrap();
    store
        .commit(&CheckpointCommit { metadata, deltas: vec![], num_retained, fail_points: Default::default() })
        .unwrap();
}

fn check(stored: &StoredCheckpoint) {
    let Expected { totals, seen, all, recent } = expected();
    let values = |name: &str| stored.entries::<String, Total>("step", name).unwrap().map(Result::unwrap);
    assert_eq!(values("total").collect::<BTreeMap<_, _>>(), totals);
    let found = stored.entries::<EntryKey<String, String>, u32>("step", "seen").unwrap().map(Result::unwrap);
    assert_eq!(found.map(|(entry, n)| ((entry.key, entry.user), n)).collect::<BTreeMap<_, _>>(), seen);
    let found = stored.entries::<EntryKey<String, u64>, u32>("step", "all").unwrap().map(Result::unwrap);
    let found: BTreeMap<_, _> = found.map(|(entry, n)| ((entry.key, entry.user), n)).collect();
    assert!(found.iter().map(|((key, _), n)| (key, n)).eq(all.iter().map(|((key, _), n)| (key, n))), "{found:?}");
    let found = stored.entries::<String, u32>("step", "recent").unwrap().map(Result::unwrap);
    assert_eq!(found.collect::<BTreeMap<_, _>>(), recent);
    assert_eq!(stored.json_entries("step", "total").unwrap().count(), KEYS as usize);
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

/// Every file below `from`, with what `copy` makes of it, below `to`.
fn copy_all(from: &Path, to: &Path, copy: &dyn Fn(&Path, &Path)) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        match from.is_dir() {
            true => copy_all(&from, &to, copy),
            false => copy(&from, &to),
        }
    }
}

/// Takes the `.gz` off.
fn unpack(from: &Path, to: &Path) {
    let mut file = File::create(to.with_extension("")).unwrap();
    io::copy(&mut GzDecoder::new(File::open(from).unwrap()), &mut file).unwrap();
}

fn pack(from: &Path, to: &Path) {
    let name = format!("{}.gz", to.display());
    let mut packed = GzEncoder::new(File::create(name).unwrap(), Compression::best());
    io::copy(&mut File::open(from).unwrap(), &mut packed).unwrap();
    packed.finish().unwrap();
}

/// Looks at the newest checkpoint of a backend.
fn with_newest(backend: &dyn StateBackend, look: impl FnOnce(&StoredCheckpoint)) {
    let mut store = backend.open().unwrap();
    let metadata = store.newest().unwrap().unwrap();
    look(&StoredCheckpoint::new(backend.place(), metadata, store.reader().unwrap()));
}

#[test]
fn every_format_that_was_written_is_read() {
    for name in OLDER.into_iter().chain(NEWEST) {
        let (_directory, place) = unpacked(name);
        let is_timed = NEWEST.contains(&name);
        let check = |stored: &StoredCheckpoint| check_all(stored, is_timed);
        match name.split_once('.').unwrap().0 {
            "lmdb" => {
                let lmdb = Lmdb::at(&place);
                let inspection = lmdb.inspect().unwrap();
                check(&inspection.checkpoint(*inspection.checkpoints().last().unwrap()).unwrap());
                drop(inspection);
                with_newest(&lmdb.heap_limit(1 << 20), check);
                goes_on(Lmdb::at(&place));
            }
            "files" => {
                with_newest(&FileSystem::at(&place), check);
                goes_on(FileSystem::at(&place));
            }
            "savepoint" => {
                let file = place.join("file");
                check(&StoredCheckpoint::from(Savepoint::open(&file).unwrap()));
                let memory = Memory::new();
                let builder = Engine::builder().backend(memory.clone()).from_savepoint(&file);
                builder.start_blocking(topology()).unwrap().wait_blocking().unwrap();
                with_newest(&memory, check);
            }
            other => panic!("no such fixture: {other}"),
        }
    }
}

/// A fixture's files, for as long as the directory is.
fn unpacked(name: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("state");
    copy_all(&fixture(name), &place, &unpack);
    (directory, place)
}

#[test]
fn a_place_of_an_older_format_is_committed_to_and_keeps_what_it_had() {
    for name in ["lmdb.3", "files.1"] {
        let (_directory, place) = unpacked(name);
        let backend: Box<dyn StateBackend> = match name {
            "lmdb.3" => Box::new(Lmdb::at(&place)),
            _ => Box::new(FileSystem::at(&place)),
        };
        commit_timed(&*backend);
        with_newest(&*backend, |stored| check_all(stored, true));
        let mut store = backend.open().unwrap();
        let kept: Vec<_> = store.retained().unwrap().into_iter().map(|kept| kept.metadata.unwrap()).collect();
        assert_eq!(kept.len(), 2);
        check_times(&kept[0], false);
        assert_eq!(store.go_back(kept[0].checkpoint).unwrap(), kept[0]);
        drop(store);
        with_newest(&*backend, |stored| check_all(stored, false));
    }
}

/// The job that the state belongs to has nothing left to do.
fn goes_on(backend: impl StateBackend) {
    let job = Engine::builder().backend(backend).start_blocking(topology()).unwrap();
    job.wait_blocking().unwrap();
}

#[test]
#[ignore = "writes fixtures: by hand, see the module"]
fn write_the_fixtures() {
    let directory = tempfile::tempdir().unwrap();
    let (lmdb, files) = (directory.path().join("lmdb"), directory.path().join("files"));
    let engine = || Engine::builder().parallelism(2);
    engine().backend(Lmdb::at(&lmdb)).start_blocking(topology()).unwrap().wait_blocking().unwrap();
    engine().backend(FileSystem::at(&files)).start_blocking(topology()).unwrap().wait_blocking().unwrap();
    commit_timed(&Lmdb::at(&lmdb));
    commit_timed(&FileSystem::at(&files));
    let savepoint = directory.path().join("savepoint");
    fs::create_dir(&savepoint).unwrap();
    with_newest(&Lmdb::at(&lmdb), |newest| {
        SavepointWriter::of(newest).write(savepoint.join("file")).unwrap();
    });
    for (name, from) in NEWEST.iter().zip([lmdb, files, savepoint]) {
        assert!(!fixture(name).exists(), "{name} is there already: a format that was written never changes");
        for left in ["LOCK", "lock.mdb"] {
            let _ = fs::remove_file(from.join(left));
        }
        copy_all(&from, &fixture(name), &pack);
    }
}
