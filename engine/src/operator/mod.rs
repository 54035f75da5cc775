//! The steps of an operator chain.
//!
//! A step holds the step before it, as iterator adapters do; the first one is the chain's *head* (`Input` or
//! `SourceStep`). Records are driven through by [`Operator::drive`], one loop for the whole chain; everything else goes
//! through [`Step`], whose calls are passed up to the head, once per batch or rarer. See `docs/decisions/0001`.
//!
//! # Invariants
//! - A record given to a sink closure is accepted, even if the answer is `Stop`.
//! - What a step has left over after `Stop::Yield` is handed out first by the next `drive`.
//! - Snapshots are taken only while no step has anything left over.

pub(crate) mod alignment_member;
pub(crate) mod aside;
pub(crate) mod async_map;
pub(crate) mod co_process;
pub mod divert;
pub(crate) mod either;
pub(crate) mod emitted;
pub(crate) mod event_time;
pub(crate) mod filter;
pub(crate) mod flat_map;
pub(crate) mod fold;
pub(crate) mod ingestion_time;
pub(crate) mod input;
pub(crate) mod inspect;
pub(crate) mod key_by;
pub(crate) mod keyed;
pub(crate) mod map;
pub(crate) mod pane_window;
pub(crate) mod part;
pub(crate) mod process;
pub(crate) mod process_operator;
pub(crate) mod process_timed;
pub(crate) mod processing_time;
pub(crate) mod reduce;
pub(crate) mod requests;
pub(crate) mod source;
pub(crate) mod split_clock;
pub(crate) mod timed;
pub(crate) mod try_map;

use std::{collections::BTreeMap, sync::Arc};

pub use self::input::Input;
use crate::{
    checkpoint::{
        snapshot::{CheckpointMetadata, OperatorSnapshot, StateDelta},
        store::StateReader,
    },
    element::Watermark,
    error::{BoxError, Error},
    fail_point::FailPoints,
    failed_records::{FailedRecords, RecordId},
    id::{AlignmentGroup, Attempt, CheckpointId, JobId, ProcessingTime, SubtaskIndex, WallTime},
    key_group::KeyGroupRange,
    operator::split_clock::{Quiet, SplitTime, StoredClock},
    panic_site,
    record::Batch,
    request::RequestId,
    slice::{Flow, Slice, Stop},
    state::HeapShare,
    subtask::SubtaskEffect,
    time::{Stamp, Timestamp},
    topology::graph::StepIndex,
};

/// A step that records flow through.
pub trait Operator: Step + 'static {
    /// What it gives to the next step.
    type Out: 'static;
    /// What these records carry of time.
    type Time: Stamp;

    /// Gives records with their stamps to `sink` until there is no more input (`Ok`), or `sink` or the slice stops it.
    fn drive<S>(&mut self, slice: &mut Slice<'_>, sink: &mut S) -> Flow
    where
        S: FnMut(&mut Slice<'_>, Self::Out, Self::Time) -> Flow;
}

/// The rare calls on a step.
pub trait Step: Stateful {
    /// The step before this one; `None` for the head.
    fn upstream(&mut self) -> Option<&mut dyn Step>;

    /// Gives the head a batch. Only heads that read channels take one.
    fn feed(&mut self, batch: Box<dyn Batch>) {
        if let Some(upstream) = self.upstream() {
            upstream.feed(batch);
        }
    }

    /// Whether a step would hand out records without new input, left over from earlier.
    fn has_leftover(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.has_leftover())
    }

    /// Whether a record that has left the head is still being handed out. While it is, no snapshot can be taken; between two records one can, with
    /// [the rest](Self::rest_of_batch) of the batch.
    fn is_within_record(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.is_within_record())
    }

    /// The head's records that have not left it, encoded; `None` if there is none.
    fn rest_of_batch(&mut self) -> Result<Option<Vec<u8>>, BoxError> {
        self.upstream().map_or(Ok(None), |upstream| upstream.rest_of_batch())
    }

    /// Decodes a batch that was in flight to the head. On an edge that goes by key, only those records whose key group, of `max_parallelism`, is in `owned`.
    fn decode_batch(
        &mut self,
        bytes: &[u8],
        owned: KeyGroupRange,
        max_parallelism: u16,
    ) -> Result<Box<dyn Batch>, BoxError> {
        match self.upstream() {
            Some(upstream) => upstream.decode_batch(bytes, owned, max_parallelism),
            None => Err("this chain reads no channels".into()),
        }
    }

    /// What the head, if it is a source, can do next.
    fn source_status(&mut self) -> Option<SourceStatus> {
        self.upstream().and_then(|upstream| upstream.source_status())
    }

    /// Makes a source end before its next record.
    fn end_source(&mut self) {
        if let Some(upstream) = self.upstream() {
            upstream.end_source();
        }
    }

    /// Where the head, if it is a source, is: the split being read and the place after the last record, encoded.
    fn source_position(&mut self) -> Option<Result<Vec<u8>, BoxError>> {
        self.upstream().and_then(|upstream| upstream.source_position())
    }

    /// Shows the splits that the head, if it is a source, has open: the number of each within the subtask, and how long its reader has had nothing, if it has none now.
    /// Whether others wait to be opened; `None` if the head is no source.
    fn splits(&mut self, visit: &mut dyn FnMut(u32, Option<Quiet>)) -> Option<bool> {
        self.upstream().and_then(|upstream| upstream.splits(visit))
    }

    /// Holds the splits that are open and of which `is_held` says so, by their numbers, and lets go of the others: the readers of those that are held are not asked. Whether any is.
    fn hold_splits(&mut self, is_held: &mut dyn FnMut(u32) -> bool) -> bool {
        self.upstream().is_some_and(|upstream| upstream.hold_splits(is_held))
    }

    /// What a step has to say to its alignment group, of how far the slowest of its splits is.
    fn source_time(&mut self, now: ProcessingTime) -> Option<(AlignmentGroup, Watermark)> {
        self.upstream().and_then(|upstream| upstream.source_time(now))
    }

    /// How far the slowest of the others in an alignment group is.
    fn limit(&mut self, group: AlignmentGroup, slowest: Timestamp) {
        if let Some(upstream) = self.upstream() {
            upstream.limit(group, slowest);
        }
    }

    /// What the restored checkpoint has of the clocks of the step at `address`, for each split that is open or waits to be, by its number.
    fn restored_clocks(&mut self, address: &str) -> Vec<Option<StoredClock>> {
        self.upstream().map_or(Vec::new(), |upstream| upstream.restored_clocks(address))
    }

    /// Takes from the steps before what it needs of them. Called once, when all are open.
    fn begin(&mut self, _context: &OpenContext) -> Result<(), Error> {
        Ok(())
    }

    /// Whether state that no checkpoint holds takes more of the heap than its share.
    fn heap_is_spent(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.heap_is_spent())
    }

    /// The watermark behind this step, given the one at the chain's head. Never falls. A step learns of time by this call, and one that has something to do first,
    /// or to give, holds the watermark back until that has left.
    fn watermark(&mut self, head: Watermark, slice: &Slice<'_>) -> Watermark {
        self.upstream().map_or(head, |upstream| upstream.watermark(head, slice))
    }

    /// Whether the watermark behind this step can move without one at the head: by records, or by what was done. Always the same answer.
    fn moves_time(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.moves_time())
    }

    /// Whether there is work at hand that is *state*, such as timers that are due: unlike what is left over it need not be done before a snapshot.
    fn has_due(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.has_due())
    }

    /// Whether some of what is due comes before every record that has not come yet. A barrier need not wait for it.
    fn holds_records(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.holds_records())
    }

    /// Whether requests are under way. The end waits for them, a snapshot does not.
    fn is_pending(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.is_pending())
    }

    /// Whether no input can be taken before something that is under way returns.
    fn is_full(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.is_full())
    }

    /// Whether a step asks the outside. Always the same answer.
    fn asks(&mut self) -> bool {
        self.upstream().is_some_and(|upstream| upstream.asks())
    }

    /// Takes what is to be asked and to be forgotten.
    fn take_requests(&mut self, effects: &mut Vec<SubtaskEffect>) {
        if let Some(upstream) = self.upstream() {
            upstream.take_requests(effects);
        }
    }

    /// Something that was asked has been answered.
    fn answered(&mut self, request: RequestId) {
        if let Some(upstream) = self.upstream() {
            upstream.answered(request);
        }
    }

    /// When the clock makes something due, first of all steps: then a turn is needed. A step asks those before it, too.
    fn wake_at(&mut self) -> Option<ProcessingTime> {
        self.upstream().and_then(|upstream| upstream.wake_at())
    }

    /// Records dropped as late since the last call, by this step and those before it.
    fn take_late(&mut self) -> u64 {
        self.upstream().map_or(0, |upstream| upstream.take_late())
    }

    /// Records that entered at the head since the last call.
    fn take_records_in(&mut self) -> u64 {
        self.upstream().map_or(0, |upstream| upstream.take_records_in())
    }
}

/// What a source can do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// It may have a record.
    Ready,
    /// It has none before this moment.
    NotBefore(ProcessingTime),
    /// It has none before others in its alignment group have come after.
    Held,
    /// It has none ever again.
    Ended,
}

/// A part of a chain that has a share in snapshots. Most have none.
pub trait Stateful: Send {
    /// Restores state, opens readers and writers. Called once, before anything else; may block.
    fn open(&mut self, _context: &OpenContext) -> Result<(), Error> {
        Ok(())
    }

    /// Adds this part's share.
    fn snapshot(&mut self, _snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        Ok(())
    }

    /// A checkpoint at or after `checkpoint` is durable.
    fn completed(&mut self, _checkpoint: CheckpointId) {}
}

/// Where a chain runs and what it starts from.
#[derive(Clone)]
pub struct OpenContext {
    /// The job.
    pub job: JobId,
    /// The job's name.
    pub job_name: Arc<str>,
    /// The run of the job.
    pub attempt: Attempt,
    /// Which parallel instance of the chain.
    pub subtask: SubtaskIndex,
    /// How many there are.
    pub parallelism: u32,
    /// The number of key groups.
    pub max_parallelism: u16,
    /// The checkpoint restored.
    pub restored: Arc<CheckpointMetadata>,
    /// Some chain of the job had another number of subtasks then: what came from one subtask may come from another now.
    pub is_rescaled: bool,
    /// Its keyed state.
    pub reader: Arc<dyn StateReader>,
    /// What each keyed state may take of the heap, if there is a limit.
    pub heap_share: Option<HeapShare>,
    /// Where state is kept, for messages.
    pub state_place: Arc<str>,
    /// How often records have failed in attempts before. None has, until the driver says so.
    pub failed_records: Arc<FailedRecords>,
    /// Where a harness makes it fail.
    pub fail_points: FailPoints,
}

impl OpenContext {
    /// The key groups that belong to this subtask.
    pub fn key_groups(&self) -> KeyGroupRange {
        KeyGroupRange::of_subtask(self.subtask, self.parallelism, self.max_parallelism)
    }

    /// What the restored checkpoint has for operator `uid`, one for each subtask that took it. Checkpoint 0 has something for each operator.
    pub fn operator_snapshots(&self, uid: &str) -> &[OperatorSnapshot] {
        self.restored.operators.iter().find(|operator| operator.uid == uid).map_or(&[], |operator| &operator.subtasks)
    }
}

/// Collects the synchronous part of a snapshot.
pub struct SnapshotBuilder {
    /// The checkpoint.
    pub checkpoint: CheckpointId,
    /// No record will follow: the input has ended, or the job is being stopped.
    pub last: bool,
    /// When it is taken.
    pub time: WallTime,
    /// Keyed state not known to be stored, oldest first.
    pub deltas: Vec<Arc<StateDelta>>,
    /// Keyed state in all, encoded, in bytes: what older checkpoints have stored of it included.
    pub bytes_full: u64,
    /// Other state, by `uid`.
    pub operators: Vec<(String, OperatorSnapshot)>,
    /// The clocks of steps behind a source, by the number of their split: stored with it.
    pub(crate) split_times: BTreeMap<u32, Vec<SplitTime>>,
    /// A two-phase sink's work before the acknowledgement.
    pub pre_commit: Option<PreCommit>,
}

impl SnapshotBuilder {
    /// Nothing yet.
    pub(crate) fn new(checkpoint: CheckpointId, last: bool, time: WallTime) -> Self {
        Self {
            checkpoint,
            last,
            time,
            deltas: Vec::new(),
            bytes_full: 0,
            operators: Vec::new(),
            split_times: BTreeMap::new(),
            pre_commit: None,
        }
    }
}

/// Makes a sink's frozen records durable and describes them; blocks.
pub type PreCommit = Box<dyn FnOnce() -> Result<Option<Vec<u8>>, BoxError> + Send>;

/// Calls `visit` on the last step and each one before it, as long as it succeeds.
pub(crate) fn each_step<E>(
    last: &mut dyn Step,
    mut visit: impl FnMut(&mut dyn Step) -> Result<(), E>,
) -> Result<(), E> {
    let mut step = Some(last);
    while let Some(current) = step {
        visit(current)?;
        step = current.upstream();
    }
    Ok(())
}

/// An error and the step of the chain that it came from.
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct StepError {
    pub(crate) step: StepIndex,
    pub(crate) cause: BoxError,
}

/// A panic that was caught away from the subtask, and the step that it came from.
#[derive(Debug, thiserror::Error)]
#[error("panicked: {message}")]
pub(crate) struct StepPanic {
    pub(crate) step: StepIndex,
    pub(crate) message: String,
}

/// A failure that belongs to one record. The cause is a [`StepError`] or a [`StepPanic`].
#[derive(Debug, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct RecordError {
    pub(crate) record: RecordId,
    pub(crate) cause: BoxError,
}

/// Calls user code of `step` where a panic would not reach the subtask by itself.
pub(crate) fn call_away<R>(step: StepIndex, code: impl FnOnce() -> Result<R, BoxError>) -> Result<R, BoxError> {
    match panic_site::catch(code) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(cause)) => Err(Box::new(StepError { step, cause })),
        Err((_, message)) => Err(Box::new(StepPanic { step, message })),
    }
}

impl StepError {
    pub(crate) fn stop(step: StepIndex, cause: BoxError) -> Stop {
        Stop::Failed(Box::new(Self { step, cause }))
    }
}
