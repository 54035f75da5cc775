//! What a record carries of time.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{slice::Slice, time::Timestamp};

/// What a stream's records carry of time: [`NoTime`], [`Timestamp`] or [`ByClock`], and nothing else. It stands beside each record, where steps hand it on.
pub trait Stamp: sealed::Sealed + Copy + Send + std::fmt::Debug + PartialEq + 'static {
    /// Whether edges of such a stream carry watermarks.
    const IS_TIMED: bool;

    /// The time it holds, if it holds one.
    fn timestamp(self) -> Option<Timestamp>;

    /// That of something that happens at `time`.
    fn at(time: Timestamp) -> Self;

    /// Encodes a record and its stamp.
    fn serialize<T: Serialize, Z: Serializer>(self, record: &T, to: Z) -> Result<Z::Ok, Z::Error>;

    /// A record and its stamp, as they were encoded.
    fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<(T, Self), D::Error>;
}

mod sealed {
    pub trait Sealed {}
}

/// No time: what a source gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoTime;

/// Processing time: that of the clock, read where it is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByClock;

/// Stamps that say when something happened: [`Timestamp`] and [`ByClock`].
#[diagnostic::on_unimplemented(
    message = "the records of this stream have no time",
    label = "needs a stream with `event_time`, `ingestion_time` or `processing_time`"
)]
pub trait InTime: Stamp {
    /// Whether it is the clock that says it.
    const BY_CLOCK: bool;

    /// When the record happened.
    fn time(self, slice: &Slice<'_>) -> Timestamp;
}

impl sealed::Sealed for NoTime {}
impl sealed::Sealed for Timestamp {}
impl sealed::Sealed for ByClock {}

/// A stamp without a size is not encoded: batches in flight hold the records alone.
macro_rules! without_bytes {
    ($($stamp:ident),*) => {$(
        impl Stamp for $stamp {
            const IS_TIMED: bool = false;

            fn timestamp(self) -> Option<Timestamp> {
                None
            }

            #[inline]
            fn at(_: Timestamp) -> Self {
                Self
            }

            #[inline]
            fn serialize<T: Serialize, Z: Serializer>(self, record: &T, to: Z) -> Result<Z::Ok, Z::Error> {
                record.serialize(to)
            }

            #[inline]
            fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<(T, Self), D::Error> {
                Ok((T::deserialize(from)?, Self))
            }
        }
    )*};
}
without_bytes!(NoTime, ByClock);

/// Encoded as the pair of time and record.
impl Stamp for Timestamp {
    const IS_TIMED: bool = true;

    fn timestamp(self) -> Option<Timestamp> {
        Some(self)
    }

    #[inline]
    fn at(time: Timestamp) -> Self {
        time
    }

    #[inline]
    fn serialize<T: Serialize, Z: Serializer>(self, record: &T, to: Z) -> Result<Z::Ok, Z::Error> {
        (self, record).serialize(to)
    }

    #[inline]
    fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<(T, Self), D::Error> {
        let (time, record) = <(Self, T)>::deserialize(from)?;
        Ok((record, time))
    }
}

impl InTime for Timestamp {
    const BY_CLOCK: bool = false;

    #[inline]
    fn time(self, _slice: &Slice<'_>) -> Timestamp {
        self
    }
}

impl InTime for ByClock {
    const BY_CLOCK: bool = true;

    #[inline]
    fn time(self, slice: &Slice<'_>) -> Timestamp {
        slice.wall_time().into()
    }
}

/// A record on its way from one chain to another, and its stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stamped<T, S> {
    /// The record.
    pub record: T,
    /// Its stamp.
    pub time: S,
}

const _: () = assert!(size_of::<Stamped<u64, NoTime>>() == size_of::<u64>(), "no time takes no space");

impl<T> From<T> for Stamped<T, NoTime> {
    fn from(record: T) -> Self {
        Self { record, time: NoTime }
    }
}

impl<T: Serialize, S: Stamp> Serialize for Stamped<T, S> {
    #[inline]
    fn serialize<Z: Serializer>(&self, to: Z) -> Result<Z::Ok, Z::Error> {
        self.time.serialize(&self.record, to)
    }
}

impl<'de, T: Deserialize<'de>, S: Stamp> Deserialize<'de> for Stamped<T, S> {
    #[inline]
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (record, time) = S::deserialize(from)?;
        Ok(Self { record, time })
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        codec::{decode, encode},
        record::{Batch, Record},
    };

    /// A batch of `records` has the size, the alignment and the bytes of the records alone, and these are read as such a batch.
    fn is_nothing_beside_them<S: Stamp + Default, T: Record + Clone + PartialEq + Debug>(records: &[T]) {
        assert_eq!(size_of::<Stamped<T, S>>(), size_of::<T>());
        assert_eq!(align_of::<Stamped<T, S>>(), align_of::<T>());
        let stamped: Vec<_> =
            records.iter().map(|record| Stamped { record: record.clone(), time: S::default() }).collect();
        let alone = encode(&records.to_vec()).unwrap();
        assert_eq!(stamped.encode().unwrap(), alone);
        assert_eq!(encode(&stamped.as_slice()).unwrap(), alone);
        assert_eq!(decode::<Vec<Stamped<T, S>>>(&alone).unwrap(), stamped);
        assert_eq!(decode::<Vec<T>>(&stamped.encode().unwrap()).unwrap(), records);
        assert_eq!(stamped.earliest(), None);
    }

    /// A batch comes back with its stamps, and is the pairs of time and record.
    fn comes_back<T: Record + Clone + PartialEq + Debug>(records: &[(T, i64)]) {
        let stamped = |(record, time): &(T, i64)| Stamped { record: record.clone(), time: Timestamp(*time) };
        let batch: Vec<_> = records.iter().map(stamped).collect();
        let bytes = batch.encode().unwrap();
        assert_eq!(decode::<Vec<Stamped<T, Timestamp>>>(&bytes).unwrap(), batch);
        let pairs: Vec<_> = records.iter().map(|(record, time)| (*time, record.clone())).collect();
        assert_eq!(decode::<Vec<(i64, T)>>(&bytes).unwrap(), pairs);
        assert_eq!(batch.earliest(), records.iter().map(|(_, time)| Timestamp(*time)).min());
    }

    /// MessagePack's one reserved byte begins no batch, so that it can begin something else in flight.
    fn begins_as_an_array<T: Record + Clone, S: Stamp>(record: T, time: S) {
        for length in [0, 1, 15, 16, 65_535, 65_536] {
            let batch = vec![Stamped { record: record.clone(), time }; length];
            let first = batch.encode().unwrap()[0];
            assert!(matches!(first, 0x90..=0x9f | 0xdc | 0xdd), "{first:#x} begins a batch of {length}");
        }
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    struct Reading {
        sensor: u16,
        label: Option<String>,
        values: Vec<f64>,
    }

    fn reading() -> impl Strategy<Value = Reading> {
        let values = proptest::collection::vec(-1e9..1e9, 0..4);
        (any::<u16>(), any::<Option<String>>(), values).prop_map(|(sensor, label, values)| Reading {
            sensor,
            label,
            values,
        })
    }

    proptest! {
        #[test]
        fn without_time_a_batch_is_what_its_records_are(
            numbers in any::<Vec<u64>>(),
            bytes in any::<Vec<u8>>(),
            keyed in any::<Vec<(String, (i32, bool))>>(),
            lists in any::<Vec<Vec<u8>>>(),
            units in any::<Vec<()>>(),
            readings in proptest::collection::vec(reading(), 0..5),
        ) {
            is_nothing_beside_them::<NoTime, _>(&numbers);
            is_nothing_beside_them::<ByClock, _>(&numbers);
            is_nothing_beside_them::<NoTime, _>(&bytes);
            is_nothing_beside_them::<NoTime, _>(&keyed);
            is_nothing_beside_them::<NoTime, _>(&lists);
            is_nothing_beside_them::<NoTime, _>(&units);
            is_nothing_beside_them::<NoTime, _>(&readings);
        }

        #[test]
        fn records_come_back_with_their_times(
            keyed in any::<Vec<((u64, String), i64)>>(),
            options in any::<Vec<(Option<u8>, i64)>>(),
            readings in proptest::collection::vec((reading(), any::<i64>()), 0..5),
        ) {
            comes_back(&keyed);
            comes_back(&options);
            comes_back(&readings);
        }
    }

    #[test]
    fn no_batch_begins_with_the_reserved_byte() {
        begins_as_an_array(0xc1_u8, NoTime);
        begins_as_an_array((), NoTime);
        begins_as_an_array(vec![1_u8], NoTime);
        begins_as_an_array(0xc1_u8, Timestamp(-1));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_field_with_and_without_time() {
        let bad = (1u16, None::<String>, "none");
        let fields = |time: Option<i64>| match time {
            None => encode(&vec![&bad]),
            Some(time) => encode(&vec![(time, &bad)]),
        };
        let untimed = decode::<Vec<Stamped<Reading, NoTime>>>(&fields(None).unwrap()).unwrap_err().to_string();
        let timed = decode::<Vec<Stamped<Reading, Timestamp>>>(&fields(Some(5)).unwrap()).unwrap_err().to_string();
        assert!(untimed.contains("[0]"), "{untimed}");
        assert!(timed.contains("[0][1]"), "{timed}");
    }
}
