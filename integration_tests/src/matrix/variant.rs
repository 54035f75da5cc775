//! Which jobs are put under faults, and a small selection of them in which each two choices meet.

use std::fmt;

use cofferdam_engine::{checkpoint::config::CheckpointMode, topology::Topology};

use super::topologies::{Delays, flight_delays, halvings, word_count};
use crate::{io::Io, reference, torture::Torture, trial::Backend};

/// A topology of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The one of [`reference`](crate::reference).
    Reference,
    /// Counts words.
    WordCount,
    /// Adds up the delays of departures.
    FlightDelays,
    /// Halves numbers in a loop.
    Loop,
}

impl Example {
    /// Those that are run in every way; the loop has a job of its own.
    pub const ALL: [Self; 3] = [Self::Reference, Self::WordCount, Self::FlightDelays];

    fn build(self, io: &Io) -> Topology {
        match self {
            Self::Reference => reference(io),
            Self::WordCount => word_count(io),
            Self::FlightDelays => flight_delays(io),
            Self::Loop => halvings(io),
        }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::WordCount => "word count",
            Self::FlightDelays => "flight delays",
            Self::Loop => "loop",
        })
    }
}

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

    /// Nine jobs in which each two values of two different choices meet.
    ///
    /// Every topology meets every parallelism. What the other two choices are is read off two Latin squares that are orthogonal: each pair of their symbols is in
    /// just one place, so the two meet in every combination, and each meets every row and column.
    pub fn pairwise() -> Vec<Self> {
        let places = (0..3).flat_map(|row| (0..3).map(move |column| (row, column)));
        let variant = |(row, column)| Self {
            example: Example::ALL[row],
            parallelism: PARALLELISMS[column],
            mode: if (row + column) % 3 == 0 { CheckpointMode::AtLeastOnce } else { CheckpointMode::ExactlyOnce },
            backend: if (row + 2 * column) % 3 == 0 { Backend::Lmdb } else { Backend::Memory },
            unaligned: false,
        };
        places.map(variant).collect()
    }

    /// The job under test, and nothing to run yet.
    pub fn torture(self) -> Torture {
        let torture = Torture::new(move |io| self.example.build(io));
        let torture = torture.mode(self.mode).parallelism(self.parallelism).backend(self.backend);
        let torture = if self.unaligned { torture.unaligned(2) } else { torture };
        match self.example {
            Example::Reference => torture.state::<u64, u64>("count"),
            Example::WordCount => torture.state::<String, u64>("count"),
            Example::FlightDelays => torture.state::<(String, String), Delays>("delays"),
            Example::Loop => torture,
        }
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
            Backend::Files => "files",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mode, backend) = (self.mode_name(), self.backend_name());
        write!(f, "{}, {mode}, parallelism {}, {backend}", self.example, self.parallelism)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// A job's choices as numbers, and how many there are of each.
    fn choices(variant: &Variant) -> [usize; 4] {
        let place = |found: Option<usize>| found.unwrap();
        [
            place(Example::ALL.iter().position(|example| *example == variant.example)),
            place(PARALLELISMS.iter().position(|parallelism| *parallelism == variant.parallelism)),
            usize::from(variant.mode == CheckpointMode::AtLeastOnce),
            usize::from(variant.backend == Backend::Lmdb),
        ]
    }

    #[test]
    fn each_two_values_of_two_choices_meet_in_some_job() {
        let sizes = [3, 3, 2, 2];
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
