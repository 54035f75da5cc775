//! State that released versions have written is read for good: a fixture of each format is kept in `fixtures/`, as `NAME.FORMAT`.
//!
//! When a format number goes up, `cargo test -p cofferdam-testkit --test formats -- --ignored` writes the fixtures of the new one beside the old ones; list it in `FIXTURES`.

#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use cofferdam::{SavepointWriter, StoredCheckpoint, prelude::*};
use cofferdam_engine::{
    checkpoint::store::StateBackend,
    savepoint::Savepoint,
    state::{EntryKey, Ttl},
};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde::{Deserialize, Serialize};

/// What is kept, and the newest format of each.
const FIXTURES: [&str; 3] = ["lmdb.3", "files.1", "savepoint.1"];

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
    for name in FIXTURES {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("state");
        copy_all(&fixture(name), &place, &unpack);
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
            }
            other => panic!("no such fixture: {other}"),
        }
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
    let savepoint = directory.path().join("savepoint");
    fs::create_dir(&savepoint).unwrap();
    with_newest(&Lmdb::at(&lmdb), |newest| {
        SavepointWriter::of(newest).write(savepoint.join("file")).unwrap();
    });
    for (name, from) in FIXTURES.iter().zip([lmdb, files, savepoint]) {
        assert!(!fixture(name).exists(), "{name} is there already: a format that was written never changes");
        for left in ["LOCK", "lock.mdb"] {
            let _ = fs::remove_file(from.join(left));
        }
        copy_all(&from, &fixture(name), &pack);
    }
}
