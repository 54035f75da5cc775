//! Going back to an older checkpoint, with everything else going wrong as well.
#![allow(clippy::unwrap_used)]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use cofferdam::connector::Generator;
use cofferdam_engine::{
    BoxError, Sink, SubtaskIndex,
    checkpoint::{coordinator::JobEnd, store::StateBackend},
    topology::Topology,
};
use cofferdam_storage::{Lmdb, Memory};
use cofferdam_testkit::{Faults, Setup, Simulation, every_fault};

use crate::seeds::seeds;

const RECORDS: u64 = 200;
const KEYS: u64 = 5;

/// Counts as a sink without transactions is given them.
#[derive(Clone, Default)]
struct Counts(Arc<Mutex<Vec<(u64, u64)>>>);

impl Sink<(u64, u64)> for Counts {
    type Writer = Box<dyn FnMut((u64, u64)) -> Result<(), BoxError> + Send>;

    fn open(&self, _: SubtaskIndex) -> Result<Self::Writer, BoxError> {
        let counts = self.0.clone();
        Ok(Box::new(move |count| {
            counts.lock().map_err(|error| error.to_string())?.push(count);
            Ok(())
        }))
    }
}

/// Kills the job now and then, and starts it from one of the checkpoints that are kept. Returns how often that was not the newest.
fn run(seed: u64, backend: impl StateBackend + Clone) -> u32 {
    let mut random = fastrand::Rng::with_seed(seed);
    let counts = Counts::default();
    let sink = counts.clone();
    let topology = move || {
        let topology = Topology::new("counts");
        let numbers = topology.source("numbers", Generator::bounded(RECORDS, |i| i)).parallelism(2);
        let counted = numbers.key_by(|n| n % KEYS).fold("count", 0u64, |count, _| *count += 1);
        counted.sink_at_least_once("counts", sink.clone());
        topology
    };
    let setup = Setup::drawn(seed).checkpoints(|checkpoints| checkpoints.num_retained(3));
    let faults = Faults::drawn(&every_fault(), 6, 150);
    let mut simulation = Simulation::new(seed, setup, faults, topology).backend(backend.clone());
    // Each attempt that went back, and the highest number before it.
    let (mut back, mut used) = (0, Vec::new());
    for _ in 0..6 {
        let steps = random.u64(50..250);
        if simulation.run_steps(steps).is_some() {
            break;
        }
        simulation.kill();
        let retained = backend.open().unwrap().retained().unwrap();
        let Some(chosen) = random.choice(&retained).map(|kept| kept.checkpoint) else { continue };
        let attempts = simulation.attempts().len();
        back += u32::from(Some(chosen) != retained.last().map(|kept| kept.checkpoint));
        simulation.restore_from(chosen);
        // Until an attempt is open, whatever dies before.
        while simulation.attempts().len() == attempts {
            // It ends at once if the chosen one is the last.
            assert!(matches!(simulation.run_steps(1), None | Some(Ok(JobEnd::Finished))), "seed {seed}");
        }
        assert_eq!(simulation.attempts()[attempts].1, chosen, "seed {seed}");
        let (attempt, _) = simulation.attempts()[attempts];
        used.push((attempt, retained.last().map(|kept| kept.checkpoint)));
    }
    assert!(matches!(simulation.run(), Ok(JobEnd::Finished)), "seed {seed}");
    assert!(simulation.committed().is_sorted_by(|(a, n), (b, m)| a <= b && n < m), "{:?}", simulation.committed());
    for (attempt, highest) in used {
        let mut since = simulation.triggered().iter().filter(|(triggered_in, _)| *triggered_in >= attempt);
        assert!(since.all(|(_, number)| Some(*number) > highest), "seed {seed}: a number came again");
    }
    check(seed, &counts.0.lock().unwrap());
    back
}

/// Each key was counted up to the number of its records, no further, and no count was left out.
fn check(seed: u64, counts: &[(u64, u64)]) {
    let mut seen: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    counts.iter().for_each(|(key, count)| seen.entry(*key).or_default().push(*count));
    for counts in seen.values_mut() {
        counts.sort_unstable();
        counts.dedup();
    }
    let expected = (0..KEYS).map(|key| (key, (1..=RECORDS / KEYS).collect()));
    assert_eq!(seen, expected.collect(), "seed {seed}");
}

#[test]
fn to_any_checkpoint_kept_leads_to_the_state_of_a_run_that_never_did() {
    let back: u32 = seeds(0..200).map(|seed| run(seed, Memory::new())).sum();
    assert!(back > 100, "only {back} times");
}

#[test]
fn is_the_same_with_lmdb() {
    let runs = (0..30).map(|seed| {
        let directory = tempfile::tempdir().unwrap();
        run(seed, Lmdb::at(directory.path()))
    });
    assert!(runs.sum::<u32>() > 15);
}
