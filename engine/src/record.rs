//! What can cross an exchange.

use std::any::Any;

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    codec::{decode, encode},
    error::BoxError,
    time::{Stamp, Stamped, Timestamp},
};

/// A record that can leave its thread and be stored in flight. A blanket trait: nobody implements it.
pub trait Record: Send + Serialize + DeserializeOwned + 'static {}

impl<T: Send + Serialize + DeserializeOwned + 'static> Record for T {}

/// Makes a batch of its encoding.
pub type Decoder = fn(&[u8]) -> Result<Box<dyn Batch>, BoxError>;

/// Some records on their way, their type known only to the two ends of the edge: always a `Vec<Stamped<T, S>>` with `T: Record`.
pub trait Batch: Any + Send {
    /// How many records.
    fn len(&self) -> usize;
    /// Their encoding, as of a `Vec` of them: without time, of the records alone.
    fn encode(&self) -> Result<Vec<u8>, BoxError>;
    /// What makes of an encoding a batch of this type.
    fn decoder(&self) -> Decoder;
    /// The earliest time that one of its records bears; `None` if they bear none.
    fn earliest(&self) -> Option<Timestamp>;
    /// Calls `visit` with each record's encoding: for harnesses, which compare what passes an edge.
    #[cfg(feature = "failpoints")]
    fn encode_each(&self, visit: &mut dyn FnMut(&[u8]));
    /// Whether there is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<T: Record, S: Stamp> Batch for Vec<Stamped<T, S>> {
    fn len(&self) -> usize {
        Vec::len(self)
    }

    fn encode(&self) -> Result<Vec<u8>, BoxError> {
        encode(self)
    }

    fn decoder(&self) -> Decoder {
        |bytes| Ok(Box::new(decode::<Self>(bytes)?))
    }

    fn earliest(&self) -> Option<Timestamp> {
        self.iter().filter_map(|record| record.time.timestamp()).min()
    }

    #[cfg(feature = "failpoints")]
    fn encode_each(&self, visit: &mut dyn FnMut(&[u8])) {
        // A record that cannot be encoded is like any other one of these.
        self.iter().for_each(|record| visit(&encode(record).unwrap_or_default()));
    }
}

impl std::fmt::Debug for dyn Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Batch({} records)", self.len())
    }
}
