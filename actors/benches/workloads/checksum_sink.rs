//! A two-phase sink that folds its rows into a checksum that does not depend on their order.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use cofferdam::prelude::*;
use serde::{Deserialize, Serialize};

/// A wrapping sum, and the number of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checksum {
    pub sum: u64,
    pub rows: u64,
}

impl Checksum {
    #[inline]
    pub fn add(&mut self, value: u64) {
        self.sum = self.sum.wrapping_add(value);
        self.rows += 1;
    }

    /// Of the rows of all of them.
    pub fn of_all<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        all.fold(Self::default(), |sum, one| Self { sum: sum.sum.wrapping_add(one.sum), rows: sum.rows + one.rows })
    }
}

/// What one subtask wrote for one checkpoint.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Transaction {
    pub subtask: u32,
    pub checkpoint: u64,
    pub checksum: Checksum,
}

/// See the module. `F` is a row's share.
pub struct ChecksumSink<F> {
    share: F,
    published: Arc<Mutex<BTreeMap<(u32, u64), Checksum>>>,
}

impl<F> ChecksumSink<F> {
    pub fn new(share: F) -> Self {
        Self { share, published: Arc::default() }
    }

    /// Call after the job.
    pub fn total(&self) -> impl FnOnce() -> Checksum + use<F> {
        let published = self.published.clone();
        move || Checksum::of_all(published.lock().unwrap().values())
    }
}

pub struct Writer<F> {
    share: F,
    subtask: u32,
    checksum: Checksum,
}

impl<T: 'static, F> TwoPhaseSink<T> for ChecksumSink<F>
where
    F: Fn(&T) -> u64 + Clone + Send + Sync + 'static,
{
    type Writer = Writer<F>;
    type Frozen = Transaction;
    type Transaction = Transaction;
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(Ownership::Untracked)
    }

    fn place(&self) -> String {
        "memory".to_string()
    }

    fn claim(&self, _context: &SinkContext) -> Result<(), BoxError> {
        Ok(())
    }

    fn recover(&self, _context: &SinkContext, transactions: Vec<Transaction>, _writers: &[()]) -> Result<(), BoxError> {
        transactions.iter().try_for_each(|transaction| TwoPhaseSink::<T>::commit(self, transaction))
    }

    fn open(&self, _context: &SinkContext, subtask: SubtaskIndex, _restored: Vec<()>) -> Result<Writer<F>, BoxError> {
        Ok(Writer { share: self.share.clone(), subtask: subtask.0, checksum: Checksum::default() })
    }

    fn pre_commit(&self, frozen: Transaction) -> Result<Option<Transaction>, BoxError> {
        Ok((frozen.checksum.rows > 0).then_some(frozen))
    }

    fn commit(&self, transaction: &Transaction) -> Result<(), BoxError> {
        self.published.lock().unwrap().insert((transaction.subtask, transaction.checkpoint), transaction.checksum);
        Ok(())
    }
}

impl<T: 'static, F> SinkWriter<T> for Writer<F>
where
    F: Fn(&T) -> u64 + Clone + Send + Sync + 'static,
{
    type Frozen = Transaction;
    type State = ();

    #[inline]
    fn write(&mut self, record: T) -> Result<(), BoxError> {
        self.checksum.add((self.share)(&record));
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, _last: bool) -> Result<(Transaction, ()), BoxError> {
        let checksum = std::mem::take(&mut self.checksum);
        Ok((Transaction { subtask: self.subtask, checkpoint: checkpoint.0, checksum }, ()))
    }
}
