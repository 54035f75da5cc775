//! A record that fails again and again is set aside, exactly once, and the job goes on.
#![allow(clippy::unwrap_used)]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cofferdam::prelude::*;

const POISON: u64 = 13;

fn engine() -> EngineBuilder {
    // More than any test needs.
    let strategy = RestartStrategy::FixedDelay { attempts: 50, delay: Duration::from_millis(1) };
    Engine::builder().parallelism(1).checkpoints(CheckpointConfig::every(Duration::from_millis(5))).restart(strategy)
}

/// What a job published, in ascending order, and how often it restarted.
struct Ran<T> {
    rows: Vec<u64>,
    dead: Vec<Diverted<T>>,
    restarts: u32,
}

/// Runs numbers through `function`, in the chain of their source or behind an exchange.
fn run<F>(numbers: Vec<u64>, restarts: u32, behind_exchange: bool, function: F) -> Result<Ran<u64>, Error>
where
    F: FnMut(&u64) -> Result<u64, BoxError> + Clone + Send + 'static,
{
    let topology = Topology::new("diverting");
    let ((good, rows), (bad, dead)) = (CollectSink::new(), CollectSink::new());
    let source = topology.source("numbers", Collection::new(numbers));
    let mapped = if behind_exchange {
        source.rebalance().try_map_or_divert(restarts, function).name("mapped").share()
    } else {
        source.try_map_or_divert(restarts, function).name("mapped").share()
    };
    mapped.stream().flat_map(Result::ok).sink("good", good);
    mapped.stream().flat_map(Result::err).sink("bad", bad);
    let job = engine().start_blocking(topology)?;
    job.wait_blocking()?;
    let (mut rows, mut dead) = (rows.snapshot(), dead.snapshot());
    rows.sort_unstable();
    dead.sort_unstable();
    Ok(Ran { rows, dead, restarts: job.status().restarts })
}

fn all_but(poison: &[u64], count: u64) -> Vec<u64> {
    (0..count).filter(|n| !poison.contains(n)).collect()
}

fn diverted(record: u64, failures: u32) -> Diverted<u64> {
    Diverted { record, error: "unlucky".to_string(), failures }
}

#[test]
fn a_record_that_fails_n_restarts_in_a_row_is_diverted_and_everything_else_is_published() {
    for behind_exchange in [false, true] {
        for restarts in [0, 1, 3] {
            let unlucky = |n: &u64| if *n == POISON { Err("unlucky".into()) } else { Ok(*n) };
            let ran = run((0..100).collect(), restarts, behind_exchange, unlucky).unwrap();
            assert_eq!(ran.rows, all_but(&[POISON], 100));
            assert_eq!(ran.dead, [diverted(POISON, restarts + 1)]);
            assert_eq!(ran.restarts, restarts, "behind an exchange: {behind_exchange}");
        }
    }
}

#[test]
fn a_panic_counts_as_an_error_does_and_the_next_record_meets_a_fresh_function() {
    let mut is_broken = false;
    let panics = move |n: &u64| -> Result<u64, BoxError> {
        assert!(!is_broken, "what the panic left behind");
        is_broken = *n == POISON;
        assert!(!is_broken, "unlucky {n}");
        Ok(*n)
    };
    let ran = run((0..100).collect(), 2, false, panics).unwrap();
    assert_eq!(ran.rows, all_but(&[POISON], 100));
    assert_eq!(ran.dead, [Diverted { record: POISON, error: "panicked: unlucky 13".to_string(), failures: 3 }]);
    assert_eq!(ran.restarts, 2);
}

#[test]
fn two_poison_records_that_fail_in_turn_are_both_diverted() {
    for behind_exchange in [false, true] {
        let failures = Arc::new(AtomicU64::new(0));
        let in_turn = move |n: &u64| -> Result<u64, BoxError> {
            let turn = match *n {
                POISON => 0,
                44 => 1,
                good => return Ok(good),
            };
            // While both are retried, each fails in every other attempt only.
            match failures.load(Ordering::SeqCst) {
                count if count >= 6 || count % 2 == turn => {
                    failures.fetch_add(1, Ordering::SeqCst);
                    Err("unlucky".into())
                }
                _ => Ok(*n),
            }
        };
        let ran = run((0..100).collect(), 3, behind_exchange, in_turn).unwrap();
        assert_eq!(ran.rows, all_but(&[POISON, 44], 100));
        assert_eq!(ran.dead, [diverted(POISON, 4), diverted(44, 4)]);
        assert_eq!(ran.restarts, 6);
    }
}

#[test]
fn in_the_chain_of_a_source_equal_records_at_two_places_are_two_records() {
    let unlucky = |n: &u64| if *n == POISON { Err("unlucky".into()) } else { Ok(*n) };
    let ran = run(vec![1, POISON, 2, POISON, 3], 2, false, unlucky).unwrap();
    assert_eq!((ran.rows, ran.dead), (vec![1, 2, 3], vec![diverted(POISON, 3); 2]));
    assert_eq!(ran.restarts, 4);
    let ran = run(vec![1, POISON, 2, POISON, 3], 2, true, unlucky).unwrap();
    assert_eq!((ran.rows, ran.dead), (vec![1, 2, 3], vec![diverted(POISON, 3); 2]));
    assert_eq!(ran.restarts, 2, "behind an exchange they count as one");
}

#[test]
fn a_record_that_passes_when_it_is_tried_again_is_not_diverted() {
    for behind_exchange in [false, true] {
        let failures = Arc::new(AtomicU64::new(0));
        let at_first = move |n: &u64| -> Result<u64, BoxError> {
            let fails = *n == POISON && failures.fetch_add(1, Ordering::SeqCst) < 2;
            if fails { Err("unlucky".into()) } else { Ok(*n) }
        };
        let ran = run((0..100).collect(), 3, behind_exchange, at_first).unwrap();
        assert_eq!((ran.rows, ran.dead, ran.restarts), (all_but(&[], 100), Vec::new(), 2));
    }
}

#[test]
fn an_error_that_is_not_retryable_ends_the_job_and_diverts_nothing() {
    for restarts in [0, 3] {
        let hopeless =
            |n: &u64| if *n == POISON { Err(NotRetryable::new("the schema is wrong").into()) } else { Ok(*n) };
        let error = run((0..100).collect(), restarts, false, hopeless).map(|ran| ran.rows).unwrap_err();
        assert_eq!(
            error.to_string(),
            "job 'diverting', operator 'mapped', subtask 0 failed: not to be retried: the schema is wrong"
        );
    }
}

#[test]
fn a_diverted_record_is_out_of_the_counts_and_in_the_dead_letters_once_through_other_failures() {
    // Beside the poison something else fails now and then, behind the step that diverts.
    let topology = Topology::new("counting");
    let ((good, rows), (bad, dead)) = (CollectSink::new(), CollectSink::new());
    let parsed = topology
        .source(
            "lines",
            Collection::new((0..2000u64).map(|n| if n == 700 { "x".to_string() } else { n.to_string() }).collect()),
        )
        .try_map_or_divert(2, |line: &String| line.parse::<u64>())
        .share();
    let tries = Arc::new(AtomicU64::new(0));
    let unreliable = move |n: u64| match n {
        1500 if tries.fetch_add(1, Ordering::SeqCst) < 5 => Err("now and then"),
        _ => Ok(n),
    };
    parsed
        .stream()
        .flat_map(Result::ok)
        .try_map(unreliable)
        .key_by(|n| n % 10)
        .fold("count", 0u64, |count, _| *count += 1)
        .sink("counts", good);
    parsed.stream().flat_map(Result::err).sink("dead", bad);
    let directory = tempfile::tempdir().unwrap();
    let job = engine().parallelism(2).backend(Lmdb::at(directory.path())).start_blocking(topology).unwrap();
    job.wait_blocking().unwrap();

    let mut rows = rows.snapshot();
    rows.sort_unstable();
    let expected: Vec<_> = (0..10u64).flat_map(|key| (1..=200 - u64::from(key == 0)).map(move |n| (key, n))).collect();
    assert_eq!(rows, expected);
    let error = "invalid digit found in string".to_string();
    assert_eq!(dead.snapshot(), [Diverted { record: "x".to_string(), error, failures: 3 }]);
    // Two for the poison; and five for the rest, but for those that were symptoms of the poison's.
    assert!((5..=7).contains(&job.status().restarts), "{} restarts", job.status().restarts);
}

#[test]
fn a_strategy_that_allows_fewer_restarts_ends_the_job_first() {
    let topology = Topology::new("short of restarts");
    topology
        .source("numbers", Collection::new(vec![1u64, POISON]))
        .try_map_or_divert(3, |n: &u64| if *n == POISON { Err("unlucky") } else { Ok(*n) })
        .name("mapped")
        .flat_map(Result::ok)
        .sink("out", CollectSink::new().0);
    let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: Duration::ZERO };
    let error = engine().restart(strategy).start_blocking(topology).unwrap().wait_blocking().unwrap_err();
    assert_eq!(
        error.to_string(),
        "given up after 2 restarts: job 'short of restarts', operator 'mapped', subtask 0 failed: unlucky"
    );
}

#[test]
fn a_record_is_known_by_its_place_in_the_source_whatever_it_looks_like() {
    let topology = Topology::new("stamped");
    let stamped = topology.source("numbers", Generator::bounded(50, |i| i)).map(|n| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (n, now.as_nanos() as u64)
    });
    let (sink, rows) = CollectSink::new();
    stamped
        .try_map_or_divert(2, |(n, _): &(u64, u64)| if *n == 13 { Err("poison") } else { Ok(*n) })
        .flat_map(Result::ok)
        .sink("rows", sink);
    let restart = RestartStrategy::FixedDelay { attempts: 5, delay: Duration::ZERO };
    let job = Engine::builder().parallelism(1).restart(restart).start_blocking(topology).unwrap();
    job.wait_blocking().unwrap();
    assert_eq!(job.status().restarts, 2);
    assert_eq!(rows.snapshot(), (0..50).filter(|n| *n != 13).collect::<Vec<_>>());
}
