//! The head of a chain that reads channels.

use crate::{
    operator::{Operator, Stateful, Step},
    record::{Batch, Record},
    slice::{Flow, Slice},
};

/// Hands out the records of the batch it was last given.
pub struct Input<T> {
    batch: std::vec::IntoIter<T>,
    records_in: u64,
}

impl<T> Input<T> {
    pub(crate) fn new() -> Self {
        Self { batch: Vec::new().into_iter(), records_in: 0 }
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
