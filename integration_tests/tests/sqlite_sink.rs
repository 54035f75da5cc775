//! The sink on SQLite: its contract, every fault, and what it refuses.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use cofferdam::prelude::*;
use cofferdam_engine::JobId;
use cofferdam_examples::sqlite_sink::{SqliteSink, SqliteTransaction};
use cofferdam_testkit::{Backend, Io, SinkHarness, Torture};
use rusqlite::{Connection, types::Value};
use tempfile::TempDir;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS counts(key INTEGER, count INTEGER)";
const INSERT: &str = "INSERT INTO counts VALUES(?1, ?2)";

type Row = (u64, u64);

fn values(row: &Row) -> Vec<Value> {
    vec![Value::from(row.0 as i64), Value::from(row.1 as i64)]
}

fn sink(database: impl AsRef<Path>) -> SqliteSink<Row> {
    SqliteSink::new(database, CREATE, INSERT, values)
}

fn database(directory: impl AsRef<Path>) -> PathBuf {
    directory.as_ref().join("rows.db")
}

/// What another process sees.
fn rows(database: &Path) -> Vec<Row> {
    let connection = Connection::open(database).unwrap();
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = 'counts'";
    if connection.query_row(tables, [], |row| row.get::<_, i64>(0)).unwrap() == 0 {
        return Vec::new();
    }
    let mut select = connection.prepare("SELECT key, count FROM counts").unwrap();
    let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64))).unwrap();
    rows.map(Result::unwrap).collect()
}

fn number_in(database: &Path, select: &str) -> i64 {
    Connection::open(database).unwrap().query_row(select, [], |row| row.get(0)).unwrap()
}

fn place() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_sink_keeps_the_contract() {
    let harness = SinkHarness::new(
        place,
        |directory| sink(database(directory)),
        |directory| rows(&database(directory)),
        |number| (number, number * 7),
    );
    harness.check().unwrap();
}

fn counts(io: &Io) -> Topology {
    let database = database(io.directory());
    let topology = Topology::new("counts");
    topology
        .source("numbers", io.source((0..40u64).collect()))
        .key_by(|n| n % 5)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("rows", sink(&database));
    io.output_elsewhere(move || rows(&database));
    topology
}

#[test]
fn the_sink_is_exactly_once_at_every_fail_point() {
    let report = Torture::new(counts).every_fail_point().seeds(0..60).run().unwrap();
    report.assert_exactly_once();
    assert!(report.runs() > 500, "only {} runs", report.runs());
}

#[test]
fn the_sink_is_exactly_once_at_every_fail_point_of_lmdb() {
    let report = Torture::new(counts).backend(Backend::Lmdb).every_fail_point().run().unwrap();
    report.assert_exactly_once();
    assert!(report.runs() > 500, "only {} runs", report.runs());
}

const JOB: JobId = JobId(7);

fn context(job: JobId, attempt: u64, restored: u64) -> SinkContext {
    SinkContext {
        job,
        job_name: "counts".to_string(),
        operator: "the \"rows\"".to_string(),
        attempt: Attempt(attempt),
        restored: CheckpointId(restored),
        state_place: "state/".to_string(),
    }
}

/// A sink that has been taken up by the first attempt of a job.
fn taken_up(database: &Path) -> SqliteSink<Row> {
    let sink = sink(database);
    sink.claim(&context(JOB, 1, 0)).unwrap();
    sink.recover(&context(JOB, 1, 0), Vec::new(), &[]).unwrap();
    sink
}

/// Prepares one row for a checkpoint.
fn prepare(sink: &SqliteSink<Row>, subtask: u32, checkpoint: u64) -> Result<SqliteTransaction, BoxError> {
    let mut writer = sink.open(&context(JOB, 1, 0), SubtaskIndex(subtask), Vec::new())?;
    writer.write((u64::from(subtask), checkpoint))?;
    let (frozen, ()) = writer.freeze(CheckpointId(checkpoint), false)?;
    Ok(sink.pre_commit(frozen)?.unwrap())
}

fn assert_says<T: std::fmt::Debug>(result: Result<T, BoxError>, words: &[&str]) {
    let error = result.unwrap_err().to_string();
    words.iter().for_each(|word| assert!(error.contains(word), "'{word}' is not in: {error}"));
}

#[test]
fn a_file_that_is_no_database_is_refused_before_anything_is_written() {
    let directory = place();
    let file = database(&directory);
    let text = "not a database, but something dear to its owner\n".repeat(100);
    fs::write(&file, &text).unwrap();
    let topology = Topology::new("counts");
    topology.source("numbers", Generator::bounded(10, |i| (i, i))).sink("rows", sink(&file));
    let state = directory.path().join("state");
    let error = Engine::builder().backend(Lmdb::at(&state)).start_blocking(topology).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Refused);
    let cause = format!("{error}");
    for word in ["sink 'rows'", file.to_str().unwrap(), "no SQLite database"] {
        assert!(cause.contains(word), "'{word}' is not in: {cause}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn a_database_that_another_process_has_locked_is_an_error_that_says_so() {
    let directory = place();
    let file = database(&directory);
    drop(taken_up(&file));
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let sink = sink(&file).lock_timeout(Duration::from_millis(20));
    let words = [file.to_str().unwrap(), "another process has locked it", "0.02 s"];
    assert_says(prepare(&sink, 0, 1), &words);
    other.execute_batch("ROLLBACK").unwrap();
    sink.commit(&prepare(&sink, 0, 1).unwrap()).unwrap();
    assert_eq!(rows(&file), [(0, 1)]);
}

#[test]
fn another_jobs_database_is_refused_and_stays_as_it_is() {
    let directory = place();
    let file = database(&directory);
    taken_up(&file).commit(&prepare(&taken_up(&file), 0, 1).unwrap()).unwrap();
    assert_says(sink(&file).claim(&context(JobId(8), 1, 0)), &["it belongs to job", file.to_str().unwrap()]);
    assert_eq!(sink(&file).owner().unwrap(), Ownership::Claimed(JOB));
    assert_eq!(rows(&file), [(0, 1)]);
}

#[test]
fn state_that_is_older_than_what_was_published_is_refused() {
    let directory = place();
    let file = database(&directory);
    let before = taken_up(&file);
    before.commit(&prepare(&before, 0, 3).unwrap()).unwrap();
    let recovered = sink(&file).recover(&context(JOB, 2, 2), Vec::new(), &[]);
    assert!(recovered.as_ref().is_err_and(|error| error.is::<Error>()), "a refusal, and not a failure: {recovered:?}");
    assert_says(recovered, &["checkpoint 3", "checkpoint 2", "state/", file.to_str().unwrap()]);
    sink(&file).recover(&context(JOB, 2, 3), Vec::new(), &[]).unwrap();
    assert_eq!(rows(&file), [(0, 3)]);
}

#[test]
fn a_database_that_lacks_what_a_checkpoint_names_is_an_error() {
    let directory = place();
    let file = database(&directory);
    let before = taken_up(&file);
    let staged = prepare(&before, 0, 1).unwrap();
    drop(before);
    let copy = directory.path().join("other.db");
    drop(taken_up(&copy));
    assert_says(sink(&copy).recover(&context(JOB, 2, 1), vec![staged], &[]), &["1 rows", "0 of them", "older copy"]);
}

#[test]
fn a_statement_that_does_not_fit_is_an_error_before_a_row_is_read() {
    let directory = place();
    let file = database(&directory);
    let wrong = SqliteSink::new(&file, CREATE, "INSERT INTO cuonts VALUES(?1, ?2)", values);
    assert_says(wrong.claim(&context(JOB, 1, 0)), &["no such table: cuonts", file.to_str().unwrap()]);
    assert_eq!(wrong.owner().unwrap(), Ownership::Unclaimed, "nothing of a claim that failed is left");

    drop(taken_up(&file));
    let few = SqliteSink::new(&file, CREATE, INSERT, |row: &Row| vec![Value::from(row.0 as i64)]);
    assert_says(prepare(&few, 0, 1), &["1 values", "2 parameters", INSERT]);
    assert_eq!(number_in(&file, "SELECT count(*) FROM cofferdam_staged_7468652022726f777322"), 0);
}

#[test]
fn marks_and_staged_rows_do_not_grow_with_the_checkpoints() {
    let directory = place();
    let file = database(&directory);
    let sink = taken_up(&file);
    for checkpoint in 1..=50 {
        for subtask in 0..3 {
            sink.commit(&prepare(&sink, subtask, checkpoint).unwrap()).unwrap();
        }
    }
    sink.abort(&prepare(&sink, 0, 51).unwrap()).unwrap();
    assert_eq!(number_in(&file, "SELECT count(*) FROM cofferdam_marks"), 3);
    assert_eq!(number_in(&file, "SELECT count(*) FROM cofferdam_staged_7468652022726f777322"), 0);
    assert_eq!(rows(&file).len(), 150);
}

/// Without another checkpoint than those asked for.
fn by_request() -> EngineBuilder {
    Engine::builder().parallelism(2).checkpoints(CheckpointConfig::every(Duration::from_secs(3600)))
}

fn numbers_in(database: &Path, numbers: u64) -> Topology {
    let topology = Topology::new("numbers");
    let source = Generator::unbounded(|number| number).rate(500.0);
    topology
        .source("numbers", source)
        .filter(move |number| *number < numbers)
        .map(|number| (number, 1))
        .sink("rows", sink(database));
    topology
}

#[test]
fn rows_that_a_savepoint_holds_are_missed_in_another_database_and_found_in_their_own() {
    let place = place();
    let (own, other, savepoint) = (database(&place), place.path().join("other.db"), place.path().join("savepoint"));
    let job = by_request().start_blocking(numbers_in(&own, 100)).unwrap();
    while job.status().records_read < 200 {
        std::thread::yield_now();
    }
    let info = job.savepoint_blocking(&savepoint).unwrap();
    assert!(!info.prepared.is_empty());
    job.stop_blocking().unwrap();
    assert_eq!(rows(&own).len(), 100);
    let refused = by_request().from_savepoint(&savepoint).start_blocking(numbers_in(&other, 100)).map(drop);
    let error = refused.unwrap_err().to_string();
    assert!(error.contains("prepared and not published") && error.contains("other.db"), "{error}");
    assert!(!other.exists(), "nothing is made where nothing is started");
    // Published there since: that is as good as prepared. What else was published since closes the way, so nothing else was.
    let job = by_request().from_savepoint(&savepoint).start_blocking(numbers_in(&own, 100)).unwrap();
    job.stop_blocking().unwrap();
    assert_eq!(rows(&own).len(), 100);
}
