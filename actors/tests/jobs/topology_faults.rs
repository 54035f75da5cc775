//! A topology that cannot run is refused when it is started, with all its faults at once.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use cofferdam::prelude::*;

fn faults(engine: EngineBuilder, topology: Topology) -> String {
    let error = engine.start_blocking(topology).map(|_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidTopology);
    error.to_string()
}

fn numbers() -> Generator<impl Fn(u64) -> u64 + Clone + Send + Sync + 'static> {
    Generator::bounded(10, |i| i)
}

#[test]
fn every_fault_is_listed_at_once() {
    let topology = Topology::new("wrong");
    let _ = topology.source("a", numbers()).map(|n| n + 1).name("dangling");
    topology.source("a", numbers()).parallelism(0).sink("same", CollectSink::new().0);
    topology
        .source("b", numbers())
        .key_by(|n| *n)
        .parallelism(200)
        .fold("", 0u64, |_, _| {})
        .sink("same", CollectSink::new().0);
    topology.source("endless", Generator::unbounded(|i| i)).sink("unpublished", CollectSink::new().0);
    let text = faults(Engine::builder(), topology);
    for part in [
        "topology 'wrong' cannot run",
        "'dangling' leads to no sink",
        "named 'a'",
        "named 'same'",
        "'a' has parallelism 0",
        "has parallelism 200, but there are only 128 key groups",
        "a fold has an empty name",
        "two-phase sink 'unpublished' is fed by 'endless'",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    assert_eq!(text.lines().count(), 8, "{text}");
}

#[test]
fn an_empty_topology_has_no_source() {
    assert!(faults(Engine::builder(), Topology::new("empty")).contains("it has no source"));
}

#[test]
fn settings_that_make_no_sense_are_faults_too() {
    let topology = Topology::new("settings");
    topology.source("a", numbers()).sink("out", CollectSink::new().0);
    let checkpoints = CheckpointConfig::every(Duration::ZERO).timeout(Duration::ZERO);
    let restart = RestartStrategy::FailureRate { max_failures: 0, interval: Duration::ZERO, delay: Duration::ZERO };
    let engine = Engine::builder().checkpoints(checkpoints).restart(restart);
    let text = faults(engine.batch_size(0).max_parallelism(0).parallelism(1), topology);
    for part in [
        "checkpoint interval is 0",
        "timeout is 0",
        "batch size is 0: it must be from 1 to 1048576",
        "max_parallelism is 0",
        "max_failures is 0",
        "interval of the failure rate is 0",
    ] {
        assert!(text.contains(part), "{part} in:\n{text}");
    }
}

#[test]
fn settings_of_a_step_that_asks_name_the_step() {
    let (ms, none) = (Duration::from_millis, Duration::ZERO);
    let fault_of = |config: AsyncConfig| {
        let topology = Topology::new("asking");
        let asked =
            topology.source("a", numbers()).map_async("lookup", config, |n| async move { Ok::<_, BoxError>(n) });
        asked.sink("out", CollectSink::new().0);
        faults(Engine::builder(), topology)
    };
    let twice = |first, max| AsyncConfig::ordered(1).retries(2, Backoff::exponential(first, max));
    for (config, part) in [
        (AsyncConfig::unordered(0), "'lookup': the capacity is 0"),
        (AsyncConfig::ordered(1).timeout(none), "'lookup': the timeout is 0"),
        (twice(ms(2), ms(1)), "'lookup': the first pause of the backoff is longer than the longest"),
        (twice(none, ms(1)), "'lookup': the first pause of the backoff is 0"),
    ] {
        let text = fault_of(config);
        assert!(text.contains(part), "{part} in:\n{text}");
    }
    let topology = Topology::new("nowhere");
    let _ = topology
        .source("a", numbers())
        .map_async("dangling", AsyncConfig::ordered(1), |n| async move { Ok::<_, BoxError>(n) });
    assert!(faults(Engine::builder(), topology).contains("'dangling' leads to no sink"));
}

#[test]
fn an_unbounded_source_behind_a_two_phase_sink_is_fine_with_an_interval() {
    let topology = Topology::new("fine");
    topology.source("endless", Generator::unbounded(|i| i).rate(100)).sink("out", CollectSink::new().0);
    let job = Engine::builder()
        .checkpoints(CheckpointConfig::every(Duration::from_millis(5)))
        .start_blocking(topology)
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    assert_eq!(runtime.block_on(job.stop()).unwrap(), JobEnd::Stopped);
}
