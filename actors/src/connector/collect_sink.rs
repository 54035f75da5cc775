//! A sink that publishes to memory.

use std::{collections::BTreeSet, sync::Arc};

use cofferdam_engine::{
    Attempt, BoxError, CheckpointId, JobId, Ownership, Record, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// Collects records into a vector, exactly once: for tests. A record is in it when its checkpoint has completed.
///
/// A clone publishes to the same rows, so that a job can be started again within one test.
///
/// ```
/// use cofferdam::connector::CollectSink;
///
/// let (sink, rows) = CollectSink::<u64>::new();
/// // ... .sink("numbers", sink), and when the job has finished:
/// assert!(rows.snapshot().is_empty());
/// # drop(sink);
/// ```
#[derive(Debug)]
pub struct CollectSink<T> {
    published: Arc<Mutex<Published<T>>>,
}

/// What a [`CollectSink`] has published.
#[derive(Debug)]
pub struct Collected<T> {
    published: Arc<Mutex<Published<T>>>,
}

#[derive(Debug)]
struct Published<T> {
    owner: Option<JobId>,
    rows: Vec<T>,
    /// What has been published; kept though the rows may have been taken. The same key twice is the same rows.
    transactions: BTreeSet<TransactionId>,
}

/// No two transactions of a job share one: attempts are never repeated, checkpoints not within one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct TransactionId {
    operator: String,
    checkpoint: CheckpointId,
    attempt: Attempt,
    subtask: SubtaskIndex,
}

/// Rows that a checkpoint is to publish.
#[derive(Debug, Serialize, Deserialize)]
pub struct CollectTransaction {
    id: TransactionId,
    rows: Vec<u8>,
}

/// What a [`CollectWriter`] hands over on a barrier.
#[derive(Debug)]
pub struct CollectFrozen<T> {
    id: TransactionId,
    rows: Vec<T>,
}

/// Takes one subtask's records for a [`CollectSink`].
#[derive(Debug)]
pub struct CollectWriter<T> {
    operator: String,
    attempt: Attempt,
    subtask: SubtaskIndex,
    rows: Vec<T>,
}

impl<T> CollectSink<T> {
    /// The sink, and where its rows appear.
    pub fn new() -> (Self, Collected<T>) {
        let published = Published { owner: None, rows: Vec::new(), transactions: BTreeSet::new() };
        let sink = Self { published: Arc::new(Mutex::new(published)) };
        let rows = Collected { published: sink.published.clone() };
        (sink, rows)
    }
}

impl<T> Collected<T> {
    /// The rows so far: those of one subtask in their order.
    pub fn snapshot(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.published.lock().rows.clone()
    }

    /// The rows since the last time.
    pub fn take(&self) -> Vec<T> {
        std::mem::take(&mut self.published.lock().rows)
    }
}

impl<T> Clone for CollectSink<T> {
    fn clone(&self) -> Self {
        Self { published: self.published.clone() }
    }
}

impl<T> Clone for Collected<T> {
    fn clone(&self) -> Self {
        Self { published: self.published.clone() }
    }
}

impl<T: Record> TwoPhaseSink<T> for CollectSink<T> {
    type Writer = CollectWriter<T>;
    type Frozen = CollectFrozen<T>;
    type Transaction = CollectTransaction;
    type WriterState = ();

    fn owner(&self) -> Result<Ownership, BoxError> {
        Ok(self.published.lock().owner.map_or(Ownership::Untracked, Ownership::Claimed))
    }

    fn place(&self) -> String {
        "memory".to_string()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        match *self.published.lock().owner.get_or_insert(context.job) {
            owner if owner == context.job => Ok(()),
            owner => Err(format!("the rows in memory belong to job {owner}, and not to job {}", context.job).into()),
        }
    }

    fn published(&self, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        let published = self.published.lock();
        let mine = published.transactions.iter().filter(|transaction| transaction.operator == context.operator);
        Ok(mine.map(|transaction| transaction.checkpoint).max())
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<CollectTransaction>,
        _writers: &[()],
    ) -> Result<(), BoxError> {
        self.claim(context)?;
        for published in &self.published.lock().transactions {
            let is_newer = published.operator == context.operator && published.checkpoint > context.restored;
            if is_newer && !transactions.iter().any(|transaction| transaction.id == *published) {
                let (now, then) = (context.restored, published.checkpoint);
                let message = format!(
                    "the job's state went back in time: it is of checkpoint {now}, rows of {then} were published"
                );
                return Err(message.into());
            }
        }
        transactions.iter().try_for_each(|transaction| self.commit(transaction))
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        _restored: Vec<()>,
    ) -> Result<CollectWriter<T>, BoxError> {
        Ok(CollectWriter { operator: context.operator.clone(), attempt: context.attempt, subtask, rows: Vec::new() })
    }

    /// The rows go into the transaction itself, and with it into the checkpoint.
    fn pre_commit(&self, CollectFrozen { id, rows }: CollectFrozen<T>) -> Result<Option<CollectTransaction>, BoxError> {
        if rows.is_empty() {
            return Ok(None);
        }
        Ok(Some(CollectTransaction { id, rows: postcard::to_stdvec(&rows)? }))
    }

    fn commit(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
        let rows: Vec<T> = postcard::from_bytes(&transaction.rows)?;
        let mut published = self.published.lock();
        if published.transactions.insert(transaction.id.clone()) {
            published.rows.extend(rows);
        }
        Ok(())
    }
}

impl<T: Record> SinkWriter<T> for CollectWriter<T> {
    type Frozen = CollectFrozen<T>;
    type State = ();

    #[inline]
    fn write(&mut self, record: T) -> Result<(), BoxError> {
        self.rows.push(record);
        Ok(())
    }

    fn freeze(&mut self, checkpoint: CheckpointId, _last: bool) -> Result<(CollectFrozen<T>, ()), BoxError> {
        let id =
            TransactionId { operator: self.operator.clone(), checkpoint, attempt: self.attempt, subtask: self.subtask };
        Ok((CollectFrozen { id, rows: std::mem::take(&mut self.rows) }, ()))
    }
}
