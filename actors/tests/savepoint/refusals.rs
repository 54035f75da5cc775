//! What must not be started from is refused in words, and nothing is changed.

use std::{fs, path::Path};

use cofferdam::{SavepointWriter, prelude::*};

use crate::support::*;

/// Refused with all of these parts in the message, and neither state nor output is touched.
fn refused_with(parts: &[&str], places: &Places, builder: EngineBuilder, topology: Topology) {
    let message = refused(builder.backend(Lmdb::at(places.at("new state"))), topology);
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert!(!has_state(&places.at("new state")), "{message}");
    assert!(!places.at("new output").exists(), "{message}");
}

/// Whether a start without a savepoint would find anything there.
fn has_state(path: &Path) -> bool {
    use cofferdam_engine::checkpoint::store::StateBackend as _;
    path.exists() && Lmdb::at(path).open().unwrap().newest().unwrap().is_some()
}

#[test]
fn a_file_that_is_not_there_or_something_else() {
    let places = Places::new();
    let start = |name: &str| engine().from_savepoint(places.at(name));
    let topology = || counting(&Limit::of(10), &places.at("new output"));
    let missing = start("missing").backend(Lmdb::at(places.at("new state"))).start_blocking(topology());
    let error = missing.map(drop).unwrap_err();
    assert!(error.to_string().contains("missing' cannot be opened"), "{error}");
    for (name, content) in [("empty", &b""[..]), ("short", b"cofsave\n"), ("text", &[b'x'; 500])] {
        fs::write(places.at(name), content).unwrap();
        refused_with(&[name, "is no savepoint"], &places, start(name), topology());
    }
}

#[test]
fn one_of_another_job_or_with_another_number_of_key_groups() {
    let places = Places::new();
    let info = stopped(&places, 100);
    let output = places.at("new output");
    let start = || engine().from_savepoint(&info.path);
    let other = Topology::new("another");
    other.source("numbers", Limit::of(10)).sink("rows", FileSink::json_lines(&output));
    let parts = ["savepoint '", "it is the state of job 'counting'", "start from another one"];
    refused_with(&parts, &places, start(), other);
    let topology = counting(&Limit::of(10), &output);
    let parts = ["cut into 128 key groups and max_parallelism is 64", ".max_parallelism(128)"];
    refused_with(&parts, &places, start().max_parallelism(64), topology);
    let both = start().restore_from(CheckpointId(1));
    refused_with(&["leave out `restore_from` or `from_savepoint`"], &places, both, counting(&Limit::of(1), &output));
}

#[test]
fn a_step_that_is_gone() {
    let places = Places::new();
    let info = stopped(&places, 100);
    let topology = counting_as("renamed", None, &Limit::of(10), &places.at("new output"));
    let parts = ["it has a keyed step 'count'", "`uid`", "allow_non_restored_state(true)"];
    refused_with(&parts, &places, engine().from_savepoint(&info.path), topology);
}

#[test]
fn what_was_prepared_and_is_not_here_unless_it_is_given_up() {
    let places = Places::new();
    let info = taken_while_running(&places, 400);
    let output = places.at("new output");
    let start = || engine().from_savepoint(&info.path);
    let list = format!("sink 'rows': 2 transactions of checkpoint {}, in {}", info.checkpoint, output.display());
    let parts = [&list[..], "stop_with_savepoint", "discard_prepared(true)"];
    refused_with(&parts, &places, start(), counting(&Limit::of(600), &output));
    let builder = start().backend(Lmdb::at(places.at("new state"))).discard_prepared(true);
    let job = builder.start_blocking(counting(&Limit::of(600), &output)).unwrap();
    run_to(&job, &output, 200);
    // What is given up was published by the first job, since that went on.
    assert_eq!(together(published_up_to(&places.at("output"), info.checkpoint), published(&output)), expected(600));
}

#[test]
fn an_output_that_is_ahead_of_it_or_another_jobs() {
    let places = Places::new();
    let (limit, output) = (Limit::of(200), places.at("output"));
    let state = || engine().backend(Lmdb::at(places.at("state")));
    let job = state().start_blocking(counting(&limit, &output)).unwrap();
    until("all is read", || job.status().records_read == 200);
    let info = job.savepoint_blocking(places.at("savepoint")).unwrap();
    limit.raise(300);
    run_to(&job, &output, 300);
    let start = || engine().from_savepoint(&info.path);
    let parts = ["has published up to checkpoint", "starting from savepoint '", "would publish rows a second time"];
    refused_with(&parts, &places, start(), counting(&limit, &output));
    let others = places.at("others");
    let job = engine().start_blocking(counting(&Limit::of(10), &others)).unwrap();
    run_to(&job, &others, 10);
    refused_with(&["belongs to job"], &places, start(), counting(&limit, &others));
    assert_eq!(published(&output), expected(300));
}

#[test]
fn a_place_that_has_other_state_and_not_one_that_comes_from_it() {
    let places = Places::new();
    let info = stopped(&places, 100);
    let (output, limit) = (places.at("output 2"), Limit::of(200));
    let start = || engine().backend(Lmdb::at(places.at("state 2"))).from_savepoint(&info.path);
    let state = places.at("state");
    let message = refused(start().backend(Lmdb::at(&state)), counting(&limit, &output));
    for part in ["holds state already", "does not come from it", "start without `from_savepoint`"] {
        assert!(message.contains(part), "{message}");
    }

    // A service that says so at each start.
    for numbers in [200, 250, 333] {
        limit.raise(numbers);
        let job = start().start_blocking(counting(&limit, &output)).unwrap();
        let is_first = numbers == 200;
        let started_from = job.status().started_from;
        assert_eq!(matches!(started_from, Some(StartedFrom::Savepoint(_))), is_first, "{started_from:?}");
        run_to(&job, &output, numbers as usize - 100);
    }
    assert_eq!(together(published(&places.at("output")), published(&output)), expected(333));

    let second = places.at("second savepoint");
    let job = start().start_blocking(counting(&limit, &output)).unwrap();
    job.stop_with_savepoint_blocking(&second).unwrap();
    let other = engine().backend(Lmdb::at(places.at("state 2"))).from_savepoint(&second);
    assert!(refused(other, counting(&limit, &output)).contains("does not come from it"));
    fs::remove_file(&info.path).unwrap();
    let message = refused(start(), counting(&limit, &output));
    assert!(message.contains("cannot tell whether") && message.contains("cannot be opened"), "{message}");
    // Without naming it the job goes on.
    let job = engine().backend(Lmdb::at(places.at("state 2"))).start_blocking(counting(&limit, &output)).unwrap();
    job.stop_blocking().unwrap();
}

/// Had it been imported, the place would hold its state, and no other savepoint could be started from there.
#[test]
fn one_whose_values_cannot_be_read_leaves_the_place_free_for_one_that_was_mended() {
    let places = Places::new();
    let output = places.at("new output");
    let write = |name: &str, values: Vec<(u64, serde_json::Value)>| {
        let writer = SavepointWriter::new("counting", 128).unwrap();
        writer.keyed_state("count", "value", values).unwrap().write(places.at(name)).unwrap();
        engine().from_savepoint(places.at(name))
    };
    // Only the last one of a hundred is wrong.
    let counts = |last: serde_json::Value| (0..99).map(|key| (key, 5.into())).chain([(99, last)]).collect();
    let parts = ["savepoint '", "state count/value", "the value of key 99", "nothing was changed"];
    let wrong = write("wrong", counts("text".into()));
    refused_with(&parts, &places, wrong, counting(&Limit::of(10), &output));
    let mended = write("mended", counts(5.into())).backend(Lmdb::at(places.at("new state")));
    let job = mended.start_blocking(counting(&Limit::of(10), &output)).unwrap();
    run_to(&job, &output, 10);
    assert_eq!(published(&output), (0..KEYS).map(|key| (key, 6)).collect::<Vec<_>>());
}

#[test]
fn state_without_a_key_whose_values_cannot_be_read_leaves_the_place_free_too() {
    let places = Places::new();
    let rules = std::collections::BTreeMap::from([(1u8, "text".to_string())]);
    let writer = SavepointWriter::new("held", 128).unwrap();
    let writer = writer.operator_state("held", &state::broadcast::<u8, String>("rules"), &rules).unwrap();
    writer.write(places.at("savepoint")).unwrap();
    let topology = Topology::new("held");
    topology
        .source("numbers", Limit::of(0))
        .process_operator("held", state::broadcast::<u8, u64>("rules"), |number, _, out| out.emit((number, number)))
        .sink("rows", FileSink::json_lines(places.at("new output")));
    let parts = ["state held/rules", "the value of key 1", "nothing was changed"];
    refused_with(&parts, &places, engine().from_savepoint(places.at("savepoint")), topology);
}

#[test]
fn another_max_parallelism_in_a_backend_is_refused_with_the_number_to_say() {
    let places = Places::new();
    let (output, backend) = (places.at("output"), Lmdb::at(places.at("state")));
    let start = || engine().backend(backend.clone());
    let job = start().max_parallelism(64).start_blocking(counting(&Limit::of(10), &output)).unwrap();
    run_to(&job, &output, 10);
    let message = refused(start(), counting(&Limit::of(20), &output));
    assert!(message.contains(".max_parallelism(64)") && !message.contains("delete the state"), "{message}");
    let job = start().max_parallelism(64).start_blocking(counting(&Limit::of(20), &output)).unwrap();
    run_to(&job, &output, 20);
}
