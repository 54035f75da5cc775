//! A job that runs, in another process than the command, is read and not disturbed.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    time::Duration,
};

use cofferdam::{JobHandle, SavepointWriter, prelude::*};
use serde_json::{Value, json};

use crate::{
    command::{NOT_FOUND, REFUSED, Ran, run, spawn},
    support::*,
};

fn start(places: &Places, limit: &Limit) -> JobHandle {
    let checkpoints = CheckpointConfig::every(Duration::from_millis(5)).num_retained(3);
    let builder = engine().checkpoints(checkpoints).backend(Lmdb::at(places.at("state")));
    builder.start_blocking(counting(limit, &places.at("output"))).unwrap()
}

/// The sum of the counts that were dumped.
fn total(dump: &[Value]) -> u64 {
    dump.iter().map(|line| line["value"].as_u64().unwrap()).sum()
}

/// A checkpoint that was listed may be gone when it is asked for: then that is said.
fn is_gone(ran: &Ran) -> bool {
    ran.code == Some(NOT_FOUND) && ran.stderr.contains("does not keep")
}

fn every_command(state: &Path, seen: &mut u64) {
    let list = run(&[&"--json", &"checkpoints", &"list", &state]).json();
    let checkpoints = list["checkpoints"].as_array().unwrap();
    assert!(!checkpoints.is_empty() && checkpoints.iter().all(|one| one["status"] == "readable"), "{list}");
    let newest = &checkpoints.last().unwrap()["checkpoint"];
    let number = newest.to_string();
    let show = run(&[&"--json", &"checkpoints", &"show", &state, &number]);
    assert!(is_gone(&show) || show.json()["checkpoint"] == *newest);
    assert_eq!(run(&[&"--json", &"checkpoints", &"verify", &state]).json()["whole"], json!(true));
    assert_eq!(run(&[&"--json", &"state", &"list", &state]).json()["states"][0]["operator"], "count");
    let dump = run(&[&"--json", &"state", &"dump", &state, &"--operator", &"count"]).json_lines();
    // Later looks see later checkpoints.
    assert!(total(&dump) >= *seen);
    *seen = total(&dump);
    for arguments in
        [&[&"--all" as &dyn AsRef<std::ffi::OsStr>, &"--give-up-newest"][..], &[&number, &"--give-up-newest"]]
    {
        let ran = run(&[&[&"checkpoints" as &dyn AsRef<std::ffi::OsStr>, &"delete", &state], arguments].concat());
        ran.failed_with(REFUSED, &[]);
    }
    let refused = run(&[&"checkpoints", &"delete", &state, &"--all", &"--give-up-newest"]);
    refused.failed_with(REFUSED, &["is open already", "stop that job first"]);
}

#[test]
fn by_any_command_and_publishes_what_it_would_have() {
    let (places, limit) = (Places::new(), Limit::of(1_000));
    let job = start(&places, &limit);
    until("a checkpoint with all of it", || published(&places.at("output")).len() >= 1_000);
    let mut seen = 0;
    for round in 1..=5u64 {
        limit.raise(1_000 + round * 20_000);
        every_command(&places.at("state"), &mut seen);
    }
    assert!(seen >= 1_000, "the dumps saw nothing");
    run_to(&job, &places.at("output"), 101_000);
    assert_eq!(published(&places.at("output")), expected(101_000));
    let dump = run(&[&"--json", &"state", &"dump", &places.at("state"), &"--operator", &"count"]).json_lines();
    assert_eq!(total(&dump), 101_000);
}

#[test]
fn by_a_dump_that_is_killed_halfway() {
    let (places, limit) = (Places::new(), Limit::of(0));
    // More than a pipe takes, so that a dump is halfway for as long as it is not read.
    let initial = (0..200_000u64).map(|key| (key * KEYS * 100 + 99, 1u64));
    let writer = SavepointWriter::new("counting", 128).unwrap().keyed_state("count", "value", initial).unwrap();
    writer.write(places.at("first")).unwrap();
    let builder = engine().backend(Lmdb::at(places.at("state"))).from_savepoint(places.at("first"));
    let job = builder.start_blocking(counting(&limit, &places.at("output"))).unwrap();
    let arguments = |state: &Path| spawn(&[&"state", &"dump", &state, &"--operator", &"count"]);
    for kill in 1..=12u64 {
        limit.raise(kill * 500);
        let mut dump = arguments(&places.at("state"));
        if kill % 2 == 0 {
            let mut line = String::new();
            BufReader::new(dump.stdout.take().unwrap()).read_line(&mut line).unwrap();
            assert!(line.contains('\t'), "{line}");
        } else {
            // Anywhere from its start to the copy of the state; the job goes on meanwhile.
            until("more is published", || published(&places.at("output")).len() as u64 >= kill * 500);
        }
        dump.kill().unwrap();
        dump.wait().unwrap();
    }
    run_to(&job, &places.at("output"), 6_000);
    assert_eq!(published(&places.at("output")), expected(6_000));
    assert_eq!(run(&[&"--json", &"checkpoints", &"verify", &places.at("state")]).json()["whole"], json!(true));
}
