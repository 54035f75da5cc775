//! Which jobs are put under faults, and a small selection of them in which each two choices meet.

use std::fmt;

use cofferdam_engine::checkpoint::config::CheckpointMode;

use super::Example;
use crate::{journey::SavepointUse, torture::Torture, trial::Backend};

/// A job: what it computes, and how it is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its topology.
    pub example: Example,
    /// What it promises.
    pub mode: CheckpointMode,
    /// Subtasks of each chain.
    pub parallelism: u32,
    /// Where its checkpoints are.
    pub backend: Backend,
    /// Whether barriers overtake.
    pub unaligned: bool,
    /// What it does with savepoints.
    pub savepoints: SavepointUse,
}

const PARALLELISMS: [u32; 3] = [1, 2, 3];

impl Variant {
    /// The reference topology as the harness runs it if nothing is said, with its checkpoints in `backend`.
    pub fn reference(backend: Backend) -> Self {
        Self {
            example: Example::Reference,
            mode: CheckpointMode::ExactlyOnce,
            parallelism: 2,
            backend,
            unaligned: false,
            savepoints: SavepointUse::None,
        }
    }

    /// Jobs in which records are in flight in a checkpoint: barriers overtake, or records go round.
    pub fn in_flight() -> [Self; 3] {
        let aligned = Self::reference(Backend::Memory);
        [
            Self { unaligned: true, ..aligned },
            Self { example: Example::Loop, ..aligned },
            Self { example: Example::Loop, unaligned: true, backend: Backend::Lmdb, ..aligned },
        ]
    }

    /// Jobs that take savepoints, or go on from one: one for each use.
    pub fn with_savepoints() -> [Self; 3] {
        let aligned = Self::reference(Backend::Memory);
        let [_, taken, followed, stopped] = SavepointUse::ALL;
        [
            Self { savepoints: taken, ..aligned },
            Self { savepoints: followed, example: Example::OperatorState, ..aligned },
            Self { savepoints: stopped, example: Example::StateTypes, ..aligned },
        ]
    }

    /// Jobs that go by time, as they are if nothing is said: together they pass every point that is passed by time alone.
    pub fn timed_alone() -> [Self; 2] {
        [Example::Timers, Example::Requests].map(|example| Self { example, ..Self::reference(Backend::Memory) })
    }

    /// Twenty-five jobs in which each two values of two different choices meet.
    pub fn pairwise() -> Vec<Self> {
        let modes = [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce];
        square(Example::ALL).map(|(choice, variant)| Self { mode: modes[choice % 2], ..variant }).collect()
    }

    /// Five jobs of each that goes by time, likewise. Barriers wait or overtake, and all are exactly-once: a count that has a record twice is another row, so at least once there is nothing to
    /// compare with.
    pub fn timed() -> Vec<Self> {
        square(Example::timed()).map(|(choice, variant)| Self { unaligned: choice % 2 == 1, ..variant }).collect()
    }

    /// The job under test, and nothing to run yet.
    pub fn torture(self) -> Torture {
        let torture = self.example.torture().mode(self.mode).parallelism(self.parallelism).backend(self.backend);
        let torture = torture.savepoints(self.savepoints);
        if self.unaligned { torture.unaligned(2) } else { torture }
    }

    pub(super) fn mode_name(self) -> &'static str {
        match self.mode {
            CheckpointMode::ExactlyOnce if self.unaligned => "exactly-once, unaligned",
            CheckpointMode::ExactlyOnce => "exactly-once",
            CheckpointMode::AtLeastOnce => "at-least-once",
        }
    }

    pub(super) fn backend_name(self) -> &'static str {
        match self.backend {
            Backend::Memory => "memory",
            Backend::Lmdb => "LMDB",
            Backend::LmdbSmallHeap => "LMDB, small heap",
            Backend::Files => "files",
        }
    }

    pub(super) fn savepoints_name(self) -> &'static str {
        match self.savepoints {
            SavepointUse::None => "",
            SavepointUse::Taken => "taken",
            SavepointUse::Followed => "followed",
            SavepointUse::Stopped => "stopped with one",
        }
    }
}

/// A row of five jobs for each topology, and for each job the number of one more choice.
///
/// In each column of the square one value of a choice goes down the rows at a pace of its own, modulo five: of two such choices, as of a choice and the row, each two numbers meet in just one
/// place of five rows. A choice of fewer values than five has some of them more often.
fn square(examples: impl IntoIterator<Item = Example>) -> impl Iterator<Item = (usize, Variant)> {
    let rows = (0..).zip(examples);
    let places = rows.flat_map(|(row, example)| (0..5).map(move |column| (row, column, example)));
    places.map(|(row, column, example)| {
        let number = |pace: usize| (column + pace * row) % 5;
        let variant = Variant {
            example,
            parallelism: PARALLELISMS[number(0) % PARALLELISMS.len()],
            backend: Backend::ALL[number(2) % Backend::ALL.len()],
            savepoints: SavepointUse::ALL[number(3) % SavepointUse::ALL.len()],
            ..Variant::reference(Backend::Memory)
        };
        (number(1), variant)
    })
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, backend) = (self.mode_name(), self.backend_name());
        write!(f, "{}, {mode}, parallelism {}, {backend}", self.example, self.parallelism)?;
        match self.savepoints {
            SavepointUse::None => Ok(()),
            _ => write!(f, ", savepoints {}", self.savepoints_name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A job's choices as numbers, and how many there are of each.
    fn choices(variant: &Variant) -> [usize; 5] {
        let place = |found: Option<usize>| found.unwrap();
        [
            Example::ALL.iter().position(|example| *example == variant.example).unwrap_or(Example::ALL.len()),
            place(PARALLELISMS.iter().position(|parallelism| *parallelism == variant.parallelism)),
            usize::from(variant.mode == CheckpointMode::AtLeastOnce),
            place(Backend::ALL.iter().position(|backend| *backend == variant.backend)),
            place(SavepointUse::ALL.iter().position(|savepoints| *savepoints == variant.savepoints)),
        ]
    }

    #[test]
    fn each_topology_that_goes_by_time_meets_each_value_of_every_choice_and_all_queries_are_among_them() {
        for example in Example::timed() {
            let jobs: Vec<_> = Variant::timed().into_iter().filter(|variant| variant.example == example).collect();
            let [mut parallelisms, mut backends, mut uses, mut overtakes] = [(); 4].map(|()| BTreeSet::new());
            for job in jobs {
                assert_eq!(job.mode, CheckpointMode::ExactlyOnce);
                let [_, parallelism, _, backend, savepoints] = choices(&job);
                parallelisms.insert(parallelism);
                backends.insert(backend);
                uses.insert(savepoints);
                overtakes.insert(usize::from(job.unaligned));
            }
            assert_eq!([parallelisms, backends, uses, overtakes].map(|met| met.len()), [3, 4, 4, 2], "{example}");
        }
        let queries: Vec<_> =
            Example::timed().filter(|example| example.is_query()).map(|example| example.to_string()).collect();
        assert_eq!(queries, (0..=22).map(|number| format!("q{number}")).collect::<Vec<_>>());
    }

    #[test]
    fn each_two_values_of_two_choices_meet_in_some_job() {
        let sizes = [5, 3, 2, 4, 4];
        let variants = Variant::pairwise();
        for one in 0..sizes.len() {
            for other in one + 1..sizes.len() {
                let met: BTreeSet<_> =
                    variants.iter().map(choices).map(|values| (values[one], values[other])).collect();
                assert_eq!(met.len(), sizes[one] * sizes[other], "choices {one} and {other}");
            }
        }
    }
}
