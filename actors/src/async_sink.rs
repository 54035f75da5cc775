//! Sinks whose calls await.

use std::future::Future;

use cofferdam_engine::{BoxError, CheckpointId, Ownership, SinkContext, SinkWriter, SubtaskIndex, TwoPhaseSink};
use serde::{Serialize, de::DeserializeOwned};

use crate::block_on::block_on;

/// A [`TwoPhaseSink`] whose calls off the data path are asynchronous; [`Asynchronous`] makes it one. The contract is that of [`TwoPhaseSink`], call by call.
///
/// ```
/// use std::time::Duration;
/// use cofferdam::{AsyncTwoPhaseSink, Asynchronous, connector::{CollectFrozen, CollectSink, CollectTransaction, CollectWriter}, prelude::*};
///
/// /// Publishes to memory, and takes its time over it.
/// struct Slow(CollectSink<u64>);
///
/// impl AsyncTwoPhaseSink<u64> for Slow {
///     type Writer = CollectWriter<u64>;
///     type Frozen = CollectFrozen<u64>;
///     type Transaction = CollectTransaction;
///     type WriterState = ();
///
///     async fn owner(&self) -> Result<Ownership, BoxError> {
///         self.0.owner()
///     }
///
///     fn place(&self) -> String {
///         self.0.place()
///     }
///
///     async fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
///         self.0.claim(context)
///     }
///
///     async fn recover(&self, context: &SinkContext, due: Vec<CollectTransaction>, writers: &[()]) -> Result<(), BoxError> {
///         self.0.recover(context, due, writers)
///     }
///
///     fn open(&self, context: &SinkContext, subtask: SubtaskIndex, _: Vec<()>) -> Result<CollectWriter<u64>, BoxError> {
///         self.0.open(context, subtask, Vec::new())
///     }
///
///     async fn pre_commit(&self, frozen: CollectFrozen<u64>) -> Result<Option<CollectTransaction>, BoxError> {
///         self.0.pre_commit(frozen)
///     }
///
///     async fn commit(&self, transaction: &CollectTransaction) -> Result<(), BoxError> {
///         tokio::time::sleep(Duration::from_millis(5)).await;
///         self.0.commit(transaction)
///     }
/// }
///
/// let (sink, rows) = CollectSink::new();
/// let topology = Topology::new("numbers");
/// topology.source("numbers", Generator::bounded(10, |i| i)).sink("slow", Asynchronous(Slow(sink)));
/// Engine::builder().start_blocking(topology)?.wait_blocking()?;
/// assert_eq!(rows.snapshot().len(), 10);
/// # Ok::<(), Error>(())
/// ```
pub trait AsyncTwoPhaseSink<T>: Send + Sync + 'static {
    /// See [`TwoPhaseSink::Writer`].
    type Writer: SinkWriter<T, Frozen = Self::Frozen, State = Self::WriterState>;
    /// See [`TwoPhaseSink::Frozen`].
    type Frozen: Send + 'static;
    /// See [`TwoPhaseSink::Transaction`].
    type Transaction: Serialize + DeserializeOwned + Send + Sync + 'static;
    /// See [`TwoPhaseSink::WriterState`].
    type WriterState: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// See [`TwoPhaseSink::owner`].
    fn owner(&self) -> impl Future<Output = Result<Ownership, BoxError>> + Send;

    /// See [`TwoPhaseSink::place`].
    fn place(&self) -> String;

    /// See [`TwoPhaseSink::claim`].
    fn claim(&self, context: &SinkContext) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// See [`TwoPhaseSink::published`]. Cannot tell unless overridden.
    fn published(&self, context: &SinkContext) -> impl Future<Output = Result<Option<CheckpointId>, BoxError>> + Send {
        let _ = context;
        async { Ok(None) }
    }

    /// See [`TwoPhaseSink::has_prepared`].
    fn has_prepared(
        &self,
        context: &SinkContext,
        transaction: &Self::Transaction,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = (context, transaction);
        async { Ok(self.owner().await? != Ownership::Unclaimed) }
    }

    /// See [`TwoPhaseSink::has_begun`].
    fn has_begun(
        &self,
        context: &SinkContext,
        writer: &Self::WriterState,
    ) -> impl Future<Output = Result<bool, BoxError>> + Send {
        let _ = (context, writer);
        async { Ok(true) }
    }

    /// See [`TwoPhaseSink::recover`].
    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<Self::Transaction>,
        writers: &[Self::WriterState],
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// See [`TwoPhaseSink::open`].
    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<Self::WriterState>,
    ) -> Result<Self::Writer, BoxError>;

    /// See [`TwoPhaseSink::pre_commit`].
    fn pre_commit(
        &self,
        frozen: Self::Frozen,
    ) -> impl Future<Output = Result<Option<Self::Transaction>, BoxError>> + Send;

    /// See [`TwoPhaseSink::commit`].
    fn commit(&self, transaction: &Self::Transaction) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// See [`TwoPhaseSink::abort`]. Does nothing unless overridden.
    fn abort(&self, transaction: &Self::Transaction) -> impl Future<Output = Result<(), BoxError>> + Send {
        let _ = transaction;
        async { Ok(()) }
    }
}

/// An [`AsyncTwoPhaseSink`] as a [`TwoPhaseSink`]: each call waits for its future on the thread that was called, which is one that may block. The future is always
/// driven to its end and never dropped half-way.
///
/// In a job these threads have entered a tokio runtime of the job's, on which everything is enabled that the program has asked tokio for: `tokio::time` and `tokio::spawn`
/// work, and, with its feature `net`, `tokio::net`. A task that it spawns dies with the job. [`open`](TwoPhaseSink::open) and what drives a sink outside of a job, as harnesses and
/// simulations do, have no runtime: a future that needs one there must be given a handle to one of its own, which another
/// thread drives.
#[derive(Clone, Debug)]
pub struct Asynchronous<S>(
    /// The sink that awaits.
    pub S,
);

// Not `Handle::block_on`: it panics on a thread that drives a runtime, and harnesses may run on one.
impl<T, S: AsyncTwoPhaseSink<T>> TwoPhaseSink<T> for Asynchronous<S> {
    type Writer = S::Writer;
    type Frozen = S::Frozen;
    type Transaction = S::Transaction;
    type WriterState = S::WriterState;

    fn owner(&self) -> Result<Ownership, BoxError> {
        block_on(self.0.owner())
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        block_on(self.0.claim(context))
    }

    fn published(&self, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        block_on(self.0.published(context))
    }

    fn has_prepared(&self, context: &SinkContext, transaction: &S::Transaction) -> Result<bool, BoxError> {
        block_on(self.0.has_prepared(context, transaction))
    }

    fn has_begun(&self, context: &SinkContext, writer: &S::WriterState) -> Result<bool, BoxError> {
        block_on(self.0.has_begun(context, writer))
    }

    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<S::Transaction>,
        writers: &[S::WriterState],
    ) -> Result<(), BoxError> {
        block_on(self.0.recover(context, transactions, writers))
    }

    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<S::WriterState>,
    ) -> Result<S::Writer, BoxError> {
        self.0.open(context, subtask, restored)
    }

    fn pre_commit(&self, frozen: S::Frozen) -> Result<Option<S::Transaction>, BoxError> {
        block_on(self.0.pre_commit(frozen))
    }

    fn commit(&self, transaction: &S::Transaction) -> Result<(), BoxError> {
        block_on(self.0.commit(transaction))
    }

    fn abort(&self, transaction: &S::Transaction) -> Result<(), BoxError> {
        block_on(self.0.abort(transaction))
    }
}
