//! The numbers that travel: each its own type, so that no two can be swapped.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// Names one checkpoint. Grows by one with each trigger; 0 is the checkpoint before the first record.
    CheckpointId(u64)
}
number! {
    /// Names one run of all subtasks between two restarts. Durable, and grows across processes.
    Attempt(u64)
}
number! {
    /// Which of an operator's parallel instances, from 0.
    SubtaskIndex(u32)
}
number! {
    /// Which input channel of a subtask's gate, or which channel of its output, from 0.
    ChannelIndex(u32)
}
number! {
    /// Nanoseconds on the driver's monotonic clock. Means nothing across processes.
    ProcessingTime(u64)
}

number! {
    /// Which alignment group of a topology's, from 0, in the order of their first members.
    AlignmentGroup(u32)
}

number! {
    /// Milliseconds since the Unix epoch: what outlives a process is dated by it.
    WallTime(u64)
}

impl CheckpointId {
    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Attempt {
    /// The attempt after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl SubtaskIndex {
    /// As an index into a slice.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ChannelIndex {
    /// As an index into a slice.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

impl ProcessingTime {
    /// Time passed since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// This moment, `by` later.
    pub fn after(self, by: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX)))
    }
}

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl std::str::FromStr for $name {
            type Err = std::num::ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                u128::from_str_radix(text, 16).map(Self)
            }
        }
    };
}

random_id! {
    /// Names a job for its whole life, through every restart and process: 128 random bits, made with checkpoint 0.
    JobId
}
random_id! {
    /// Names a savepoint, however often its file is copied: 128 random bits.
    SavepointId
}
