//! Chains that end in a sink.

use std::sync::Arc;

use crate::{
    checkpoint::snapshot::{OperatorSnapshot, PreparedTransaction},
    codec::{decode, encode},
    error::{BoxError, Error, Location},
    fail_point::{FailPoints, Point},
    id::CheckpointId,
    mutation::{self, Mutation},
    operator::{OpenContext, SnapshotBuilder, Stateful, StepError, call_away},
    output::{Commit, Tail, TailControl},
    panic_site::running,
    sink::{Ownership, Sink, SinkContext, SinkWriter, TwoPhaseSink},
    slice::{Flow, Stop},
    time::Stamp,
    topology::graph::StepIndex,
};

/// The sink as the chain's [`OpenContext`] shows it to user code.
pub(crate) fn sink_context(uid: &str, context: &OpenContext) -> SinkContext {
    SinkContext {
        job: context.job,
        job_name: context.job_name.to_string(),
        operator: uid.to_string(),
        attempt: context.attempt,
        restored: context.restored.checkpoint,
        state_place: context.state_place.to_string(),
    }
}

/// A two-phase sink's part of a subtask.
pub(crate) struct TwoPhaseTail<T, S: TwoPhaseSink<T>> {
    step: StepIndex,
    uid: Arc<str>,
    sink: Arc<S>,
    writer: Option<S::Writer>,
    records_out: u64,
    fail_points: FailPoints,
}

impl<T, S: TwoPhaseSink<T>> TwoPhaseTail<T, S> {
    pub(crate) fn new(step: StepIndex, uid: Arc<str>, sink: Arc<S>) -> Self {
        Self { step, uid, sink, writer: None, records_out: 0, fail_points: FailPoints::default() }
    }
}

impl<T: 'static, S: TwoPhaseSink<T>> Stateful for TwoPhaseTail<T, S> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let snapshots = context.operator_snapshots(&self.uid);
        let mine = snapshots.iter().enumerate().filter(|(i, _)| *i as u32 % context.parallelism == context.subtask.0);
        let location =
            Location { job: context.job_name.to_string(), operator: self.uid.to_string(), subtask: context.subtask };
        let mut restored = Vec::new();
        for (_, snapshot) in mine.filter(|(_, snapshot)| !snapshot.state.is_empty()) {
            restored.push(decode_writer_state::<T, S>(&self.uid, &snapshot.state, &context.state_place)?);
        }
        self.fail_points = context.fail_points.clone();
        let open = || self.sink.open(&sink_context(&self.uid, context), context.subtask, restored);
        let (points, checkpoint) = ([Point::OpenBefore, Point::OpenAfter], context.restored.checkpoint);
        let writer = self.fail_points.around(points, None, checkpoint, || running(self.step, open));
        self.writer = Some(writer.map_err(|error| Error::operator(&location, error))?);
        Ok(())
    }

    fn snapshot(&mut self, snapshot: &mut SnapshotBuilder) -> Result<(), BoxError> {
        let writer = self.writer.as_mut().ok_or("the sink was not opened")?;
        let (checkpoint, last) = (snapshot.checkpoint, snapshot.last);
        let freeze = || running(self.step, || writer.freeze(checkpoint, last));
        let frozen = self.fail_points.around([Point::FreezeBefore, Point::FreezeAfter], None, checkpoint, freeze);
        let (frozen, state) = frozen.map_err(|cause| StepError { step: self.step, cause })?;
        let operator = OperatorSnapshot { state: encode(&state)?, transactions: Vec::new() };
        snapshot.operators.push((self.uid.to_string(), operator));
        let (sink, step, fail_points) = (self.sink.clone(), self.step, self.fail_points.clone());
        snapshot.pre_commit = Some(Box::new(move || {
            let pre_commit = || {
                let transaction = sink.pre_commit(frozen)?;
                if mutation::is(Mutation::SinkCommitsOnPreCommit) {
                    transaction.iter().try_for_each(|transaction| sink.commit(transaction))?;
                }
                transaction.map(|transaction| encode(&transaction)).transpose()
            };
            let points = [Point::PreCommitBefore, Point::PreCommitAfter];
            call_away(step, || fail_points.around(points, None, checkpoint, pre_commit))
        }));
        Ok(())
    }
}

impl<T: 'static, Z: Stamp, S: TwoPhaseSink<T>> Tail<T, Z> for TwoPhaseTail<T, S> {
    #[inline]
    fn accept(&mut self, record: T, _time: Z) -> Flow {
        self.records_out += 1;
        match &mut self.writer {
            Some(writer) => {
                running(self.step, || writer.write(record)).map_err(|error| StepError::stop(self.step, error))
            }
            None => Err(Stop::Failed("the sink was not opened".into())),
        }
    }
}

impl<T: 'static, S: TwoPhaseSink<T>> TailControl for TwoPhaseTail<T, S> {
    fn take_records_out(&mut self) -> u64 {
        std::mem::take(&mut self.records_out)
    }

    fn two_phase_sink(&self) -> Option<&str> {
        Some(&self.uid)
    }

    fn publication(&self, due: Vec<PreparedTransaction>) -> Commit {
        let (sink, step, fail_points) = (self.sink.clone(), self.step, self.fail_points.clone());
        Box::new(move || {
            due.iter().try_for_each(|transaction| {
                let commit = || sink.commit(&decode(&transaction.bytes)?);
                let points = [Point::CommitBefore, Point::CommitAfter];
                call_away(step, || fail_points.around(points, None, transaction.checkpoint, commit))
            })
        })
    }
}

fn decode_writer_state<T, S: TwoPhaseSink<T>>(uid: &str, bytes: &[u8], place: &str) -> Result<S::WriterState, Error> {
    decode(bytes).map_err(|error| unreadable(uid, "the writer's state", place, &error))
}

fn unreadable(uid: &str, what: &str, place: &str, error: &BoxError) -> Error {
    Error::refused(format!(
        "{what} of sink '{uid}' in {place} cannot be read ({error}): it was written by another type of sink; \
         start with the sink it belongs to, or delete the state and the output to start over"
    ))
}

/// A two-phase sink as the plan sees it: with its types hidden.
pub(crate) trait SinkRecovery: Send + Sync {
    fn owner(&self) -> Result<Ownership, BoxError>;
    fn place(&self) -> String;
    fn claim(&self, context: &SinkContext) -> Result<(), BoxError>;
    fn abort(&self, transaction: &[u8]) -> Result<(), BoxError>;
    fn published(&self, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError>;
    fn has_prepared(&self, context: &SinkContext, transaction: &[u8]) -> Result<bool, BoxError>;
    fn has_begun(&self, context: &SinkContext, writer: &[u8]) -> Result<bool, BoxError>;
    /// An error that is an [`Error`] is a refusal.
    fn recover(&self, context: &SinkContext, snapshots: &[OperatorSnapshot]) -> Result<(), BoxError>;
}

/// Ties a sink to its record type.
pub(crate) struct Recovery<T, S> {
    pub(crate) sink: Arc<S>,
    pub(crate) record: std::marker::PhantomData<fn(T)>,
}

impl<T: 'static, S: TwoPhaseSink<T>> SinkRecovery for Recovery<T, S> {
    fn owner(&self) -> Result<Ownership, BoxError> {
        self.sink.owner()
    }

    fn place(&self) -> String {
        self.sink.place()
    }

    fn claim(&self, context: &SinkContext) -> Result<(), BoxError> {
        self.sink.claim(context)
    }

    fn abort(&self, transaction: &[u8]) -> Result<(), BoxError> {
        self.sink.abort(&decode(transaction)?)
    }

    fn published(&self, context: &SinkContext) -> Result<Option<CheckpointId>, BoxError> {
        self.sink.published(context)
    }

    fn has_prepared(&self, context: &SinkContext, transaction: &[u8]) -> Result<bool, BoxError> {
        self.sink.has_prepared(context, &decode(transaction)?)
    }

    fn has_begun(&self, context: &SinkContext, writer: &[u8]) -> Result<bool, BoxError> {
        self.sink.has_begun(context, &decode(writer)?)
    }

    fn recover(&self, context: &SinkContext, snapshots: &[OperatorSnapshot]) -> Result<(), BoxError> {
        let uid = &context.operator;
        let mut prepared: Vec<_> = snapshots.iter().flat_map(|snapshot| &snapshot.transactions).collect();
        prepared.sort_by_key(|transaction| transaction.checkpoint);
        let mut transactions = Vec::new();
        for transaction in prepared {
            let decoded = decode(&transaction.bytes);
            transactions.push(
                decoded.map_err(|error| unreadable(uid, "a prepared transaction", &context.state_place, &error))?,
            );
        }
        let mut writers = Vec::new();
        for snapshot in snapshots.iter().filter(|snapshot| !snapshot.state.is_empty()) {
            writers.push(decode_writer_state::<T, S>(uid, &snapshot.state, &context.state_place)?);
        }
        self.sink.recover(context, transactions, &writers)
    }
}

/// A sink without transactions.
pub(crate) struct AtLeastOnceTail<T, S: Sink<T>> {
    step: StepIndex,
    uid: Arc<str>,
    sink: Arc<S>,
    writer: Option<S::Writer>,
    records_out: u64,
}

impl<T, S: Sink<T>> AtLeastOnceTail<T, S> {
    pub(crate) fn new(step: StepIndex, uid: Arc<str>, sink: Arc<S>) -> Self {
        Self { step, uid, sink, writer: None, records_out: 0 }
    }
}

impl<T: 'static, S: Sink<T>> Stateful for AtLeastOnceTail<T, S> {
    fn open(&mut self, context: &OpenContext) -> Result<(), Error> {
        let location =
            Location { job: context.job_name.to_string(), operator: self.uid.to_string(), subtask: context.subtask };
        self.writer = Some(
            running(self.step, || self.sink.open(context.subtask))
                .map_err(|error| Error::operator(&location, error))?,
        );
        Ok(())
    }
}

impl<T: 'static, Z: Stamp, S: Sink<T>> Tail<T, Z> for AtLeastOnceTail<T, S> {
    #[inline]
    fn accept(&mut self, record: T, _time: Z) -> Flow {
        self.records_out += 1;
        match &mut self.writer {
            Some(writer) => running(self.step, || writer(record)).map_err(|error| StepError::stop(self.step, error)),
            None => Err(Stop::Failed("the sink was not opened".into())),
        }
    }
}

impl<T: 'static, S: Sink<T>> TailControl for AtLeastOnceTail<T, S> {
    fn take_records_out(&mut self) -> u64 {
        std::mem::take(&mut self.records_out)
    }
}
