//! The head of a chain that reads channels.

use crate::{
    codec::{decode, encode},
    error::BoxError,
    key_group::{KeyGroup, KeyGroupRange},
    operator::{Operator, Stateful, Step},
    record::{Batch, Record},
    slice::{Flow, Slice},
};

/// Hands out the records of the batch it was last given.
pub struct Input<T> {
    batch: std::vec::IntoIter<T>,
    records_in: u64,
    /// The key group of a record, on an edge that goes by key.
    group: Option<GroupOf<T>>,
}

/// Finds a record's key group; given the number of key groups.
pub(crate) type GroupOf<T> = fn(&T, u16) -> KeyGroup;

impl<T> Input<T> {
    pub(crate) fn new(group: Option<GroupOf<T>>) -> Self {
        Self { batch: Vec::new().into_iter(), records_in: 0, group }
    }
}

impl<T: Record> Input<T> {
    /// The records still to come of this batch.
    #[inline]
    pub(crate) fn ahead(&self) -> &[T] {
        self.batch.as_slice()
    }

    /// The next record.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<T> {
        self.batch.next()
    }
}

impl<T: Record> Stateful for Input<T> {}

impl<T: Record> Step for Input<T> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        None
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        debug_assert_eq!(self.batch.len(), 0, "a batch is handed out whole before the next one comes");
        let batch: Box<dyn std::any::Any> = batch;
        match batch.downcast::<Vec<T>>() {
            Ok(batch) => {
                self.records_in += batch.len() as u64;
                self.batch = batch.into_iter();
            }
            Err(_) => unreachable!("both ends of an edge are made by one generic call, with one record type"),
        }
    }

    fn has_leftover(&mut self) -> bool {
        self.batch.len() > 0
    }

    fn is_within_record(&mut self) -> bool {
        false
    }

    fn rest_of_batch(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        let rest = self.batch.as_slice();
        if rest.is_empty() { Ok(None) } else { encode(&rest).map(Some) }
    }

    fn decode_batch(
        &mut self,
        bytes: &[u8],
        owned: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<Box<dyn Batch>, BoxError> {
        let mut records: Vec<T> = decode(bytes)?;
        if let Some(group) = self.group {
            records.retain(|record| owned.contains(group(record, max_parallelism)));
        }
        Ok(Box::new(records))
    }

    fn take_records_in(&mut self) -> u64 {
        std::mem::take(&mut self.records_in)
    }
}

impl<T: Record> Operator for Input<T> {
    type Out = T;

    #[inline]
    fn drive<S: FnMut(&mut Slice<'_>, T) -> Flow>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow {
        while self.batch.len() > 0 {
            let taken = slice.take(self.batch.len())?;
            for used in 1..=taken {
                let Some(record) = self.batch.next() else { break };
                if let Err(stop) = sink(slice, record) {
                    slice.give_back(taken - used);
                    return Err(stop);
                }
            }
        }
        Ok(())
    }
}
