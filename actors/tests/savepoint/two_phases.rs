//! What a two-phase sink has begun and not prepared is asked for as well.

use std::time::Duration;

use cofferdam::{connector::Roll, prelude::*};

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
