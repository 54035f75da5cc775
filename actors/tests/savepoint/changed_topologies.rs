//! Steps that were renamed, removed or added since a checkpoint or a savepoint.

use std::path::Path;

use cofferdam::{JobHandle, prelude::*};

use crate::support::*;

/// From where a job is started again.
#[derive(Clone, Copy, Debug)]
enum From {
    Checkpoint,
    Savepoint,
}

/// A job of `before` that has counted 500 numbers and was stopped, and one of `after` that goes on from it with `choose`.
fn changed(
    from: From,
    before: impl Fn(&Limit, &Path) -> Topology,
    after: impl Fn(&Limit, &Path) -> Topology,
    choose: impl Fn(EngineBuilder) -> EngineBuilder,
) -> (Places, Result<JobHandle, Error>) {
    let places = Places::new();
    let (limit, output) = (Limit::of(500), places.at("output"));
    let backend = Lmdb::at(places.at("state"));
    let job = engine().backend(backend.clone()).start_blocking(before(&limit, &output)).unwrap();
    until("all is read", || job.status().records_read >= 500);
    let info = job.stop_with_savepoint_blocking(places.at("savepoint")).unwrap();
    let builder = match from {
        From::Checkpoint => engine().backend(backend),
        From::Savepoint => engine().backend(Lmdb::at(places.at("state 2"))).from_savepoint(&info.path),
    };
    limit.raise(800);
    let started = choose(builder).start_blocking(after(&limit, &output));
    (places, started)
}

fn both(test: impl Fn(From)) {
    [From::Checkpoint, From::Savepoint].into_iter().for_each(test);
}

#[test]
fn a_step_renamed_keeps_its_state_by_its_uid() {
    both(|from| {
        let after = |limit: &Limit, output: &Path| counting_as("tally", Some("count"), limit, output);
        let (places, started) = changed(from, counting, after, |builder| builder);
        run_to(&started.unwrap(), &places.at("output"), 800);
        assert_eq!(published(&places.at("output")), expected(800), "{from:?}");
    });
}

#[test]
fn a_step_removed_is_refused_or_dropped_and_the_new_one_starts_empty() {
    both(|from| {
        let after = |limit: &Limit, output: &Path| counting_as("tally", None, limit, output);
        let (_, started) = changed(from, counting, after, |builder| builder);
        let error = started.map(drop).unwrap_err();
        assert!(error.to_string().contains("allow_non_restored_state(true)"), "{error}");

        let (places, started) = changed(from, counting, after, |builder| builder.allow_non_restored_state(true));
        run_to(&started.unwrap(), &places.at("output"), 800);
        let again = (500..800).map(|number| (number % KEYS, (number - 500) / KEYS + 1)).collect();
        assert_eq!(published(&places.at("output")), together(expected(500), again), "{from:?}");
    });
}

/// Once a checkpoint without it has completed, its state is gone for good: also when a step of its name comes back, and when the choice is made no more.
#[test]
fn state_that_was_dropped_is_not_found_by_a_later_step_of_the_same_name() {
    both(|from| {
        let without = |limit: &Limit, output: &Path| {
            let topology = Topology::new("counting");
            let rows = topology.source("numbers", limit.clone()).map(|number| (number % KEYS, 0u64));
            rows.sink("rows", FileSink::json_lines(output));
            topology
        };
        let (places, started) = changed(from, counting, without, |builder| builder.allow_non_restored_state(true));
        let output = places.at("output");
        run_to(&started.unwrap(), &output, 800);
        let state = match from {
            From::Checkpoint => Lmdb::at(places.at("state")),
            From::Savepoint => Lmdb::at(places.at("state 2")),
        };
        // Twice: what it counts then must last.
        for numbers in [900, 1_000] {
            let builder = engine().backend(state.clone());
            let job = builder.start_blocking(counting(&Limit::of(numbers), &output)).unwrap();
            run_to(&job, &output, numbers as usize);
        }
        let dropped = (500..800).map(|number| (number % KEYS, 0)).collect();
        let anew = (800..1_000).map(|number| (number % KEYS, (number - 800) / KEYS + 1)).collect();
        assert_eq!(published(&output), together(together(expected(500), dropped), anew), "{from:?}");
    });
}

/// Counts, and publishes the numbers themselves as well.
fn with_another_sink(limit: &Limit, output: &Path) -> Topology {
    let topology = Topology::new("counting");
    let numbers = topology.source("numbers", limit.clone()).share();
    let counts = numbers.stream().key_by(|number| number % KEYS).fold("count", 0u64, |count, _| *count += 1);
    counts.sink("rows", FileSink::json_lines(output));
    let more = topology.source("more numbers", Limit::of(40));
    let copies = numbers.stream().union(more).map(|number| (number, 0u64));
    copies.sink("numbers twice", FileSink::json_lines(output.with_file_name("numbers")));
    topology
}

#[test]
fn a_new_source_and_a_new_sink_start_from_their_beginning() {
    both(|from| {
        let (places, started) = changed(from, counting, with_another_sink, |builder| builder);
        let job = started.unwrap();
        until("the numbers are there too", || published(&places.at("numbers")).len() >= 340);
        run_to(&job, &places.at("output"), 800);
        assert_eq!(published(&places.at("output")), expected(800), "{from:?}");
        let numbers = (0..40).chain(500..800).map(|number| (number, 0)).collect();
        assert_eq!(published(&places.at("numbers")), together(numbers, Vec::new()), "{from:?}");
        // And the next start finds them where they were.
        let state = if matches!(from, From::Savepoint) { "state 2" } else { "state" };
        let builder = engine().backend(Lmdb::at(places.at(state)));
        let job = builder.start_blocking(with_another_sink(&Limit::of(810), &places.at("output"))).unwrap();
        run_to(&job, &places.at("output"), 810);
        assert_eq!(published(&places.at("output")), expected(810));
        assert_eq!(published(&places.at("numbers")).len(), 350);
    });
}

#[test]
fn a_sink_that_is_gone_takes_its_prepared_rows_along_only_if_they_are_given_up() {
    let places = Places::new();
    let info = taken_while_running(&places, 300);
    let without = || {
        let topology = Topology::new("counting");
        let numbers = topology.source("numbers", Limit::of(400));
        numbers
            .key_by(|number| number % KEYS)
            .fold("count", 0u64, |count, _| *count += 1)
            .sink_at_least_once("elsewhere", Nowhere);
        topology
    };
    let start = || engine().from_savepoint(&info.path).allow_non_restored_state(true);
    let message = refused(start(), without());
    let list = format!("sink 'rows': 2 transactions of checkpoint {}", info.checkpoint);
    assert!(message.contains(&list) && message.contains("discard_prepared(true)"), "{message}");
    let job = start().discard_prepared(true).start_blocking(without()).unwrap();
    until("it goes on", || job.status().records_read == 100);
    job.stop_blocking().unwrap();
}

struct Nowhere;

impl Sink<(u64, u64)> for Nowhere {
    type Writer = fn((u64, u64)) -> Result<(), BoxError>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(|_| Ok(()))
    }
}

/// Counts by two states, or by the first one only; what the second one has is published.
fn with_states(second: bool, limit: &Limit, output: &Path) -> Topology {
    let topology = Topology::new("counting");
    let numbers = topology.source("numbers", limit.clone()).key_by(|number| number % KEYS);
    let (a, b) = (state::value::<u64>("a"), state::value::<u64>("b"));
    let add = |count: &mut u64| {
        *count += 1;
        *count
    };
    let rows = FileSink::json_lines(output);
    if second {
        let counts = numbers.process_with("count", (a, b), move |key, _, (a, b), out| {
            a.update(|| 0, add);
            out.emit((*key, b.update(|| 0, add)));
        });
        counts.sink("rows", rows);
    } else {
        let counts = numbers.process_with("count", a, move |key, _, a, out| {
            a.update(|| 0, add);
            out.emit((*key, 0u64));
        });
        counts.sink("rows", rows);
    }
    topology
}

#[test]
fn a_state_dropped_from_a_step_that_stays_is_not_found_when_it_comes_back() {
    let places = Places::new();
    let (output, backend) = (places.at("output"), Lmdb::at(places.at("state")));
    for (second, numbers) in [(true, 500), (false, 600), (true, 700)] {
        let builder = engine().backend(backend.clone()).allow_non_restored_state(true);
        let job = builder.start_blocking(with_states(second, &Limit::of(numbers), &output)).unwrap();
        run_to(&job, &output, numbers as usize);
    }
    let without = (500..600).map(|number| (number % KEYS, 0)).collect();
    assert_eq!(published(&output), together(together(expected(500), without), expected(100)));
}

#[test]
fn a_fold_goes_on_with_what_a_migration_makes_of_its_values() {
    both(|from| {
        let after = |limit: &Limit, output: &Path| {
            let topology = Topology::new("counting");
            let value = state::value("value").version(1).migrate_from(0, |count: u64| count + 1_000);
            let numbers = topology.source("numbers", limit.clone()).key_by(|number| number % KEYS);
            let counts = numbers.fold_with("count", value, 0u64, |count, _| *count += 1);
            counts.sink("rows", FileSink::json_lines(output));
            topology
        };
        let (places, started) = changed(from, counting, after, |builder| builder);
        run_to(&started.unwrap(), &places.at("output"), 800);
        let migrated = (500..800).map(|number| (number % KEYS, number / KEYS + 1_001)).collect();
        assert_eq!(published(&places.at("output")), together(expected(500), migrated), "{from:?}");
    });
}
