//! Checkpoints behind a sink that takes 10 ms for each record, with every mailbox full.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use cofferdam::prelude::*;

const SLOW: Duration = Duration::from_millis(10);

/// Holds each record up.
struct SlowSink;

impl<T: Send + Sync + 'static> Sink<T> for SlowSink {
    type Writer = Box<dyn FnMut(T) -> Result<(), BoxError> + Send>;

    fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        Ok(Box::new(|_| {
            std::thread::sleep(SLOW);
            Ok(())
        }))
    }
}

/// How records come to the sink.
#[derive(Clone, Copy, Debug)]
enum Edge {
    Rebalance,
    Broadcast,
    Key,
    /// Behind a step that makes several records of one: the source stands still in the midst of one.
    Several,
}

fn topology(edge: Edge) -> Topology {
    let topology = Topology::new("slow");
    let numbers = topology.source("numbers", Generator::unbounded(|i| i)).parallelism(1);
    match edge {
        Edge::Rebalance => numbers.rebalance().parallelism(2).sink_at_least_once("slow", SlowSink),
        Edge::Broadcast => numbers.broadcast().parallelism(2).sink_at_least_once("slow", SlowSink),
        Edge::Key => {
            let keyed = numbers.key_by(|n| n % 100).parallelism(2);
            keyed.fold("count", 0u64, |count, _| *count += 1).sink_at_least_once("slow", SlowSink)
        }
        Edge::Several => {
            let several = numbers.flat_map(|n| (0..1_000).map(move |i| n + i));
            several.rebalance().parallelism(2).sink_at_least_once("slow", SlowSink)
        }
    };
    topology
}

/// Starts the job, waits until nothing moves but the sink, and gives back the first checkpoints that complete from then on.
fn checkpoints(edge: Edge, config: CheckpointConfig, count: usize) -> Vec<CheckpointStats> {
    // 16 batches of 50 in each mailbox: 8 s of work for the sink.
    let engine = Engine::builder().checkpoints(config).batch_size(50).restart(RestartStrategy::None);
    let job = engine.start_blocking(topology(edge)).unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let full = |job: &JobHandle| {
        let read = job.status().records_read;
        std::thread::sleep(Duration::from_millis(50));
        read > 0 && job.status().records_read == read
    };
    while !full(&job) {
        assert!(Instant::now() < deadline, "the mailboxes were never full");
    }
    let before = job.status().checkpoints_completed as usize;
    while (job.status().checkpoints_completed as usize) < before + count {
        assert!(Instant::now() < deadline, "{edge:?}: no checkpoint completed; {:?}", job.status());
        std::thread::sleep(Duration::from_millis(1));
    }
    let completed = job.checkpoints().iter().filter(|stats| stats.aborted.is_none()).skip(before).cloned().collect();
    job.cancel_blocking().unwrap();
    completed
}

#[test]
fn an_unaligned_checkpoint_completes_in_less_than_a_tenth_of_a_second_on_every_kind_of_edge() {
    for edge in [Edge::Rebalance, Edge::Broadcast, Edge::Key, Edge::Several] {
        let config = CheckpointConfig::every(Duration::from_millis(300)).unaligned(Duration::ZERO);
        let mut took: Vec<_> =
            checkpoints(edge, config, 5).iter().map(|stats| (stats.end_to_end, stats.parts)).collect();
        took.sort_by_key(|(took, _)| *took);
        // The machine may be busy: the median counts.
        let (median, parts) = took[took.len() / 2];
        assert!(median < Duration::from_millis(100), "{edge:?}: {took:?}");
        assert!(parts.bytes_in_flight > 0 && parts.is_unaligned, "{edge:?}: {parts:?}");
    }
}

#[test]
fn several_unaligned_checkpoints_may_overlap() {
    let config = CheckpointConfig::every(Duration::from_millis(5)).unaligned(Duration::ZERO).max_concurrent(3);
    let all = checkpoints(Edge::Rebalance, config, 50);
    assert!(all.windows(2).all(|pair| pair[0].checkpoint < pair[1].checkpoint), "they complete in order");
    let overlap = |pair: &[CheckpointStats]| pair[1].triggered < pair[0].triggered.after(pair[0].end_to_end);
    assert!(all.windows(2).any(overlap), "none overlapped");
}

#[test]
fn an_aligned_checkpoint_takes_seconds() {
    let config = CheckpointConfig::every(Duration::from_millis(300));
    let stats = &checkpoints(Edge::Rebalance, config, 1)[0];
    assert!(stats.end_to_end > Duration::from_secs(2), "{stats:?}");
    assert!(!stats.parts.is_unaligned && stats.parts.bytes_in_flight == 0);
}

#[test]
fn a_checkpoint_that_cannot_align_in_time_goes_on_unaligned() {
    let config = CheckpointConfig::every(Duration::from_millis(300)).unaligned(Duration::from_millis(200));
    let all = checkpoints(Edge::Rebalance, config, 3);
    let mut took: Vec<_> = all.iter().map(|stats| stats.end_to_end).collect();
    took.sort_unstable();
    assert!(took[0] >= Duration::from_millis(200), "it waits that long: {took:?}");
    assert!(took[took.len() / 2] < Duration::from_millis(300), "and no longer: {took:?}");
    assert!(all.iter().all(|stats| stats.parts.is_unaligned));
}
