//! Loops in which more circulates than memory is to hold.
#![allow(clippy::unwrap_used)]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use cofferdam::{Circulating, prelude::*};

use crate::until::until;

/// Records per batch: 64 batches of each channel stay in memory.
const BATCH: usize = 16;
const MARK: u64 = 64;
const NUMBERS: u64 = 8;
const CHILDREN: u64 = 4_000;
const LEAVES: u64 = 3;
const PARALLELISM: u32 = 2;

/// Which number it comes from, and the way from there.
type Node = (u64, Vec<u64>);

/// Each number has 4,000 children, and each of these three; they are given once they have none. A subtask that makes children takes nothing meanwhile that comes round, so
/// that most of them have to wait, whatever the threads do.
fn tree(may_begin: Arc<AtomicBool>, sink: CollectSink<Node>) -> Topology {
    let topology = Topology::new("tree");
    let numbers = Generator::bounded(NUMBERS, move |i| {
        until("the test lets it begin", || may_begin.load(Ordering::SeqCst));
        (i, Vec::new())
    });
    let leaves = topology.source("numbers", numbers).iterate("grow", |looped| {
        let nodes = looped.rebalance().flat_map(|(first, way): Node| {
            let children = if way.is_empty() { CHILDREN } else { LEAVES };
            (0..children).map(move |child| (first, [way.clone(), vec![child]].concat()))
        });
        let nodes = nodes.share();
        (nodes.stream().filter(|node| node.1.len() < 2), nodes.stream().filter(|node| node.1.len() == 2))
    });
    leaves.sink("leaves", sink);
    topology
}

/// The leaves, by plain loops.
fn expected() -> Vec<Node> {
    let ways = |first| (0..CHILDREN).flat_map(move |child| (0..LEAVES).map(move |leaf| (first, vec![child, leaf])));
    (0..NUMBERS).flat_map(ways).collect()
}

fn assert_same(mut leaves: Vec<Node>) {
    leaves.sort_unstable();
    assert!(leaves == expected(), "{} leaves, {} expected", leaves.len(), expected().len());
}

fn engine(checkpoints: CheckpointConfig) -> EngineBuilder {
    Engine::builder().parallelism(PARALLELISM).batch_size(BATCH).checkpoints(checkpoints)
}

/// Over the heads of the loop.
fn circulating(job: &JobHandle) -> Circulating {
    let subtasks = job.status().subtasks;
    subtasks.iter().filter_map(|subtask| subtask.circulating).fold(Circulating::default(), |sum, one| sum + one)
}

fn entries(directory: &Path) -> usize {
    directory.read_dir().unwrap().count()
}

#[test]
fn what_is_too_much_for_memory_is_spilled_and_comes_back() {
    let every = CheckpointConfig::every(Duration::from_millis(5));
    for checkpoints in [every.clone(), every.clone().unaligned(Duration::ZERO), every.mode(CheckpointMode::AtLeastOnce)]
    {
        let (sink, leaves) = CollectSink::new();
        let directory = tempfile::tempdir().unwrap();
        let engine = engine(checkpoints.clone()).restart(RestartStrategy::None).spill_directory(directory.path());
        let job = engine.start_blocking(tree(Arc::new(AtomicBool::new(true)), sink)).unwrap();
        until("its end", || {
            let now = circulating(&job);
            assert!(now.in_memory <= MARK * u64::from(PARALLELISM * PARALLELISM), "{now:?}");
            assert_eq!(entries(directory.path()), 0, "the files have no names");
            matches!(job.status().phase, JobPhase::Ended)
        });
        assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
        assert_same(leaves.snapshot());
        let last = circulating(&job);
        assert!(last.spilled > 0 && last.most_in_memory == MARK, "{checkpoints:?}: {last:?}");
        assert_eq!((last.records, last.in_memory, last.on_disk), (0, 0, 0), "nothing is left: {last:?}");
        assert!(job.status().checkpoints_completed > 1, "{:?}", job.status());
    }
}

#[test]
fn a_spill_directory_that_is_not_there_is_refused_at_the_start() {
    let engine = engine(CheckpointConfig::default()).spill_directory("/no/such/place");
    let error = engine.start_blocking(tree(Arc::default(), CollectSink::new().0)).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidTopology);
    let message = error.to_string();
    for part in ["job 'tree'", "'/no/such/place'", "`EngineBuilder::spill_directory`", "No such file or directory"] {
        assert!(message.contains(part), "{message} does not name {part}");
    }
}

#[test]
fn a_spill_directory_that_vanishes_fails_the_attempt_in_words_and_nothing_is_lost() {
    let (sink, leaves) = CollectSink::new();
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("spill");
    std::fs::create_dir(&directory).unwrap();
    let may_begin = Arc::new(AtomicBool::new(false));
    let engine = engine(CheckpointConfig::every(Duration::from_millis(5)))
        .restart(RestartStrategy::FixedDelay { attempts: u32::MAX, delay: Duration::from_millis(10) })
        .spill_directory(&directory);
    let job = engine.start_blocking(tree(may_begin.clone(), sink)).unwrap();
    std::fs::remove_dir(&directory).unwrap();
    may_begin.store(true, Ordering::SeqCst);
    until("a failure", || job.status().failures > 0);
    let message = job.status().last_failure.unwrap().cause.to_string();
    let place = format!("'{}'", directory.display());
    for part in ["job 'tree'", "loop 'grow'", &place, "`EngineBuilder::spill_directory`", "No such file or directory"] {
        assert!(message.contains(part), "{message} does not name {part}");
    }
    std::fs::create_dir(&directory).unwrap();
    assert_eq!(job.wait_blocking().unwrap(), JobEnd::Finished);
    assert_same(leaves.snapshot());
    assert!(circulating(&job).spilled > 0);
}
