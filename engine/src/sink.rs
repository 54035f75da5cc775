//! Where records go.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    error::BoxError,
    id::{Attempt, CheckpointId, JobId, SubtaskIndex},
};

/// Whose sink it is. Parts of it end up in file names.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The job.
    pub job: JobId,
    /// The job's name.
    pub job_name: String,
    /// The sink's `uid`.
    pub operator: String,
    /// The run of the job.
    pub attempt: Attempt,
    /// The checkpoint that this run started from.
    pub restored: CheckpointId,
    /// Where the job's state is kept, for error messages.
    pub state_place: String,
}

/// Whose a sink's place is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// No job has claimed it.
    Unclaimed,
    /// This job has.
    Claimed(JobId),
    /// The place cannot be marked: a start over with new state is not noticed, and publishes a second time.
    Untracked,
}

/// A sink that publishes exactly once: what was written between two barriers becomes visible when the checkpoint completes, all of it
/// or none.
///
/// # Contract
/// | call | on | when | comes again |
/// |---|---|---|---|
/// | [`owner`](TwoPhaseSink::owner) | any thread | at every start, before anything is written anywhere | at every start |
/// | [`claim`](TwoPhaseSink::claim) | any thread | at every start, after checkpoint 0; must be durable on return | at every start, with the same job |
/// | [`published`](TwoPhaseSink::published) | any thread | at a start that names an older checkpoint, before anything is written anywhere | at every such start |
/// | [`recover`](TwoPhaseSink::recover) | any thread | once per attempt, before its first writer is opened and after every call of the attempt before has returned | after every crash, with the same or newer transactions |
/// | [`open`](TwoPhaseSink::open) | any thread | once per subtask and attempt | in the next attempt |
/// | [`SinkWriter::write`] | the data path | per record | after a restart, for records after the checkpoint restored |
/// | [`SinkWriter::freeze`] | the data path | on each barrier | never for the same records |
/// | [`pre_commit`](TwoPhaseSink::pre_commit) | a blocking thread | after `freeze`; what it returns must survive a crash | never |
/// | [`commit`](TwoPhaseSink::commit) | a blocking thread | after a checkpoint that holds the transaction is durable; in the order of the barriers | any number of times, also after it succeeded: must then do nothing |
///
/// An error from `open`, `write`, `freeze` or `pre_commit` ends the attempt: the records will be replayed. A transaction whose checkpoint is aborted is
/// not lost: a later checkpoint carries it. A transaction that no checkpoint ever carried is told to nobody: `recover` must
/// remove what it finds that neither a transaction nor a writer's state names.
pub trait TwoPhaseSink<T>: Send + Sync + 'static {
    /// Takes the records of one subtask.
    type Writer: SinkWriter<T, Frozen = Self::Frozen, State = Self::WriterState>;
    /// What the writer hands over on a barrier.
    type Frozen: Send + 'static;
    /// Something prepared that can be published: names it, and is stored in checkpoints.
    type Transaction: Serialize + DeserializeOwned + Send + 'static;
    /// What the next writer must know of one that was cut off; `()` if nothing.
    type WriterState: Serialize + DeserializeOwned + Send + 'static;

    /// Whose the sink's place is. Changes nothing.
    fn owner(&self) -> Result<Ownership, BoxError>;

    /// Where the sink publishes to, for error messages.
    fn place(&self) -> String;

    /// Makes the place this job's.
    fn claim(&self, context: &SinkContext) -> Result<(), BoxError>;

    /// The newest checkpoint that this sink knows to have published something of, `None` if there is none or it cannot tell. A start from an older checkpoint
    /// than that is refused; one that cannot tell publishes rows twice, or refuses in [`recover`](Self::recover) when the newer checkpoints are gone. Changes nothing.
    fn published(&self, _context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        Ok(None)
    }

    /// Publishes `transactions`, keeps what `writers` name, and removes all else that an earlier attempt left.
    fn recover(
        &self,
        context: &SinkContext,
        transactions: Vec<Self::Transaction>,
        writers: &[Self::WriterState],
    ) -> Result<(), BoxError>;

    /// A writer for one subtask, going on from the states of the writers whose work it takes over (none at the first start).
    fn open(
        &self,
        context: &SinkContext,
        subtask: SubtaskIndex,
        restored: Vec<Self::WriterState>,
    ) -> Result<Self::Writer, BoxError>;

    /// Makes what was frozen durable, without making it visible. `None` if there is nothing to publish.
    fn pre_commit(&self, frozen: Self::Frozen) -> Result<Option<Self::Transaction>, BoxError>;

    /// Makes a transaction visible, durably.
    fn commit(&self, transaction: &Self::Transaction) -> Result<(), BoxError>;
}

/// Takes one subtask's records; see [`TwoPhaseSink`] for the contract.
pub trait SinkWriter<T>: Send + 'static {
    /// See [`TwoPhaseSink::Frozen`].
    type Frozen;
    /// See [`TwoPhaseSink::WriterState`].
    type State;

    /// Takes a record.
    fn write(&mut self, record: T) -> Result<(), BoxError>;

    /// Hands over everything that `checkpoint` is to publish, quickly, and says what the next writer must know if this one is cut off
    /// here. `last` is true when no record will follow (the input has ended, or the job is being stopped): nothing may be held back then.
    fn freeze(&mut self, checkpoint: CheckpointId, last: bool) -> Result<(Self::Frozen, Self::State), BoxError>;
}

/// A sink without transactions: after a restart it is given some records a second time. Hence the name of the method that adds one,
/// `sink_at_least_once`.
///
/// ```
/// use std::sync::mpsc;
/// use cofferdam_engine::{BoxError, Sink, SubtaskIndex};
///
/// /// Hands records to another part of the program.
/// struct Channel<T>(mpsc::SyncSender<T>);
///
/// impl<T: Send + Sync + 'static> Sink<T> for Channel<T> {
///     type Writer = Box<dyn FnMut(T) -> Result<(), BoxError> + Send>;
///
///     fn open(&self, _subtask: SubtaskIndex) -> Result<Self::Writer, BoxError> {
///         let sender = self.0.clone();
///         Ok(Box::new(move |record| Ok(sender.send(record)?)))
///     }
/// }
/// ```
pub trait Sink<T>: Send + Sync + 'static {
    /// Takes the records of one subtask.
    type Writer: FnMut(T) -> Result<(), BoxError> + Send + 'static;

    /// A writer for one subtask.
    fn open(&self, subtask: SubtaskIndex) -> Result<Self::Writer, BoxError>;
}
