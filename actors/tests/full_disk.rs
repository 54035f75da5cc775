//! A disk that is full for a while costs checkpoints, and no record; and whoever stops a job meanwhile learns why it does not stop.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use cofferdam::prelude::*;
use cofferdam_engine::checkpoint::{
    stats::{CheckpointFailureReason, CheckpointKind},
    store::StateBackend,
};
use rlimit::Resource;

const PLACE: &str = "COFFERDAM_TEST_CHILD_PLACE";
/// Records of each key, one after the other: so state grows all the time.
const EACH: u64 = 2;

/// Runs `scenario` in a process of its own: this test binary again. There, writing to a file that may not grow is an error and not a signal.
fn in_child(test: &str, scenario: impl FnOnce(&Path)) {
    if let Some(place) = std::env::var_os(PLACE).map(PathBuf::from) {
        scenario(&place);
        println!("\nall said and done");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]).arg(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture", "--test-threads=1"]).env(PLACE, directory.path());
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().unwrap();
    let [said, complained] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    assert!(said.contains("all said and done"), "{said}\n{complained}");
}

/// No file of this process may have more than `bytes` from now on.
fn limit_files(bytes: u64) {
    let (_, hard) = Resource::FSIZE.get().unwrap();
    Resource::FSIZE.set(bytes.min(hard), hard).unwrap();
}

fn there_is_room() {
    limit_files(u64::MAX);
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn counting(sink: CollectSink<(u64, u64)>) -> Topology {
    let topology = Topology::new("counting");
    topology
        .source("numbers", Generator::unbounded(|n| n).rate(5_000))
        .key_by(|n| n / EACH)
        .fold("count", (0u64, vec![7u8; 1_000]), |(count, _): &mut (u64, Vec<u8>), _| *count += 1)
        .map(|(key, (count, _))| (key, count))
        .sink("rows", sink);
    topology
}

/// Each number has made one row, in which its key's count is.
fn are_exact(rows: Vec<(u64, u64)>) -> bool {
    !rows.is_empty() && rows.iter().copied().eq((0..rows.len() as u64).map(|n| (n / EACH, n % EACH + 1)))
}

/// `is_full` says how long a file may be when the disk is full.
fn goes_on(backend: impl StateBackend, is_full: impl Fn() -> u64) {
    let (sink, rows) = CollectSink::new();
    let engine = Engine::builder().parallelism(1).checkpoints(CheckpointConfig::every(Duration::from_millis(20)));
    let job = engine.backend(backend).start_blocking(counting(sink)).unwrap();
    until("checkpoints", || job.status().checkpoints_completed >= 3);

    limit_files(is_full());
    until("a failed checkpoint", || {
        assert_eq!(job.status().failures, 0, "{:?}", job.failures());
        job.status().checkpoints_failed >= 1
    });
    let full = job.status();
    until("more of them", || job.status().checkpoints_failed >= full.checkpoints_failed + 3);
    until("records", || job.status().records_read >= full.records_read + 500);
    let status = job.status();
    assert_eq!((status.checkpoints_completed, status.restarts), (full.checkpoints_completed, 0));
    let failed = status.last_failed_checkpoint.unwrap();
    assert!(matches!(failed.aborted, Some(CheckpointFailureReason::NotStored(_))), "{failed:?}");

    there_is_room();
    until("a checkpoint", || job.status().checkpoints_completed > full.checkpoints_completed);
    assert_eq!(job.stop_blocking().unwrap(), JobEnd::Stopped);
    assert_eq!(job.status().restarts, 0);
    assert_eq!(rows.snapshot().len() as u64, job.status().records_read);
    assert!(are_exact(rows.snapshot()), "{:?}", rows.snapshot());
}

/// What is there may be written again, as on a full disk.
fn on_lmdb(lmdb: Lmdb) {
    let data = lmdb.path().join("data.mdb");
    goes_on(lmdb, || data.metadata().unwrap().len());
}

#[test]
fn a_job_on_lmdb_goes_on_when_there_is_room_again() {
    in_child("a_job_on_lmdb_goes_on_when_there_is_room_again", |place| on_lmdb(Lmdb::at(place)));
}

#[test]
fn a_job_whose_state_is_not_all_on_the_heap_goes_on_when_there_is_room_again() {
    let test = "a_job_whose_state_is_not_all_on_the_heap_goes_on_when_there_is_room_again";
    in_child(test, |place| on_lmdb(Lmdb::at(place).heap_limit(0)));
}

#[cfg(feature = "filesystem")]
#[test]
fn a_job_on_files_goes_on_when_there_is_room_again() {
    in_child("a_job_on_files_goes_on_when_there_is_room_again", |place| goes_on(FileSystem::at(place), || 0));
}

/// No checkpoint comes by itself.
fn seldom() -> CheckpointConfig {
    CheckpointConfig::every(Duration::from_secs(3600))
}

#[test]
fn a_stop_without_room_is_tried_again_and_the_status_says_why() {
    in_child("a_stop_without_room_is_tried_again_and_the_status_says_why", |place| {
        let (sink, rows) = CollectSink::new();
        let engine = Engine::builder().parallelism(1).checkpoints(seldom()).backend(Lmdb::at(place.join("state")));
        let job = engine.start_blocking(counting(sink)).unwrap();
        until("records", || job.status().records_read >= 100);
        limit_files(0);
        let stopping = job.clone();
        let stopping = std::thread::spawn(move || stopping.stop_blocking());
        until("failures", || job.status().checkpoints_failed >= 3);
        let failed = job.status().last_failed_checkpoint.unwrap();
        assert_eq!(failed.kind, CheckpointKind::Stop);
        let reason = failed.aborted.unwrap().to_string();
        assert!(reason.contains("could not be stored in"), "{reason}");
        there_is_room();
        assert_eq!(stopping.join().unwrap().unwrap(), JobEnd::Stopped);
        assert!(are_exact(rows.snapshot()), "{:?}", rows.snapshot());
    });
}

#[test]
fn a_stop_without_room_ends_the_job_when_no_more_failures_are_tolerable_and_nothing_is_lost() {
    let test = "a_stop_without_room_ends_the_job_when_no_more_failures_are_tolerable_and_nothing_is_lost";
    in_child(test, |place| {
        let (sink, rows) = CollectSink::new();
        let start = || {
            let checkpoints = seldom().tolerable_failures(2);
            let engine =
                Engine::builder().parallelism(1).checkpoints(checkpoints).backend(Lmdb::at(place.join("state")));
            let job = engine.start_blocking(counting(sink.clone())).unwrap();
            until("records", || job.status().records_read >= 100);
            job
        };
        let job = start();
        limit_files(0);
        let error = job.stop_blocking().unwrap_err().to_string();
        for part in ["not stored: ", "2 failed checkpoints in a row are tolerable"] {
            assert!(error.contains(part), "{error}");
        }
        assert_eq!((job.status().checkpoints_failed, job.status().restarts), (3, 0));
        there_is_room();
        assert_eq!(start().stop_blocking().unwrap(), JobEnd::Stopped);
        assert!(are_exact(rows.snapshot()), "{:?}", rows.snapshot());
    });
}
