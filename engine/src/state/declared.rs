//! A state as a step declares it.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::de::DeserializeOwned;

use crate::{
    checkpoint::snapshot::StateRecord,
    error::BoxError,
    state::{block::Values, value_format::ValueFormat},
};

/// What checkpoints record of a state, and what only the program knows that has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeclaredState {
    /// What is recorded.
    pub record: StateRecord,
    /// The versions of its values that can be read.
    pub readable: Vec<u32>,
    /// With a limit for the heap, its tables share it. Others are on the heap whole, whatever the limit.
    pub shares_heap: bool,
    /// Whether a stored value can be read.
    pub(crate) check: ValueCheck,
}

type Check = dyn Fn(Values, &[u8]) -> Result<(), BoxError> + Send + Sync;

/// Reads a value as the state's type, and keeps nothing of it. Says nothing of what the state is: all are equal.
#[derive(Clone)]
pub(crate) struct ValueCheck(Arc<Check>);

impl ValueCheck {
    pub(crate) fn of<S: DeserializeOwned + 'static>(format: ValueFormat<S>) -> Self {
        Self(Arc::new(move |values, bytes| format.reader().read(values, bytes).map(drop)))
    }

    pub(crate) fn check(&self, values: Values, bytes: &[u8]) -> Result<(), BoxError> {
        (self.0)(values, bytes)
    }
}

impl fmt::Debug for ValueCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ValueCheck")
    }
}

impl PartialEq for ValueCheck {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for ValueCheck {}

impl Hash for ValueCheck {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
