//! What a two-phase sink holds when a savepoint is taken: prepared and not published, or begun and not prepared.

use std::time::Duration;

use cofferdam::{
    connector::{FileTransaction, FileWriter, FileWriterState, Frozen, Roll},
    prelude::*,
};

use crate::support::*;

/// Files end when they have so many bytes: at a savepoint, one is growing.
fn growing(limit: &Limit, output: &std::path::Path) -> Topology {
    let topology = Topology::new("growing");
    let rows = topology.source("numbers", limit.clone()).map(|number| (number % KEYS, number));
    rows.sink("rows", FileSink::json_lines(output).roll_every(Roll::Bytes(1 << 30)));
    topology
}

#[test]
fn a_file_that_was_growing_is_missed_elsewhere_and_taken_up_where_it_is() {
    let places = Places::new();
    let (limit, output) = (Limit::of(100), places.at("output"));
    let builder = || engine().checkpoints(CheckpointConfig::every(Duration::from_secs(3600)));
    let job = builder().backend(Lmdb::at(places.at("state"))).start_blocking(growing(&limit, &output)).unwrap();
    until("all is read", || job.status().records_read == 100);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    assert_eq!(info.prepared, []);
    let aside = places.at("aside");
    copy_all(&output, &aside);
    job.stop_blocking().unwrap();
    std::fs::remove_dir_all(&output).unwrap();

    let start = || builder().from_savepoint(&info.path);
    let message = refused(start(), growing(&limit, &output));
    assert!(message.contains("sink 'rows': what 2 of its subtasks had begun to write"), "{message}");
    // Given up, the rest comes out alone.
    let job = start().discard_prepared(true).start_blocking(growing(&Limit::of(150), &output)).unwrap();
    until("all is read", || job.status().records_read == 50);
    job.stop_blocking().unwrap();
    let rows = |numbers: std::ops::Range<u64>| -> Vec<_> {
        let mut rows: Vec<_> = numbers.map(|number| (number % KEYS, number)).collect();
        rows.sort_unstable();
        rows
    };
    assert_eq!(published(&output), rows(100..150));
    // Where the files are, nothing is missing.
    let job = start().start_blocking(growing(&Limit::of(150), &aside)).unwrap();
    until("all is read", || job.status().records_read == 50);
    job.stop_blocking().unwrap();
    assert_eq!(published(&aside), rows(0..150));
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let to = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy_all(&entry, &to);
        } else {
            std::fs::copy(&entry, &to).unwrap();
        }
    }
}

/// A file sink that prepares, and cannot publish.
struct Withheld(FileSink<(u64, u64)>);

impl TwoPhaseSink<(u64, u64)> for Withheld {
    type Writer = FileWriter<(u64, u64)>;
    type Frozen = Frozen;
    type Transaction = FileTransaction;
    type WriterState = FileWriterState;

    fn owner(&self) -> Result<Ownership, BoxError> {
        self.0.owner()
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.0.claim(context)
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<FileTransaction>,
        writers: &[FileWriterState],
    ) -> Result<(), BoxError> {
        self.0.recover(context, transactions, writers)
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<FileWriterState>,
    ) -> Result<Self::Writer, BoxError> {
        self.0.open(context, subtask, restored)
    }

    fn pre_commit(&self, frozen: Frozen) -> Result<Option<FileTransaction>, BoxError> {
        self.0.pre_commit(frozen)
    }

    fn commit(&self, _: &FileTransaction) -> Result<(), BoxError> {
        Err("withheld".into())
    }
}

#[test]
fn what_was_prepared_is_published_where_the_sink_finds_it_and_missed_where_it_does_not() {
    let places = Places::new();
    let output = places.at("output");
    let withheld = {
        let topology = Topology::new("counting");
        let numbers = topology.source("numbers", Limit::of(400));
        let counts = numbers.key_by(|number| number % KEYS).fold("count", 0u64, |count, _| *count += 1);
        counts.sink("rows", Withheld(FileSink::json_lines(&output)));
        topology
    };
    let builder = || engine().checkpoints(CheckpointConfig::every(Duration::from_secs(3600)));
    let job = builder().start_blocking(withheld).unwrap();
    until("all is read", || job.status().records_read == 400);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    assert!(job.wait_blocking().unwrap_err().to_string().contains("withheld"));
    assert_eq!(published(&output), []);

    let start = || builder().from_savepoint(&info.path);
    let message = refused(start(), counting(&Limit::of(700), &places.at("elsewhere")));
    assert!(message.contains("prepared and not published"), "{message}");
    // One of two subtasks' files is lost.
    let lost = places.at("lost");
    copy_all(&output, &lost);
    let mut pending = std::fs::read_dir(lost.join(".cofferdam").join("pending")).unwrap();
    std::fs::remove_file(pending.next().unwrap().unwrap().path()).unwrap();
    let message = refused(start(), counting(&Limit::of(700), &lost));
    assert!(message.contains(&format!("sink 'rows': 1 transaction of checkpoint {}", info.checkpoint)), "{message}");

    let job = start().start_blocking(counting(&Limit::of(700), &output)).unwrap();
    until("all is read", || job.status().records_read == 300);
    job.stop_blocking().unwrap();
    assert_eq!(published(&output), expected(700));

    // Given up is only what is not found.
    let job = start().discard_prepared(true).start_blocking(counting(&Limit::of(700), &lost)).unwrap();
    until("all is read", || job.status().records_read == 300);
    job.stop_blocking().unwrap();
    let rows = published(&lost);
    let (found, after): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, count)| *count <= 400 / KEYS);
    assert!(!found.is_empty() && found.len() < 400, "{} rows", found.len());
    assert!(found.iter().all(|row| expected(400).contains(row)));
    assert_eq!(after.len(), 300);
}

#[test]
fn what_was_published_and_moved_away_is_not_missed() {
    let places = Places::new();
    let info = taken_while_running(&places, 200);
    let output = places.at("output");
    let rows = published(&output);
    assert_eq!(rows, expected(200));
    for path in std::fs::read_dir(&output).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()) {
        std::fs::remove_file(path).unwrap();
    }
    let job = engine().from_savepoint(&info.path).start_blocking(counting(&Limit::of(300), &output)).unwrap();
    run_to(&job, &output, 100);
    assert_eq!(together(rows, published(&output)), expected(300));
}
