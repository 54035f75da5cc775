//! Every query of Nexmark gives the rows that a database gives for the same events: see `integration_tests/nexmark`.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{BufWriter, Write as _},
    path::Path,
    process::Command,
    time::Duration,
};

use cofferdam::prelude::*;
use cofferdam_examples::{
    nexmark::{
        digest::Digest,
        queries::{QUERIES, Query},
        rows::Rows,
        source::Events,
    },
    paced::Paced,
};
use cofferdam_testkit::{
    SourceHarness,
    matrix::nexmark::{Answers, digest, published},
};

/// Set to a Python that has DuckDB, or to 1 for `python3`.
const ORACLE: &str = "COFFERDAM_ORACLE";

/// The rows that a query publishes, of which no later one replaces any.
fn run(query: &Query, events: Events, parallelism: u32) -> Digest {
    let directory = tempfile::tempdir().unwrap();
    let (state, out) = (directory.path().join("state"), directory.path().join("out"));
    let topology = query.topology(Paced::new(events, None), Rows::Files(out.clone()));
    let engine = Engine::builder()
        .parallelism(parallelism)
        .checkpoints(CheckpointConfig::every(Duration::from_millis(20)))
        .backend(Lmdb::at(state))
        .restart(RestartStrategy::None);
    let job = engine.start_blocking(topology).unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    digest(query, published(&out).unwrap().lines()).unwrap()
}

/// Runs every query, and says which of them give other rows.
fn compare(answers: &Answers, parallelism: u32) {
    let wrong: Vec<String> = QUERIES
        .iter()
        .filter_map(|query| {
            let (own, expected) = (run(query, answers.events(), parallelism), answers.digests[query.name]);
            (own != expected).then(|| format!("{}: {own:?} instead of {expected:?}", query.name))
        })
        .collect();
    assert!(wrong.is_empty(), "at parallelism {parallelism}, {} events: {wrong:#?}", answers.count);
}

#[test]
fn every_query_gives_the_rows_of_the_database_on_one_subtask() {
    compare(&Answers::all()[0], 1);
}

#[test]
fn every_query_gives_the_rows_of_the_database_on_two_subtasks() {
    compare(&Answers::all()[0], 2);
}

#[test]
fn every_query_gives_the_rows_of_the_database_on_three_subtasks() {
    compare(&Answers::all()[0], 3);
}

#[test]
fn every_query_gives_the_rows_of_the_database_over_more_than_a_day() {
    compare(&Answers::all()[1], 2);
}

#[test]
fn every_query_is_there_and_the_database_has_been_asked_it() {
    let official: BTreeSet<String> = (0..=22).map(|number| format!("q{number}")).collect();
    assert_eq!(QUERIES.iter().map(|query| query.name.to_owned()).collect::<BTreeSet<_>>(), official);
    for answers in Answers::all() {
        assert_eq!(answers.digests.keys().cloned().collect::<BTreeSet<_>>(), official);
    }
}

#[test]
fn the_source_keeps_the_contract() {
    SourceHarness::new(|| Events::new(120)).check().unwrap();
    SourceHarness::new(|| Events::new(53)).parallelism(3).check().unwrap();
    SourceHarness::new(|| Events::new(0)).check().unwrap();
}

#[test]
fn the_database_says_the_same_again_if_it_is_asked_for() {
    let Some(python) = env::var_os(ORACLE) else { return };
    let python = if python == "1" { "python3".into() } else { python };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("nexmark/oracle.py");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("events.jsonl");
    for answers in Answers::all() {
        let mut lines = BufWriter::new(fs::File::create(&file).unwrap());
        for event in answers.events().iter() {
            serde_json::to_writer(&mut lines, &event).unwrap();
            lines.write_all(b"\n").unwrap();
        }
        lines.into_inner().unwrap();
        let output = Command::new(&python).arg(&script).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said: BTreeMap<String, Digest> = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(said, answers.digests, "of {} events", answers.count);
    }
}
