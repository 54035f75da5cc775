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
    /// The run of the job. Greater than that of any run whose transactions the sink may be given, also if the job comes from a savepoint.
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
/// In the order of an attempt's life. "The newest checkpoint" is the newest that was durable when the process died, or the attempt.
///
/// | call | on which thread | when | after which crash it comes again | must |
/// |---|---|---|---|---|
/// | [`owner`](TwoPhaseSink::owner) | one that may block | as each attempt is opened, after the newest checkpoint was read and before anything is written anywhere | after any: it begins every attempt | change nothing |
/// | [`claim`](TwoPhaseSink::claim) | one that may block | once per attempt, when a checkpoint is durable (checkpoint 0, at the least) and before `recover` | after any, for the same job | be durable on return; do nothing if the place is this job's; fail, changing nothing, if it is another's |
/// | [`published`](TwoPhaseSink::published) | one that may block | as an attempt is opened that the host wants to go back to an older checkpoint, or to start from a savepoint, unless the place is unclaimed; before anything is written anywhere | after any: in the next attempt, as long as the host names the checkpoint | change nothing; say how far the sink has published, if it can tell |
/// | [`has_prepared`](TwoPhaseSink::has_prepared), [`has_begun`](TwoPhaseSink::has_begun) | one that may block | as a job is started from a savepoint, before anything is written anywhere: for each transaction and each writer's state that the savepoint holds | after any: in the next start from it, until the savepoint was taken over | change nothing; say whether what it names is at hand here, or published |
/// | [`abort`](TwoPhaseSink::abort) | one that may block | before the first `recover` of an attempt that follows another one in the same process: for each transaction that the one before prepared and the newest checkpoint does not name | after one before the new attempt was open: in the next attempt of the process. Never after the death of the process | never publish; do nothing the second time; not be relied on: an error is logged, and `recover` finds what is left |
/// | [`recover`](TwoPhaseSink::recover) | one that may block | once per attempt: after every call of the attempt before has returned, before the first `open` | after any; with the same transactions until a newer checkpoint is durable | publish what it is given, in this order, each once whatever was published before; remove what neither a transaction nor a writer's state names |
/// | [`open`](TwoPhaseSink::open) | one that may block, several at a time | once per attempt and subtask, after `recover` of every sink | after any, in the next attempt | give each subtask a writer of its own |
/// | [`SinkWriter::write`] | the subtask's, on the data path | per record | after any: for the records behind the newest checkpoint, to a new writer | be quick |
/// | [`SinkWriter::freeze`] | the subtask's, on the data path | at each barrier, behind the last record of its checkpoint | never for the same writer and checkpoint | be quick; hand over each record once; with `last` hold nothing back |
/// | [`pre_commit`](TwoPhaseSink::pre_commit) | one that may block; one call at a time for each subtask, beside its `write`s | after each `freeze`, in the order of the barriers, before the subtask acknowledges | never: what was frozen died, and its records are replayed unless the newest checkpoint names the transaction | make durable all that `commit` needs in another process; publish nothing |
/// | [`commit`](TwoPhaseSink::commit) | one that may block; one call at a time for each subtask, beside its `pre_commit`s | after a checkpoint that names the transaction is durable; in the order of the barriers; never in an attempt after the one that prepared it | after one behind that checkpoint, by way of `recover`, as long as the newest checkpoint names the transaction. Without a crash: after an error up to five times more, after growing pauses, before the attempt fails; and any number of times, also after it succeeded | publish all of it or nothing, durably; do nothing if it is published |
///
/// An error from `open`, `write`, `freeze` or `pre_commit` ends the attempt: the records will be replayed. A transaction whose checkpoint is aborted is
/// not lost and not given to `abort`: a later checkpoint carries it. What a *process* had prepared when it died, and no checkpoint names, is told to nobody: hence
/// the last duty of `recover`. If state is deleted (a job is cancelled), `claim` and `recover` come once more, and no `open`.
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

    /// Whether what `transaction` names is here, or was published: else a start from a savepoint that holds it is refused, or gives it up if the host says so. By default yes, unless the
    /// place is [`Unclaimed`](Ownership::Unclaimed); then [`recover`](Self::recover) must fail if it misses something. Changes nothing.
    fn has_prepared(&self, context: &SinkContext, transaction: &Self::Transaction) -> Result<bool, BoxError> {
        let _ = (context, transaction);
        Ok(self.owner()? != Ownership::Unclaimed)
    }

    /// The same for what a writer had begun and not prepared, if its state names any such thing. By default yes.
    fn has_begun(&self, context: &SinkContext, writer: &Self::WriterState) -> Result<bool, BoxError> {
        let _ = (context, writer);
        Ok(true)
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

    /// Gives up a transaction that was prepared by the attempt before and that no checkpoint will ever name: neither `commit` nor
    /// `recover` is given it. Does nothing unless overridden, since [`recover`](TwoPhaseSink::recover) removes what nobody names; what it can do is to give
    /// back at once what lies prepared elsewhere. An error is logged and ends nothing.
    fn abort(&self, transaction: &Self::Transaction) -> Result<(), BoxError> {
        let _ = transaction;
        Ok(())
    }
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
