//! What is under way is bounded by the settings, not by the input.

use std::time::Duration;

use cofferdam::connector::{CollectSink, Generator};
use cofferdam_engine::{checkpoint::config::CheckpointConfig, topology::Topology};
use cofferdam_testkit::{Faults, Setup, Simulation};

use crate::seeds::seeds;

/// Records that one channel may hold: in its mailbox, its lane (a full batch and one being filled) and the batch being worked on.
fn per_channel(setup: &Setup) -> u64 {
    (setup.channel_capacity as u64 + 3) * setup.settings.batch_size as u64
}

fn stash(setup: &Setup) -> u64 {
    (setup.settings.checkpoints.alignment_buffer * setup.settings.batch_size) as u64
}

#[test]
fn a_sink_that_stands_still_brings_its_source_to_a_stop() {
    for seed in seeds(0..100) {
        let (sink, _rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("endless");
            let numbers = topology.source("numbers", Generator::unbounded(|i| i)).parallelism(2);
            let spread = numbers.rebalance().flat_map(|n| [n, n]).parallelism(2);
            spread.rebalance().name("arrivals").parallelism(3).sink("slow", sink.clone());
            topology
        };
        let setup = Setup::drawn(seed).checkpoints(|checkpoints| {
            CheckpointConfig::every(Duration::from_millis(1)).alignment_buffer(checkpoints.alignment_buffer)
        });
        // Two by two channels before the spread, whose records count twice behind it, and two by three to the sinks.
        let bound = 4 * per_channel(&setup) + 2 * stash(&setup) + 6 * per_channel(&setup) + 3 * stash(&setup);
        let mut simulation = Simulation::new(seed, setup, Faults::none(), topology);
        simulation.run_steps(300);
        simulation.pause("slow", true);
        simulation.run_steps(2_000);
        let read = simulation.records("numbers").records_in;
        let written = simulation.records("slow").records_out;
        assert!(read <= written + bound, "seed {seed}: {read} read, {written} written, {bound} may be under way");
        simulation.run_steps(2_000);
        assert_eq!(simulation.records("numbers").records_in, read, "seed {seed}: it went on reading");
        simulation.pause("slow", false);
        simulation.run_steps(1_000);
        assert!(simulation.records("numbers").records_in > read, "seed {seed}: it never went on");
    }
}

#[test]
fn a_barrier_that_does_not_come_stops_the_other_channel_when_the_alignment_buffer_is_full() {
    let mut stashes = 0;
    for seed in seeds(0..100) {
        let (sink, _rows) = CollectSink::new();
        let topology = move || {
            let topology = Topology::new("endless");
            let slow = topology.source("slow", Generator::unbounded(|i| i)).parallelism(1);
            let fast = topology.source("fast", Generator::unbounded(|i| i)).parallelism(1);
            fast.union(slow).parallelism(1).sink("both", sink.clone());
            topology
        };
        let setup = Setup::drawn(seed).checkpoints(|checkpoints| {
            CheckpointConfig::every(Duration::from_millis(1)).alignment_buffer(checkpoints.alignment_buffer)
        });
        let bound = per_channel(&setup) + stash(&setup);
        let mut simulation = Simulation::new(seed, setup, Faults::none(), topology);
        simulation.run_steps(100);
        // It takes its snapshot still, since that is control; its barrier is data.
        simulation.pause("slow", true);
        simulation.run_steps(3_000);
        let fast = simulation.records("fast").records_in;
        simulation.run_steps(1_000);
        assert_eq!(simulation.records("fast").records_in, fast, "seed {seed}: it went on reading");
        let written = simulation.records("both").records_out;
        let both = fast + simulation.records("slow").records_in;
        assert!(
            both <= written + bound + per_channel(&Setup::drawn(seed)),
            "seed {seed}: {both} read, {written} written"
        );
        stashes += both - written;
        simulation.pause("slow", false);
        simulation.run_steps(1_000);
        assert!(simulation.records("fast").records_in > fast, "seed {seed}: it never went on");
    }
    assert!(stashes > 0);
}
