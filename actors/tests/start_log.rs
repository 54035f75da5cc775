//! What a job logs when it starts. In a program of its own: there is one logger for all.
#![allow(clippy::unwrap_used)]

use std::{sync::Mutex, time::Duration};

use cofferdam::prelude::*;

struct Lines(Mutex<Vec<String>>);

static LINES: Lines = Lines(Mutex::new(Vec::new()));

impl log::Log for Lines {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        self.0.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn listen() {
    // The other test may have been first.
    let _ = log::set_logger(&LINES);
    log::set_max_level(log::LevelFilter::Info);
}

/// What a job of this name logs that is about it, and about checkpoints.
fn logged(name: &str, engine: EngineBuilder) -> Vec<String> {
    let topology = Topology::new(name);
    topology.source("numbers", Collection::new(vec![1u64])).sink("out", CollectSink::new().0);
    engine.parallelism(1).start_blocking(topology).unwrap().wait_blocking().unwrap();
    let begin = format!("job '{name}': ");
    LINES.0.lock().unwrap().iter().filter_map(|line| line.strip_prefix(&begin)).map(str::to_string).collect()
}

#[test]
fn a_job_says_once_what_a_crash_costs_it() {
    listen();
    let directory = tempfile::tempdir().unwrap();
    let in_memory = "checkpoints are kept in memory: they survive an operator's failure, not the end of the process";
    let no_interval =
        "no checkpoint interval is set: after a crash it starts from the beginning, or from where it was last stopped";
    let every = || CheckpointConfig::every(Duration::from_secs(1));
    assert_eq!(logged("neither", Engine::builder()), [in_memory, no_interval]);
    assert_eq!(logged("interval", Engine::builder().checkpoints(every())), [in_memory]);
    let durable = || Engine::builder().backend(Lmdb::at(directory.path().join("state")));
    assert_eq!(logged("durable", durable()), [no_interval]);
    let directory = tempfile::tempdir().unwrap();
    let both = Engine::builder().backend(Lmdb::at(directory.path())).checkpoints(every());
    assert!(logged("both", both).is_empty());
}

#[test]
fn a_start_names_the_steps_that_are_new_and_those_that_are_gone() {
    listen();
    let state = Memory::new();
    let run = |step: &str| {
        let topology = Topology::new("changed");
        let numbers = topology.source("numbers", Generator::unbounded(|number| number).rate(1_000.0));
        let counts = numbers.key_by(|number| number % 10).fold(step, 0u64, |count, _| *count += 1);
        counts.sink("rows", CollectSink::new().0);
        let engine = Engine::builder().backend(state.clone()).parallelism(1).allow_non_restored_state(true);
        engine
            .checkpoints(CheckpointConfig::every(Duration::from_secs(1)))
            .start_blocking(topology)
            .unwrap()
            .stop_blocking()
            .unwrap();
    };
    let of_steps = || -> Vec<_> {
        let lines = LINES.0.lock().unwrap();
        lines.iter().filter(|line| line.starts_with("job 'changed': the ")).cloned().collect()
    };
    run("before");
    assert_eq!(of_steps(), [""; 0]);
    run("after");
    assert_eq!(
        of_steps(),
        [
            "job 'changed': the topology has no keyed step 'before' any more; what checkpoint 1 has of it is dropped",
            "job 'changed': the keyed step 'after' is new since checkpoint 1, and starts empty",
        ]
    );
    run("after");
    assert_eq!(of_steps().len(), 2, "once");
}
