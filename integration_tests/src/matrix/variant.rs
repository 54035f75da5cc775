//! Which jobs are put under faults, and a small selection of them in which each two choices meet.

use std::fmt;

use cofferdam_engine::{checkpoint::config::CheckpointMode, state::EntryKey, topology::Topology};

use super::{
    joins::{joins, joins_oracle},
    requests::{requests, requests_oracle},
    topologies::{Delays, flight_delays, halvings, held_back, state_types, timers, timers_oracle, word_count},
    windows::{hot_items, hot_items_oracle, late_windows, late_windows_oracle},
};
use crate::{io::Io, journey::SavepointUse, reference, torture::Torture, trial::Backend};

/// A topology of the matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Example {
    /// The one of [`reference`](crate::reference).
    Reference,
    /// Counts words.
    WordCount,
    /// Adds up the delays of departures.
    FlightDelays,
    /// Keeps state of every type for each key.
    StateTypes,
    /// Holds numbers back in state of the operator: list, union and broadcast.
    OperatorState,
    /// Halves numbers in a loop.
    Loop,
    /// Counts by window, by timers.
    Timers,
    /// Puts numbers into windows that some of them come too late for.
    LateWindows,
    /// Finds the auctions with the most bids of late, by windows of windows.
    HotItems,
    /// Joins orders and payments, looks what follows what, and which rule is in force.
    Joins,
    /// Asks the outside, in order and in any order, and parts what is answered.
    Requests,
}

impl Example {
    /// Those that are run in every way; the loop and what goes by time have jobs of their own.
    pub const ALL: [Self; 5] =
        [Self::Reference, Self::WordCount, Self::FlightDelays, Self::StateTypes, Self::OperatorState];

    fn build(self, io: &Io) -> Topology {
        match self {
            Self::Reference => reference(io),
            Self::WordCount => word_count(io),
            Self::FlightDelays => flight_delays(io),
            Self::StateTypes => state_types(io),
            Self::OperatorState => held_back(io),
            Self::Loop => halvings(io),
            Self::Timers => timers(io),
            Self::LateWindows => late_windows(io),
            Self::HotItems => hot_items(io),
            Self::Joins => joins(io),
            Self::Requests => requests(io),
        }
    }
}

impl fmt::Display for Example {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reference => "reference",
            Self::WordCount => "word count",
            Self::FlightDelays => "flight delays",
            Self::StateTypes => "state types",
            Self::OperatorState => "operator state",
            Self::Loop => "loop",
            Self::Timers => "timers",
            Self::LateWindows => "late windows",
            Self::HotItems => "hot items",
            Self::Joins => "joins",
            Self::Requests => "requests",
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

    /// Each of those that go by time: where next to nothing that is stored stays in memory, with barriers that overtake, and on another number of subtasks from a savepoint on.
    pub fn timed() -> Vec<Self> {
        let examples = [Example::Timers, Example::LateWindows, Example::HotItems, Example::Joins, Example::Requests];
        let jobs = examples.map(|example| {
            let aligned = Self { example, ..Self::reference(Backend::Memory) };
            [
                Self { backend: Backend::LmdbSmallHeap, ..aligned },
                Self { unaligned: true, backend: Backend::Lmdb, ..aligned },
                Self { savepoints: SavepointUse::Followed, backend: Backend::Files, ..aligned },
            ]
        });
        jobs.into_iter().flatten().collect()
    }

    /// Twenty-five jobs in which each two values of two different choices meet.
    ///
    /// Every topology has a row of five jobs. In each column of the square one value of a choice goes down the rows at a pace of its own, modulo five: of two such choices, as of a choice and
    /// the row, each two numbers meet in just one place. A choice of fewer values than five has some of them more often.
    pub fn pairwise() -> Vec<Self> {
        let places = (0..5).flat_map(|row| (0..5).map(move |column| (row, column)));
        let variant = |(row, column)| {
            let number = |pace: usize| (column + pace * row) % 5;
            Self {
                example: Example::ALL[row],
                parallelism: PARALLELISMS[number(0) % PARALLELISMS.len()],
                mode: [CheckpointMode::ExactlyOnce, CheckpointMode::AtLeastOnce][number(1) % 2],
                backend: Backend::ALL[number(2) % Backend::ALL.len()],
                unaligned: false,
                savepoints: SavepointUse::ALL[number(3) % SavepointUse::ALL.len()],
            }
        };
        places.map(variant).collect()
    }

    /// The job under test, and nothing to run yet.
    pub fn torture(self) -> Torture {
        let torture = Torture::new(move |io| self.example.build(io));
        let torture = torture.mode(self.mode).parallelism(self.parallelism).backend(self.backend);
        let torture = torture.savepoints(self.savepoints);
        let torture = if self.unaligned { torture.unaligned(2) } else { torture };
        match self.example {
            Example::Reference => torture.state::<u64, u64>("count"),
            Example::WordCount => torture.state::<String, u64>("count"),
            Example::FlightDelays => torture.state::<(String, String), Delays>("delays"),
            Example::StateTypes => torture
                .named_state::<u64, u64>("states", "count")
                .named_state::<EntryKey<u64, u64>, u64>("states", "list")
                .named_state::<EntryKey<u64, u64>, u64>("states", "map")
                .named_state::<EntryKey<u64, u64>, u64>("states", "alive"),
            Example::OperatorState | Example::Loop => torture,
            Example::Timers => checked(torture, timers_oracle()),
            Example::LateWindows => checked(torture, late_windows_oracle()),
            Example::HotItems => checked(torture, hot_items_oracle()),
            Example::Joins => checked(torture, joins_oracle()),
            Example::Requests => checked(torture, requests_oracle()),
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

/// Whether the rows of each output are those of a loop.
fn checked(torture: Torture, expected: Vec<Vec<String>>) -> Torture {
    torture.check("the rows of a loop", move |outcome| {
        expected.iter().enumerate().try_for_each(|(output, expected)| {
            let mut rows: Vec<_> = outcome.outputs[output].iter().map(|row| row.text.clone()).collect();
            rows.sort_unstable();
            let missing = expected.iter().find(|row| rows.binary_search(row).is_err());
            match missing {
                _ if rows == *expected => Ok(()),
                Some(row) => Err(format!("output {output}: {row} is missing")),
                None => Err(format!("output {output} has {} rows instead of {}", rows.len(), expected.len())),
            }
        })
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
            place(Example::ALL.iter().position(|example| *example == variant.example)),
            place(PARALLELISMS.iter().position(|parallelism| *parallelism == variant.parallelism)),
            usize::from(variant.mode == CheckpointMode::AtLeastOnce),
            place(Backend::ALL.iter().position(|backend| *backend == variant.backend)),
            place(SavepointUse::ALL.iter().position(|savepoints| *savepoints == variant.savepoints)),
        ]
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
