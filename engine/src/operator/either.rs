//! Two inputs of one step, as one: what comes on two edges, by key, becomes one stream of either.
//!
//! ```text
//! edge of (K, A) --- batch --> lifted: (K, Left(A)) --\
//!                                                      Input<(K, Either<A, B>)> --> step
//! edge of (K, B) --- batch --> lifted: (K, Right(B)) -/
//! ```
//! What travels and what is stored in flight is as wide as its own side, and encoded as it. A batch is lifted when it is delivered, whole: so a record of the rest of a batch is encoded
//! as if it had never been lifted.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{
    codec::decode,
    error::BoxError,
    key::Key,
    key_group::{KeyGroup, KeyGroupRange},
    record::{Batch, Record},
    time::{Stamp, Stamped},
};

/// A record of one of two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Either<A, B> {
    /// Of the first.
    Left(A),
    /// Of the second.
    Right(B),
}

/// As the side that it is of: only its edge knows which.
impl<A: Serialize, B: Serialize> Serialize for Either<A, B> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Left(record) => record.serialize(serializer),
            Self::Right(record) => record.serialize(serializer),
        }
    }
}

impl<'de, A, B> Deserialize<'de> for Either<A, B> {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom("a record of two inputs is read as what its edge carries"))
    }
}

/// What an edge that leads to one side of a step does to its batches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lift {
    /// Of a batch as it travels, one as the step takes it.
    pub(crate) lift: fn(Box<dyn Batch>) -> Box<dyn Batch>,
    /// Reads a batch as it travels: those of its records whose key group, of so many, is among the given ones.
    pub(crate) decode: fn(&[u8], KeyGroupRange, u16) -> Result<Box<dyn Batch>, BoxError>,
}

impl Lift {
    /// Of the first of two edges by key.
    pub(crate) fn left<K: Key, A: Record, B: Record, S: Stamp>() -> Self {
        Self { lift: |batch| lifted::<K, A, Either<A, B>, S>(batch, Either::Left), decode: keyed::<K, A, S> }
    }

    /// Of the second.
    pub(crate) fn right<K: Key, A: Record, B: Record, S: Stamp>() -> Self {
        Self { lift: |batch| lifted::<K, B, Either<A, B>, S>(batch, Either::Right), decode: keyed::<K, B, S> }
    }
}

fn lifted<K: Key, T: Record, L: Record, S: Stamp>(batch: Box<dyn Batch>, lift: fn(T) -> L) -> Box<dyn Batch> {
    let lifted = batch_of::<(K, T), S>(batch)
        .into_iter()
        .map(|Stamped { record: (key, record), time }| Stamped { record: (key, lift(record)), time });
    Box::new(lifted.collect::<Vec<_>>())
}

/// The records of a batch that travels on an edge.
pub(crate) fn batch_of<T: Record, S: Stamp>(batch: Box<dyn Batch>) -> Vec<Stamped<T, S>> {
    let batch: Box<dyn std::any::Any> = batch;
    match batch.downcast() {
        Ok(records) => *records,
        Err(_) => {
            unreachable!("both ends of an edge are made by one generic call, with one type of records and stamps")
        }
    }
}

/// Reads a batch that travels on an edge by key.
pub(crate) fn keyed<K: Key, T: Record, S: Stamp>(
    bytes: &[u8],
    owned: KeyGroupRange,
    max_parallelism: u16,
) -> Result<Box<dyn Batch>, BoxError> {
    let mut records: Vec<Stamped<(K, T), S>> = decode(bytes)?;
    records.retain(|stamped| owned.contains(KeyGroup::of_hash(stamped.record.0.hash64(), max_parallelism)));
    Ok(Box::new(records))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::{
        codec::encode,
        operator::{Step, input::Input},
        time::Timestamp,
    };

    type Lifted = Either<u64, String>;

    #[test]
    fn the_rest_of_a_batch_is_stored_as_its_edge_carries_it() {
        let at = |key: u32, record: &str| Stamped { record: (key, record.to_string()), time: Timestamp(5) };
        let travels = vec![at(1, "a"), at(2, "b")];
        let stored = encode(&travels).unwrap();
        let lift = Lift::right::<u32, u64, String, Timestamp>();
        let mut input: Input<(u32, Lifted), Timestamp> = Input::new(None);
        input.feed((lift.lift)(Box::new(travels)));
        assert_eq!(input.rest_of_batch().unwrap().unwrap(), stored);
        let all = KeyGroupRange { start: 0, end: 8 };
        let read = (lift.decode)(&stored, all, 8).unwrap();
        assert_eq!((read.len(), read.encode().unwrap()), (2, stored));
        assert!(decode::<Vec<Stamped<(u32, Lifted), Timestamp>>>(&read.encode().unwrap()).is_err());
    }

    #[test]
    fn of_what_was_in_flight_a_subtask_takes_its_own_keys() {
        let records: Vec<_> = (0..100_u32).map(|key| Stamped { record: (key, 1_u64), time: Timestamp(0) }).collect();
        let stored = encode(&records).unwrap();
        let lift = Lift::left::<u32, u64, String, Timestamp>();
        let taken = |start, end| (lift.decode)(&stored, KeyGroupRange { start, end }, 8).unwrap().len();
        assert!(taken(0, 3) > 0 && taken(3, 8) > 0);
        assert_eq!(taken(0, 3) + taken(3, 8), 100);
    }
}
