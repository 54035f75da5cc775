//! Sources that end, each at its own time.

use std::time::Duration;

use cofferdam::connector::{CollectSink, Collection, Generator};
use cofferdam_engine::{
    checkpoint::{config::CheckpointConfig, coordinator::JobEnd},
    topology::Topology,
};
use cofferdam_testkit::{Fault, Faults, Point, Request, Setup, Simulation};

use crate::{
    cases::{self, same},
    seeds::seeds,
};

#[test]
fn checkpoints_go_on_when_one_source_has_finished_and_another_has_not() {
    for seed in seeds(0..60) {
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("uneven");
            let few = topology.source("few", Collection::new((0..5u64).collect()));
            let endless = topology.source("endless", Generator::unbounded(|i| 100 + i));
            few.union(endless).key_by(|n| n % 7).entries().map(|(_, n)| n).sink("all", sink.clone());
            topology
        };
        let setup = Setup::drawn(seed).checkpoints(|mut checkpoints| {
            checkpoints.interval.get_or_insert(Duration::from_millis(1));
            checkpoints
        });
        let mut simulation = Simulation::new(seed, setup, Faults::none(), topology);
        simulation.run_steps(2_000);
        assert!(simulation.trace().contains("finished"), "seed {seed}: the short source is at its end");
        let before = simulation.committed().len();
        simulation.run_steps(2_000);
        assert!(simulation.committed().len() > before, "seed {seed}");
        assert!(simulation.aborted().is_empty(), "seed {seed}");
        simulation.kill();
        simulation.run_steps(1_000);
        simulation.request(Request::Drain);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        same(rows.snapshot().into_iter().filter(|n| *n < 100).collect(), (0..5).collect());
    }
}

#[test]
fn barriers_under_way_when_sources_end_are_aligned_all_the_same() {
    for seed in seeds(0..600) {
        let lengths = [seed % 7, seed / 7 % 5];
        let (sink, rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("short");
            let first = topology.source("first", Generator::bounded(lengths[0], |i| i)).parallelism(2);
            let second = topology.source("second", Generator::bounded(lengths[1], |i| 100 + i)).parallelism(1);
            let second = second.rebalance().parallelism(2);
            first
                .union(second)
                .key_by(|n| n % 3)
                .fold("count", 0u64, |count, _| *count += 1)
                .sink("counts", sink.clone());
            topology
        };
        let setup = Setup::drawn(seed).checkpoints(|checkpoints| CheckpointConfig {
            interval: Some(Duration::from_micros(30)),
            min_pause: Duration::ZERO,
            ..checkpoints
        });
        let kinds = [&cases::ABORTS[..], &cases::ends(), &[(Point::CompletionHeard, Fault::Lose)]].concat();
        let mut simulation = Simulation::new(seed, setup, Faults::drawn(&kinds, 3, 60), topology);
        assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
        let keys = (0..lengths[0]).chain(100..100 + lengths[1]).map(|n| n % 3);
        crate::cases::counts_in_order(&rows.snapshot(), keys);
    }
}
