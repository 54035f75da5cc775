//! `kill -9` while savepoints are written, and while a job starts from one.

use std::{
    env, fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use cofferdam::{JobHandle, Savepoint, prelude::*};
use cofferdam_engine::checkpoint::store::StateBackend as _;
use cofferdam_testkit::{Fault, Point, SCHEDULE_VARIABLE, Schedule};
use tempfile::TempDir;

const RECORDS: u64 = 3_000;
const KEYS: u64 = 10;

/// Tells this test program that it is a job in this directory.
const PLACE: &str = "COFFERDAM_SAVEPOINT_PLACE";

/// For each number how many of its key there have been, as lines in `output`.
fn counting(output: &Path, rate: f64) -> Topology {
    let topology = Topology::new("counting");
    let numbers = topology.source("numbers", Generator::bounded(RECORDS, |number| number).rate(rate));
    let counts = numbers.key_by(|number| number % KEYS).fold("count", 0u64, |count, _| *count += 1);
    counts.sink("rows", FileSink::json_lines(output));
    topology
}

fn expected() -> Vec<(u64, u64)> {
    let mut rows: Vec<_> = (0..RECORDS).map(|number| (number % KEYS, number / KEYS + 1)).collect();
    rows.sort_unstable();
    rows
}

fn engine(place: &Path) -> EngineBuilder {
    Engine::builder()
        .parallelism(2)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(20)))
        .restart(RestartStrategy::None)
        .backend(Lmdb::at(place.join("state")))
}

/// The rows of the published files up to a checkpoint.
fn published(output: &Path, up_to: CheckpointId) -> Vec<(u64, u64)> {
    let mut rows = Vec::new();
    let Ok(entries) = fs::read_dir(output) else { return rows };
    for path in entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        let number: u64 = path.file_stem().unwrap().to_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
        if number <= up_to.0 {
            let text = fs::read_to_string(&path).unwrap();
            rows.extend(text.lines().map(|line| serde_json::from_str::<(u64, u64)>(line).unwrap()));
        }
    }
    rows
}

fn sorted(mut rows: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    rows.sort_unstable();
    rows
}

/// What the process does that is to be killed: starts from the savepoint `PLACE/start`, if that is there, and takes one after the other.
#[test]
fn child() {
    let Some(place) = env::var_os(PLACE).map(PathBuf::from) else { return };
    let armed = Schedule::of_environment().unwrap().arm(Duration::ZERO);
    let mut builder = engine(&place).fail_points(armed.fail_points());
    if place.join("start").exists() {
        builder = builder.from_savepoint(place.join("start"));
    }
    let job = builder.start_blocking(counting(&place.join("output"), 1_500.0)).unwrap();
    for number in 0.. {
        if job.savepoint_blocking(place.join(format!("savepoint-{number}"))).is_err() {
            break;
        }
    }
    job.wait_blocking().unwrap();
}

fn start_child(place: &Path, schedule: &Schedule) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "savepoints::child", "--nocapture", "--test-threads=1"]).env(PLACE, place);
    command.env(SCHEDULE_VARIABLE, schedule.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// Runs a child until it kills itself.
fn run_killed(place: &Path, point: Point, occurrence: u32) {
    let schedule = Schedule::default().at(point, occurrence, Fault::Kill);
    let ended = start_child(place, &schedule).wait().unwrap();
    assert_eq!(ended.signal(), Some(9), "{schedule}: {ended}");
}

/// The files that bear a savepoint's name; each is whole.
fn savepoints(place: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let named: Vec<_> = files
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            name.starts_with("savepoint-") && !name.ends_with(".partial")
        })
        .collect();
    for path in &named {
        Savepoint::open(path).unwrap().verify().unwrap();
    }
    named
}

/// Lets a job come to its end: with what was published before, every row is there once.
fn finishes(job: &JobHandle, output: &Path, before: Vec<(u64, u64)>, what: &str) {
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished, "{what}");
    let rows = before.into_iter().chain(published(output, CheckpointId(u64::MAX)));
    assert_eq!(sorted(rows.collect()), expected(), "{what}");
}

/// The job goes on, and from each savepoint goes another one.
fn all_is_well(place: &Path, what: &str) {
    let output = place.join("output");
    let job = engine(place).start_blocking(counting(&output, 1e6)).unwrap();
    finishes(&job, &output, Vec::new(), what);
    for (number, path) in savepoints(place).into_iter().enumerate() {
        let checkpoint = Savepoint::open(&path).unwrap().metadata().checkpoint;
        let elsewhere = place.join(format!("elsewhere {number}"));
        let builder = engine(place).backend(Memory::new()).from_savepoint(&path).discard_prepared(true).parallelism(3);
        let job = builder.start_blocking(counting(&elsewhere, 1e6)).unwrap();
        finishes(&job, &elsewhere, published(&output, checkpoint), what);
    }
}

#[test]
fn a_kill_while_one_is_written_leaves_none_of_its_name_and_the_job_and_the_others_as_they_were() {
    for point in [Point::SavepointBegun, Point::SavepointWritten, Point::CommitDurable, Point::CommitBefore] {
        for occurrence in [1, 3] {
            let place = tempfile::tempdir().unwrap();
            run_killed(place.path(), point, occurrence);
            if matches!(point, Point::SavepointBegun | Point::SavepointWritten) {
                assert_eq!(savepoints(place.path()).len(), occurrence as usize - 1);
            }
            all_is_well(place.path(), &format!("{} #{occurrence}", point.name()));
        }
    }
}

#[test]
fn a_kill_at_any_moment_leaves_whole_files_alone() {
    for round in 0..8 {
        let place = tempfile::tempdir().unwrap();
        let mut child = start_child(place.path(), &Schedule::default());
        let deadline = Instant::now() + Duration::from_secs(30);
        while fs::read_dir(place.path()).unwrap().count() < 3 + round {
            assert!(Instant::now() < deadline, "no savepoints");
        }
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        all_is_well(place.path(), &format!("round {round}"));
    }
}

/// A job stopped half-way with a savepoint, and what it had published.
fn half_way() -> (TempDir, PathBuf, Vec<(u64, u64)>) {
    let place = tempfile::tempdir().unwrap();
    let (path, output) = (place.path().join("savepoint"), place.path().join("output"));
    let job = engine(place.path()).start_blocking(counting(&output, 1_500.0)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while job.status().records_read < RECORDS / 2 {
        assert!(Instant::now() < deadline, "no records");
        std::thread::yield_now();
    }
    job.stop_with_savepoint_blocking(&path).unwrap();
    let rows = published(&output, CheckpointId(u64::MAX));
    (place, path, rows)
}

#[test]
fn a_kill_while_a_job_starts_from_one_is_followed_by_a_start_that_goes_on() {
    let (_place, savepoint, before) = half_way();
    let before_the_import = [Point::Restart, Point::RestoreRead, Point::OwnerAfter, Point::CommitBegun];
    let before_the_import = [&before_the_import[..], &[Point::CommitWritten]].concat();
    let after_it = [
        Point::CommitNoting,
        Point::CommitDurable,
        Point::SavepointImported,
        Point::AttemptBegun,
        Point::ClaimBefore,
        Point::ClaimAfter,
        Point::RecoverBefore,
        Point::RecoverAfter,
        Point::OpenBefore,
        Point::RestoreApplied,
        Point::ReplayBegun,
    ];
    for point in before_the_import.iter().chain(&after_it) {
        let place = tempfile::tempdir().unwrap();
        fs::copy(&savepoint, place.path().join("start")).unwrap();
        // Twice: what the first left is no obstacle to the second.
        for _ in 0..2 {
            let is_passed_again = !matches!(
                point,
                Point::CommitBegun
                    | Point::CommitNoting
                    | Point::CommitWritten
                    | Point::CommitDurable
                    | Point::SavepointImported
            ) || before_the_import.contains(point);
            if is_passed_again || !has_state(place.path()) {
                run_killed(place.path(), *point, 1);
            }
        }
        assert_eq!(has_state(place.path()), after_it.contains(point), "{}", point.name());
        let output = place.path().join("output");
        let builder = engine(place.path()).from_savepoint(place.path().join("start"));
        let job = builder.start_blocking(counting(&output, 1e6)).unwrap();
        finishes(&job, &output, before.clone(), point.name());
    }
}

fn has_state(place: &Path) -> bool {
    let state = place.join("state");
    state.exists() && Lmdb::at(state).open().unwrap().newest().unwrap().is_some()
}
