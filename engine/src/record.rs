//! What can cross an exchange.

use std::any::Any;

use serde::{Serialize, de::DeserializeOwned};

/// A record that can leave its thread and be stored in flight. A blanket trait: nobody implements it.
pub trait Record: Send + Serialize + DeserializeOwned + 'static {}

impl<T: Send + Serialize + DeserializeOwned + 'static> Record for T {}

/// Some records on their way, their type known only to the two ends of the edge: always a `Vec<T>` with `T: Record`.
pub trait Batch: Any + Send {
    /// How many records.
    fn len(&self) -> usize;
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Record> Batch for Vec<T> {
    fn len(&self) -> usize {
        Vec::len(self)
    }
}

impl std::fmt::Debug for dyn Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} records)", self.len())
    }
}
