//! The head of a chain that reads channels.

use crate::{
    codec::{decode, encode},
    error::BoxError,
    key_group::{KeyGroup, KeyGroupRange},
    operator::{Operator, Stateful, Step, either::batch_of},
    record::{Batch, Record},
    slice::{Flow, Slice},
    time::{NoTime, Stamp, Stamped},
};

/// Hands out the records of the batch it was last given.
pub struct Input<T, S = NoTime> {
    batch: std::vec::IntoIter<Stamped<T, S>>,
    records_in: u64,
    /// The key group of a record, on an edge that goes by key.
    group: Option<GroupOf<T>>,
}

/// Finds a record's key group; given the number of key groups.
pub(crate) type GroupOf<T> = fn(&T, u16) -> KeyGroup;

impl<T, S> Input<T, S> {
    pub(crate) fn new(group: Option<GroupOf<T>>) -> Self {
        Self { batch: Vec::new().into_iter(), records_in: 0, group }
    }
}

impl<T: Record, S: Stamp> Input<T, S> {
    /// The records still to come of this batch.
    #[inline]
    pub(crate) fn ahead(&self) -> &[Stamped<T, S>] {
        self.batch.as_slice()
    }

    /// The next record.
    #[inline]
    pub(crate) fn next(&mut self) -> Option<Stamped<T, S>> {
        self.batch.next()
    }
}

impl<T: Record, S: Stamp> Stateful for Input<T, S> {}

impl<T: Record, S: Stamp> Step for Input<T, S> {
    fn upstream(&mut self) -> Option<&mut dyn Step> {
        None
    }

    fn feed(&mut self, batch: Box<dyn Batch>) {
        debug_assert_eq!(self.batch.len(), 0, "a batch is handed out whole before the next one comes");
        let batch = batch_of(batch);
        self.records_in += batch.len() as u64;
        self.batch = batch.into_iter();
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
        let mut records: Vec<Stamped<T, S>> = decode(bytes)?;
        if let Some(group) = self.group {
            records.retain(|stamped| owned.contains(group(&stamped.record, max_parallelism)));
        }
        Ok(Box::new(records))
    }

    fn take_records_in(&mut self) -> u64 {
        std::mem::take(&mut self.records_in)
    }
}

impl<T: Record, Z: Stamp> Operator for Input<T, Z> {
    type Out = T;
    type Time = Z;

    #[inline]
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, T, Z) -> Flow,
    {
        while self.batch.len() > 0 {
            let taken = slice.take(self.batch.len())?;
            for used in 1..=taken {
                let Some(Stamped { record, time }) = self.batch.next() else { break };
                if let Err(stop) = sink(slice, record, time) {
                    slice.give_back(taken - used);
                    return Err(stop);
                }
            }
        }
        Ok(())
    }
}
